//! From TOML to the plan's types. Whatever is wrong with single values is collected here; [`super::check`] looks at how they go together.

use super::bgp::read as bgp;
use super::document::Document;
use super::fields::{Fields, Key, Reader};
use super::locate::Missing;
use super::model::{
    AntiSpoofing, Connection, ConnectionKind, Draft, Encapsulation, Gateway, GatewayRoute, Gre, KindForm, L3,
    OtherGateway, Passage, Port, PortMode, PortRole, ProtocolForm, Route, Station, Steer, SteerMatch, Subnet, Tenant,
    Vm,
};
use super::report::Problems;
use super::tor;
use super::values::Complaint;
use toml::Spanned;
use toml::de::DeValue;

pub(super) type Node<'i> = Spanned<DeValue<'i>>;

const PLAN: &[Key] = &[
    Key("gateway", "the header `[gateway]`"),
    Key("port", "the header `[[port]]`"),
    Key("tenant", "the header `[[tenant]]`"),
    Key("steer", "the header `[[steer]]`"),
    Key("tor", "the header `[tor]`"),
];
const GATEWAY: &[Key] = &[
    Key("name", "name = \"gw1\""),
    Key("encapsulation", "encapsulation = \"vxlan\""),
    Key("pa", "pa = [\"10.10.0.1\"]"),
    Key("routes_per_tenant", "routes_per_tenant = 100000"),
    Key("bmp", "bmp = [ { address = \"192.0.2.9\", port = 11019 } ]"),
];
const STATION: &[Key] = &[Key("address", "address = \"192.0.2.9\""), Key("port", "port = 11019")];
const PORT: &[Key] =
    &[Key("name", "name = \"eth1\""), Key("role", "role = \"fabric\""), Key("mode", "mode = \"native\"")];
const TENANT: &[Key] = &[
    Key("name", "name = \"contoso\""),
    Key("encapsulation", "encapsulation = \"vxlan\""),
    Key("gateway_addresses", "gateway_addresses = [\"10.1.255.1\"]"),
    Key("gateway_subnet", "gateway_subnet = \"10.1.255.0/29\""),
    Key("subnets", "subnets = [ { vsid = 5001, prefix = \"10.1.0.0/24\" } ]"),
    Key("vms", "vms = [ { ca = \"10.1.0.5\", mac = \"02:00:00:00:01:05\", vsid = 5001, pa = \"10.10.0.11\" } ]"),
    Key("gateway_vsid", "gateway_vsid = 5002"),
    Key("gateways", "gateways = [ { pa = \"10.10.0.2\", routes = [ { destination = \"10.3.0.0/16\" } ] } ]"),
    Key("connection", "the header `[[tenant.connection]]`"),
    Key("bgp", "the header `[tenant.bgp]`"),
];
const OTHER_GATEWAY: &[Key] = &[
    Key("pa", "pa = \"10.10.0.2\""),
    Key("addresses", "addresses = [\"10.1.255.3\"]"),
    Key("routes", "routes = [ { destination = \"10.3.0.0/16\", metric = 10 } ]"),
];
const GATEWAY_ROUTE: &[Key] = &[Key("destination", "destination = \"10.3.0.0/16\""), Key("metric", "metric = 10")];
const SUBNET: &[Key] = &[Key("vsid", "vsid = 5001"), Key("prefix", "prefix = \"10.1.0.0/24\"")];
const VM: &[Key] = &[
    Key("ca", "ca = \"10.1.0.5\""),
    Key("mac", "mac = \"02:00:00:00:01:05\""),
    Key("vsid", "vsid = 5001"),
    Key("pa", "pa = \"10.10.0.11\""),
];
const GRE: &[Key] = &[
    Key("name", "name = \"hq\""),
    Key("type", "type = \"gre\""),
    Key("vip", "vip = \"198.51.100.10\""),
    Key("remote", "remote = \"203.0.113.20\""),
    Key("key", "key = 100"),
    Key("sequence", "sequence = true"),
    Key("enabled", "enabled = true"),
    Key("inbound_kbps", "inbound_kbps = 100000"),
    Key("outbound_kbps", "outbound_kbps = 100000"),
    Key("mtu", "mtu = 1400"),
    Key("anti_spoofing", "anti_spoofing = \"feasible\""),
    Key("passage", "passage = \"arriving\""),
    Key("peers", "peers = [\"10.2.0.1\"]"),
    Key("routes", "routes = [ { destination = \"10.2.0.0/16\", metric = 10 } ]"),
];
const L3_KEYS: &[Key] = &[
    Key("name", "name = \"dc\""),
    Key("type", "type = \"l3\""),
    Key("port", "port = \"eth2\""),
    Key("vlan", "vlan = 1001"),
    Key("addresses", "addresses = [\"10.127.134.50/24\"]"),
    Key("enabled", "enabled = true"),
    Key("inbound_kbps", "inbound_kbps = 100000"),
    Key("outbound_kbps", "outbound_kbps = 100000"),
    Key("mtu", "mtu = 1400"),
    Key("anti_spoofing", "anti_spoofing = \"feasible\""),
    Key("passage", "passage = \"arriving\""),
    Key("peers", "peers = [\"10.127.134.55\"]"),
    Key("routes", "routes = [ { destination = \"10.3.0.0/16\", next_hop = \"10.127.134.55\" } ]"),
];
const ROUTE: &[Key] = &[
    Key("destination", "destination = \"10.2.0.0/16\""),
    Key("next_hop", "next_hop = \"10.127.134.55\""),
    Key("metric", "metric = 10"),
];
const STEER_PORTS: &[Key] = &[
    Key("vip", "vip = \"198.51.100.1\""),
    Key("protocol", "protocol = \"udp\""),
    Key("port", "port = 500"),
    Key("source", "source = \"203.0.113.20\""),
    Key("source_port", "source_port = 500"),
    Key("gateway", "gateway = \"10.10.0.1\""),
];
const STEER_ESP: &[Key] = &[
    Key("vip", "vip = \"198.51.100.1\""),
    Key("protocol", "protocol = \"esp\""),
    Key("source", "source = \"203.0.113.20\""),
    Key("spi", "spi = 0x1234"),
    Key("gateway", "gateway = \"10.10.0.1\""),
];
const STEER_GRE: &[Key] = &[
    Key("vip", "vip = \"198.51.100.1\""),
    Key("protocol", "protocol = \"gre\""),
    Key("source", "source = \"203.0.113.20\""),
    Key("gateway", "gateway = \"10.10.0.1\""),
];

