//! BFD with the routing daemons that sites run: sessions come up in every form, fail when they should, and outlive their owner.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bfd::packet::{ControlPlane, Diagnostic, Mode, Sequence};
use bfd::{Discriminator, Hops, Interval, Moment, Packet, Settings, State, Timers};
use gateway_user::bfd::engine::Engine;
use gateway_user::bfd::{Report, SessionKey, SessionOptions, Verdict, client};
use lab::bfd_owner::{Owner, SOCKET, Wanted};
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use lab::peers::{BfdSession, Bird, Frr};
use lab::wait::{SOON, until};
use nix::sys::signal::Signal;

mod common;
use common::on;

/// Longer than any test: an owner that is killed may always come back.
const PATIENT: Duration = Duration::from_secs(600);

/// The ends of the sessions: ours, the neighbour's, and how far that is.
const ENDS: [(&str, &str, Hops); 4] = [
    ("10.9.0.1", "10.9.0.2", Hops::Single),
    ("fd09::1", "fd09::2", Hops::Single),
    ("192.0.2.1", "192.0.2.2", Hops::Multiple),
    ("fd02::1", "fd02::2", Hops::Multiple),
];

/// A gateway with a compartment for each tenant, and each tenant's router behind a cable. All tenants have the same addresses.
struct World {
    gateway: Arc<Node>,
    routers: Vec<Arc<Node>>,
}

impl World {
    fn new(tenants: &[&str]) -> Result<Self> {
        let processes = Processes::new()?;
        let gateway = Node::new("gateway", &processes)?;
        let mut routers = Vec::new();
        for (number, tenant) in tenants.iter().enumerate() {
            let router = Node::new(tenant, &processes)?;
            let name = format!("site{number}");
            cable(1500, End::new(&gateway, &name), End::new(&router, "eth0"))?;
            gateway.sh(&format!(
                "ip netns add gw-{tenant}
                 ip link set {name} netns gw-{tenant} name eth0
                 ip netns exec gw-{tenant} sh -ec '{}'",
                addresses(1, 2)
            ))?;
            router.sh(&addresses(2, 1))?;
            routers.push(router);
        }
        Ok(Self { gateway, routers })
    }

    /// A process's id, as the gateway's machine sees it.
    fn keeper(&self) -> Result<Option<String>> {
        // The machine's processes are this test's alone; those that have ended stay there, since nobody waits for them.
        let found = self.gateway.sh("for process in $(grep -lx gatewayd-bfd /proc/[0-9]*/comm || true); do
                 process=${process%/comm}
                 grep -q '^State:.*Z' $process/status || echo ${process#/proc/}
             done")?;
        Ok(found.lines().next().map(str::to_owned))
    }

    /// All sessions, as the process that keeps them tells.
    fn list(&self) -> Result<Vec<Report>> {
        self.gateway.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(client::list(SOCKET.as_ref()))
        })
    }
}

/// One end's addresses, and the way to the other end's.
fn addresses(own: u8, other: u8) -> String {
    format!(
        "ip link set lo up
         ip link set eth0 up
         ip address add 10.9.0.{own}/24 dev eth0
         ip address add fd09::{own}/64 dev eth0 nodad
         ip address add 192.0.2.{own}/32 dev lo
         ip address add fd02::{own}/128 dev lo nodad
         ip route add 192.0.2.{other} via 10.9.0.{other}
         ip route add fd02::{other} via fd09::{other}"
    )
}

fn timers(milliseconds: u32, multiplier: u8) -> Result<Timers> {
    let interval = Interval::from_millis(milliseconds);
    Ok(Timers::new(interval, interval, multiplier)?)
}

/// A tenant's sessions of all four forms.
fn wanted(tenant: &str, timers: Timers) -> Result<Vec<Wanted>> {
    let sessions = ENDS.iter().map(|&(local, peer, hops)| {
        let netns = Some(PathBuf::from(format!("/run/netns/gw-{tenant}")));
        let session = SessionKey { netns, hops, local: local.parse()?, peer: peer.parse()? };
        let options =
            SessionOptions { settings: Settings { timers, ..Settings::default() }, ..SessionOptions::default() };
        Ok(Wanted { session, options })
    });
    sessions.collect()
}

