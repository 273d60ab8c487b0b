//! Restarts of either side of a tenant's sessions while packets flow: what is kept is not touched, and what is not told again goes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::BgpRouteReport;
use lab::Lab;
use lab::flows::Flows;
use lab::node::Node;
use lab::peers::{Bird, Frr};
use lab::ping::Ping;
use lab::plan::Plan;
use lab::sessions::PATIENCE;
use lab::tenants::{CONTOSO, HQ, TENANT_GATEWAY, address};
use lab::topology::World;
use lab::wait::until;

/// What lies behind the GRE site's router, which is BIRD: the first is always announced, the second only at first.
const BEHIND_HQ: [[&str; 2]; 2] = [["10.7.0.0/16", "fd07::/48"], ["10.17.0.0/16", "fd17::/48"]];
/// A machine there.
const AT_HQ: [&str; 2] = ["10.7.0.1", "fd07::1"];
/// The same of the L3 site's router, which is FRR.
const BEHIND_DC: [[&str; 2]; 2] = [["10.8.0.0/16", "fd08::/48"], ["10.18.0.0/16", "fd18::/48"]];
const AT_DC: [&str; 2] = ["10.8.0.1", "fd08::1"];

/// What a router announces after its restart, and what it says of the next one.
#[derive(Clone, Copy)]
enum Life {
    /// Everything; a minute or two may pass.
    First,
    /// Less; a second may pass. BIRD's routes may be used for long after that.
    Second,
}

impl Life {
    fn announced(self, all: [[&'static str; 2]; 2]) -> Vec<[&'static str; 2]> {
        match self {
            Self::First => all.to_vec(),
            Self::Second => all[..1].to_vec(),
        }
    }
}

fn bird(life: Life) -> String {
    let announced = life.announced(BEHIND_HQ);
    let routes = |family: usize| -> String {
        announced.iter().map(|prefixes| format!("route {} unreachable; ", prefixes[family])).collect()
    };
    let restart = match life {
        Life::First => "graceful restart time 120;",
        Life::Second => "graceful restart time 1; long lived graceful restart on; long lived stale time 3600;",
    };
    format!(
        r#"router id 10.2.0.1;
protocol device {{ scan time 1; }}
protocol kernel {{ graceful restart on; persist; ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ graceful restart on; persist; ipv6 {{ export where source = RTS_BGP; }}; }}
protocol static {{ ipv4; route {own4}/32 via "gre0"; }}
protocol static {{ ipv6; route {own6}/128 via "gre0"; }}
protocol static announced4 {{ ipv4; {} }}
protocol static announced6 {{ ipv6; {} }}
protocol bgp cloud {{
  local {hq4} as 64513;
  neighbor {own4} as 64512;
  multihop 2;
  hold time 30;
  graceful restart on; {restart}
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where proto = "announced4"; }};
  ipv6 {{ import all; export where proto = "announced6"; next hop address {hq6}; }};
}}
"#,
        routes(0),
        routes(1),
        own4 = TENANT_GATEWAY[0],
        own6 = TENANT_GATEWAY[1],
        hq4 = HQ[0],
        hq6 = HQ[1],
    )
}

fn frr(life: Life) -> String {
    let announced = life.announced(BEHIND_DC);
    let networks = |family: usize| -> String {
        announced.iter().map(|prefixes| format!("  network {}\n", prefixes[family])).collect()
    };
    let time = match life {
        Life::First => 120,
        Life::Second => 1,
    };
    format!(
        "router bgp 64514
 bgp router-id 10.3.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time {time}
 neighbor {gateway} remote-as 64512
 neighbor {gateway} timers 10 30
 neighbor {gateway} timers connect 1
 address-family ipv4 unicast
{} exit-address-family
 address-family ipv6 unicast
{}  neighbor {gateway} activate
  neighbor {gateway} route-map out out
 exit-address-family
route-map out permit 10
 set ipv6 next-hop global {}
",
        networks(0),
        networks(1),
        CONTOSO.vlan_peer[1],
        gateway = CONTOSO.vlan_gateway[0],
    )
}

