//! How sessions with sites begin and end: hops, who opens, limits, words, silence; and what flows over paths that are equally good.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::peers::Bird;
use lab::plan::Plan;
use lab::sessions::PATIENCE;
use lab::tenants::{HQ, TENANT_GATEWAY, TENANTS};
use lab::topology::{Members, World};
use lab::wait::until;
use nix::sys::signal::Signal;

/// What sites announce.
const BEHIND_HQ: &str = "10.7.0.0/16";
const BEHIND_DC: &str = "10.8.0.0/16";
/// What both announce, and a machine there.
const BEHIND_BOTH: (&str, &str) = ("10.66.0.0/16", "10.66.0.1");

/// BIRD at a GRE site: `session` is what is said of the session.
fn hq(site: &Members, session: &str, announced: &[&str]) -> String {
    let _ = site;
    configuration((HQ[0], TENANT_GATEWAY[0], 64513), session, announced)
}

/// The same at an L3 site.
fn dc(site: &Members, session: &str, announced: &[&str]) -> String {
    configuration((site.tenant.vlan_peer[0], site.tenant.vlan_gateway[0], 64514), session, announced)
}

fn configuration((own, gateway, asn): (&str, &str, u32), session: &str, announced: &[&str]) -> String {
    let routes: String = announced.iter().map(|prefix| format!(" route {prefix} blackhole;\n")).collect();
    format!(
        "router id {own};\nprotocol device {{ }}\nprotocol static announced {{\n ipv4;\n{routes}}}\n\
         protocol bgp cloud {{\n local {own} as {asn};\n neighbor {gateway} as 64512;\n {session}\n \
         connect delay time 1; connect retry time 1; error wait time 1, 2;\n graceful restart on;\n \
         ipv4 {{ import all; export where source = RTS_STATIC; }};\n}}\n"
    )
}

/// Gives a tenant a router: `hq` and `dc` are what is said of the peers beyond the usual.
fn with_bgp(plan: &mut Plan, tenant: usize, router: &str, peers: [&str; 2]) {
    let tenant = TENANTS[tenant];
    let [hq, dc] = peers;
    let text = format!(
        "as_number = 64512
         {router}
         [[peer]]
         name = 'hq'
         address = '{}'
         as_number = 64513
         connect_retry_ms = 1000
         {hq}
         [[peer]]
         name = 'dc'
         address = '{}'
         as_number = 64514
         connect_retry_ms = 1000
         {dc}\n",
        HQ[0], tenant.vlan_peer[0],
    );
    let bgp: toml::Table = text.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{text}"));
    plan.tenant(tenant.name).insert("bgp".into(), bgp.into());
}

/// A counter of the kernel in a tenant's compartment.
fn counted(lab: &Lab, tenant: &str, counter: &str) -> Result<u64> {
    let text = lab.gateway.node().sh(&format!("ip netns exec gw-{tenant} grep ^TcpExt /proc/net/netstat"))?;
    let mut lines = text.lines().map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { anyhow::bail!("no counters: {text}") };
    let found = names.zip(values).find(|(name, _)| *name == counter);
    Ok(found.map_or(Ok(0), |(_, count)| count.parse())?)
}

/// The established TCP connections between a tenant's router and an address, as `own:port other:port`.
fn connections(lab: &Lab, tenant: &str, other: &str) -> Result<Vec<String>> {
    let printed = lab.gateway.node().sh(&format!("ip netns exec gw-{tenant} ss -Htn state established"))?;
    let mut all: Vec<String> = Vec::new();
    for line in printed.lines().filter(|line| line.contains(&format!("{other}:"))) {
        all.push(line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" "));
    }
    Ok(all)
}