fn bird(router: &Arc<Node>, milliseconds: u32, multiplier: u8) -> Result<Bird> {
    let timers = format!(
        "min rx interval {milliseconds} ms; min tx interval {milliseconds} ms; idle tx interval 1 s; multiplier {multiplier};"
    );
    let neighbours = ENDS.map(|(local, peer, hops)| match hops {
        Hops::Single => format!("neighbor {local} dev \"eth0\" local {peer};\n"),
        Hops::Multiple => format!("neighbor {local} local {peer} multihop on;\n"),
    });
    let text = format!(
        "log stderr all;\nrouter id 10.9.0.2;\nprotocol device {{ }}\n\
         protocol bfd {{\ninterface \"eth0\" {{ {timers} }};\nmultihop {{ {timers} }};\n{}}}\n",
        neighbours.concat()
    );
    Bird::start(router, &text)
}

fn frr(router: &Arc<Node>, milliseconds: u32, multiplier: u8) -> Result<Frr> {
    let peers = ENDS.map(|(local, peer, hops)| {
        let multihop = if hops == Hops::Multiple { "multihop " } else { "" };
        format!(
            " peer {local} {multihop}local-address {peer}\n  detect-multiplier {multiplier}\n  \
             receive-interval {milliseconds}\n  transmit-interval {milliseconds}\n exit\n"
        )
    });
    Frr::start(router, &["zebra", "bfdd"], &format!("bfd\n{}exit\n", peers.concat()))
}

fn is_up(report: &Report) -> bool {
    report.verdict() == Verdict::Up
}

/// Waits until that many sessions are as they should be.
fn await_all(owner: &Owner, count: usize, what: &str, is: impl Fn(&Report) -> bool) -> Result<Vec<Report>> {
    until(SOON, what, || Some(owner.latest()).filter(|all| all.len() == count && all.iter().all(&is)))
        .with_context(|| format!("the sessions are {:#?}", owner.latest()))
}

/// Waits until BIRD has all sessions in a state.
fn await_bird(bird: &Bird, state: &str) -> Result<Vec<BfdSession>> {
    until(SOON, "BIRD's sessions", || {
        bird.bfd().ok().filter(|all| all.len() == ENDS.len() && all.iter().all(|session| session.state == state))
    })
    .with_context(|| format!("not {state}: {:#?}", bird.bfd()))
}

#[test]
fn every_form_of_session_comes_up_with_bird_and_frr_in_tenants_with_the_same_addresses() -> Result<()> {
    let world = World::new(&["contoso", "woodgrove"])?;
    let timers = timers(300, 20)?;
    let all = [wanted("contoso", timers)?, wanted("woodgrove", timers)?].concat();
    let owner = Owner::start(&world.gateway, &all, PATIENT)?;
    // The neighbours wish other timers than we: the slower wins, each way.
    let bird = bird(&world.routers[0], 400, 30)?;
    let frr = frr(&world.routers[1], 200, 40)?;
    let reports = await_all(&owner, 8, "all sessions to be up, and agreed", |report| {
        let tenant = report.session.netns.as_deref().and_then(|path| path.file_name());
        let (interval, detection) =
            if tenant == Some("gw-contoso".as_ref()) { (400_000, 12_000_000) } else { (300_000, 12_000_000) };
        let status = report.status.as_ref();
        is_up(report)
            && status.is_some_and(|status| {
                status.transmit_interval == Interval(interval) && status.detection_time == Some(detection)
            })
    })?;
    let discriminators: std::collections::BTreeSet<_> =
        reports.iter().filter_map(|report| Some(report.status.as_ref()?.discriminator)).collect();
    ensure!(discriminators.len() == 8, "{discriminators:?}");
    await_bird(&bird, "Up")?;
    until(SOON, "BIRD's timers", || {
        bird.bfd().ok()?.iter().all(|session| session.interval == "0.400" && session.timeout == "8.000").then_some(())
    })
    .with_context(|| format!("{:#?}", bird.bfd()))?;
    until(SOON, "FRR's sessions", || {
        let all = frr.bfd().ok()?;
        let agree = |session: &serde_json::Value| {
            session["status"] == "up"
                && session["remote-transmit-interval"] == 300
                && session["remote-detect-multiplier"] == 20
                && session["remote-echo-receive-interval"] == 0
        };
        (all.len() == 4 && all.iter().all(agree)).then_some(())
    })
    .with_context(|| format!("{:#?}", frr.bfd()))
}

