//! The paths of a router's table: for people, and as an MRT dump; a page at a time, so that nobody's session waits for a table of a million.

use super::report::{peer_name, router_of};
use super::router::Router;
use crate::api::agent::Shown;
use crate::api::bgp::{BgpDumpPlace, BgpDumpQuery, BgpMatching, BgpRoutesQuery};
use crate::api::protocol::{Answer, Failure, FailureCode, Query};
use crate::api::report::BgpRouteReport;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bgp::Moment;
use bgp::attributes::{Attributes, Community, ExtendedCommunity, LargeCommunity};
use bgp::mrt::{DumpEntry, DumpPeer, TableDump};
use bgp::number::RouterId;
use bgp::rib::{NeighbourId, PathView};
use ipnet::IpNet;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

/// Places of the table that are looked at for one page.
const PAGE: u32 = 2048;

/// A community of any kind.
enum AnyCommunity {
    Standard(Community),
    Extended(ExtendedCommunity),
    Large(LargeCommunity),
}

impl AnyCommunity {
    fn read(text: &str) -> Result<Self, Failure> {
        let standard = || text.parse().map(Self::Standard).ok();
        let large = || text.parse().map(Self::Large).ok();
        let extended = || text.parse().map(Self::Extended).ok();
        standard().or_else(large).or_else(extended).ok_or_else(|| {
            let message = format!("\"{text}\" is no community");
            let remedy = "write one such as 64512:100, 64512:1:2, rt:64512:100 or no-export";
            Failure::new(FailureCode::BadRequest, message).remedy(remedy)
        })
    }

    fn is_among(&self, attributes: &Attributes) -> bool {
        match self {
            Self::Standard(one) => attributes.communities.contains(one),
            Self::Extended(one) => attributes.extended_communities.contains(one),
            Self::Large(one) => attributes.large_communities.contains(one),
        }
    }
}

/// Puts communities, given as texts, where they belong.
pub(super) fn put_communities(texts: &[String], attributes: &mut Attributes) -> Result<(), Failure> {
    for text in texts {
        match AnyCommunity::read(text)? {
            AnyCommunity::Standard(one) => attributes.communities.push(one),
            AnyCommunity::Extended(one) => attributes.extended_communities.push(one),
            AnyCommunity::Large(one) => attributes.large_communities.push(one),
        }
    }
    Ok(())
}

/// One page of what is asked for.
pub(super) fn page(routers: Vec<&mut Router>, query: &BgpRoutesQuery, now: Moment) -> Result<Shown, Failure> {
    let router = router_of(routers, &query.tenant)?;
    let community = query.community.as_deref().map(AnyCommunity::read).transpose()?;
    let (prefixes, next) = prefixes(router, query);
    let rib = router.speaker.rib();
    let mut rows = Vec::new();
    for prefix in prefixes {
        for (path, used) in uses(rib.paths(prefix)) {
            let peer = peer_name(router, path.neighbour);
            let attributes = rib.attributes().get(path.attributes);
            let wanted = query.peer.as_ref().is_none_or(|wanted| *wanted == peer)
                && community.as_ref().is_none_or(|community| community.is_among(&attributes));
            if wanted {
                rows.push(row(prefix, peer, used, &attributes, (path.stale, now.since(path.since))));
            }
        }
    }
    let next = next.map(|from| Query::BgpRoutes(BgpRoutesQuery { from, ..query.clone() }));
    Ok(Shown::Part(Answer::BgpRoutes(rows), next))
}

/// The prefixes of a page, and where to go on.
fn prefixes(router: &Router, query: &BgpRoutesQuery) -> (Vec<IpNet>, Option<u32>) {
    let rib = router.speaker.rib();
    let within = |wanted: Option<IpNet>, also: fn(&IpNet, &IpNet) -> bool| {
        let (mut found, next) = rib.page(query.from, PAGE);
        found.retain(|net| wanted.is_none_or(|wanted| also(&wanted, net)));
        (found, next)
    };
    match (query.prefix, query.matching) {
        (None, _) => within(None, |_, _| true),
        (Some(wanted), BgpMatching::Exact) => (vec![wanted.trunc()], None),
        (Some(wanted), BgpMatching::Covering) => {
            let shorter = |length| IpNet::new(wanted.addr(), length).ok().map(|net| net.trunc());
            ((0..=wanted.prefix_len()).filter_map(shorter).collect(), None)
        }
        (wanted, BgpMatching::Longer) => within(wanted, |wanted, net| wanted.contains(net)),
        (wanted, BgpMatching::Related) => within(wanted, |wanted, net| wanted.contains(net) || net.contains(wanted)),
    }
}

