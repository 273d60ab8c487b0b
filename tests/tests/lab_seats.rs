//! Seats that move: three gateways' sentinels with the real programs on real ports, and every way in which a gateway can die.
//!
//! What is asked is who holds what, under which epoch, and what happened; never how long it took.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use gateway_common::gate::State;
use gateway_common::tables::Prober;
use gateway_common::{NexthopId, SeatId};
use gateway_user::dataplane::pins::{DEFAULT as PINS, Pins};
use gateway_user::dataplane::seats::Gates;
use gateway_user::sentinel::client::Connection;
use gateway_user::sentinel::process::now;
use gateway_user::sentinel::protocol::Request;
use gateway_user::sentinel::{
    Announcement, Configuration, Entry, Holding, PairKey, Peer, Seat, Status, What, probe_key, socket_in,
};
use lab::frame_socket::FrameSocket;
use lab::gateway::{Gateway, program};
use lab::link::{End, cable};
use lab::node::{Node, Processes, Running};
use lab::wait::{SOON, until};
use nix::sys::signal::Signal;
use seat::timers::Settings;
use seat::{
    Bound, Charter, CharterNumber, Electorate, ElectorateNumber, Epoch, GatewayName, Grant, Incarnation, SeatName,
    Succession, Timers,
};

const STATE: &str = "/run/gateway";
const NAMES: [&str; 3] = ["GW1", "GW2", "GW3"];
/// The seats are at home on the first two gateways.
const SEATS: [&str; 2] = ["GW1", "GW2"];
const SIDES: [&str; 2] = ["fabric", "site"];

/// So long that a busy machine raises no alarm, as far as that can be had; a false one only moves a seat.
fn timers() -> Result<Timers> {
    let settings = Settings {
        probe: Duration::from_millis(50),
        misses: 4.try_into()?,
        heartbeat: Duration::from_millis(1500),
        restart: Duration::from_millis(1500),
        renewal: Duration::from_millis(500),
        lease: Duration::from_secs(5),
        patience: Duration::from_millis(100),
    };
    Ok(Timers::new(settings)?)
}

/// Each seat is granted to its home and to the third gateway in turns, so that there is always somebody next.
fn charter() -> Result<Charter> {
    let succession = |home: &str| {
        let grants = (1..=40).map(|epoch| Grant {
            epoch: Epoch(epoch),
            to: if epoch % 2 == 1 { home.into() } else { NAMES[2].into() },
            incarnation: Incarnation(1),
        });
        Succession { bound: Bound::Leased, grants: grants.collect(), ..Succession::default() }
    };
    let electorate = Electorate::of(ElectorateNumber(1), NAMES.map(GatewayName::from));
    let seats = SEATS.iter().map(|home| (SeatName::from(*home), succession(home)));
    Ok(Charter::new(CharterNumber(1), electorate, seats.collect())?)
}

fn fabric(at: usize) -> String {
    format!("10.10.0.{}", at + 1)
}

fn site(at: usize) -> String {
    format!("192.0.2.{}", at + 1)
}

fn key(one: usize, other: usize) -> PairKey {
    PairKey::new([1 + (one.min(other) * 3 + one.max(other)) as u8; 32])
}

fn announced(seat: usize) -> String {
    format!("10.10.0.{}", 101 + seat)
}

/// A gateway with its sentinel, and a stand-in for its agent's part in seats.
struct Member {
    gateway: Gateway,
    sentinel: Option<Running>,
    agent: Agent,
}

