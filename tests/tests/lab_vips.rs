//! Addresses that no kernel of the gateway's machine owns.

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::frame_socket::FrameSocket;
use lab::tenants::{CONTOSO, GATEWAY_PA, SUBNETS, TOR, VIP, address};
use lab::tunnel::internet_checksum;
use lab::wait::SOON;

#[test]
fn a_vip_answers_arp_and_ping_from_the_tor() -> Result<()> {
    let lab = Lab::start()?;
    lab.reaches(&lab.world.tor, VIP[0])?;
    let neighbour = lab.world.tor.sh(&format!("ip neighbour show {}", VIP[0]))?;
    let own = lab.gateway.node().sh("cat /sys/class/net/tor0/address")?;
    ensure!(neighbour.contains(own.trim()), "tor0 has {own}, the ToR knows: {neighbour}");
    Ok(())
}

#[test]
fn a_vip_answers_a_site() -> Result<()> {
    let lab = Lab::start()?;
    lab.reaches(&lab.world.contoso.hq, VIP[0])
}

#[test]
fn what_is_not_the_gateways_goes_to_the_hosts_own_stack() -> Result<()> {
    let lab = Lab::start()?;
    lab.reaches(&lab.world.hosts[0], GATEWAY_PA[0])?;
    lab.reaches(&lab.world.hosts[0], GATEWAY_PA[1])?;
    for tor in TOR {
        lab.reaches(lab.gateway.node(), tor)?;
    }
    Ok(())
}

/// Cisco's keepalive: a GRE packet whose payload is the answer, ready to be sent back.
#[test]
fn a_gre_keepalive_is_returned() -> Result<()> {
    let lab = Lab::start()?;
    let hq = &lab.world.contoso.hq;
    lab.reaches(hq, SUBNETS[0].addresses[0])?;
    let (site, vip) = (CONTOSO.remote[0], VIP[0]);
    let key = CONTOSO.key.to_be_bytes();
    let gre = |protocol: [u8; 2]| [&[0x20, 0], &protocol[..], &key].concat();
    let inner = packet(vip, site, &gre([0, 0]))?;
    let outer = packet(site, vip, &[gre([8, 0]), inner.clone()].concat())?;
    let wire = FrameSocket::open(hq, "eth0")?;
    let router =
        hq.sh(&format!("ip neighbour show {} | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'", CONTOSO.remote_router[0]))?;
    let own = hq.sh("cat /sys/class/net/eth0/address")?;
    wire.send(&[mac(&router)?, mac(&own)?, vec![8, 0], outer].concat())?;
    let back =
        wire.expect(SOON, |frame| frame.get(14 + 9) == Some(&47) && frame.get(14 + 20 + 2..14 + 24) == Some(&[0, 0]))?;
    let back = back.with_context(|| format!("the keepalive did not come back\n{}", lab.circumstances()))?;
    ensure!(back.get(14 + 12..14 + 20) == inner.get(12..20), "it came back with other addresses: {back:02x?}");
    ensure!(back.get(14 + 20..) == inner.get(20..), "it came back with another payload: {back:02x?}");
    Ok(())
}

fn mac(text: &str) -> Result<Vec<u8>> {
    text.trim().split(':').map(|byte| Ok(u8::from_str_radix(byte, 16)?)).collect()
}

fn packet(from: &str, to: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let octets = |text| match address(text) {
        std::net::IpAddr::V4(address) => address.octets(),
        std::net::IpAddr::V6(_) => unreachable!("these are IPv4"),
    };
    let length = u16::try_from(20 + payload.len())?.to_be_bytes();
    let mut header = [&[0x45, 0], &length[..], &[0, 1, 0, 0, 64, 47, 0, 0], &octets(from), &octets(to)].concat();
    let sum = internet_checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    header.extend(payload);
    Ok(header)
}
