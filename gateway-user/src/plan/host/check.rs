//! What the parts of a host plan must agree on.

use super::super::check::{good, overlaps};
use super::super::locate::Missing;
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Prefix, family, names_no_host, routable, unicast};
use super::{Draft, Host, HostTenant, HostVm};
use gateway_common::tables::{FloodKey, GATEWAY_MAC, Nexthop};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Notes everything in which the plan contradicts itself.
pub(super) fn check(draft: &Draft, missing: &Missing, problems: &mut Problems) {
    if draft.host.is_none() && missing.nothing_of("host") {
        let complaint = Complaint::new("the plan has no `[host]`", "add `[host]` with `name` and `pa`");
        problems.at(Path::root(), complaint);
    }
    if let Some(host) = &draft.host {
        own(host, missing, problems);
    }
    ports(draft, missing, problems);
    let (mut names, mut vsids, mut devices) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, tenant) in draft.tenants.iter().enumerate() {
        if let Some(first) = names.insert(tenant.name.as_str(), index) {
            let complaint =
                Complaint::new(format!("a second tenant is called {}", tenant.name), "rename one, or join the two");
            problems.conflict(Path::tenant(index).key("name"), Path::tenant(first).key("name"), complaint);
        }
        for (number, subnet) in tenant.subnets.iter().enumerate() {
            let (owner, at) = *vsids.entry(subnet.vsid).or_insert((index, number));
            if owner != index {
                let what = format!("the VSID {} belongs to the tenant {}", subnet.vsid, draft.tenants[owner].name);
                let complaint =
                    Complaint::new(what, "give this subnet a VSID of its own: it is what tells tenants apart");
                problems.conflict(
                    Path::tenant(index).item("subnets", number).key("vsid"),
                    Path::tenant(owner).item("subnets", at).key("vsid"),
                    complaint,
                );
            }
        }
        for (number, vm) in tenant.vms.iter().enumerate() {
            let Some(device) = &vm.device else { continue };
            let here = || Path::tenant(index).item("vms", number).key("device");
            if let Some((owner, at)) = devices.insert(device.as_str(), (index, number)) {
                let complaint = Complaint::new(
                    format!("the interface {device} is another VM's already"),
                    "write the host's side of this VM's own interface",
                );
                problems.conflict(here(), Path::tenant(owner).item("vms", at).key("device"), complaint);
            }
            if let Some(port) = draft.ports.iter().position(|port| port.name == *device) {
                let complaint = Complaint::new(
                    format!("{device} is a port to the fabric"),
                    "write the host's side of this VM's own interface",
                );
                problems.conflict(here(), Path::root().item("port", port).key("name"), complaint);
            }
        }
        let world = World { host: draft.host.as_ref(), missing, tenant, index };
        world.subnets(problems);
        world.vms(problems);
        world.receivers(problems);
        world.routes(problems);
    }
}

fn own(host: &Host, missing: &Missing, problems: &mut Problems) {
    let here = || Path::root().key("host").key("pa");
    if host.pa.is_empty() && missing.nothing_of("pa") {
        let remedy = "write the host's own address on the fabric, such as `pa = [\"10.10.0.11\"]`";
        problems.at(here(), Complaint::new("the host has no provider address", remedy));
    }
    for address in host.pa.iter() {
        good(problems, unicast(address), here);
    }
}

fn ports(draft: &Draft, missing: &Missing, problems: &mut Problems) {
    let mut names = HashMap::new();
    for (index, port) in draft.ports.iter().enumerate() {
        if let Some(first) = names.insert(port.name.as_str(), index) {
            let here = |index| Path::root().item("port", index).key("name");
            let what = format!("the port {} stands here for the second time", port.name);
            problems.conflict(here(index), here(first), Complaint::new(what, "keep one"));
        }
    }
    if draft.ports.is_empty() && missing.nothing_of("port") {
        let remedy = "add `[[port]]` with `name` for every interface that leads to the fabric";
        problems.at(Path::root(), Complaint::new("the plan has no port", remedy));
    }
}

/// What is looked up about a tenant.
struct World<'a> {
    host: Option<&'a Host>,
    missing: &'a Missing,
    tenant: &'a HostTenant,
    index: usize,
}

