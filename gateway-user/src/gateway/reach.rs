//! Whom this gateway would reach on the VLANs of seats that others hold: it asks their peers, in its ports' own names, so that nobody learns an
//! address from it.
//!
//! Who answers is in the tables before the seat is taken. A VLAN on which nobody answers does not come to this gateway, and the seat had better be
//! taken by another.

use super::agent::Agent;
use super::compartment;
use super::replicas::Station;
use super::slowpath::Answered;
use super::standing::Standing;
use crate::dataplane::world::{ConnectionName, Mac, Neighbour, PortState, World};
use crate::net::frame_sender::FrameSender;
use crate::net::link_frames::{self, Answer};
use crate::net::next_hops::Effect;
use crate::plan::{ConnectionKind, Plan, Tenant};
use anyhow::Context;
use seat::SeatName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an answer may take until the question is put again, the first time; then twice as long each time.
const SOON: Duration = Duration::from_secs(1);
/// The longest: whoever starts up meanwhile takes a probe for his address for a conflict (RFC 5227, 2.1.1), so they are to be few.
const SELDOM: Duration = Duration::from_secs(60);
/// How often who has answered is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// How many questions in a row pass until what was answered before counts no more.
const PASSED: u32 = 3;
/// How long nobody may answer on a VLAN before a person hears of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Questions in one go, of which there is one each second.
const AT_ONCE: usize = 1024;
/// What warnings start with.
const ABOUT: &str = "VLAN";

/// Who is asked for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    ifindex: u32,
    vlan: u16,
    address: IpAddr,
}

/// In whose name somebody is asked, and for which connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Purpose {
    port: Mac,
    connection: ConnectionName,
}

#[derive(Clone, Debug)]
struct Asked {
    purpose: Purpose,
    /// Since when.
    since: Instant,
    due: Instant,
    wait: Duration,
    /// How many questions were put since an answer came.
    passed: u32,
    /// Where the answer came from, as long as it counts.
    answered: Option<Mac>,
}

impl Asked {
    fn new(purpose: Purpose, answered: Option<Mac>, now: Instant) -> Self {
        Self { purpose, since: now, due: now, wait: SOON, passed: 0, answered }
    }
}

/// The questions that are put.
#[derive(Debug, Default)]
pub(super) struct Reach {
    asked: BTreeMap<Question, Asked>,
    sender: FrameSender,
}

impl Reach {
    /// Asks nobody yet.
    pub(super) fn open() -> anyhow::Result<Self> {
        let sender = FrameSender::open().context("cannot open a packet socket to ask neighbours by")?;
        Ok(Self { asked: BTreeMap::new(), sender })
    }

    /// Asks these from here on, and nobody else. Whoever is known, as when the seat was held here a moment ago, is believed until it lets
    /// questions pass.
    fn want(&mut self, questions: BTreeMap<Question, Purpose>, known: &HashMap<Neighbour, Mac>, now: Instant) {
        let mut before = std::mem::take(&mut self.asked);
        let asked = questions.into_iter().map(|(question, purpose)| {
            let asked = before.remove(&question).filter(|asked| asked.purpose == purpose);
            let asked = asked.unwrap_or_else(|| {
                let station = Neighbour { connection: purpose.connection.clone(), address: question.address };
                Asked::new(purpose, known.get(&station).copied(), now)
            });
            (question, asked)
        });
        self.asked = asked.collect();
    }

    /// The frames that are due, by port; and whether somebody has let too many pass.
    fn frames(&mut self, now: Instant) -> (BTreeMap<u32, Vec<Vec<u8>>>, bool) {
        let mut frames: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        let mut lost = false;
        for (question, asked) in self.asked.iter_mut().filter(|(_, asked)| asked.due <= now).take(AT_ONCE) {
            lost |= asked.passed >= PASSED && asked.answered.take().is_some();
            asked.passed = asked.passed.saturating_add(1);
            asked.due = now + asked.wait;
            asked.wait = (asked.wait * 2).min(SELDOM);
            let frame = link_frames::question(asked.purpose.port, Some(question.vlan), question.address);
            frames.entry(question.ifindex).or_default().push(frame);
        }
        (frames, lost)
    }

