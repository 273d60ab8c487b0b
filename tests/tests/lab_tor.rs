//! The rack's routers are told by BGP where VIPs are: FRR and BIRD as the ToR, whose kernel sends sites' packets by what they learn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::BgpNeighborReport;
use lab::Lab;
use lab::node::Node;
use lab::peers::{Bird, Frr};
use lab::plan::Plan;
use lab::tenants::{CONTOSO, GATEWAY_TOR, TOR, address};
use lab::topology::World;
use lab::tunnel::{Kind, Tunnel};
use lab::wait::until;

/// A router takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the ToR is to send packets for VIPs: addresses that no kernel has.
const NEXT_HOP: [&str; 2] = ["198.51.100.5", "2001:db8:100::5"];
/// VIPs that are on no segment.
const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8:77::10"];
/// Another one.
const LATER: &str = "192.0.2.11";
/// What is behind the tunnel to the first VIP.
const BEHIND: &str = "10.9.1.1";
/// The BFD timers of both ends: slow to fail, since a busy machine must not be taken for a death.
const BFD: (u32, u32) = (300, 30);

/// A connection of Contoso's GRE site to a VIP.
fn connection(name: &str, vip: &str, prefix: &str) -> toml::Table {
    let remote = CONTOSO.remote[usize::from(vip.contains(':'))];
    let text = format!(
        "name = '{name}'\ntype = 'gre'\nvip = '{vip}'\nremote = '{remote}'\nkey = 300\nroutes = [ {{ destination = '{prefix}' }} ]"
    );
    text.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{text}"))
}

/// Gives Contoso a connection.
fn connect(plan: &mut Plan, connection: toml::Table) {
    let list = plan.tenant("contoso").get_mut("connection").and_then(toml::Value::as_array_mut);
    list.unwrap_or_else(|| panic!("contoso has no connections")).push(connection.into());
}

/// The plan with both VIPs and `[tor]`.
fn with_tor(plan: &mut Plan, tor: &str) {
    connect(plan, connection("one", VIPS[0], "10.9.1.0/24"));
    connect(plan, connection("two", VIPS[1], "fd09:1::/64"));
    plan.set("tor", tor);
}

/// `[tor]` with a session over IPv4 that says everything.
fn tor_v4() -> String {
    format!(
        "as_number = 64512
         next_hop = ['{}', '{}']
         med = 50
         communities = ['64512:7']
         [[peer]]
         name = 'rack'
         address = '{}'
         local_address = '{}'
         as_number = 64600
         password = 's3cret'
         connect_retry_ms = 1000
         bfd = {{ interval_ms = {}, multiplier = {} }}
         families = ['ipv4', 'ipv6']",
        NEXT_HOP[0], NEXT_HOP[1], TOR[0], GATEWAY_TOR[0], BFD.0, BFD.1,
    )
}

/// A tunnel to the first VIP, and a machine behind it. The site and the gateway know each other by the ToR's routes alone.
fn dig(lab: &Lab) -> Result<Tunnel> {
    let site = &lab.world.contoso.hq;
    let tunnel = Tunnel::new(site, "gre1", address(CONTOSO.remote[0]), address(VIPS[0]), Kind::gre(Some(300)))?;
    let [v4, v6] = CONTOSO.remote_router;
    site.ip(&format!(
        "link set gre1 mtu 1400 up
         address add {BEHIND}/32 dev lo
         rule add from {BEHIND} lookup 91
         route add default dev gre1 table 91
         route add 192.0.2.0/24 via {v4}
         route add 2001:db8:77::/64 via {v6}\n"
    ))?;
    Ok(tunnel)
}

fn frr(tor: &Arc<Node>) -> Result<Frr> {
    let gateway = GATEWAY_TOR[0];
    Frr::start(
        tor,
        &["zebra", "bfdd", "bgpd"],
        &format!(
            "router bgp 64600
 bgp router-id {router}
 no bgp ebgp-requires-policy
 bgp graceful-restart
 neighbor {gateway} remote-as 64512
 neighbor {gateway} password s3cret
 neighbor {gateway} timers connect 2
 neighbor {gateway} bfd
 address-family ipv4 unicast
  redistribute connected
 exit-address-family
 address-family ipv6 unicast
  neighbor {gateway} activate
 exit-address-family
bfd
 peer {gateway}
  detect-multiplier {multiplier}
  receive-interval {interval}
  transmit-interval {interval}
",
            router = TOR[0],
            interval = BFD.0,
            multiplier = BFD.1,
        ),
    )
}

