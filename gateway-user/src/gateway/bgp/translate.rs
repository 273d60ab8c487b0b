//! From a tenant's plan to what its speaker is configured with, and from a learned next hop to a way out.

use super::socket::{Internal, Security};
use crate::dataplane::learned::{Via, Way};
use crate::plan::bgp::{AddPath, AsNumber, AsPathEquality, Damping, PeerFamily, PeerMode, PeerRole, Reach, Reflection};
use crate::plan::{Bgp, BgpPeer, ConnectionKind, Name, Tenant};
use bgp::number::{Family, RouterId};
use bgp::policy::Policy;
use bgp::rib::{AddPathSend, DampingSettings, EqualPaths, Limit, Multipath};
use bgp::session::{
    Administrative, Authentication, Distance, FamilyConfig, GracefulRestart, MaxPrefixes, Mode, Neighbor, RoleConfig,
    Secret, Strictness, Timers,
};
use bgp::speaker::{
    self, Config, Decision, Deferral, NeighborConfig, NeighborName, Network, RouteConfig, RouteNextHop,
};
use bgp::wire::{AddPath as OfferedPaths, Role};
use gateway_common::tables::Nexthop;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A tenant's speaker, which keeps at most so many paths; none where the tenant has no router here.
pub fn config(tenant: &Tenant, room: u32) -> Option<Config> {
    let bgp = tenant.bgp.as_ref()?;
    let own = || tenant.router_addresses().v4.map(RouterId);
    let router_id = bgp.router_id.map(|id| id.get()).or_else(own)?;
    let policies =
        bgp.policies.iter().filter_map(|policy| Some((policy.name.as_str(), Arc::new(policy.compiled().ok()?))));
    let policies: Policies<'_> = policies.collect();
    let mut config = Config::new(bgp.as_number.get(), router_id);
    config.cluster_id = bgp.cluster_id.map(|id| id.get());
    config.neighbors = bgp.peers.iter().map(|peer| (name(peer), neighbor(tenant, bgp, peer, &policies))).collect();
    config.networks = tenant.announced().into_iter().map(Network::from).collect();
    config.decision = decision(bgp, room);
    Some(config)
}

type Policies<'p> = BTreeMap<&'p str, Arc<Policy>>;

fn decision(bgp: &Bgp, room: u32) -> Decision {
    let maximum = bgp.max_routes.map_or(room, |most| most.get());
    let longest = bgp.peers.iter().map(|peer| peer.graceful_restart.get()).max().unwrap_or_default();
    Decision {
        multipath: Multipath {
            maximum: bgp.multipath.map_or(Nexthop::GROUP_SIZE as u16, |paths| paths.get().into()),
            paths: match bgp.multipath_as_path {
                AsPathEquality::Same => EqualPaths::SameNeighbour,
                AsPathEquality::Length => EqualPaths::SameLength,
            },
        },
        // A person hears of it in time to do something.
        limit: Some(Limit { maximum, warning: maximum - maximum / 10 }),
        deferral: Deferral(Duration::from_secs(longest.into())),
        ..Decision::default()
    }
}

/// What the speaker calls a peer.
pub fn name(peer: &BgpPeer) -> NeighborName {
    peer.name.as_str().into()
}

fn neighbor(tenant: &Tenant, bgp: &Bgp, peer: &BgpPeer, policies: &Policies<'_>) -> NeighborConfig {
    let enabled = match tenant.reach_of(peer) {
        Some(Reach::Connection(connection)) => connection.enabled,
        Some(Reach::Gateway(_)) => true,
        None => false,
    };
    let mut session = session(peer, security(bgp, peer));
    session.local_address = tenant.local_address_for(peer);
    session.administrative =
        if enabled { Administrative::Up } else { Administrative::Down("the connection is switched off".to_owned()) };
    let policy = |name: &Option<Name>| policies.get(name.as_ref()?.as_str()).cloned();
    let own = tenant.next_hops_for(peer);
    let routes = RouteConfig {
        reflection: match peer.reflection {
            Reflection::None => speaker::Reflection::NoClient,
            Reflection::Client => speaker::Reflection::Client,
        },
        import: policy(&peer.policy_in),
        export: policy(&peer.policy_out),
        next_hop_v4: own.v4,
        next_hop_v6: own.v6,
        add_path: match peer.add_path {
            Some(AddPath::Send | AddPath::Both) => AddPathSend::All,
            Some(AddPath::Receive) | None => AddPathSend::Best,
        },
        damping: match bgp.damping {
            Damping::Off => None,
            Damping::Rfc7196 => Some(DampingSettings::default()),
        },
        ..RouteConfig::default()
    };
    NeighborConfig { session, routes }
}

