//! Which gateways that have a seat already may take another one, when no standby is left.

use super::order::together;
use super::settle::{Heard, Pool};
use crate::controller::model::Id;
use seat::Share;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How many that are heard of each seat has: one may fail with its bearer, and each costs a replica.
const EACH: usize = 2;
/// Room is compared in steps of so many percent: else grants, and the replicas that go with them, would move with every connection.
const STEP: i64 = 10;

/// Who bears which seat, and what that leaves.
pub(super) struct Burden<'a> {
    bearers: &'a BTreeMap<Id, Id>,
    borne: BTreeMap<&'a Id, Share>,
}

impl<'a> Burden<'a> {
    pub fn of(pool: &Pool<'_>, bearers: &'a BTreeMap<Id, Id>) -> Self {
        let mut borne: BTreeMap<&Id, Share> = BTreeMap::new();
        for (seat, bearer) in bearers {
            let sum = borne.entry(bearer).or_default();
            *sum = sum.plus((pool.share)(seat));
        }
        Self { bearers, borne }
    }

    /// What seats take of a gateway.
    pub fn on(&self, gateway: &Id) -> Share {
        self.borne.get(gateway).copied().unwrap_or_default()
    }

    /// Those of these gateways for each seat that stand where its VLANs should be and have room for it, in the order in which they are to take it: one that stands elsewhere than
    /// the bearer, then where most room is beside what it may have to take of other seats.
    pub fn survivors<'g>(&self, pool: &Pool<'_>, gateways: &BTreeSet<&'g Id>) -> BTreeMap<&'a Id, Vec<&'g Id>> {
        let mut seats: Vec<(Share, &Id, &Id)> =
            self.bearers.iter().map(|(seat, bearer)| ((pool.share)(seat), seat, bearer)).collect();
        // What is hard to place comes first.
        seats.sort_by_key(|(share, ..)| Reverse(*share));
        let mut chosen: BTreeMap<&Id, Vec<&Id>> = BTreeMap::new();
        let mut promised: BTreeMap<&Id, Share> = BTreeMap::new();
        let mut served: BTreeMap<&Id, usize> = BTreeMap::new();
        while !seats.is_empty() {
            seats.retain(|(share, seat, bearer)| {
                let of_seat = chosen.entry(*seat).or_default();
                let fitting = gateways.iter().copied().filter(|gateway| {
                    gateway != bearer
                        && !of_seat.contains(gateway)
                        && (pool.may_take)(seat, gateway)
                        && self.on(gateway).plus(*share) <= Share::WHOLE
                });
                let best = fitting.min_by_key(|gateway| {
                    let taken = self.on(gateway).plus(promised.get(gateway).copied().unwrap_or_default());
                    let left = i64::from(Share::WHOLE.0) - i64::from(taken.0);
                    (together(pool, bearer, gateway), Reverse(left.div_euclid(STEP)), *gateway)
                });
                let Some(best) = best else { return false };
                of_seat.push(best);
                let sum = promised.entry(best).or_default();
                *sum = sum.plus(*share);
                let heard = served.entry(*seat).or_default();
                // One that is not heard of may be well all the same, but is not counted on.
                *heard += usize::from(pool.gateways.get(best).is_some_and(|member| member.heard == Heard::Lately));
                *heard < EACH
            });
        }
        chosen
    }

    /// For how many of these seats there is room on these gateways, one beside the other: the largest first, each where most room is.
    pub fn fitting(&self, pool: &Pool<'_>, seats: &[&Id], gateways: &[&Id]) -> usize {
        let mut seats: Vec<(Share, &Id)> = seats.iter().map(|seat| ((pool.share)(seat), *seat)).collect();
        seats.sort_by_key(|(share, _)| Reverse(*share));
        let mut taken: BTreeMap<&Id, Share> = gateways.iter().map(|gateway| (*gateway, self.on(gateway))).collect();
        let mut fits = |(share, seat): &(Share, &Id)| {
            let emptiest =
                taken.iter_mut().filter(|(gateway, _)| pool.serves(gateway, seat)).min_by_key(|(_, on)| **on);
            let room = emptiest.filter(|(_, on)| on.plus(*share) <= Share::WHOLE);
            room.map(|(_, on)| *on = on.plus(*share)).is_some()
        };
        seats.iter().filter(|seat| fits(seat)).count()
    }
}