    /// Takes an answer that came in by a port; whether something is different by it.
    fn hear(&mut self, ifindex: u32, Answer { vlan, address, mac }: Answer, now: Instant) -> bool {
        let question = vlan.map(|vlan| Question { ifindex, vlan, address });
        let Some(asked) = question.and_then(|question| self.asked.get_mut(&question)) else { return false };
        let differs = asked.answered.replace(mac) != Some(mac);
        asked.passed = 0;
        asked.due = now + AGAIN;
        asked.wait = SOON;
        differs
    }

    /// All who have answered.
    fn stations(&self) -> impl Iterator<Item = Station> {
        self.asked.iter().filter_map(|(question, asked)| {
            let connection = asked.purpose.connection.clone();
            Some((Neighbour { connection, address: question.address }, asked.answered?))
        })
    }

    /// Tells the world of them. What it knows already it knows from whoever hears them all the time.
    pub(super) fn tell(&self, world: &mut World) {
        for (station, mac) in self.stations() {
            if world.attachments.contains_key(&station.connection) {
                world.neighbours.entry(station).or_insert(mac);
            }
        }
    }

    /// The connections on whose VLANs somebody is asked, and nobody has answered for a while.
    fn unreached(&self, now: Instant) -> BTreeSet<&ConnectionName> {
        let mut unreached: BTreeMap<&ConnectionName, bool> = BTreeMap::new();
        for asked in self.asked.values() {
            let silent = asked.answered.is_none() && now.saturating_duration_since(asked.since) >= PATIENCE;
            *unreached.entry(&asked.purpose.connection).or_insert(true) &= silent;
        }
        unreached.into_iter().filter(|(_, silent)| *silent).map(|(connection, _)| connection).collect()
    }
}

/// Whom to ask: the peers on the VLANs of seats that are not held here.
fn questions(plan: &Plan, ports: &BTreeMap<String, PortState>, standing: &Standing) -> BTreeMap<Question, Purpose> {
    let mut questions = BTreeMap::new();
    for tenant in plan.tenants.iter().filter(|tenant| !standing.speaks_for(tenant)) {
        for connection in &tenant.connections {
            let ConnectionKind::L3(l3) = &connection.kind else { continue };
            let Some(port) = ports.get(l3.port.as_str()) else { continue };
            for address in compartment::peers_on(tenant, connection) {
                let connection =
                    ConnectionName { tenant: tenant.key().into_owned(), connection: connection.name.to_string() };
                let question = Question { ifindex: port.ifindex, vlan: l3.vlan.get(), address };
                questions.insert(question, Purpose { port: port.mac, connection });
            }
        }
    }
    questions
}

impl Agent {
    /// Asks whom the plan and what is held make it ask.
    pub(super) fn want_reach(&mut self) {
        let questions = questions(&self.assignment.plan, &self.world.ports, &self.standing);
        self.reach.want(questions, &self.world.neighbours, Instant::now());
    }

