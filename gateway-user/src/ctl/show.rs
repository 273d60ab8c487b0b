//! Answers as tables, or as they are.

use super::args::{Format, Show};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::api::report::{
    ConnectionReport, DropReport, NexthopReport, PathMtuReport, PortReport, RouteReport, SeatReport, SlowPathReport,
    StatusReport, TenantReport,
};
use crate::api::{Answer, Client, Query, Request};
use crate::gateway::seat_log::report::Part;
use std::path::Path;

use Align::{Left, Right};

/// Asks and prints.
pub async fn show(socket: &Path, what: &Show, output: &mut Output) -> anyhow::Result<()> {
    let mut client = Client::connect(socket).await?;
    let answer = client.ask(&Request::Show(query(what))).await?;
    print(select(answer, what), what, output)
}

fn query(what: &Show) -> Query {
    match what {
        Show::Status => Query::Status,
        Show::Connections { .. } => Query::Connections,
        Show::Tenants => Query::Tenants,
        Show::Ports => Query::Ports,
        Show::Drops { .. } => Query::Drops,
        Show::Routes { tenant, prefix } => Query::Routes { tenant: tenant.clone(), prefix: *prefix },
        Show::Nexthops => Query::Nexthops,
        Show::Seats => Query::Seats,
        Show::PathMtus => Query::PathMtus,
    }
}

/// The rows that were asked for, in the order in which they are shown.
fn select(answer: Answer, what: &Show) -> Answer {
    match (answer, what) {
        (Answer::Connections(mut list), Show::Connections { tenant: Some(tenant) }) => {
            list.retain(|row| row.tenant == *tenant);
            Answer::Connections(list)
        }
        (Answer::Drops(mut list), Show::Drops { tenant, .. }) => {
            if let Some(tenant) = tenant {
                list.retain(|row| row.tenant.as_ref() == Some(tenant));
            }
            list.sort_by(|a, b| {
                (b.packets, &a.tenant, &a.name, &a.reason).cmp(&(a.packets, &b.tenant, &b.name, &b.reason))
            });
            Answer::Drops(list)
        }
        (answer, _) => answer,
    }
}

fn print(answer: Answer, what: &Show, output: &mut Output) -> anyhow::Result<()> {
    let explain = matches!(what, Show::Drops { explain: true, .. });
    if output.format() == Format::Json {
        match &answer {
            Answer::Status(report) => output.json(report)?,
            Answer::Connections(list) => output.json(list)?,
            Answer::Tenants(list) => output.json(list)?,
            Answer::Ports(list) => output.json(list)?,
            Answer::Drops(list) => output.json(list)?,
            Answer::Routes(list) => output.json(list)?,
            Answer::Nexthops(list) => output.json(list)?,
            Answer::Seats(list) => output.json(list)?,
            Answer::PathMtus(list) => output.json(list)?,
            other => anyhow::bail!("the gateway answered something else: {other:?}"),
        }
        return Ok(());
    }
    let table = match &answer {
        Answer::Status(report) => return Ok(output.text(&status(report))?),
        Answer::Connections(list) => connections(list),
        Answer::Tenants(list) => tenants(list),
        Answer::Ports(list) => ports(list),
        Answer::Drops(list) if explain => explained_drops(list),
        Answer::Drops(list) => drops(list),
        Answer::Routes(list) => routes(list),
        Answer::Nexthops(list) => nexthops(list),
        Answer::Seats(list) => seats(list),
        Answer::PathMtus(list) => path_mtus(list),
        other => anyhow::bail!("the gateway answered something else: {other:?}"),
    };
    Ok(output.table(&table)?)
}

fn status(report: &StatusReport) -> String {
    let addresses: Vec<String> = report.pa.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("Gateway", report.name.clone()),
        ("Version", report.version.clone()),
        (
            "Running",
            format!(
                "for {}, process {}{}",
                units::duration(report.uptime_seconds),
                report.pid,
                if report.adopted { ", took over what an earlier daemon had loaded" } else { "" }
            ),
        ),
        ("Plan", format!("{}, {} applied", report.plan, units::count(report.plans_applied, "plan"))),
        ("Fabric", format!("{} on {}", report.encapsulation, addresses.join(", "))),
        ("Ports", report.ports.to_string()),
        ("Tenants", format!("{}, {}", report.tenants, units::count(report.compartments, "compartment"))),
        ("Connections", report.connections.to_string()),
        ("Routes", report.routes.to_string()),
        ("Next hops", format!("{}, {} unresolved", report.nexthops, report.nexthops_unresolved)),
    ];
    let slow = report.slow_path;
    if slow != SlowPathReport::default() {
        let SlowPathReport { reassembled, fragmented, timed_out, refused } = slow;
        let text =
            format!("{reassembled} reassembled, {fragmented} fragmented, {timed_out} timed out, {refused} refused");
        lines.push(("Slow path", text));
    }
    if !report.traced.is_empty() {
        lines.push(("Traced", report.traced.join(", ")));
    }
    let mut text = String::new();
    for (name, value) in lines {
        text.push_str(&format!("{name:<13}{}\n", super::table::clean(value)));
    }
    for warning in &report.warnings {
        text.push_str(&format!("Warning: {}\n", super::table::clean(warning.clone())));
    }
    text
}

