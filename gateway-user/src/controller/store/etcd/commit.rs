//! Writing: one transaction after the other, each exactly once.
//!
//! When the answer to a transaction is lost, nobody knows whether it was made. So every transaction also counts up a mark of this client
//! and asks that the mark be where the last one left it. Made again, it is either the first to be made, or finds its own mark and
//! knows when.

use super::super::writer::Request;
use super::super::{Compare, Error, Expected, Op, Outcome, Revision, Txn};
use super::chunks::{Pieces, Split};
use super::cluster::{Cluster, Failure, Member};
use super::read;
use super::{number, revision};
use etcd_client::{
    Compare as When, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse,
};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces are deleted in transactions of so many operations.
const DELETED_TOGETHER: usize = 64;
/// How often a transaction whose pieces were deleted meanwhile begins again.
const TRIES: usize = 3;

/// The task that writes.
pub struct Committer {
    cluster: Arc<Cluster>,
    /// A name of this client that no other has.
    client: String,
    /// The number of the last transaction.
    count: u64,
    /// Where the mark is: the revision at which it was written last, 0 if it never was. Not known after a failure.
    mark: Option<i64>,
}

/// What one attempt came to.
enum Attempt {
    Done(Outcome, Vec<Pieces>),
    /// The pieces of its values are gone.
    PiecesGone,
}

impl Committer {
    pub fn new(cluster: Arc<Cluster>, client: String) -> Self {
        Self { cluster, client, count: 0, mark: None }
    }