#[test]
fn packets_from_too_far_away_make_no_session() -> Result<()> {
    let near = ["ttl_security = 1", "ttl_security = 1"];
    let lab = Lab::start_with(World::default(), |plan| {
        with_bgp(plan, 0, "", near);
        with_bgp(plan, 1, "", near);
    });
    let mut lab = lab?;
    let (right, wrong) = (&lab.world.contoso, &lab.world.woodgrove);
    let _right = [
        Bird::start(&right.hq, &hq(right, "multihop 1; ttl security on;", &[]))?,
        Bird::start(&right.dc, &dc(right, "direct; ttl security on;", &[]))?,
    ];
    let _wrong =
        [Bird::start(&wrong.hq, &hq(wrong, "multihop 2;", &[]))?, Bird::start(&wrong.dc, &dc(wrong, "direct;", &[]))?];
    for peer in ["hq", "dc"] {
        lab.gateway.await_session("contoso", peer)?;
    }
    until(PATIENCE, "packets that came from too far", || {
        (counted(&lab, "woodgrove", "TCPMinTTLDrop").ok()? > 0).then_some(())
    })?;
    for peer in ["hq", "dc"] {
        let shown = lab.gateway.bgp_peer("woodgrove", peer)?;
        ensure!(shown.established == 0, "{shown:#?}");
    }
    let mut plan = lab.plan.clone();
    with_bgp(&mut plan, 1, "", ["", ""]);
    lab.gateway.reload(&plan)?;
    for peer in ["hq", "dc"] {
        lab.gateway.await_session("woodgrove", peer)?;
    }
    Ok(())
}

#[test]
fn whoever_opens_there_is_one_connection_and_a_route_that_flaps_is_left_out() -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| {
        with_bgp(plan, 0, "damping = 'rfc7196'", ["mode = 'passive'", "mode = 'active'"]);
        with_bgp(plan, 1, "", ["mode = 'mixed'", "mode = 'passive'"]);
    })?;
    let (contoso, woodgrove) = (&lab.world.contoso, &lab.world.woodgrove);
    let one = Bird::start(&contoso.hq, &hq(contoso, "multihop 2;", &[BEHIND_HQ]))?;
    let _other = Bird::start(&contoso.dc, &dc(contoso, "direct; passive on;", &[]))?;
    let mixed = Bird::start(&woodgrove.hq, &hq(woodgrove, "multihop 2;", &[]))?;
    lab.gateway.await_session("contoso", "hq")?;
    lab.gateway.await_session("contoso", "dc")?;
    let [opened] = &connections(&lab, "contoso", HQ[0])?[..] else { anyhow::bail!("not one connection with hq") };
    ensure!(opened.starts_with(&format!("{}:179 ", TENANT_GATEWAY[0])), "the peer did not open: {opened}");
    let dc = contoso.tenant.vlan_peer[0];
    let [opened] = &connections(&lab, "contoso", dc)?[..] else { anyhow::bail!("not one connection with dc") };
    ensure!(opened.ends_with(&format!("{dc}:179")), "the gateway did not open: {opened}");
    // Both try at once, time and again.
    for _ in 0..3 {
        until(PATIENCE, "one connection", || {
            let up = lab.gateway.bgp_peer("woodgrove", "hq").ok()?.state == "established";
            (up && connections(&lab, "woodgrove", HQ[0]).ok()?.len() == 1).then_some(())
        })
        .with_context(|| format!("{:?}\n{}", connections(&lab, "woodgrove", HQ[0]), lab.gateway.about_bgp()))?;
        mixed.ask("restart cloud")?;
    }
    // RFC 7196 puts up with five.
    lab.gateway.await_path("contoso", BEHIND_HQ, "hq")?;
    let mut flaps = 0;
    loop {
        one.ask("disable announced")?;
        lab.gateway.await_paths(("contoso", BEHIND_HQ), "gone", |paths| paths.is_empty())?;
        one.ask("enable announced")?;
        lab.gateway.await_paths(("contoso", BEHIND_HQ), "back", |paths| !paths.is_empty())?;
        flaps += 1;
        let said = lab.gateway.ctl(&["bgp", "explain", BEHIND_HQ, "--tenant", "contoso"])?;
        if said.contains("suppressed because it flaps") {
            break;
        }
        ensure!(flaps < 10, "after {flaps} flaps: {said}");
    }
    ensure!(flaps >= 6, "already after {flaps}");
    let paths = lab.gateway.bgp_paths("contoso", BEHIND_HQ)?;
    ensure!(paths.iter().all(|path| path.used != "best"), "{paths:#?}");
    Ok(())
}

