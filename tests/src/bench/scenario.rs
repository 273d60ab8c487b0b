//! What the gateway is told for a row, and the flows that go through it.
//!
//! Every tenant has VMs near (on the host that traffic may come from) and far (on the host that it may go to), and a site with the rest of
//! its routes. Policers, anti-spoofing and counters are always on; the policers' rates are beyond what any rig reaches.

use super::frames::{Endpoints, Form};
use anyhow::Result;
use gateway_user::dataplane::world::{ConnectionName, Hop, Mac, Neighbour, PortState};
use gateway_user::dataplane::{World, processors};
use gateway_user::plan::{Plan, parse};
use nix::net::if_::if_nametoindex;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// MAC address of a forwarder's ports.
pub const PORT_MAC: Mac = [2, 0, 0, 0, 0xaa, 1];
/// MAC address of all that is around it.
pub const HOST_MAC: Mac = [2, 0, 0, 0, 0xbb, 1];
/// The gateway's provider address.
pub const GATEWAY_PA: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
/// The host that traffic may come from.
pub const NEAR_PA: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 11);
/// The host that it may go to.
pub const FAR_PA: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 12);
/// The gateway's end of the tunnels.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Their other end.
pub const SITE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// The router on the VLAN.
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const VLAN: u32 = 1001;
const FIRST_KEY: u32 = 100;
const FIRST_VSID: u32 = 5000;
/// Of a steering rule.
const IKE: u32 = 500;
/// Kilobits a second, each way of every connection: metered, never reached.
const RATE: u32 = 100_000_000;
/// VMs of a tenant where flows need not be told apart by them.
const VMS: usize = 16;
/// Host addresses that are used of a site's /24.
const HOSTS: usize = 250;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a site's tunnel to a host.
    GreToVxlan,
    /// From a host to a site's tunnel.
    VxlanToGre,
    /// From a site's VLAN to a host.
    VlanToVxlan,
    /// From host to host.
    HostToHost,
    /// Through a mux, to a gateway.
    Steer,
}

impl Way {
    /// Its name in a row's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GreToVxlan => "gre-to-vxlan",
            Self::VxlanToGre => "vxlan-to-gre",
            Self::VlanToVxlan => "vlan-to-vxlan",
            Self::HostToHost => "host-to-host",
            Self::Steer => "steer",
        }
    }

    /// How frames come in.
    pub const fn form(self) -> Form {
        match self {
            Self::GreToVxlan => Form::Gre,
            Self::VxlanToGre | Self::HostToHost => Form::Vxlan,
            Self::VlanToVxlan => Form::Vlan,
            Self::Steer => Form::Plain,
        }
    }

    /// How they leave.
    pub const fn leaves_as(self) -> Form {
        match self {
            Self::GreToVxlan | Self::VlanToVxlan | Self::HostToHost => Form::Vxlan,
            Self::VxlanToGre => Form::Gre,
            Self::Steer => Form::Plain,
        }
    }

    const fn is_from_fabric(self) -> bool {
        matches!(self, Self::VxlanToGre | Self::HostToHost)
    }

    const fn is_to_fabric(self) -> bool {
        matches!(self, Self::GreToVxlan | Self::VlanToVxlan | Self::HostToHost)
    }
}

/// A gateway's tables and the flows through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// From where to where.
    pub way: Way,
    /// Flows, over all tenants.
    pub flows: usize,
    /// Tenants.
    pub tenants: usize,
    /// Routes, over all tenants, VMs included.
    pub routes: usize,
}

impl Scenario {
    /// VMs of each tenant on each of the two hosts.
    fn vms(&self) -> usize {
        let squares = (self.flows.div_ceil(self.tenants) as f64).sqrt().ceil() as usize;
        let limit = if self.way == Way::HostToHost { 1000 } else { VMS };
        squares.clamp(1, limit)
    }

    /// Prefixes behind each tenant's site.
    fn prefixes(&self) -> usize {
        (self.routes / self.tenants).saturating_sub(2 * self.vms() + 1).max(1)
    }

    /// The plan, as text.
    pub fn text(&self) -> String {
        let role = |fabric| if fabric { "fabric" } else { "site" };
        let mut text = format!(
            "[gateway]\nname = 'gw1'\nencapsulation = 'vxlan'\npa = ['{GATEWAY_PA}']\n\
             [[port]]\nname = 'in0'\nrole = '{}'\n[[port]]\nname = 'out0'\nrole = '{}'\n",
            role(self.way.is_from_fabric()),
            if self.way == Way::HostToHost { "both" } else { role(self.way.is_to_fabric()) },
        );
        // Writing to a string does not fail.
        if self.way == Way::Steer {
            for rule in 0..self.flows {
                let _ = writeln!(
                    text,
                    "[[steer]]\nvip = '{VIP}'\nprotocol = 'udp'\nport = {IKE}\nsource = '{}'\ngateway = '{FAR_PA}'",
                    customer(rule)
                );
            }
            return text;
        }
        for tenant in 0..self.tenants {
            self.tenant(tenant, &mut text);
        }
        text
    }

