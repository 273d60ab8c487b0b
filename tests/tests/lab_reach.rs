//! Who reaches whom, while both tenants use the same addresses.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use lab::Lab;
use lab::ping::Ping;
use lab::plan::Plan;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, TENANT_GATEWAY, WOODGROVE, address};
use lab::topology::{Members, Topology, World};
use lab::wait::SOON;

fn for_both(check: impl Fn(&Lab, &Members) -> Result<()>) -> Result<()> {
    let lab = Lab::start()?;
    for members in lab.world.tenants() {
        check(&lab, members)?;
    }
    Ok(())
}

#[test]
fn a_vm_and_the_gre_site_of_its_tenant_find_each_other() -> Result<()> {
    for_both(|lab, members| {
        for version in [0, 1] {
            lab.finds(&members.vms[0], HQ[version], &members.hq)?;
            lab.finds(&members.hq, SUBNETS[0].addresses[version], &members.vms[0])?;
        }
        Ok(())
    })
}

#[test]
fn a_vm_and_the_l3_site_of_its_tenant_find_each_other() -> Result<()> {
    for_both(|lab, members| {
        for version in [0, 1] {
            lab.finds(&members.vms[0], DC[version], &members.dc)?;
            lab.finds(&members.dc, SUBNETS[0].addresses[version], &members.vms[0])?;
        }
        Ok(())
    })
}

#[test]
fn two_sites_of_a_tenant_find_each_other_through_the_gateway() -> Result<()> {
    for_both(|lab, members| {
        for version in [0, 1] {
            lab.finds(&members.hq, DC[version], &members.dc)?;
            lab.finds(&members.dc, HQ[version], &members.hq)?;
        }
        Ok(())
    })
}

#[test]
fn vms_of_a_tenant_on_two_hosts_find_each_other_through_the_gateway() -> Result<()> {
    for_both(|lab, members| {
        for version in [0, 1] {
            lab.finds(&members.vms[0], SUBNETS[1].addresses[version], &members.vms[1])?;
            lab.finds(&members.vms[1], SUBNETS[0].addresses[version], &members.vms[0])?;
        }
        Ok(())
    })
}

#[test]
fn the_gateways_own_address_answers_in_both_tenants() -> Result<()> {
    for_both(|lab, members| {
        for (node, _) in members.all() {
            for own in TENANT_GATEWAY {
                lab.reaches(node, own)?;
                // Even at its last hop, as eBGP needs it.
                lab.answers(node, Ping::to(address(own)).ttl(1))?;
            }
        }
        Ok(())
    })
}

#[test]
fn an_l3_site_reaches_the_gateways_address_on_its_vlan() -> Result<()> {
    let lab = Lab::start()?;
    for (tenant, dc) in [(CONTOSO, &lab.world.contoso.dc), (WOODGROVE, &lab.world.woodgrove.dc)] {
        for (gateway, own) in tenant.vlan_gateway.into_iter().zip(tenant.vlan_peer) {
            lab.answers(dc, Ping::to(address(gateway)).from(address(own)))?;
        }
    }
    Ok(())
}

#[test]
fn tcp_runs_between_every_kind_of_place() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    for version in [0, 1] {
        for (from, to, at) in [
            (&members.vms[0], &members.hq, HQ[version]),
            (&members.hq, &members.vms[1], SUBNETS[1].addresses[version]),
            (&members.vms[0], &members.dc, DC[version]),
            (&members.dc, &members.hq, HQ[version]),
            (&members.vms[0], &members.vms[1], SUBNETS[1].addresses[version]),
        ] {
            lab.reaches(from, at)?;
            lab::throughput::carry(from, to, address(at), 1 << 20)
                .with_context(|| format!("{} to {at}\n{}", from.name(), lab.circumstances()))?;
        }
    }
    Ok(())
}

#[test]
fn two_tenants_with_the_same_vlan_and_addresses_on_two_ports_are_kept_apart() -> Result<()> {
    let world = Topology::build(World::default(), |_| {})?;
    let twin = world.second_segment("tor1", "woodgrove-twin", CONTOSO)?;
    let mut plan = Plan::of(&world.world);
    plan.add("port", "name = 'tor1'\nrole = 'site'");
    // Woodgrove's L3 connection is Contoso's, on another port.
    let mut dc = plan.connection("contoso", "dc").clone();
    dc.insert("port".into(), "tor1".into());
    *plan.connection("woodgrove", "dc") = dc;
    let lab = Lab::around(world, plan)?;
    for version in [0, 1] {
        lab.finds(&lab.world.contoso.vms[0], DC[version], &lab.world.contoso.dc)?;
        lab.finds(&lab.world.woodgrove.vms[0], DC[version], &twin.node)?;
        lab.finds(&lab.world.contoso.dc, SUBNETS[0].addresses[version], &lab.world.contoso.vms[0])?;
        lab.finds(&twin.node, SUBNETS[0].addresses[version], &lab.world.woodgrove.vms[0])?;
        for node in [&lab.world.contoso.dc, &twin.node] {
            lab.answers(node, Ping::to(address(CONTOSO.vlan_gateway[version])))?;
        }
    }
    Ok(())
}

#[test]
fn iperf3_runs_both_ways_between_a_vm_and_a_gre_site() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    for at in HQ {
        lab.reaches(&members.vms[0], at)?;
        for direction in [&[][..], &["-R"]] {
            let mut server = Command::new("iperf3");
            let server = members.hq.spawn(server.args(["-s", "-1", "-B", at]).stdout(Stdio::null()))?;
            // Until the server listens, a client's report has an error and no end.
            let bytes = lab::wait::until(SOON, "iperf3 to run through", || {
                let mut client = Command::new("iperf3");
                client.args(["-c", at, "-n", "1M", "-J"]).args(direction);
                let report: serde_json::Value = serde_json::from_str(&members.vms[0].run(&mut client).ok()?).ok()?;
                report["end"]["sum_received"]["bytes"].as_u64()
            })?;
            anyhow::ensure!(bytes > 0, "{at} {direction:?}: nothing\n{}", lab.circumstances());
            drop(server);
        }
    }
    Ok(())
}