#[test]
fn limits_words_and_silence_end_one_session_and_no_other() -> Result<()> {
    let limited = "max_prefixes = { count = 4, warning_percent = 50, restart_ms = 1000 }";
    let mut lab = Lab::start_with(World::default(), |plan| {
        with_bgp(plan, 0, "", [limited, "hold_time_ms = 3000"]);
        with_bgp(plan, 1, "", ["", "mode = 'passive'"]);
    })?;
    let (contoso, woodgrove) = (&lab.world.contoso, &lab.world.woodgrove);
    let announcing = |prefixes: &[&str]| hq(contoso, "multihop 2;", prefixes);
    let many = ["10.7.1.0/24", "10.7.2.0/24", "10.7.3.0/24", "10.7.4.0/24", "10.7.5.0/24", "10.7.6.0/24"];
    let peer = Bird::start(&contoso.hq, &announcing(&many[..1]))?;
    let silent = Bird::start(&contoso.dc, &dc(contoso, "direct; hold time 3;", &[BEHIND_DC]))?;
    let _other = Bird::start(&woodgrove.hq, &hq(woodgrove, "multihop 2;", &many))?;
    lab.gateway.await_session("woodgrove", "hq")?;
    lab.gateway.await_path("contoso", many[0], "hq")?;
    let warned = |lab: &Lab| {
        let log = lab.gateway.log();
        log.lines().any(|line| line.contains("comes near its limit") && line.contains("tenant=\"contoso\" peer=hq"))
    };
    ensure!(!warned(&lab), "a warning without a cause: {}", lab.gateway.log());
    peer.configure(&announcing(&many[..2]))?;
    until(PATIENCE, "a warning", || warned(&lab).then_some(())).with_context(|| lab.gateway.about_bgp())?;
    ensure!(lab.gateway.bgp_peer("contoso", "hq")?.lost == 0, "{}", lab.gateway.about_bgp());

    peer.configure(&announcing(&many))?;
    lab.gateway.await_bgp_peer(("contoso", "hq"), "it has too many prefixes", |peer| {
        peer.last_error.as_ref().is_some_and(|error| error.contains("(6/1)"))
    })?;
    until(PATIENCE, "BIRD to be told why", || {
        peer.ask("show protocols all cloud").ok()?.contains("Maximum number of prefixes").then_some(())
    })?;
    // Tried again, and ended again; then the peer has mended its ways.
    lab.gateway.await_bgp_peer(("contoso", "hq"), "a second end", |peer| peer.lost >= 2)?;
    peer.configure(&announcing(&many[..1]))?;
    lab.gateway.await_path("contoso", many[0], "hq")?;

    peer.ask("disable cloud \"maintenance tonight\"")?;
    lab.gateway.await_bgp_peer(("contoso", "hq"), "it was switched off, and why", |peer| {
        peer.last_error.as_ref().is_some_and(|error| error.contains("(6/2)") && error.contains("maintenance tonight"))
    })?;
    peer.ask("enable cloud")?;
    lab.gateway.await_path("contoso", many[0], "hq")?;
    // What is not in the plan any more is told so.
    let mut without = lab.plan.clone();
    without.tenant("contoso").remove("bgp");
    let with = lab.plan.clone();
    lab.gateway.reload(&without)?;
    until(PATIENCE, "BIRD to be told why", || {
        peer.ask("show protocols all cloud").ok()?.contains("Peer de-configured").then_some(())
    })
    .with_context(|| format!("{:?}", peer.ask("show protocols all cloud")))?;
    lab.gateway.reload(&with)?;
    lab.gateway.await_session("contoso", "hq")?;

    lab.gateway.await_path("contoso", BEHIND_DC, "dc")?;
    silent.signal(Signal::SIGSTOP)?;
    lab.gateway.await_bgp_peer(("contoso", "dc"), "it was silent for too long", |peer| {
        peer.last_error.as_ref().is_some_and(|error| error.contains("Hold Timer Expired"))
    })?;
    silent.signal(Signal::SIGCONT)?;
    lab.gateway.await_session("contoso", "dc")?;

    let other = lab.gateway.bgp_peer("woodgrove", "hq")?;
    ensure!((other.established, other.lost) == (1, 0), "{other:#?}");
    Ok(())
}

