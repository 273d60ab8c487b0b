//! What happens to the daemon does not happen to the packets.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::tenants::{DC, HQ, SUBNETS, address};

#[test]
fn a_killed_daemon_loses_no_packet() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            lab.gateway.kill();
            stream.go_on(300)
        },
    )
}

#[test]
fn a_daemon_that_starts_again_adopts_what_is_there_and_loses_no_packet() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            lab.gateway.kill();
            stream.go_on(100)?;
            lab.gateway.launch()?;
            lab.gateway.await_answer()?;
            ensure!(lab.gateway.status()?.adopted, "the daemon did not adopt what was there");
            stream.go_on(300)
        },
    )
}

/// The program that a port runs, by its number in the kernel.
fn program(lab: &Lab, port: &str) -> Result<String> {
    lab.gateway.node().sh(&format!("ip -d link show {port} | grep -o 'prog/xdp id [0-9]*'"))
}

#[test]
fn programs_are_swapped_by_an_upgrade_and_no_packet_is_lost() -> Result<()> {
    let mut lab = Lab::start()?;
    let before = [program(&lab, "fab0")?, program(&lab, "tor0")?];
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            for _ in 0..3 {
                lab.gateway.stop()?;
                lab.gateway.launch()?;
                lab.gateway.await_answer()?;
                stream.go_on(100)?;
            }
            Ok(())
        },
    )?;
    // Every daemon brings programs of its own.
    for (port, before) in ["fab0", "tor0"].into_iter().zip(before) {
        ensure!(program(&lab, port)? != before, "{port} still runs {before}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_stopped_and_started_loses_no_packet_of_an_l3_site() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(DC[0]),
        |lab, stream| {
            lab.gateway.stop()?;
            stream.go_on(100)?;
            lab.gateway.launch()?;
            lab.gateway.await_answer()?;
            stream.go_on(300)
        },
    )
}

#[test]
fn a_change_of_one_tenant_loses_no_packet_of_another() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut changed = lab.plan.clone();
    changed.connection("woodgrove", "hq").insert("key".into(), 777.into());
    changed.connection("woodgrove", "dc").insert("enabled".into(), false.into());
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            lab.gateway.reload(&changed)?;
            stream.go_on(200)?;
            let plan = lab.plan.clone();
            lab.gateway.reload(&plan)?;
            stream.go_on(200)
        },
    )?;
    lab.reaches(&lab.world.woodgrove.vms[0], HQ[0])
}

#[test]
fn a_change_of_one_connection_loses_no_packet_of_another_of_the_tenant() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut changed = lab.plan.clone();
    changed.connection("contoso", "dc").insert("inbound_kbps".into(), 1000.into());
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            lab.gateway.reload(&changed)?;
            stream.go_on(200)
        },
    )
}

#[test]
fn what_forwards_between_vms_goes_on_without_a_daemon() -> Result<()> {
    let mut lab = Lab::start()?;
    // Everybody's next hops are known by now, since both tenants share them.
    for to in [SUBNETS[1].addresses[0], HQ[0]] {
        lab.reaches(&lab.world.contoso.vms[0], to)?;
    }
    lab.gateway.kill();
    // Nobody asked for these before, so nothing of them is remembered.
    for version in [0, 1] {
        lab.reaches(&lab.world.woodgrove.vms[0], SUBNETS[1].addresses[version])?;
        lab.reaches(&lab.world.woodgrove.hq, SUBNETS[0].addresses[version])?;
    }
    Ok(())
}