    fn tenant(&self, tenant: usize, text: &mut String) {
        let vsid = FIRST_VSID as usize + tenant;
        let _ = write!(
            text,
            "[[tenant]]\nname = 't{tenant}'\nsubnets = [ {{ vsid = {vsid}, prefix = '10.0.0.0/8' }} ]\nvms = [\n"
        );
        for (pa, side) in [(NEAR_PA, near as fn(usize) -> Ipv4Addr), (FAR_PA, far)] {
            for vm in 0..self.vms() {
                let ca = side(vm);
                let [.., high, low] = ca.octets();
                let _ = writeln!(
                    text,
                    "  {{ ca = '{ca}', mac = '02:00:01:00:{high:02x}:{low:02x}', vsid = {vsid}, pa = '{pa}' }},"
                );
            }
        }
        let _ = write!(text, "]\n[[tenant.connection]]\nname = 'site'\n");
        let _ = match self.way {
            Way::VlanToVxlan => {
                write!(text, "type = 'l3'\nport = 'in0'\nvlan = {VLAN}\naddresses = ['172.16.0.1/24']\n")
            }
            _ => {
                let key = FIRST_KEY as usize + tenant;
                write!(text, "type = 'gre'\nvip = '{VIP}'\nremote = '{SITE}'\nkey = {key}\n")
            }
        };
        let by = if self.way == Way::VlanToVxlan { format!(", next_hop = '{ROUTER}'") } else { String::new() };
        let _ = write!(text, "inbound_kbps = {RATE}\noutbound_kbps = {RATE}\nroutes = [\n");
        for prefix in 0..self.prefixes() {
            let _ = writeln!(text, "  {{ destination = '{}/24'{by} }},", Ipv4Addr::from(site_prefix(prefix)));
        }
        text.push_str("]\n");
    }

    /// The plan.
    pub fn plan(&self) -> Result<Plan> {
        parse(&self.text(), "bench").map_err(|errors| anyhow::anyhow!("{errors}"))
    }

    /// The flows, tenant after tenant in turn.
    pub fn endpoints(&self) -> Vec<Endpoints> {
        (0..self.flows).map(|flow| self.flow(flow % self.tenants, flow / self.tenants)).collect()
    }

    fn flow(&self, tenant: usize, flow: usize) -> Endpoints {
        let vms = self.vms();
        let at_site = || {
            // A step that meets all prefixes, and neighbours late.
            let prefix = flow.wrapping_mul(7919) % self.prefixes();
            let host = 1 + flow / self.prefixes() % HOSTS;
            Ipv4Addr::from(site_prefix(prefix) + host as u32)
        };
        let key = FIRST_KEY + tenant as u32;
        let vni = (FIRST_VSID + tenant as u32) << 8;
        match self.way {
            Way::GreToVxlan => Endpoints { key, source: at_site(), destination: far(flow % vms) },
            Way::VlanToVxlan => Endpoints { key: VLAN << 16 | 0x0800, source: at_site(), destination: far(flow % vms) },
            Way::VxlanToGre => Endpoints { key: vni, source: near(flow % vms), destination: at_site() },
            Way::HostToHost => Endpoints { key: vni, source: near(flow % vms), destination: far(flow / vms % vms) },
            Way::Steer => Endpoints { key: IKE << 16 | IKE, source: customer(flow), destination: VIP },
        }
    }

    /// The host around the gateway. To be asked for in the gateway's network.
    pub fn world(&self) -> Result<World> {
        let port = |name: &str| -> Result<PortState> {
            Ok(PortState { ifindex: if_nametoindex(name)?, mac: PORT_MAC, mtu: 1600 })
        };
        let (entry, exit) = (port("in0")?, port("out0")?);
        let hop = |port: PortState| Hop { ifindex: port.ifindex, destination: HOST_MAC, source: PORT_MAC, mtu: 1600 };
        let fabric = if self.way.is_to_fabric() { exit } else { entry };
        let near = if self.way.is_from_fabric() { entry } else { fabric };
        let site = if self.way.is_to_fabric() { entry } else { exit };
        let far = if self.way == Way::Steer { exit } else { fabric };
        let mut hops =
            HashMap::from([(NEAR_PA.into(), hop(near)), (FAR_PA.into(), hop(far)), (SITE.into(), hop(site))]);
        if self.way == Way::Steer {
            hops.extend((0..self.flows).map(|rule| (customer(rule).into(), hop(entry))));
        }
        let connection = ConnectionName { tenant: "t0".into(), connection: "site".into() };
        let router = Neighbour { connection, address: ROUTER.into() };
        Ok(World {
            ports: BTreeMap::from([("in0".to_owned(), entry), ("out0".to_owned(), exit)]),
            hops,
            neighbours: HashMap::from([(router, HOST_MAC)]),
            processors: processors(),
            ..World::default()
        })
    }
}

/// A VM on the near host.
fn near(vm: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0001 + vm as u32)
}

/// A VM on the far host.
pub fn far(vm: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a02_0001 + vm as u32)
}

/// A site of a mux.
pub fn customer(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x3c00_0001 + number as u32)
}

/// A prefix behind a tenant's site: 20.0.0.0/24 and on.
fn site_prefix(number: usize) -> u32 {
    0x1400_0000 + ((number as u32) << 8)
}

/// A MAC address as text.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_scenario_is_a_good_plan_with_as_many_flows_as_it_says() {
        for way in [Way::GreToVxlan, Way::VxlanToGre, Way::VlanToVxlan, Way::HostToHost, Way::Steer] {
            for (flows, tenants, routes) in [(1, 1, 100), (1000, 1, 1000), (2000, 100, 5000)] {
                if tenants > 1 && matches!(way, Way::VlanToVxlan | Way::Steer) {
                    continue;
                }
                let scenario = Scenario { way, flows, tenants, routes };
                let plan = scenario.plan().unwrap_or_else(|error| panic!("{scenario:?}: {error:#}"));
                if way != Way::Steer {
                    assert_eq!(plan.tenants.len(), tenants);
                    let tenant = &plan.tenants[0];
                    let counted = tenant.vms.len() + tenant.connections[0].routes.len() + 1;
                    assert_eq!(counted, routes / tenants, "{scenario:?}");
                }
                let keys: HashSet<_> =
                    scenario.endpoints().iter().map(|flow| (flow.key, flow.source, flow.destination)).collect();
                assert_eq!(keys.len(), flows, "{scenario:?}");
            }
        }
    }
}
