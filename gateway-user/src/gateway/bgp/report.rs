//! What became of peers, for the log and for who asks.

use super::PeerStates;
use super::agreed;
use super::router::Router;
use super::routes::row;
use super::{policy_test, routes, translate};
use crate::agent::protocol::{self, PeerRoutes, PeerState, RackSession, SessionState};
use crate::api::agent::Shown;
use crate::api::bgp::BgpAttributesReport;
use crate::api::clock;
use crate::api::protocol::{Answer, Failure, FailureCode, Query};
use crate::api::report::{BgpExplanationReport, BgpNeighborReport, BgpPathReport, BgpSentReport};
use crate::plan::BgpPeer;
use bgp::Moment;
use bgp::rib::{FamilyCounters, NeighbourId, Outcome, SentTo};
use bgp::session::{Event, Messages, Routes, Statistics};
use bgp::speaker::{Config, NeighborName, Speaker};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What is known of one peer.
#[derive(Debug, Default)]
struct Seen {
    /// When it came up or was lost.
    since: Option<Moment>,
    established: u64,
    lost: u64,
    /// Why there was none the last time.
    last_error: Option<String>,
    /// How the BFD session is that watches it.
    bfd: Option<bfd::State>,
}

/// What became of a tenant's peers.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<NeighborName, Seen>);

impl Peers {
    /// Forgets peers that are not configured any more.
    pub(super) fn keep(&mut self, config: &Config) {
        self.0.retain(|name, _| config.neighbors.contains_key(name));
    }

    /// The BFD session that watches a peer is so.
    pub(super) fn watched(&mut self, neighbor: &NeighborName, state: Option<bfd::State>) {
        self.0.entry(neighbor.clone()).or_default().bfd = state;
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
                seen.since = Some(now);
                seen.established += 1;
                seen.last_error = None;
            }
            Event::Lost { reason, retained } => {
                let kept = if retained.is_empty() { "its routes are gone" } else { "its routes are kept for a while" };
                tracing::warn!(tenant, %peer, "the BGP session is lost: {reason}; {kept}");
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
            Event::TableFull => {
                tracing::warn!(tenant, %peer, "the router's table is full: the peer's further routes are left out");
            }
            Event::PrefixWarning { family, count, limit } => {
                tracing::warn!(tenant, %peer, ?family, count, limit, "the peer comes near its limit of prefixes");
            }
        }
    }
}

/// How the sessions of the gateway's own router are.
pub(super) fn rack(router: &Router) -> Vec<RackSession> {
    let sessions = router.subject.peers().iter().map(|peer| {
        let name = translate::name(peer);
        let state = router.speaker.neighbor(&name).map_or_else(String::new, |view| view.state.to_string());
        let last_error = router.peers.0.get(&name).and_then(|seen| seen.last_error.clone());
        RackSession { peer: peer.address, state: state.to_lowercase(), last_error }
    });
    sessions.collect()
}

/// How all peers fare, for the controller.
pub(super) fn peers<'r>(routers: impl Iterator<Item = &'r Router>) -> PeerStates {
    let tenants = routers.filter(|router| router.subject.tenant().is_some());
    tenants.map(|router| (router.name().to_owned(), peers_of(router))).collect()
}

fn peers_of(router: &Router) -> BTreeMap<String, PeerState> {
    let state = |peer: &BgpPeer| {
        let name = translate::name(peer);
        let view = router.speaker.neighbor(&name);
        let statistics = view.as_ref().map(|view| view.statistics).unwrap_or_default();
        let up = view.as_ref().is_some_and(|view| view.negotiated.is_some());
        let messages = |of: Messages| protocol::Messages { sent: of.sent.count, received: of.received.count };
        let routes = |of: Routes| PeerRoutes {
            updates: protocol::Messages { sent: of.updates_sent, received: of.updates_received },
            withdrawals: protocol::Messages { sent: of.withdrawals_sent, received: of.withdrawals_received },
        };
        let state = PeerState {
            session: if up { SessionState::Up } else { SessionState::Down },
            last_error: router.peers.0.get(&name).and_then(|seen| seen.last_error.clone()).filter(|_| !up),
            closed: statistics.connection_closed.map(|at| clock::wall(at.0) / 1_000_000),
            open: messages(statistics.open),
            update: messages(statistics.update),
            notification: messages(statistics.notification),
            keepalive: messages(statistics.keepalive),
            refresh: messages(statistics.refresh),
            ipv4: routes(statistics.ipv4),
            ipv6: routes(statistics.ipv6),
        };
        (peer.name.to_string(), state)
    };
    router.subject.peers().iter().map(state).collect()
}

