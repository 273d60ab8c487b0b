//! Leaderships on leases, and what a leader does for the store: it deletes left-over pieces and forgets old changes.

use super::super::election::{Candidacy, Hold, Keeper, Leadership, Term, epoch_key, leader_key, until_lost};
use super::super::{Compare, Error, Expected, Op, Store};
use super::chunks::Pieces;
use super::cluster::{Cluster, Failure};
use super::read::Pages;
use super::{EtcdStore, read, revision};
use etcd_client::{Compare as When, CompareOp, GetOptions, KeyValue, PutOptions, Txn as EtcdTxn, TxnOp};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often a contender looks whether the leader is gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A lease, and until when it is certain to hold.
struct Lease {
    id: i64,
    ttl: Duration,
    until: Instant,
}

pub async fn campaign(store: &EtcdStore, name: &str, address: &str) -> Result<Leadership, Error> {
    let cluster = &store.cluster;
    loop {
        if store.get(&leader_key(name)).await?.is_some() {
            sleep(LOOK_EVERY).await;
            continue;
        }
        let candidacy = Candidacy::new(name, address, store.get(&epoch_key(name)).await?.as_ref())?;
        let lease = grant(cluster).await.map_err(|failure| cluster.error(failure))?;
        // The answer may be lost; whose lease the leader's key has tells all the same.
        let attempt = attempt(cluster, &candidacy, lease.id).await;
        let leader = read::ask(cluster, cluster.key("kv", &leader_key(name)), GetOptions::new()).await;
        let created = match leader.as_ref().map(|answer| answer.kvs().first()) {
            Ok(Some(kv)) if kv.lease() == lease.id => revision(kv.create_revision()),
            other => {
                let failure = other.err().is_some();
                revoke(cluster, lease.id).await;
                attempt.map_err(|failure| cluster.error(failure))?;
                if failure {
                    return Err(cluster.unavailable("who leads could not be read"));
                }
                sleep(LOOK_EVERY).await;
                continue;
            }
        };
        let term = candidacy.won(created);
        let (leadership, keeper) = Leadership::new(term.clone(), Hold::Lease(lease.until));
        tokio::spawn(keep(store.clone(), term, lease, keeper));
        // What a leader of the past left is deleted before this one writes.
        if let Err(failure) = collect(store, leadership.term()).await {
            tracing::warn!(?failure, "pieces that nothing names could not be looked for");
        }
        return Ok(leadership);
    }
}

async fn grant(cluster: &Cluster) -> Result<Lease, Failure> {
    let asked = cluster.options.lease;
    let seconds = i64::try_from(asked.as_secs()).unwrap_or(i64::MAX).max(1);
    // A lease whose answer was lost ends by itself.
    let (sent, answer) = cluster
        .ask(|mut member| async move {
            let sent = Instant::now();
            member.client.lease_grant(seconds, None).await.map(|answer| (sent, answer))
        })
        .await?;
    let ttl = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0));
    Ok(Lease { id: answer.id(), ttl, until: sent + ttl })
}

async fn attempt(cluster: &Cluster, candidacy: &Candidacy, lease: i64) -> Result<(), Failure> {
    let txn = candidacy.txn();
    let key = |compare: &Compare| cluster.key("kv", &compare.key);
    let compares = txn.compares.iter().map(|compare| match compare.expected {
        Expected::Modified(at) => When::mod_revision(key(compare), CompareOp::Equal, super::number(at)),
        Expected::Created(at) => When::create_revision(key(compare), CompareOp::Equal, super::number(at)),
        Expected::Absent => When::create_revision(key(compare), CompareOp::Equal, 0),
    });
    let leader = cluster.key("kv", &candidacy.leader_key());
    let ops = txn.ops.iter().filter_map(|op| match op {
        Op::Put { key, value } => {
            let key = cluster.key("kv", key);
            let options = (key == leader).then(|| PutOptions::new().with_lease(lease));
            Some(TxnOp::put(key, value.to_vec(), options))
        }
        Op::Delete { .. } | Op::DeletePrefix { .. } => None,
    });
    let request = EtcdTxn::new().when(compares.collect::<Vec<_>>()).and_then(ops.collect::<Vec<_>>());
    let asked = cluster.ask(|mut member| {
        let request = request.clone();
        async move { member.kv.txn(request).await }
    });
    asked.await.map(drop)
}

async fn revoke(cluster: &Cluster, lease: i64) {
    // Without an answer it ends by itself.
    let _ = timeout(
        cluster.options.patience,
        cluster.ask(|mut member| async move { member.client.lease_revoke(lease).await }),
    )
    .await;
}

