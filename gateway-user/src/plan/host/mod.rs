//! What a compute host is to do: its fabric ports, its tenants' machines, here and elsewhere, and the ways to their sites.
//!
//! | to change | go to |
//! |---|---|
//! | a key of the plan | here, then `read` (TOML) |
//! | what parts of a plan must agree on | `check` |

mod check;
mod read;

use super::document::Document;
use super::locate::{Locator, Missing};
use super::model::{self, Encapsulation, Gateway, Plan, Port, PortMode, PortRole};
use super::report::{PlanErrors, Problems};
use super::values::{Dual, Mac, Mtu, Name, PortName, Prefix, Vsid};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;

/// Everything one compute host is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft")]
pub struct HostPlan {
    /// The host itself.
    pub host: Host,
    /// Its interfaces to the fabric.
    #[serde(rename = "port", default, skip_serializing_if = "<[_]>::is_empty")]
    pub ports: Box<[HostPort]>,
    /// The tenants that have machines on it.
    #[serde(rename = "tenant", default, skip_serializing_if = "<[_]>::is_empty")]
    pub tenants: Box<[HostTenant]>,
}

/// A plan whose parts are good, each by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[serde(default)]
    host: Option<Host>,
    #[serde(rename = "port", default)]
    ports: Box<[HostPort]>,
    #[serde(rename = "tenant", default)]
    tenants: Box<[HostTenant]>,
}

impl TryFrom<Draft> for HostPlan {
    type Error = PlanErrors;

    fn try_from(draft: Draft) -> Result<Self, PlanErrors> {
        let mut problems = Problems::default();
        check::check(&draft, &Missing::default(), &mut problems);
        match (draft.host, problems.is_empty()) {
            (Some(host), true) => Ok(Self { host, ports: draft.ports, tenants: draft.tenants }),
            _ => Err(problems.without_text("plan")),
        }
    }
}

/// The host itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// Its own provider addresses: at least one.
    pub pa: Dual,
}

/// One of the host's interfaces to the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPort {
    /// The interface's name.
    pub name: PortName,
}

/// One tenant: its virtual network, all of its machines, the ways to its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTenant {
    /// Its name.
    pub name: Name,
    /// How its virtual network's frames travel on the fabric.
    pub encapsulation: Encapsulation,
    /// The largest IP packet in the virtual network; if absent it follows from the fabric's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// The virtual subnets.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub subnets: Box<[HostSubnet]>,
    /// The machines.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub vms: Box<[HostVm]>,
    /// What lies behind the tenant's gateways.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub routes: Box<[HostRoute]>,
}

/// A prefix of a virtual subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSubnet {
    /// The virtual subnet.
    pub vsid: Vsid,
    /// Addresses in it.
    pub prefix: Prefix,
    /// The address by which its machines know their router; the host answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A machine of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostVm {
    /// Its customer addresses: at least one.
    pub ca: Box<[IpAddr]>,
    /// Its MAC address.
    pub mac: Mac,
    /// The virtual subnet that it is in.
    pub vsid: Vsid,
    /// The provider address of its host.
    pub pa: IpAddr,
    /// For a machine on this host: the host's side of its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PortName>,
}

/// A way to what lies behind gateways.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRoute {
    /// Where it leads.
    pub destination: Prefix,
    /// The gateways' provider addresses: at least one; several share the flows.
    pub gateways: Box<[IpAddr]>,
    /// The lower one wins among routes to the same destination; equal ones share the flows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metric: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl HostPlan {
    /// Puts a plan together from parts that are good, each by itself.
    ///
    /// # Errors
    /// All in which they disagree.
    pub fn assemble(host: Host, ports: Box<[HostPort]>, tenants: Box<[HostTenant]>) -> Result<Self, PlanErrors> {
        Draft { host: Some(host), ports, tenants }.try_into()
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// All that is wrong with it, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, PlanErrors> {
        super::read_file(path).and_then(|(text, name)| Self::parse(&text, &name))
    }

    /// Reads a plan from TOML. `file_name` is what the problems' places are told with.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, PlanErrors> {
        let document = Document::new(text);
        let mut problems = Problems::default();
        let (draft, missing) = read::read(&document, &mut problems);
        check::check(&draft, &missing, &mut problems);
        match (draft.host, problems.is_empty()) {
            (Some(host), true) => Ok(Self { host, ports: draft.ports, tenants: draft.tenants }),
            _ => {
                let mut locator = Locator::new(&document, &missing);
                Err(problems.in_text(file_name, text, |path| locator.locate(path)))
            }
        }
    }

    /// The part of the plan that a gateway's has as well: name, ports, tenants with their subnets and machines.
    pub fn common(&self) -> Plan {
        let tenant = |tenant: &HostTenant| model::Tenant {
            name: tenant.name.clone(),
            seat: None,
            encapsulation: Some(tenant.encapsulation),
            gateway_addresses: Dual::default(),
            gateway_subnet: None,
            subnets: tenant.subnets.iter().map(|it| model::Subnet { vsid: it.vsid, prefix: it.prefix }).collect(),
            vms: tenant
                .vms
                .iter()
                .flat_map(|vm| vm.ca.iter().map(|&ca| model::Vm { ca, mac: vm.mac, vsid: vm.vsid, pa: vm.pa }))
                .collect(),
            gateway_vsid: None,
            gateways: Box::default(),
            connections: Box::default(),
            bgp: None,
        };
        let port = |port: &HostPort| Port { name: port.name.clone(), role: PortRole::Fabric, mode: PortMode::Stack };
        Plan {
            gateway: Gateway {
                name: self.host.name.clone(),
                encapsulation: self.tenants.first().map_or(Encapsulation::Vxlan, |tenant| tenant.encapsulation),
                pa: self.host.pa,
                routes_per_tenant: Gateway::DEFAULT_ROUTES_PER_TENANT,
                bmp: Box::default(),
            },
            ports: self.ports.iter().map(port).collect(),
            tenants: self.tenants.iter().map(tenant).collect(),
            steer: Box::default(),
            tor: None,
            seats: Box::default(),
            pool: None,
        }
    }

    /// The provider addresses that packets go to: other hosts' and gateways'.
    pub fn remotes(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.tenants.iter().flat_map(|tenant| {
            let hosts = tenant.vms.iter().filter(|vm| vm.device.is_none()).map(|vm| vm.pa);
            hosts.chain(tenant.routes.iter().flat_map(|route| route.gateways.iter().copied()))
        })
    }

    /// The host's sides of the machines' interfaces.
    pub fn devices(&self) -> impl Iterator<Item = &PortName> {
        self.tenants.iter().flat_map(|tenant| tenant.vms.iter().filter_map(|vm| vm.device.as_ref()))
    }
}

#[cfg(test)]
mod tests;