/// What tells the sentinel what is settled, and that it is alive.
struct Agent {
    mode: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

const ALIVE: u8 = 0;
const HUNG: u8 = 1;
const ENDED: u8 = 2;

impl Agent {
    fn start(node: Arc<Node>, configuration: Configuration) -> Self {
        let mode = Arc::new(AtomicU8::new(ALIVE));
        let told = mode.clone();
        let beat = configuration.timers.heartbeat() / 5;
        let thread = std::thread::spawn(move || {
            node.within(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    while told.load(Ordering::Relaxed) != ENDED {
                        let _ = converse(&configuration, &told, beat).await;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                });
            });
        });
        Self { mode, thread: Some(thread) }
    }

    fn is(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.is(ENDED);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn converse(configuration: &Configuration, mode: &AtomicU8, beat: Duration) -> Result<()> {
    let mut connection = Connection::open(&socket_in(STATE.as_ref())).await?;
    connection.send(&Request::Configure(Box::new(configuration.clone()))).await?;
    loop {
        match tokio::time::timeout(beat, connection.next()).await {
            Ok(event) => drop(event?),
            Err(_) => match mode.load(Ordering::Relaxed) {
                ENDED => return Ok(()),
                HUNG => {}
                _ => connection.send(&Request::Alive).await?,
            },
        }
    }
}

struct World {
    switches: [Arc<Node>; 2],
    members: Vec<Member>,
}

impl World {
    /// Three gateways between two switches; each seat is held by its home in the end, unless a busy machine raised an alarm.
    fn new() -> Result<Self> {
        let processes = Processes::new()?;
        let switches = [Node::new("fabric", &processes)?, Node::new("rack", &processes)?];
        for switch in &switches {
            switch.ip("link add bridge type bridge\nlink set bridge up\n")?;
        }
        let mut gateways = Vec::new();
        for (at, name) in NAMES.iter().enumerate() {
            let node = Node::new(name, &processes)?;
            for (switch, side) in switches.iter().zip(SIDES) {
                cable(1500, End::new(&node, side), End::new(switch, name).from_gateway())?;
                switch.ip(&format!("link set {name} master bridge\n"))?;
            }
            node.ip(&format!("address add {}/24 dev fabric\naddress add {}/24 dev site\n", fabric(at), site(at)))?;
            let mut gateway = Gateway::new(&node);
            gateway.start_text(&format!(
                "[gateway]\nname = \"{name}\"\nencapsulation = \"vxlan\"\npa = [\"10.10.0.{}\"]\n
                 [[port]]\nname = \"fabric\"\nrole = \"fabric\"\n\n[[port]]\nname = \"site\"\nrole = \"site\"\n",
                at + 51
            ))?;
            gateways.push(gateway);
        }
        let mut members = Vec::new();
        for (at, gateway) in gateways.into_iter().enumerate() {
            reflect(gateway.node(), at)?;
            let sentinel = Some(sentinel(gateway.node())?);
            let configuration = configuration(gateway.node(), at)?;
            let agent = Agent::start(gateway.node().clone(), configuration);
            members.push(Member { gateway, sentinel, agent });
        }
        let world = Self { switches, members };
        for seat in 0..SEATS.len() {
            world.settled(seat)?;
        }
        // Only what was seen alive can be seen to die.
        for member in &world.members {
            until(SOON, "all gateways to see each other", || {
                let peers = member.status().ok()?.peers;
                peers.iter().all(|peer| peer.diagnosis == seat::watch::Diagnosis::Well).then_some(())
            })
            .with_context(|| world.story())?;
        }
        Ok(world)
    }

    /// Who holds a seat, by the gates, when exactly one does and all who live agree.
    fn settled(&self, seat: usize) -> Result<(usize, u64)> {
        until(SOON, "a seat to have one holder", || {
            let open = self.open(seat);
            (open.len() == 1).then(|| open[0])
        })
        .with_context(|| self.story())
    }

    /// All whose gate of a seat is open, and under which epoch.
    fn open(&self, seat: usize) -> Vec<(usize, u64)> {
        let open = |(at, member): (usize, &Member)| {
            let (gate, epoch) = member.gate(seat)?;
            (gate.state() != State::Replica && gate.is_open(now().0)).then_some((at, epoch))
        };
        self.members.iter().enumerate().filter_map(open).collect()
    }

    /// Waits until another than this one holds a seat, under a higher epoch, and it alone; gives who.
    fn moved(&self, seat: usize, from: (usize, u64)) -> Result<(usize, u64)> {
        until(SOON, "another gateway to hold the seat alone", || {
            let open = self.open(seat);
            open.iter().all(|(at, epoch)| *at != from.0 && *epoch > from.1).then(|| open.first().copied()).flatten()
        })
        .with_context(|| format!("seat {} was held by {from:?}\n{}", SEATS[seat], self.story()))
    }

    /// Cuts a gateway off on these sides so that it does not notice, or joins it again.
    fn wire(&self, at: usize, sides: &[usize], to: &str) -> Result<()> {
        sides.iter().try_for_each(|side| self.switches[*side].ip(&format!("link set {} {to}\n", NAMES[at])))
    }

    /// What everybody says happened.
    fn story(&self) -> String {
        let told = |member: &Member| match (member.status(), member.history()) {
            (Ok(status), Ok(history)) => {
                format!("{status:?}\n{}", history.iter().map(|entry| format!("  {entry:?}\n")).collect::<String>())
            }
            (status, _) => format!("{status:?}"),
        };
        self.members.iter().zip(NAMES).map(|(member, name)| format!("{name}: {}\n", told(member))).collect()
    }
}

impl Member {
    fn ask<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T> {
        Ok(serde_json::from_str(&self.gateway.ctl(&[what, "-o", "json"])?)?)
    }

    fn status(&self) -> Result<Status> {
        self.ask("seats")
    }

    fn history(&self) -> Result<Vec<Entry>> {
        self.ask("history")
    }

    /// Waits until something is in the history.
    fn tells(&self, awaited: &str, is: impl Fn(&Entry) -> bool) -> Result<Entry> {
        until(SOON, awaited, || self.history().ok()?.into_iter().rev().find(&is))
            .with_context(|| format!("{:?}", self.history()))
    }

    fn gate(&self, seat: usize) -> Option<(gateway_common::gate::Gate, u64)> {
        let gates = self.gateway.node().within(|| Gates::open(&Pins::new(Path::new(PINS)).maps())).ok()?;
        let words = gates.read(SeatId(seat as u32 + 1));
        Some((words.gate, words.epoch.0))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.sentinel.as_ref().context("no sentinel runs")?.signal(signal)
    }
}

fn sentinel(node: &Node) -> Result<Running> {
    let mut command = Command::new(program("gatewayd")?);
    command.args(["sentinel", "--state", STATE, "--pins", PINS]);
    node.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).env("NO_COLOR", "1"))
}