fn bird(tor: &Arc<Node>) -> Result<Bird> {
    let [_, own] = TOR;
    let [_, gateway] = GATEWAY_TOR;
    Bird::start(
        tor,
        &format!(
            "log stderr all;
router id {router};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol kernel {{ ipv6 {{ export all; }}; }}
protocol bfd {{
  interface \"switch\" {{ min rx interval {interval} ms; min tx interval {interval} ms; multiplier {multiplier}; }};
}}
protocol bgp rack {{
  local {own} as 64600;
  neighbor {gateway} as 64512;
  ttl security on;
  bfd on;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv6 {{ import all; export none; }};
}}
",
            router = TOR[0],
            interval = BFD.0,
            multiplier = BFD.1,
        ),
    )
}

/// The gateway's session with the ToR.
fn rack(lab: &Lab) -> Result<BgpNeighborReport> {
    let printed = lab.gateway.ctl(&["bgp", "neighbors", "--tenant", "-", "-o", "json"])?;
    let all: Vec<BgpNeighborReport> = serde_json::from_str(&printed)?;
    all.into_iter().find(|peer| peer.name == "rack").with_context(|| format!("no session with the ToR: {printed}"))
}

fn await_up(lab: &Lab) -> Result<BgpNeighborReport> {
    let up = |peer: &BgpNeighborReport| peer.state == "established" && peer.bfd.as_deref() == Some("up");
    until(PATIENCE, "the session with the ToR, and BFD", || rack(lab).ok().filter(up)).with_context(|| about(lab))
}

/// The ToR's own route to a VIP, as its kernel has it.
fn route(lab: &Lab, vip: &str) -> Result<String> {
    let version = if vip.contains(':') { "-6" } else { "-4" };
    lab.world.tor.sh(&format!("ip {version} route show {vip}"))
}

fn await_route(lab: &Lab, vip: &str, next_hop: &str) -> Result<()> {
    let there = || route(lab, vip).is_ok_and(|route| route.contains(&format!("via {next_hop} ")));
    until(PATIENCE, &format!("a route to {vip} at the ToR"), || there().then_some(())).with_context(|| about(lab))
}

fn await_none(lab: &Lab, vip: &str) -> Result<()> {
    let gone = || route(lab, vip).is_ok_and(|route| route.trim().is_empty());
    until(PATIENCE, &format!("no route to {vip} at the ToR"), || gone().then_some(())).with_context(|| about(lab))
}

/// Takes the programs off the gateway's ports, whoever put them there.
fn detach(lab: &Lab) -> Result<()> {
    lab.gateway.node().sh("rm /sys/fs/bpf/gateway/links/*").map(drop)
}

/// What helps to see why something failed.
fn about(lab: &Lab) -> String {
    let asked = [&["bgp", "neighbors"][..], &["bgp", "routes", "--tenant", "-"], &["bfd"]];
    let shown = asked.map(|what| lab.gateway.ctl(what).unwrap_or_else(|error| format!("{error:#}")));
    let routes = lab.world.tor.sh("ip route; ip -6 route").unwrap_or_else(|error| format!("{error:#}"));
    format!("{}\nthe ToR's routes:\n{routes}\n{}", shown.join("\n"), lab.circumstances())
}

