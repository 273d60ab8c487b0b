//! What is settled of a pool, whatever happens to it.

use super::record::{Holder, Subnets};
use super::settle::{Duty, Floor, Heard, Member, Pool, Readiness, Standing};
use super::survival::Because;
use super::vote::Vote;
use super::*;
use crate::agent::protocol::Lack;
use crate::controller::model::{Id, Reference};
use crate::controller::placement::VipRange;
use proptest::prelude::*;
use seat::{Ask, Claim, Epoch, Moment, Share, Verdict, Voter};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const MINUTE: u64 = 60_000;

fn id(text: &str) -> Id {
    Id::from(text)
}

fn range(first: [u8; 4], last: [u8; 4]) -> Vec<VipRange> {
    vec![VipRange { first: IpAddr::from(first), last: IpAddr::from(last) }]
}

/// A pool, and what is settled of it.
struct World {
    gateways: BTreeMap<Id, Member>,
    fabric: Vec<VipRange>,
    rack: Vec<VipRange>,
    /// Seats and gateways that do not go together.
    apart: BTreeSet<(Id, Id)>,
    /// What gateways lack of seats, by seat and gateway.
    lacks: BTreeMap<(Id, Id), Lack>,
    /// What seats take of a gateway, if anything.
    shares: BTreeMap<Id, Share>,
    /// In milliseconds.
    now: u64,
    seats: Seats,
}

impl World {
    /// So many gateways with connections, and so many standbys, each in a rack of its own.
    fn new(active: usize, standbys: usize) -> Self {
        let member = |number: usize| {
            let duty = if number <= active { Duty::Seat } else { Duty::Standby };
            let rack = Some(Id::from(format!("r{number}")));
            (Id::from(format!("GW{number}")), Member { rack, life: Some(1), duty, ..Member::default() })
        };
        let subnet = Reference { path: "/logicalNetworks/f/subnets/seats".into() };
        let mut world = Self {
            gateways: (1..=active + standbys).map(member).collect(),
            fabric: range([10, 10, 9, 1], [10, 10, 9, 40]),
            rack: range([10, 20, 9, 1], [10, 20, 9, 40]),
            apart: BTreeSet::new(),
            lacks: BTreeMap::new(),
            shares: BTreeMap::new(),
            now: 0,
            seats: Seats { subnets: Some(Subnets { fabric: subnet, rack: None }), ..Seats::default() },
        };
        assert!(world.settle());
        world
    }