fn configuration(node: &Node, at: usize) -> Result<Configuration> {
    let ifindex: u32 = node.sh("cat /sys/class/net/fabric/ifindex")?.trim().parse()?;
    let peers = (0..NAMES.len()).filter(|peer| *peer != at).map(|peer| {
        Ok(Peer {
            name: NAMES[peer].into(),
            number: peer as u16 + 1,
            fabric: fabric(peer).parse()?,
            site: Some(site(peer).parse()?),
            key: key(at, peer),
        })
    });
    let seats = SEATS.iter().enumerate().map(|(seat, name)| {
        let mac = format!("02:5e:a7:00:00:0{}", seat + 1);
        let mac = mac.parse().map_err(|complaint| anyhow::anyhow!("{complaint:?}"))?;
        let announcement = Announcement { ifindex, vlan: None, address: announced(seat).parse()?, mac };
        let (slot, number) = (seat as u32 + 1, seat as u32 + 7);
        Ok(Seat { name: (*name).into(), slot, number, announcements: vec![announcement] })
    });
    Ok(Configuration {
        me: NAMES[at].into(),
        number: at as u16 + 1,
        incarnation: Incarnation(1),
        timers: timers()?,
        charter: charter()?,
        fabric: fabric(at).parse()?,
        site: Some(site(at).parse()?),
        peers: peers.collect::<Result<_>>()?,
        seats: seats.collect::<Result<_>>()?,
    })
}

