//! What seats and their pool must agree on with each other and with the rest of the plan.

use super::super::check::good;
use super::super::model::{ConnectionKind, Draft};
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Dual, Name, unicast};
use super::{Pool, Seat};
use std::collections::HashMap;
use std::net::IpAddr;

/// Seats that a gateway can have a part in: the table's slots but the one that is its own.
const MAX_SEATS: usize = 255;

/// Checks seats, pool, and whose seat what is.
pub(in super::super) fn check(draft: &Draft, problems: &mut Problems) {
    seats(&draft.seats, draft, problems);
    whose(draft, problems);
    vips(draft, problems);
    if let Some(pool) = &draft.pool {
        self::pool(pool, draft, problems);
    }
}

fn seat(at: usize) -> Path {
    Path::root().item("seat", at)
}

/// Notes that two have what only one can have.
fn once<K: std::hash::Hash + Eq>(
    seen: &mut HashMap<K, Path>,
    value: K,
    here: Path,
    complaint: impl FnOnce() -> Complaint,
    problems: &mut Problems,
) {
    match seen.get(&value) {
        Some(there) => problems.conflict(here, there.clone(), complaint()),
        None => {
            seen.insert(value, here);
        }
    }
}

fn seats(seats: &[Seat], draft: &Draft, problems: &mut Problems) {
    let (mut names, mut numbers, mut macs, mut addresses) =
        (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
    if let Some(gateway) = &draft.gateway {
        addresses.extend(gateway.pa.iter().map(|pa| (pa, Path::root().key("gateway").key("pa"))));
    }
    let next_hops = draft.tor.iter().flat_map(|tor| tor.next_hop.iter());
    addresses.extend(next_hops.map(|address| (address, Path::root().key("tor").key("next_hop"))));
    if seats.len() > MAX_SEATS {
        let what = format!("{} seats are more than the {MAX_SEATS} that a gateway can have a part in", seats.len());
        problems.at(seat(MAX_SEATS).key("name"), Complaint::new(what, "make several pools of the gateways"));
    }
    for (at, it) in seats.iter().enumerate() {
        let complaint = || Complaint::new(format!("a second seat is called {}", it.name), "rename one, or remove it");
        once(&mut names, &it.name, seat(at).key("name"), complaint, problems);
        let complaint = || {
            let what = format!("the number {} is another seat's", it.number);
            Complaint::new(what, "give each seat of the pool a number of its own, for ever")
        };
        once(&mut numbers, it.number, seat(at).key("number"), complaint, problems);
        let complaint = || {
            let what = format!("the MAC address {} is another seat's", it.mac.get());
            Complaint::new(what, "give each seat one of its own: it moves with the seat")
        };
        once(&mut macs, it.mac, seat(at).key("mac"), complaint, problems);
        if it.pa.is_empty() {
            let remedy = "give it one in `pa`: it is by this that hosts and other gateways know the seat";
            let what = format!("the seat {} has no provider address", it.name);
            problems.at(seat(at).key("pa"), Complaint::new(what, remedy));
        }
        for (key, dual) in [("pa", it.pa), ("next_hop", it.next_hop)] {
            own_addresses(dual, &seat(at).key(key), &mut addresses, problems);
        }
    }
}

/// Addresses that are one seat's and nobody else's.
fn own_addresses(dual: Dual, here: &Path, addresses: &mut HashMap<IpAddr, Path>, problems: &mut Problems) {
    for address in dual.iter().collect::<Vec<_>>() {
        if !good(problems, unicast(address), || here.clone()) {
            continue;
        }
        let complaint = || {
            let what = format!("the address {address} is there already");
            Complaint::new(what, "give each seat addresses of its own, which are not the gateway's: they move with it")
        };
        once(addresses, address, here.clone(), complaint, problems);
    }
}

/// A tenant's seat is there, and has the tenant once.
fn whose(draft: &Draft, problems: &mut Problems) {
    for (index, tenant) in draft.tenants.iter().enumerate() {
        if let Some(name) = &tenant.seat
            && !draft.seats.iter().any(|seat| seat.name == *name)
        {
            let remedy = "name one of `seat`, or leave it out for what is the gateway's own";
            let complaint = Complaint::new(format!("no seat is called {name}"), remedy);
            problems.at(Path::tenant(index).key("seat"), complaint);
        }
    }
}

/// A VIP moves with one seat, and is no address of another kind.
fn vips(draft: &Draft, problems: &mut Problems) {
    let mut owners: HashMap<IpAddr, (Option<&Name>, Path)> = HashMap::new();
    for (index, tenant) in draft.tenants.iter().enumerate() {
        for (number, connection) in tenant.connections.iter().enumerate() {
            let ConnectionKind::Gre(gre) = &connection.kind else { continue };
            let here = Path::connection(index, number).key("vip");
            let owner = tenant.seat.as_ref();
            let (first, there) = owners.entry(gre.vip).or_insert_with(|| (owner, here.clone()));
            if *first != owner {
                let whose = first.map_or("the gateway's own".to_owned(), |seat| format!("the seat {seat}'s"));
                let what = format!("the VIP {} is {whose}", gre.vip);
                let complaint = Complaint::new(what, "give each seat VIPs of its own: they move with it");
                problems.conflict(here, there.clone(), complaint);
            }
        }
    }
    for (index, rule) in draft.steer.iter().enumerate() {
        if let Some((Some(owner), there)) = owners.get(&rule.vip) {
            let what = format!("the VIP {} is the seat {owner}'s", rule.vip);
            let here = Path::root().item("steer", index).key("vip");
            problems.conflict(here, there.clone(), Complaint::new(what, "take another: rules are the gateway's own"));
        }
    }
    for (at, it) in draft.seats.iter().enumerate() {
        for address in it.next_hop.iter().filter(|address| owners.contains_key(address)) {
            let what = format!("{address} is a VIP: a route to it would lead to itself");
            let here = seat(at).key("next_hop");
            problems.at(here, Complaint::new(what, "write another address on the rack's segment"));
        }
    }
}

fn pool(pool: &Pool, draft: &Draft, problems: &mut Problems) {
    let here = || Path::root().key("pool");
    let (mut names, mut numbers, mut addresses) = (HashMap::new(), HashMap::new(), HashMap::new());
    if let Some(gateway) = &draft.gateway {
        names.insert(&gateway.name, Path::root().key("gateway").key("name"));
    }
    for (at, seat) in draft.seats.iter().enumerate() {
        addresses.extend(seat.pa.iter().map(|pa| (pa, self::seat(at).key("pa"))));
        addresses.extend(seat.next_hop.iter().map(|hop| (hop, self::seat(at).key("next_hop"))));
    }
    numbers.insert(pool.number, here().key("number"));
    let mut address = |address: IpAddr, path: Path, problems: &mut Problems| {
        if good(problems, unicast(address), || path.clone()) {
            let complaint = || {
                let what = format!("{address} is a seat's address, or another gateway's");
                Complaint::new(what, "write an address that this gateway alone has, whatever seats it holds")
            };
            once(&mut addresses, address, path, complaint, problems);
        }
    };
    let own = [("fabric", Some(pool.fabric)), ("site", pool.site.filter(|site| *site != pool.fabric))];
    for (key, own) in own {
        if let Some(own) = own {
            address(own, here().key(key), problems);
        }
    }
    for (at, peer) in pool.peers.iter().enumerate() {
        let path = |key| here().item("peers", at).key(key);
        let complaint = || {
            let what = format!("a second gateway of the pool is called {}", peer.name);
            Complaint::new(what, "keep one; this gateway itself is none of `peers`")
        };
        once(&mut names, &peer.name, path("name"), complaint, problems);
        let complaint = || {
            let what = format!("the number {} is another gateway's", peer.number);
            Complaint::new(what, "give each gateway of the pool a number of its own")
        };
        once(&mut numbers, peer.number, path("number"), complaint, problems);
        address(peer.fabric, path("fabric"), problems);
        if let Some(site) = peer.site.filter(|site| *site != peer.fabric) {
            address(site, path("site"), problems);
        }
    }
}
