//! What waits for a write to be durable.

use super::event::Sequence;
use std::collections::VecDeque;

/// What was decided, in its order, each item held back until the writes before it are durable.
///
/// Nothing that anybody may see leaves before it is certain to be remembered: not an answer, to a reader or a writer, not a plan.
#[derive(Debug)]
pub struct Held<T> {
    issued: Sequence,
    durable: Sequence,
    waiting: VecDeque<(Sequence, T)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { issued: Sequence(0), durable: Sequence(0), waiting: VecDeque::new() }
    }
}

impl<T> Held<T> {
    /// The number for the next write.
    pub fn issue(&mut self) -> Sequence {
        self.issued.0 += 1;
        self.issued
    }

    /// Holds an item until all writes so far are durable; gives it back if they are.
    #[must_use = "what is given back need not wait"]
    pub fn hold(&mut self, item: T) -> Option<T> {
        if self.waiting.is_empty() && self.durable == self.issued {
            return Some(item);
        }
        self.waiting.push_back((self.issued, item));
        None
    }

    /// Writes up to this one are durable: what waited for them alone, in its order.
    pub fn release(&mut self, durable: Sequence) -> impl Iterator<Item = T> {
        self.durable = self.durable.max(durable);
        let until = self.waiting.partition_point(|(after, _)| *after <= self.durable);
        self.waiting.drain(..until).map(|(_, item)| item)
    }

    /// How many writes are on their way.
    pub fn in_flight(&self) -> u64 {
        self.issued.0 - self.durable.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_while_nothing_is_written() {
        let mut held = Held::default();
        assert_eq!(held.hold("answer"), Some("answer"));
    }

    #[test]
    fn an_item_waits_for_the_writes_before_it_and_for_no_other() {
        let mut held = Held::default();
        let first = held.issue();
        assert_eq!(held.hold(1), None);
        let second = held.issue();
        assert_eq!((held.hold(2), held.hold(3), held.in_flight()), (None, None, 2));
        assert_eq!(held.release(first).collect::<Vec<_>>(), [1]);
        assert_eq!(held.release(second).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((held.in_flight(), held.hold(4)), (0, Some(4)));
    }

    #[test]
    fn nothing_overtakes_what_waits() {
        let mut held = Held::default();
        let first = held.issue();
        assert_eq!(held.hold(1), None);
        // The write is durable, and what waited for it is let out before what comes after.
        let let_out: Vec<_> = held.release(first).collect();
        assert_eq!((let_out, held.hold(2)), (vec![1], Some(2)));
    }
}