    fn with_pool<T>(&self, act: impl FnOnce(&Pool<'_>) -> T) -> T {
        act(&Pool {
            gateways: self.gateways.clone(),
            fabric: self.fabric.clone(),
            rack: self.rack.clone(),
            is_taken: &|address| address == IpAddr::from([10, 10, 9, 1]),
            may_take: &|seat, gateway| !self.apart.contains(&(seat.clone(), gateway.clone())),
            lack: &|seat, gateway| self.lacks.get(&(seat.clone(), gateway.clone())).copied().unwrap_or_default(),
            share: &|seat| self.shares.get(seat).copied().unwrap_or_default(),
            floor: Floor::default(),
            now: self.now,
        })
    }

    fn settle(&mut self) -> bool {
        let mut seats = self.seats.clone();
        let changed = self.with_pool(|pool| seats.settle(pool));
        self.seats = seats;
        changed
    }

    fn member(&mut self, gateway: &str) -> &mut Member {
        self.gateways.get_mut(&id(gateway)).unwrap()
    }

    fn next(&self, seat: &str) -> Vec<String> {
        self.seats.candidates(&id(seat)).map(ToString::to_string).collect()
    }

    /// A gateway that was granted it takes a seat, and everybody hears of it.
    fn take(&mut self, seat: &str, to: &str) {
        let grant = self.seats.seats[&id(seat)].ahead().find(|grant| grant.to == id(to)).unwrap().clone();
        assert_eq!(self.seats.follow(&id(seat), &grant.to, grant.epoch, self.now), Followed::Moved);
        self.settle();
    }

    /// Whom a seat is to be handed over to.
    fn relief(&self, seat: &str) -> Option<String> {
        self.seats.seats[&id(seat)].relief.as_ref().map(|relief| relief.to.to_string())
    }

    /// The next one takes a seat.
    fn fail_over(&mut self, seat: &str) -> (Id, u64) {
        let grant = self.seats.seats[&id(seat)].ahead().next().unwrap().clone();
        assert_eq!(self.seats.follow(&id(seat), &grant.to, grant.epoch, 7), Followed::Moved);
        (grant.to, grant.epoch)
    }

    /// All who vote have heard of the change of voters.
    fn elect(&mut self) {
        let all: Vec<Id> = self.gateways.keys().cloned().collect();
        while self.seats.elected(all.iter()) {
            self.settle();
        }
    }
}

#[test]
fn an_active_gateway_has_a_seat_and_is_the_first_to_take_it() {
    let world = World::new(2, 1);
    assert_eq!(world.seats.seats.keys().map(Id::as_str).collect::<Vec<_>>(), ["GW1", "GW2"]);
    let seat = &world.seats.seats[&id("GW1")];
    let written = |dual: crate::plan::Dual| dual.iter().map(|address| address.to_string()).collect::<Vec<_>>();
    assert_eq!(written(seat.pa), ["10.10.9.2"], "the first address is another's");
    assert_eq!(written(seat.next_hop), ["10.20.9.1"]);
    assert_eq!(seat.mac.to_string(), "02:53:00:00:00:01");
    let order: Vec<(&str, u64)> = seat.grants.iter().map(|grant| (grant.to.as_str(), grant.epoch)).collect();
    assert_eq!(order, [("GW1", 1), ("GW3", 2), ("GW2", 3)]);
    let charter = world.seats.settled().unwrap();
    assert_eq!(charter.electorate().voters().count(), 3);
    assert!(charter.grants(&"GW2".into(), seat::Epoch(5), &"GW3".into()));
    assert_eq!(charter.seats()[&"GW1".into()].bound, seat::Bound::Leased);
}

#[test]
fn a_failover_is_followed_and_grants_are_fresh_afterwards() {
    let mut world = World::new(2, 1);
    world.fail_over("GW1");
    world.settle();
    let (to, epoch) = world.fail_over("GW1");
    assert_eq!((to, epoch), (id("GW3"), 2), "nothing was taken back by that GW1 held it");
    assert!(world.settle());
    // GW1 is idle, GW3 is not: that one has to take GW2's as well no more.
    assert_eq!(
        (world.next("GW1"), world.next("GW2")),
        (vec!["GW1".into(), "GW2".to_owned()], vec!["GW1".into(), "GW3".to_owned()])
    );
    assert!(world.seats.seats[&id("GW1")].ahead().all(|grant| grant.epoch > 2));
    assert_eq!(world.seats.bearer(&id("gw1")), Some(&id("GW3")));
    // What was, or never was, is not believed.
    assert_eq!(world.seats.follow(&id("GW1"), &id("GW1"), 1, 8), Followed::Known);
    assert_eq!(world.seats.follow(&id("GW1"), &id("GW2"), 99, 8), Followed::Never);
    let last = world.seats.history.last().unwrap();
    assert_eq!((last.from.as_ref(), &last.to, last.heard), (Some(&id("GW1")), &id("GW3"), 7));
}

#[test]
fn a_grant_that_was_taken_back_may_have_been_used_before_that_was_heard() {
    let mut world = World::new(1, 2);
    world.fail_over("GW1");
    let first = world.seats.seats[&id("GW1")].ahead().next().unwrap().clone();
    world.member(first.to.as_str()).standing = Standing::Cordoned;
    world.settle();
    assert!(world.seats.seats[&id("GW1")].grants.iter().all(|grant| grant.epoch != first.epoch));
    assert_eq!(world.seats.follow(&id("GW1"), &first.to, first.epoch, 1), Followed::Moved);
    world.settle();
    assert!(world.seats.settled().unwrap().grants(
        &"GW1".into(),
        seat::Epoch(first.epoch),
        &super::record::gateway_name(&first.to)
    ));
}

#[test]
fn another_life_is_granted_anew() {
    let mut world = World::new(2, 1);
    let before: Vec<u64> = world.seats.seats[&id("GW1")].grants.iter().map(|grant| grant.epoch).collect();
    world.member("GW3").life = Some(2);
    assert!(world.settle());
    let seat = &world.seats.seats[&id("GW1")];
    let of_gw3 = seat.grants.iter().find(|grant| grant.to == id("GW3")).unwrap();
    assert_eq!(of_gw3.incarnation, 2);
    assert!(!before.contains(&of_gw3.epoch) && of_gw3.epoch > 4);
}

#[test]
fn silence_takes_no_grant_away() {
    let mut world = World::new(2, 1);
    world.member("GW3").heard = Heard::Silent;
    assert!(!world.settle(), "it may have lost its way to the controllers alone");
}

#[test]
fn those_who_fail_together_do_not_wait_for_one_and_successors_stand_elsewhere() {
    let mut world = World::new(2, 2);
    for (gateway, rack) in [("GW1", "a"), ("GW2", "b"), ("GW3", "a"), ("GW4", "b")] {
        world.member(gateway).rack = Some(id(rack));
    }
    world.settle();
    assert_eq!(world.next("GW1"), ["GW4", "GW3", "GW2"]);
    assert_eq!(world.next("GW2"), ["GW3", "GW4", "GW1"]);
    // Where the seat's VLANs are counts for more.
    world.apart.insert((id("GW1"), id("GW4")));
    world.settle();
    assert_eq!(
        (world.next("GW1"), world.next("GW2")),
        (vec!["GW3".into(), "GW4".into(), "GW2".to_owned()], vec!["GW4".into(), "GW3".into(), "GW1".to_owned()])
    );
}

#[test]
fn who_finds_a_vlan_missing_is_the_last_to_take_the_seat() {
    let mut world = World::new(2, 2);
    let firsts = |world: &World| [world.next("GW1")[0].clone(), world.next("GW2")[0].clone()];
    assert_eq!(firsts(&world), ["GW4", "GW3"]);
    world.lacks.insert((id("GW1"), id("GW4")), Lack::Vlan);
    world.settle();
    assert_eq!(world.next("GW1")[..2], ["GW3", "GW4"]);
    assert_eq!(world.next("GW2")[0], "GW4", "it is as good as any for another seat");
    // Better one gateway for two seats than one that does not reach their sites.
    world.lacks.insert((id("GW2"), id("GW4")), Lack::Vlan);
    world.settle();
    assert_eq!(firsts(&world), ["GW3", "GW3"]);
    world.lacks.clear();
    world.settle();
    assert_eq!(firsts(&world), ["GW4", "GW3"]);
}

#[test]
fn of_two_that_are_alike_the_one_that_knows_more_is_first() {
    let mut world = World::new(1, 2);
    assert_eq!(world.next("GW1")[0], "GW2");
    world.lacks.insert((id("GW1"), id("GW2")), Lack::Knowledge);
    world.settle();
    assert_eq!(world.next("GW1")[0], "GW3");
}

#[test]
fn a_pool_whose_standbys_lack_a_vlan_does_not_survive() {
    let mut world = World::new(1, 2);
    let losses = |world: &World| world.with_pool(|pool| world.seats.unsurvived(pool)).len();
    assert_eq!(losses(&world), 0);
    world.lacks.insert((id("GW1"), id("GW2")), Lack::Vlan);
    assert_eq!(losses(&world), 0);
    world.lacks.insert((id("GW1"), id("GW3")), Lack::Vlan);
    assert_eq!(losses(&world), 1);
    // Nor does room beside another seat count for anything without it.
    let mut world = World::new(2, 1);
    assert_eq!(losses(&world), 0);
    world.lacks.insert((id("GW1"), id("GW2")), Lack::Vlan);
    world.lacks.insert((id("GW1"), id("GW3")), Lack::Vlan);
    assert_eq!(losses(&world), 1);
}

#[test]
fn who_has_left_and_come_back_takes_nothing_by_what_it_was_granted_before() {
    let mut world = World::new(2, 1);
    let before = world.seats.seats[&id("GW1")].ahead().find(|grant| grant.to == id("GW3")).expect("a grant").epoch;
    let member = world.gateways.remove(&id("GW3")).expect("a member");
    world.settle();
    world.elect();
    // Another change of voters comes first.
    world.gateways.insert(id("GW4"), Member { life: Some(1), ..Member::default() });
    world.settle();
    world.gateways.insert(id("GW3"), Member { life: Some(2), ..member });
    world.settle();
    assert_eq!(world.seats.follow(&id("GW1"), &id("GW3"), before, 8), Followed::Never);
    assert!(world.seats.settled().is_ok());
}

#[test]
fn voters_change_in_two_steps() {
    let mut world = World::new(2, 1);
    let four = Member { life: Some(1), ..Member::default() };
    world.gateways.insert(id("GW4"), four.clone());
    assert!(world.settle());
    assert!(world.seats.electorate.is_changing());
    world.gateways.insert(id("GW5"), four);
    world.settle();
    assert_eq!(world.seats.electorate.voters().count(), 5, "GW1 to GW4 and the controllers; GW5 waits");
    assert!(!world.seats.elected([id("GW1"), id("GW4")].iter()));
    assert!(world.seats.elected([id("GW1"), id("GW2"), id("GW4")].iter()));
    assert!(!world.seats.electorate.is_changing());
    world.settle();
    world.elect();
    assert_eq!((world.seats.electorate.voters().count(), world.seats.electorate.is_changing()), (5, false));
}

#[test]
fn when_no_standby_is_left_who_has_room_is_next() {
    let mut world = World::new(4, 1);
    let share = |seat: &str, percent| (id(seat), Share(percent));
    world.shares = [share("GW1", 50), share("GW2", 40), share("GW3", 30), share("GW4", 80)].into();
    world.settle();
    // After the standby: most room first, beside what may come from others; GW4 has none for so much.
    assert_eq!(world.next("GW1"), ["GW5", "GW3", "GW2"]);
    assert_eq!((&world.next("GW2")[1], &world.next("GW3")[1]), (&"GW1".to_owned(), &"GW2".to_owned()));
    assert_eq!(world.next("GW4"), ["GW5"], "nobody has so much left");
    assert_eq!(world.seats.settled().unwrap().share(&"GW4".into()), Share(80));
    // Who fails together with the bearer comes last.
    world.member("GW3").rack = Some(id("r1"));
    world.settle();
    assert_eq!(world.next("GW1"), ["GW5", "GW2", "GW3"]);
    // Standbys that have a seat by now are as good as others that have one.
    world.fail_over("GW4");
    world.fail_over("GW4");
    world.settle();
    assert_eq!(world.seats.bearer(&id("GW4")), Some(&id("GW5")));
    assert_eq!(world.next("GW4"), ["GW4"]);
    assert_eq!(world.next("GW1")[0], "GW4", "its machine has nothing to do, once it is back");
}

#[test]
fn who_is_not_heard_of_is_not_counted_on() {
    let mut world = World::new(5, 0);
    assert_eq!(world.next("GW1"), ["GW2", "GW3"]);
    let granted = world.seats.seats[&id("GW1")].grants.clone();
    world.member("GW2").heard = Heard::Silent;
    assert!(world.settle());
    assert_eq!(world.next("GW1"), ["GW2", "GW3", "GW4"]);
    assert_eq!(world.seats.seats[&id("GW1")].grants[..2], granted[..2], "nothing is taken from it");
    world.member("GW4").standing = Standing::Cordoned;
    world.settle();
    assert_eq!(world.next("GW1"), ["GW2", "GW3", "GW5"]);
}

#[test]
fn small_changes_of_room_move_no_grants() {
    let mut world = World::new(3, 0);
    world.shares = [(id("GW2"), Share(21)), (id("GW3"), Share(25))].into();
    world.settle();
    assert_eq!(world.next("GW1"), ["GW2", "GW3"]);
    let grants = world.seats.seats[&id("GW1")].grants.clone();
    world.shares = [(id("GW2"), Share(28)), (id("GW3"), Share(22))].into();
    assert!(world.settle(), "shares are told all the same");
    assert_eq!(world.seats.seats[&id("GW1")].grants, grants);
    world.shares.insert(id("GW2"), Share(60));
    world.settle();
    assert_eq!(world.next("GW1"), ["GW3", "GW2"]);
}

#[test]
fn a_pool_with_room_survives_without_a_standby() {
    let mut world = World::new(3, 0);
    let losses = |world: &World| world.with_pool(|pool| world.seats.unsurvived(pool));
    world.shares = ["GW1", "GW2", "GW3"].map(|seat| (id(seat), Share(50))).into();
    world.settle();
    assert_eq!(losses(&world), []);
    world.shares = [(id("GW1"), Share(60)), (id("GW2"), Share(50)), (id("GW3"), Share(41))].into();
    world.settle();
    let lost = losses(&world);
    assert_eq!(lost.iter().map(|loss| loss.of.to_string()).collect::<Vec<_>>(), ["gateway GW1"]);
    assert_eq!(lost[0].because, Because::Standbys { seats: 1, covered: 0 });
    // Who has two seats loses two, and room is given once.
    let mut world = World::new(5, 0);
    world.shares = ["GW1", "GW2", "GW3", "GW4", "GW5"].map(|seat| (id(seat), Share(40))).into();
    world.settle();
    let to = world.seats.seats[&id("GW1")].ahead().find(|grant| grant.to == id("GW2")).unwrap().clone();
    world.seats.follow(&id("GW1"), &to.to, to.epoch, 7);
    world.member("GW1").standing = Standing::Cordoned;
    world.settle();
    assert_eq!(losses(&world), []);
    world.shares.insert(id("GW3"), Share(70));
    world.shares.insert(id("GW4"), Share(70));
    world.settle();
    let lost = losses(&world);
    let of_gw2 = lost.iter().find(|loss| loss.of.to_string() == "gateway GW2").unwrap();
    assert_eq!(of_gw2.because, Because::Standbys { seats: 2, covered: 1 });
}

/// Three gateways with seats, the second of which failed when there was no standby left: the third holds two.
fn doubled() -> World {
    let mut world = World::new(3, 1);
    for seat in ["GW1", "GW2", "GW3"] {
        world.take(seat, seat);
    }
    world.take("GW1", "GW4");
    world.member("GW1").heard = Heard::Silent;
    world.take("GW2", "GW3");
    world.member("GW2").heard = Heard::Silent;
    world.now += MINUTE;
    world.settle();
    world
}

#[test]
fn who_has_two_seats_hands_one_over_as_soon_as_its_home_or_a_standby_is_there_for_it() {
    let mut world = doubled();
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (None, None), "nobody is there to take it");
    // It is back, but has not taken its plan yet.
    world.member("GW2").heard = Heard::Lately;
    world.member("GW2").readiness = Readiness::Behind;
    world.settle();
    assert_eq!(world.relief("GW2"), None);
    world.member("GW2").readiness = Readiness::Ready;
    // Nor has it been told what there is to know.
    world.lacks.insert((id("GW2"), id("GW2")), Lack::Knowledge);
    world.settle();
    assert_eq!(world.relief("GW2"), None);
    world.lacks.clear();
    assert!(world.settle());
    assert_eq!((world.relief("GW2"), world.relief("GW3")), (Some("GW2".to_owned()), None));
    assert_eq!(world.relief("GW1"), None, "a standby with one seat keeps it");
    assert_eq!(world.seats.settled().unwrap().seats()[&"GW2".into()].relief, Some("GW2".into()));
    // Being told so puts it behind again, which takes nothing back.
    world.member("GW2").readiness = Readiness::Behind;
    assert!(!world.settle());
    // Another life has to catch up first.
    world.member("GW2").life = Some(2);
    world.settle();
    assert_eq!(world.relief("GW2"), None);
    world.member("GW2").readiness = Readiness::Ready;
    world.settle();
    // Whoever else is there first is as good; the home comes before.
    world.member("GW1").heard = Heard::Lately;
    world.settle();
    assert_eq!(world.relief("GW2"), Some("GW2".to_owned()));
    world.member("GW2").standing = Standing::Cordoned;
    world.settle();
    assert_eq!(world.relief("GW2"), Some("GW1".to_owned()));
    world.take("GW2", "GW1");
    assert_eq!(world.relief("GW2"), None);
}