#[test]
fn neighbours_that_stop_are_found_down_and_up_again_when_they_go_on() -> Result<()> {
    let world = World::new(&["contoso", "woodgrove"])?;
    let timers = timers(300, 5)?;
    let all = [wanted("contoso", timers)?, wanted("woodgrove", timers)?].concat();
    let owner = Owner::start(&world.gateway, &all, PATIENT)?;
    let bird = bird(&world.routers[0], 300, 5)?;
    let frr = frr(&world.routers[1], 300, 5)?;
    await_all(&owner, 8, "all sessions to be up", is_up)?;
    bird.signal(Signal::SIGSTOP)?;
    frr.signal("bfdd", Signal::SIGSTOP)?;
    await_all(&owner, 8, "all sessions to fail", |report| {
        let forgotten = report.status.as_ref().and_then(|status| status.remote.as_ref()?.discriminator).is_none();
        matches!(report.verdict(), Verdict::Failed(_)) && forgotten && report.downs > 0
    })?;
    bird.signal(Signal::SIGCONT)?;
    frr.signal("bfdd", Signal::SIGCONT)?;
    await_all(&owner, 8, "all sessions to be up again", is_up)?;
    Ok(())
}

#[test]
fn sessions_outlive_their_owner_but_not_the_process_that_keeps_them() -> Result<()> {
    let world = World::new(&["contoso"])?;
    // Slow to fail: a busy machine must not be taken for a death.
    let all = wanted("contoso", timers(300, 30)?)?;
    let owner = Owner::start(&world.gateway, &all, PATIENT)?;
    let bird = bird(&world.routers[0], 300, 30)?;
    let before = await_all(&owner, 4, "all sessions to be up", is_up)?;
    let neighbours = await_bird(&bird, "Up")?;
    let lasting = || -> Result<usize> {
        let now = await_bird(&bird, "Up")?;
        Ok(now.iter().zip(&neighbours).filter(|(now, then)| now.has_lasted_since(then)).count())
    };
    let keeper = world.keeper()?.context("nobody keeps sessions")?;
    // As kill -9 does.
    drop(owner);
    let at = world.list()?;
    until(SOON, "packets without an owner, for longer than the detection time", || {
        let later = world.list().ok()?;
        let went_on =
            |(one, other): (&Report, &Report)| other.received > one.received + 40 && other.sent > one.sent + 40;
        (later.len() == 4 && at.iter().zip(&later).all(went_on)).then_some(())
    })?;
    ensure!(lasting()? == ENDS.len(), "BIRD's sessions are not those of before: {neighbours:?}, {:?}", bird.bfd());
    let owner = Owner::start(&world.gateway, &all, PATIENT)?;
    let after = await_all(&owner, 4, "the sessions to be claimed again", is_up)?;
    let names = |all: &[Report]| -> Vec<_> {
        all.iter().map(|report| (report.status.as_ref().map(|status| status.discriminator), report.downs)).collect()
    };
    ensure!(names(&before) == names(&after), "other sessions: {:?}, {:?}", names(&before), names(&after));
    ensure!(world.keeper()? == Some(keeper.clone()), "another process keeps them");
    world.gateway.sh(&format!("kill -9 {keeper}"))?;
    // Its death says nothing about the path, so the owner is not told of a failure by it.
    until(SOON, "the owner to know that nothing is known", || {
        owner.all().iter().any(|report| report.status.is_none() && report.trouble.is_some()).then_some(())
    })?;
    // The one that follows begins anew, and BIRD learns that the former is gone.
    await_all(&owner, 4, "all sessions to be up again", is_up)?;
    ensure!(world.keeper()?.is_some_and(|other| other != keeper));
    ensure!(lasting()? == 0, "BIRD noticed nothing: {neighbours:?}, {:?}", bird.bfd());
    let failed = owner.all().into_iter().find(|report| matches!(report.verdict(), Verdict::Failed(_)));
    ensure!(failed.is_none(), "{failed:?}");
    Ok(())
}

