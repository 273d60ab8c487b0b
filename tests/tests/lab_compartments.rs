//! A tenant's compartment on the gateway: what its kernel serves.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::tenants::{CONTOSO, DC, TENANT_GATEWAY, address};
use lab::topology::Members;
use nix::sched::{CloneFlags, setns};

/// Listens in a tenant's compartment.
fn service(lab: &Lab, members: &Members, at: &str) -> Result<TcpListener> {
    let tenant = lab.gateway.tenant(members.tenant.name)?;
    let compartment = tenant.compartment.context("the tenant has no compartment")?;
    lab.gateway.node().within(|| {
        let path = format!("/run/netns/{compartment}");
        setns(File::open(&path).context(path)?, CloneFlags::CLONE_NEWNET)?;
        Ok(TcpListener::bind(SocketAddr::new(address(at), 0))?)
    })
}

#[test]
fn a_tcp_service_is_reached_from_every_place_of_its_tenant() -> Result<()> {
    let lab = Lab::start()?;
    for members in lab.world.tenants() {
        for at in TENANT_GATEWAY {
            for (node, _) in members.all() {
                lab.reaches(node, at)?;
                let listener = service(&lab, members, at)?;
                lab::throughput::carry_to(node, listener, 1 << 18)
                    .with_context(|| format!("{} to {at}\n{}", node.name(), lab.circumstances()))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_tenant_does_not_reach_the_other_ones_service() -> Result<()> {
    let lab = Lab::start()?;
    let listener = service(&lab, &lab.world.contoso, TENANT_GATEWAY[0])?;
    let hq = &lab.world.woodgrove.hq;
    lab.reaches(hq, TENANT_GATEWAY[0])?;
    let outcome = lab::throughput::carry_to(hq, listener, 1);
    ensure!(outcome.is_err(), "the other tenant's service is reached");
    Ok(())
}

#[test]
fn a_service_on_the_vlan_is_reached_by_the_peer() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    lab.reaches(&members.dc, CONTOSO.vlan_gateway[0])?;
    lab.reaches(&members.dc, DC[0])?;
    let listener = service(&lab, members, CONTOSO.vlan_gateway[0])?;
    lab::throughput::carry_to(&members.dc, listener, 1 << 18).with_context(|| lab.circumstances())
}
