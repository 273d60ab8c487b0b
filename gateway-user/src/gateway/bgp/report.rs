//! What became of peers, for the log and for who asks.

use super::router::Router;
use super::translate;
use crate::api::agent::Shown;
use crate::api::clock;
use crate::api::protocol::{Answer, Failure, FailureCode, Query};
use crate::api::report::BgpNeighborReport;
use bgp::Moment;
use bgp::session::{Event, Negotiated};
use bgp::speaker::{Config, NeighborName};
use std::collections::HashMap;

/// What is known of one peer.
#[derive(Debug, Default)]
struct Seen {
    /// The session that is up.
    session: Option<Box<Negotiated>>,
    /// When it came up or was lost.
    since: Option<Moment>,
    established: u64,
    lost: u64,
    /// Why there was none the last time.
    last_error: Option<String>,
}

/// What became of a tenant's peers.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<NeighborName, Seen>);

impl Peers {
    /// Forgets peers that are not configured any more.
    pub(super) fn keep(&mut self, config: &Config) {
        self.0.retain(|name, _| config.neighbors.contains_key(name));
    }

    /// A connection could not be opened.
    pub(super) fn failed(&mut self, tenant: &str, neighbor: &NeighborName, error: &str) {
        let seen = self.0.entry(neighbor.clone()).or_default();
        if seen.last_error.as_deref() != Some(error) {
            tracing::info!(tenant, peer = %neighbor, "no connection to the BGP peer: {error}");
            seen.last_error = Some(error.to_owned());
        }
    }

    /// The speaker tells something.
    pub(super) fn event(&mut self, tenant: &str, neighbor: &NeighborName, event: Event, now: Moment) {
        let seen = self.0.entry(neighbor.clone()).or_default();
        let peer = neighbor;
        match event {
            Event::Established(negotiated) => {
                tracing::info!(
                    tenant,
                    %peer,
                    router_id = %negotiated.router_id,
                    hold_time = negotiated.hold_time,
                    "the BGP session is up"
                );
                seen.session = Some(negotiated);
                seen.since = Some(now);
                seen.established += 1;
                seen.last_error = None;
            }
            Event::Lost { reason, retained } => {
                let kept = if retained.is_empty() { "its routes are gone" } else { "its routes are kept for a while" };
                tracing::warn!(tenant, %peer, "the BGP session is lost: {reason}; {kept}");
                seen.session = None;
                seen.since = Some(now);
                seen.lost += 1;
                seen.last_error = Some(reason.to_string());
            }
            Event::Failed(reason) => {
                let reason = reason.to_string();
                // The socket's own error says more.
                let said = matches!(&seen.last_error, Some(before) if *before == reason);
                if !said && !matches!(reason.as_str(), "no connection could be opened") {
                    tracing::info!(tenant, %peer, "the BGP session does not come up: {reason}");
                    seen.last_error = Some(reason);
                }
            }
            Event::Faulty(fault) => tracing::warn!(tenant, %peer, "a faulty UPDATE: {fault:?}"),
            Event::Disabled(family) => {
                tracing::warn!(tenant, %peer, ?family, "the peer's routes are not believed until the session ends");
            }
            Event::StaleGone(family) => tracing::info!(tenant, %peer, ?family, "routes that were kept are gone"),
            Event::LongLived(family) => {
                tracing::info!(tenant, %peer, ?family, "routes are kept on as a last resort");
            }
            Event::EndOfRib(family) => tracing::debug!(tenant, %peer, ?family, "the peer has sent all its routes"),
            Event::PrefixWarning { family, count, limit } => {
                tracing::warn!(tenant, %peer, ?family, count, limit, "the peer comes near its limit of prefixes");
            }
        }
    }
}

/// Answers a question about routers.
pub(super) fn show<'r>(query: &Query, routers: impl Iterator<Item = &'r Router>) -> Result<Shown, Failure> {
    let mut routers: Vec<&Router> = routers.collect();
    routers.sort_by(|a, b| a.name().cmp(b.name()));
    match query {
        Query::BgpNeighbors { tenant } => {
            if let Some(tenant) = tenant {
                routers.retain(|router| router.name() == tenant);
                if routers.is_empty() {
                    let message = format!("the tenant \"{tenant}\" has no BGP router on this gateway");
                    let remedy = "`gatewayctl bgp neighbors` lists all peers of those that have one";
                    return Err(Failure::new(FailureCode::NotFound, message).remedy(remedy));
                }
            }
            let now = Moment(clock::monotonic());
            Ok(Answer::BgpNeighbors(routers.iter().flat_map(|router| neighbors(router, now)).collect()).into())
        }
        _ => Err(Failure::internal("this is no question about BGP")),
    }
}

fn neighbors(router: &Router, now: Moment) -> Vec<BgpNeighborReport> {
    let tenant = router.tenant();
    let none = Seen::default();
    let peers = tenant.bgp.iter().flat_map(|bgp| &bgp.peers);
    let row = |peer: &crate::plan::BgpPeer| {
        let seen = router.peers.0.get(&translate::name(peer)).unwrap_or(&none);
        let connection = tenant.connection_to(peer);
        let state = match (&seen.session, connection) {
            (_, Some(connection)) if !connection.enabled => "disabled",
            (Some(_), _) => "established",
            (None, _) => "down",
        };
        BgpNeighborReport {
            tenant: tenant.name.to_string(),
            name: peer.name.to_string(),
            address: Some(peer.address),
            local_address: tenant.local_address_for(peer),
            as_number: peer.as_number.get().0,
            connection: connection.map(|connection| connection.name.to_string()).unwrap_or_default(),
            state: state.to_owned(),
            since_seconds: seen.since.map(|since| now.since(since).as_secs()),
            router_id: seen.session.as_ref().map(|session| session.router_id.to_string()),
            hold_time_seconds: seen.session.as_ref().map(|session| session.hold_time),
            families: seen.session.iter().flat_map(|session| &session.families).map(|it| family(it.family)).collect(),
            established: seen.established,
            lost: seen.lost,
            last_error: seen.last_error.clone().filter(|_| seen.session.is_none()),
        }
    };
    peers.map(row).collect()
}

fn family(family: bgp::number::Family) -> String {
    match family {
        bgp::number::Family::Ipv4 => "ipv4",
        bgp::number::Family::Ipv6 => "ipv6",
    }
    .to_owned()
}
