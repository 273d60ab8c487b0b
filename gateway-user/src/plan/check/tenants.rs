//! A tenant's own side: subnets, the gateway's addresses and VMs.

use super::super::model::Tenant;
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, Prefix, Vsid, family, names_no_host, routable, unicast};
use super::{World, good, overlaps};
use gateway_common::tables::GATEWAY_MAC;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Checks all tenants' own sides.
pub(super) fn check(tenants: &[Tenant], world: &World<'_>, problems: &mut Problems) {
    let mut names = HashMap::new();
    let mut vsids = HashMap::new();
    for (index, tenant) in tenants.iter().enumerate() {
        if let Some(first) = names.insert((tenant.name.as_str(), &tenant.seat), index) {
            let what = match &tenant.seat {
                None => format!("a second tenant is called {}", tenant.name),
                Some(seat) => format!("a second tenant of the seat {seat} is called {}", tenant.name),
            };
            let complaint = Complaint::new(what, "rename one, or join the two");
            problems.conflict(Path::tenant(index).key("name"), Path::tenant(first).key("name"), complaint);
        }
        let of_subnets = tenant.subnets.iter().enumerate().map(|(number, subnet)| (subnet.vsid, Some(number)));
        for (vsid, number) in of_subnets.chain(tenant.gateway_vsid.map(|vsid| (vsid, None))) {
            let path = |tenant, number: Option<usize>| match number {
                Some(number) => Path::tenant(tenant).item("subnets", number).key("vsid"),
                None => Path::tenant(tenant).key("gateway_vsid"),
            };
            let (owner, at) = *vsids.entry(vsid).or_insert((index, number));
            if tenants[owner].name != tenant.name {
                let what = format!("the VSID {vsid} belongs to the tenant {}", tenants[owner].name);
                let complaint =
                    Complaint::new(what, "give this subnet a VSID of its own: it is what tells tenants apart");
                problems.conflict(path(index, number), path(owner, at), complaint);
            }
        }
        subnets(index, tenant, problems);
        gateways(index, tenant, world, problems);
        gateway_addresses(index, tenant, problems);
        vms(index, tenant, world, problems);
    }
}

fn subnets(index: usize, tenant: &Tenant, problems: &mut Problems) {
    let mut prefixes: Vec<(Prefix, usize)> = Vec::with_capacity(tenant.subnets.len());
    for (number, subnet) in tenant.subnets.iter().enumerate() {
        let here = || Path::tenant(index).item("subnets", number).key("prefix");
        if subnet.prefix.prefix_len() == 0 {
            let remedy = "write the subnet's own prefix; a default route belongs to a connection";
            problems.at(here(), Complaint::new(format!("{} is everything, not a subnet", subnet.prefix), remedy));
            continue;
        }
        if good(problems, routable(subnet.prefix), here) {
            prefixes.push((subnet.prefix, number));
        }
    }
    for ((outer, first), (inner, second)) in overlaps(&mut prefixes) {
        let here = |number| Path::tenant(index).item("subnets", number).key("prefix");
        let what = format!("{inner} lies within the same tenant's {outer}");
        let remedy = "make the subnets disjoint: an address belongs to one of them";
        let (later, earlier) = (first.max(second), first.min(second));
        problems.conflict(here(later), here(earlier), Complaint::new(what, remedy));
    }
}

fn gateway_addresses(index: usize, tenant: &Tenant, problems: &mut Problems) {
    if let Some(subnet) = tenant.gateway_subnet {
        let here = || Path::tenant(index).key("gateway_subnet");
        if subnet.prefix_len() == 0 {
            let remedy = "write the prefix of the subnet that the gateway's own addresses are from";
            problems.at(here(), Complaint::new(format!("{subnet} is everything, not a subnet"), remedy));
        }
        good(problems, routable(subnet), here);
    }
    for address in tenant.gateway_addresses.iter() {
        let here = || Path::tenant(index).key("gateway_addresses");
        if !good(problems, unicast(address), here) {
            continue;
        }
        if let Some(subnet) = tenant.gateway_subnet
            && subnet.addr().is_ipv4() == address.is_ipv4()
            && !subnet.contains(address)
        {
            let what = format!("the gateway's own address {address} is outside `gateway_subnet` {subnet}");
            let complaint = Complaint::new(what, "take an address out of that subnet, or correct the subnet");
            problems.conflict(here(), Path::tenant(index).key("gateway_subnet"), complaint);
            continue;
        }
        let around = tenant.gateway_subnet.iter().chain(tenant.subnets.iter().map(|subnet| &subnet.prefix));
        for prefix in around.filter(|prefix| names_no_host(prefix.net(), address)) {
            let what = format!("{address} is the network's or broadcast address of {prefix}");
            problems.at(here(), Complaint::new(what, "take another address of the subnet"));
        }
    }
}