/// A session as a peer's own settings have it.
pub fn session(peer: &BgpPeer, security: Security) -> Neighbor {
    let mut session = Neighbor::new(peer.address, peer.as_number.get());
    session.mode = match peer.mode {
        PeerMode::Mixed => Mode::Mixed,
        PeerMode::Active => Mode::Active,
        PeerMode::Passive => Mode::Passive,
    };
    session.families = families(peer);
    let timers = Timers::default();
    session.timers = Timers {
        hold: peer.hold_time.seconds(),
        connect_retry: peer.connect_retry.map_or(timers.connect_retry, |time| Duration::from_millis(time.get().into())),
        ..timers
    };
    session.graceful_restart = match peer.graceful_restart.get() {
        0 => None,
        time => Some(GracefulRestart {
            time,
            long_lived: peer.long_lived_stale.map(|time| time.get()),
            ..GracefulRestart::default()
        }),
    };
    session.role = peer.role.map(|role| RoleConfig {
        role: match role {
            PeerRole::Provider => Role::Provider,
            PeerRole::Customer => Role::Customer,
            PeerRole::Peer => Role::Peer,
            PeerRole::RouteServer => Role::RouteServer,
            PeerRole::RouteServerClient => Role::RouteServerClient,
        },
        strictness: Strictness::Lenient,
    });
    session.authentication = security.authentication;
    session.distance = security.distance;
    session
}

fn families(peer: &BgpPeer) -> BTreeMap<Family, FamilyConfig> {
    let all: Vec<Family> = if peer.families.is_empty() {
        vec![Family::of(peer.address)]
    } else {
        let family = |family: &PeerFamily| match family {
            PeerFamily::Ipv4 => Family::Ipv4,
            PeerFamily::Ipv6 => Family::Ipv6,
        };
        peer.families.iter().map(family).collect()
    };
    let config = FamilyConfig {
        add_path: peer.add_path.map(|way| match way {
            AddPath::Send => OfferedPaths::Send,
            AddPath::Receive => OfferedPaths::Receive,
            AddPath::Both => OfferedPaths::Both,
        }),
        max_prefixes: peer.max_prefixes.map(|most| MaxPrefixes {
            limit: most.count.get(),
            warning_percent: most.warning.get(),
            restart: most.restart.map(|time| Duration::from_millis(time.get().into())),
        }),
    };
    all.into_iter().map(|family| (family, config.clone())).collect()
}

/// What the sockets of a peer's sessions are to see to.
pub fn security(bgp: &Bgp, peer: &BgpPeer) -> Security {
    security_in(bgp.as_number, peer)
}

/// The same for a router in that AS.
pub fn security_in(as_number: AsNumber, peer: &BgpPeer) -> Security {
    let distance = match (peer.ttl_security, peer.multihop) {
        (Some(hops), _) => Distance::Security(hops.get()),
        (None, Some(hops)) => Distance::MultiHop(hops.get()),
        (None, None) => Distance::SingleHop,
    };
    let authentication = match &peer.password {
        Some(password) => Authentication::Md5(Secret::new(password.expose().as_bytes())),
        None => Authentication::None,
    };
    let internal = if peer.as_number == as_number { Internal::Yes } else { Internal::No };
    Security { remote: peer.address, authentication, distance, internal }
}

/// By what packets leave that go to equally good next hops, the best first. What can leave here does: another gateway that got it would have to
/// drop it if it thought the same of this one. Of several other gateways the one of the best path takes all: it was told that path, too.
pub fn ways(tenant: &Tenant, next_hops: &[RouteNextHop]) -> Vec<Way> {
    let ways = next_hops.iter().filter_map(|it| way(tenant, it.neighbor.as_ref(), it.address));
    let (mut here, mut by_others): (Vec<Way>, Vec<Way>) = ways.partition(|way| matches!(way.via, Via::Connection(_)));
    if here.is_empty() {
        by_others.truncate(1);
        here = by_others;
    }
    here
}

/// By what packets leave that go to a next hop which a peer has told. What is not itself a known router on a VLAN is reached by the peer; what
/// another gateway has told of, where it is reached itself.
fn way(tenant: &Tenant, peer: &str, next_hop: IpAddr) -> Option<Way> {
    let bgp = tenant.bgp.as_ref()?;
    let peer = bgp.peers.iter().find(|it| it.name.as_str() == peer)?;
    let on_vlan = || tenant.connections.iter().find(|connection| connection.network_of(next_hop).is_some());
    let reached = || match tenant.reach_of(peer)? {
        Reach::Gateway(gateway) if peer.as_number == bgp.as_number => {
            Some((tenant.reach(next_hop).unwrap_or(Reach::Gateway(gateway)), next_hop))
        }
        reach => Some((reach, peer.address)),
    };
    let (reach, router) = on_vlan().map(|connection| (Reach::Connection(connection), peer.address)).or_else(reached)?;
    let connection = match reach {
        Reach::Connection(connection) => connection,
        Reach::Gateway(gateway) => return Some(Way { via: Via::Gateway(gateway.pa), next_hop: gateway.pa }),
    };
    let known = || {
        connection.peers.contains(&next_hop)
            || connection.routes.iter().any(|route| route.next_hop == Some(next_hop))
            || tenant.peers_by(connection).any(|it| it.address == next_hop)
    };
    let next_hop = match &connection.kind {
        ConnectionKind::Gre(_) => Ipv4Addr::UNSPECIFIED.into(),
        ConnectionKind::L3(_) if connection.network_of(next_hop).is_some() && known() => next_hop,
        ConnectionKind::L3(_) if connection.network_of(router).is_some() => router,
        // Behind a router on the VLAN, as a static route says.
        ConnectionKind::L3(_) => connection
            .routes
            .iter()
            .filter(|route| route.destination.contains(router))
            .max_by_key(|route| route.destination.prefix_len())
            .and_then(|route| route.next_hop)
            .unwrap_or(router),
    };
    Some(Way { via: Via::of(connection), next_hop })
}
