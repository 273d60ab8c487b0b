//! `gatewayctl top gateways`, `connections`, `hosts`: how much is used, live, by what the agents report.

use super::client::Client;
use super::fetch::{self, Item};
use super::fields::{NOTHING, count, kbps, property, shown, status, text};
use crate::controller::resources::Kind;
use crate::ctl::args::{Subject, TopOptions};
use crate::ctl::live::{self, Shown, Unattended};
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table};
use crate::ctl::units;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How much is carried, as the agents report it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    in_bits: u64,
    in_packets: u64,
    out_bits: u64,
    out_packets: u64,
    drops: u64,
}

impl Rates {
    fn of(resource: &Value) -> Self {
        let statistics = property(resource, "statistics");
        let number = |name: &str| statistics[name].as_u64().unwrap_or_default();
        Self {
            in_bits: number("inboundBitsPerSecond"),
            in_packets: number("inboundPacketsPerSecond"),
            out_bits: number("outboundBitsPerSecond"),
            out_packets: number("outboundPacketsPerSecond"),
            drops: number("droppedPacketsPerSecond"),
        }
    }

    fn add(&mut self, more: Self) {
        self.in_bits += more.in_bits;
        self.in_packets += more.in_packets;
        self.out_bits += more.out_bits;
        self.out_packets += more.out_packets;
        self.drops += more.drops;
    }

    fn cells(&self, row: Row) -> Row {
        [self.in_bits, self.in_packets, self.out_bits, self.out_packets, self.drops]
            .into_iter()
            .fold(row, |row, value| row.cell(units::number(value as f64)))
    }

    fn program(&self) -> [(&'static str, Value); 5] {
        [
            ("inBitsPerSecond", json!(self.in_bits)),
            ("inPacketsPerSecond", json!(self.in_packets)),
            ("outBitsPerSecond", json!(self.out_bits)),
            ("outPacketsPerSecond", json!(self.out_packets)),
            ("dropsPerSecond", json!(self.drops)),
        ]
    }
}

/// A table whose last columns are [`Rates`].
fn table(empty: &'static str, first: &[(&'static str, Align)]) -> Table {
    let rates = ["IN bit/s", "packets/s", "OUT bit/s", "packets/s", "DROPS/s"].map(|heading| (heading, Align::Right));
    Table::new(empty, &[first, &rates].concat())
}

fn connections(tenants: &[Item]) -> impl Iterator<Item = (&str, &Value)> {
    tenants.iter().flat_map(|tenant| {
        let list = property(&tenant.value, "networkConnections").as_array();
        list.into_iter().flatten().map(|connection| (tenant.path.id().as_str(), connection))
    })
}

fn id(resource: &Value) -> String {
    resource["resourceId"].as_str().unwrap_or(NOTHING).to_owned()
}