/// Answers a question about routers.
pub(super) fn show<'r>(query: &Query, routers: impl Iterator<Item = &'r mut Router>) -> Result<Shown, Failure> {
    let mut routers: Vec<&mut Router> = routers.collect();
    routers.sort_by(|a, b| a.name().cmp(b.name()));
    let now = Moment(clock::monotonic());
    match query {
        Query::BgpNeighbors { tenant } => {
            if let Some(tenant) = tenant {
                routers = vec![router_of(routers, tenant)?];
            }
            Ok(Answer::BgpNeighbors(routers.iter().flat_map(|router| neighbors(router, now)).collect()).into())
        }
        Query::BgpRoutes(query) => routes::page(routers, query, now),
        Query::BgpDump(query) => routes::dump(routers, query, now),
        Query::BgpPolicyTest(test) => {
            let router = router_of(routers, &test.tenant)?;
            let report = policy_test::run(&router.speaker, router.subject.tenant(), test)?;
            Ok(Answer::BgpPolicyTest(Box::new(report)).into())
        }
        Query::BgpExplain { tenant, prefix } => {
            let router = router_of(routers, tenant)?;
            let explained = explain(router, *prefix, now).ok_or_else(|| {
                let message = format!("no path to {prefix} is known to the router of \"{tenant}\"");
                let remedy =
                    format!("`gatewayctl bgp routes --tenant {tenant} --prefix {prefix}` shows what is near it");
                Failure::new(FailureCode::NotFound, message).remedy(remedy)
            })?;
            Ok(Answer::BgpExplanation(Box::new(explained)).into())
        }
        _ => Err(Failure::internal("this is no question about BGP")),
    }
}

pub(super) fn router_of<'r>(routers: Vec<&'r mut Router>, tenant: &str) -> Result<&'r mut Router, Failure> {
    routers.into_iter().find(|router| router.name() == tenant).ok_or_else(|| {
        let message = format!("the tenant \"{tenant}\" has no BGP router on this gateway");
        let remedy = "`gatewayctl bgp neighbors` lists all peers of those that have one";
        Failure::new(FailureCode::NotFound, message).remedy(remedy)
    })
}