/// Sends that many datagrams, each from a port of its own.
fn flows(from: &Node, count: usize) -> Result<()> {
    from.within(|| {
        for _ in 0..count {
            UdpSocket::bind("0.0.0.0:0")?.send_to(b"flow", (BEHIND_BOTH.1, 9))?;
        }
        Ok(())
    })
}

/// What went to both sites so far.
fn sent(lab: &Lab) -> Result<[u64; 2]> {
    let of = |name| lab.gateway.connection("contoso", name).map(|connection| connection.traffic.out_packets);
    Ok([of("hq")?, of("dc")?])
}

#[test]
fn flows_are_spread_over_equally_good_paths_of_two_sites() -> Result<()> {
    const FLOWS: usize = 400;
    let mut lab = Lab::start_with(World::default(), |plan| with_bgp(plan, 0, "", ["", ""]))?;
    let site = &lab.world.contoso;
    let one = Bird::start(&site.hq, &hq(site, "multihop 2;", &[BEHIND_BOTH.0]))?;
    let other = Bird::start(&site.dc, &dc(site, "direct;", &[BEHIND_BOTH.0]))?;
    for node in [&site.hq, &site.dc] {
        node.ip(&format!("address add {}/32 dev lo\n", BEHIND_BOTH.1))?;
    }
    let both = ("contoso", BEHIND_BOTH.0);
    let used = |paths: &[gateway_user::api::report::BgpRouteReport], how: &str| {
        paths.iter().filter(|path| path.used == how).count()
    };
    // By different systems: one is as good as the other only if the plan says so.
    lab.gateway
        .await_paths(both, "two paths, one of them used", |paths| paths.len() == 2 && used(paths, "best") == 1)?;
    ensure!(used(&lab.gateway.bgp_paths(both.0, both.1)?, "multipath") == 0, "{}", lab.gateway.about_bgp());
    let mut relaxed = lab.plan.clone();
    with_bgp(&mut relaxed, 0, "multipath_as_path = 'length'", ["", ""]);
    lab.gateway.reload(&relaxed)?;
    lab.gateway.await_paths(both, "two paths in use", |paths| used(paths, "best") + used(paths, "multipath") == 2)?;
    // The table of the data plane follows; and neighbours are known once something was answered.
    let site = &lab.world.contoso;
    until(PATIENCE, "packets for both sites", || {
        let before = sent(&lab).ok()?;
        flows(&site.vms[0], 40).ok()?;
        let after = sent(&lab).ok()?;
        (after[0] > before[0] + 4 && after[1] > before[1] + 4).then_some(())
    })
    .with_context(|| lab.circumstances())?;
    let before = sent(&lab)?;
    flows(&site.vms[0], FLOWS)?;
    until(PATIENCE, "all packets", || {
        let now = sent(&lab).ok()?;
        (now[0] + now[1] >= before[0] + before[1] + FLOWS as u64).then_some(())
    })
    .with_context(|| lab.circumstances())?;
    let after = sent(&lab)?;
    let share = [after[0] - before[0], after[1] - before[1]];
    // A fair coin is not off by a quarter in 400 throws.
    ensure!(share.iter().all(|one| *one > FLOWS as u64 / 4), "the flows were spread {share:?}");
    // Without one site all flows go to the other; so do they without the other.
    one.ask("disable announced")?;
    lab.gateway.await_paths(both, "one path", |paths| paths.len() == 1)?;
    lab.reaches(&site.vms[0], BEHIND_BOTH.1)?;
    one.ask("enable announced")?;
    lab.gateway.await_paths(both, "two paths", |paths| paths.len() == 2)?;
    other.ask("disable announced")?;
    lab.gateway.await_paths(both, "the other path", |paths| paths.len() == 1)?;
    lab.reaches(&site.vms[0], BEHIND_BOTH.1)
}
