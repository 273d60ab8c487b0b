//! The rules of placement, each by its name.

mod capacity_of_gateways;
mod model;
mod moves;
mod order;
mod pools;
mod vips;

use super::*;
use crate::controller::model::Id;
use crate::controller::model::fabric::{CapacityRule, PoolType, Schedulable};
use crate::controller::model::records::Placement;

pub(super) fn id(text: &str) -> Id {
    Id::from(text)
}

fn known(text: &str) -> Option<Id> {
    (!text.is_empty()).then(|| id(text))
}

/// A gateway; an empty host or rack is not known.
pub(super) fn gateway_at(gateway: &str, pool: &str, host: &str, rack: &str) -> GatewaySpec {
    GatewaySpec {
        id: id(gateway),
        pool: id(pool),
        host: known(host),
        rack: known(rack),
        scheduling: Schedulable::Enabled,
        ipsec: IpsecPath::Fast,
    }
}

/// 2016 ratios, where GRE takes 5 and L3 takes 2 of capacity for 1 of bandwidth.
fn pool(pool: &str, kind: PoolType, capacity_kbps: u64, redundant: u32) -> PoolSpec {
    let range = |first: &str, last: &str| VipRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
    PoolSpec {
        id: id(pool),
        kind,
        capacity_kbps,
        redundant,
        rule: CapacityRule::Ratios,
        vips: vec![range("192.0.2.1", "192.0.2.4"), range("2001:db8::1", "2001:db8::4")],
    }
}

/// A pool "default" of type All with gateways whose names, hosts and racks are given.
fn fleet(capacity_kbps: u64, redundant: u32, gateways: &[(&str, &str, &str)]) -> Fleet {
    let mut fleet = Fleet::new(Settings::default());
    fleet.set_pool(pool("default", PoolType::All, capacity_kbps, redundant)).unwrap();
    fleet.load_gateways(gateways.iter().map(|(name, host, rack)| gateway_at(name, "default", host, rack))).unwrap();
    fleet
}

/// As [`fleet`], of gateways that stand nowhere in particular.
fn plain(capacity_kbps: u64, redundant: u32, gateways: &[&str]) -> Fleet {
    fleet(capacity_kbps, redundant, &gateways.iter().map(|name| (*name, "", "")).collect::<Vec<_>>())
}

fn wanted(connection: &str, kbps: u64, link: Link) -> Wanted {
    Wanted { connection: id(connection), bandwidth: Bandwidth { inbound: kbps / 2, outbound: kbps - kbps / 2 }, link }
}

fn gre(connection: &str, kbps: u64, remote: &str, key: u32) -> Wanted {
    wanted(connection, kbps, Link::Gre { remote: remote.parse().unwrap(), key: Some(key) })
}

fn l3(connection: &str, kbps: u64, racks: &[&str]) -> Wanted {
    wanted(connection, kbps, Link::L3 { racks: Racks::new(racks.iter().map(|rack| id(rack))) })
}

fn ipsec(connection: &str, kbps: u64) -> Wanted {
    wanted(connection, kbps, Link::IpSec)
}

/// Places on the default pool; the gateway and the class.
fn place(fleet: &mut Fleet, tenant: &str, wanted: &Wanted) -> (String, Class) {
    let decision = fleet.place(&id(tenant), &[], wanted).unwrap();
    (decision.placement.gateway.to_string(), decision.class)
}

fn states(fleet: &Fleet) -> Vec<(String, GatewayState)> {
    let gateways = fleet.pools().flat_map(|pool| fleet.members(pool));
    let mut states: Vec<_> = gateways.map(|id| (id.to_string(), fleet.status(id).unwrap().state)).collect();
    states.sort();
    states
}

/// Names of the gateways in a state.
fn those(fleet: &Fleet, state: GatewayState) -> String {
    let of_state = states(fleet).into_iter().filter(|(_, is)| *is == state).map(|(id, _)| id);
    of_state.collect::<Vec<_>>().join(" ")
}

fn active(fleet: &Fleet) -> String {
    those(fleet, GatewayState::Active)
}