fn gateways(index: usize, tenant: &Tenant, world: &World<'_>, problems: &mut Problems) {
    if !tenant.gateways.is_empty() && tenant.gateway_vsid.is_none() && world.missing.nothing_of("gateway_vsid") {
        let remedy = "add `gateway_vsid`, the same on all of the tenant's gateways";
        let what = "nothing says by which virtual subnet the tenant's gateways send to each other";
        problems.at(Path::tenant(index).key("gateways"), Complaint::new(what, remedy));
    }
    let mut seen = HashMap::with_capacity(tenant.gateways.len());
    let mut owned = HashMap::new();
    for (number, gateway) in tenant.gateways.iter().enumerate() {
        let path = || Path::tenant(index).item("gateways", number);
        let here = || path().key("pa");
        if let Some(first) = seen.insert(gateway.pa, number) {
            let what = format!("the gateway at {} stands here for the second time", gateway.pa);
            let there = Path::tenant(index).item("gateways", first).key("pa");
            problems.conflict(here(), there, Complaint::new(what, "join the two"));
        }
        if let Some(vm) = tenant.vms.iter().position(|vm| vm.pa == gateway.pa) {
            let what = format!("{} is the provider address of a VM's host", gateway.pa);
            let remedy = "write the other gateway's own: what comes from there is trusted otherwise";
            let there = Path::tenant(index).item("vms", vm).key("pa");
            problems.conflict(here(), there, Complaint::new(what, remedy));
        }
        good(problems, unicast(gateway.pa), here);
        let own = world.pa_of(tenant).map(|(pa, there)| (pa.same_family(gateway.pa), there));
        match own {
            Some((Some(pa), there)) if pa == gateway.pa => {
                let what = format!("{pa} is the gateway's own provider address");
                problems.conflict(here(), there, Complaint::new(what, "write the other gateway's"));
            }
            Some((None, there)) if world.missing.nothing_of("pa") => {
                let family = family(gateway.pa);
                let what = format!("{} is {family}, but the gateway has no {family} provider address", gateway.pa);
                let remedy = "add one to `pa` in `[gateway]`, or write the other gateway's other address";
                problems.conflict(here(), there, Complaint::new(what, remedy));
            }
            _ => {}
        }
        for (at, &address) in gateway.addresses.iter().enumerate() {
            let here = || path().item("addresses", at);
            if !good(problems, unicast(address), here) {
                continue;
            }
            let complaint = |whose: &str| {
                let what = format!("{address} is {whose}");
                Complaint::new(what, "write the other gateway's own address in this tenant")
            };
            if tenant.own_addresses().any(|own| own == address) {
                let there = Path::tenant(index).key("gateway_addresses");
                problems.conflict(here(), there, complaint("this gateway's own address in this tenant"));
            }
            if let Some(vm) = tenant.vms.iter().position(|vm| vm.ca == address) {
                let there = Path::tenant(index).item("vms", vm).key("ca");
                problems.conflict(here(), there, complaint("a VM's address"));
            }
            if let Some((first, was)) = owned.insert(address, (number, at)) {
                let there = Path::tenant(index).item("gateways", first).item("addresses", was);
                problems.conflict(here(), there, complaint("another gateway's already"));
            }
        }
        let mut destinations = HashMap::with_capacity(gateway.routes.len());
        for (at, route) in gateway.routes.iter().enumerate() {
            let here = || path().item("routes", at).key("destination");
            good(problems, routable(route.destination), here);
            if let Some(first) = destinations.insert(route.destination, at) {
                let what = format!("{} stands here for the second time", route.destination);
                problems.conflict(here(), path().item("routes", first), Complaint::new(what, "keep one"));
            }
        }
    }
}

