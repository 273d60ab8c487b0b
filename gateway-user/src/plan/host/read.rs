//! From TOML to a host plan's types. Whatever is wrong with single values is collected here; `check` looks at how they go together.

use super::super::document::Document;
use super::super::fields::{Key, Reader};
use super::super::locate::Missing;
use super::super::read::{ENCAPSULATIONS, Node, tenants};
use super::super::report::Problems;
use super::{Draft, Host, HostPort, HostRoute, HostSubnet, HostTenant, HostVm};

const PLAN: &[Key] = &[
    Key("host", "the header `[host]`"),
    Key("port", "the header `[[port]]`"),
    Key("tenant", "the header `[[tenant]]`"),
];
const HOST: &[Key] = &[Key("name", "name = \"host1\""), Key("pa", "pa = [\"10.10.0.11\"]")];
const PORT: &[Key] = &[Key("name", "name = \"eth0\"")];
const TENANT: &[Key] = &[
    Key("name", "name = \"contoso\""),
    Key("encapsulation", "encapsulation = \"vxlan\""),
    Key("mtu", "mtu = 1500"),
    Key("subnets", "subnets = [ { vsid = 5001, prefix = \"10.1.0.0/24\", gateway = \"10.1.0.1\" } ]"),
    Key("vms", "vms = [ { ca = [\"10.1.0.5\"], mac = \"02:00:00:00:01:05\", vsid = 5001, pa = \"10.10.0.11\" } ]"),
    Key("routes", "routes = [ { destination = \"10.2.0.0/16\", gateways = [\"10.10.0.1\"] } ]"),
];
const SUBNET: &[Key] =
    &[Key("vsid", "vsid = 5001"), Key("prefix", "prefix = \"10.1.0.0/24\""), Key("gateway", "gateway = \"10.1.0.1\"")];
const VM: &[Key] = &[
    Key("ca", "ca = [\"10.1.0.5\"]"),
    Key("mac", "mac = \"02:00:00:00:01:05\""),
    Key("vsid", "vsid = 5001"),
    Key("pa", "pa = \"10.10.0.11\""),
    Key("device", "device = \"tap0\""),
];
const ROUTE: &[Key] = &[
    Key("destination", "destination = \"10.2.0.0/16\""),
    Key("gateways", "gateways = [\"10.10.0.1\"]"),
    Key("metric", "metric = 10"),
];

/// What could be read of a document, and what could not.
pub(super) fn read(document: &Document<'_>, problems: &mut Problems) -> (Draft, Missing) {
    let mut reader = Reader::new(document, problems);
    let mut draft = Draft { tenants: tenants(&mut reader, document, tenant).into(), ..Draft::default() };
    let rest = document.rest();
    if reader.enter(&rest) {
        let fields = reader.top(&rest.table, PLAN);
        draft.host = reader.table(&fields, "host", host);
        draft.ports = reader.list(&fields, "port", port);
        if draft.tenants.is_empty() {
            draft.tenants = reader.list(&fields, "tenant", tenant);
        }
    } else {
        PLAN.iter().for_each(|key| reader.leave_out(key.0));
    }
    (draft, reader.into_missing())
}

fn host(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Host> {
    let fields = reader.open(node, "`[host]`", HOST)?;
    let name = reader.required(&fields, "name");
    let pa = reader.required_dual(&fields, "pa");
    Some(Host { name: name?, pa: pa? })
}

fn port(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HostPort> {
    let fields = reader.open(node, "`[[port]]`", PORT)?;
    let name = reader.required(&fields, "name");
    Some(HostPort { name: name? })
}

fn tenant(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HostTenant> {
    let fields = reader.open(node, "`[[tenant]]`", TENANT)?;
    let name = reader.required(&fields, "name");
    let encapsulation = reader.choice(&fields, "encapsulation", ENCAPSULATIONS);
    let mtu = reader.optional(&fields, "mtu");
    let subnets = reader.list(&fields, "subnets", subnet);
    let vms = reader.list(&fields, "vms", vm);
    let routes = reader.list(&fields, "routes", route);
    Some(HostTenant { name: name?, encapsulation: encapsulation?, mtu, subnets, vms, routes })
}

fn subnet(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HostSubnet> {
    let fields = reader.open(node, "a subnet", SUBNET)?;
    let vsid = reader.required(&fields, "vsid");
    let prefix = reader.required(&fields, "prefix");
    let gateway = reader.optional(&fields, "gateway");
    Some(HostSubnet { vsid: vsid?, prefix: prefix?, gateway })
}

fn vm(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HostVm> {
    let fields = reader.open(node, "a VM", VM)?;
    reader.demand(&fields, "ca");
    let ca = reader.values(&fields, "ca");
    let mac = reader.required(&fields, "mac");
    let vsid = reader.required(&fields, "vsid");
    let pa = reader.required(&fields, "pa");
    let device = reader.optional(&fields, "device");
    Some(HostVm { ca, mac: mac?, vsid: vsid?, pa: pa?, device })
}

fn route(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<HostRoute> {
    let fields = reader.open(node, "a route", ROUTE)?;
    let destination = reader.required(&fields, "destination");
    reader.demand(&fields, "gateways");
    let gateways = reader.values(&fields, "gateways");
    let metric = reader.optional(&fields, "metric").unwrap_or_default();
    Some(HostRoute { destination: destination?, gateways, metric })
}