#[test]
fn the_tor_sends_packets_for_vips_to_the_seats_address_as_the_plan_has_it() -> Result<()> {
    let mut lab = Lab::start_with(World::default(), |plan| with_tor(plan, &tor_v4()))?;
    let _tunnel = dig(&lab)?;
    let frr = frr(&lab.world.tor)?;
    let session = await_up(&lab)?;
    ensure!(session.tenant == "-" && session.local_address == Some(address(GATEWAY_TOR[0])), "{session:?}");
    for (vip, next_hop) in VIPS.into_iter().zip(NEXT_HOP) {
        await_route(&lab, vip, next_hop)?;
    }
    let shown = frr.show(&format!("show bgp ipv4 unicast {}/32 json", VIPS[0]))?;
    let [path] = shown["paths"].as_array().map_or(&[][..], Vec::as_slice) else { anyhow::bail!("{shown:#}") };
    ensure!(path["metric"] == 50 && path["community"]["string"] == "64512:7", "{path:#}");
    ensure!(path["aspath"]["string"] == "64512" && path["nexthops"][0]["ip"] == NEXT_HOP[0], "{path:#}");
    // A machine of the cloud, the tunnel, the site, the ToR's route, the VIP; and the other version of IP.
    lab.reaches(&lab.world.contoso.vms[0], BEHIND)?;
    lab.reaches(&lab.world.contoso.hq, VIPS[1])?;
    // What the ToR says is nothing to the gateway.
    until(PATIENCE, "the ToR's routes, all refused", || {
        let peer = rack(&lab).ok()?;
        (peer.prefixes_received == 0 || peer.prefixes_rejected == peer.prefixes_received).then_some(())
    })
    .with_context(|| about(&lab))?;

    // A VIP comes and goes with the plan; the session stays. FRR begins its BFD session anew when its BGP session is up, and may lose that one.
    let lost = await_up(&lab)?.lost;
    let before = lab.plan.clone();
    let mut later = lab.plan.clone();
    connect(&mut later, connection("later", LATER, "10.9.2.0/24"));
    lab.gateway.reload(&later)?;
    await_route(&lab, LATER, NEXT_HOP[0])?;
    lab.gateway.reload(&before)?;
    await_none(&lab, LATER)?;
    await_route(&lab, VIPS[0], NEXT_HOP[0])?;
    ensure!(rack(&lab)?.lost == lost, "the session ended\n{}", about(&lab));
    // Without `[tor]` nothing is announced.
    let mut without = lab.plan.clone();
    without.remove("tor");
    lab.gateway.reload(&without)?;
    await_none(&lab, VIPS[0])?;
    await_none(&lab, VIPS[1])
}

#[test]
fn a_killed_daemon_takes_no_route_from_the_tor_and_loses_no_packet() -> Result<()> {
    let mut lab = Lab::start_with(World::default(), |plan| with_tor(plan, &tor_v4()))?;
    let _tunnel = dig(&lab)?;
    let _frr = frr(&lab.world.tor)?;
    await_up(&lab)?;
    await_route(&lab, VIPS[0], NEXT_HOP[0])?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(BEHIND),
        |lab, stream| {
            for _ in 0..2 {
                lab.gateway.kill();
                stream.go_on(300)?;
                lab.gateway.launch()?;
                lab.gateway.await_answer()?;
                await_up(lab)?;
                stream.go_on(100)?;
            }
            Ok(())
        },
    )?;
    await_route(&lab, VIPS[0], NEXT_HOP[0])
}

/// `[tor]` with a session over IPv6 alone, whose own end is where packets go.
fn tor_v6() -> String {
    format!(
        "as_number = 64512
         prefer_by = 'med'
         [[peer]]
         name = 'rack'
         address = '{}'
         local_address = '{}'
         as_number = 64600
         ttl_security = 1
         connect_retry_ms = 1000
         bfd = {{ interval_ms = {}, multiplier = {} }}",
        TOR[1], GATEWAY_TOR[1], BFD.0, BFD.1,
    )
}

#[test]
fn the_tor_forgets_vips_when_nothing_forwards_any_more_and_learns_them_again() -> Result<()> {
    let mut lab = Lab::start_with(World::default(), |plan| with_tor(plan, &tor_v6()))?;
    let _tunnel = dig(&lab)?;
    let _bird = bird(&lab.world.tor)?;
    await_up(&lab)?;
    let (vip, next_hop) = (VIPS[1], GATEWAY_TOR[1]);
    await_route(&lab, vip, next_hop)?;
    lab.reaches(&lab.world.contoso.hq, vip)?;
    // While the daemon is killed nothing changes.
    lab.losing_nothing(
        |lab| &lab.world.contoso.hq,
        address(vip),
        |lab, stream| {
            lab.gateway.kill();
            stream.go_on(300)
        },
    )?;
    await_route(&lab, vip, next_hop)?;
    // Its programs are gone, too: the ToR is not left to wait for a restart.
    detach(&lab)?;
    await_none(&lab, vip)?;
    lab.gateway.launch()?;
    lab.gateway.await_answer()?;
    await_route(&lab, vip, next_hop)?;
    lab.reaches(&lab.world.contoso.hq, vip)?;
    // A daemon that runs puts them back, and takes its word back until then.
    await_up(&lab)?;
    detach(&lab)?;
    until(PATIENCE, "the daemon to notice", || lab.gateway.log().contains("VIPs are announced no more").then_some(()))
        .with_context(|| about(&lab))?;
    await_route(&lab, vip, next_hop)?;
    lab.reaches(&lab.world.contoso.hq, vip)
}
