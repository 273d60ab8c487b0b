//! Who is tracing which tenant. Shared by the server, where tracers come and go, and the agent, which sets flags and hands records in.

use gateway_common::TenantId;
use gateway_common::trace::Traced;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Records that wait for one tracer; more are lost and counted.
const BACKLOG: usize = 8192;

/// The tracers of a gateway.
#[derive(Clone, Debug, Default)]
pub struct Tracers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_tenant: BTreeMap<TenantId, BTreeMap<u64, Tracer>>,
}

#[derive(Debug)]
struct Tracer {
    records: mpsc::Sender<Box<Traced>>,
    lost: Arc<AtomicU64>,
}

impl Tracers {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent after every statement, so a panic elsewhere does not spoil it.
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to trace a tenant, until the subscription is dropped.
    pub fn subscribe(&self, tenant: TenantId) -> Subscription {
        let (sender, records) = mpsc::channel(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.by_tenant.entry(tenant).or_default().insert(number, Tracer { records: sender, lost: lost.clone() });
        drop(table);
        self.shared.changed.notify_one();
        Subscription { tracers: self.clone(), tenant, number, records, lost }
    }

    /// The tenants whose packets are to be traced, now.
    pub fn wanted(&self) -> BTreeSet<TenantId> {
        self.table().by_tenant.keys().copied().collect()
    }

    /// Waits until [`Tracers::wanted`] may have changed. No change is missed between two calls.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Hands a record of the ring buffer to whom it concerns; never waits. What is no traced packet is ignored.
    pub fn offer(&self, record: &[u8]) {
        let Ok(traced) = bytemuck::try_pod_read_unaligned::<Traced>(record) else { return };
        if traced.kind != Traced::KIND {
            return;
        }
        let table = self.table();
        let Some(tracers) = table.by_tenant.get(&traced.tenant) else { return };
        for tracer in tracers.values() {
            if tracer.records.try_send(Box::new(traced)).is_err() {
                tracer.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn end(&self, tenant: TenantId, number: u64) {
        let mut table = self.table();
        if let Some(tracers) = table.by_tenant.get_mut(&tenant) {
            tracers.remove(&number);
            if tracers.is_empty() {
                table.by_tenant.remove(&tenant);
            }
        }
        drop(table);
        self.shared.changed.notify_one();
    }
}

/// One tracer's records, as long as it lives.
#[derive(Debug)]
pub struct Subscription {
    tracers: Tracers,
    tenant: TenantId,
    number: u64,
    records: mpsc::Receiver<Box<Traced>>,
    lost: Arc<AtomicU64>,
}

impl Subscription {
    /// The next record.
    pub async fn next(&mut self) -> Option<Box<Traced>> {
        self.records.recv().await
    }

    /// Records that came faster than they were taken.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.tracers.end(self.tenant, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use std::time::Duration;

    fn record(tenant: u32) -> Traced {
        Traced { kind: Traced::KIND, tenant: TenantId(tenant), ..Traced::zeroed() }
    }

    #[tokio::test]
    async fn a_tenant_is_wanted_as_long_as_somebody_traces_it() {
        let tracers = Tracers::default();
        let first = tracers.subscribe(TenantId(3));
        let second = tracers.subscribe(TenantId(3));
        assert_eq!(tracers.wanted(), BTreeSet::from([TenantId(3)]));
        drop(first);
        assert_eq!(tracers.wanted(), BTreeSet::from([TenantId(3)]));
        drop(second);
        assert!(tracers.wanted().is_empty());
        // The changes were told, though nobody was waiting at the time.
        tokio::time::timeout(Duration::from_secs(60), tracers.changed()).await.expect("a change is told");
    }

    #[tokio::test]
    async fn records_reach_the_tenants_tracers_only_and_junk_nobody() {
        let tracers = Tracers::default();
        let mut three = tracers.subscribe(TenantId(3));
        let mut four = tracers.subscribe(TenantId(4));
        tracers.offer(&[]);
        tracers.offer(&[1; 7]);
        tracers.offer(bytemuck::bytes_of(&Traced { kind: 9, ..record(3) }));
        tracers.offer(bytemuck::bytes_of(&record(5)));
        tracers.offer(bytemuck::bytes_of(&record(4)));
        assert_eq!(four.next().await.expect("a record").tenant, TenantId(4));
        assert!(three.records.try_recv().is_err());
    }

    #[test]
    fn a_slow_tracer_loses_records_and_knows_how_many() {
        let tracers = Tracers::default();
        let subscription = tracers.subscribe(TenantId(1));
        for _ in 0..BACKLOG + 5 {
            tracers.offer(bytemuck::bytes_of(&record(1)));
        }
        assert_eq!(subscription.lost(), 5);
    }
}
