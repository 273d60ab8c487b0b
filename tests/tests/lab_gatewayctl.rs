//! What the client shows of packets that go through a gateway.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{NexthopReport, RouteReport, TraceEvent};
use lab::Lab;
use lab::gateway::program;
use lab::ping::Ping;
use lab::tenants::{CONTOSO, HQ, SUBNETS, address};
use lab::wait::{SOON, until};
use nix::sys::signal::Signal;

const VM: &str = SUBNETS[0].addresses[0];

/// Runs a trace on the gateway while echo requests go from a VM to the GRE site; what it printed.
fn traced(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    let mut command = Command::new(program("gatewayctl")?);
    command.args(["trace", "--tenant", "contoso"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = lab.gateway.node().spawn(&mut command)?;
    let mut printed = running.child().stdout.take().context("no standard output")?;
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut printed));
    let stream = Ping::to(address(HQ[0])).stream(vm, std::time::Duration::from_millis(5))?;
    let ended = until(SOON, "the trace to end", || running.child().try_wait().ok().flatten());
    drop(stream);
    let status = ended.with_context(|| lab.circumstances())?;
    ensure!(status.success(), "gatewayctl trace ended with {status}");
    Ok(reading.join().map_err(|_| anyhow::anyhow!("the reader has panicked"))??)
}

