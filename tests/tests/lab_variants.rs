//! Every outer form that the fabric and the sites may have.

use anyhow::Result;
use lab::Lab;
use lab::ping::Ping;
use lab::tenants::{DC, HQ, SUBNETS, VIP, address};
use lab::topology::{Encapsulation, Outer, World};
use lab::tunnel::{Kind, Presence};

fn everybody_is_found(world: World) -> Result<Lab> {
    let lab = Lab::start_with(world, |_| {})?;
    for members in lab.world.tenants() {
        for version in [0, 1] {
            lab.finds(&members.vms[0], SUBNETS[1].addresses[version], &members.vms[1])?;
            lab.finds(&members.vms[0], HQ[version], &members.hq)?;
            lab.finds(&members.dc, SUBNETS[0].addresses[version], &members.vms[0])?;
            lab.finds(&members.hq, DC[version], &members.dc)?;
            lab.answers(&members.vms[0], Ping::to(address(HQ[version])).length(1400))?;
        }
    }
    Ok(lab)
}

#[test]
fn vxlan_over_ipv6() -> Result<()> {
    everybody_is_found(World { underlay: Outer::V6, ..World::default() }).map(drop)
}

#[test]
fn nvgre_over_ipv4() -> Result<()> {
    everybody_is_found(World { encapsulation: Encapsulation::Nvgre, ..World::default() }).map(drop)
}

#[test]
fn nvgre_over_ipv6() -> Result<()> {
    everybody_is_found(World { encapsulation: Encapsulation::Nvgre, underlay: Outer::V6, ..World::default() }).map(drop)
}

#[test]
fn gre_over_ipv6_whose_vip_answers_neighbour_discovery() -> Result<()> {
    let lab = everybody_is_found(World { sites: Outer::V6, ..World::default() })?;
    lab.reaches(&lab.world.tor, VIP[1])
}

#[test]
fn gre_without_a_key_and_with_key_zero() -> Result<()> {
    everybody_is_found(World { tunnels: [Kind::gre(None), Kind::gre(Some(0))], ..World::default() }).map(drop)
}

#[test]
fn gre_with_checksums_and_sequence_numbers_from_the_site() -> Result<()> {
    let kind = |key, sequence| Kind::Gre { key: Some(key), checksum: Presence::Present, sequence };
    let tunnels = [kind(100, Presence::Present), kind(200, Presence::Absent)];
    let lab = everybody_is_found(World { tunnels, ..World::default() })?;
    let [contoso, woodgrove] = lab.world.tenants().map(|members| members.tunnel.seen());
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    // The plan asks for sequence numbers where the world has them.
    assert!(load(&contoso.sequenced) > 0 && load(&woodgrove.sequenced) == 0);
    assert_eq!(load(&contoso.wrong) + load(&woodgrove.wrong), 0);
    Ok(())
}
