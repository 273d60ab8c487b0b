//! Who leads. The leader's key exists while somebody does; its create revision is what every write of that leader is guarded by.
//!
//! A lease alone excludes nobody: a leader that was asleep still believes in itself. So whatever it writes carries
//! [`Term::guard`], and whatever it tells agents carries [`Term::epoch`].

use super::{Compare, Entry, Epoch, Error, Expected, Op, Outcome, Revision, Store, Txn};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Below this prefix a key stands for each name that somebody leads.
pub const LEADERS: &str = "leaders/";
/// Below this prefix the last epoch of each name stands.
pub const EPOCHS: &str = "epochs/";

/// How often a store that takes nothing is tried again.
const FULL: Duration = Duration::from_secs(2);
/// How often an unreachable store is asked who leads.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) fn leader_key(name: &str) -> String {
    format!("{LEADERS}{name}")
}

pub(super) fn epoch_key(name: &str) -> String {
    format!("{EPOCHS}{name}")
}

/// A leadership as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its number, larger than all before.
    pub epoch: Epoch,
    /// What holds while it lasts; every write of the leader carries it.
    pub guard: Compare,
}

/// Who leads, as it published itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Where it answers.
    pub address: String,
    /// The number of its leadership.
    pub epoch: Epoch,
}

impl Leader {
    pub(super) fn read(entry: &Entry) -> Result<Self, Error> {
        serde_json::from_slice(&entry.value).map_err(|error| Error::Refused {
            place: entry.key.clone(),
            why: format!("this is not what a leader publishes ({error})"),
            remedy: "delete this key; the leader, if there is one, steps down and the election is repeated".into(),
        })
    }
}

/// An attempt to become leader: what is written if nobody is.
pub(super) struct Candidacy {
    name: String,
    pub leader: Leader,
    last_epoch: Compare,
}

impl Candidacy {
    /// `last` is the entry of [`epoch_key`].
    pub fn new(name: &str, address: &str, last: Option<&Entry>) -> Result<Self, Error> {
        let (epoch, last_epoch) = match last {
            None => (Epoch(0), Compare::absent(epoch_key(name))),
            Some(entry) => (read_epoch(entry)?, Compare::modified(&entry.key, entry.modified)),
        };
        let leader = Leader { address: address.into(), epoch: Epoch(epoch.0 + 1) };
        Ok(Self { name: name.into(), leader, last_epoch })
    }

    /// The key that stands while somebody leads.
    #[cfg(feature = "etcd")]
    pub fn leader_key(&self) -> String {
        leader_key(&self.name)
    }

    fn published(&self) -> Vec<u8> {
        serde_json::json!({ "address": self.leader.address, "epoch": self.leader.epoch }).to_string().into_bytes()
    }

    pub fn txn(&self) -> Txn {
        Txn::of([
            Op::put(leader_key(&self.name), self.published()),
            Op::put(epoch_key(&self.name), self.leader.epoch.to_string().into_bytes()),
        ])
        .when(Compare::absent(leader_key(&self.name)))
        .when(self.last_epoch.clone())
    }

    /// The term that began with the commit of [`Candidacy::txn`].
    pub fn won(&self, revision: Revision) -> Term {
        Term { epoch: self.leader.epoch, guard: Compare::created(leader_key(&self.name), revision) }
    }
}

pub(super) fn read_epoch(entry: &Entry) -> Result<Epoch, Error> {
    let text = str::from_utf8(&entry.value).ok();
    text.and_then(|text| text.parse().ok()).map(Epoch).ok_or_else(|| Error::Refused {
        place: entry.key.clone(),
        why: "this is not the number of a leadership".into(),
        remedy: "restore the store from a backup, or write a number here that is larger than any epoch so far".into(),
    })
}

/// A leadership that is held. Dropping it gives it up.
#[derive(Debug)]
pub struct Leadership {
    term: Term,
    hold: watch::Receiver<Hold>,
    /// Told, or dropped: the task that keeps the leadership ends it.
    resign: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

/// How a leadership is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// By this process, until it ends.
    Process,
    /// By a lease that is certain to last until then.
    #[cfg_attr(not(feature = "etcd"), expect(dead_code, reason = "only etcd has leases"))]
    Lease(Instant),
    /// Not any more.
    Lost,
}

