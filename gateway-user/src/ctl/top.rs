//! Rates of the connections, live.

use super::args::TopOptions;
use super::live::{self, Shown, Unattended};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::api::report::ConnectionReport;
use crate::api::{Answer, Client, Query, Request};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// A connection's rates between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rates {
    tenant: String,
    name: String,
    state: String,
    in_bytes_per_second: f64,
    in_packets_per_second: f64,
    out_bytes_per_second: f64,
    out_packets_per_second: f64,
    drops_per_second: f64,
    rate_limited_in_per_second: f64,
    rate_limited_out_per_second: f64,
}

impl Rates {
    fn load(&self) -> f64 {
        self.in_bytes_per_second + self.out_bytes_per_second
    }
}

/// What was counted at a moment.
struct Look {
    at: Instant,
    rows: Vec<ConnectionReport>,
}

impl Look {
    async fn take(client: &mut Client, tenant: Option<&str>) -> anyhow::Result<Self> {
        let answer = client.ask(&Request::Show(Query::Connections)).await?;
        let Answer::Connections(mut rows) = answer else {
            anyhow::bail!("the gateway answered something else: {answer:?}");
        };
        if let Some(tenant) = tenant {
            rows.retain(|row| row.tenant == tenant);
        }
        Ok(Self { at: Instant::now(), rows })
    }
}

/// Rates between two looks `seconds` apart, the busiest first. A connection that is new, or whose counters began anew, counts from zero.
fn rates(before: &[ConnectionReport], now: &[ConnectionReport], seconds: f64) -> Vec<Rates> {
    let before: HashMap<(&str, &str), &ConnectionReport> =
        before.iter().map(|row| ((row.tenant.as_str(), row.name.as_str()), row)).collect();
    let none = ConnectionReport::default();
    let mut rates: Vec<Rates> = now
        .iter()
        .map(|row| {
            let old = before.get(&(row.tenant.as_str(), row.name.as_str())).copied().unwrap_or(&none);
            let rate = |of: fn(&ConnectionReport) -> u64| {
                let (old, new) = (of(old), of(row));
                new.checked_sub(old).unwrap_or(new) as f64 / seconds.max(1e-3)
            };
            Rates {
                tenant: row.tenant.clone(),
                name: row.name.clone(),
                state: row.state.clone(),
                in_bytes_per_second: rate(|row| row.traffic.in_bytes),
                in_packets_per_second: rate(|row| row.traffic.in_packets),
                out_bytes_per_second: rate(|row| row.traffic.out_bytes),
                out_packets_per_second: rate(|row| row.traffic.out_packets),
                drops_per_second: rate(|row| row.traffic.dropped_packets),
                rate_limited_in_per_second: rate(|row| row.rate_limited_in),
                rate_limited_out_per_second: rate(|row| row.rate_limited_out),
            }
        })
        .collect();
    rates.sort_by(|a, b| {
        let by_load = b.load().total_cmp(&a.load());
        by_load.then_with(|| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)))
    });
    rates
}

/// The connections after a line for all of them together.
fn table(rates: &[Rates]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(
        "no connections",
        &[
            ("TENANT", Left),
            ("CONNECTION", Left),
            ("STATE", Left),
            ("IN bit/s", Right),
            ("packets/s", Right),
            ("OUT bit/s", Right),
            ("packets/s", Right),
            ("DROPS/s", Right),
        ],
    );
    if rates.is_empty() {
        return table;
    }
    let sum = |of: fn(&Rates) -> f64| rates.iter().map(of).sum::<f64>();
    let total = [
        sum(|row| row.in_bytes_per_second),
        sum(|row| row.in_packets_per_second),
        sum(|row| row.out_bytes_per_second),
        sum(|row| row.out_packets_per_second),
        sum(|row| row.drops_per_second),
    ];
    table.push(numbers(Row::new().cell("all").cell(rates.len().to_string()).cell(""), total));
    for row in rates {
        let start = Row::new().cell(&row.tenant).cell(&row.name).state(&row.state);
        let own = [
            row.in_bytes_per_second,
            row.in_packets_per_second,
            row.out_bytes_per_second,
            row.out_packets_per_second,
            row.drops_per_second,
        ];
        table.push(numbers(start, own));
    }
    table
}

/// Bytes and packets in, bytes and packets out, drops; bytes as bits.
fn numbers(row: Row, [in_bytes, in_packets, out_bytes, out_packets, drops]: [f64; 5]) -> Row {
    [in_bytes * 8.0, in_packets, out_bytes * 8.0, out_packets, drops]
        .into_iter()
        .fold(row, |row, value| row.cell(units::number(value)))
}

/// Shows rates until the count is reached, q or Ctrl-C.
pub async fn run(socket: &Path, options: &TopOptions, output: &mut Output) -> anyhow::Result<()> {
    let mut client = Client::connect(socket).await?;
    let tenant = options.tenant.as_deref();
    let mut before: Option<Look> = None;
    live::run(options, Unattended::Always, output, async || {
        let now = Look::take(&mut client, tenant).await?;
        let shown = match &before {
            Some(before) => {
                let rates = rates(&before.rows, &now.rows, (now.at - before.at).as_secs_f64());
                Some(Shown { json: serde_json::to_value(&rates)?, table: table(&rates) })
            }
            None => None,
        };
        before = Some(now);
        Ok(shown)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::report::Traffic;
    use crate::ctl::output::Style;

    fn row(name: &str, in_bytes: u64, in_packets: u64, dropped_packets: u64) -> ConnectionReport {
        ConnectionReport {
            tenant: "contoso".to_owned(),
            name: name.to_owned(),
            state: "up".to_owned(),
            traffic: Traffic { in_bytes, in_packets, dropped_packets, ..Traffic::default() },
            ..ConnectionReport::default()
        }
    }

    #[test]
    fn rates_are_differences_over_time_and_the_busiest_comes_first() {
        let before = [row("dc", 1000, 10, 0), row("hq", 0, 0, 0)];
        let now = [row("dc", 3000, 20, 4), row("hq", 2_000_000, 2000, 0)];
        let rates = rates(&before, &now, 2.0);
        assert_eq!((rates[0].name.as_str(), rates[0].in_bytes_per_second), ("hq", 1_000_000.0));
        assert_eq!((rates[1].in_packets_per_second, rates[1].drops_per_second), (5.0, 2.0));
        let expected = "\
TENANT   CONNECTION  STATE  IN bit/s  packets/s  OUT bit/s  packets/s  DROPS/s
all      2                    8.01 M     1.00 k          0          0        2
contoso  hq          up       8.00 M     1.00 k          0          0        0
contoso  dc          up       8.00 k          5          0          0        2
";
        assert_eq!(table(&rates).render(Style::Plain), expected);
    }

    #[test]
    fn counters_that_began_anew_give_no_absurd_rate() {
        let rates = rates(&[row("hq", 1_000_000, 10, 0)], &[row("hq", 500, 5, 0)], 1.0);
        assert_eq!(rates[0].in_bytes_per_second, 500.0);
    }
}
