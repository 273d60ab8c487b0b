//! From a tenant's plan to what its speaker is configured with, and from a learned next hop to a way out.

use super::socket::{Internal, Security};
use crate::dataplane::learned::Way;
use crate::plan::bgp::{
    AddPath, AoAlgorithm, AsNumber, AsPathEquality, Damping, PeerFamily, PeerMode, PeerRole, Reflection,
};
use crate::plan::{Bgp, BgpPeer, ConnectionKind, Name, Tenant};
use bgp::number::{Family, RouterId};
use bgp::policy::Policy;
use bgp::rib::{AddPathSend, DampingSettings, EqualPaths, Limit, Multipath};
use bgp::session::{
    Administrative, AoKey, Authentication, Distance, FamilyConfig, GracefulRestart, MaxPrefixes, Mode, Neighbor,
    RoleConfig, Secret, Strictness, Timers,
};
use bgp::speaker::{self, Config, Decision, Deferral, NeighborConfig, NeighborName, Network, RouteConfig};
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
    let enabled = tenant.connection_to(peer).is_some_and(|connection| connection.enabled);
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
    let authentication = match (&peer.password, &peer.tcp_ao) {
        (Some(password), _) => Authentication::Md5(Secret::new(password.expose().as_bytes())),
        (None, Some(key)) => Authentication::Ao(AoKey {
            send_id: key.send_id.get(),
            receive_id: key.receive_id.get(),
            algorithm: match key.algorithm {
                AoAlgorithm::HmacSha1 => "hmac(sha1)",
                AoAlgorithm::Aes128Cmac => "cmac(aes128)",
                AoAlgorithm::HmacSha256 => "hmac(sha256)",
            }
            .to_owned(),
            secret: Secret::new(key.password.expose().as_bytes()),
        }),
        (None, None) => Authentication::None,
    };
    let internal = if peer.as_number == as_number { Internal::Yes } else { Internal::No };
    Security { remote: peer.address, authentication, distance, internal }
}

/// By what packets leave that go to a next hop which a peer has told. What is not itself a known router on a VLAN is reached by the peer.
pub fn way(tenant: &Tenant, peer: &str, next_hop: IpAddr) -> Option<Way> {
    let bgp = tenant.bgp.as_ref()?;
    let peer = bgp.peers.iter().find(|it| it.name.as_str() == peer)?;
    let on_vlan = || tenant.connections.iter().find(|connection| connection.network_of(next_hop).is_some());
    let connection = on_vlan().or_else(|| tenant.connection_to(peer))?;
    let known = || {
        connection.peers.contains(&next_hop)
            || connection.routes.iter().any(|route| route.next_hop == Some(next_hop))
            || tenant.peers_by(connection).any(|it| it.address == next_hop)
    };
    let next_hop = match &connection.kind {
        ConnectionKind::Gre(_) => Ipv4Addr::UNSPECIFIED.into(),
        ConnectionKind::L3(_) if connection.network_of(next_hop).is_some() && known() => next_hop,
        ConnectionKind::L3(_) if connection.network_of(peer.address).is_some() => peer.address,
        // Behind a router on the VLAN, as a static route says.
        ConnectionKind::L3(_) => connection
            .routes
            .iter()
            .filter(|route| route.destination.contains(peer.address))
            .max_by_key(|route| route.destination.prefix_len())
            .and_then(|route| route.next_hop)
            .unwrap_or(peer.address),
    };
    Some(Way { connection: connection.name.as_str().into(), next_hop })
}