    /// Those who have answered on the VLANs of seats, by tenant's key.
    pub(super) fn reached(&self, is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<Station>> {
        let mut reached: BTreeMap<String, Vec<Station>> = BTreeMap::new();
        for (station, mac) in self.reach.stations() {
            let tenant = &station.connection.tenant;
            if Tenant::seat_in(tenant).is_some_and(&is_wanted) {
                reached.entry(tenant.clone()).or_default().push((station, mac));
            }
        }
        reached
    }

    /// Puts the questions that are due, and tells a person of VLANs on which nobody answers though the seat's holder reaches somebody.
    pub(super) fn ask_around(&mut self) {
        let now = Instant::now();
        let (frames, lost) = self.reach.frames(now);
        for (ifindex, frames) in frames {
            self.reach.sender.send(ifindex, &frames);
        }
        if lost {
            self.pending.add(Effect::Ways);
        }
        self.warnings.retain(|about, _| !about.starts_with(ABOUT));
        for connection in self.unreached(now) {
            let what = "nobody on the VLAN answers this gateway: if it takes the seat, the connection may reach nobody; check that the VLAN \
                        comes to the port";
            self.warnings
                .insert(format!("{ABOUT} of {} of {}", connection.connection, connection.tenant), what.to_owned());
        }
    }

    /// Takes the answer of somebody on a VLAN.
    pub(super) fn heard_on_vlan(&mut self, Answered { ifindex, answer }: Answered) {
        if self.reach.hear(ifindex, answer, Instant::now()) {
            self.pending.add(Effect::Ways);
        }
    }

    /// The connections on whose VLANs nobody has answered. Where the holder hears nobody either, it is the site that is silent.
    fn unreached(&self, now: Instant) -> BTreeSet<ConnectionName> {
        let unreached = self.reach.unreached(now).into_iter();
        unreached.filter(|connection| !self.replicas.knows_nobody_on(connection)).cloned().collect()
    }

    /// The seats of which a VLAN does not come to this gateway, as far as it can tell.
    pub(super) fn seats_unreached(&self) -> BTreeSet<SeatName> {
        let unreached = self.unreached(Instant::now());
        unreached.iter().filter_map(|connection| Tenant::seat_in(&connection.tenant)).map(SeatName::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Mac = [2, 0, 0, 0, 0, 9];

    fn address(last: u8) -> IpAddr {
        [10, 127, 134, last].into()
    }

    fn connection(name: &str) -> ConnectionName {
        ConnectionName { tenant: "contoso@GW1".to_owned(), connection: name.to_owned() }
    }

    fn question(vlan: u16, last: u8) -> Question {
        Question { ifindex: 4, vlan, address: address(last) }
    }

    fn asking(questions: &[(Question, &str)], now: Instant) -> Reach {
        let mut reach = Reach::default();
        want(&mut reach, questions, now);
        reach
    }

    fn want(reach: &mut Reach, questions: &[(Question, &str)], now: Instant) {
        let purpose = |name| Purpose { port: [2, 0, 0, 0, 0, 4], connection: connection(name) };
        let questions = questions.iter().map(|(question, name)| (*question, purpose(name)));
        reach.want(questions.collect(), &HashMap::new(), now);
    }

    fn answer(vlan: u16, last: u8) -> Answer {
        Answer { vlan: Some(vlan), address: address(last), mac: PEER }
    }

    fn told(reach: &Reach) -> usize {
        let mut world = World { attachments: BTreeMap::from([(connection("dc"), 7)]), ..World::default() };
        reach.tell(&mut world);
        world.neighbours.len()
    }

    /// How many questions are put, and whether somebody is known no more.
    fn puts(reach: &mut Reach, now: Instant) -> (usize, bool) {
        let (frames, lost) = reach.frames(now);
        (frames.values().map(Vec::len).sum(), lost)
    }

    /// Puts questions when they are due, so many times; how long it waited for each.
    fn waits(reach: &mut Reach, now: &mut Instant, times: usize) -> Vec<u64> {
        let due = |reach: &Reach| reach.asked.values().map(|asked| asked.due).min().expect("somebody is asked");
        let mut waits = Vec::new();
        for _ in 0..times {
            let next = due(reach).max(*now);
            waits.push(next.duration_since(*now).as_secs());
            *now = next;
            assert_eq!(puts(reach, *now).0, 1);
        }
        waits
    }

    #[test]
    fn who_is_silent_is_asked_ever_more_seldom_and_who_answers_at_a_steady_pace() {
        let mut now = Instant::now();
        let mut reach = asking(&[(question(100, 1), "dc")], now);
        assert_eq!(waits(&mut reach, &mut now, 9), [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(reach.hear(4, answer(100, 1), now));
        assert_eq!(waits(&mut reach, &mut now, 3), [30, 1, 2], "one that lets a question pass is asked soon");
    }

    #[test]
    fn an_answer_counts_until_too_many_questions_pass() {
        let mut now = Instant::now();
        let mut reach = asking(&[(question(100, 1), "dc")], now);
        reach.hear(4, answer(100, 1), now);
        waits(&mut reach, &mut now, 3);
        assert_eq!(told(&reach), 1);
        now += SELDOM;
        assert_eq!((puts(&mut reach, now), told(&reach)), ((1, true), 0));
        assert!(reach.hear(4, answer(100, 1), now), "it is back");
    }

    #[test]
    fn an_answer_counts_only_for_what_was_asked() {
        let now = Instant::now();
        let mut reach = asking(&[(question(100, 1), "dc")], now);
        for (ifindex, wrong) in [(4, answer(101, 1)), (4, answer(100, 2)), (5, answer(100, 1))] {
            assert!(!reach.hear(ifindex, wrong, now));
        }
        assert_eq!(told(&reach), 0);
        assert!(reach.hear(4, answer(100, 1), now));
        assert!(!reach.hear(4, answer(100, 1), now), "it says nothing new");
        want(&mut reach, &[(question(100, 1), "dc"), (question(100, 2), "dc")], now);
        assert_eq!(told(&reach), 1, "what is known stays known");
        want(&mut reach, &[], now);
        assert_eq!(told(&reach), 0);
    }

    #[test]
    fn who_was_known_a_moment_ago_is_believed_until_it_lets_questions_pass() {
        let mut now = Instant::now();
        let purpose = Purpose { port: [2, 0, 0, 0, 0, 4], connection: connection("dc") };
        let known = HashMap::from([(Neighbour { connection: connection("dc"), address: address(1) }, PEER)]);
        let mut reach = Reach::default();
        reach.want(BTreeMap::from([(question(100, 1), purpose)]), &known, now);
        assert_eq!(waits(&mut reach, &mut now, 3), [0, 1, 2]);
        assert_eq!(told(&reach), 1);
        now += SELDOM;
        assert_eq!((puts(&mut reach, now), told(&reach)), ((1, true), 0));
    }

    #[test]
    fn what_the_holder_knows_goes_first() {
        let now = Instant::now();
        let mut reach = asking(&[(question(100, 1), "dc")], now);
        reach.hear(4, answer(100, 1), now);
        let station = Neighbour { connection: connection("dc"), address: address(1) };
        let mut world = World { attachments: BTreeMap::from([(connection("dc"), 7)]), ..World::default() };
        world.neighbours.insert(station.clone(), [2; 6]);
        reach.tell(&mut world);
        assert_eq!(world.neighbours[&station], [2; 6]);
    }

    #[test]
    fn a_vlan_on_which_nobody_answers_for_a_while_is_not_reached() {
        let start = Instant::now();
        let mut reach = asking(&[(question(100, 1), "dc"), (question(100, 2), "dc"), (question(101, 1), "lab")], start);
        let later = start + PATIENCE;
        assert!(reach.unreached(start).is_empty());
        assert_eq!(reach.unreached(later), BTreeSet::from([&connection("dc"), &connection("lab")]));
        reach.hear(4, answer(100, 2), later);
        assert_eq!(reach.unreached(later), BTreeSet::from([&connection("lab")]), "one on the VLAN is enough");
    }

    #[test]
    fn not_all_are_asked_at_once() {
        let now = Instant::now();
        let questions: Vec<(Question, &str)> =
            (0..1500).map(|at| (question(1 + at / 200, (at % 200) as u8), "dc")).collect();
        let mut reach = asking(&questions, now);
        let mut next = || puts(&mut reach, now).0;
        assert_eq!([next(), next(), next()], [AT_ONCE, 1500 - AT_ONCE, 0]);
    }
}
