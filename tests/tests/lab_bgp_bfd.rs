//! BFD beside BGP: a failed path ends the session at once, and a daemon that is killed is no failed path.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{BgpNeighborReport, BgpRouteReport};
use lab::Lab;
use lab::node::Node;
use lab::peers::{Bird, Frr};
use lab::plan::Plan;
use lab::tenants::{CONTOSO, DC, HQ, TENANT_GATEWAY, address};
use lab::topology::World;
use lab::wait::until;
use nix::sys::signal::Signal;

/// A site's router takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the GRE site announces, and a machine there.
const BEHIND_HQ: (&str, &str) = ("10.7.0.0/16", "10.7.0.1");
/// Milliseconds between packets.
const INTERVAL: u32 = 300;

/// Contoso's router, with a peer at each site; both are watched with that multiplier.
fn with_bgp(plan: &mut Plan, multiplier: u32) {
    let bgp = format!(
        "as_number = 64512
         [[peer]]
         name = 'hq'
         address = '{}'
         as_number = 64513
         multihop = 2
         bfd = {{ interval_ms = {INTERVAL}, multiplier = {multiplier} }}
         connect_retry_ms = 1000
         [[peer]]
         name = 'dc'
         address = '{}'
         as_number = 64514
         bfd = {{ interval_ms = {INTERVAL}, multiplier = {multiplier} }}
         connect_retry_ms = 1000
         ",
        HQ[0], CONTOSO.vlan_peer[0],
    );
    let bgp: toml::Table = bgp.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{bgp}"));
    plan.tenant("contoso").insert("bgp".into(), bgp.into());
}

/// BIRD behind the tunnel, several hops away as far as it knows.
fn bird(site: &Arc<Node>, multiplier: u32) -> Result<Bird> {
    site.ip(&format!("address add {}/32 dev lo\n", BEHIND_HQ.1))?;
    Bird::start(
        site,
        &format!(
            "log stderr all;
router id 10.2.0.1;
protocol device {{ scan time 1; }}
protocol static announced {{
  ipv4;
  route {announced} unreachable;
}}
protocol bfd {{
  multihop {{ min rx interval {INTERVAL} ms; min tx interval {INTERVAL} ms; multiplier {multiplier}; }};
}}
protocol bgp cloud {{
  local {hq} as 64513;
  neighbor {gateway} as 64512;
  multihop 2;
  bfd on;
  hold time 90;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
            announced = BEHIND_HQ.0,
            hq = HQ[0],
            gateway = TENANT_GATEWAY[0],
        ),
    )
}

/// FRR on the VLAN.
fn frr(site: &Arc<Node>, multiplier: u32) -> Result<Frr> {
    let gateway = CONTOSO.vlan_gateway[0];
    Frr::start(
        site,
        &["zebra", "bfdd", "bgpd"],
        &format!(
            "router bgp 64514
 bgp router-id 10.3.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor {gateway} remote-as 64512
 neighbor {gateway} timers connect 2
 neighbor {gateway} bfd
bfd
 peer {gateway}
  detect-multiplier {multiplier}
  receive-interval {INTERVAL}
  transmit-interval {INTERVAL}
"
        ),
    )
}

fn peer(lab: &Lab, name: &str) -> Result<BgpNeighborReport> {
    let printed = lab.gateway.ctl(&["bgp", "neighbors", "--tenant", "contoso", "-o", "json"])?;
    let all: Vec<BgpNeighborReport> = serde_json::from_str(&printed)?;
    all.into_iter().find(|peer| peer.name == name).with_context(|| format!("no peer {name}: {printed}"))
}

fn await_peer(lab: &Lab, name: &str, what: &str, is: impl Fn(&BgpNeighborReport) -> bool) -> Result<BgpNeighborReport> {
    until(PATIENCE, what, || peer(lab, name).ok().filter(&is)).with_context(|| about(lab))
}

fn await_watched(lab: &Lab, name: &str) -> Result<BgpNeighborReport> {
    let up = |peer: &BgpNeighborReport| peer.state == "established" && peer.bfd.as_deref() == Some("up");
    await_peer(lab, name, &format!("both sessions with {name}"), up)
}

fn has_path(lab: &Lab) -> bool {
    let shown = ["bgp", "routes", "--tenant", "contoso", "--prefix", BEHIND_HQ.0, "-o", "json"];
    let paths = lab.gateway.ctl(&shown).ok().and_then(|text| serde_json::from_str::<Vec<BgpRouteReport>>(&text).ok());
    paths.is_some_and(|paths| paths.iter().any(|path| path.used == "best"))
}

/// What helps to see why something failed.
fn about(lab: &Lab) -> String {
    let shown = ["bgp", "bfd"].map(|what| lab.gateway.ctl(&[what]).unwrap_or_else(|error| format!("{error:#}")));
    let peers = lab.gateway.ctl(&["bgp", "neighbors"]).unwrap_or_else(|error| format!("{error:#}"));
    format!("{peers}\n{}\n{}", shown[1], lab.circumstances())
}

#[test]
fn a_path_that_bfd_finds_failed_ends_the_session_at_once() -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| with_bgp(plan, 5))?;
    let bird = bird(&lab.world.contoso.hq, 5)?;
    await_watched(&lab, "hq")?;
    until(PATIENCE, "the site's route", || has_path(&lab).then_some(())).with_context(|| about(&lab))?;
    // Its hold time is 90 s, so nothing else tells of it so soon; and what it said when it could not be heard is no news.
    bird.signal(Signal::SIGSTOP)?;
    let lost = await_peer(&lab, "hq", "the session to end", |peer| peer.state != "established")?;
    ensure!(lost.last_error.as_deref().is_some_and(|error| error.contains("BFD")), "{lost:?}\n{}", about(&lab));
    ensure!(lab.gateway.log().contains("nothing was heard for the detection time"), "{}", about(&lab));
    ensure!(!has_path(&lab), "the route is still used\n{}", about(&lab));
    bird.signal(Signal::SIGCONT)?;
    await_watched(&lab, "hq").map(drop)
}

