//! When there is a seat, who votes, and who is granted what.

use super::order::order;
use super::record::{Grant, Occupancy, Seat, Seats, gateway_name};
use super::survivors::Burden;
use crate::agent::protocol::Lack;
use crate::controller::model::Id;
use crate::controller::placement::VipRange;
use crate::plan::{Dual, Mac};
use seat::{Electorate, ElectorateNumber, Share, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// How many grants are remembered that were taken back from a seat.
const REMEMBERED: usize = 64;

/// What is known of a pool.
pub struct Pool<'a> {
    /// Its gateways.
    pub gateways: BTreeMap<Id, Member>,
    /// Where seats' addresses on the fabric come from.
    pub fabric: Vec<VipRange>,
    /// Where their addresses on the racks' side come from; they have none there if this is empty.
    pub rack: Vec<VipRange>,
    /// Whether somebody else than a seat of this pool has an address.
    pub is_taken: &'a dyn Fn(IpAddr) -> bool,
    /// Whether a gateway stands where a seat's VLANs are.
    pub may_take: &'a dyn Fn(&Id, &Id) -> bool,
    /// What a gateway says that it lacks to take a seat.
    pub lack: &'a dyn Fn(&Id, &Id) -> Lack,
    /// How much of a gateway a seat's connections take.
    pub share: &'a dyn Fn(&Id) -> Share,
    /// What other pools have used up.
    pub floor: Floor,
    /// What time it is, in milliseconds since 1970.
    pub now: u64,
}

impl Pool<'_> {
    /// Whether a gateway is where a seat's VLANs are, as far as that is planned, and as far as it has seen.
    pub(super) fn serves(&self, gateway: &Id, seat: &Id) -> bool {
        (self.may_take)(seat, gateway) && (self.lack)(seat, gateway) != Lack::Vlan
    }
}

impl fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

/// What other pools have used up: gateways and names may come from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The highest epoch that one of them granted.
    pub epoch: u64,
    /// The highest number that a seat of one of them has.
    pub number: u32,
}

/// A gateway of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The physical host.
    pub host: Option<Id>,
    /// The rack.
    pub rack: Option<Id>,
    /// The life of its machine; none of one that has not joined, or cannot hold a seat.
    pub life: Option<u64>,
    /// What it is to do.
    pub duty: Duty,
    /// Whether it may be given seats.
    pub standing: Standing,
    /// Whether it is heard of.
    pub heard: Heard,
    /// Whether it does as it was told.
    pub readiness: Readiness,
}

/// What a gateway is to do in its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// Connections are placed on its seat, or may be.
    Seat,
    /// It takes over.
    #[default]
    Standby,
}

/// Whether a gateway may be given seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    #[default]
    Open,
    /// An operator wants it to be given nothing.
    Cordoned,
    /// An operator wants it to have nothing.
    Leaving,
}

/// Whether a gateway is heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// It is, or nothing else is known.
    #[default]
    Lately,
    /// It was.
    Silent,
}

/// Whether a gateway has all that it needs for the seats that it may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Its plan is in force.
    #[default]
    Ready,
    /// It has not taken its latest plan yet.
    Behind,
}

impl Seats {
    /// Makes the record what it is to be: seats for the gateways that connections are placed on, voters, grants. Whether anything changed.
    ///
    /// That a gateway is silent changes nothing: it may have lost its way to the controllers alone, and is then the one that has to take over
    /// when they are gone.
    pub fn settle(&mut self, pool: &Pool<'_>) -> bool {
        let before = self.clone();
        self.number_gateways(pool);
        self.retire(pool);
        self.establish(pool);
        self.elect(pool);
        self.grant(pool);
        self.relieve(pool);
        if *self == before {
            return false;
        }
        self.charter = before.charter + 1;
        true
    }