/// Which kind of table has which keys, for one that stands in the wrong kind.
pub(super) const HOMES: &[(&str, &[Key])] = &[
    ("`[gateway]`", GATEWAY),
    ("a connection of type \"gre\"", GRE),
    ("a connection of type \"l3\"", L3_KEYS),
    ("`[[tenant]]`", TENANT),
    ("an entry of a connection's `routes`", ROUTE),
    ("an entry of a tenant's `vms`", VM),
    ("an entry of a tenant's `gateways`", OTHER_GATEWAY),
    ("an entry of a tenant's `subnets`", SUBNET),
    ("`[tenant.bgp]`", bgp::BGP),
    ("`[[tenant.bgp.peer]]`", bgp::PEER),
    ("`[[tenant.bgp.policy]]`", bgp::POLICY),
    ("a statement of a policy", bgp::STATEMENT),
    ("a statement's `match`", bgp::MATCH),
    ("a statement's `set`", bgp::SET),
    ("a peer's `max_prefixes`", bgp::MAX_PREFIXES),
    ("a peer's `bfd`", bgp::BFD),
    ("`[tor]`", tor::read::TOR),
    ("`[[tor.peer]]`", tor::read::PEER),
    ("`[[port]]`", PORT),
    ("`[[steer]]` with protocol \"udp\" or \"tcp\"", STEER_PORTS),
    ("`[[steer]]` with protocol \"esp\"", STEER_ESP),
    ("an entry of `bmp`", STATION),
    ("the plan itself, in front of the first `[…]`", PLAN),
];

/// What could be read of a document, and what could not.
pub(super) fn read(document: &Document<'_>, problems: &mut Problems) -> (Draft, Missing) {
    let mut reader = Reader::new(document, problems);
    let mut draft = Draft { tenants: tenants(&mut reader, document, tenant).into(), ..Draft::default() };
    let rest = document.rest();
    if reader.enter(&rest) {
        plan(&mut reader, &rest.table, &mut draft);
    } else {
        PLAN.iter().for_each(|key| reader.leave_out(key.0));
    }
    (draft, reader.into_missing())
}

/// The tenants, each of which has a part of the document to itself.
pub(super) fn tenants<'p, T>(
    reader: &mut Reader<'p>,
    document: &Document<'_>,
    read: fn(&mut Reader<'p>, &Node<'_>) -> Option<T>,
) -> Vec<T> {
    let mut tenants = Vec::with_capacity(document.tenants());
    for index in 0..document.tenants() {
        let part = document.tenant(index);
        if reader.enter(&part) {
            reader.list_item("tenant", index, &part.table, read, &mut tenants);
        } else {
            reader.leave_out_element("tenant", index);
        }
    }
    tenants
}