fn events(printed: &str) -> Result<Vec<TraceEvent>> {
    printed.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

#[test]
fn a_trace_tells_every_stage_of_a_packet() -> Result<()> {
    let lab = Lab::start()?;
    let printed = traced(&lab, &["--dst", HQ[0], "--count", "3", "-o", "json"])?;
    let events = events(&printed)?;
    ensure!(events.len() == 3, "{printed}");
    for event in &events {
        ensure!(event.verdict == "forwarded" && event.port == "fab0", "{event:#?}");
        ensure!(event.out_port.as_deref() == Some("tor0"), "{event:#?}");
        ensure!(event.packet.starts_with(&format!("{VM} > {} ICMP echo request", HQ[0])), "{event:#?}");
        let stages: Vec<&str> = event.stages.iter().map(|stage| stage.stage.as_str()).collect();
        let expected = ["parse", "classify", "decapsulate", "admit", "route", "adapt", "encapsulate", "emit"];
        ensure!(stages == expected, "{event:#?}");
        let detail = |stage: &str| event.stages.iter().find(|one| one.stage == stage).map_or("", |one| &one.detail);
        ensure!(detail("parse").starts_with(&format!("VXLAN vni {}", CONTOSO.vsids[0])), "{event:#?}");
        ensure!(detail("classify").starts_with("tenant contoso, host 10.10.0.11"), "{event:#?}");
        ensure!(detail("route").starts_with("10.2.0.0/16 -> connection hq"), "{event:#?}");
        ensure!(detail("encapsulate").starts_with(&format!("GRE key {}", CONTOSO.key)), "{event:#?}");
    }
    Ok(())
}

#[test]
fn a_trace_is_written_as_a_capture_that_other_programs_read() -> Result<()> {
    let lab = Lab::start()?;
    let printed = traced(&lab, &["--connection", "hq", "--count", "4", "-w", "/run/trace.pcapng"])?;
    ensure!(printed.contains("\n  emit "), "{printed}");
    let read = lab.gateway.node().sh("tcpdump -nr /run/trace.pcapng 2>/dev/null")?;
    // Each packet as it came in and as it left.
    ensure!((read.matches("GREv0").count(), read.matches("VXLAN").count()) == (4, 4), "{read}");
    Ok(())
}

#[test]
fn a_dropped_packet_is_traced_with_its_reason_and_counted() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    let mut command = Command::new(program("gatewayctl")?);
    let nowhere = "10.99.0.1";
    command.args(["trace", "--tenant", "contoso", "--dst", nowhere, "--count", "1", "-o", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = lab.gateway.node().spawn(&mut command)?;
    let stream = Ping::to(address(nowhere)).stream(vm, std::time::Duration::from_millis(5))?;
    until(SOON, "the trace to end", || running.child().try_wait().ok().flatten())?;
    drop(stream);
    let printed = std::io::read_to_string(running.child().stdout.take().context("no standard output")?)?;
    let events = events(&printed)?;
    ensure!(events.len() == 1 && events[0].reason.as_deref() == Some("no_route"), "{printed}");
    ensure!(
        events[0].verdict == "dropped" && events[0].stages.last().is_some_and(|one| one.stage == "route"),
        "{printed}"
    );
    ensure!(lab.gateway.dropped("no_route")? > 0, "{}", lab.circumstances());
    let shown = lab.gateway.ctl(&["show", "drops", "--tenant", "contoso", "--explain"])?;
    ensure!(shown.contains("The tenant has no route to the destination."), "{shown}");
    Ok(())
}

#[test]
fn tracing_ends_with_the_client_however_it_ends() -> Result<()> {
    let mut lab = Lab::start()?;
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut command = Command::new(program("gatewayctl")?);
        command.args(["trace", "--tenant", "contoso"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = lab.gateway.node().spawn(&mut command)?;
        let is_traced = |lab: &Lab| lab.gateway.status().map(|status| status.traced == ["contoso"]).unwrap_or_default();
        until(SOON, "the tenant to be traced", || is_traced(&lab).then_some(()))?;
        running.signal(signal)?;
        until(SOON, "the client to end", || running.child().try_wait().ok().flatten())?;
        until(SOON, "the trace to end", || (!is_traced(&lab)).then_some(()))?;
    }
    // A daemon that is killed while somebody traces leaves no trace behind.
    let mut command = Command::new(program("gatewayctl")?);
    command.args(["trace", "--tenant", "contoso"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = lab.gateway.node().spawn(&mut command)?;
    until(SOON, "the tenant to be traced", || {
        lab.gateway.status().ok().filter(|status| !status.traced.is_empty()).map(drop)
    })?;
    lab.gateway.kill();
    let status = until(SOON, "the client to notice", || running.child().try_wait().ok().flatten())?;
    ensure!(status.code() == Some(1), "{status}");
    lab.gateway.launch()?;
    lab.gateway.await_answer()?;
    ensure!(lab.gateway.status()?.traced.is_empty(), "still traced");
    lab.reaches(&lab.world.contoso.vms[0], HQ[0])
}

#[test]
fn counters_count_both_ways_and_per_port() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    let before = (lab.gateway.connection("contoso", "hq")?, lab.gateway.tenant("contoso")?, lab.gateway.port("tor0")?);
    let length = 500;
    for _ in 0..10 {
        lab.answers_once(vm, Ping::to(address(HQ[0])).length(length))?;
    }
    let after = (lab.gateway.connection("contoso", "hq")?, lab.gateway.tenant("contoso")?, lab.gateway.port("tor0")?);
    let (old, new) = (&before.0.traffic, &after.0.traffic);
    ensure!((new.in_packets - old.in_packets, new.out_packets - old.out_packets) == (10, 10), "{before:?}\n{after:?}");
    let bytes = 10 * length as u64;
    ensure!((new.in_bytes - old.in_bytes, new.out_bytes - old.out_bytes) == (bytes, bytes), "{before:?}\n{after:?}");
    let (old, new) = (&before.1.traffic, &after.1.traffic);
    ensure!(new.in_packets - old.in_packets >= 10 && new.out_packets - old.out_packets >= 10, "{before:?}\n{after:?}");
    let (old, new) = (&before.2.traffic, &after.2.traffic);
    ensure!(new.in_packets - old.in_packets >= 10 && new.out_packets - old.out_packets >= 10, "{before:?}\n{after:?}");
    let other = lab.gateway.connection("woodgrove", "hq")?;
    ensure!(other.traffic.in_bytes < bytes, "another tenant's connection counted it: {other:?}");
    Ok(())
}

#[test]
fn routes_and_next_hops_are_shown_as_they_are() -> Result<()> {
    let lab = Lab::start()?;
    lab.reaches(&lab.world.contoso.vms[0], HQ[0])?;
    let printed = lab.gateway.ctl(&["show", "routes", "--tenant", "contoso", "--prefix", HQ[0], "-o", "json"])?;
    let routes: Vec<RouteReport> = serde_json::from_str(&printed)?;
    let best = routes.iter().max_by_key(|route| route.prefix.prefix_len()).context("no route")?;
    ensure!(best.leads_to == "connection hq" && best.feasible == ["connection hq"], "{printed}");
    let printed = lab.gateway.ctl(&["show", "nexthops", "-o", "json"])?;
    let nexthops: Vec<NexthopReport> = serde_json::from_str(&printed)?;
    let hop = nexthops.iter().find(|hop| Some(hop.id) == best.nexthop).context("no such next hop")?;
    ensure!(hop.state == "resolved" && hop.port.as_deref() == Some("tor0"), "{hop:?}");
    ensure!(lab.gateway.ctl(&["show", "routes", "--tenant", "fabrikam"]).is_err(), "there is no such tenant");
    Ok(())
}

#[test]
fn top_appends_lines_where_there_is_no_terminal() -> Result<()> {
    let lab = Lab::start()?;
    let top = lab.gateway.ctl(&["top", "--interval", "0.1", "--count", "2"])?;
    ensure!(top.matches("TENANT").count() == 2 && top.contains("IN bit/s") && !top.contains('\x1b'), "{top}");
    let mode = lab.gateway.node().sh("stat -c %a /run/gateway/control.sock")?;
    ensure!(mode == "600\n", "{mode}");
    Ok(())
}