fn neighbors(router: &Router, now: Moment) -> Vec<BgpNeighborReport> {
    let subject = &router.subject;
    let none = Seen::default();
    let peers = router.subject.peers().iter();
    let row = |peer: &BgpPeer| {
        let name = translate::name(peer);
        let seen = router.peers.0.get(&name).unwrap_or(&none);
        let view = router.speaker.neighbor(&name);
        let connection = subject.tenant().and_then(|tenant| tenant.connection_to(peer));
        let agreed = view.as_ref().and_then(|view| view.negotiated);
        let statistics = view.as_ref().map(|view| view.statistics).unwrap_or_default();
        let routes = view.as_ref().map(|view| view.routes).unwrap_or_default();
        let sum = |count: fn(&FamilyCounters) -> u32| routes.iter().map(|family| u64::from(count(family))).sum();
        let messages = |count: fn(&Messages) -> u64| {
            let Statistics { open, update, notification, keepalive, refresh, .. } = &statistics;
            [open, update, notification, keepalive, refresh].into_iter().map(count).sum()
        };
        BgpNeighborReport {
            tenant: subject.name().to_owned(),
            name: peer.name.to_string(),
            address: Some(peer.address),
            local_address: subject.local_address_for(peer).or(view.as_ref().and_then(|view| view.local_address)),
            as_number: peer.as_number.get().0,
            connection: connection.map(|connection| connection.name.to_string()).unwrap_or_default(),
            state: view.as_ref().map_or_else(String::new, |view| view.state.to_string().to_lowercase()),
            since_seconds: seen.since.map(|since| now.since(since).as_secs()),
            router_id: agreed.map(|session| session.router_id.to_string()),
            hold_time_seconds: agreed.map(|session| session.hold_time),
            families: agreed
                .iter()
                .flat_map(|session| &session.families)
                .map(|it| agreed::name(it.family).to_owned())
                .collect(),
            capabilities: agreed.map(agreed::capabilities).unwrap_or_default(),
            established: seen.established,
            lost: seen.lost,
            prefixes_received: sum(|family| family.paths),
            prefixes_rejected: sum(|family| family.rejected),
            prefixes_sent: sum(|family| family.advertised),
            messages_received: messages(|one| one.received.count),
            messages_sent: messages(|one| one.sent.count),
            bfd: peer
                .bfd
                .map(|_| seen.bfd.map_or_else(|| "unknown".to_owned(), |state| state.to_string().to_lowercase())),
            last_error: seen.last_error.clone().filter(|_| agreed.is_none()),
        }
    };
    peers.map(row).collect()
}

/// What the speaker has of its own.
const OWN: &str = "local";

pub(super) fn peer_name(router: &Router, neighbour: NeighbourId) -> String {
    peer_name_of(&router.speaker, neighbour)
}

pub(super) fn peer_name_of(speaker: &Speaker, neighbour: NeighbourId) -> String {
    speaker.name_of(neighbour).map_or_else(|| OWN.to_owned(), ToString::to_string)
}

fn explain(router: &mut Router, prefix: IpNet, now: Moment) -> Option<BgpExplanationReport> {
    let explanation = router.speaker.explain(prefix)?;
    let paths = explanation.paths.iter().map(|path| {
        let used = match path.outcome {
            Outcome::Best => "best",
            Outcome::Multipath => "multipath",
            Outcome::Lost(_) => "no",
            Outcome::Unusable(_) => "unusable",
        };
        let peer = peer_name(router, path.neighbour);
        let route = row(prefix, peer, used, &path.attributes, (path.stale, now.since(path.since)));
        BgpPathReport { route, why: path.words.clone() }
    });
    let sent = |to: &SentTo| BgpSentReport {
        peer: peer_name(router, to.neighbour),
        sent: matches!(to.sent, Ok(Some(_))),
        attributes: to.sent.as_ref().ok().and_then(Option::as_ref).map(|attributes| {
            let told = row(prefix, String::new(), "", attributes, (false, Duration::ZERO));
            BgpAttributesReport::from(&told)
        }),
        why_not: match &to.sent {
            Ok(Some(_)) => None,
            Ok(None) => Some("it will be sent in a moment".to_owned()),
            Err(refusal) => Some(refusal.to_string()),
        },
    };
    let known = explanation.neighbours.iter().map(sent);
    let asked = |name: &NeighborName| {
        explanation.neighbours.iter().any(|to| router.speaker.name_of(to.neighbour) == Some(name))
    };
    let others = router.speaker.neighbors().filter(|name| !asked(name)).map(|name| {
        let up = router.speaker.neighbor(name).is_some_and(|view| view.negotiated.is_some());
        let why = if up { "the session carries no routes of this family" } else { "there is no session" };
        BgpSentReport { peer: name.to_string(), sent: false, attributes: None, why_not: Some(why.to_owned()) }
    });
    let sent_to = known.chain(others).collect();
    Some(BgpExplanationReport { prefix: explanation.prefix, paths: paths.collect(), sent_to })
}
