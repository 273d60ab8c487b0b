//! Who is served: tenants that all have the same addresses, each with a tunnel and a VLAN to its sites, half of them on either seat.

use crate::frame::{Mac, Stack, bytes, ether, gre, ip, ipv4, udp, vlan, vxlan};
use crate::numbered::{FRAME, Flow, MARK_LEN};
use anyhow::{Context, Result};
use gateway_common::tables::GATEWAY_MAC;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Seats, each with a home of the same name; the third gateway is their standby.
pub const SEATS: [&str; 2] = ["GW1", "GW2"];
/// The interfaces of the machine that all traffic comes from and goes to.
pub const FABRIC: &str = "fabric0";
/// Towards the sites.
pub const SITE: &str = "site0";
/// The machine's MAC address, on both.
pub const END_MAC: Mac = Mac([2, 0, 0, 0, 0xbb, 1]);
/// Its address on the fabric: the host of all machines.
pub const HOST: &str = "10.10.0.200";
/// Its address at the rack: the router to all tunnels' far ends.
pub const RACK: &str = "192.0.2.254";
/// The far end of all tunnels.
pub const REMOTE: &str = "203.0.113.20";
/// The routers on every VLAN.
pub const VLAN_ROUTERS: [&str; 2] = ["172.16.0.2", "fd16::2"];
/// Of a tenant's machine, of what is behind its tunnel, and behind its VLAN: in IPv4, in IPv6.
const MACHINE: [&str; 2] = ["10.1.0.10", "fd01::10"];
const BEHIND_TUNNEL: [&str; 2] = ["10.2.0.5", "fd02::5"];
const BEHIND_VLAN: [&str; 2] = ["10.3.0.5", "fd03::5"];
const FIRST_VSID: usize = 5000;
const FIRST_KEY: usize = 70_000;
const FIRST_VLAN: usize = 100;

/// The tenants.
#[derive(Clone, Copy, Debug)]
pub struct Estate {
    /// Connections: two of each tenant.
    pub connections: usize,
}

/// The link of a tenant to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Tunnel,
    Vlan,
}

fn vip(seat: usize) -> String {
    format!("192.0.2.{}", 111 + seat)
}

fn pa(seat: usize) -> String {
    format!("10.10.0.{}", 101 + seat)
}

fn seat_mac(seat: usize) -> Mac {
    Mac([2, 0x5e, 0xa7, 0, 0, seat as u8 + 1])
}

impl Estate {
    fn tenants(self) -> usize {
        self.connections.div_ceil(2)
    }

    /// The seat of a tenant.
    fn seat(tenant: usize) -> usize {
        tenant % SEATS.len()
    }

    /// The seats of a plan.
    pub fn seats() -> Value {
        let seat = |seat: usize| {
            json!({"name": SEATS[seat], "number": seat + 1, "pa": [pa(seat)], "mac": format!("{:?}", seat_mac(seat)),
                   "next_hop": [format!("192.0.2.{}", 101 + seat)]})
        };
        (0..SEATS.len()).map(seat).collect()
    }

    /// The tenants of a plan.
    pub fn plan(self) -> Value {
        (0..self.tenants()).map(tenant).collect()
    }

