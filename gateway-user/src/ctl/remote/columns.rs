//! What a table shows of each kind.

use super::fetch::Item;
use super::fields::{count, parent, property, rate, shown, status, text};
use crate::controller::resources::Kind;
use crate::ctl::table::{Align, Row, Table};
use serde_json::Value;

/// How much a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// What is looked at most.
    Narrow,
    /// What else fits in a line.
    Wide,
}

/// One column.
struct Column {
    heading: &'static str,
    align: Align,
    width: Width,
    value: Show,
}

enum Show {
    Property(&'static str),
    State(&'static str),
    Rate(&'static str),
    Count(&'static str),
    Parent,
    Status,
    Computed(fn(&Item) -> String),
}

const fn column(heading: &'static str, value: Show) -> Column {
    let align = match value {
        Show::Rate(_) | Show::Count(_) => Align::Right,
        _ => Align::Left,
    };
    Column { heading, align, width: Width::Narrow, value }
}

const fn wide(heading: &'static str, value: Show) -> Column {
    let mut column = column(heading, value);
    column.width = Width::Wide;
    column
}

const STATUS: Column = column("STATUS", Show::Status);

fn columns(kind: Kind) -> Vec<Column> {
    use Show::{Computed, Count, Parent, Property, Rate, State};
    match kind {
        Kind::Gateway => vec![
            column("POOL", Property("pool")),
            column("STATE", Computed(gateway_state)),
            column("HEALTH", State("healthState")),
            column("FREE", Rate("availableCapacity")),
            column("TOTAL", Rate("totalCapacity")),
            column("TENANTS", Count("virtualGateways")),
            wide("SCHEDULING", Computed(scheduling)),
            wide("HOST", Property("failureDomain.host")),
            wide("RACK", Property("failureDomain.rack")),
            wide("VIPS", Computed(vips)),
            wide("STATUS", Show::Status),
        ],
        Kind::GatewayPool => vec![
            column("TYPE", Property("type")),
            column("GATEWAYS", Count("gateways")),
            column("REDUNDANT", Computed(redundant)),
            column("CAPACITY", Rate("gatewayCapacityKiloBitsPerSecond")),
            STATUS,
            wide("TENANTS", Count("virtualGateways")),
            wide("VIP-SUBNETS", Property("ipConfiguration.greVipSubnets")),
            wide("RULE", Property("capacityRule")),
        ],
        Kind::VirtualGateway => vec![
            column("CONNECTIONS", Count("networkConnections")),
            column("GATEWAYS", Computed(gateways)),
            column("POOLS", Computed(pools)),
            STATUS,
            wide("SUBNETS", Property("gatewaySubnets")),
            wide("BGP-ROUTERS", Count("bgpRouters")),
        ],
        Kind::NetworkConnection => vec![
            column("TENANT", Parent),
            column("TYPE", Property("connectionType")),
            column("GATEWAY", Property("gateway")),
            column("VIP", Property("sourceIPAddress")),
            column("REMOTE", Computed(remote)),
            column("STATE", State("connectionState")),
            wide("OUT", Rate("outboundKiloBitsPerSecond")),
            wide("IN", Rate("inboundKiloBitsPerSecond")),
            wide("ROUTES", Count("routes")),
            wide("STATUS", Show::Status),
        ],
        Kind::VirtualNetwork => vec![
            column("PREFIXES", Property("addressSpace.addressPrefixes")),
            column("SUBNETS", Count("subnets")),
            column("ENCAPSULATION", Property("encapsulation")),
            STATUS,
        ],
        Kind::VirtualSubnet => vec![
            column("NETWORK", Parent),
            column("PREFIX", Property("addressPrefix")),
            column("ID-ON-FABRIC", Property("virtualSubnetId")),
            column("ROUTER", Property("gatewayAddress")),
        ],
        Kind::LogicalNetwork => vec![
            column("SUBNETS", Count("subnets")),
            column("VIRTUALIZATION", Property("networkVirtualizationEnabled")),
            column("VIRTUAL-NETWORKS", Count("virtualNetworks")),
        ],
        Kind::LogicalSubnet => vec![
            column("NETWORK", Parent),
            column("PREFIX", Property("addressPrefix")),
            column("VLAN", Property("vlanID")),
            column("POOLS", Count("ipPools")),
            column("RACKS", Property("racks")),
        ],
        Kind::IpPool => vec![
            column("SUBNET", Parent),
            column("FIRST", Property("startIpAddress")),
            column("LAST", Property("endIpAddress")),
            column("USAGE", Property("usage")),
        ],
        Kind::MacPool => {
            vec![column("FIRST", Property("startMacAddress")), column("LAST", Property("endMacAddress"))]
        }
        Kind::PublicIpAddress => vec![
            column("ADDRESS", Property("ipAddress")),
            column("METHOD", Property("publicIPAllocationMethod")),
            column("POOLS", Property("gatewayPools")),
        ],
        Kind::Server => vec![
            column("HOST", Property("failureDomain.host")),
            column("RACK", Property("failureDomain.rack")),
            column("INTERFACES", Count("virtualNetworkInterfaces")),
            STATUS,
        ],
        Kind::NetworkInterface => vec![
            column("MAC", Property("privateMacAddress")),
            column("ADDRESSES", Computed(addresses)),
            column("HOST", Property("server")),
            STATUS,
            wide("DEVICE", Property("deviceName")),
        ],
        Kind::BgpRouter => vec![
            column("TENANT", Parent),
            column("AS", Property("extAsNumber")),
            column("PEERS", Count("bgpPeers")),
            STATUS,
        ],
        Kind::BgpPeer => vec![
            column("ROUTER", Parent),
            column("ADDRESS", Property("peerIpAddress")),
            column("AS", Computed(peer_as)),
            column("STATE", State("connectionState")),
        ],
        kind if kind.info().parent.is_some() => vec![column("IN", Parent), STATUS],
        _ => vec![STATUS],
    }
}

/// What a gateway does, and whether it is given more to do.
fn gateway_state(item: &Item) -> String {
    let state = shown(item, "state");
    match scheduling(item).as_str() {
        "Enabled" => state,
        scheduling => format!("{state},{scheduling}"),
    }
}

fn scheduling(item: &Item) -> String {
    match property(&item.value, "scheduling") {
        Value::Null => "Enabled".to_owned(),
        scheduling => text(scheduling),
    }
}

fn vips(item: &Item) -> String {
    let list = property(&item.value, "externalIPAddress").as_array();
    text(&list.into_iter().flatten().map(|entry| entry["ipAddress"].clone()).collect())
}

fn redundant(item: &Item) -> String {
    match property(&item.value, "redundantGatewayCount").as_u64() {
        Some(0) => "0 (unprotected)".to_owned(),
        _ => shown(item, "redundantGatewayCount"),
    }
}

fn gateways(item: &Item) -> String {
    let connections = property(&item.value, "networkConnections").as_array();
    let mut names: Vec<String> = connections
        .into_iter()
        .flatten()
        .map(|connection| property(connection, "gateway"))
        .filter(|gateway| !gateway.is_null())
        .map(text)
        .collect();
    names.sort();
    names.dedup();
    text(&names.into())
}

fn pools(item: &Item) -> String {
    match shown(item, "gatewayPools") {
        none if none == super::fields::NOTHING => "(default)".to_owned(),
        pools => pools,
    }
}

/// A tunnel's far end, or the site's routers on a VLAN.
fn remote(item: &Item) -> String {
    match property(&item.value, "destinationIPAddress") {
        Value::Null => shown(item, "peerIPAddresses"),
        address => text(address),
    }
}

fn addresses(item: &Item) -> String {
    let list = property(&item.value, "ipConfigurations").as_array();
    text(&list.into_iter().flatten().map(|entry| property(entry, "privateIPAddress").clone()).collect())
}

fn peer_as(item: &Item) -> String {
    match property(&item.value, "extAsNumber") {
        Value::Null => shown(item, "asNumber"),
        number => text(number),
    }
}

/// Resources of one kind as a table.
pub fn table<'a>(kind: Kind, items: impl Iterator<Item = &'a Item>, width: Width) -> Table {
    let columns: Vec<Column> =
        columns(kind).into_iter().filter(|column| width == Width::Wide || column.width == Width::Narrow).collect();
    let mut headings = vec![("NAME", Align::Left)];
    headings.extend(columns.iter().map(|column| (column.heading, column.align)));
    let mut table = Table::new("nothing there", &headings);
    for item in items {
        let row = Row::new().cell(item.path.id().as_str());
        table.push(columns.iter().fold(row, |row, column| match column.value {
            Show::Property(path) => row.cell(shown(item, path)),
            Show::State(path) => row.state(shown(item, path)),
            Show::Rate(path) => row.cell(rate(item, path)),
            Show::Count(path) => row.cell(count(item, path)),
            Show::Parent => row.cell(parent(item)),
            Show::Status => row.state(status(item)),
            Show::Computed(value) => row.cell(value(item)),
        }));
    }
    table
}