    /// Serves requests until nobody can make any.
    pub async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = requests.recv().await {
            if request.is_halted() {
                request.answer(Err(Error::Halted));
                continue;
            }
            if let Err(invalid) = request.txn.check() {
                request.answer(Err(invalid));
                continue;
            }
            match self.commit(&request.txn).await {
                Ok((outcome, unused)) => {
                    request.answer(Ok(outcome));
                    self.delete(unused).await;
                }
                Err(error) => request.answer(Err(error)),
            }
        }
    }

    async fn commit(&mut self, txn: &Txn) -> Result<(Outcome, Vec<Pieces>), Error> {
        for _ in 0..TRIES {
            self.count += 1;
            let split = Split::of(&self.cluster, &txn.ops, &format!("{}-{}", self.client, self.count));
            for (key, value) in &split.pieces {
                let put = self.cluster.ask(|mut member: Member| {
                    let (key, value) = (key.clone(), value.to_vec());
                    async move { member.kv.put(key, value, None).await }
                });
                put.await.map_err(|failure| self.cluster.error(failure))?;
            }
            let attempt = self.attempt(txn, &split).await;
            if attempt.is_err() {
                self.mark = None;
            }
            match attempt? {
                Attempt::Done(Outcome::Conflict, _) => {
                    let written = split.ops.iter().filter_map(|op| match op {
                        Op::Put { value, .. } => Pieces::of(value),
                        Op::Delete { .. } | Op::DeletePrefix { .. } => None,
                    });
                    return Ok((Outcome::Conflict, written.collect()));
                }
                Attempt::Done(outcome, unused) => return Ok((outcome, unused)),
                Attempt::PiecesGone => {}
            }
        }
        Err(self.cluster.unavailable("what was written for a large value was deleted by another controller"))
    }

    async fn attempt(&mut self, txn: &Txn, split: &Split) -> Result<Attempt, Error> {
        let place = self.cluster.key("txn", &self.client);
        let mark = match self.mark {
            Some(mark) => mark,
            None => {
                let answer = read::ask(&self.cluster, place.as_str(), GetOptions::new()).await;
                let answer = answer.map_err(|failure| self.cluster.error(failure))?;
                answer.kvs().first().map_or(0, |kv| kv.mod_revision())
            }
        };
        self.mark = Some(mark);
        let mut compares: Vec<When> = txn.compares.iter().map(|compare| self.when(compare)).collect();
        compares.push(When::mod_revision(place.as_str(), CompareOp::Equal, mark));
        let mut otherwise = vec![TxnOp::get(place.as_str(), None)];
        if let Some(marker) = split.marker() {
            compares.push(When::create_revision(marker, CompareOp::Greater, 0));
            otherwise.push(TxnOp::get(marker, Some(GetOptions::new().with_keys_only())));
        }
        let mut ops: Vec<TxnOp> = split.ops.iter().map(|op| self.op(op)).collect();
        ops.push(TxnOp::put(place.as_str(), self.count.to_string(), None));
        let request = EtcdTxn::new().when(compares).and_then(ops).or_else(otherwise);
        let answer = self
            .cluster
            .ask(|mut member| {
                let request = request.clone();
                async move { member.kv.txn(request).await }
            })
            .await
            .map_err(|failure| self.cluster.error(failure))?;
        if answer.succeeded() {
            let made = answer.header().map_or(0, |header| header.revision());
            self.mark = Some(made);
            return Ok(Attempt::Done(Outcome::Committed(revision(made)), replaced(&answer.op_responses())));
        }
        let mut found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut got) => got.take_kvs().pop(),
            _ => None,
        });
        match found.next().flatten() {
            // It had been made, and its answer was lost.
            Some(kv) if kv.mod_revision() != mark && kv.value() == self.count.to_string().as_bytes() => {
                self.mark = Some(kv.mod_revision());
                return Ok(Attempt::Done(Outcome::Committed(revision(kv.mod_revision())), Vec::new()));
            }
            other if other.as_ref().map_or(0, |kv| kv.mod_revision()) != mark => {
                return Err(self.cluster.unavailable("somebody else changed the mark of this client"));
            }
            _ => {}
        }
        match (split.marker(), found.next().flatten()) {
            (Some(_), None) => Ok(Attempt::PiecesGone),
            _ => Ok(Attempt::Done(Outcome::Conflict, Vec::new())),
        }
    }

    fn when(&self, compare: &Compare) -> When {
        let key = self.cluster.key("kv", &compare.key);
        // A revision that does not exist would mean a key that does not.
        let at = |revision: Revision| if revision.0 == 0 { -1 } else { number(revision) };
        match compare.expected {
            Expected::Absent => When::create_revision(key, CompareOp::Equal, 0),
            Expected::Created(revision) => When::create_revision(key, CompareOp::Equal, at(revision)),
            Expected::Modified(revision) => When::mod_revision(key, CompareOp::Equal, at(revision)),
        }
    }

    fn op(&self, op: &Op) -> TxnOp {
        let place = |key: &str| self.cluster.key("kv", key);
        match op {
            Op::Put { key, value } => TxnOp::put(place(key), value.to_vec(), Some(PutOptions::new().with_prev_key())),
            Op::Delete { key } => TxnOp::delete(place(key), Some(DeleteOptions::new().with_prev_key())),
            Op::DeletePrefix { prefix } => {
                let prefix = place(prefix);
                let end = read::end_of(&prefix);
                TxnOp::delete(prefix, Some(DeleteOptions::new().with_range(end).with_prev_key()))
            }
        }
    }

    /// Deletes pieces that no head names. What is left over when this fails is found when the next leadership begins.
    async fn delete(&self, unused: Vec<Pieces>) {
        let prefixes = unused.iter().map(|pieces| format!("{}/", self.cluster.key("chunk", &pieces.at)));
        if let Err(failure) = delete_prefixes(&self.cluster, prefixes.collect()).await {
            tracing::debug!(?failure, "pieces of replaced values are left over");
        }
    }
}

/// The pieces of what was replaced or deleted.
fn replaced(responses: &[TxnOpResponse]) -> Vec<Pieces> {
    let previous = responses.iter().flat_map(|response| match response {
        TxnOpResponse::Put(put) => put.prev_key().into_iter().collect::<Vec<_>>(),
        TxnOpResponse::Delete(delete) => delete.prev_kvs().iter().collect(),
        TxnOpResponse::Get(_) | TxnOpResponse::Txn(_) => Vec::new(),
    });
    previous.filter_map(|kv| Pieces::of(kv.value())).collect()
}

pub async fn delete_prefixes(cluster: &Cluster, prefixes: Vec<String>) -> Result<(), Failure> {
    for prefixes in prefixes.chunks(DELETED_TOGETHER) {
        let deletes = prefixes
            .iter()
            .map(|prefix| TxnOp::delete(prefix.as_str(), Some(DeleteOptions::new().with_range(read::end_of(prefix)))));
        let request = EtcdTxn::new().and_then(deletes.collect::<Vec<_>>());
        cluster
            .ask(|mut member| {
                let request = request.clone();
                async move { member.kv.txn(request).await }
            })
            .await?;
    }
    Ok(())
}