/// Has a gateway's programs return the others' probes.
fn reflect(node: &Node, at: usize) -> Result<()> {
    /// What aya may copy.
    #[repr(transparent)]
    #[derive(Clone, Copy)]
    struct Plain<T>(T);
    // SAFETY: both are made of whole words without padding.
    unsafe impl Pod for Plain<Prober> {}

    node.within(|| {
        let maps = Pins::new(Path::new(PINS)).maps();
        let open = |name: &str| MapData::from_pin(maps.join(name));
        let mut probers: HashMap<_, u32, Plain<Prober>> = Map::HashMap(open("PROBERS")?).try_into()?;
        for peer in (0..NAMES.len()).filter(|peer| *peer != at) {
            let mut prober = Prober { key: probe_key(&key(at, peer), peer as u16 + 1).0, ..Prober::default() };
            prober.ways.iter_mut().for_each(|way| way.nexthop = NexthopId::NONE);
            probers.insert(peer as u32 + 1, Plain(prober), 0)?;
        }
        let mut numbers: HashMap<_, u32, u32> = Map::HashMap(open("SEAT_NUMBERS")?).try_into()?;
        for seat in 0..SEATS.len() as u32 {
            numbers.insert(seat + 7, seat + 1, 0)?;
        }
        Ok(())
    })
}

/// A gateway whose packets vanish, on both sides or on one, loses its seats; when they come through again it has stopped, and holds nothing
/// that another does.
#[test]
fn a_silent_and_a_half_dead_gateway_lose_their_seats_and_stop_when_they_are_back() -> Result<()> {
    let world = World::new()?;
    for (seat, sides) in [(0, &[0, 1][..]), (1, &[0]), (0, &[1])] {
        let before = world.settled(seat)?;
        let tor = FrameSocket::open(&world.switches[0], "bridge")?;
        world.wire(before.0, sides, "nomaster")?;
        let after = world.moved(seat, before)?;
        let taken = world.members[after.0].tells("the takeover to be told", |entry| {
            entry.seat.as_ref() == Some(&SEATS[seat].into())
                && matches!(&entry.what, What::Taken(takeover) if takeover.epoch == after.1)
        })?;
        let What::Taken(takeover) = taken.what else { unreachable!("it was asked for") };
        ensure!(takeover.announcements == 1 && takeover.announced.is_some(), "{takeover:?}");
        ensure!(takeover.bid <= takeover.decided && takeover.decided <= takeover.activated, "{takeover:?}");
        let address: std::net::Ipv4Addr = announced(seat).parse()?;
        let is_gratuitous = |frame: &[u8]| {
            frame[12..14] == [8, 6] && frame[28..32] == address.octets() && frame[38..42] == address.octets()
        };
        if after.0 != before.0 {
            let heard = tor.expect(SOON, |frame| frame.len() >= 42 && is_gratuitous(frame))?;
            ensure!(heard.is_some(), "the neighbours hear who has the seat's address");
        }
        world.wire(before.0, sides, "master bridge")?;
        for seat in 0..SEATS.len() {
            world.settled(seat)?;
        }
    }
    Ok(())
}

/// A sentinel that is killed and started again knows what it said, and no seat moves for it.
#[test]
fn a_sentinel_that_is_started_anew_holds_what_it_held() -> Result<()> {
    let mut world = World::new()?;
    let before = world.settled(0)?;
    let holder = &mut world.members[before.0];
    // A promise is kept from the first on: the seat it holds was promised to itself.
    holder.sentinel = None;
    holder.sentinel = Some(sentinel(holder.gateway.node())?);
    holder
        .tells("the sentinel to know what it said", |entry| matches!(entry.what, What::Started { remembers: true }))?;
    until(SOON, "it to hold the seat under the same epoch", || {
        let status = world.members[before.0].status().ok()?;
        let seat = status.seats.into_iter().find(|seat| seat.report.seat == SEATS[0].into())?;
        (seat.report.holding == Holding::Held && seat.report.epoch == before.1).then_some(())
    })
    .with_context(|| world.story())?;
    ensure!(world.settled(0)? == before, "{}", world.story());
    Ok(())
}