#[test]
fn who_is_to_be_empty_hands_over_what_it_holds_without_a_rest_to_who_is_idle_or_has_room() {
    let mut world = World::new(2, 1);
    for seat in ["GW1", "GW2"] {
        world.take(seat, seat);
    }
    world.settle();
    world.member("GW1").standing = Standing::Leaving;
    world.settle();
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (Some("GW3".to_owned()), None));
    world.member("GW3").readiness = Readiness::Behind;
    world.settle();
    assert_eq!(world.relief("GW1"), Some("GW3".to_owned()), "it was asked when it was ready");
    world.take("GW1", "GW3");
    world.settle();
    assert_eq!(world.relief("GW1"), None);
    assert!(world.next("GW1").iter().all(|next| next != "GW1"), "it is given nothing");
    // Nothing goes back by itself.
    world.member("GW3").readiness = Readiness::Ready;
    world.member("GW1").standing = Standing::Open;
    world.settle();
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (None, None));

    // The other one finds nobody idle, but room.
    world.member("GW1").heard = Heard::Silent;
    world.member("GW2").standing = Standing::Leaving;
    world.settle();
    assert_eq!(world.relief("GW2"), Some("GW3".to_owned()));
    world.shares = [(id("GW1"), Share(60)), (id("GW2"), Share(50))].into();
    world.settle();
    assert_eq!(world.relief("GW2"), None, "both together are too much for one");
}

