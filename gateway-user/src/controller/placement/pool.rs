//! One pool: which of its gateways are active, and how much room those have.
//!
//! A pool of M + N gateways has N standbys. Which they are follows from the members alone: who carries connections is active, and so are as
//! many of the others, in the order of [`spread`](super::spread), as M still needs; the rest are standbys. A failed or cordoned gateway that
//! carries nothing is of no use as either, and uses up a standby's place. So a connection never makes another gateway change its state, but
//! for the last one that leaves a gateway.

use super::capacity::Capacity;
use super::spec::{GatewayState, PoolSpec, Racks};
use crate::controller::model::Id;
use std::collections::{BTreeMap, BTreeSet, btree_set};
use std::ops::RangeBounds;

/// A gateway's place in its pool's order.
pub(super) type Rank = u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub spec: PoolSpec,
    pub capacity: Capacity,
    /// In the order of their ranks.
    members: Vec<Member>,
    carrying: usize,
    /// Usable gateways that carry nothing, on either side of the line.
    idle_active: BTreeSet<Rank>,
    standby: BTreeSet<Rank>,
    room: Room,
}

/// A gateway, as its pool sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub id: Id,
    pub rack: Option<Id>,
    pub load: Load,
    /// The units that whoever carries it gives to other gateways' connections.
    pub beside: i128,
    /// Whether it works and may be given more.
    pub usable: bool,
}

/// What a gateway carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Idle,
    /// So many units are left: fewer than none where it carries too much.
    Carrying {
        remaining: i128,
    },
}

/// The active and usable gateways by the units that they have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Room {
    all: BTreeSet<(i128, Rank)>,
    racks: BTreeMap<Id, BTreeSet<(i128, Rank)>>,
}

impl Pool {
    /// A pool with its members, in the order in which they become active.
    pub fn new(spec: PoolSpec, capacity: Capacity, members: Vec<Member>) -> Self {
        let carrying = members.iter().filter(|member| member.load != Load::Idle).count();
        let mut pool = Self {
            spec,
            capacity,
            members,
            carrying,
            idle_active: BTreeSet::new(),
            standby: BTreeSet::new(),
            room: Room::default(),
        };
        for rank in 0..pool.len() {
            pool.enter(rank);
        }
        pool.draw_line();
        pool
    }

    pub fn len(&self) -> Rank {
        Rank::try_from(self.members.len()).unwrap_or(Rank::MAX)
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn member(&self, rank: Rank) -> &Member {
        &self.members[rank as usize]
    }

    /// How many of the members carry connections.
    pub const fn carrying(&self) -> usize {
        self.carrying
    }

    /// How many standbys the pool has when all its members work. As long as it has not all its gateways, half of them at most.
    pub fn standbys_planned(&self) -> usize {
        (self.spec.redundant as usize).min(self.members.len() / 2)
    }

    /// The standbys that could take over, in order.
    pub fn standbys(&self) -> impl DoubleEndedIterator<Item = Rank> + '_ {
        self.standby.iter().copied()
    }

    pub fn state(&self, rank: Rank) -> GatewayState {
        if self.member(rank).load != Load::Idle || self.idle_active.contains(&rank) {
            GatewayState::Active
        } else {
            GatewayState::Redundant
        }
    }

    /// What is left of a member, in units.
    pub fn remaining(&self, rank: Rank) -> i128 {
        let member = self.member(rank);
        let alone = match member.load {
            Load::Idle => self.capacity.total(),
            Load::Carrying { remaining } => remaining,
        };
        alone - member.beside
    }

    /// Whether connections may be placed on it.
    pub fn is_open(&self, rank: Rank) -> bool {
        self.member(rank).usable && self.state(rank) == GatewayState::Active
    }

    /// Says what a member carries, what is carried beside it, and whether it is usable.
    pub fn set(&mut self, rank: Rank, load: Load, beside: i128, usable: bool) {
        self.leave(rank);
        let member = &mut self.members[rank as usize];
        self.carrying -= usize::from(member.load != Load::Idle);
        (member.load, member.beside, member.usable) = (load, beside, usable);
        self.carrying += usize::from(load != Load::Idle);
        self.enter(rank);
        self.draw_line();
    }

    /// Open gateways with as many units left as `range` says, the fewest first: of all racks, or one lane a rack.
    pub fn lanes<R: RangeBounds<(i128, Rank)> + Clone>(
        &self,
        racks: &Racks,
        range: R,
    ) -> Vec<btree_set::Range<'_, (i128, Rank)>> {
        match racks {
            Racks::All => vec![self.room.all.range(range)],
            Racks::Only(racks) => racks
                .iter()
                .filter_map(|rack| self.room.racks.get(rack))
                .map(|rack| rack.range(range.clone()))
                .collect(),
        }
    }

    /// The open gateway with most room, and how much that is.
    pub fn freest(&self, racks: &Racks) -> Option<(i128, Rank)> {
        self.lanes(racks, ..).into_iter().filter_map(|mut lane| lane.next_back().copied()).max()
    }

    /// Takes a member out of the indexes.
    fn leave(&mut self, rank: Rank) {
        if self.is_open(rank) {
            self.close(rank);
        }
        self.idle_active.remove(&rank);
        self.standby.remove(&rank);
    }

    /// Puts a member into the indexes; an idle one waits behind the line.
    fn enter(&mut self, rank: Rank) {
        let member = self.member(rank);
        match (member.load, member.usable) {
            (Load::Carrying { .. }, true) => self.open(rank),
            (Load::Idle, true) => {
                self.standby.insert(rank);
            }
            (_, false) => {}
        }
    }

    /// Makes as many idle gateways active as M needs: the first ones of the order.
    fn draw_line(&mut self) {
        let wanted = (self.members.len() - self.standbys_planned()).saturating_sub(self.carrying);
        while let Some(&last) = self.idle_active.last() {
            let displaced = self.standby.first().is_some_and(|&first| first < last);
            if self.idle_active.len() <= wanted && !displaced {
                break;
            }
            self.close(last);
            self.idle_active.remove(&last);
            self.standby.insert(last);
        }
        while self.idle_active.len() < wanted
            && let Some(first) = self.standby.pop_first()
        {
            self.idle_active.insert(first);
            self.open(first);
        }
    }

    fn open(&mut self, rank: Rank) {
        let key = (self.remaining(rank), rank);
        let Self { members, room, .. } = self;
        room.all.insert(key);
        if let Some(rack) = &members[rank as usize].rack {
            match room.racks.get_mut(rack) {
                Some(rack) => {
                    rack.insert(key);
                }
                None => {
                    room.racks.insert(rack.clone(), BTreeSet::from([key]));
                }
            }
        }
    }

    fn close(&mut self, rank: Rank) {
        let key = (self.remaining(rank), rank);
        let Self { members, room, .. } = self;
        room.all.remove(&key);
        if let Some(rack) = &members[rank as usize].rack
            && let Some(open) = room.racks.get_mut(rack)
        {
            open.remove(&key);
            if open.is_empty() {
                room.racks.remove(rack);
            }
        }
    }
}
