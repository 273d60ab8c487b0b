//! What the core decides, done: writes go to the store, answers to whoever asked, events to the streams.

use super::core::event::{Action, CallId, Sequence, Sink, StreamId, Write};
use super::core::message::{Answer, Refusal, RefusalKind, WatchEvent};
use super::server::service::Reply;
use super::store::{Error, Op, Outcome, Txn, Writer};
use crate::agent::routes::Told;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Plan events that an agent may leave unread before its stream is ended.
const PLANS: usize = 256;
/// Events that a watcher may leave unread, beside those that it began with, before its stream is ended.
const EVENTS: usize = 4096;

/// A write, and what became of it.
pub type Written = (Sequence, Result<Outcome, Error>);

/// The ends of whoever waits for the core.
#[derive(Default)]
pub struct Outbox {
    /// The way to write, while this controller leads.
    writer: Option<Writer>,
    /// Writes on their way, in their order.
    writes: FuturesOrdered<Pin<Box<dyn Future<Output = Written> + Send>>>,
    answers: HashMap<CallId, Waiting>,
    /// Answers that are due.
    due: Vec<(Reply<Answer>, Answer)>,
    plans: HashMap<StreamId, mpsc::Sender<Told>>,
    watches: HashMap<StreamId, mpsc::Sender<Arc<WatchEvent>>>,
    /// Streams whose readers have gone, or do not read, of which the core has not been told.
    closed: Vec<StreamId>,
    /// Why whoever waits at the end is not answered.
    end: Option<Error>,
}

/// Who waits for an answer.
enum Waiting {
    Answer(Reply<Answer>),
    Admission(Reply<Result<(), Refusal>>),
    Plan(Reply<Result<mpsc::Receiver<Told>, Refusal>>, mpsc::Receiver<Told>),
    Watch(Reply<Result<mpsc::Receiver<Arc<WatchEvent>>, Answer>>),
}

impl Outbox {
    /// From here on what is written goes this way.
    pub fn write_by(&mut self, writer: Writer) {
        self.writer = Some(writer);
    }

    /// The way to write, which the core has no longer.
    pub fn take_writer(&mut self) -> Option<Writer> {
        self.writer.take()
    }

    /// What became of the next write; none if none is on its way.
    pub async fn written(&mut self) -> Option<Written> {
        self.writes.next().await
    }

    /// Why whoever still waits will not be answered.
    pub fn end(&mut self, error: Error) {
        self.end = Some(error);
    }

    /// Somebody waits for an answer.
    pub fn answer(&mut self, call: CallId, reply: Reply<Answer>) {
        self.answers.insert(call, Waiting::Answer(reply));
    }

    /// Somebody waits to be let in, or for a yes or no.
    pub fn admit(&mut self, call: CallId, reply: Reply<Result<(), Refusal>>) {
        self.answers.insert(call, Waiting::Admission(reply));
    }

    /// Somebody waits for a watch.
    pub fn watch(&mut self, call: CallId, reply: Reply<Result<mpsc::Receiver<Arc<WatchEvent>>, Answer>>) {
        self.answers.insert(call, Waiting::Watch(reply));
    }

    /// An agent waits for its plan.
    pub fn plan(&mut self, call: CallId, stream: StreamId, reply: Reply<Result<mpsc::Receiver<Told>, Refusal>>) {
        let (sender, receiver) = mpsc::channel(PLANS);
        self.plans.insert(stream, sender);
        self.answers.insert(call, Waiting::Plan(reply, receiver));
    }

    /// Gives the answers that are due to whoever waits. They come last: a worker goes on with the task that it woke last, so that an answer is
    /// on its way before plans and news are put into words.
    pub fn give_answers(&mut self) {
        for (reply, answer) in self.due.drain(..) {
            reply.send(answer);
        }
    }

    /// Streams of which the core is to be told that they are closed.
    pub fn take_closed(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.closed)
    }

    /// Opens a watcher's stream, with room for what it begins with and for what comes before that is read.
    fn follow(&mut self, stream: StreamId, events: Vec<Arc<WatchEvent>>) -> mpsc::Receiver<Arc<WatchEvent>> {
        let (sender, receiver) = mpsc::channel(events.len() + EVENTS);
        for event in events {
            // There is room.
            let _ = sender.try_send(event);
        }
        self.watches.insert(stream, sender);
        receiver
    }

    /// Gives a write to the store.
    fn hand_over(&mut self, sequence: Sequence, write: Write) {
        // Only who leads writes. What could not be handed over stays unanswered.
        let Some(writer) = &mut self.writer else { return };
        let ops = write.entries.into_iter().map(|(key, value)| match value {
            Some(value) => Op::put(key, Arc::<[u8]>::from(value)),
            None => Op::delete(key),
        });
        let pending = writer.commit(Txn::of(ops));
        self.writes.push_back(Box::pin(async move { (sequence, pending.await) }));
    }
}