/// An agent that hangs has its seats handed over, and takes none until it is back; one that is back within its time moves nothing.
#[test]
fn the_seats_of_an_agent_that_hangs_are_handed_over() -> Result<()> {
    let world = World::new()?;
    let before = world.settled(0)?;
    world.members[before.0].agent.is(HUNG);
    let after = world.moved(0, before)?;
    let seat = Some(SeatName::from(SEATS[0]));
    let told = |awaited: &str, at: usize, is: &dyn Fn(&What) -> bool| {
        world.members[at].tells(awaited, |entry| is(&entry.what)).map(drop)
    };
    told("the agent to be given up", before.0, &|what| *what == What::AgentGivenUp)?;
    world.members[before.0].tells("the seat to be handed over", |entry| {
        entry.seat == seat && matches!(entry.what, What::HandedOver { epoch } if epoch == before.1)
    })?;
    ensure!(after.1 > before.1);
    world.members[before.0].agent.is(ALIVE);
    told("the agent to be heard again", before.0, &|what| *what == What::AgentBack)
}

/// A gateway that stood still as a whole finds a later holder when it goes on: its programs shut its gate before its sentinel runs.
#[test]
fn a_gateway_that_was_paused_is_fenced_when_it_comes_back() -> Result<()> {
    let world = World::new()?;
    let before = world.settled(0)?;
    let paused = &world.members[before.0];
    paused.signal(Signal::SIGSTOP)?;
    paused.agent.is(HUNG);
    world.wire(before.0, &[0, 1], "nomaster")?;
    until(SOON, "another gateway to take the seat", || {
        world.open(0).iter().any(|(at, epoch)| *at != before.0 && *epoch > before.1).then_some(())
    })
    .with_context(|| world.story())?;
    world.wire(before.0, &[0, 1], "master bridge")?;
    until(SOON, "its gate to be shut while its sentinel stands still", || {
        paused.gate(0).filter(|(gate, _)| gate.state() == State::Replica)
    })?;
    paused.agent.is(ALIVE);
    paused.signal(Signal::SIGCONT)?;
    let seat = Some(SeatName::from(SEATS[0]));
    paused.tells("it to stop", |entry| {
        entry.seat == seat
            && matches!(entry.what, What::Superseded { epoch, .. } | What::LeaseOver { epoch } if epoch == before.1)
    })?;
    let holders: BTreeMap<usize, (usize, u64)> =
        (0..SEATS.len()).map(|seat| Ok((seat, world.settled(seat)?))).collect::<Result<_>>()?;
    ensure!(holders[&0].1 > before.1, "{holders:?}");
    Ok(())
}

/// An operator moves a seat, and the client says where it is then.
#[test]
fn a_seat_is_moved_by_hand() -> Result<()> {
    let world = World::new()?;
    let before = world.settled(0)?;
    let said = world.members[before.0].gateway.ctl(&["failover", SEATS[0]])?;
    let after = world.moved(0, before)?;
    ensure!(said.contains(&format!("holds seat {}", SEATS[0])), "{said}");
    ensure!(after.0 != before.0, "{}", world.story());
    let elsewhere = world.members[before.0].gateway.ctl(&["failover", "nowhere"]);
    ensure!(
        elsewhere.is_err_and(|error| format!("{error:#}").contains("no seat nowhere")),
        "an unknown seat is refused"
    );
    println!("{}", world.members[after.0].gateway.ctl(&["seats"])?);
    println!("{}", world.members[after.0].gateway.ctl(&["history"])?);
    Ok(())
}