    /// The flows: one there and one back of every connection.
    pub fn flows(self) -> Result<Vec<Flow>> {
        let links = (0..self.tenants()).flat_map(|tenant| [(tenant, Link::Tunnel), (tenant, Link::Vlan)]);
        let flows = links.take(self.connections).map(|(tenant, link)| flows(tenant, link));
        Ok(flows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Whether a flow's connection is on this seat.
    pub fn is_of(self, flow: usize, seat: usize) -> bool {
        Self::seat(flow / 4) == seat
    }
}

fn tenant(number: usize) -> Value {
    let vsid = FIRST_VSID + number;
    let [ca4, ca6] = MACHINE;
    let vm = |ca: &str| json!({"ca": ca, "mac": "02:00:00:00:01:10", "vsid": vsid, "pa": HOST});
    json!({
        "name": format!("t{number}"), "seat": SEATS[Estate::seat(number)],
        "gateway_addresses": ["10.1.0.1", "fd01::1"],
        "subnets": [{"vsid": vsid, "prefix": "10.1.0.0/24"}, {"vsid": vsid, "prefix": "fd01::/64"}],
        "vms": [vm(ca4), vm(ca6)],
        "connection": [
            {"name": "tunnel", "type": "gre", "vip": vip(Estate::seat(number)), "remote": REMOTE, "key": FIRST_KEY + number,
             "routes": [{"destination": "10.2.0.0/24"}, {"destination": "fd02::/64"}]},
            {"name": "vlan", "type": "l3", "port": "site", "vlan": FIRST_VLAN + number,
             "addresses": ["172.16.0.1/24", "fd16::1/64"],
             "routes": [{"destination": "10.3.0.0/24", "next_hop": VLAN_ROUTERS[0]},
                        {"destination": "fd03::/64", "next_hop": VLAN_ROUTERS[1]}]},
        ],
    })
}

/// The flows of one connection: from the site, and back. Every other tenant's are IPv6.
fn flows(tenant: usize, link: Link) -> Result<[Flow; 2]> {
    let seat = Estate::seat(tenant);
    let version = tenant / SEATS.len() % 2;
    let far = if link == Link::Tunnel { BEHIND_TUNNEL } else { BEHIND_VLAN };
    let (machine, far): (IpAddr, IpAddr) = (MACHINE[version].parse()?, far[version].parse()?);
    let (vsid, key, tag) = (FIRST_VSID + tenant, (FIRST_KEY + tenant) as u32, (FIRST_VLAN + tenant) as u16);
    let seat_mac = seat_mac(seat);
    let up = ether(seat_mac, END_MAC);
    let up = match link {
        Link::Tunnel => filled(up / ipv4(REMOTE, vip(seat).as_str()) / gre().key(key), far, machine)?,
        Link::Vlan => filled(up / vlan(tag), far, machine)?,
    };
    let down = ether(seat_mac, END_MAC)
        / ipv4(HOST, pa(seat).as_str())
        / udp(50_000, 4789).no_checksum()
        / vxlan(vsid as u32)
        / ether(Mac(GATEWAY_MAC), Mac([2, 0, 0, 0, 1, 0x10]));
    let vni = ((vsid as u32) << 8).to_be_bytes();
    let is_tunnel = link == Link::Tunnel;
    let ethertype = if version == 0 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let [high, low] = tag.to_be_bytes();
    let tagged = [high, low, ethertype[0], ethertype[1]];
    Ok([
        Flow { frame: up, from: SITE, whose: vni },
        Flow {
            frame: filled(down, machine, far)?,
            from: FABRIC,
            whose: if is_tunnel { key.to_be_bytes() } else { tagged },
        },
    ])
}

/// The frame around a packet of no protocol that anybody checks, filled up to its size.
fn filled(around: Stack, source: IpAddr, destination: IpAddr) -> Result<Vec<u8>> {
    let inner = |len: usize| (around.clone() / ip(source, destination) / bytes(vec![0; len])).build();
    let rest = FRAME.checked_sub(inner(0).len()).filter(|rest| *rest >= MARK_LEN).context("no room for a mark")?;
    Ok(inner(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_connection_has_a_flow_there_and_back_that_is_told_from_all_others() -> Result<()> {
        let estate = Estate { connections: 1000 };
        let flows = estate.flows()?;
        assert_eq!(flows.len(), 2000);
        assert!(flows.iter().all(|flow| flow.frame.len() == FRAME));
        let heads: HashSet<&[u8]> = flows.iter().map(|flow| &flow.frame[..FRAME - MARK_LEN]).collect();
        assert_eq!(heads.len(), flows.len());
        assert_eq!((0..flows.len()).filter(|flow| estate.is_of(*flow, 0)).count(), 1000);
        Ok(())
    }
}