    /// The second step of a change of voters, if those that have heard of the first are enough.
    pub fn elected<'a>(&mut self, heard: impl Iterator<Item = &'a Id>) -> bool {
        if !self.electorate.is_changing() {
            return false;
        }
        let heard: Vec<Voter> = heard.map(|id| Voter::Gateway(gateway_name(id))).collect();
        if !self.electorate.is_majority(heard.iter()) {
            return false;
        }
        self.electorate = self.electorate.changed(self.next_electorate());
        self.charter += 1;
        true
    }

    /// There are no seats any more. What was used up is not forgotten.
    pub fn dissolve(&mut self) -> bool {
        let left = Self {
            charter: self.charter,
            electorate: self.electorate.clone(),
            epoch: self.epoch,
            number: self.number,
            history: self.history.clone(),
            ..Self::default()
        };
        let changed = *self != left;
        *self = left;
        self.charter += u64::from(changed);
        changed
    }

    fn number_gateways(&mut self, pool: &Pool<'_>) {
        self.gateways.retain(|id, _| pool.gateways.contains_key(id));
        for (id, _) in pool.gateways.iter().filter(|(_, member)| member.life.is_some()) {
            if !self.gateways.contains_key(id) {
                let used: BTreeSet<u16> = self.gateways.values().copied().collect();
                if let Some(free) = (1..=u16::MAX).find(|number| !used.contains(number)) {
                    self.gateways.insert(id.clone(), free);
                }
            }
        }
    }

    /// Seats go with their gateways, and when a gateway that has its own is to be a standby.
    fn retire(&mut self, pool: &Pool<'_>) {
        let keep = |id: &Id, seat: &Seat| {
            let Some(home) = pool.gateways.get(id) else { return false };
            let at_home = seat.holder.as_ref().is_none_or(|holder| holder.gateway == *id);
            home.duty == Duty::Seat || !at_home || home.heard == Heard::Silent
        };
        self.seats.retain(|id, seat| keep(id, seat));
        // A gateway that is gone holds nothing.
        for seat in self.seats.values_mut() {
            if seat.holder.as_ref().is_some_and(|holder| !pool.gateways.contains_key(&holder.gateway)) {
                let held = seat.held();
                seat.grants.retain(|grant| grant.epoch > held);
                seat.holder = None;
            }
        }
    }

    fn establish(&mut self, pool: &Pool<'_>) {
        for (id, member) in &pool.gateways {
            if member.duty == Duty::Standby || member.life.is_none() || self.seats.contains_key(id) {
                continue;
            }
            let is_free = |address: IpAddr| {
                !(pool.is_taken)(address)
                    && !self.seats.values().any(|seat| seat.pa.contains(address) || seat.next_hop.contains(address))
            };
            let Some(pa) = draw(&pool.fabric, is_free) else { continue };
            let next_hop = match draw(&pool.rack, |address| is_free(address) && !pa.contains(address)) {
                Some(next_hop) => next_hop,
                None if pool.rack.is_empty() => Dual::default(),
                None => continue,
            };
            let number = self.number.max(pool.floor.number).saturating_add(1);
            let Some(mac) = mac(number) else { continue };
            self.number = number;
            let seat = Seat {
                number,
                pa,
                next_hop,
                mac,
                share: Share::default(),
                occupancy: Occupancy::Carried,
                promised: None,
                relief: None,
                holder: None,
                grants: Vec::new(),
                withdrawn: Vec::new(),
            };
            self.seats.insert(id.clone(), seat);
        }
    }

    fn next_electorate(&self) -> ElectorateNumber {
        ElectorateNumber(self.electorate.number().0 + 1)
    }

    /// All gateways that have joined vote. While the voters change, another change waits.
    fn elect(&mut self, pool: &Pool<'_>) {
        let joined =
            || pool.gateways.iter().filter(|(_, member)| member.life.is_some()).map(|(id, _)| gateway_name(id));
        if self.electorate.is_changing() || joined().next().is_none() {
            return;
        }
        let number = self.next_electorate();
        let wanted = Electorate::of(number, joined());
        if self.electorate.voters().next().is_none() {
            self.electorate = wanted;
        } else if !self.electorate.voters().eq(wanted.voters()) {
            self.electorate = self.electorate.changing_to(number, joined());
        }
    }

    /// Sees to it that each seat has its successors, each with a grant for its present life, in the order in which they are wanted: those that
    /// have no seat, then those that have room for another one. Grants that are right already stay, up to the first that is not.
    fn grant(&mut self, pool: &Pool<'_>) {
        let voters: BTreeSet<&str> =
            self.electorate.voters().filter_map(Voter::as_gateway).map(|name| name.as_str()).collect();
        let lives: BTreeMap<&Id, u64> = pool
            .gateways
            .iter()
            .filter(|(id, _)| voters.contains(id.as_str()))
            .filter_map(|(id, member)| Some((id, member.life?)))
            .collect();
        let bearers: BTreeMap<Id, Id> =
            self.seats.keys().filter_map(|seat| Some((seat.clone(), self.bearer(seat)?.clone()))).collect();
        let bearing: BTreeSet<&Id> = bearers.values().collect();
        let open = |id: &Id| pool.gateways.get(id).is_some_and(|member| member.standing == Standing::Open);
        let idle: BTreeSet<&Id> = lives.keys().copied().filter(|id| !bearing.contains(id) && open(id)).collect();
        let order = order(pool, &bearers.iter().collect(), &idle);
        let busy: BTreeSet<&Id> = lives.keys().copied().filter(|id| bearing.contains(id) && open(id)).collect();
        let survivors = Burden::of(pool, &bearers).survivors(pool, &busy);
        let mut epoch = self.epoch.max(pool.floor.epoch);
        for (name, seat) in &mut self.seats {
            seat.share = (pool.share)(name);
            let successors = [&order, &survivors].into_iter().flat_map(|order| order.get(name)).flatten().copied();
            let bearer = bearers.get(name);
            // Its bearer may take it again, if it is let go and nobody else did; if nobody ever held it, it is the first.
            let wanted: Vec<&Id> = match seat.holder {
                None => bearer.into_iter().chain(successors).collect(),
                Some(_) => successors.chain(bearer).collect(),
            };
            let wanted: Vec<(&Id, u64)> = wanted.into_iter().filter_map(|id| Some((id, *lives.get(id)?))).collect();
            let held = seat.held();
            let used = seat.grants.iter().take_while(|grant| grant.epoch <= held).count();
            let right = seat.grants[used..]
                .iter()
                .zip(&wanted)
                .take_while(|(grant, (to, life))| grant.to == **to && grant.incarnation == *life)
                .count();
            if used + right == seat.grants.len() && right == wanted.len() {
                continue;
            }
            let withdrawn: Vec<Grant> = seat.grants.drain(used + right..).collect();
            seat.withdrawn.extend(withdrawn);
            let forgotten = seat.withdrawn.len().saturating_sub(REMEMBERED);
            seat.withdrawn.drain(..forgotten);
            for (to, incarnation) in &wanted[right..] {
                epoch += 1;
                seat.grants.push(Grant { epoch, to: (*to).clone(), incarnation: *incarnation });
                self.epoch = epoch;
            }
        }
    }
}

/// The first free address of some ranges.
fn draw(ranges: &[VipRange], is_free: impl Fn(IpAddr) -> bool) -> Option<Dual> {
    let address = ranges.iter().flat_map(VipRange::addresses).find(|address| is_free(*address))?;
    Dual::try_from(vec![address]).ok()
}

/// A locally administered address that says which seat it is.
fn mac(number: u32) -> Option<Mac> {
    let [a, b, c, d] = number.to_be_bytes();
    Mac::try_from([0x02, 0x53, a, b, c, d]).ok()
}
