//! What tenants' BGP routers do.

use super::args::{Bgp, Format};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::api::report::{BgpNeighborReport, BgpPathReport, BgpRouteReport, BgpSentReport};
use crate::api::{Answer, Client, Query, Request};
use std::path::Path;

use Align::{Left, Right};

/// Asks and prints.
pub async fn show(socket: &Path, what: &Bgp, output: &mut Output) -> anyhow::Result<()> {
    let query = match what {
        Bgp::Neighbors { tenant } => Query::BgpNeighbors { tenant: tenant.clone() },
        Bgp::Routes { tenant, prefix } => Query::BgpRoutes { tenant: tenant.clone(), prefix: *prefix },
        Bgp::Explain { prefix, tenant } => Query::BgpExplain { tenant: tenant.clone(), prefix: *prefix },
    };
    let mut client = Client::connect(socket).await?;
    let answer = client.ask(&Request::Show(query)).await?;
    match (&answer, output.format()) {
        (Answer::BgpNeighbors(list), Format::Json) => Ok(output.json(list)?),
        (Answer::BgpNeighbors(list), Format::Table) => Ok(output.table(&neighbors(list))?),
        (Answer::BgpRoutes(list), Format::Json) => Ok(output.json(list)?),
        (Answer::BgpRoutes(list), Format::Table) => Ok(output.table(&routes(list))?),
        (Answer::BgpExplanation(report), Format::Json) => Ok(output.json(report)?),
        (Answer::BgpExplanation(report), Format::Table) => {
            output.table(&paths(&report.paths))?;
            output.text("\n")?;
            Ok(output.table(&sent(&report.sent_to))?)
        }
        (other, _) => anyhow::bail!("the gateway answered something else: {other:?}"),
    }
}

fn neighbors(list: &[BgpNeighborReport]) -> Table {
    let mut table = Table::new(
        "no BGP peers",
        &[
            ("TENANT", Left),
            ("NAME", Left),
            ("ADDRESS", Left),
            ("AS", Right),
            ("CONNECTION", Left),
            ("STATE", Left),
            ("FOR", Right),
            ("IN", Right),
            ("OUT", Right),
            ("LOST", Right),
            ("WHY NOT", Left),
        ],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(row.tenant.as_str())
                .cell(row.name.as_str())
                .cell(row.address.map_or_else(|| "-".to_owned(), |address| address.to_string()))
                .cell(row.as_number.to_string())
                .cell(row.connection.as_str())
                .cell(row.state.as_str())
                .cell(row.since_seconds.map_or_else(|| "-".to_owned(), units::duration))
                .cell(row.prefixes_received.to_string())
                .cell(row.prefixes_sent.to_string())
                .cell(row.lost.to_string())
                .cell(row.last_error.as_deref().unwrap_or("-")),
        );
    }
    table
}

const ROUTE: [(&str, Align); 7] = [
    ("PREFIX", Left),
    ("PEER", Left),
    ("USED", Left),
    ("NEXT HOP", Left),
    ("PREF", Right),
    ("MED", Right),
    ("AS PATH", Left),
];

fn route(row: &BgpRouteReport) -> Row {
    let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let used = if row.stale { format!("{}, stale", row.used) } else { row.used.clone() };
    Row::new()
        .cell(row.prefix.to_string())
        .cell(row.peer.as_str())
        .cell(used)
        .cell(row.next_hop.map_or_else(|| "-".to_owned(), |address| address.to_string()))
        .cell(number(row.local_preference))
        .cell(number(row.med))
        .cell(if row.as_path.is_empty() { "-" } else { row.as_path.as_str() })
}

fn routes(list: &[BgpRouteReport]) -> Table {
    let mut table = Table::new("no paths", &[&ROUTE[..], &[("COMMUNITIES", Left)]].concat());
    for row in list {
        table.push(route(row).cell(if row.communities.is_empty() {
            "-".to_owned()
        } else {
            row.communities.join(" ")
        }));
    }
    table
}

fn paths(list: &[BgpPathReport]) -> Table {
    let mut table = Table::new("no paths", &[&ROUTE[..], &[("WHY", Left)]].concat());
    for row in list {
        table.push(route(&row.route).cell(row.why.as_str()));
    }
    table
}

fn sent(list: &[BgpSentReport]) -> Table {
    let mut table =
        Table::new("no peer has a session", &[("PEER", Left), ("SENT", Left), ("AS PATH", Left), ("WHY NOT", Left)]);
    for row in list {
        table.push(
            Row::new()
                .cell(row.peer.as_str())
                .cell(if row.sent { "yes" } else { "no" })
                .cell(row.as_path.as_deref().unwrap_or("-"))
                .cell(row.why_not.as_deref().unwrap_or("-")),
        );
    }
    table
}