fn connections(list: &[ConnectionReport]) -> Table {
    let mut table = Table::new(
        "no connections",
        &[
            ("TENANT", Left),
            ("NAME", Left),
            ("TYPE", Left),
            ("STATE", Left),
            ("ENDPOINT", Left),
            ("LIMIT IN", Right),
            ("LIMIT OUT", Right),
            ("PACKETS IN", Right),
            ("BYTES IN", Right),
            ("PACKETS OUT", Right),
            ("BYTES OUT", Right),
            ("LIMITED IN", Right),
            ("LIMITED OUT", Right),
            ("DROPPED", Right),
        ],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(&row.tenant)
                .cell(&row.name)
                .cell(&row.r#type)
                .state(&row.state)
                .cell(&row.endpoint)
                .cell(units::limit(row.inbound_kbps))
                .cell(units::limit(row.outbound_kbps))
                .cell(row.traffic.in_packets.to_string())
                .cell(units::bytes(row.traffic.in_bytes))
                .cell(row.traffic.out_packets.to_string())
                .cell(units::bytes(row.traffic.out_bytes))
                .cell(row.rate_limited_in.to_string())
                .cell(row.rate_limited_out.to_string())
                .cell(row.traffic.dropped_packets.to_string()),
        );
    }
    table
}

fn tenants(list: &[TenantReport]) -> Table {
    let mut table = Table::new(
        "no tenants",
        &[
            ("NAME", Left),
            ("CONNECTIONS", Right),
            ("VMS", Right),
            ("ROUTES", Right),
            ("ADDRESSES", Left),
            ("COMPARTMENT", Left),
            ("PACKETS IN", Right),
            ("BYTES IN", Right),
            ("PACKETS OUT", Right),
            ("BYTES OUT", Right),
            ("DROPPED", Right),
        ],
    );
    for row in list {
        let addresses: Vec<String> = row.gateway_addresses.iter().map(ToString::to_string).collect();
        table.push(
            Row::new()
                .cell(&row.name)
                .cell(row.connections.to_string())
                .cell(row.vms.to_string())
                .cell(row.routes.to_string())
                .cell(or_dash(&addresses.join(",")))
                .cell(row.compartment.as_deref().unwrap_or("-"))
                .cell(row.traffic.in_packets.to_string())
                .cell(units::bytes(row.traffic.in_bytes))
                .cell(row.traffic.out_packets.to_string())
                .cell(units::bytes(row.traffic.out_bytes))
                .cell(row.traffic.dropped_packets.to_string()),
        );
    }
    table
}

fn ports(list: &[PortReport]) -> Table {
    let mut table = Table::new(
        "no ports",
        &[
            ("NAME", Left),
            ("ROLE", Left),
            ("MODE", Left),
            ("STATE", Left),
            ("MAC", Left),
            ("MTU", Right),
            ("PACKETS IN", Right),
            ("BYTES IN", Right),
            ("PACKETS OUT", Right),
            ("BYTES OUT", Right),
            ("DROPPED", Right),
        ],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(&row.name)
                .cell(&row.role)
                .cell(&row.mode)
                .state(&row.state)
                .cell(or_dash(&row.mac))
                .cell(row.mtu.to_string())
                .cell(row.traffic.in_packets.to_string())
                .cell(units::bytes(row.traffic.in_bytes))
                .cell(row.traffic.out_packets.to_string())
                .cell(units::bytes(row.traffic.out_bytes))
                .cell(row.traffic.dropped_packets.to_string()),
        );
    }
    table
}

const DROP_COLUMNS: [(&str, Align); 6] =
    [("SCOPE", Left), ("TENANT", Left), ("NAME", Left), ("REASON", Left), ("PACKETS", Right), ("MEANING", Left)];

