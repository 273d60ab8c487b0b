//! Who reaches whom, while both tenants use the same addresses.

use anyhow::Result;
use lab::Lab;
use lab::ping::Ping;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, TENANT_GATEWAY, WOODGROVE, address};
use lab::topology::Members;

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
            let rate = lab::throughput::tcp(from, to, address(at), std::time::Duration::from_millis(300))?;
            anyhow::ensure!(rate > 1e6, "{} to {at}: {rate:.0} bit/s\n{}", from.name(), lab.circumstances());
        }
    }
    Ok(())
}