/// The other end of a [`Leadership`], in the hands of the task that keeps it.
pub(super) struct Keeper {
    pub hold: watch::Sender<Hold>,
    pub resign: oneshot::Receiver<()>,
    /// Dropped when all is done.
    pub ended: oneshot::Sender<()>,
}

impl Leadership {
    pub(super) fn new(term: Term, hold: Hold) -> (Self, Keeper) {
        let (hold, hold_receiver) = watch::channel(hold);
        let (resign_sender, resign) = oneshot::channel();
        let (ended, ended_receiver) = oneshot::channel();
        let leadership = Self { term, hold: hold_receiver, resign: Some(resign_sender), ended: Some(ended_receiver) };
        (leadership, Keeper { hold, resign, ended })
    }

    /// Its epoch and guard.
    pub fn term(&self) -> &Term {
        &self.term
    }

    /// Whether it is held as far as is known here. A process that slept past the end of its lease knows by its clock alone, before anybody
    /// has told it.
    pub fn is_held(&self) -> bool {
        let held = match *self.hold.borrow() {
            Hold::Process => true,
            Hold::Lease(until) => Instant::now() < until,
            Hold::Lost => false,
        };
        held && self.hold.has_changed().is_ok()
    }

    /// Returns when it is lost.
    pub async fn lost(&self) {
        // The keeper is gone where its runtime is: then nobody renews the lease.
        let _ = self.hold.clone().wait_for(|hold| *hold == Hold::Lost).await;
    }

    /// Gives it up at once, so that another may lead without waiting for a lease to end.
    pub async fn resign(mut self) {
        if let Some(resign) = self.resign.take() {
            let _ = resign.send(());
        }
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

/// Campaigns in a store whose contenders are all in this process.
pub(super) async fn campaign_locally(store: &Store, name: &str, address: &str) -> Result<Leadership, Error> {
    let key = leader_key(name);
    loop {
        let candidacy = Candidacy::new(name, address, store.get(&epoch_key(name)).await?.as_ref())?;
        if let Outcome::Committed(revision) = store.commit(candidacy.txn()).await? {
            let term = candidacy.won(revision);
            let (leadership, keeper) = Leadership::new(term.clone(), Hold::Process);
            tokio::spawn(keep_locally(store.clone(), term, keeper));
            return Ok(leadership);
        }
        until_changed(store, &key, |entry| entry.is_none()).await?;
    }
}

async fn keep_locally(store: Store, term: Term, keeper: Keeper) {
    let Keeper { hold, mut resign, ended } = keeper;
    tokio::select! {
        _ = &mut resign => {
            let end = Txn::of([Op::delete(&term.guard.key)]).when(term.guard.clone());
            // While its key stands nobody else can lead, so a store that is full for a while is asked again.
            while store.commit(end.clone()).await.is_err() {
                tokio::time::sleep(FULL).await;
            }
        }
        () = until_lost(&store, &term) => {}
    }
    hold.send_replace(Hold::Lost);
    drop(ended);
}

/// Returns when the leader's key is gone, or is another leader's.
pub(super) async fn until_lost(store: &Store, term: &Term) {
    let key = &term.guard.key;
    let held =
        |entry: Option<&Entry>| entry.is_some_and(|entry| term.guard.expected == Expected::Created(entry.created));
    while until_changed(store, key, |entry| !held(entry)).await.is_err() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Returns when the key's entry is as wanted.
async fn until_changed(store: &Store, key: &str, wanted: impl Fn(Option<&Entry>) -> bool) -> Result<(), Error> {
    loop {
        let snapshot = store.range(key).await?;
        if wanted(snapshot.entries.iter().find(|entry| entry.key == key)) {
            return Ok(());
        }
        // Whatever ends the wait, looking again tells.
        let _ = store.watch(key, snapshot.revision.next()).next().await;
    }
}