impl Sink for Outbox {
    fn act(&mut self, action: Action) {
        match action {
            Action::Write(sequence, write) => self.hand_over(sequence, write),
            Action::Answer(call, answer) => {
                if let Some(Waiting::Answer(reply)) = self.answers.remove(&call) {
                    self.due.push((reply, answer));
                }
            }
            Action::Admit(call, admitted) => match self.answers.remove(&call) {
                Some(Waiting::Admission(reply)) => reply.send(admitted),
                Some(Waiting::Plan(reply, stream)) => reply.send(admitted.map(|()| stream)),
                _ => {}
            },
            Action::Follow(call, stream, followed) => {
                if let Some(Waiting::Watch(reply)) = self.answers.remove(&call) {
                    reply.send(followed.map(|events| self.follow(stream, events)));
                }
            }
            Action::Plan(stream, event) => {
                if self.plans.get(&stream).is_some_and(|sender| sender.try_send(Told::Plan(event)).is_err()) {
                    self.plans.remove(&stream);
                    self.closed.push(stream);
                }
            }
            Action::Routes(stream, event) => {
                if self.plans.get(&stream).is_some_and(|sender| sender.try_send(Told::Routes(event)).is_err()) {
                    self.plans.remove(&stream);
                    self.closed.push(stream);
                }
            }
            Action::Tell(stream, event) => {
                if self.watches.get(&stream).is_some_and(|sender| sender.try_send(event).is_err()) {
                    self.watches.remove(&stream);
                    self.closed.push(stream);
                }
            }
            Action::Close(stream) => {
                self.plans.remove(&stream);
                self.watches.remove(&stream);
            }
        }
    }
}

impl Drop for Outbox {
    /// Whoever waits is told to come again.
    fn drop(&mut self) {
        let later = || Refusal::new(RefusalKind::Unavailable, "this controller does not lead any more; ask again");
        for (_, waiting) in self.answers.drain() {
            match waiting {
                Waiting::Answer(reply) => reply.send(unanswered(self.end.as_ref())),
                Waiting::Admission(reply) => reply.send(Err(later())),
                Waiting::Plan(reply, _) => reply.send(Err(later())),
                Waiting::Watch(reply) => reply.send(Err(unanswered(None))),
            }
        }
    }
}

/// What a client is told whose request may or may not have been carried out.
fn unanswered(end: Option<&Error>) -> Answer {
    // What did not fit was not written, nor what came after it.
    if let Some(full @ Error::Full { .. }) = end {
        return Answer::error(507, "InsufficientStorage", &format!("{full}; nothing was changed"));
    }
    Answer {
        retry_after: Some(1),
        ..Answer::error(
            503,
            "RetryableError",
            "this controller does not lead any more; send the same request again, with the same x-ms-client-request-id",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::store::{MemoryStore, Store};

    fn write(number: u64) -> Action {
        let entries = vec![(format!("resources/{number}"), Some(Arc::from("{}")))];
        Action::Write(Sequence(number), Write { entries })
    }

    #[tokio::test]
    async fn a_write_is_with_the_store_as_soon_as_it_is_decided_and_its_outcome_is_told_in_order() {
        let memory = MemoryStore::new();
        let leadership = Store::from(memory.clone()).campaign("controller", "here").await.unwrap();
        let mut outbox = Outbox::default();
        outbox.write_by(Store::from(memory.clone()).writer(leadership.term()));
        for number in [1, 2] {
            outbox.act(write(number));
            assert!(memory.get(&format!("resources/{number}")).is_some(), "nothing else has to happen for that");
        }
        for number in [1, 2] {
            let (sequence, outcome) = outbox.written().await.unwrap();
            assert_eq!(sequence, Sequence(number));
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
        assert!(outbox.written().await.is_none());
    }

    #[tokio::test]
    async fn who_does_not_lead_writes_nothing() {
        let mut outbox = Outbox::default();
        outbox.act(write(1));
        assert!(outbox.written().await.is_none());
    }
}
