//! What tenants' BGP routers do.

use super::args::{Bgp, Format};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::api::report::BgpNeighborReport;
use crate::api::{Answer, Client, Query, Request};
use std::path::Path;

use Align::{Left, Right};

/// Asks and prints.
pub async fn show(socket: &Path, what: &Bgp, output: &mut Output) -> anyhow::Result<()> {
    let query = match what {
        Bgp::Neighbors { tenant } => Query::BgpNeighbors { tenant: tenant.clone() },
    };
    let mut client = Client::connect(socket).await?;
    let answer = client.ask(&Request::Show(query)).await?;
    match (&answer, output.format()) {
        (Answer::BgpNeighbors(list), Format::Json) => Ok(output.json(list)?),
        (Answer::BgpNeighbors(list), Format::Table) => Ok(output.table(&neighbors(list))?),
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
                .cell(row.lost.to_string())
                .cell(row.last_error.as_deref().unwrap_or("-")),
        );
    }
    table
}