fn drop_row(row: &DropReport) -> Row {
    Row::new()
        .cell(&row.scope)
        .cell(row.tenant.as_deref().unwrap_or("-"))
        .cell(&row.name)
        .cell(&row.reason)
        .cell(row.packets.to_string())
}

fn drops(list: &[DropReport]) -> Table {
    let mut table = Table::new("no drops", &DROP_COLUMNS[..5]);
    list.iter().for_each(|row| table.push(drop_row(row)));
    table
}

fn explained_drops(list: &[DropReport]) -> Table {
    let mut table = Table::new("no drops", &DROP_COLUMNS);
    list.iter().for_each(|row| table.push(drop_row(row).cell(&row.meaning)));
    table
}

fn routes(list: &[RouteReport]) -> Table {
    let mut table = Table::new(
        "no routes",
        &[("PREFIX", Left), ("LEADS TO", Left), ("NEXT HOP", Right), ("SOURCES ALLOWED FROM", Left)],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(row.prefix.to_string())
                .cell(&row.leads_to)
                .cell(row.nexthop.map_or_else(|| "-".to_owned(), |id| id.to_string()))
                .cell(or_dash(&row.feasible.join(", "))),
        );
    }
    table
}

fn nexthops(list: &[NexthopReport]) -> Table {
    let mut table = Table::new(
        "no next hops",
        &[
            ("ID", Right),
            ("STATE", Left),
            ("TENANT", Left),
            ("LEADS TO", Left),
            ("ENCAPSULATION", Left),
            ("PORT", Left),
            ("MAC", Left),
            ("MTU", Right),
        ],
    );
    for row in list {
        let members: Vec<String> = row.members.iter().map(ToString::to_string).collect();
        let leads_to = match members.as_slice() {
            [] => row.leads_to.clone(),
            members => format!("one of {}", members.join(", ")),
        };
        table.push(
            Row::new()
                .cell(row.id.to_string())
                .state(&row.state)
                .cell(row.tenant.as_deref().unwrap_or("-"))
                .cell(leads_to)
                .cell(row.encapsulation.as_deref().unwrap_or("-"))
                .cell(row.port.as_deref().unwrap_or("-"))
                .cell(row.mac.as_deref().unwrap_or("-"))
                .cell(row.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string())),
        );
    }
    table
}

fn seats(list: &[SeatReport]) -> Table {
    let mut table = Table::new(
        "no seats",
        &[("ID", Right), ("SEAT", Left), ("STATE", Left), ("EPOCH", Right), ("LEASE", Right), ("LOG", Left)],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(row.id.to_string())
                .cell(row.name.as_deref().unwrap_or("(own)"))
                .state(&row.state)
                .cell(row.epoch.to_string())
                .cell(row.lease_seconds.map_or_else(|| "without end".to_owned(), |seconds| format!("{seconds:.1} s")))
                .cell(row.log.as_ref().map_or_else(|| "-".to_owned(), Part::to_string)),
        );
    }
    table
}