fn plan(reader: &mut Reader<'_>, table: &Spanned<toml::de::DeTable<'_>>, draft: &mut Draft) {
    let fields = reader.top(table, PLAN);
    draft.gateway = reader.table(&fields, "gateway", gateway);
    draft.ports = reader.list(&fields, "port", port);
    draft.steer = reader.list(&fields, "steer", steer);
    draft.tor = reader.table(&fields, "tor", tor::read::tor);
    if draft.tenants.is_empty() {
        draft.tenants = reader.list(&fields, "tenant", tenant);
    } else if let Some(twice) = fields.node("tenant") {
        reader.refuse(
            twice.span(),
            Complaint::new("`tenant` stands here and as `[[tenant]]` below", "write every tenant as `[[tenant]]`"),
        );
    }
}

fn gateway(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Gateway> {
    let fields = reader.open(node, "`[gateway]`", GATEWAY)?;
    let name = reader.required(&fields, "name");
    let encapsulation = reader.choice(&fields, "encapsulation", ENCAPSULATIONS);
    let pa = reader.required_dual(&fields, "pa");
    let routes_per_tenant =
        reader.optional::<u32>(&fields, "routes_per_tenant").unwrap_or(Gateway::DEFAULT_ROUTES_PER_TENANT);
    let bmp = reader.list(&fields, "bmp", station);
    Some(Gateway { name: name?, encapsulation: encapsulation?, pa: pa?, routes_per_tenant, bmp })
}

fn station(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Station> {
    let fields = reader.open(node, "a BMP station", STATION)?;
    let address = reader.required(&fields, "address");
    let port = reader.required(&fields, "port");
    Some(Station { address: address?, port: port? })
}

pub(super) const ENCAPSULATIONS: &[(&str, Encapsulation)] =
    &[("vxlan", Encapsulation::Vxlan), ("nvgre", Encapsulation::Nvgre)];
const ROLES: &[(&str, PortRole)] = &[("fabric", PortRole::Fabric), ("site", PortRole::Site), ("both", PortRole::Both)];
const MODES: &[(&str, PortMode)] = &[("native", PortMode::Native), ("generic", PortMode::Generic)];
const KINDS: &[(&str, KindForm)] = &[("gre", KindForm::Gre), ("l3", KindForm::L3)];
const ANTI_SPOOFING: &[(&str, AntiSpoofing)] =
    &[("feasible", AntiSpoofing::Feasible), ("strict", AntiSpoofing::Strict), ("off", AntiSpoofing::Off)];
const PASSAGES: &[(&str, Passage)] =
    &[("none", Passage::None), ("arriving", Passage::Arriving), ("leaving", Passage::Leaving)];
const PROTOCOLS: &[(&str, ProtocolForm)] =
    &[("udp", ProtocolForm::Udp), ("tcp", ProtocolForm::Tcp), ("esp", ProtocolForm::Esp), ("gre", ProtocolForm::Gre)];

fn port(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Port> {
    let fields = reader.open(node, "`[[port]]`", PORT)?;
    let name = reader.required(&fields, "name");
    let role = reader.choice(&fields, "role", ROLES);
    let mode = reader.optional_choice(&fields, "mode", MODES).unwrap_or_default();
    Some(Port { name: name?, role: role?, mode })
}

fn tenant(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Tenant> {
    let fields = reader.open(node, "`[[tenant]]`", TENANT)?;
    let name = reader.required(&fields, "name");
    let encapsulation = reader.optional_choice(&fields, "encapsulation", ENCAPSULATIONS);
    let gateway_addresses = reader.optional_dual(&fields, "gateway_addresses").unwrap_or_default();
    let gateway_subnet = reader.optional(&fields, "gateway_subnet");
    let subnets = reader.list(&fields, "subnets", subnet);
    let vms = reader.list(&fields, "vms", vm);
    let gateway_vsid = reader.optional(&fields, "gateway_vsid");
    let gateways = reader.list(&fields, "gateways", other_gateway);
    let connections = reader.list(&fields, "connection", connection);
    let bgp = reader.table(&fields, "bgp", bgp::bgp);
    Some(Tenant {
        name: name?,
        seat: None,
        encapsulation,
        gateway_addresses,
        gateway_subnet,
        subnets,
        vms,
        gateway_vsid,
        gateways,
        connections,
        bgp,
    })
}

fn other_gateway(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<OtherGateway> {
    let fields = reader.open(node, "another gateway", OTHER_GATEWAY)?;
    let pa = reader.required(&fields, "pa");
    let addresses = reader.values(&fields, "addresses");
    let routes = reader.list(&fields, "routes", gateway_route);
    Some(OtherGateway { pa: pa?, addresses, routes })
}

fn gateway_route(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<GatewayRoute> {
    let fields = reader.open(node, "a route by another gateway", GATEWAY_ROUTE)?;
    let destination = reader.required(&fields, "destination");
    let metric = reader.optional(&fields, "metric").unwrap_or_default();
    Some(GatewayRoute { destination: destination?, metric })
}

fn subnet(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Subnet> {
    let fields = reader.open(node, "a subnet", SUBNET)?;
    let vsid = reader.required(&fields, "vsid");
    let prefix = reader.required(&fields, "prefix");
    Some(Subnet { vsid: vsid?, prefix: prefix? })
}

fn vm(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vm> {
    let fields = reader.open(node, "a VM", VM)?;
    let ca = reader.required(&fields, "ca");
    let mac = reader.required(&fields, "mac");
    let vsid = reader.required(&fields, "vsid");
    let pa = reader.required(&fields, "pa");
    Some(Vm { ca: ca?, mac: mac?, vsid: vsid?, pa: pa? })
}

fn connection(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Connection> {
    let kind = reader.peek_choice(node, "`[[tenant.connection]]`", GRE, "type", KINDS)?;
    let (fields, kind) = match kind {
        KindForm::Gre => {
            let fields = reader.open(node, "a connection of type \"gre\"", GRE)?;
            let kind = gre(reader, &fields);
            (fields, kind)
        }
        KindForm::L3 => {
            let fields = reader.open(node, "a connection of type \"l3\"", L3_KEYS)?;
            let kind = l3(reader, &fields);
            (fields, kind)
        }
    };
    let name = reader.required(&fields, "name");
    let enabled = reader.optional(&fields, "enabled").unwrap_or(true);
    let inbound_kbps = reader.optional(&fields, "inbound_kbps");
    let outbound_kbps = reader.optional(&fields, "outbound_kbps");
    let mtu = reader.optional(&fields, "mtu");
    let anti_spoofing = reader.optional_choice(&fields, "anti_spoofing", ANTI_SPOOFING).unwrap_or_default();
    let passage = reader.optional_choice(&fields, "passage", PASSAGES).unwrap_or_default();
    let peers = reader.values(&fields, "peers");
    let routes = reader.list(&fields, "routes", route);
    Some(Connection {
        name: name?,
        kind: kind?,
        enabled,
        inbound_kbps,
        outbound_kbps,
        mtu,
        anti_spoofing,
        passage,
        peers,
        routes,
    })
}

fn gre(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> Option<ConnectionKind> {
    let vip = reader.required(fields, "vip");
    let remote = reader.required(fields, "remote");
    let key = reader.optional(fields, "key");
    let sequence = reader.optional(fields, "sequence").unwrap_or_default();
    Some(ConnectionKind::Gre(Gre { vip: vip?, remote: remote?, key, sequence }))
}

fn l3(reader: &mut Reader<'_>, fields: &Fields<'_, '_>) -> Option<ConnectionKind> {
    let port = reader.required(fields, "port");
    let vlan = reader.required(fields, "vlan");
    reader.demand(fields, "addresses");
    let addresses = fields.node("addresses").map(|_| reader.values(fields, "addresses"));
    Some(ConnectionKind::L3(L3 { port: port?, vlan: vlan?, addresses: addresses? }))
}

fn route(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Route> {
    let fields = reader.open(node, "a route", ROUTE)?;
    let destination = reader.required(&fields, "destination");
    let next_hop = reader.optional(&fields, "next_hop");
    let metric = reader.optional(&fields, "metric").unwrap_or_default();
    Some(Route { destination: destination?, next_hop, metric })
}

fn steer(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Steer> {
    let protocol = reader.peek_choice(node, "`[[steer]]`", STEER_PORTS, "protocol", PROTOCOLS)?;
    let (what, keys) = match protocol {
        ProtocolForm::Udp => ("`[[steer]]` with protocol \"udp\"", STEER_PORTS),
        ProtocolForm::Tcp => ("`[[steer]]` with protocol \"tcp\"", STEER_PORTS),
        ProtocolForm::Esp => ("`[[steer]]` with protocol \"esp\"", STEER_ESP),
        ProtocolForm::Gre => ("`[[steer]]` with protocol \"gre\"", STEER_GRE),
    };
    let fields = reader.open(node, what, keys)?;
    let vip = reader.required(&fields, "vip");
    let source = reader.required(&fields, "source");
    let gateway = reader.required(&fields, "gateway");
    let select = match protocol {
        ProtocolForm::Udp | ProtocolForm::Tcp => {
            let port = reader.required(&fields, "port");
            let source_port = reader.optional(&fields, "source_port");
            port.map(|port| match protocol {
                ProtocolForm::Tcp => SteerMatch::Tcp { port, source_port },
                _ => SteerMatch::Udp { port, source_port },
            })
        }
        ProtocolForm::Esp => Some(SteerMatch::Esp { spi: reader.optional(&fields, "spi") }),
        ProtocolForm::Gre => Some(SteerMatch::Gre),
    };
    Some(Steer { vip: vip?, source: source?, select: select?, gateway: gateway? })
}
