//! What a connection's limit lets through, read at the policer itself, and judged without a word about how fast the machine is.
//!
//! The gateway counts what passes a limit and what it refuses. Refusing is proof: at that instant the policer's burst was used up. So between
//! two refusals the limit's rate has passed, not more and not less, whoever was kept waiting for a CPU in between, unless nothing was
//! offered for longer than the burst lasts; and refusals that follow each other sooner than that exclude it.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gateway_user::api::DEFAULT_SOCKET;
use gateway_user::api::client::Client;
use gateway_user::api::protocol::{Answer, Query, Request};
use tokio::runtime::Runtime;

use crate::gateway::Gateway;

/// How long a burst of a connection's limit lasts.
pub const BURST: Duration = Duration::from_millis(200);
/// An instant is known well if it lies between two looks that are no further apart.
const WELL_KNOWN: Duration = Duration::from_millis(25);
/// How often the counters are looked at.
const INTERVAL: Duration = Duration::from_millis(4);
/// How long it may take until there is enough to judge.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest packet of the lab's, in bytes: a limit lets the one through that crosses it.
const PACKET: f64 = 1500.0;

/// A limit's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the site.
    In,
    /// To the site.
    Out,
}

/// One look at the counters: they were read at some time between the two instants.
#[derive(Clone, Copy, Debug)]
struct Look {
    asked: Instant,
    answered: Instant,
    /// Bytes of inner packets that have passed the limit.
    passed: u64,
    /// Packets that it has refused.
    refused: u64,
}

/// Two looks between which the limit refused a packet.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    before: Look,
    after: Look,
}

impl Refusal {
    fn is_well_known(&self) -> bool {
        self.after.answered - self.before.asked <= WELL_KNOWN
    }

    /// Between these times after this refusal came the other one.
    fn until(&self, other: &Self) -> (Duration, Duration) {
        (other.before.asked.saturating_duration_since(self.after.answered), other.after.answered - self.before.asked)
    }
}

/// Looks at one limit of a running gateway's.
#[derive(Debug)]
pub struct Meter {
    runtime: Runtime,
    client: Client,
    tenant: String,
    connection: String,
    way: Way,
    /// Bytes a second.
    rate: f64,
    first: Option<Look>,
}

impl Meter {
    /// Watches the limit of a connection, which has one. Inbound, nothing else may send to the tenant's machines.
    pub fn new(gateway: &Gateway, tenant: &str, connection: &str, way: Way) -> Result<Self> {
        let report = gateway.connection(tenant, connection)?;
        let kbps = match way {
            Way::In => report.inbound_kbps,
            Way::Out => report.outbound_kbps,
        };
        let rate = kbps.with_context(|| format!("{connection} of {tenant} has no limit"))? as f64 * 125.0;
        let stream = gateway.node().within(|| UnixStream::connect(DEFAULT_SOCKET))?;
        stream.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(stream)?;
            Ok::<_, anyhow::Error>(Client::greet(stream, DEFAULT_SOCKET.as_ref()).await?)
        })?;
        Ok(Self { runtime, client, tenant: tenant.into(), connection: connection.into(), way, rate, first: None })
    }

    /// Looks once more; fails if more has passed since the first time than the limit allows, a burst and all.
    fn look(&mut self) -> Result<Look> {
        let asked = Instant::now();
        let Answer::Connections(connections) = self.ask(Query::Connections)? else { bail!("another answer") };
        let found = connections.iter().find(|one| (&one.tenant, &one.name) == (&self.tenant, &self.connection));
        let connection = found.context("the connection is gone")?;
        let (passed, refused) = match self.way {
            Way::Out => (connection.traffic.out_bytes, connection.rate_limited_out),
            // What comes in is counted before it is metered; where it goes, behind.
            Way::In => (self.passed_inbound()?, connection.rate_limited_in),
        };
        let look = Look { asked, answered: Instant::now(), passed, refused };
        let first = *self.first.get_or_insert(look);
        let (passed, most) = (
            (look.passed - first.passed) as f64,
            self.rate * (look.answered - first.asked + BURST).as_secs_f64() + PACKET,
        );
        ensure!(passed <= most, "{passed} bytes have passed, and at most {most:.0} may");
        Ok(look)
    }

    fn passed_inbound(&mut self) -> Result<u64> {
        let Answer::Tenants(tenants) = self.ask(Query::Tenants)? else { bail!("another answer") };
        let tenant = tenants.iter().find(|one| one.name == self.tenant).context("the tenant is gone")?;
        Ok(tenant.traffic.out_bytes)
    }

    fn ask(&mut self, query: Query) -> Result<Answer> {
        Ok(self.runtime.block_on(self.client.ask(&Request::Show(query)))?)
    }

    /// Fails unless what passes while more than the limit is offered is the limit within two percent. Looks until there has been too much
    /// on offer for so long.
    pub fn is_exact_for(&mut self, duration: Duration) -> Result<()> {
        let start = Instant::now();
        let mut last = self.look()?;
        let mut refusals: Option<(Refusal, Refusal)> = None;
        let mut idle = Duration::ZERO;
        while start.elapsed() < PATIENCE {
            std::thread::sleep(INTERVAL);
            let look = self.look()?;
            let refusal = Refusal { before: last, after: look };
            last = look;
            if refusal.after.refused == refusal.before.refused {
                continue;
            }
            let Some((first, latest)) = refusals else {
                if refusal.is_well_known() {
                    refusals = Some((refusal, refusal));
                }
                continue;
            };
            refusals = Some((first, refusal));
            idle += latest.until(&refusal).1.saturating_sub(BURST);
            let (least, most) = first.until(&refusal);
            let least = least.saturating_sub(idle);
            if least < duration || !refusal.is_well_known() {
                continue;
            }
            let passed = |from: &Look, to: &Look| (to.passed - from.passed) as f64;
            let (least, most) = (least.as_secs_f64() * self.rate, most.as_secs_f64() * self.rate);
            let (possibly, surely) = (passed(&first.before, &refusal.after), passed(&first.after, &refusal.before));
            ensure!(
                possibly + PACKET >= least * 0.98 && surely <= most * 1.02 + PACKET,
                "{surely} to {possibly} bytes have passed where the limit is {least:.0} to {most:.0}"
            );
            return Ok(());
        }
        bail!("the limit was not reached for {duration:?}: refusals from and to {refusals:?}, {idle:?} idle");
    }

    /// The share of the limit that passes in each of so many windows of at least this length.
    pub fn shares(&mut self, windows: usize, length: Duration) -> Result<Vec<f64>> {
        let mut shares = Vec::new();
        let mut start = self.look()?;
        while shares.len() < windows {
            std::thread::sleep(INTERVAL);
            let look = self.look()?;
            if look.asked - start.asked >= length {
                let passed = (look.passed - start.passed) as f64;
                shares.push(passed / (look.asked - start.asked).as_secs_f64() / self.rate);
                start = look;
            }
        }
        Ok(shares)
    }
}
