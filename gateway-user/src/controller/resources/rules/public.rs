//! The pools that public addresses are drawn from, and what stays in them.

use super::fabric::range;
use super::{address_of, same_family};
use crate::controller::resources::error::{Code, Error};
use crate::controller::resources::path::Path;
use crate::controller::resources::roles::Principal;
use crate::controller::resources::schema::Kind;
use crate::controller::resources::tree::node::{self, Lookup, get, list, target, text};
use serde_json::Value;
use std::net::IpAddr;

/// A pool: which it is, its first and its last address.
type Pool = (Path, (IpAddr, IpAddr));

fn manager() -> Path {
    Path::root(Kind::LoadBalancerManager, "config".into())
}

/// The address of the load balancer's manager, which is drawn for nobody else.
pub(super) fn managers_address(lookup: &Lookup<'_>) -> Option<IpAddr> {
    lookup.with(&manager(), |manager| address_of(get(manager, "loadBalancerManagerIPAddress"))).flatten()
}

/// The pools that loadBalancerManager lists.
fn listed(lookup: &Lookup<'_>) -> Vec<Pool> {
    let pools = lookup.with(&manager(), |manager| list(manager, "vipIpPools").iter().filter_map(target).collect());
    let pools: Vec<Path> = pools.unwrap_or_default();
    pools.into_iter().filter_map(|pool| Some((pool.clone(), lookup.with(&pool, range).flatten()?))).collect()
}

/// Those of them that addresses are drawn from: the pools of public subnets.
pub(super) fn pools(lookup: &Lookup<'_>) -> Vec<Pool> {
    let is_public = |subnet: &Value| get(subnet, "isPublic").and_then(Value::as_bool) == Some(true);
    let of_public = |pool: &Path| pool.parent().and_then(|subnet| lookup.with(&subnet, is_public)) == Some(true);
    listed(lookup).into_iter().filter(|(pool, _)| of_public(pool)).collect()
}

fn holds(pools: &[Pool], address: IpAddr) -> bool {
    pools.iter().any(|(_, (start, end))| same_family(*start, address) && *start <= address && address <= *end)
}

/// Whether a change of a tree of this kind can take addresses out of the pools.
pub const fn concerns(kind: Kind) -> bool {
    matches!(kind, Kind::LogicalNetwork | Kind::LoadBalancerManager)
}

/// What is drawn from a pool stays in one, and so does the manager's own address; the fault's place is as in the root's body.
pub fn check(
    before: &Lookup<'_>,
    after: &Lookup<'_>,
    root: &Path,
    new: Option<&Value>,
    principal: &Principal,
) -> Option<Error> {
    let (was, is) = (pools(before), pools(after));
    let forest = before.forest;
    let is_drawn = |owner: &Path| {
        after.with(owner, |address| text(address, "publicIPAllocationMethod") == Some("Dynamic")) == Some(true)
    };
    for (pool, (start, end)) in &was {
        let lost = forest.claims().public(*start, *end).filter(|(address, _)| !holds(&is, *address));
        let drawn: Vec<(IpAddr, Path)> = lost
            .filter_map(|(address, owner)| Some((address, Path::parse(owner).ok()?)))
            .filter(|(_, owner)| is_drawn(owner))
            .collect();
        if let Some((address, _)) = drawn.first() {
            let users: Vec<Path> = drawn.iter().map(|(_, owner)| owner.clone()).collect();
            let message = format!(
                "public addresses are drawn from {pool} that would be in none of the vipIpPools: {}; keep them in a pool of a public subnet, or delete them first",
                forest.name_users(&users, principal)
            );
            return Some(Error::at(Code::ResourceInUse, place_of(pool, *address, root, new), message));
        }
    }
    // The manager's own write says what is wrong with its address by itself.
    let address = managers_address(after).filter(|_| root.kind() != Kind::LoadBalancerManager)?;
    let (pool, _) = listed(before).into_iter().find(|pool| holds(std::slice::from_ref(pool), address))?;
    if holds(&listed(after), address) {
        return None;
    }
    let message =
        format!("{address} of {pool} is the loadBalancerManagerIPAddress of {}; change that first", manager());
    Some(Error::at(Code::ResourceInUse, place_of(&pool, address, root, new), message))
}

/// What in the body takes an address from its pool.
fn place_of(pool: &Path, address: IpAddr, root: &Path, new: Option<&Value>) -> String {
    let Some(new) = new else { return root.to_string() };
    if root.kind() == Kind::LoadBalancerManager {
        return "properties.vipIpPools".to_owned();
    }
    let resource = |path: &Path| Some((node::place(new, path)?, node::find(new, path)?));
    let Some((place, (start, end))) = resource(pool).and_then(|(place, pool)| Some((place, range(pool)?))) else {
        return pool.to_string();
    };
    if address < start {
        format!("{place}.properties.startIpAddress")
    } else if address > end {
        format!("{place}.properties.endIpAddress")
    } else {
        let subnet = pool.parent().and_then(|subnet| node::place(new, &subnet)).unwrap_or_default();
        format!("{subnet}.properties.isPublic")
    }
}
