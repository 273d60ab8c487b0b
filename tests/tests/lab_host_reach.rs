//! Machines behind compute hosts of ours: who reaches whom.

use anyhow::Result;
use lab::compute::{Compute, Place};
use lab::ping::Ping;
use lab::tenants::{HQ, SUBNETS, address};
use lab::topology::World;

/// In the same subnet as the first usual machine: on its host, and on the other one.
const NEIGHBOURS: [Place; 2] =
    [Place { tenant: 0, subnet: 0, host: 0, number: 6 }, Place { tenant: 0, subnet: 0, host: 1, number: 7 }];

#[test]
fn machines_find_each_other_across_hosts_and_subnets() -> Result<()> {
    let compute = Compute::start_with(World::default(), &NEIGHBOURS)?;
    let [near, far] = &compute.more[..] else { unreachable!("there are two") };
    for version in [0, 1] {
        for tenant in [0, 1] {
            let [one, other] = [0, 1].map(|subnet| compute.vm(tenant, subnet));
            compute.finds(one, SUBNETS[1].addresses[version], other)?;
            compute.finds(other, SUBNETS[0].addresses[version], one)?;
        }
        let first = compute.vm(0, 0);
        compute.finds(first, &near.place.addresses()[version], &near.node)?;
        compute.finds(first, &far.place.addresses()[version], &far.node)?;
        compute.finds(&far.node, &near.place.addresses()[version], &near.node)?;
        compute.finds(&near.node, SUBNETS[1].addresses[version], compute.vm(0, 1))?;
        compute.finds(&far.node, SUBNETS[1].addresses[version], compute.vm(0, 1))?;
    }
    Ok(())
}

#[test]
fn a_machine_and_its_site_find_each_other_by_way_of_the_gateway() -> Result<()> {
    let compute = Compute::start()?;
    for members in compute.lab.world.tenants() {
        for version in [0, 1] {
            compute.finds(&members.vms[0], HQ[version], &members.hq)?;
            compute.finds(&members.hq, SUBNETS[1].addresses[version], &members.vms[1])?;
        }
    }
    Ok(())
}

#[test]
fn the_subnets_router_answers_and_is_a_hop() -> Result<()> {
    let compute = Compute::start()?;
    for (subnet, other) in [(0, 1), (1, 0)] {
        for version in [0, 1] {
            compute.answers(compute.vm(0, subnet), Ping::to(address(SUBNETS[subnet].router[version])))?;
            compute.answers(compute.vm(0, subnet), Ping::to(address(SUBNETS[other].router[version])))?;
        }
    }
    Ok(())
}