fn vms(index: usize, tenant: &Tenant, world: &World<'_>, problems: &mut Problems) {
    let mut subnets: HashMap<_, Vec<Prefix>> = HashMap::new();
    for subnet in &tenant.subnets {
        subnets.entry(subnet.vsid).or_default().push(subnet.prefix);
    }
    let mut seen = HashMap::with_capacity(tenant.vms.len());
    let mut no_pa = HashSet::new();
    for (number, vm) in tenant.vms.iter().enumerate() {
        let here = |key| Path::tenant(index).item("vms", number).key(key);
        if let Some(first) = seen.insert(vm.ca, number) {
            let what = format!("a second VM of the tenant has the address {}", vm.ca);
            let complaint = Complaint::new(what, "keep one, or correct the address");
            problems.conflict(here("ca"), Path::tenant(index).item("vms", first).key("ca"), complaint);
        }
        if good(problems, unicast(vm.ca), || here("ca")) {
            within_subnets(vm.ca, subnets.get(&vm.vsid).map_or(&[], Vec::as_slice), vm.vsid, world, |complaint| {
                problems.at(here("ca"), complaint);
            });
        }
        if tenant.gateway_addresses.contains(vm.ca) {
            let what = format!("{} is the gateway's own address in this tenant", vm.ca);
            let complaint = Complaint::new(what, "give the VM or the gateway another one");
            problems.conflict(here("ca"), Path::tenant(index).key("gateway_addresses"), complaint);
        }
        if vm.mac.octets() == GATEWAY_MAC {
            let what = format!("{} is the MAC address that the gateway itself has in virtual subnets", vm.mac);
            problems.at(here("mac"), Complaint::new(what, "write the MAC of the VM's own interface"));
        }
        good(problems, unicast(vm.pa), || here("pa"));
        let Some((own, there)) = world.pa_of(tenant) else { continue };
        match own.same_family(vm.pa) {
            Some(pa) if pa == vm.pa => {
                let what = format!("{pa} is the gateway's own provider address");
                let complaint = Complaint::new(what, "write the provider address of the VM's host");
                problems.conflict(here("pa"), there, complaint);
            }
            // Once a tenant and family is enough.
            None if world.missing.nothing_of("pa") && no_pa.insert(vm.pa.is_ipv4()) => {
                let what =
                    format!("the host is at {}, but the gateway has no {} provider address", vm.pa, family(vm.pa));
                let remedy =
                    format!("add one to `pa` in `[gateway]`, or write the host's {} address", other_family(vm.pa));
                problems.conflict(here("pa"), there, Complaint::new(what, remedy));
            }
            _ => {}
        }
    }
}

fn within_subnets(ca: IpAddr, subnets: &[Prefix], vsid: Vsid, world: &World<'_>, refuse: impl FnOnce(Complaint)) {
    match subnets.iter().find(|prefix| prefix.contains(ca)) {
        Some(prefix) if names_no_host(prefix.net(), ca) => {
            let what = format!("{ca} is the network's or broadcast address of {prefix}");
            refuse(Complaint::new(what, "write the address that the VM itself has"));
        }
        Some(_) => {}
        None if !world.missing.nothing_of("subnets") => {}
        None if subnets.is_empty() => {
            let what = format!("the tenant has no subnet with the VSID {vsid}");
            refuse(Complaint::new(what, format!("add the subnet of {ca} to `subnets`, or correct the VM's `vsid`")));
        }
        None => {
            let known: Vec<String> = subnets.iter().take(3).map(ToString::to_string).collect();
            let what = format!("{ca} is in no subnet with the VSID {vsid} ({})", known.join(", "));
            refuse(Complaint::new(what, "correct the address or the VSID, or add the subnet to `subnets`"));
        }
    }
}

fn other_family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv6" } else { "IPv4" }
}
