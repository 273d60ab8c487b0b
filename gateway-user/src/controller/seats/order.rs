//! In which order gateways that have no seat may take one.

use super::settle::Pool;
use crate::agent::protocol::Lack;
use crate::controller::model::Id;
use std::collections::{BTreeMap, BTreeSet};

/// Who may take which seat, in order: first of all one that is no other seat's first, as far as there are enough of them, so that seats that
/// fail together do not wait for one gateway; one where the seat's VLANs are; its home; one that stands elsewhere than the seat's bearer.
pub(super) fn order<'a>(
    pool: &Pool<'_>,
    seats: &BTreeMap<&'a Id, &'a Id>,
    idle: &BTreeSet<&'a Id>,
) -> BTreeMap<&'a Id, Vec<&'a Id>> {
    let liked = |seat: &Id, bearer: &Id| -> Vec<&'a Id> {
        let mut idle: Vec<&Id> = idle.iter().copied().collect();
        idle.sort_by_cached_key(|gateway| dislike(pool, seat, bearer, gateway));
        idle
    };
    let liked: BTreeMap<&Id, Vec<&Id>> = seats.iter().map(|(seat, bearer)| (*seat, liked(seat, bearer))).collect();
    let firsts = firsts(pool, &liked);
    let ordered = liked.into_iter().map(|(seat, mut gateways)| {
        if let Some(first) = firsts.get(seat)
            && let Some(at) = gateways.iter().position(|gateway| gateway == first)
        {
            gateways[..=at].rotate_right(1);
        }
        (seat, gateways)
    });
    ordered.collect()
}

/// What speaks against a gateway, the worst first: that the seat's VLANs are not there, that it is not the seat's home, that it fails together with
/// the bearer, that it knows less of the seat than the bearer.
fn dislike<'a>(pool: &Pool<'_>, seat: &Id, bearer: &Id, gateway: &'a Id) -> (bool, bool, (bool, bool), bool, &'a Id) {
    let unknowing = (pool.lack)(seat, gateway) == Lack::Knowledge;
    (!pool.serves(gateway, seat), gateway != seat, together(pool, bearer, gateway), unknowing, gateway)
}

/// Whether two gateways are on one host, and whether in one rack.
pub(super) fn together(pool: &Pool<'_>, one: &Id, other: &Id) -> (bool, bool) {
    let same = |one: Option<&Id>, other: Option<&Id>| one.is_some() && one == other;
    let (one, other) = (pool.gateways.get(one), pool.gateways.get(other));
    let host = same(one.and_then(|it| it.host.as_ref()), other.and_then(|it| it.host.as_ref()));
    let rack = same(one.and_then(|it| it.rack.as_ref()), other.and_then(|it| it.rack.as_ref()));
    (host, rack)
}

/// Each seat's first: as many different ones as there are, in rounds, each a maximum matching by augmenting paths.
fn firsts<'a>(pool: &Pool<'_>, liked: &BTreeMap<&'a Id, Vec<&'a Id>>) -> BTreeMap<&'a Id, &'a Id> {
    let mut firsts = BTreeMap::new();
    let mut left: Vec<&Id> = liked.keys().copied().collect();
    loop {
        let mut taken: BTreeMap<&Id, &Id> = BTreeMap::new();
        for seat in &left {
            augment(pool, liked, seat, &mut taken, &mut BTreeSet::new());
        }
        firsts.extend(taken.iter().map(|(gateway, seat)| (*seat, *gateway)));
        let before = left.len();
        left.retain(|seat| !firsts.contains_key(seat));
        if left.is_empty() || left.len() == before {
            return firsts;
        }
    }
}

fn augment<'a>(
    pool: &Pool<'_>,
    liked: &BTreeMap<&'a Id, Vec<&'a Id>>,
    seat: &'a Id,
    taken: &mut BTreeMap<&'a Id, &'a Id>,
    seen: &mut BTreeSet<&'a Id>,
) -> bool {
    for gateway in liked.get(seat).into_iter().flatten().copied() {
        if !pool.serves(gateway, seat) || !seen.insert(gateway) {
            continue;
        }
        let free = match taken.get(gateway).copied() {
            None => true,
            Some(other) => augment(pool, liked, other, taken, seen),
        };
        if free {
            taken.insert(gateway, seat);
            return true;
        }
    }
    false
}

/// As many of these seats as there is one of these gateways for each.
pub(super) fn matched<'a>(pool: &Pool<'_>, seats: &[&'a Id], gateways: &[&'a Id]) -> BTreeSet<&'a Id> {
    let liked: BTreeMap<&Id, Vec<&Id>> = seats.iter().map(|seat| (*seat, gateways.to_vec())).collect();
    let mut taken = BTreeMap::new();
    // Whoever has found one keeps one.
    seats.iter().copied().filter(|seat| augment(pool, &liked, seat, &mut taken, &mut BTreeSet::new())).collect()
}