/// Paths to one prefix, those in use first, and what each is used for.
fn uses(paths: Vec<PathView>) -> impl Iterator<Item = (PathView, &'static str)> {
    let mut best = true;
    paths.into_iter().map(move |path| {
        let used = if !path.chosen {
            if path.rejected { "rejected" } else { "no" }
        } else if std::mem::take(&mut best) {
            "best"
        } else {
            "multipath"
        };
        (path, used)
    })
}

/// A path as a person is told it.
pub(super) fn row(
    prefix: IpNet,
    peer: String,
    used: &str,
    attributes: &Attributes,
    (stale, age): (bool, Duration),
) -> BgpRouteReport {
    let standard = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    BgpRouteReport {
        prefix,
        peer,
        used: used.to_owned(),
        next_hop: (!attributes.next_hop.is_self()).then(|| attributes.next_hop.address()),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        med: attributes.med,
        local_preference: attributes.local_pref,
        weight: attributes.weight,
        communities: standard.chain(extended).chain(large).collect(),
        stale,
        age_seconds: age.as_secs(),
    }
}

/// One part of a dump.
pub(super) fn dump(routers: Vec<&mut Router>, query: &BgpDumpQuery, now: Moment) -> Result<Shown, Failure> {
    let router = router_of(routers, &query.tenant)?;
    let mut bytes = Vec::new();
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut place = match &query.from {
        Some(place) => place.clone(),
        None => begin(router, clock, &mut bytes),
    };
    let ids: Vec<Option<NeighbourId>> =
        place.peers.iter().map(|name| router.speaker.neighbor(name).map(|view| view.id)).collect();
    let position = |id: NeighbourId| match id {
        NeighbourId::LOCAL => Some(0),
        id => ids.iter().position(|other| *other == Some(id)).and_then(|at| u16::try_from(at + 1).ok()),
    };
    let rib = router.speaker.rib();
    let (prefixes, next) = rib.page(place.from, PAGE);
    for prefix in prefixes {
        let paths = rib.paths(prefix);
        let entry = |path: &PathView| {
            Some(DumpEntry {
                // A peer that came after the dump's begin is not named in it.
                peer: position(path.neighbour)?,
                since: clock.saturating_sub(now.since(path.since)),
                path_id: path.path_id,
                attributes: rib.attributes().canonical(path.attributes),
            })
        };
        let entries: Vec<DumpEntry<'_>> = paths.iter().filter(|path| !path.rejected).filter_map(entry).collect();
        if !entries.is_empty() {
            place.dump.prefix(prefix, &entries, &mut bytes);
        }
    }
    let answer = if bytes.is_empty() { Vec::new() } else { vec![BASE64_STANDARD.encode(&bytes)] };
    let next = next.map(|from| {
        let place = BgpDumpPlace { from, ..place };
        Query::BgpDump(BgpDumpQuery { tenant: query.tenant.clone(), from: Some(place) })
    });
    Ok(Shown::Part(Answer::BgpDump(answer), next))
}

fn begin(router: &Router, clock: Duration, into: &mut Vec<u8>) -> BgpDumpPlace {
    let config = router.speaker.config();
    let own = DumpPeer { router_id: config.router_id, address: Ipv4Addr::UNSPECIFIED.into(), asn: config.asn };
    let others = config.neighbors.iter().map(|(name, neighbor)| {
        let agreed = router.speaker.neighbor(name).and_then(|view| view.negotiated.map(|agreed| agreed.router_id));
        DumpPeer {
            router_id: agreed.unwrap_or(RouterId(Ipv4Addr::UNSPECIFIED)),
            address: neighbor.session.address,
            asn: neighbor.session.asn,
        }
    });
    let peers: Vec<DumpPeer> = std::iter::once(own).chain(others).collect();
    let dump = TableDump::begin(clock, config.router_id, router.name(), &peers, into);
    BgpDumpPlace { dump, peers: config.neighbors.keys().cloned().collect(), from: 0 }
}
