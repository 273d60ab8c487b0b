//! The gateway's own speaker: it tells the rack's routers where VIPs are, and takes nothing from them.
//!
//! What it tells is as true as the forwarding plane is alive, so a VIP is announced while this gateway holds its seat and its programs run.
//! The next hop is an address that moves with the seat; where there is none that both ends of a move share, routers prefer the later epoch.
//! Where a seat has such an address, those who may take it tell the same as its holder: then no router of the rack has to hear of a move.

use super::translate;
use crate::gateway::standing::Standing;
use crate::plan::bgp::policy::Community;
use crate::plan::tor::PreferBy;
use crate::plan::{BgpPeer, Dual, Plan, Seat, Tor};
use bgp::attributes::{LargeCommunity, NextHop};
use bgp::policy::{Policy, Verdict};
use bgp::rib::NextHopMode;
use bgp::session::Administrative;
use bgp::speaker::{Config, Decision, Deferral, NeighborConfig, Network, RouteConfig};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The gateway's speaker; none where the plan has no `[tor]`.
pub(super) fn config(plan: &Plan, standing: &Standing) -> Option<Config> {
    let tor = plan.tor.as_ref()?;
    let nothing = Arc::new(Policy::from_entries("nothing", &[], Verdict::Deny).ok()?);
    let mut config = Config::new(tor.as_number.get(), plan.tor_router_id()?);
    config.neighbors =
        tor.peers.iter().map(|peer| (translate::name(peer), neighbor(tor, peer, Arc::clone(&nothing)))).collect();
    // There is nothing to wait for after a restart: all that is told is known.
    config.decision = Decision { deferral: Deferral(Duration::ZERO), ..Decision::default() };
    config.networks =
        own(plan, tor, standing).chain(plan.seats.iter().flat_map(|seat| of_seat(plan, tor, seat, standing))).collect();
    Some(config)
}

/// What is the gateway's own.
fn own<'a>(plan: &'a Plan, tor: &'a Tor, standing: &Standing) -> impl Iterator<Item = Network> + use<'a> {
    let epoch = standing.forwards(None).into_iter();
    epoch.flat_map(move |epoch| plan.vips_of(None).into_iter().map(move |vip| network(tor, tor.next_hop, vip, epoch.0)))
}

/// What is a seat's: told by its holder, and by others where it does not matter who tells.
fn of_seat(plan: &Plan, tor: &Tor, seat: &Seat, standing: &Standing) -> Vec<Network> {
    let held = standing.forwards(Some(&seat.name));
    let anyhow = standing.own.filter(|_| tor.prefer_by == PreferBy::NextHop);
    let vips = plan.vips_of(Some(&seat.name)).into_iter();
    let told = vips.filter_map(|vip| {
        let next_hop = seat.next_hop.same_family(vip);
        let epoch = held.or(anyhow.filter(|_| next_hop.is_some()))?;
        let next_hops = if next_hop.is_some() { seat.next_hop } else { tor.next_hop };
        Some(network(tor, next_hops, vip, epoch.0))
    });
    told.collect()
}

fn neighbor(tor: &Tor, peer: &BgpPeer, import: Arc<Policy>) -> NeighborConfig {
    let mut session = translate::session(peer, translate::security_in(tor.as_number, peer));
    session.local_address = peer.local_address;
    session.administrative = Administrative::Up;
    let routes = RouteConfig {
        import: Some(import),
        next_hop: NextHopMode::Unchanged,
        next_hop_v4: tor.next_hop.v4,
        next_hop_v6: tor.next_hop.v6,
        ..RouteConfig::default()
    };
    NeighborConfig { session, routes }
}