/// Renews the lease until it is given up or lost.
async fn keep(store: EtcdStore, term: Term, mut lease: Lease, keeper: Keeper) {
    let Keeper { hold, mut resign, ended } = keeper;
    let cluster = store.cluster.clone();
    let watched = Store::Etcd(store);
    let mut gone = pin!(until_lost(&watched, &term));
    let forgetting = tokio::spawn(forget(cluster.clone()));
    loop {
        let renew_at = lease.until - lease.ttl * 2 / 3;
        tokio::select! {
            biased;
            _ = &mut resign => break,
            () = sleep_until(lease.until) => break,
            () = &mut gone => break,
            renewed = async {
                sleep_until(renew_at).await;
                renew(&cluster, &lease).await
            } => match renewed {
                Some(until) => {
                    lease.until = until;
                    hold.send_replace(Hold::Lease(until));
                }
                None => break,
            },
        }
    }
    forgetting.abort();
    hold.send_replace(Hold::Lost);
    revoke(&cluster, lease.id).await;
    drop(ended);
}

/// Until when the lease holds then; nothing if it is gone.
async fn renew(cluster: &Cluster, lease: &Lease) -> Option<Instant> {
    loop {
        let asked = cluster.ask_until(lease.until, |mut member| async move {
            let sent = Instant::now();
            match member.client.lease_keep_alive(lease.id).await {
                Ok(_) => Ok(Some(sent)),
                // The client has no other way to tell that the lease is unknown.
                Err(etcd_client::Error::LeaseKeepAliveError(why)) if why.contains("not found") => Ok(None),
                Err(error) => Err(error),
            }
        });
        match asked.await {
            Ok(sent) => return sent.map(|sent| sent + lease.ttl),
            Err(_) if Instant::now() >= lease.until => return None,
            Err(failure) => {
                tracing::warn!(?failure, "the lease of this leadership could not be renewed yet");
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Forgets, at every interval, what was history at the last one.
async fn forget(cluster: Arc<Cluster>) {
    let Some(every) = cluster.options.history else { return };
    let mut up_to = None;
    loop {
        if let Some(up_to) = up_to {
            match cluster.ask(|mut member| async move { member.kv.compact(up_to, None).await }).await {
                // Somebody else was faster.
                Ok(_) | Err(Failure::Compacted) => {}
                Err(failure) => tracing::warn!(?failure, "etcd's history could not be compacted"),
            }
        }
        let answer = read::ask(&cluster, cluster.key("kv", ""), GetOptions::new()).await;
        up_to = answer.ok().and_then(|answer| answer.header().map(|header| header.revision()));
        sleep(every).await;
    }
}

/// Deletes pieces that no head names, and the marks of clients that are gone.
async fn collect(store: &EtcdStore, term: &Term) -> Result<(), Failure> {
    let cluster = &store.cluster;
    let (chunks, marks) = (cluster.key("chunk", ""), cluster.key("txn", ""));
    let mut unused = Vec::new();
    let mut pages = Pages::new(&marks, GetOptions::new().with_keys_only());
    while let Some(page) = pages.next(cluster).await? {
        let keys = page.kvs().iter().filter_map(|kv| kv.key_str().ok().map(str::to_owned));
        unused.extend(keys.filter(|key| !key.ends_with(&store.client)));
    }
    // Transaction → which of its pieces stand where, and whether a head names them.
    let mut found: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let mut owners: Vec<(String, String)> = Vec::new();
    let mut pages = Pages::new(&chunks, GetOptions::new().with_keys_only());
    while let Some(page) = pages.next(cluster).await? {
        for kv in page.kvs() {
            let Some((transaction, at)) = place(kv, &chunks) else { continue };
            if kv.key().ends_with(b"/key") {
                owners.push((transaction.clone(), at.clone()));
            }
            found.entry(transaction).or_default().entry(at).or_insert(false);
        }
    }
    for (transaction, at) in owners {
        let answer = read::ask(cluster, format!("{chunks}{at}/key"), GetOptions::new()).await?;
        let Some(owner) = answer.kvs().first().and_then(|kv| str::from_utf8(kv.value()).ok()) else { continue };
        let answer = read::ask(cluster, cluster.key("kv", owner), GetOptions::new()).await?;
        let named = answer.kvs().first().and_then(|kv| Pieces::of(kv.value())).is_some_and(|pieces| pieces.at == at);
        if let Some(pieces) = found.get_mut(&transaction).and_then(|pieces| pieces.get_mut(&at)) {
            *pieces = named;
        }
    }
    for (transaction, pieces) in found {
        if pieces.values().all(|named| !named) {
            // All at once: a writer that has not written its heads yet looks for the first piece alone.
            unused.push(format!("{chunks}{transaction}/"));
        } else {
            unused.extend(pieces.into_iter().filter(|(_, named)| !named).map(|(at, _)| format!("{chunks}{at}/")));
        }
    }
    if !unused.is_empty() {
        tracing::info!(count = unused.len(), epoch = %term.epoch, "deleting what earlier leaders left over");
    }
    super::commit::delete_prefixes(cluster, unused).await
}

/// Of `…/chunk/TRANSACTION/PLACE/PIECE`, the transaction, and `TRANSACTION/PLACE`.
fn place(kv: &KeyValue, chunks: &str) -> Option<(String, String)> {
    let rest = str::from_utf8(kv.key()).ok()?.strip_prefix(chunks)?;
    let (at, _piece) = rest.rsplit_once('/')?;
    let (transaction, _place) = at.split_once('/')?;
    Some((transaction.into(), at.into()))
}
