//! Sites that exchange routes with the gateway by BGP: BIRD behind tunnels, FRR on a VLAN, each tenant with the very same addresses and AS numbers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::BgpRouteReport;
use lab::Lab;
use lab::peers::{Bird, Frr};
use lab::ping::Ping;
use lab::plan::Plan;
use lab::sessions::PATIENCE;
use lab::tenants::{HQ, TENANT_GATEWAY, TENANTS, address};
use lab::topology::{Members, World};
use lab::wait::until;

/// What the GRE sites announce, and a machine there.
const BEHIND_HQ: (&str, &str) = ("10.7.0.0/16", "10.7.0.1");
/// What the L3 sites announce, and a machine there.
const BEHIND_DC: (&str, &str) = ("10.8.0.0/16", "10.8.0.1");
/// What only the second tenant's GRE site announces.
const WOODGROVES: &str = "10.77.0.0/16";

/// BIRD at a GRE site.
fn bird(site: &Members, announced: &[&str], password: Option<&str>) -> Result<Bird> {
    let routes: String = announced.iter().map(|prefix| format!("  route {prefix} unreachable;\n")).collect();
    let password = password.map_or_else(String::new, |password| format!("  password \"{password}\";\n"));
    let text = format!(
        "router id 10.2.0.1;
protocol device {{ scan time 1; }}
protocol static announced {{
  ipv4;
{routes}}}
protocol bgp cloud {{
  local {hq} as 64513;
  neighbor {gateway} as 64512;
  multihop 2;
{password}  hold time 30;
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
        hq = HQ[0],
        gateway = TENANT_GATEWAY[0],
    );
    site.hq.ip(&format!("address add {}/32 dev lo\n", BEHIND_HQ.1))?;
    Bird::start(&site.hq, &text)
}

/// FRR at an L3 site.
fn frr(site: &Members) -> Result<Frr> {
    let text = format!(
        "router bgp 64514
 bgp router-id 10.3.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor {gateway} remote-as 64512
 neighbor {gateway} timers connect 2
 neighbor {gateway} timers 10 30
 address-family ipv4 unicast
  network {}
 exit-address-family
",
        BEHIND_DC.0,
        gateway = site.tenant.vlan_gateway[0],
    );
    site.dc.ip(&format!("address add {}/32 dev lo\n", BEHIND_DC.1))?;
    Frr::bgpd(&site.dc, &text)
}

/// Both tenants' routers, with the same peers.
fn with_bgp(plan: &mut Plan, password: Option<&str>) {
    for tenant in TENANTS {
        let password = password.map_or_else(String::new, |password| format!("password = '{password}'\n"));
        let bgp = format!(
            "as_number = 64512
             [[peer]]
             name = 'hq'
             address = '{}'
             as_number = 64513
             hold_time_ms = 30000
             connect_retry_ms = 1000
             {password}
             [[peer]]
             name = 'dc'
             address = '{}'
             as_number = 64514
             hold_time_ms = 30000
             connect_retry_ms = 1000
             ",
            HQ[0], tenant.vlan_peer[0],
        );
        let bgp: toml::Table = bgp.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{bgp}"));
        plan.tenant(tenant.name).insert("bgp".into(), bgp.into());
    }
}

fn start_lab(password: Option<&str>) -> Result<Lab> {
    Lab::start_with(World::default(), |plan| with_bgp(plan, password))
}

fn best(paths: &[BgpRouteReport]) -> bool {
    paths.iter().any(|path| path.used == "best")
}

/// What helps to see why something failed.
fn about(lab: &Lab) -> String {
    format!("{}\n{}", lab.gateway.about_bgp(), lab.circumstances())
}

#[test]
fn routes_of_sites_are_learned_passed_on_and_withdrawn_and_tenants_do_not_see_each_others() -> Result<()> {
    let lab = start_lab(None)?;
    let (contoso, woodgrove) = (&lab.world.contoso, &lab.world.woodgrove);
    let hq = bird(contoso, &[BEHIND_HQ.0], None)?;
    let _dc = frr(contoso)?;
    let _other = bird(woodgrove, &[BEHIND_HQ.0, WOODGROVES], None)?;
    for (tenant, name) in [("contoso", "hq"), ("contoso", "dc"), ("woodgrove", "hq")] {
        lab.gateway.await_session(tenant, name)?;
    }
    for (tenant, prefix) in
        [("contoso", BEHIND_HQ.0), ("contoso", BEHIND_DC.0), ("woodgrove", BEHIND_HQ.0), ("woodgrove", WOODGROVES)]
    {
        lab.gateway.await_paths((tenant, prefix), "a best path", best)?;
    }
    // A machine of the cloud reaches both sites of its tenant, and the other tenant's machine its own.
    lab.reaches(&contoso.vms[0], BEHIND_HQ.1)?;
    lab.reaches(&contoso.vms[0], BEHIND_DC.1)?;
    lab.finds(&woodgrove.vms[0], HQ[0], &woodgrove.hq)?;
    lab.reaches(&woodgrove.vms[0], BEHIND_HQ.1)?;
    // From site to site, through the cloud.
    lab.answers(&contoso.hq, Ping::to(address(BEHIND_DC.1)).from(address(BEHIND_HQ.1)))?;
    // What one tenant's site says is nothing to the other.
    ensure!(lab.gateway.bgp_paths("contoso", WOODGROVES)?.is_empty(), "{}", about(&lab));
    let printed = lab.gateway.ctl(&["bgp", "explain", BEHIND_HQ.0, "--tenant", "contoso"])?;
    ensure!(printed.contains("best") && printed.contains("dc"), "{printed}");
    // Both sites are told the tenant's subnets, and each what is behind the other.
    until(PATIENCE, "BIRD to have the cloud's routes", || {
        let routes = hq.ask("show route").ok()?;
        ["10.1.0.0/24", "10.1.1.0/24", BEHIND_DC.0].iter().all(|prefix| routes.contains(prefix)).then_some(())
    })
    .with_context(|| format!("{:?}\n{}", hq.ask("show route all"), about(&lab)))?;

    let before = lab.gateway.dropped("no_route")?;
    hq.ask("disable announced")?;
    until(PATIENCE, "the withdrawn route to go", || {
        lab.gateway.bgp_paths("contoso", BEHIND_HQ.0).is_ok_and(|paths| paths.is_empty()).then_some(())
    })?;
    until(PATIENCE, "what goes there to be dropped", || {
        let _ = Ping::to(address(BEHIND_HQ.1)).send(&contoso.vms[0], Duration::from_millis(200));
        lab.gateway.dropped("no_route").is_ok_and(|now| now > before).then_some(())
    })
    .with_context(|| about(&lab))?;
    lab.reaches(&woodgrove.vms[0], BEHIND_HQ.1)
}

#[test]
fn a_killed_daemon_loses_no_packet_and_its_sessions_come_back_with_the_routes_kept() -> Result<()> {
    let mut lab = start_lab(None)?;
    let _hq = bird(&lab.world.contoso, &[BEHIND_HQ.0], None)?;
    lab.gateway.await_session("contoso", "hq")?;
    lab.gateway.await_path("contoso", BEHIND_HQ.0, "hq")?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(BEHIND_HQ.1),
        |lab, stream| {
            lab.gateway.kill();
            stream.go_on(100)?;
            lab.gateway.launch()?;
            lab.gateway.await_answer()?;
            lab.gateway.await_session("contoso", "hq")?;
            lab.gateway.await_path("contoso", BEHIND_HQ.0, "hq")?;
            stream.go_on(300)
        },
    )
}

#[test]
fn a_session_needs_the_same_password_on_both_ends() -> Result<()> {
    let mut lab = start_lab(Some("right"))?;
    let _hq = bird(&lab.world.contoso, &[BEHIND_HQ.0], Some("right"))?;
    lab.gateway.await_session("contoso", "hq")?;
    let mut wrong = lab.plan.clone();
    with_bgp(&mut wrong, Some("wrong"));
    lab.gateway.reload(&wrong)?;
    until(PATIENCE, "the session to end", || {
        lab.gateway
            .bgp_peer("contoso", "hq")
            .ok()
            .filter(|peer| peer.state != "established" && peer.last_error.is_some())
    })
    .with_context(|| about(&lab))?;
    let shown = lab.gateway.ctl(&["bgp", "neighbors"])?;
    ensure!(!shown.contains("wrong") && !lab.gateway.log().contains("\"wrong\""), "{shown}");
    let right = lab.plan.clone();
    lab.gateway.reload(&right)?;
    lab.gateway.await_session("contoso", "hq").map(drop)
}