fn row(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn gateways(gateways: &[Item], tenants: &[Item]) -> Shown {
    use Align::{Left, Right};
    let mut table = table(
        "no gateways",
        &[
            ("GATEWAY", Left),
            ("POOL", Left),
            ("STATE", Left),
            ("HEALTH", Left),
            ("USED", Right),
            ("TOTAL", Right),
            ("%", Right),
            ("CONNECTIONS", Right),
        ],
    );
    let mut of: BTreeMap<String, (usize, Rates)> = BTreeMap::new();
    for (_, connection) in connections(tenants) {
        let (carries, sum) = of.entry(text(property(connection, "gateway")).to_ascii_lowercase()).or_default();
        *carries += 1;
        sum.add(Rates::of(connection));
    }
    let mut rows = Vec::new();
    for gateway in gateways {
        let name = gateway.path.id();
        let (carries, sum) = of.get(&name.as_str().to_ascii_lowercase()).copied().unwrap_or_default();
        let number = |name: &str| {
            let value = property(&gateway.value, name);
            value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
        };
        let (total, free) = (number("totalCapacity"), number("availableCapacity"));
        let used = total.saturating_sub(free);
        let percent = (100 * used).checked_div(total);
        table.push(
            sum.cells(
                Row::new()
                    .cell(name.to_string())
                    .cell(shown(gateway, "pool"))
                    .state(shown(gateway, "state"))
                    .state(shown(gateway, "healthState"))
                    .cell(kbps(&json!(used)))
                    .cell(kbps(&json!(total)))
                    .cell(percent.map_or_else(|| NOTHING.to_owned(), |percent| percent.to_string()))
                    .cell(carries.to_string()),
            ),
        );
        let fixed = [
            ("gateway", json!(name.as_str())),
            ("pool", json!(shown(gateway, "pool"))),
            ("state", json!(shown(gateway, "state"))),
            ("healthState", json!(shown(gateway, "healthState"))),
            ("usedKiloBitsPerSecond", json!(used)),
            ("totalKiloBitsPerSecond", json!(total)),
            ("connections", json!(carries)),
        ];
        rows.push(row(fixed.into_iter().chain(sum.program())));
    }
    Shown { json: rows.into(), table }
}

fn busiest(tenants: &[Item]) -> Shown {
    use Align::Left;
    let mut table =
        table("no connections", &[("TENANT", Left), ("CONNECTION", Left), ("GATEWAY", Left), ("STATE", Left)]);
    let mut all: Vec<(&str, &Value, Rates)> =
        connections(tenants).map(|(tenant, connection)| (tenant, connection, Rates::of(connection))).collect();
    // Stable: connections that carry the same stay in the order of their names.
    all.sort_by_key(|(.., rates)| std::cmp::Reverse(rates.in_bits + rates.out_bits));
    let mut rows = Vec::new();
    for (tenant, connection, rates) in all {
        let (gateway, state) = (text(property(connection, "gateway")), text(property(connection, "connectionState")));
        table.push(rates.cells(Row::new().cell(tenant).cell(id(connection)).cell(&gateway).state(&state)));
        let fixed = [
            ("tenant", json!(tenant)),
            ("connection", json!(id(connection))),
            ("gateway", json!(gateway)),
            ("state", json!(state)),
        ];
        rows.push(row(fixed.into_iter().chain(rates.program())));
    }
    Shown { json: rows.into(), table }
}

/// Hosts: in is what their VMs send, out what these are sent.
fn hosts(servers: &[Item]) -> Shown {
    use Align::{Left, Right};
    let mut table = table("no hosts", &[("HOST", Left), ("RACK", Left), ("STATUS", Left), ("INTERFACES", Right)]);
    let mut rows = Vec::new();
    for server in servers {
        let (interfaces, rack, status) =
            (count(server, "virtualNetworkInterfaces"), shown(server, "failureDomain.rack"), status(server));
        let rates = Rates::of(&server.value);
        let start = Row::new().cell(server.path.id().to_string()).cell(&rack).state(&status).cell(&interfaces);
        table.push(rates.cells(start));
        let fixed = [
            ("host", json!(server.path.id().as_str())),
            ("rack", json!(rack)),
            ("status", json!(status)),
            ("interfaces", json!(interfaces.parse::<usize>().unwrap_or_default())),
        ];
        rows.push(row(fixed.into_iter().chain(rates.program())));
    }
    Shown { json: rows.into(), table }
}

async fn look(client: &mut Client, what: Subject, tenant: Option<&str>) -> anyhow::Result<Shown> {
    if what == Subject::Hosts {
        return Ok(hosts(&fetch::roots(client, Kind::Server).await?));
    }
    let mut tenants = fetch::roots(client, Kind::VirtualGateway).await?;
    if let Some(tenant) = tenant {
        tenants.retain(|item| item.path.id().as_str().eq_ignore_ascii_case(tenant));
    }
    Ok(match what {
        Subject::Gateways => gateways(&fetch::roots(client, Kind::Gateway).await?, &tenants),
        Subject::Connections | Subject::Hosts => busiest(&tenants),
    })
}

/// Shows what is used until the count is reached, q or Ctrl-C; once, where nobody looks at a terminal.
pub async fn run(client: &mut Client, what: Subject, options: &TopOptions, output: &mut Output) -> anyhow::Result<()> {
    let tenant = options.tenant.as_deref();
    live::run(options, Unattended::Once, output, async || look(client, what, tenant).await.map(Some)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::resources::Path;
    use crate::ctl::output::Style;

    fn item(path: &str, properties: Value) -> Item {
        let path = Path::parse(path).expect("a path");
        let value =
            json!({ "resourceRef": path.to_string(), "resourceId": path.id().as_str(), "properties": properties });
        Item { path, value }
    }

    fn tenants() -> Vec<Item> {
        let connection = |id: &str, gateway: &str, bits: u64| {
            json!({ "resourceId": id, "properties": {
                "gateway": { "resourceRef": format!("/gateways/{gateway}") }, "connectionState": "Connected",
                "statistics": { "inboundBitsPerSecond": bits, "inboundPacketsPerSecond": bits / 800, "droppedPacketsPerSecond": 3 } } })
        };
        let list = json!([connection("dc", "GW2", 0), connection("hq", "GW1", 8000), connection("lab", "gw1", 800)]);
        vec![item("/virtualGateways/contoso", json!({ "networkConnections": list }))]
    }

    #[test]
    fn a_gateway_shows_what_is_used_and_what_its_connections_carry() {
        let list = [
            item(
                "/gateways/GW1",
                json!({ "pool": { "resourceRef": "/gatewayPools/default" }, "state": "Active",
                "healthState": "Healthy", "totalCapacity": 10_000_000, "availableCapacity": 9_000_000 }),
            ),
            item("/gateways/GW2", json!({ "state": "Redundant", "healthState": "Unknown" })),
        ];
        let expected = "\
GATEWAY  POOL     STATE      HEALTH       USED      TOTAL   %  CONNECTIONS  IN bit/s  packets/s  OUT bit/s  packets/s  DROPS/s
GW1      default  Active     Healthy  1 Gbit/s  10 Gbit/s  10            2    8.80 k         11          0          0        6
GW2      -        Redundant  Unknown  0 kbit/s   0 kbit/s   -            1         0          0          0          0        3
";
        assert_eq!(gateways(&list, &tenants()).table.render(Style::Plain), expected);
    }

    #[test]
    fn the_busiest_connection_comes_first() {
        let shown = busiest(&tenants());
        assert_eq!((&shown.json[0]["connection"], &shown.json[0]["inBitsPerSecond"]), (&json!("hq"), &json!(8000)));
        assert_eq!(shown.json[2]["connection"], "dc");
    }

    #[test]
    fn a_host_shows_what_its_machines_carry() {
        let list = [
            item(
                "/servers/HOST1",
                json!({ "failureDomain": { "rack": "r1" }, "configurationState": { "status": "Success" },
                "virtualNetworkInterfaces": [{ "resourceRef": "/networkInterfaces/vm1" }],
                "statistics": { "inboundBitsPerSecond": 2_000_000, "inboundPacketsPerSecond": 250,
                    "outboundBitsPerSecond": 1000, "outboundPacketsPerSecond": 1, "droppedPacketsPerSecond": 0 } }),
            ),
            item("/servers/HOST2", json!({ "provisioningState": "Succeeded" })),
        ];
        let expected = "\
HOST   RACK  STATUS     INTERFACES  IN bit/s  packets/s  OUT bit/s  packets/s  DROPS/s
HOST1  r1    Success             1    2.00 M        250     1.00 k          1        0
HOST2  -     Succeeded           0         0          0          0          0        0
";
        let shown = hosts(&list);
        assert_eq!(shown.table.render(Style::Plain), expected);
        assert_eq!(shown.json[0]["inPacketsPerSecond"], 250);
    }
}