fn path_mtus(list: &[PathMtuReport]) -> Table {
    let mut table = Table::new(
        "no path MTU has been learned",
        &[("TENANT", Left), ("CONNECTION", Left), ("REMOTE", Left), ("MTU", Right), ("EXPIRES IN", Right)],
    );
    for row in list {
        table.push(
            Row::new()
                .cell(row.tenant.as_deref().unwrap_or("-"))
                .cell(row.connection.as_deref().unwrap_or("-"))
                .cell(row.remote.map_or_else(|| "-".to_owned(), |address| address.to_string()))
                .cell(row.mtu.to_string())
                .cell(units::duration(row.expires_seconds)),
        );
    }
    table
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::output::Style;
    use super::*;
    use crate::api::report::{DropCount, Traffic};

    fn hq() -> ConnectionReport {
        ConnectionReport {
            tenant: "contoso".to_owned(),
            name: "hq".to_owned(),
            r#type: "gre".to_owned(),
            state: "up".to_owned(),
            endpoint: "198.51.100.10 - 203.0.113.20 key 100".to_owned(),
            inbound_kbps: Some(100_000),
            rate_limited_in: 3,
            traffic: Traffic {
                in_packets: 1000,
                in_bytes: 1_500_000,
                out_packets: 20,
                out_bytes: 900,
                dropped_packets: 5,
                drops: vec![DropCount { reason: "rate_inbound".to_owned(), packets: 3 }],
            },
            ..ConnectionReport::default()
        }
    }

    #[test]
    fn connections_are_shown_with_limits_and_counters() {
        let expected = "\
TENANT   NAME  TYPE  STATE  ENDPOINT                                LIMIT IN  LIMIT OUT  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT  LIMITED IN  LIMITED OUT  DROPPED
contoso  hq    gre   up     198.51.100.10 - 203.0.113.20 key 100  100 Mbit/s          -        1000   1.50 MB           20      900 B           3            0        5
";
        assert_eq!(connections(&[hq()]).render(Style::Plain), expected);
    }

    #[test]
    fn drops_come_largest_first_and_only_the_tenants_if_asked() {
        let drop = |tenant: Option<&str>, name: &str, reason: &str, packets| DropReport {
            scope: "tenant".to_owned(),
            tenant: tenant.map(str::to_owned),
            name: name.to_owned(),
            reason: reason.to_owned(),
            packets,
            meaning: "It means this.".to_owned(),
        };
        let list = vec![
            drop(None, "tor0", "gre_unknown", 7),
            drop(Some("contoso"), "contoso", "no_route", 2),
            drop(Some("contoso"), "contoso", "spoofed", 9),
        ];
        let all = Show::Drops { tenant: None, explain: false };
        let Answer::Drops(sorted) = select(Answer::Drops(list.clone()), &all) else { panic!("drops") };
        let expected = "\
SCOPE   TENANT   NAME     REASON       PACKETS
tenant  contoso  contoso  spoofed            9
tenant  -        tor0     gre_unknown        7
tenant  contoso  contoso  no_route           2
";
        assert_eq!(drops(&sorted).render(Style::Plain), expected);
        let one = Show::Drops { tenant: Some("contoso".to_owned()), explain: true };
        let Answer::Drops(sorted) = select(Answer::Drops(list), &one) else { panic!("drops") };
        let text = explained_drops(&sorted).render(Style::Plain);
        assert!(text.lines().count() == 3 && text.lines().nth(1).is_some_and(|line| line.ends_with("It means this.")));
    }

    #[test]
    fn the_status_reads_as_sentences() {
        let report = StatusReport {
            name: "gw1".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_seconds: 65,
            adopted: true,
            plan: "/etc/gateway/plan.toml".to_owned(),
            plans_applied: 1,
            encapsulation: "vxlan".to_owned(),
            pa: vec!["10.10.0.1".parse().expect("an address")],
            ports: 2,
            tenants: 2,
            connections: 4,
            routes: 20,
            nexthops: 9,
            nexthops_unresolved: 1,
            compartments: 2,
            slow_path: SlowPathReport { reassembled: 3, ..SlowPathReport::default() },
            traced: vec!["contoso".to_owned()],
            warnings: vec!["fab0 is down".to_owned()],
        };
        let expected = "\
Gateway      gw1
Version      0.1.0
Running      for 1 min 5 s, process 7, took over what an earlier daemon had loaded
Plan         /etc/gateway/plan.toml, 1 plan applied
Fabric       vxlan on 10.10.0.1
Ports        2
Tenants      2, 2 compartments
Connections  4
Routes       20
Next hops    9, 1 unresolved
Slow path    3 reassembled, 0 fragmented, 0 timed out, 0 refused
Traced       contoso
Warning: fab0 is down
";
        assert_eq!(status(&report), expected);
    }

    #[test]
    fn next_hops_name_their_members_or_their_way() {
        let list = [
            NexthopReport {
                id: 1,
                state: "resolved".to_owned(),
                tenant: Some("contoso".to_owned()),
                leads_to: "vm at 10.10.0.11".to_owned(),
                encapsulation: Some("vxlan4".to_owned()),
                port: Some("fab0".to_owned()),
                mac: Some("02:00:00:00:00:11".to_owned()),
                mtu: Some(1450),
                members: vec![],
            },
            NexthopReport { id: 2, state: "group".to_owned(), members: vec![1, 3], ..NexthopReport::default() },
        ];
        let expected = "\
ID  STATE     TENANT   LEADS TO          ENCAPSULATION  PORT  MAC                 MTU
 1  resolved  contoso  vm at 10.10.0.11  vxlan4         fab0  02:00:00:00:00:11  1450
 2  group     -        one of 1, 3       -              -     -                     -
";
        assert_eq!(nexthops(&list).render(Style::Plain), expected);
    }

    #[test]
    fn field_names_of_json_are_stable() {
        let json = serde_json::to_value(hq()).expect("JSON");
        let names: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        for name in ["tenant", "name", "type", "state", "endpoint", "inbound_kbps", "rate_limited_in", "traffic"] {
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(json["traffic"]["in_bytes"], 1_500_000);
        assert_eq!(json["traffic"]["drops"][0]["reason"], "rate_inbound");
    }
}
