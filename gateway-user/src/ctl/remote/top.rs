//! `gatewayctl top gateways`, `connections`, `hosts`: how much is used, live, by what the agents report.

use super::client::Client;
use super::fetch::{self, Item};
use super::fields::{NOTHING, count, kbps, property, shown, status, text};
use crate::controller::resources::Kind;
use crate::ctl::args::{Format, Subject, TopOptions};
use crate::ctl::output::{Output, Style};
use crate::ctl::table::{Align, Row, Table};
use crate::ctl::terminal::{self, Live};
use crate::ctl::units;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Rates are taken over so long: agents report once a second.
const WINDOW: Duration = Duration::from_secs(5);
/// The shortest time that a rate is taken over.
const SHORTEST: Duration = Duration::from_secs(2);

/// What a connection has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Carried {
    in_bytes: u64,
    out_bytes: u64,
    dropped: u64,
}

/// Of each connection, by tenant and id.
type Counters = BTreeMap<(String, String), Carried>;

/// A connection's rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    in_bits: f64,
    out_bits: f64,
    drops: f64,
}

/// What was seen at a moment.
struct Look {
    at: Instant,
    counters: Counters,
}

fn counters(tenants: &[Item]) -> Counters {
    let mut counters = Counters::new();
    for (tenant, connection) in connections(tenants) {
        let statistics = property(connection, "statistics");
        let number = |name: &str| statistics[name].as_u64().unwrap_or_default();
        let carried = Carried {
            in_bytes: number("inboundBytes"),
            out_bytes: number("outboundBytes"),
            dropped: number("rxTotalPacketsDropped"),
        };
        counters.insert((tenant.to_owned(), id(connection)), carried);
    }
    counters
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

/// Rates between two looks. What is new, or began anew, counts from zero.
fn rates(before: &Counters, now: &Counters, seconds: f64) -> BTreeMap<(String, String), Rates> {
    let rate = |old: u64, new: u64| new.checked_sub(old).unwrap_or(new) as f64 / seconds.max(1e-3);
    let rates = now.iter().map(|(key, new)| {
        let old = before.get(key).copied().unwrap_or_default();
        let rates = Rates {
            in_bits: 8.0 * rate(old.in_bytes, new.in_bytes),
            out_bits: 8.0 * rate(old.out_bytes, new.out_bytes),
            drops: rate(old.dropped, new.dropped),
        };
        (key.clone(), rates)
    });
    rates.collect()
}

/// What is shown of one look.
struct Shown {
    rows: Vec<Value>,
    table: Table,
}

fn numbers(row: Row, rates: &Rates) -> Row {
    row.cell(units::number(rates.in_bits)).cell(units::number(rates.out_bits)).cell(units::number(rates.drops))
}

fn program(rates: &Rates) -> [(&'static str, Value); 3] {
    [
        ("inBitsPerSecond", json!(rates.in_bits)),
        ("outBitsPerSecond", json!(rates.out_bits)),
        ("dropsPerSecond", json!(rates.drops)),
    ]
}

fn row(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn gateways(gateways: &[Item], tenants: &[Item], rates: &BTreeMap<(String, String), Rates>) -> Shown {
    use Align::{Left, Right};
    let mut table = Table::new(
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
            ("IN bit/s", Right),
            ("OUT bit/s", Right),
            ("DROPS/s", Right),
        ],
    );
    let mut of: BTreeMap<String, (usize, Rates)> = BTreeMap::new();
    for (tenant, connection) in connections(tenants) {
        let (carries, sum) = of.entry(text(property(connection, "gateway")).to_ascii_lowercase()).or_default();
        *carries += 1;
        if let Some(rates) = rates.get(&(tenant.to_owned(), id(connection))) {
            sum.in_bits += rates.in_bits;
            sum.out_bits += rates.out_bits;
            sum.drops += rates.drops;
        }
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
        table.push(numbers(
            Row::new()
                .cell(name.to_string())
                .cell(shown(gateway, "pool"))
                .state(shown(gateway, "state"))
                .state(shown(gateway, "healthState"))
                .cell(kbps(&json!(used)))
                .cell(kbps(&json!(total)))
                .cell(percent.map_or_else(|| NOTHING.to_owned(), |percent| percent.to_string()))
                .cell(carries.to_string()),
            &sum,
        ));
        let fixed = [
            ("gateway", json!(name.as_str())),
            ("pool", json!(shown(gateway, "pool"))),
            ("state", json!(shown(gateway, "state"))),
            ("healthState", json!(shown(gateway, "healthState"))),
            ("usedKiloBitsPerSecond", json!(used)),
            ("totalKiloBitsPerSecond", json!(total)),
            ("connections", json!(carries)),
        ];
        rows.push(row(fixed.into_iter().chain(program(&sum))));
    }
    Shown { rows, table }
}

fn busiest(tenants: &[Item], rates: &BTreeMap<(String, String), Rates>) -> Shown {
    use Align::{Left, Right};
    let mut table = Table::new(
        "no connections",
        &[
            ("TENANT", Left),
            ("CONNECTION", Left),
            ("GATEWAY", Left),
            ("STATE", Left),
            ("IN bit/s", Right),
            ("OUT bit/s", Right),
            ("DROPS/s", Right),
        ],
    );
    let mut all: Vec<(&str, &Value, Rates)> = connections(tenants)
        .map(|(tenant, connection)| {
            let rates = rates.get(&(tenant.to_owned(), id(connection))).copied().unwrap_or_default();
            (tenant, connection, rates)
        })
        .collect();
    // Stable: connections that carry the same stay in the order of their names.
    all.sort_by(|(.., a), (.., b)| (b.in_bits + b.out_bits).total_cmp(&(a.in_bits + a.out_bits)));
    let mut rows = Vec::new();
    for (tenant, connection, rates) in all {
        let (gateway, state) = (text(property(connection, "gateway")), text(property(connection, "connectionState")));
        let start = Row::new().cell(tenant).cell(id(connection)).cell(&gateway).state(&state);
        table.push(numbers(start, &rates));
        let fixed = [
            ("tenant", json!(tenant)),
            ("connection", json!(id(connection))),
            ("gateway", json!(gateway)),
            ("state", json!(state)),
        ];
        rows.push(row(fixed.into_iter().chain(program(&rates))));
    }
    Shown { rows, table }
}

fn hosts(servers: &[Item]) -> Shown {
    use Align::{Left, Right};
    let mut table = Table::new("no hosts", &[("HOST", Left), ("RACK", Left), ("STATUS", Left), ("INTERFACES", Right)]);
    let mut rows = Vec::new();
    for server in servers {
        let (interfaces, rack, status) =
            (count(server, "virtualNetworkInterfaces"), shown(server, "failureDomain.rack"), status(server));
        table.push(Row::new().cell(server.path.id().to_string()).cell(&rack).state(&status).cell(&interfaces));
        rows.push(row([
            ("host", json!(server.path.id().as_str())),
            ("rack", json!(rack)),
            ("status", json!(status)),
            ("interfaces", json!(interfaces.parse::<usize>().unwrap_or_default())),
        ]));
    }
    Shown { rows, table }
}

/// Keeps looking: what is shown comes of the oldest look within the window and the latest.
struct Observer {
    looks: VecDeque<Look>,
}

impl Observer {
    async fn look(&mut self, client: &mut Client, what: Subject, tenant: Option<&str>) -> anyhow::Result<Shown> {
        if what == Subject::Hosts {
            return Ok(hosts(&fetch::roots(client, Kind::Server).await?));
        }
        let mut tenants = fetch::roots(client, Kind::VirtualGateway).await?;
        if let Some(tenant) = tenant {
            tenants.retain(|item| item.path.id().as_str().eq_ignore_ascii_case(tenant));
        }
        let now = Look { at: Instant::now(), counters: counters(&tenants) };
        while self.looks.len() > 1 && self.looks.get(1).is_some_and(|second| now.at - second.at >= WINDOW) {
            self.looks.pop_front();
        }
        let rates = match self.looks.front() {
            Some(first) => rates(&first.counters, &now.counters, (now.at - first.at).as_secs_f64()),
            None => BTreeMap::new(),
        };
        self.looks.push_back(now);
        Ok(match what {
            Subject::Gateways => gateways(&fetch::roots(client, Kind::Gateway).await?, &tenants, &rates),
            Subject::Connections | Subject::Hosts => busiest(&tenants, &rates),
        })
    }
}

/// Shows what is used until the count is reached, q or Ctrl-C; once, where nobody looks at a terminal.
pub async fn run(client: &mut Client, what: Subject, options: &TopOptions, output: &mut Output) -> anyhow::Result<()> {
    let tenant = options.tenant.as_deref();
    let mut observer = Observer { looks: VecDeque::new() };
    observer.look(client, what, tenant).await?;
    let mut live = match output.format() {
        Format::Table if !options.once => Live::enter()?,
        _ => None,
    };
    let unbounded = if live.is_some() { u64::MAX } else { 1 };
    let mut left = if options.once { 1 } else { options.count.unwrap_or(unbounded) };
    let mut wait = Duration::from_secs_f64(options.interval);
    if what != Subject::Hosts {
        wait = wait.max(SHORTEST);
    }
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    while left > 0 {
        let key = async {
            match live.as_mut() {
                Some(live) => live.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            key = key => match key {
                b'q' | b'Q' => return Ok(()),
                _ => continue,
            },
            _ = &mut interrupt => return Ok(()),
        }
        left -= 1;
        wait = Duration::from_secs_f64(options.interval);
        let shown = observer.look(client, what, tenant).await?;
        draw(&shown, live.is_some(), output)?;
    }
    Ok(())
}

fn draw(shown: &Shown, in_place: bool, output: &mut Output) -> anyhow::Result<()> {
    if output.format() == Format::Json {
        output.json_line(&shown.rows)?;
    } else if in_place {
        let (rows, columns) = terminal::size();
        // Cut by columns, so without colours, which take characters and no columns.
        let text = format!("{}\nq quits\n", shown.table.render(Style::Plain));
        output.text(&terminal::frame(&text, rows, columns))?;
    } else {
        output.table(&shown.table)?;
    }
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::resources::Path;

    fn item(path: &str, properties: Value) -> Item {
        let path = Path::parse(path).expect("a path");
        let value =
            json!({ "resourceRef": path.to_string(), "resourceId": path.id().as_str(), "properties": properties });
        Item { path, value }
    }

    fn tenants(in_bytes: u64) -> Vec<Item> {
        let connection = |id: &str, gateway: &str, bytes: u64| {
            json!({ "resourceId": id, "properties": {
                "gateway": { "resourceRef": format!("/gateways/{gateway}") }, "connectionState": "Connected",
                "statistics": { "inboundBytes": bytes, "outboundBytes": 0, "rxTotalPacketsDropped": 0 } } })
        };
        let list = json!([connection("dc", "GW2", 0), connection("hq", "GW1", in_bytes)]);
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
        let rates = rates(&counters(&tenants(1000)), &counters(&tenants(3000)), 2.0);
        let expected = "\
GATEWAY  POOL     STATE      HEALTH       USED      TOTAL   %  CONNECTIONS  IN bit/s  OUT bit/s  DROPS/s
GW1      default  Active     Healthy  1 Gbit/s  10 Gbit/s  10            1    8.00 k          0        0
GW2      -        Redundant  Unknown  0 kbit/s   0 kbit/s   -            1         0          0        0
";
        assert_eq!(gateways(&list, &tenants(3000), &rates).table.render(Style::Plain), expected);
    }

    #[test]
    fn the_busiest_connection_comes_first_and_counters_that_began_anew_are_no_flood() {
        let rates = rates(&counters(&tenants(9_000_000)), &counters(&tenants(1000)), 1.0);
        let shown = busiest(&tenants(1000), &rates);
        assert_eq!(shown.rows[0]["connection"], "hq");
        assert_eq!(shown.rows[0]["inBitsPerSecond"], 8000.0);
    }
}