impl World<'_> {
    fn subnets(&self, problems: &mut Problems) {
        let here = |number, key| Path::tenant(self.index).item("subnets", number).key(key);
        let mut prefixes: Vec<(Prefix, usize)> = Vec::with_capacity(self.tenant.subnets.len());
        let mut routers = HashMap::new();
        for (number, subnet) in self.tenant.subnets.iter().enumerate() {
            if subnet.prefix.prefix_len() == 0 {
                let what = format!("{} is everything, not a subnet", subnet.prefix);
                let remedy = "write the subnet's own prefix; a default route belongs to `routes`";
                problems.at(here(number, "prefix"), Complaint::new(what, remedy));
            } else if good(problems, routable(subnet.prefix), || here(number, "prefix")) {
                prefixes.push((subnet.prefix, number));
            }
            let Some(gateway) = subnet.gateway else { continue };
            if !subnet.prefix.contains(gateway) || names_no_host(subnet.prefix.net(), gateway) {
                let what = format!("{gateway} is no address of {}", subnet.prefix);
                problems.at(here(number, "gateway"), Complaint::new(what, "take an address out of the subnet"));
            }
            let of = (subnet.vsid, gateway.is_ipv4());
            if let Some(first) = routers.insert(of, number) {
                let what = format!("the subnet {} has a second {} router", subnet.vsid, family(gateway));
                let remedy = "keep one: errors come from a single address";
                problems.conflict(here(number, "gateway"), here(first, "gateway"), Complaint::new(what, remedy));
            }
        }
        for ((outer, first), (inner, second)) in overlaps(&mut prefixes) {
            let what = format!("{inner} lies within the same tenant's {outer}");
            let remedy = "make the subnets disjoint: an address belongs to one of them";
            let (later, earlier) = (first.max(second), first.min(second));
            problems.conflict(here(later, "prefix"), here(earlier, "prefix"), Complaint::new(what, remedy));
        }
    }

    fn vms(&self, problems: &mut Problems) {
        let (mut addresses, mut stations) = (HashMap::new(), HashMap::new());
        for (number, vm) in self.tenant.vms.iter().enumerate() {
            let here = |key| Path::tenant(self.index).item("vms", number).key(key);
            let there = |number, key| Path::tenant(self.index).item("vms", number).key(key);
            if vm.ca.is_empty() && self.missing.nothing_of("ca") {
                let remedy = "write at least one, such as `ca = [\"10.1.0.5\"]`";
                problems.at(here("ca"), Complaint::new("the VM has no address", remedy));
            }
            for &ca in &vm.ca {
                if let Some(first) = addresses.insert(ca, number) {
                    let what = format!("a second VM of the tenant has the address {ca}");
                    let complaint = Complaint::new(what, "keep one, or correct the address");
                    problems.conflict(here("ca"), there(first, "ca"), complaint);
                }
                if good(problems, unicast(ca), || here("ca")) {
                    self.within(vm, ca, |complaint| problems.at(here("ca"), complaint));
                }
            }
            if let Some(first) = stations.insert((vm.vsid, vm.mac), number) {
                let what = format!("a second VM of the subnet {} has the MAC address {}", vm.vsid, vm.mac);
                let complaint = Complaint::new(what, "give each interface a MAC address of its own");
                problems.conflict(here("mac"), there(first, "mac"), complaint);
            }
            if vm.mac.octets() == GATEWAY_MAC {
                let what = format!("{} is the MAC address that routers have in virtual subnets", vm.mac);
                problems.at(here("mac"), Complaint::new(what, "write the MAC of the VM's own interface"));
            }
            good(problems, unicast(vm.pa), || here("pa"));
            let Some(host) = self.host else { continue };
            let own = host.pa.contains(vm.pa);
            match (&vm.device, own) {
                (None, true) => {
                    let what = format!("{} is this host's, but the VM has no `device`", vm.pa);
                    let remedy = "add `device` with the host's side of the VM's interface, or write its host's address";
                    problems.at(here("pa"), Complaint::new(what, remedy));
                }
                (Some(device), false) => {
                    let what = format!("the VM has the device {device} here, but its host is {}", vm.pa);
                    let complaint = Complaint::new(what, "write this host's own address, or leave `device` out");
                    problems.conflict(here("pa"), Path::root().key("host").key("pa"), complaint);
                }
                _ => {}
            }
            self.reached(vm.pa, "pa", || here("pa"), problems);
        }
    }

    /// Refuses an address in the fabric of a family that the host has none of.
    fn reached(&self, remote: IpAddr, key: &'static str, here: impl FnOnce() -> Path, problems: &mut Problems) {
        let Some(host) = self.host else { return };
        if host.pa.same_family(remote).is_none() && self.missing.nothing_of(key) && self.missing.nothing_of("pa") {
            let what = format!("{remote} is an {} address, and the host has no such provider address", family(remote));
            let complaint = Complaint::new(what, "add one to `pa` in `[host]`, or write the other's other address");
            problems.conflict(here(), Path::root().key("host").key("pa"), complaint);
        }
    }

    fn within(&self, vm: &HostVm, ca: IpAddr, mut refuse: impl FnMut(Complaint)) {
        let mut subnets = self.tenant.subnets.iter().filter(|subnet| subnet.vsid == vm.vsid);
        match subnets.find(|subnet| subnet.prefix.contains(ca)) {
            Some(subnet) if names_no_host(subnet.prefix.net(), ca) => {
                let what = format!("{ca} is the network's or broadcast address of {}", subnet.prefix);
                refuse(Complaint::new(what, "write the address that the VM itself has"));
            }
            Some(subnet) if subnet.gateway == Some(ca) => {
                let what = format!("{ca} is the subnet's router");
                refuse(Complaint::new(what, "give the VM or the router another address"));
            }
            Some(_) => {}
            None if !self.missing.nothing_of("subnets") => {}
            None => {
                let what = format!("{ca} is in no subnet with the VSID {}", vm.vsid);
                refuse(Complaint::new(what, "correct the address or the VSID, or add the subnet to `subnets`"));
            }
        }
    }

    /// Who gets a copy of a broadcast: few enough, and all over one IP version.
    fn receivers(&self, problems: &mut Problems) {
        let mut all: BTreeMap<_, (usize, BTreeSet<IpAddr>, usize)> = BTreeMap::new();
        for (number, vm) in self.tenant.vms.iter().enumerate() {
            let (local, remote, first) = all.entry(vm.vsid).or_insert((0, BTreeSet::new(), number));
            if vm.device.is_some() {
                *local += 1;
                continue;
            }
            let other = remote.first().filter(|pa| pa.is_ipv4() != vm.pa.is_ipv4());
            if other.is_some() {
                let what = format!("the subnet {} is on hosts of both IP versions", vm.vsid);
                let remedy = "write all of their addresses in one version: a broadcast is copied to them in one";
                let here = |number| Path::tenant(self.index).item("vms", number).key("pa");
                problems.conflict(here(number), here(*first), Complaint::new(what, remedy));
            }
            remote.insert(vm.pa);
        }
        for (vsid, (local, remote, first)) in all {
            let count = local + remote.len();
            if local > 0 && count > FloodKey::MAX as usize {
                let path = Path::tenant(self.index).item("vms", first).key("vsid");
                let what = format!("a broadcast in the subnet {vsid} would have {count} receivers");
                let remedy = format!("split the subnet: at most {} are served", FloodKey::MAX);
                problems.at(path, Complaint::new(what, remedy));
            }
        }
    }

    fn routes(&self, problems: &mut Problems) {
        for (number, route) in self.tenant.routes.iter().enumerate() {
            let here = |key| Path::tenant(self.index).item("routes", number).key(key);
            good(problems, routable(route.destination), || here("destination"));
            if route.gateways.is_empty() && self.missing.nothing_of("gateways") {
                let remedy = "write at least one, such as `gateways = [\"10.10.0.1\"]`";
                problems.at(here("gateways"), Complaint::new("the route has no gateway", remedy));
            }
            if route.gateways.len() > Nexthop::GROUP_SIZE {
                let what = format!("{} gateways are more than a route can have", route.gateways.len());
                let remedy = format!("keep {} of them", Nexthop::GROUP_SIZE);
                problems.at(here("gateways"), Complaint::new(what, remedy));
            }
            for &gateway in &route.gateways {
                if good(problems, unicast(gateway), || here("gateways")) {
                    self.reached(gateway, "gateways", || here("gateways"), problems);
                }
                if self.host.is_some_and(|host| host.pa.contains(gateway)) {
                    let what = format!("{gateway} is this host's own provider address");
                    problems.at(here("gateways"), Complaint::new(what, "write the gateway's provider address"));
                }
            }
        }
    }
}
