//! What waits for a write to be durable.

use super::event::{Action, Sequence};
use std::collections::VecDeque;

/// Actions in the order in which they were decided, each held back until the writes before it are durable.
///
/// Nothing that anybody may see leaves before it is certain to be remembered: not an answer, to a reader or a writer, not a plan.
#[derive(Debug, Default)]
pub struct Held {
    issued: Sequence,
    durable: Sequence,
    waiting: VecDeque<(Sequence, Action)>,
}

impl Held {
    /// The number for the next write.
    pub fn issue(&mut self) -> Sequence {
        self.issued.0 += 1;
        self.issued
    }

    /// Lets an action out, or holds it until all writes so far are durable.
    pub fn push(&mut self, action: Action, out: &mut Vec<Action>) {
        if self.waiting.is_empty() && self.durable == self.issued {
            out.push(action);
        } else {
            self.waiting.push_back((self.issued, action));
        }
    }

    /// Writes up to this one are durable.
    pub fn durable(&mut self, sequence: Sequence, out: &mut Vec<Action>) {
        self.durable = self.durable.max(sequence);
        while let Some((_, action)) = self.waiting.pop_front_if(|(after, _)| *after <= self.durable) {
            out.push(action);
        }
    }

    /// How many writes are on their way.
    pub fn in_flight(&self) -> u64 {
        self.issued.0 - self.durable.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::CallId;
    use super::super::message::Answer;
    use super::*;

    fn answer(id: u64) -> Action {
        Action::Answer(CallId(id), Answer::default())
    }

    fn ids(actions: &[Action]) -> Vec<u64> {
        let id = |action: &Action| match action {
            Action::Answer(id, _) => Some(id.0),
            _ => None,
        };
        actions.iter().filter_map(id).collect()
    }

    #[test]
    fn nothing_waits_while_nothing_is_written() {
        let (mut held, mut out) = (Held::default(), Vec::new());
        held.push(answer(1), &mut out);
        assert_eq!(ids(&out), [1]);
    }

    #[test]
    fn an_answer_waits_for_the_writes_before_it_and_for_no_other() {
        let (mut held, mut out) = (Held::default(), Vec::new());
        let first = held.issue();
        held.push(answer(1), &mut out);
        let second = held.issue();
        held.push(answer(2), &mut out);
        held.push(answer(3), &mut out);
        assert_eq!((ids(&out), held.in_flight()), (vec![], 2));
        held.durable(first, &mut out);
        assert_eq!(ids(&out), [1]);
        held.durable(second, &mut out);
        assert_eq!((ids(&out), held.in_flight()), (vec![1, 2, 3], 0));
    }
}
