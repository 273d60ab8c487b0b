//! What the tenants notice of a gateway's death: it is struck while numbered datagrams flow, and those that do not arrive are counted.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use gateway_user::ctl::story;
use gateway_user::sentinel::{Entry, Holding, Status, What};
use serde::de::DeserializeOwned;

use super::datagrams::{Datagrams, Tally, Way};
use super::is_interrupted;
use super::stroke::Stroke;
use crate::cloud::Operated;
use crate::gateway::program;
use crate::node::Node;
use crate::wait::until;

/// How long packets may take to flow, and a seat to move.
const PATIENCE: Duration = Duration::from_secs(60);
/// Datagrams that are sent on each way after all is well again, and before.
const MORE: usize = 100;
/// How long the sites' routers may take to come back.
const ROUTERS: Duration = Duration::from_secs(30);

/// Who holds each seat, and under which epoch.
type Holders = BTreeMap<String, (String, u64)>;

/// What was noticed.
#[derive(Debug)]
pub struct Outage {
    gateway: String,
    /// Of each way.
    rows: Vec<Row>,
    /// Datagrams that came to somebody else.
    astray: usize,
    /// Whether every way was well in the end.
    pub is_over: bool,
    /// When it was struck, in nanoseconds of the wall clock.
    began: u64,
    /// Who holds each seat now.
    holders: Holders,
    /// The seats that moved.
    moved: Vec<String>,
}

#[derive(Debug)]
struct Row {
    way: Way,
    seat: String,
    holders: [String; 2],
    tally: Tally,
}

impl Outage {
    /// Strikes a gateway, and waits until its seats are elsewhere and every datagram arrives again.
    pub fn cause(operated: &mut Operated, gateway: &str, stroke: Stroke) -> Result<Self> {
        let ways: Vec<Way> = operated.cloud.tenants.iter().flat_map(Way::of).collect();
        let seats = ways.iter().map(|way| seat_of(operated, way)).collect::<Result<Vec<_>>>()?;
        let datagrams = Datagrams::start(&ways)?;
        more(&datagrams).context("packets do not flow yet; nothing was done")?;
        let before = holders(operated);
        let began = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        stroke.strike(operated, gateway)?;
        let lost: Vec<&String> =
            before.iter().filter(|(_, (holder, _))| holder == gateway).map(|(seat, _)| seat).collect();
        let mut after = before.clone();
        let moved = until(PATIENCE, "the seats to be held elsewhere", || {
            after = holders(operated);
            let is_moved = |seat: &&String| after.get(*seat).is_some_and(|(holder, _)| holder != gateway);
            (is_interrupted() || lost.iter().all(is_moved)).then_some(())
        });
        let is_over = more(&datagrams).is_ok() && moved.is_ok();
        let (tallies, oddities) = datagrams.stop()?;
        let holder = |holders: &Holders, seat: &str| {
            holders.get(seat).map_or_else(|| "nobody".to_owned(), |(holder, _)| holder.clone())
        };
        let moved = lost.into_iter().cloned().collect();
        let rows = ways.into_iter().zip(seats).zip(tallies).map(|((way, seat), tally)| {
            let holders = [&before, &after].map(|at| holder(at, &seat));
            Row { way, seat, holders, tally }
        });
        let (gateway, rows) = (gateway.to_owned(), rows.collect());
        let astray = oddities.astray.len();
        Ok(Self { gateway, rows, astray, is_over, began, holders: after, moved })
    }