/// How often FRR's session went down.
fn downs(frr: &Frr) -> Result<u64> {
    let counters = frr.show("show bfd peers counters json")?;
    counters[0]["session-down"].as_u64().with_context(|| format!("no counter: {counters}"))
}

#[test]
fn a_killed_daemon_takes_no_bfd_session_down_and_loses_no_packet() -> Result<()> {
    let mut lab = Lab::start_with(World::default(), |plan| with_bgp(plan, 30))?;
    let bird = bird(&lab.world.contoso.hq, 30)?;
    let frr = frr(&lab.world.contoso.dc, 30)?;
    await_watched(&lab, "hq")?;
    await_watched(&lab, "dc")?;
    until(PATIENCE, "the site's route", || has_path(&lab).then_some(())).with_context(|| about(&lab))?;
    let since = bird.bfd()?;
    let before = downs(&frr)?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(BEHIND_HQ.1),
        |lab, stream| {
            lab.gateway.kill();
            stream.go_on(300)?;
            lab.gateway.launch()?;
            lab.gateway.await_answer()?;
            await_watched(lab, "hq")?;
            await_watched(lab, "dc")?;
            stream.go_on(300)
        },
    )?;
    lab.gateway.stop()?;
    lab.gateway.launch()?;
    lab.gateway.await_answer()?;
    await_watched(&lab, "hq")?;
    await_watched(&lab, "dc")?;
    ensure!(since[0].state == "Up" && bird.bfd()?[0].has_lasted_since(&since[0]), "{since:?}, {:?}", bird.bfd());
    ensure!(downs(&frr)? == before, "FRR's session was down\n{}", about(&lab));
    lab.reaches(&lab.world.contoso.vms[0], DC[0])
}
