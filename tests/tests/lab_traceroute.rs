//! The gateway shows itself as a router of the tenant's.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::ping::{Answer, Ping};
use lab::tenants::{DC, HQ, SUBNETS, TENANT_GATEWAY, address};
use lab::wait::SOON;

#[test]
fn the_first_hop_is_the_tenants_gateway_address() -> Result<()> {
    let lab = Lab::start()?;
    for members in lab.world.tenants() {
        for version in [0, 1] {
            first_hop(&lab, &members.vms[0], HQ[version], version)?;
            first_hop(&lab, &members.vms[0], DC[version], version)?;
            first_hop(&lab, &members.hq, SUBNETS[0].addresses[version], version)?;
            first_hop(&lab, &members.dc, SUBNETS[0].addresses[version], version)?;
        }
    }
    Ok(())
}

fn first_hop(lab: &Lab, from: &Node, to: &str, version: usize) -> Result<()> {
    lab.reaches(from, to)?;
    let ping = Ping::to(address(to)).ttl(1);
    // Errors are rate-limited, so not every request has one.
    let told = ping.insist(from, SOON, |_| true)?;
    let expected = Answer::TimeExceeded { from: address(TENANT_GATEWAY[version]) };
    ensure!(told == expected, "{} to {to}: {told:?}\n{}", from.name(), lab.circumstances());
    // One more hop, and it is there.
    lab.answers(from, Ping::to(address(to)).ttl(2))
}
