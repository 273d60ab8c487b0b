//! The plan that the lab's gateway runs by, and changes to it.

use std::fmt;

use crate::tenants::{DC_PREFIXES, GATEWAY_PA, HOST_PA, HQ_PREFIXES, SUBNETS, TENANT_GATEWAY, TENANTS, Tenant, VIP};
use crate::topology::{Encapsulation, World};
use crate::tunnel::{Kind, Presence};

/// A plan, as the text of its file is made from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan(toml::Table);

impl Plan {
    /// The plan that fits a world: both tenants, each with its GRE site `hq` and its L3 site `dc`.
    pub fn of(world: &World) -> Self {
        let encapsulation = match world.encapsulation {
            Encapsulation::Vxlan => "vxlan",
            Encapsulation::Nvgre => "nvgre",
        };
        let mut text = format!(
            "
            port = [ {{ name = 'fab0', role = 'fabric' }}, {{ name = 'tor0', role = 'site' }} ]
            [gateway]
            name = 'gw1'
            encapsulation = '{encapsulation}'
            pa = {GATEWAY_PA:?}
            "
        );
        for (tenant, kind) in TENANTS.iter().zip(world.tunnels) {
            text += &tenant_text(tenant, world, kind);
        }
        Self(text.parse().unwrap_or_else(|error| panic!("the lab's plan is no TOML: {error}\n{text}")))
    }

    /// The table of a part at the top: `gateway`.
    pub fn gateway(&mut self) -> &mut toml::Table {
        self.0["gateway"].as_table_mut().unwrap_or_else(|| unreachable!("made above"))
    }

    /// A tenant.
    pub fn tenant(&mut self, name: &str) -> &mut toml::Table {
        named(&mut self.0, "tenant", name)
    }

    /// A connection of a tenant.
    pub fn connection(&mut self, tenant: &str, name: &str) -> &mut toml::Table {
        named(self.tenant(tenant), "connection", name)
    }

    /// Puts a table at the top, such as `tor`, given as TOML.
    pub fn set(&mut self, key: &str, table: &str) {
        let table: toml::Table = table.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{table}"));
        self.0.insert(key.to_owned(), table.into());
    }

    /// Takes what stands at the top away.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Adds an entry to a list at the top, such as `steer` or `port`, given as TOML.
    pub fn add(&mut self, list: &str, entry: &str) {
        let entry: toml::Table = entry.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{entry}"));
        let list = self.0.entry(list).or_insert_with(|| toml::Value::Array(Vec::new()));
        list.as_array_mut().unwrap_or_else(|| panic!("not a list")).push(entry.into());
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

fn named<'a>(table: &'a mut toml::Table, list: &str, name: &str) -> &'a mut toml::Table {
    table
        .get_mut(list)
        .and_then(toml::Value::as_array_mut)
        .and_then(|all| {
            all.iter_mut().filter_map(toml::Value::as_table_mut).find(|it| it["name"].as_str() == Some(name))
        })
        .unwrap_or_else(|| panic!("the lab's plan has no {list} {name}"))
}

fn tenant_text(tenant: &Tenant, world: &World, kind: Kind) -> String {
    let (mut subnets, mut vms) = (String::new(), String::new());
    for (subnet, vsid) in SUBNETS.iter().zip(tenant.vsids) {
        let pa = world.underlay.of(HOST_PA[subnet.host]);
        for prefix in subnet.prefixes {
            subnets += &format!("{{ vsid = {vsid}, prefix = '{prefix}' }}, ");
        }
        for ca in subnet.addresses {
            vms += &format!("{{ ca = '{ca}', mac = '{}', vsid = {vsid}, pa = '{pa}' }}, ", subnet.mac);
        }
    }
    let gre = match kind {
        Kind::Gre { key, sequence, .. } => {
            let key = key.map_or(String::new(), |key| format!("key = {key}"));
            format!("{key}\nsequence = {}", sequence == Presence::Present)
        }
        Kind::Nvgre { .. } => panic!("a site does not speak NVGRE"),
    };
    let (vip, remote) = (world.sites.of(VIP), world.sites.of(tenant.remote));
    let addresses = [format!("{}/24", tenant.vlan_gateway[0]), format!("{}/64", tenant.vlan_gateway[1])];
    format!(
        "
        [[tenant]]
        name = '{}'
        gateway_subnet = '10.1.255.0/29'
        gateway_addresses = {TENANT_GATEWAY:?}
        subnets = [ {subnets} ]
        vms = [ {vms} ]

        [[tenant.connection]]
        name = 'hq'
        type = 'gre'
        vip = '{vip}'
        remote = '{remote}'
        {gre}
        routes = [ {{ destination = '{}', metric = 10 }}, {{ destination = '{}', metric = 10 }} ]

        [[tenant.connection]]
        name = 'dc'
        type = 'l3'
        port = 'tor0'
        vlan = {}
        addresses = {addresses:?}
        peers = {:?}
        routes = [
            {{ destination = '{}', next_hop = '{}', metric = 10 }},
            {{ destination = '{}', next_hop = '{}', metric = 10 }},
        ]
        ",
        tenant.name,
        HQ_PREFIXES[0],
        HQ_PREFIXES[1],
        tenant.vlan,
        tenant.vlan_peer,
        DC_PREFIXES[0],
        tenant.vlan_peer[0],
        DC_PREFIXES[1],
        tenant.vlan_peer[1],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_takes_the_plan() {
        let other = World {
            encapsulation: Encapsulation::Nvgre,
            underlay: crate::topology::Outer::V6,
            sites: crate::topology::Outer::V6,
            tunnels: [Kind::gre(None), Kind::gre(Some(0))],
            ..World::default()
        };
        for world in [World::default(), other] {
            let text = Plan::of(&world).to_string();
            if let Err(errors) = gateway_user::plan::parse(&text, "plan") {
                panic!("{errors}\n{text}");
            }
        }
    }

    #[test]
    fn a_connection_is_changed_in_place() {
        let mut plan = Plan::of(&World::default());
        plan.connection("contoso", "hq").insert("enabled".into(), false.into());
        assert_eq!(plan.to_string().matches("enabled = false").count(), 1);
        assert_ne!(plan, Plan::of(&World::default()));
    }
}
