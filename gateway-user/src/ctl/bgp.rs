//! What tenants' BGP routers do.

use super::args::{Bgp, Format, PolicyTestOptions};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::api::bgp::{
    BgpAttributesReport, BgpDumpQuery, BgpGivenAttributes, BgpPolicyTest, BgpPolicyTestReport, BgpRoutesQuery,
    BgpTestedRoute, BgpThrough,
};
use crate::api::report::{BgpNeighborReport, BgpPathReport, BgpRouteReport, BgpSentReport};
use crate::api::{Answer, Client, Query, Request};
use crate::gateway::bgp::policy_test;
use crate::plan;
use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::Write;
use std::path::Path;

use Align::{Left, Right};

/// Asks and prints.
pub async fn show(socket: &Path, what: &Bgp, output: &mut Output) -> anyhow::Result<()> {
    let query = match what {
        Bgp::Neighbors { tenant } => Query::BgpNeighbors { tenant: tenant.clone() },
        Bgp::Routes { tenant, prefix, matching, peer, community } => Query::BgpRoutes(BgpRoutesQuery {
            tenant: tenant.clone(),
            prefix: *prefix,
            matching: *matching,
            peer: peer.clone(),
            community: community.clone(),
            from: 0,
        }),
        Bgp::Explain { prefix, tenant } => Query::BgpExplain { tenant: tenant.clone(), prefix: *prefix },
        Bgp::PolicyTest(options) => {
            let test = test(options);
            if let Some(file) = &options.plan {
                let report = policy_test::of_plan(&plan::load(file)?, &test).map_err(Box::new);
                return print(
                    &Answer::BgpPolicyTest(Box::new(report.map_err(crate::api::client::ClientError::Failure)?)),
                    output,
                );
            }
            Query::BgpPolicyTest(Box::new(test))
        }
        Bgp::Dump { tenant, mrt } => return dump(socket, tenant, mrt).await,
    };
    let mut client = Client::connect(socket).await?;
    let mut answer = client.ask(&Request::Show(query)).await?;
    if let Answer::BgpRoutes(list) = &mut answer {
        // Of one prefix's paths, those in use stay first.
        list.sort_by_key(|row| (row.prefix.addr(), row.prefix.prefix_len()));
    }
    print(&answer, output)
}

fn print(answer: &Answer, output: &mut Output) -> anyhow::Result<()> {
    match (answer, output.format()) {
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
        (Answer::BgpPolicyTest(report), Format::Json) => Ok(output.json(report)?),
        (Answer::BgpPolicyTest(report), Format::Table) => tested(report, output),
        (other, _) => anyhow::bail!("the gateway answered something else: {other:?}"),
    }
}

/// Writes a table to a file, part by part.
async fn dump(socket: &Path, tenant: &str, file: &Path) -> anyhow::Result<()> {
    let mut client = Client::connect(socket).await?;
    client.send(&Request::Show(Query::BgpDump(BgpDumpQuery { tenant: tenant.to_owned(), from: None }))).await?;
    let mut out: Option<Box<dyn Write>> = None;
    loop {
        let frame = client.frame().await?;
        let parts = match frame.answer {
            Answer::BgpDump(parts) => parts,
            Answer::Failure(failure) => return Err(crate::api::client::ClientError::Failure(Box::new(failure)).into()),
            other => anyhow::bail!("the gateway answered something else: {other:?}"),
        };
        if out.is_none() {
            // Not before there is something to write: a file that is there is not lost to a question that makes no sense.
            out = Some(if file.as_os_str() == "-" {
                Box::new(std::io::stdout().lock())
            } else {
                Box::new(std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?)
            });
        }
        if let Some(out) = &mut out {
            for part in parts {
                let bytes = BASE64_STANDARD.decode(part).context("the gateway's dump is not understood")?;
                out.write_all(&bytes).with_context(|| format!("cannot write {}", file.display()))?;
            }
            if !frame.more {
                return Ok(out.flush()?);
            }
        }
    }
}

fn test(options: &PolicyTestOptions) -> BgpPolicyTest {
    let through = match (&options.peer, options.direction, &options.policy) {
        (Some(name), Some(direction), _) => BgpThrough::Peer { name: name.clone(), direction },
        (_, _, policy) => BgpThrough::Policy(policy.clone().unwrap_or_default()),
    };
    let given = || BgpGivenAttributes {
        as_path: options.as_path.as_ref().map(|path| path.0.clone()),
        next_hop: options.next_hop,
        origin: options.origin.unwrap_or_default(),
        med: options.med,
        local_preference: options.local_preference,
        communities: options.community.clone(),
    };
    BgpPolicyTest {
        tenant: options.tenant.clone(),
        through,
        prefix: options.prefix,
        route: if options.known { BgpTestedRoute::Known } else { BgpTestedRoute::Given(given()) },
        from: options.from.clone(),
    }
}

fn tested(report: &BgpPolicyTestReport, output: &mut Output) -> anyhow::Result<()> {
    let verdict = if report.permitted { "permitted" } else { "denied" };
    output.line(&format!("{}: {verdict}: {}", report.prefix, report.why))?;
    if let Some(policy) = &report.policy {
        output.line(&format!("policy {policy}"))?;
        let mut table = Table::new(
            "it has no statement",
            &[("STATEMENT", Left), ("MATCHES", Left), ("WHAT THE ROUTE DOES NOT MEET", Left)],
        );
        for step in &report.steps {
            let matches = if step.matched { "yes" } else { "no" };
            table.push(
                Row::new().cell(step.statement.as_str()).cell(matches).cell(step.failed.as_deref().unwrap_or("-")),
            );
        }
        output.text("\n")?;
        output.table(&table)?;
    }
    let mut table = Table::new("", &[("ATTRIBUTE", Left), ("BEFORE", Left), ("AFTER", Left)]);
    let after = report.after.as_ref().map(BgpAttributesReport::texts);
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for (at, (name, before)) in report.before.texts().iter().enumerate() {
        let is = after.as_ref().map(|after| after[at].1.clone()).unwrap_or_default();
        let same = after.is_some() && is == *before;
        table.push(Row::new().cell(*name).cell(or_none(before)).cell(if same {
            "the same".to_owned()
        } else {
            or_none(&is)
        }));
    }
    output.text("\n")?;
    Ok(output.table(&table)?)
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
    let mut table = Table::new(
        "no peers",
        &[
            ("PEER", Left),
            ("SENT", Left),
            ("NEXT HOP", Left),
            ("PREF", Right),
            ("MED", Right),
            ("AS PATH", Left),
            ("COMMUNITIES", Left),
            ("WHY NOT", Left),
        ],
    );
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for row in list {
        let with = row.attributes.clone().unwrap_or_default();
        let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        table.push(
            Row::new()
                .cell(row.peer.as_str())
                .cell(if row.sent { "yes" } else { "no" })
                .cell(with.next_hop.map_or_else(|| "-".to_owned(), |address| address.to_string()))
                .cell(number(with.local_preference))
                .cell(number(with.med))
                .cell(or_none(with.as_path))
                .cell(or_none(with.communities.join(" ")))
                .cell(row.why_not.as_deref().unwrap_or("-")),
        );
    }
    table
}