#[test]
fn sessions_that_nobody_claims_are_switched_off_and_their_keeper_ends() -> Result<()> {
    let world = World::new(&["woodgrove"])?;
    let all = wanted("woodgrove", timers(300, 30)?)?;
    let owner = Owner::start(&world.gateway, &all, Duration::from_secs(2))?;
    let frr = frr(&world.routers[0], 300, 30)?;
    await_all(&owner, 4, "all sessions to be up", is_up)?;
    drop(owner);
    until(SOON, "FRR to be told that they are switched off", || {
        let all = frr.bfd().ok()?;
        let are_off = |session: &serde_json::Value| {
            session["status"] == "down" && session["remote-diagnostic"] == "administratively down"
        };
        (all.len() == 4 && all.iter().all(are_off)).then_some(())
    })
    .with_context(|| format!("{:#?}", frr.bfd()))?;
    until(SOON, "the process to end", || world.keeper().ok()?.is_none().then_some(()))
}

/// A packet from a neighbour on the loopback, as its kernel sends it.
struct Neighbour(socket2::Socket);

impl Neighbour {
    fn new() -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        socket.set_ttl_v4(255)?;
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 50_000)).into())?;
        Ok(Self(socket))
    }

    fn say(&self, state: State, your_discriminator: Option<Discriminator>) -> Result<()> {
        let second = Interval::SLOW;
        let packet = Packet {
            diagnostic: Diagnostic::NONE,
            state,
            sequence: Sequence::Outside,
            control_plane: ControlPlane::Shared,
            mode: Mode::Asynchronous,
            multiplier: 3.try_into()?,
            my_discriminator: Discriminator::new(1).context("not zero")?,
            your_discriminator,
            desired_min_tx: second,
            required_min_rx: second,
            required_min_echo_rx: Interval::ZERO,
        };
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], bfd::SINGLE_HOP_PORT));
        self.0.send_to(packet.encode().bytes(), &to.into())?;
        Ok(())
    }
}

#[test]
fn a_process_that_did_not_run_reads_before_it_judges_and_does_not_count_the_time() -> Result<()> {
    let node = Node::new("gateway", &Processes::new()?)?;
    on(&node, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let start = Moment(1_000_000_000_000);
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut engine = Engine::new(PATIENT, start);
        let owner = engine.connect(std::rc::Rc::default());
        let address = |text: &str| text.parse::<IpAddr>();
        let session =
            SessionKey { netns: None, hops: Hops::Single, local: address("127.0.0.1")?, peer: address("127.0.0.2")? };
        engine.add(owner, &session, SessionOptions::default(), start).map_err(anyhow::Error::msg)?;
        let (hearing, _) = engine.take_fresh().pop().context("nothing listens")?;
        let status = |engine: &Engine| engine.reports().pop().and_then(|report| report.status);
        let own = status(&engine).context("no session")?.discriminator;
        let neighbour = Neighbour::new()?;
        neighbour.say(State::Init, Some(own))?;
        engine.hear(&hearing, start);
        let state = |engine: &Engine| status(engine).map(|status| status.state);
        ensure!(state(&engine) == Some(State::Up));
        // Stopped for a minute, in which the neighbour went on: what it said waits in the socket.
        let _ = engine.wait();
        neighbour.say(State::Up, Some(own))?;
        engine.tick(after(60));
        ensure!(state(&engine) == Some(State::Up), "it was judged before what it said was read");
        // Stopped with the whole machine, whose network heard nothing either.
        let _ = engine.wait();
        engine.tick(after(120));
        ensure!(state(&engine) == Some(State::Up), "the neighbour had no time to be heard");
        // And this time it is silent indeed, while we run: its three seconds pass, which were excused once.
        for second in 120..130 {
            for part in 0..100 {
                let _ = engine.wait();
                engine.tick(after(second) + Duration::from_millis(part * 10));
            }
        }
        ensure!(state(&engine) == Some(State::Down));
        Ok(())
    })
}