fn network(tor: &Tor, next_hops: Dual, vip: IpAddr, epoch: u64) -> Network {
    let next_hop = next_hops.same_family(vip);
    let mut network = Network::from(IpNet::from(vip));
    network.next_hop = next_hop.map_or(NextHop::SELF, NextHop::from);
    network.med = tor.med_in(epoch);
    network.local_pref = tor.local_preference_in(epoch);
    for community in &tor.communities {
        match *community {
            Community::Standard(number) => network.communities.push(bgp::attributes::Community(number)),
            Community::Large([global, first, second]) => {
                network.large_communities.push(LargeCommunity { global, first, second });
            }
        }
    }
    network.communities.sort_unstable();
    network.large_communities.sort_unstable();
    network
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_common::Epoch;

    const PLAN: &str = r#"
        [gateway]
        name = "gw1"
        encapsulation = "vxlan"
        pa = ["10.10.0.1"]
        [[port]]
        name = "tor0"
        role = "both"
        [[tenant]]
        name = "contoso"
        gateway_addresses = ["10.1.255.1"]
        [[tenant.connection]]
        name = "hq"
        type = "gre"
        vip = "192.0.2.10"
        remote = "203.0.113.20"
        key = 100
        [[tenant.connection]]
        name = "dc"
        type = "gre"
        vip = "2001:db8:77::10"
        remote = "2001:db8:20::20"
        key = 100
        [tor]
        as_number = 64512
        next_hop = ["198.51.100.5"]
        prefer_by = "med"
        med = 100
        communities = ["64512:7", "64512:1:2"]
        [[tor.peer]]
        name = "tor1"
        address = "198.51.100.1"
        as_number = "1.10"
    "#;

    fn holding(epoch: Epoch) -> Standing {
        Standing { own: Some(epoch), held: Default::default() }
    }

    fn plan() -> Plan {
        crate::plan::parse(PLAN, "plan.toml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn vips_are_announced_with_the_seats_address_and_what_the_plan_says() {
        let config = config(&plan(), &holding(Epoch(3))).expect("a speaker");
        assert_eq!((config.asn.0, config.router_id.0), (64512, [10, 10, 0, 1].into()));
        let [v4, v6] = &config.networks[..] else { panic!("{:?}", config.networks) };
        assert_eq!(v4.prefix.to_string(), "192.0.2.10/32");
        assert_eq!(v4.next_hop.address(), IpAddr::from([198, 51, 100, 5]));
        assert_eq!(v6.prefix.to_string(), "2001:db8:77::10/128");
        assert!(v6.next_hop.is_self(), "no other is known");
        assert_eq!(v4.med, Some(97), "it falls with the epoch");
        assert_eq!((v4.communities.len(), v4.large_communities.len()), (1, 1));
    }

    #[test]
    fn nothing_is_announced_for_a_seat_that_is_elsewhere() {
        let config = config(&plan(), &Standing::default()).expect("a speaker");
        assert!(config.networks.is_empty() && config.neighbors.len() == 1);
    }

    #[test]
    fn a_seats_vips_are_told_by_all_who_may_take_it_if_its_address_moves_and_by_its_holder_if_not() {
        let seat = |name: &str, number: u8, next_hop: &[&str]| {
            serde_json::json!({"name": name, "number": number, "pa": [format!("10.10.0.10{number}")],
                               "mac": format!("02:5e:a7:00:00:0{number}"), "next_hop": next_hop})
        };
        let mut plan = serde_json::to_value(plan()).expect("JSON");
        plan["tor"]["prefer_by"] = "next-hop".into();
        plan["seat"] = [seat("GW1", 1, &["198.51.100.101"]), seat("GW2", 2, &[])].to_vec().into();
        let tenant = plan["tenant"][0].clone();
        let with = |seat: &str, vip: &str| {
            let mut tenant = tenant.clone();
            tenant["seat"] = seat.into();
            tenant["connection"] = vec![tenant["connection"][0].clone()].into();
            tenant["connection"][0]["vip"] = vip.into();
            tenant
        };
        plan["tenant"] = [with("GW1", "192.0.2.11"), with("GW2", "192.0.2.12")].to_vec().into();
        let plan = crate::plan::parse(&plan.to_string(), "plan.json").unwrap_or_else(|errors| panic!("{errors}"));
        let told = |standing: &Standing| -> Vec<String> {
            let networks = config(&plan, standing).expect("a speaker").networks;
            networks.iter().map(|it| format!("{} by {}", it.prefix, it.next_hop.address())).collect()
        };
        let mut standing = holding(Epoch(1));
        assert_eq!(told(&standing), ["192.0.2.11/32 by 198.51.100.101"], "a replica of both");
        standing.held.insert(plan.seats[1].name.clone(), Epoch(4));
        assert_eq!(told(&standing).len(), 2);
        standing.own = None;
        assert_eq!(told(&standing), Vec::<String>::new(), "nothing is forwarded");
    }
}
