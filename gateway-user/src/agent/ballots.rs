//! What a gateway asks the controllers about its seats, and what they answer: whoever watches seats puts questions, the link carries them.

use seat::{Answer, Ask, SeatName};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Answers that nobody has taken: older ones are of no use.
const ANSWERS: usize = 64;

/// Questions and answers. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Ballots {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    asked: Notify,
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last question of each seat: one of before has no use any more.
    asks: BTreeMap<SeatName, Ask>,
    answers: VecDeque<Answer>,
}

impl Ballots {
    /// Puts a question.
    pub fn ask(&self, ask: Ask) {
        self.state().asks.insert(ask.seat.clone(), ask);
        self.shared.asked.notify_one();
    }

    /// The next answer; for one taker. May be cancelled.
    pub async fn answer(&self) -> Answer {
        loop {
            if let Some(answer) = self.state().answers.pop_front() {
                return answer;
            }
            self.shared.answered.notified().await;
        }
    }

    /// The next question; for one taker. May be cancelled.
    pub(super) async fn next(&self) -> Ask {
        loop {
            if let Some((_, ask)) = self.state().asks.pop_first() {
                return ask;
            }
            self.shared.asked.notified().await;
        }
    }

    /// Hands in an answer.
    pub(super) fn answered(&self, answer: Answer) {
        let mut state = self.state();
        state.answers.push_back(answer);
        let surplus = state.answers.len().saturating_sub(ANSWERS);
        state.answers.drain(..surplus);
        drop(state);
        self.shared.answered.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