#[test]
fn who_is_to_be_empty_hands_over_one_seat_after_the_other() {
    let mut world = World::new(2, 2);
    for seat in ["GW1", "GW2"] {
        world.take(seat, "GW3");
    }
    world.member("GW3").standing = Standing::Leaving;
    // A home that comes back meanwhile does not turn to itself what has begun.
    world.member("GW2").heard = Heard::Silent;
    world.settle();
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (Some("GW1".to_owned()), None));
    world.member("GW2").heard = Heard::Lately;
    world.settle();
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (Some("GW1".to_owned()), None));
    world.take("GW1", "GW1");
    assert_eq!((world.relief("GW1"), world.relief("GW2")), (None, Some("GW2".to_owned())));
    world.take("GW2", "GW2");
    assert_eq!(world.relief("GW2"), None);
}

#[test]
fn a_seat_goes_home_ever_more_seldom_to_who_fails_again_and_again() {
    let mut world = doubled();
    world.member("GW2").heard = Heard::Lately;
    for moves in [1, 3, 5] {
        world.now = world.seats.history.last().unwrap().heard + moves * MINUTE - 1;
        world.settle();
        assert_eq!(world.relief("GW2"), None, "after {moves} moves");
        world.now += 1;
        world.settle();
        assert_eq!(world.relief("GW2"), Some("GW2".to_owned()), "after {moves} moves");
        world.take("GW2", "GW2");
        world.take("GW2", "GW3");
    }
    // What was long ago is forgiven.
    world.now += 61 * MINUTE;
    world.settle();
    assert_eq!(world.relief("GW2"), Some("GW2".to_owned()));
}

