//! What the numbers of the tables are called.

use super::View;
use crate::api::dissect;
use crate::dataplane::ids::Ids;
use gateway_common::tables::Nexthop;
use gateway_common::template::{ETHERNET, Encapsulation, IPV4, IPV6};
use gateway_common::{ConnectionId, HostId, NexthopId, OriginId, TenantId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names by number, gathered once for a long answer.
pub struct Names<'a> {
    ids: &'a Ids,
    tenants: HashMap<TenantId, Cow<'a, str>>,
    connections: HashMap<ConnectionId, (Cow<'a, str>, &'a str)>,
}

impl<'a> Names<'a> {
    /// Gathers them.
    pub fn new(view: &View<'a>) -> Self {
        Self {
            ids: view.ids,
            tenants: view.numbered_tenants().map(|(id, tenant)| (id, tenant.key())).collect(),
            connections: view
                .numbered_connections()
                .map(|(id, tenant, connection)| (id, (tenant.key(), connection.name.as_str())))
                .collect(),
        }
    }

    /// A tenant's name; its number if the plan has it no longer.
    pub fn tenant(&self, id: TenantId) -> String {
        self.tenants.get(&id).map_or_else(|| format!("#{}", id.0), |name| name.clone().into_owned())
    }

    /// The names of a tenant's connections.
    pub fn connections_of(&self, tenant: &str) -> HashMap<ConnectionId, String> {
        let own = self.connections.iter().filter(|(_, (whose, _))| *whose == tenant);
        own.map(|(id, (_, name))| (*id, (*name).to_owned())).collect()
    }

    /// The names of a connection's tenant and its own; its number if the plan has it no longer.
    pub fn connection(&self, id: ConnectionId) -> (Option<String>, String) {
        match self.connections.get(&id) {
            Some((tenant, connection)) => (Some(tenant.clone().into_owned()), (*connection).to_owned()),
            // A machine of a compute host, by its interface.
            None => match self.ids.connection_name(id) {
                Some((tenant, device)) => (Some(tenant.to_owned()), device.to_owned()),
                None => (None, format!("#{}", id.0)),
            },
        }
    }
}

/// What an origin is.
pub fn origin(ids: &Ids, origin: OriginId) -> String {
    origin_with(
        origin,
        |id| ids.connection_name(id).map(|(_, connection)| connection.to_owned()),
        |id| ids.host_address(id),
    )
}

/// What an origin is, by the given names of connections and addresses of hosts.
pub fn origin_with(
    origin: OriginId,
    connection: impl Fn(ConnectionId) -> Option<String>,
    host: impl Fn(HostId) -> Option<IpAddr>,
) -> String {
    match origin {
        OriginId::COMPARTMENT => "compartment".to_owned(),
        OriginId::GATEWAY => "another gateway".to_owned(),
        OriginId::GATEWAY_ITSELF => "another gateway itself".to_owned(),
        origin => match origin.as_connection() {
            Some(id) => {
                connection(id).map_or_else(|| format!("connection #{}", id.0), |name| format!("connection {name}"))
            }
            None => {
                let id = HostId(origin.0 & !OriginId::host(HostId(0)).0);
                host(id).map_or_else(|| format!("host #{}", id.0), |address| format!("host {address}"))
            }
        },
    }
}

/// What a next hop leads to. `meaning` is what its number stands for, asked only where the next hop itself does not say.
pub fn leads_to<'a>(
    nexthop: &Nexthop,
    meaning: impl Fn() -> &'a str,
    connection: impl Fn(ConnectionId) -> Option<String>,
) -> String {
    match nexthop.kind {
        Nexthop::LOCAL => return "compartment".to_owned(),
        Nexthop::BLACKHOLE => return "nowhere (dropped)".to_owned(),
        Nexthop::GROUP => return format!("one of {} next hops", nexthop.flags),
        _ => {}
    }
    if nexthop.connection != ConnectionId::NONE {
        let id = nexthop.connection;
        let name = connection(id).unwrap_or_else(|| format!("#{}", id.0));
        return match meaning().split('/').collect::<Vec<_>>().as_slice() {
            ["vlan", _, _, _, "all"] => format!("connection {name}, whoever is on the VLAN"),
            ["vlan", _, _, _, address] => format!("connection {name}, {address}"),
            _ => format!("connection {name}"),
        };
    }
    match meaning().split('/').collect::<Vec<_>>().as_slice() {
        ["vm", _, _, mac, pa, ..] => format!("vm {mac} at {pa}"),
        ["gateway", _, pa, ..] => format!("gateway {pa}"),
        ["gateway-itself", _, pa, ..] => format!("gateway {pa} itself"),
        ["hop", address] => format!("{address}, steered"),
        _ => tunnel_end(nexthop).map_or_else(|| "unknown".to_owned(), |address| format!("host {address}")),
    }
}

/// The outer destination in a next hop's header.
fn tunnel_end(nexthop: &Nexthop) -> Option<IpAddr> {
    let bytes: &[u8] = bytemuck::cast_slice(&nexthop.header);
    match Encapsulation::from_number(nexthop.encapsulation)? {
        Encapsulation::Vxlan4 | Encapsulation::Nvgre4 => {
            let octets: [u8; 4] = bytes.get(ETHERNET + IPV4 - 4..ETHERNET + IPV4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        Encapsulation::Vxlan6 | Encapsulation::Nvgre6 => {
            let octets: [u8; 16] = bytes.get(ETHERNET + IPV6 - 16..ETHERNET + IPV6)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// The link-layer address that a next hop's packets are sent to.
pub fn link_destination(nexthop: &Nexthop) -> String {
    dissect::mac(bytemuck::cast_slice(&nexthop.header))
}

/// How people and scripts call a form of header.
pub fn encapsulation(encapsulation: Encapsulation) -> &'static str {
    match encapsulation {
        Encapsulation::Ethernet => "ethernet",
        Encapsulation::Vlan => "vlan",
        Encapsulation::Gre4 => "gre4",
        Encapsulation::Gre4Key => "gre4_key",
        Encapsulation::Gre4Sequence => "gre4_sequence",
        Encapsulation::Gre4KeySequence => "gre4_key_sequence",
        Encapsulation::Gre6 => "gre6",
        Encapsulation::Gre6Key => "gre6_key",
        Encapsulation::Gre6Sequence => "gre6_sequence",
        Encapsulation::Gre6KeySequence => "gre6_key_sequence",
        Encapsulation::Vxlan4 => "vxlan4",
        Encapsulation::Vxlan6 => "vxlan6",
        Encapsulation::Nvgre4 => "nvgre4",
        Encapsulation::Nvgre6 => "nvgre6",
    }
}

/// Next hops' meanings by number, gathered once for a long answer.
pub fn meanings(ids: &Ids) -> HashMap<NexthopId, &str> {
    ids.nexthop_meanings().collect()
}