fn with_bgp(plan: &mut Plan) {
    let peer = |name: &str, address: &str, asn: u32| {
        format!(
            "[[peer]]
             name = '{name}'
             address = '{address}'
             as_number = {asn}
             families = ['ipv4', 'ipv6']
             hold_time_ms = 30000
             connect_retry_ms = 1000
             long_lived_stale_s = 3600
             "
        )
    };
    let bgp = format!("as_number = 64512\n{}{}", peer("hq", HQ[0], 64513), peer("dc", CONTOSO.vlan_peer[0], 64514));
    let bgp: toml::Table = bgp.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{bgp}"));
    plan.tenant(CONTOSO.name).insert("bgp".into(), bgp.into());
}

/// A tenant with routers at both of its sites. The GRE site's kernel knows no way to the cloud but what BGP tells.
struct Scene {
    lab: Lab,
    hq: Bird,
    dc: Frr,
}

impl Scene {
    fn start() -> Result<Self> {
        let lab = Lab::start_with(World::default(), with_bgp)?;
        let (hq, dc) = (&lab.world.contoso.hq, &lab.world.contoso.dc);
        hq.ip(&format!(
            "route del 0.0.0.0/0 dev gre0\nroute del ::/0 dev gre0\nroute add {}/32 dev gre0\nroute add {}/128 dev gre0\n\
             address add {}/32 dev lo\naddress add {}/128 dev lo nodad\n",
            TENANT_GATEWAY[0], TENANT_GATEWAY[1], AT_HQ[0], AT_HQ[1]
        ))?;
        dc.ip(&format!("address add {}/32 dev lo\naddress add {}/128 dev lo nodad\n", AT_DC[0], AT_DC[1]))?;
        let (hq, dc) = (Bird::start(hq, &bird(Life::First))?, Frr::start(dc, &["zebra", "bgpd"], &frr(Life::First))?);
        let scene = Self { lab, hq, dc };
        scene.is_back()?;
        for prefix in [BEHIND_HQ, BEHIND_DC].into_iter().flatten().flatten() {
            scene.fresh(prefix)?;
        }
        Ok(scene)
    }

    /// Waits until both sessions are up.
    fn is_back(&self) -> Result<()> {
        ["hq", "dc"].into_iter().try_for_each(|peer| self.lab.gateway.await_session("contoso", peer).map(drop))
    }

    /// Waits until the gateway uses a path that was told in this session.
    fn fresh(&self, prefix: &str) -> Result<()> {
        self.uses(prefix, "fresh", |path| !path.stale)
    }

    /// Waits until the path that the gateway uses is as it should be.
    fn uses(&self, prefix: &str, awaited: &str, good: impl Fn(&BgpRouteReport) -> bool) -> Result<()> {
        let best = |path: &BgpRouteReport| path.used == "best" && good(path);
        self.lab.gateway.await_paths(("contoso", prefix), awaited, |paths| paths.iter().any(best)).map(drop)
    }

    /// Waits until the gateway has no path.
    fn has_no(&self, prefix: &str) -> Result<()> {
        self.lab.gateway.await_paths(("contoso", prefix), "none", <[_]>::is_empty).map(drop)
    }

    /// The tenant's machine in the cloud.
    fn vm(&self) -> &Arc<Node> {
        &self.lab.world.contoso.vms[0]
    }

    /// Packets from the cloud to both sites, and from site to site.
    fn flows(&self) -> Result<Flows> {
        let mut flows = Flows::default();
        flows.add_all(self.vm(), &[AT_HQ, AT_DC].concat().into_iter().map(address).collect::<Vec<_>>())?;
        for family in 0..2 {
            flows.add(&self.lab.world.contoso.hq, Ping::to(address(AT_DC[family])).from(address(AT_HQ[family])))?;
        }
        Ok(flows)
    }
}

fn crash(lab: &mut Lab) -> Result<()> {
    lab.gateway.kill();
    Ok(())
}

fn stop(lab: &mut Lab) -> Result<()> {
    lab.gateway.stop()
}