#[test]
fn no_two_seats_go_to_one_gateway_and_one_stays() {
    let mut world = World::new(3, 1);
    for seat in ["GW1", "GW2", "GW3"] {
        world.take(seat, "GW4");
    }
    world.now += MINUTE;
    world.settle();
    let reliefs = ["GW1", "GW2", "GW3"].map(|seat| world.relief(seat));
    assert_eq!(reliefs, [Some("GW1".to_owned()), Some("GW2".to_owned()), None]);
    // One home is away: those whose homes are there go first, and the third stays.
    world.member("GW1").heard = Heard::Silent;
    world.settle();
    let reliefs = ["GW1", "GW2", "GW3"].map(|seat| world.relief(seat));
    assert_eq!(reliefs, [None, Some("GW2".to_owned()), Some("GW3".to_owned())]);
}

#[test]
fn what_is_not_survived_is_said() {
    let mut world = World::new(2, 2);
    let lost = |world: &World| -> Vec<String> {
        world.with_pool(|pool| world.seats.unsurvived(pool)).iter().map(|loss| loss.of.to_string()).collect()
    };
    // Four gateways and the controllers: after two losses three of five are left.
    assert_eq!(lost(&world), Vec::<String>::new());
    world.member("GW4").heard = Heard::Silent;
    assert_eq!(lost(&world), Vec::<String>::new());
    world.member("GW3").heard = Heard::Silent;
    assert_eq!(lost(&world), ["gateway GW1", "gateway GW2"], "two of five decide nothing");
    world.member("GW3").heard = Heard::Lately;
    world.gateways.remove(&id("GW4"));
    world.settle();
    world.elect();
    assert_eq!(lost(&world), Vec::<String>::new());
    // Both with connections in one rack: one standby is too few, and it has no majority.
    world.member("GW1").rack = Some(id("r"));
    world.member("GW2").rack = Some(id("r"));
    world.settle();
    let losses = world.with_pool(|pool| world.seats.unsurvived(pool));
    assert_eq!((losses.len(), losses[0].of.to_string()), (1, "rack r".to_owned()));
    assert_eq!(losses[0].because, Because::Votes { left: 1, of: 3 });
    world.member("GW3").standing = Standing::Cordoned;
    world.shares = ["GW1", "GW2"].map(|seat| (id(seat), Share(51))).into();
    world.settle();
    assert_eq!(lost(&world), ["gateway GW1", "gateway GW2", "rack r"]);
    assert!(world.next("GW1").is_empty());
    assert_eq!(world.seats.settled().unwrap().seats()[&"GW1".into()].bound, seat::Bound::Unbounded);
}

