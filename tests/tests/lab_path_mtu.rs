//! Packets of every size, and what a sender learns of the path.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::frame::{Mac, ether, icmp4, ip, pattern, udp};
use lab::frame_socket::FrameSocket;
use lab::ping::{Answer, Fragmentation, Ping};
use lab::tenants::{DC, GATEWAY_PA, HOST_PA, HQ, SUBNETS, TENANT_GATEWAY, address};
use lab::wait::SOON;

/// What a GRE header with key and an IPv4 header leave of 1500 bytes.
const TUNNEL_MTU: usize = 1472;

#[test]
fn every_size_across_the_mtu_passes_or_is_told_what_fits() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    for (version, to) in HQ.into_iter().enumerate() {
        lab.reaches(vm, to)?;
        for length in 1440..=1500 {
            let ping = Ping::to(address(to)).length(length).fragmentation(Fragmentation::Probing);
            if length <= TUNNEL_MTU {
                lab.answers(vm, ping)?;
                continue;
            }
            // Errors are rate-limited, so not every request has one.
            let told = ping.insist(vm, SOON, |_| true)?;
            let expected = Answer::TooBig { from: Some(address(TENANT_GATEWAY[version])), mtu: TUNNEL_MTU as u32 };
            ensure!(told == expected, "{length} bytes to {to}: {told:?}");
        }
    }
    Ok(())
}

#[test]
fn a_vm_learns_the_path_mtu_and_keeps_to_it() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    for to in HQ {
        lab.reaches(vm, to)?;
        let ping = Ping::to(address(to)).length(1500).fragmentation(Fragmentation::Forbidden);
        let learned = ping.insist(vm, SOON, |answer| matches!(answer, Answer::TooBig { from: None, .. }))?;
        ensure!(learned == Answer::TooBig { from: None, mtu: TUNNEL_MTU as u32 }, "{to}: {learned:?}");
    }
    Ok(())
}

#[test]
fn full_size_packets_pass_where_the_path_takes_them() -> Result<()> {
    let lab = Lab::start()?;
    let members = &lab.world.contoso;
    let whole = |to: &str| Ping::to(address(to)).length(1500).fragmentation(Fragmentation::Probing);
    for version in [0, 1] {
        lab.answers(&members.vms[0], whole(DC[version]))?;
        lab.answers(&members.vms[0], whole(SUBNETS[1].addresses[version]))?;
    }
    Ok(())
}

#[test]
fn packets_too_big_without_df_are_fragmented_inside() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    lab.answers(vm, Ping::to(address(HQ[0])).length(1500))
}

#[test]
fn fragments_made_by_the_sender_pass() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    for to in DC {
        lab.answers(vm, Ping::to(address(to)).length(4000))?;
    }
    Ok(())
}

#[test]
fn outer_fragments_are_put_together() -> Result<()> {
    let lab = Lab::start()?;
    let hq = &lab.world.contoso.hq;
    lab.reaches(hq, SUBNETS[0].addresses[0])?;
    // Inner packets as large as the link: the site's router fragments outside.
    hq.ip("link set gre0 mtu 1500\n")?;
    for to in SUBNETS[0].addresses {
        let ping = Ping::to(address(to)).length(1500).fragmentation(Fragmentation::Probing);
        // The reply is too big for the way back by DF's absence alone, so it is fragmented inside (IPv4) or refused (IPv6): counted there.
        if to.contains(':') {
            let before = lab.gateway.tenant("contoso")?.traffic.out_packets;
            ping.send(hq, Duration::from_millis(200))?;
            lab::wait::until(SOON, "the packet to reach the fabric", || {
                lab.gateway.tenant("contoso").ok().filter(|tenant| tenant.traffic.out_packets > before)
            })?;
        } else {
            lab.answers(hq, ping)?;
        }
    }
    Ok(())
}

/// The fabric may have routers, too; here one is played that a frame of the gateway's to its host was too big for.
#[test]
fn a_hosts_smaller_path_mtu_is_learned_and_the_next_daemon_knows_it() -> Result<()> {
    let mut lab = Lab::start()?;
    let hq = Arc::clone(&lab.world.contoso.hq);
    lab.reaches(&hq, SUBNETS[0].addresses[0])?;
    let port = lab.gateway.port("fab0")?;
    let mac: Vec<u8> = port.mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    let (to, from) = (Mac(mac.try_into().map_err(|_| anyhow::anyhow!("{}", port.mac))?), Mac([2, 0, 0, 0, 9, 9]));
    let outer = ip(GATEWAY_PA[0], HOST_PA[0][0]) / udp(50_000, 4789) / pattern(40);
    let error = ether(to, from) / ip("10.10.0.250", GATEWAY_PA[0]) / icmp4(3, 4, 1350) / outer.quote(48);
    FrameSocket::open(&lab.world.hosts[1], "eth0")?.send(&error.build())?;

    // What VXLAN over IPv4 leaves of the path's 1350 bytes.
    let (fits, gateway) = (1300, address(TENANT_GATEWAY[0]));
    let ping = Ping::to(address(SUBNETS[0].addresses[0])).length(fits + 1).fragmentation(Fragmentation::Probing);
    let is_told = |lab: &Lab| {
        let told = ping.insist(&hq, SOON, |answer| matches!(answer, Answer::TooBig { .. }))?;
        let expected = Answer::TooBig { from: Some(gateway), mtu: fits as u32 };
        ensure!(told == expected, "{told:?}\n{}", lab.circumstances());
        lab.answers(&hq, ping.length(fits))
    };
    is_told(&lab)?;
    lab.gateway.stop()?;
    lab.gateway.launch()?;
    lab.gateway.await_answer()?;
    is_told(&lab)?;
    let shown = lab.gateway.ctl(&["show", "path-mtus"])?;
    ensure!(shown.contains(HOST_PA[0][0]) && shown.contains("1350"), "{shown}");
    Ok(())
}

#[test]
fn a_tunnels_smaller_path_mtu_is_learned_from_routers_outside() -> Result<()> {
    let lab = Lab::start()?;
    let vm = &lab.world.contoso.vms[0];
    lab.reaches(vm, HQ[0])?;
    // From now on the ToR refuses what is longer on its link to the site, and tells the VIP.
    lab.world.tor.ip("link set contoso-hq mtu 1400\n")?;
    for (version, to) in HQ.into_iter().enumerate() {
        let ping = Ping::to(address(to)).length(TUNNEL_MTU).fragmentation(Fragmentation::Probing);
        let told = ping.insist(vm, SOON, |answer| matches!(answer, Answer::TooBig { .. }))?;
        let expected = Answer::TooBig { from: Some(address(TENANT_GATEWAY[version])), mtu: 1372 };
        ensure!(told == expected, "to {to}: {told:?}\n{}", lab.circumstances());
        lab.answers(vm, ping.length(1372))?;
    }
    // Another site's tunnel is not meant.
    let other = Ping::to(address(HQ[0])).length(TUNNEL_MTU).fragmentation(Fragmentation::Probing);
    lab.answers(&lab.world.woodgrove.vms[0], other)
}