#[test]
fn our_restart_costs_neither_frr_nor_bird_a_route_and_nobody_a_packet() -> Result<()> {
    let mut scene = Scene::start()?;
    // What FRR's kernel knows is from BGP alone, too.
    scene.lab.world.contoso.dc.ip("route del default\nroute del ::/0\n")?;
    let flows = scene.flows()?;
    // A crash, then what an operator's stop or upgrade is.
    for end in [crash, stop] {
        flows.go_on(100)?;
        end(&mut scene.lab)?;
        until(PATIENCE, "BIRD to miss us", || {
            scene.hq.ask("show protocols cloud").is_ok_and(|shown| !shown.contains("Established")).then_some(())
        })?;
        until(PATIENCE, "FRR to miss us", || {
            let shown = scene.dc.show(&format!("show bgp neighbors {} json", CONTOSO.vlan_gateway[0])).ok()?;
            (shown[CONTOSO.vlan_gateway[0]]["bgpState"] != "Established").then_some(())
        })?;
        flows.go_on(100)?;
        scene.lab.gateway.launch()?;
        scene.lab.gateway.await_answer()?;
        ensure!(scene.lab.gateway.status()?.adopted, "the daemon did not adopt what was there");
        scene.is_back()?;
        for prefix in [BEHIND_HQ, BEHIND_DC].into_iter().flatten().flatten() {
            scene.fresh(prefix)?;
        }
        flows.go_on(100)?;
        for prefix in ["10.1.0.0/24", "fd01::/64"].into_iter().chain(BEHIND_DC[0]) {
            ensure!(scene.hq.valid(prefix), "BIRD has lost {prefix}");
        }
        for (family, prefix) in [("ipv4", "10.1.0.0/24"), ("ipv6", "fd01::/64")] {
            ensure!(scene.dc.valid(family, prefix), "FRR has lost {prefix}");
        }
    }
    flows.stop().with_context(|| scene.lab.gateway.about_bgp())
}

#[test]
fn restarts_of_frr_and_bird_cost_no_packet_and_what_they_do_not_tell_again_goes() -> Result<()> {
    // The default routes of FRR's machine stay: zebra drops IPv6 routes for a moment when bgpd is back.
    let mut scene = Scene::start()?;
    let flows = scene.flows()?;
    flows.go_on(100)?;
    scene.hq.kill();
    scene.dc.kill("bgpd");
    for peer in ["hq", "dc"] {
        scene.lab.gateway.await_bgp_peer(("contoso", peer), "no session", |peer| peer.state != "established")?;
    }
    for prefix in [BEHIND_HQ, BEHIND_DC].into_iter().flatten().flatten() {
        scene.uses(prefix, "kept", |path| path.stale)?;
    }
    flows.go_on(100)?;
    let (hq, dc) = (&scene.lab.world.contoso.hq, &scene.lab.world.contoso.dc);
    hq.write("/run/bird.conf", &bird(Life::Second))?;
    dc.write("/run/frr/frr.conf", &frr(Life::Second))?;
    scene.hq.recover()?;
    scene.dc.launch("bgpd")?;
    scene.is_back()?;
    for ([told, forgotten], family) in [BEHIND_HQ, BEHIND_DC].iter().flat_map(|both| [(both, 0), (both, 1)]) {
        scene.fresh(told[family])?;
        scene.has_no(forgotten[family])?;
    }
    flows.go_on(100)?;
    flows.stop().with_context(|| scene.lab.gateway.about_bgp())?;

    // Now neither comes back. FRR's routes go after a second, and BIRD's are the last resort for an hour.
    let mut flows = Flows::default();
    flows.add_all(scene.vm(), &AT_HQ.map(address))?;
    let before = scene.lab.gateway.dropped("no_route")?;
    scene.hq.kill();
    scene.dc.kill("bgpd");
    for family in 0..2 {
        scene.has_no(BEHIND_DC[0][family])?;
        scene.uses(BEHIND_HQ[0][family], "the last resort", |path| {
            path.stale && path.communities.iter().any(|community| community == "llgr-stale")
        })?;
    }
    until(PATIENCE, "what goes to FRR's site to be dropped", || {
        let _ = Ping::to(address(AT_DC[0])).send(scene.vm(), std::time::Duration::from_millis(200));
        scene.lab.gateway.dropped("no_route").is_ok_and(|now| now > before).then_some(())
    })?;
    flows.go_on(100)?;
    flows.stop().with_context(|| scene.lab.gateway.about_bgp())
}
