//! What a connection's limit lets through, read at the policer itself: what is lost further on, in the stacks of a busy machine, does not count.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_user::api::DEFAULT_SOCKET;
use gateway_user::api::client::Client;
use gateway_user::api::protocol::{Answer, Query, Request};
use tokio::runtime::Runtime;

use crate::gateway::Gateway;
use crate::limit::{Limit, Look};

/// How long a burst of a connection's limit lasts.
const BURST: Duration = Duration::from_millis(200);

/// A limit's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the site.
    In,
    /// To the site.
    Out,
}

/// Looks at one limit of a running gateway's.
#[derive(Debug)]
pub struct Meter {
    runtime: Runtime,
    client: Client,
    tenant: String,
    connection: String,
    way: Way,
    limit: Limit,
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
        let limit = Limit { rate, burst: BURST };
        Ok(Self { runtime, client, tenant: tenant.into(), connection: connection.into(), way, limit })
    }

    /// Fails unless the limit lets its rate through, within two percent, while more is offered for this long.
    pub fn holds_for(&mut self, duration: Duration) -> Result<()> {
        let limit = self.limit;
        limit.holds_for(duration, || self.look())
    }

    /// The share of the limit that passes in each of so many windows of at least this length.
    pub fn shares(&mut self, windows: usize, length: Duration) -> Result<Vec<f64>> {
        let mut shares = Vec::new();
        let first = self.look()?;
        let mut start = first;
        while shares.len() < windows {
            let look = self.look()?;
            self.limit.allows(&first, &look)?;
            let time = look.asked - start.asked;
            if time >= length {
                shares.push((look.passed - start.passed) as f64 / time.as_secs_f64() / self.limit.rate);
                start = look;
            }
        }
        Ok(shares)
    }

    fn look(&mut self) -> Result<Look> {
        Look::soon(|| {
            let Answer::Connections(connections) = self.ask(Query::Connections)? else { bail!("another answer") };
            let found = connections.iter().find(|one| (&one.tenant, &one.name) == (&self.tenant, &self.connection));
            let connection = found.context("the connection is gone")?;
            Ok(match self.way {
                Way::Out => (connection.traffic.out_bytes, connection.rate_limited_out),
                // What comes in is counted before it is metered; where it goes, behind.
                Way::In => (self.passed_inbound()?, connection.rate_limited_in),
            })
        })
    }

    fn passed_inbound(&mut self) -> Result<u64> {
        let Answer::Tenants(tenants) = self.ask(Query::Tenants)? else { bail!("another answer") };
        let tenant = tenants.iter().find(|one| one.name == self.tenant).context("the tenant is gone")?;
        Ok(tenant.traffic.out_bytes)
    }

    fn ask(&mut self, query: Query) -> Result<Answer> {
        Ok(self.runtime.block_on(self.client.ask(&Request::Show(query)))?)
    }
}
