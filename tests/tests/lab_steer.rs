//! The mux's stage: what a site sends to a shared VIP reaches the gateway that a rule names, and the answer comes from the VIP.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::tenants::{CONTOSO, GATEWAY_PA, HOST_PA, WOODGROVE, address};
use lab::topology::World;

const SHARED: &str = "198.51.100.20";

#[test]
fn a_site_and_the_gateway_of_its_rule_talk_by_the_shared_vip() -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| {
        plan.add(
            "steer",
            &format!(
                "vip = '{SHARED}'\nprotocol = 'udp'\nport = 500\nsource = '{}'\ngateway = '{}'",
                CONTOSO.remote[0], HOST_PA[0][0]
            ),
        );
    })?;
    // A compute host stands for the gateway that holds the connection; its answers leave by the mux.
    let holder = &lab.world.hosts[0];
    holder.ip(&format!("route add 203.0.113.0/24 via {}\n", GATEWAY_PA[0]))?;
    let service = holder.within(|| UdpSocket::bind(SocketAddr::new(address(HOST_PA[0][0]), 500)))?;
    service.set_read_timeout(Some(Duration::from_millis(200)))?;
    let ask = |site: &lab::node::Node, from: &str| -> Result<UdpSocket> {
        let socket = site.within(|| UdpSocket::bind(SocketAddr::new(address(from), 500)))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(socket)
    };
    let site = ask(&lab.world.contoso.hq, CONTOSO.remote[0])?;
    let mut buffer = [0u8; 64];
    let arrived = lab::wait::until(lab::wait::SOON, "the question to arrive", || {
        site.send_to(b"question", (SHARED, 500)).ok()?;
        service.recv_from(&mut buffer).ok()
    })
    .with_context(|| lab.circumstances())?;
    ensure!(arrived.1 == SocketAddr::new(address(CONTOSO.remote[0]), 500), "it seems to come from {}", arrived.1);
    let answer = lab::wait::until(lab::wait::SOON, "the answer to arrive", || {
        service.send_to(b"answer", arrived.1).ok()?;
        site.recv_from(&mut buffer).ok()
    })
    .with_context(|| lab.circumstances())?;
    ensure!(answer.1 == SocketAddr::new(address(SHARED), 500), "the answer comes from {}", answer.1);
    // A site without a rule is not let to anybody.
    let stranger = ask(&lab.world.woodgrove.hq, WOODGROVE.remote[0])?;
    stranger.send_to(b"question", (SHARED, 500))?;
    lab::wait::until(lab::wait::SOON, "the drop to be counted", || {
        (lab.gateway.dropped("steer_unmatched").ok()? > 0).then_some(())
    })?;
    while let Ok((_, from)) = service.recv_from(&mut buffer) {
        ensure!(from.ip() == address(CONTOSO.remote[0]), "{from} got through");
    }
    Ok(())
}