    /// The table.
    pub fn text(&self) -> String {
        let columns = |[tenant, connection, way, seat, from_to, sent, lost, outage]: [&str; 8]| {
            format!("{tenant:<10} {connection:<10} {way:<8} {seat:<6} {from_to:<11} {sent:>6} {lost:>6} {outage:>10}")
        };
        let mut lines = vec![columns(["TENANT", "CONNECTION", "WAY", "SEAT", "FROM → TO", "SENT", "LOST", "OUTAGE"])];
        lines.extend(self.rows.iter().map(|Row { way, seat, holders: [from, to], tally }| {
            let from_to = if from == to { from.clone() } else { format!("{from} → {to}") };
            let outage = format!("{:.0} ms", tally.outage.as_secs_f64() * 1e3);
            let (sent, lost) = (tally.sent.to_string(), tally.lost.to_string());
            columns([way.tenant, way.connection, way.to, seat, &from_to, &sent, &lost, &outage])
        }));
        if self.moved.is_empty() {
            lines.push(format!("{} held no seat: nobody's packets went by it.", self.gateway));
        }
        if self.astray > 0 {
            lines.push(format!("{} packets came to somebody else!", self.astray));
        }
        if !self.is_over {
            lines.push("Not everything is well again.".to_owned());
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Whether the gateway held any seat.
    pub fn has_moved_seats(&self) -> bool {
        !self.moved.is_empty()
    }

    /// What `gatewayctl history` tells of it on the gateways that took the seats, once the sites' routers are back.
    pub fn history(&self, operated: &Operated) -> String {
        let mut told = String::new();
        let mut by_gateway: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for seat in &self.moved {
            if let Some((holder, _)) = self.holders.get(seat) {
                by_gateway.entry(holder).or_default().push(seat);
            }
        }
        for (gateway, seats) in by_gateway {
            let node = operated.cloud.gateway(gateway);
            let mut entries = Vec::new();
            // Without them there is less to tell.
            let _ = until(ROUTERS, "the sites' routers to be back", || {
                entries = ask::<Vec<Entry>>(node, "history").unwrap_or_default();
                entries.retain(|entry| entry.at >= self.began);
                let is_back = |seat: &&str| {
                    let of_seat =
                        entries.iter().filter(|entry| entry.seat.as_ref().is_some_and(|it| it.as_str() == *seat));
                    of_seat.into_iter().any(|entry| matches!(entry.what, What::BgpUp { up, of, .. } if up >= of))
                };
                (is_interrupted() || seats.iter().all(is_back)).then_some(())
            });
            told += &format!("{gateway}: gatewayctl history\n");
            told.extend(story(&entries).iter().map(|line| format!("  {line}\n")));
        }
        told
    }
}

/// Waits until packets flow every way and more were sent; an interrupt ends it.
fn more(datagrams: &Datagrams) -> Result<()> {
    let mut since = None;
    until(PATIENCE, "packets to flow", || {
        let sent = datagrams.sent();
        let since = *since.insert(match since {
            Some(since) if datagrams.flow() => since,
            _ => sent,
        });
        (is_interrupted() || sent >= since + MORE).then_some(())
    })?;
    ensure!(!is_interrupted(), "interrupted");
    Ok(())
}

/// The seat that a way's connection is placed on.
fn seat_of(operated: &Operated, way: &Way) -> Result<String> {
    let path = format!("/virtualGateways/{}/networkConnections/{}", way.tenant, way.connection);
    let connection = operated.get(&path)?;
    let placed = connection["properties"]["gateway"]["resourceRef"].as_str();
    Ok(placed.with_context(|| format!("{path} is placed nowhere"))?.trim_start_matches("/gateways/").to_owned())
}

/// Who holds each seat, as the gateways say themselves: under two epochs, the later one counts.
pub fn holders(operated: &Operated) -> Holders {
    let mut holders = Holders::new();
    for gateway in &operated.cloud.gateways {
        let Ok(status) = ask::<Status>(gateway, "seats") else { continue };
        let held = status.seats.into_iter().map(|seat| seat.report).filter(|report| report.holding == Holding::Held);
        for report in held {
            let holder = (gateway.name().to_owned(), report.epoch);
            let known = holders.entry(report.seat.as_str().to_owned()).or_insert_with(|| holder.clone());
            if known.1 < holder.1 {
                *known = holder;
            }
        }
    }
    holders
}

/// What a gateway's sentinel tells.
pub fn ask<T: DeserializeOwned>(gateway: &Node, what: &str) -> Result<T> {
    Ok(serde_json::from_str(&gateway.run(Command::new(program("gatewayctl")?).args([what, "-o", "json"]))?)?)
}