#[test]
fn a_pool_that_gives_its_seats_up_grants_nothing_twice_later() {
    let mut world = World::new(2, 1);
    let (epoch, number) = (world.seats.epoch, world.seats.number);
    let subnets = world.seats.subnets.clone();
    assert!(world.seats.dissolve());
    assert!(!world.seats.dissolve() && world.seats.seats.is_empty());
    world.seats.subnets = subnets;
    world.settle();
    let seat = &world.seats.seats[&id("GW1")];
    assert!(seat.number > number && seat.grants.iter().all(|grant| grant.epoch > epoch));
}

#[test]
fn the_record_is_read_as_it_was_written() {
    let mut world = World::new(2, 1);
    world.fail_over("GW1");
    world.settle();
    let text = serde_json::to_string(&world.seats).unwrap();
    assert_eq!(serde_json::from_str::<Seats>(&text).unwrap(), world.seats);
}

/// What may happen to a pool.
#[derive(Clone, Debug)]
enum Step {
    Joins(u8),
    StartsAnew(u8),
    Leaves(u8),
    Falls(u8),
    IsHeard(u8),
    Cordoned(u8),
    Open(u8),
    Active(u8),
    Standby(u8),
    Takes(u8, u8),
    Elects(u8),
    Carries(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    (0..12u8, 1..6u8, any::<u8>()).prop_map(|(what, which, how)| match what {
        0 => Step::Joins(which),
        1 => Step::StartsAnew(which),
        2 => Step::Leaves(which),
        3 => Step::Falls(which),
        4 => Step::IsHeard(which),
        5 => Step::Cordoned(which),
        6 => Step::Open(which),
        7 => Step::Active(which),
        8 => Step::Standby(which),
        9 => Step::Takes(which, how),
        10 => Step::Carries(which, how % 120),
        _ => Step::Elects(how),
    })
}

impl World {
    fn make(&mut self, step: &Step, lives: &mut u64) {
        let mut change = |which: u8, change: &dyn Fn(&mut Member)| {
            if let Some(member) = self.gateways.get_mut(&Id::from(format!("GW{which}"))) {
                change(member);
            }
        };
        match *step {
            Step::Joins(which) => {
                *lives += 1;
                let member = Member { life: Some(*lives), ..Member::default() };
                self.gateways.entry(Id::from(format!("GW{which}"))).or_insert(member);
            }
            Step::StartsAnew(which) => {
                *lives += 1;
                let life = *lives;
                change(which, &|member| member.life = Some(life));
            }
            Step::Leaves(which) => {
                // A gateway that holds another's seat is not let go.
                let gateway = Id::from(format!("GW{which}"));
                if self.seats.carried(&gateway).all(|seat| *seat == gateway) {
                    self.gateways.remove(&gateway);
                }
            }
            Step::Falls(which) => change(which, &|member| member.heard = Heard::Silent),
            Step::IsHeard(which) => change(which, &|member| member.heard = Heard::Lately),
            Step::Cordoned(which) => change(which, &|member| member.standing = Standing::Cordoned),
            Step::Open(which) => change(which, &|member| member.standing = Standing::Open),
            Step::Active(which) => change(which, &|member| member.duty = Duty::Seat),
            Step::Standby(which) => change(which, &|member| member.duty = Duty::Standby),
            Step::Takes(which, how) => {
                let seat = Id::from(format!("GW{which}"));
                let grants: Vec<Grant> = self
                    .seats
                    .seats
                    .get(&seat)
                    .into_iter()
                    .flat_map(|seat| seat.ahead().chain(&seat.withdrawn))
                    .cloned()
                    .collect();
                if let Some(grant) = grants.get(usize::from(how) % grants.len().max(1))
                    && self.gateways.contains_key(&grant.to)
                {
                    self.seats.follow(&seat, &grant.to, grant.epoch, 0);
                }
            }
            Step::Carries(which, how) => {
                self.shares.insert(Id::from(format!("GW{which}")), Share(how.into()));
            }
            Step::Elects(how) => {
                let heard: Vec<Id> =
                    (0..8).filter(|bit| how >> bit & 1 == 1).map(|bit| Id::from(format!("GW{bit}"))).collect();
                self.seats.elected(heard.iter());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_no_epoch_is_granted_twice_and_who_can_take_a_seat_may(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new(2, 1);
        let mut lives = 1;
        let mut granted: BTreeMap<u64, (Id, Id, u64)> = BTreeMap::new();
        let mut numbers: BTreeMap<u32, Id> = BTreeMap::new();
        let mut held: BTreeMap<u32, u64> = BTreeMap::new();
        for step in &steps {
            let before = world.seats.clone();
            world.make(step, &mut lives);
            world.settle();
            prop_assert!(!world.settle(), "what is settled stays so: {:?}", step);
            let seats = &world.seats;
            prop_assert!(seats.epoch >= before.epoch && seats.charter >= before.charter && seats.number >= before.number);
            prop_assert!(*seats == before || seats.charter > before.charter, "{:?}", step);
            let mut addresses = BTreeSet::new();
            for (name, seat) in &seats.seats {
                prop_assert!(addresses.extend_new(seat.pa.iter().chain(seat.next_hop.iter())));
                prop_assert_eq!(numbers.entry(seat.number).or_insert_with(|| name.clone()), name);
                for grant in seat.grants.iter().chain(&seat.withdrawn) {
                    let whose = (name.clone(), grant.to.clone(), grant.incarnation);
                    prop_assert_eq!(granted.entry(grant.epoch).or_insert_with(|| whose.clone()), &whose, "epoch {}", grant.epoch);
                    prop_assert!(grant.epoch <= seats.epoch);
                }
                if let Some(holder) = &seat.holder {
                    let last = held.insert(seat.number, holder.epoch).unwrap_or_default();
                    prop_assert!(holder.epoch >= last);
                    prop_assert!(world.gateways.contains_key(&holder.gateway));
                }
                let bearing: BTreeSet<&Id> = seats.seats.keys().filter_map(|seat| seats.bearer(seat)).collect();
                let voters: BTreeSet<String> =
                    seats.electorate.voters().filter_map(seat::Voter::as_gateway).map(ToString::to_string).collect();
                let share = |seat: &Id| world.shares.get(seat).copied().unwrap_or_default();
                let others = world.gateways.iter().any(|(id, member)| {
                    let borne: Share = seats.carried(id).map(share).sum();
                    let has_room = !bearing.contains(id) || borne.plus(share(name)) <= Share::WHOLE;
                    let may = member.life.is_some() && member.standing == Standing::Open && voters.contains(id.as_str());
                    may && has_room && seats.bearer(name) != Some(id)
                });
                prop_assert_eq!(seats.candidates(name).next().is_some(), others, "seat {}", name);
            }
            if seats.electorate.voters().next().is_some() {
                prop_assert!(seats.settled().is_ok(), "{:?}", seats.settled());
            }
            let text = serde_json::to_string(seats).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Seats>(&text).unwrap(), seats);
        }
    }
}

/// A set that says whether all that came was new.
trait ExtendNew<T> {
    fn extend_new(&mut self, items: impl Iterator<Item = T>) -> bool;
}

impl<T: Ord> ExtendNew<T> for BTreeSet<T> {
    fn extend_new(&mut self, mut items: impl Iterator<Item = T>) -> bool {
        items.all(|item| self.insert(item))
    }
}

/// The controllers' vote in a pool of two gateways, of which the first holds its seat under epoch 1.
struct Voting {
    world: World,
    vote: Vote,
}

impl Voting {
    fn new() -> Self {
        let world = World::new(1, 1);
        let vote = Vote::new(&world.seats, at(0));
        Self { world, vote }
    }

    /// What is said to a gateway that asks so many milliseconds later; what was promised is kept.
    fn says(&mut self, asker: &str, epoch: u64, claim: Claim, now: u64) -> Verdict {
        let electorate = self.world.seats.electorate.number();
        let ask = Ask { seat: "GW1".into(), epoch: Epoch(epoch), claim, electorate, asked: at(now) };
        let said = self.vote.asked(&self.world.seats, &id(asker), ask, at(now));
        if let Some((seat, promise)) = said.promise {
            let promised = Holder { gateway: promise.to.as_str().into(), epoch: promise.epoch.0 };
            self.world.seats.seats.get_mut(&Id::from(seat.as_str())).unwrap().promised = Some(promised);
        }
        said.answer.expect("it votes").verdict
    }

    /// What is said to a gateway that wants the seat, which it takes if it may.
    fn bids(&mut self, asker: &str, now: u64) -> Verdict {
        let grant = self.world.seats.seats[&id("GW1")].ahead().find(|grant| grant.to == id(asker)).unwrap().clone();
        let verdict = self.says(asker, grant.epoch, Claim::Bids, now);
        if verdict == Verdict::Yes {
            self.world.take("GW1", asker);
        }
        verdict
    }

    /// What is said to the holder.
    fn holds(&mut self, now: u64) -> Verdict {
        let Holder { gateway, epoch } = self.world.seats.seats[&id("GW1")].promised.clone().unwrap();
        self.says(gateway.as_str(), epoch, Claim::Holds, now)
    }
}

fn at(milliseconds: u64) -> Moment {
    Moment(milliseconds * 1_000_000)
}

#[test]
fn of_two_gateways_one_and_the_controllers_are_a_majority() {
    let world = World::new(1, 1);
    let charter = world.seats.settled().unwrap();
    let electorate = charter.electorate();
    assert!(electorate.is_majority([&Voter::Controllers, &Voter::Gateway("GW2".into())].into_iter()));
    assert!(!electorate.is_majority([&Voter::Gateway("GW2".into())].into_iter()));
}

#[test]
fn a_bidder_is_believed_but_ever_more_slowly_while_the_holder_speaks() {
    let mut voting = Voting::new();
    assert_eq!(voting.bids("GW1", 0), Verdict::Yes);
    assert_eq!(voting.holds(500), Verdict::Yes);
    assert_eq!(voting.bids("GW2", 999), Verdict::HolderAlive, "it was just taken");
    let first = voting.world.seats.seats[&id("GW1")].holder.clone().unwrap().epoch;
    assert_eq!(voting.bids("GW2", 1000), Verdict::Yes);
    let Verdict::Superseded(_) = voting.says("GW1", first, Claim::Holds, 1001) else { panic!("it stands by another") };
    assert_eq!(voting.holds(1002), Verdict::Yes);
    assert_eq!(voting.bids("GW1", 2999), Verdict::HolderAlive, "they take it from each other");
    assert_eq!(voting.bids("GW1", 3000), Verdict::Yes);
    // Long afterwards that is forgotten.
    assert_eq!(voting.holds(2 * MINUTE), Verdict::Yes);
    assert_eq!(voting.bids("GW2", 2 * MINUTE + 1), Verdict::Yes);
    assert_eq!(voting.holds(2 * MINUTE + 2), Verdict::Yes);
    assert_eq!(voting.bids("GW1", 2 * MINUTE + 1001), Verdict::Yes);
}

#[test]
fn a_holder_that_does_not_speak_any_more_is_followed_after_a_lease() {
    let mut voting = Voting::new();
    let lease = u64::try_from(voting.world.seats.timers.lease().as_millis()).unwrap();
    // The fourth move in a short time.
    for (asker, now) in [("GW1", 0), ("GW2", 1000), ("GW1", 3000), ("GW2", 7000)] {
        assert_eq!(voting.bids(asker, now), Verdict::Yes);
        assert_eq!(voting.holds(now), Verdict::Yes);
    }
    assert_eq!(voting.bids("GW1", 6999 + lease), Verdict::HolderAlive);
    assert_eq!(voting.bids("GW1", 7000 + lease), Verdict::Yes);
}

#[test]
fn the_next_leader_stands_by_what_was_said() {
    let mut voting = Voting::new();
    assert_eq!(voting.bids("GW1", 0), Verdict::Yes);
    assert_eq!(voting.holds(0), Verdict::Yes);
    let first = voting.world.seats.seats[&id("GW1")].promised.clone().unwrap().epoch;
    assert_eq!(voting.bids("GW2", 2 * MINUTE), Verdict::Yes);
    voting.vote = Vote::new(&voting.world.seats, at(2 * MINUTE));
    let Verdict::Superseded(_) = voting.says("GW1", first, Claim::Holds, 2 * MINUTE + 1) else {
        panic!("it stands by another")
    };
    assert_eq!(voting.holds(2 * MINUTE + 1), Verdict::Yes);
    assert_eq!(voting.says("GW1", 70, Claim::Bids, 2 * MINUTE + 1), Verdict::Ungranted);
}
