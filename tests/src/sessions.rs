//! The running gateway's BGP, as its client shows it.

use std::time::Duration;

use anyhow::{Context, Result};
use gateway_user::api::report::{BgpNeighborReport, BgpRouteReport};

use crate::gateway::Gateway;
use crate::wait::until;

/// How long sessions and routes may take: a site's router takes its time on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

impl Gateway {
    /// What is known of a tenant's BGP peer.
    pub fn bgp_peer(&self, tenant: &str, name: &str) -> Result<BgpNeighborReport> {
        let printed = self.ctl(&["bgp", "neighbors", "--tenant", tenant, "-o", "json"])?;
        let all: Vec<BgpNeighborReport> = serde_json::from_str(&printed)?;
        all.into_iter().find(|peer| peer.name == name).with_context(|| format!("no peer {name} of {tenant}: {printed}"))
    }

    /// Waits until a peer is as it should be.
    pub fn await_bgp_peer(
        &self,
        (tenant, name): (&str, &str),
        awaited: &str,
        is: impl Fn(&BgpNeighborReport) -> bool,
    ) -> Result<BgpNeighborReport> {
        let awaited = format!("{name} of {tenant}: {awaited}");
        until(PATIENCE, &awaited, || self.bgp_peer(tenant, name).ok().filter(&is)).with_context(|| self.about_bgp())
    }

    /// Waits until a peer's session is up.
    pub fn await_session(&self, tenant: &str, name: &str) -> Result<BgpNeighborReport> {
        self.await_bgp_peer((tenant, name), "a session", |peer| peer.state == "established")
    }

    /// The paths that a tenant's router has to a prefix.
    pub fn bgp_paths(&self, tenant: &str, prefix: &str) -> Result<Vec<BgpRouteReport>> {
        let printed = self.ctl(&["bgp", "routes", "--tenant", tenant, "--prefix", prefix, "-o", "json"])?;
        let all: Vec<BgpRouteReport> = serde_json::from_str(&printed)?;
        Ok(all.into_iter().filter(|path| path.prefix.to_string() == prefix).collect())
    }

    /// Waits until they are as they should be.
    pub fn await_paths(
        &self,
        (tenant, prefix): (&str, &str),
        awaited: &str,
        are: impl Fn(&[BgpRouteReport]) -> bool,
    ) -> Result<Vec<BgpRouteReport>> {
        let awaited = format!("{prefix} of {tenant}: {awaited}");
        until(PATIENCE, &awaited, || self.bgp_paths(tenant, prefix).ok().filter(|paths| are(paths)))
            .with_context(|| format!("{:#?}\n{}", self.bgp_paths(tenant, prefix), self.about_bgp()))
    }

    /// Waits until a tenant's router has a best path that this peer told.
    pub fn await_path(&self, tenant: &str, prefix: &str, peer: &str) -> Result<()> {
        let best = |path: &BgpRouteReport| path.used == "best" && path.peer == peer;
        self.await_paths((tenant, prefix), &format!("by {peer}"), |paths| paths.iter().any(best)).map(drop)
    }

    /// What helps to see why something of BGP failed.
    pub fn about_bgp(&self) -> String {
        let peers = self.ctl(&["bgp", "neighbors"]).unwrap_or_else(|error| format!("{error:#}"));
        format!("{peers}\nthe daemon said:\n{}", self.log())
    }
}
