//! A tenant's machines, and where they are.

use super::subnets::Subnets;
use super::{FAILURE, Fabric, Input, Problem, UNREACHABLE};
use crate::controller::model::records::{AgentId, Role};
use crate::controller::model::tenant::NetworkInterface;
use crate::controller::model::{Id, Resource};
use crate::plan::{Dual, Mac, PortName, Vsid};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An interface of a machine, as far as it is in one subnet.
pub(super) struct Machine {
    pub interface: Id,
    pub mac: Mac,
    pub vsid: Vsid,
    /// Its addresses there: at least one.
    pub addresses: Vec<IpAddr>,
    /// The host that it is on.
    pub host: Id,
    /// That host's provider addresses.
    pub pa: Dual,
    /// The host's side of it.
    pub device: Option<PortName>,
}

/// The machines that run somewhere.
pub(super) fn machines(
    input: &Input<'_>,
    subnets: &Subnets,
    fabric: &impl Fabric,
    problems: &mut Vec<Problem>,
) -> Vec<Machine> {
    let mut machines = Vec::with_capacity(input.tenant.interfaces.len());
    let mut taken = BTreeSet::new();
    let mut stations = BTreeSet::new();
    for interface in &input.tenant.interfaces {
        match place(interface, fabric) {
            Ok(Some(place)) => {
                for (vsid, addresses) in addresses(interface, subnets, &mut taken, problems) {
                    let interface = interface.resource_id.clone();
                    let Place { mac, host, pa, device } = place.clone();
                    if stations.insert((vsid, mac)) {
                        machines.push(Machine { interface, mac, vsid, addresses, host, pa, device });
                    } else {
                        let message =
                            format!("another interface of the subnet has the MAC address {mac}; give this one another");
                        problems.push(Problem::of_interface(&interface, FAILURE, message));
                    }
                }
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    machines
}

#[derive(Clone)]
struct Place {
    mac: Mac,
    host: Id,
    pa: Dual,
    device: Option<PortName>,
}

/// Where an interface is; nowhere while its machine runs nowhere.
fn place(interface: &Resource<NetworkInterface>, fabric: &impl Fabric) -> Result<Option<Place>, Problem> {
    let (id, properties) = (&interface.resource_id, &interface.properties);
    let Some(server) = &properties.server else { return Ok(None) };
    let host = server.root();
    let failure = |message: String| Problem::of_interface(id, FAILURE, message);
    let mac = properties
        .private_mac_address
        .ok_or_else(|| failure("the interface has no MAC address; write privateMacAddress".to_owned()))?;
    let Some(registration) = fabric.registration(&AgentId { role: Role::Host, id: host.clone() }) else {
        let message =
            format!("no host agent has enrolled as {host}; create a join token for it and start `gatewayd host` there");
        return Err(Problem::of_interface(id, UNREACHABLE, message));
    };
    let device = match &properties.device_name {
        Some(name) => Some(name.parse().map_err(|complaint| failure(format!("deviceName: {complaint}")))?),
        None => None,
    };
    Ok(Some(Place { mac, host, pa: registration.pa, device }))
}

/// An interface's addresses in the network's subnets, by subnet.
fn addresses(
    interface: &Resource<NetworkInterface>,
    subnets: &Subnets,
    taken: &mut BTreeSet<IpAddr>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<Vsid, Vec<IpAddr>> {
    let mut addresses: BTreeMap<Vsid, Vec<IpAddr>> = BTreeMap::new();
    for configuration in &interface.properties.ip_configurations {
        let configuration = &configuration.properties;
        let subnet = configuration.subnet.as_ref().and_then(|reference| subnets.find(reference));
        let (Some(subnet), Some(address)) = (subnet, configuration.private_ip_address) else { continue };
        let mut refuse = |message| problems.push(Problem::of_interface(&interface.resource_id, FAILURE, message));
        if !subnet.prefix.contains(address) {
            refuse(format!("{address} is not in subnet {} ({}); correct it", subnet.id, subnet.prefix));
        } else if let Some(whose) = subnets.reserved(address) {
            refuse(format!("{address} is {whose}; give the interface another address"));
        } else if !taken.insert(address) {
            refuse(format!("another interface of the network has {address}; give this one another address"));
        } else {
            addresses.entry(subnet.vsid).or_default().push(address);
        }
    }
    addresses
}
