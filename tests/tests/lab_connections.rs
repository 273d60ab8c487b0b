//! What a connection lets pass, and what it does not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::ping::{Answer, Ping};
use lab::tenants::{DC, HQ, SUBNETS, TENANT_GATEWAY, address};
use lab::topology::World;
use lab::wait::{SOON, until};

const BRIEFLY: Duration = Duration::from_millis(300);

#[test]
fn a_spoofed_source_is_dropped_and_counted() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.hq, SUBNETS[0].addresses[0])?;
    // Sources that nobody has, and that another site of the tenant has.
    for (spoofed, count) in [("10.99.0.1", 1), (DC[0], 2)] {
        members.hq.ip(&format!("address add {spoofed}/32 dev lo\n"))?;
        let ping = Ping::to(address(SUBNETS[0].addresses[0])).from(address(spoofed));
        ensure!(ping.send(&members.hq, BRIEFLY)? == Answer::Silence, "{spoofed} is let through");
        until(SOON, "the drop to be counted", || {
            let connection = lab.gateway.connection("contoso", "hq").ok()?;
            let spoofed = connection.traffic.drops.iter().find(|drop| drop.reason == "spoofed")?;
            (spoofed.packets == count).then_some(())
        })
        .map_err(|error| error.context(lab.circumstances()))?;
    }
    Ok(())
}

#[test]
fn a_compute_host_does_not_speak_for_a_vm_of_another() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.vms[1], HQ[0])?;
    // The first machine's address, on the second one's host.
    members.vms[1].ip(&format!("address add {}/32 dev lo\n", SUBNETS[0].addresses[0]))?;
    let ping = Ping::to(address(HQ[0])).from(address(SUBNETS[0].addresses[0]));
    ensure!(ping.send(&members.vms[1], BRIEFLY)? == Answer::Silence, "it is let through");
    until(SOON, "the drop to be counted", || {
        let tenant = lab.gateway.tenant("contoso").ok()?;
        tenant.traffic.drops.iter().any(|drop| drop.reason == "spoofed").then_some(())
    })
    .map_err(|error| error.context(lab.circumstances()))
}

#[test]
fn a_source_without_anti_spoofing_passes() -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| {
        plan.connection("contoso", "hq").insert("anti_spoofing".into(), "off".into());
        let back = "destination = '10.99.0.0/16'\nmetric = 10".parse::<toml::Table>().expect("it is TOML");
        let dc = plan.connection("contoso", "hq")["routes"].as_array_mut().expect("a list");
        dc.push(back.into());
    })?;
    let members = &lab.world.contoso;
    members.hq.ip("address add 10.99.0.1/32 dev lo\n")?;
    lab.answers(&members.hq, Ping::to(address(SUBNETS[0].addresses[0])).from(address("10.99.0.1")))
}

#[test]
fn a_disabled_connection_carries_nothing_until_it_is_enabled() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.reaches(&lab.world.contoso.hq, SUBNETS[0].addresses[0])?;
    let mut disabled = lab.plan.clone();
    disabled.connection("contoso", "hq").insert("enabled".into(), false.into());
    lab.gateway.reload(&disabled)?;
    let members = &lab.world.contoso;
    let ping = Ping::to(address(SUBNETS[0].addresses[0]));
    ensure!(ping.send(&members.hq, BRIEFLY)? == Answer::Silence, "a disabled connection lets packets in");
    ensure!(!Ping::to(address(HQ[0])).send(&members.vms[0], BRIEFLY)?.is_reply());
    until(SOON, "the drop to be counted", || (lab.gateway.dropped("connection_disabled").ok()? > 0).then_some(()))
        .map_err(|error| error.context(lab.circumstances()))?;
    ensure!(lab.gateway.connection("contoso", "hq")?.state == "disabled");
    lab.reaches(&members.dc, SUBNETS[0].addresses[0])?;
    let plan = lab.plan.clone();
    lab.gateway.reload(&plan)?;
    lab.reaches(&lab.world.contoso.hq, SUBNETS[0].addresses[0])
}

#[test]
fn counters_count_both_ways() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.vms[0], HQ[0])?;
    let before = lab.gateway.connection("contoso", "hq")?.traffic;
    let other = lab.gateway.connection("woodgrove", "hq")?.traffic;
    for _ in 0..10 {
        lab.answers_once(&members.vms[0], Ping::to(address(HQ[0])).length(500))?;
    }
    let after = lab.gateway.connection("contoso", "hq")?.traffic;
    ensure!(after.in_packets - before.in_packets == 10, "{before:?} {after:?}");
    ensure!(after.out_packets - before.out_packets == 10, "{before:?} {after:?}");
    ensure!(after.in_bytes - before.in_bytes == after.out_bytes - before.out_bytes, "{before:?} {after:?}");
    ensure!(lab.gateway.connection("woodgrove", "hq")?.traffic == other, "the other tenant's counters moved");
    Ok(())
}

#[test]
fn a_route_that_leads_nowhere_is_a_counted_drop() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.vms[0], TENANT_GATEWAY[0])?;
    let answer = Ping::to(address("10.77.0.1")).send(&members.vms[0], BRIEFLY)?;
    ensure!(!answer.is_reply(), "{answer:?}");
    until(SOON, "the drop to be counted", || (lab.gateway.dropped("no_route").ok()? > 0).then_some(()))
        .map_err(|error| error.context(lab.circumstances()))
}

#[test]
fn the_class_of_service_is_copied_outside() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.vms[0], HQ[0])?;
    // Expedited forwarding (RFC 3246), and an ECN-capable transport (RFC 6040).
    for tos in [0xb8, 0xb9] {
        for to in HQ {
            lab.answers(&members.vms[0], Ping::to(address(to)).tos(tos))?;
            let outer = members.tunnel.seen().outer_tos.load(Ordering::Relaxed);
            ensure!(outer == u32::from(tos), "to {to}: {tos:#x} inside, {outer:#x} outside");
        }
    }
    Ok(())
}
