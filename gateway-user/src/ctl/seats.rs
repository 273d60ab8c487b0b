//! Seats, who holds them, and what happened to them: asked of the sentinel, which answers also while the gateway's daemon does not run.

use super::args::{FailoverOptions, Format, SentinelOptions};
use super::output::Output;
use super::table::{Align, Row, Table};
use super::units;
use crate::sentinel::client::{self, Connection};
use crate::sentinel::history::Takeover;
use crate::sentinel::protocol::{Event, Request};
use crate::sentinel::{Entry, Holding, Status, What, socket_in};
use anyhow::{Context, bail};
use seat::{GatewayName, SeatName};
use std::time::Duration;

use Align::{Left, Right};

/// How long a seat may take to be handed over.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows the seats and the other gateways.
pub async fn seats(options: &SentinelOptions, output: &mut Output) -> anyhow::Result<()> {
    let status = client::status(&socket_in(&options.state)).await?;
    match output.format() {
        Format::Json => output.json(&status)?,
        Format::Table => {
            output.table(&seat_table(&status))?;
            output.line("")?;
            output.table(&gateway_table(&status))?;
        }
    }
    Ok(())
}

/// Shows what happened.
pub async fn history(options: &SentinelOptions, output: &mut Output) -> anyhow::Result<()> {
    let entries = client::history(&socket_in(&options.state)).await?;
    match output.format() {
        Format::Json => output.json(&entries)?,
        Format::Table => {
            for line in story(&entries) {
                output.line(&line)?;
            }
            if entries.is_empty() {
                output.line("nothing has happened")?;
            }
        }
    }
    Ok(())
}

/// Has another gateway take seats that this one holds.
pub async fn failover(options: &FailoverOptions, output: &mut Output) -> anyhow::Result<()> {
    let socket = socket_in(&options.place.state);
    let status = client::status(&socket).await?;
    let seats: Vec<SeatName> = match &options.seat {
        Some(seat) => vec![SeatName::from(seat.as_str())],
        None => {
            let held = status.seats.iter().filter(|seat| seat.report.holding == Holding::Held);
            held.map(|seat| seat.report.seat.clone()).collect()
        }
    };
    if seats.is_empty() {
        output.line(&format!("{} holds no seat", status.me))?;
    }
    for seat in seats {
        let to = options.to.as_deref().map(GatewayName::from);
        let moved = tokio::time::timeout(PATIENCE, hand_over(&socket, &seat, to)).await;
        let (to, epoch) = moved.with_context(|| format!("seat {seat} was not taken in time"))??;
        output.line(&format!("{to} holds seat {seat} under epoch {epoch}"))?;
    }
    Ok(())
}

/// Hands a seat over; who holds it then, and under which epoch.
async fn hand_over(
    socket: &std::path::Path,
    seat: &SeatName,
    to: Option<GatewayName>,
) -> anyhow::Result<(GatewayName, u64)> {
    let mut connection = Connection::open(socket).await?;
    connection.send(&Request::HandOver { seat: seat.clone(), to }).await?;
    let mut is_done = false;
    let mut holder = None;
    loop {
        match connection.next().await? {
            Event::Seat(report) if report.seat == *seat => {
                holder = report.holder.filter(|_| report.holding == Holding::Replica);
            }
            Event::Happened(entry) if entry.seat.as_ref() == Some(seat) => match entry.what {
                What::HandedOver { .. } | What::Superseded { .. } => is_done = true,
                What::NotHeld => bail!("this gateway does not hold seat {seat}; ask the one that does"),
                What::NoSuccessor => bail!(
                    "nobody was granted seat {seat} to take it next; `gatewayctl seats` shows who was, the controller grants it"
                ),
                What::YieldFailed { .. } => bail!("nobody took seat {seat}; it is held here still"),
                What::LeaseOver { .. } => bail!("nobody took seat {seat} before its lease was over; nobody holds it"),
                _ => {}
            },
            Event::Refused { message } => bail!("{message}"),
            _ => {}
        }
        if let Some(holder) = holder.take_if(|_| is_done) {
            return Ok(holder);
        }
    }
}

fn seat_table(status: &Status) -> Table {
    let columns =
        [("SEAT", Left), ("HERE", Left), ("EPOCH", Right), ("LEASE", Right), ("HOLDER", Left), ("NEXT", Left)];
    let mut table = Table::new("no seats", &columns);
    for seat in &status.seats {
        let report = &seat.report;
        let lease = match (report.holding, seat.lease_ms) {
            (Holding::Replica, _) => "-".to_owned(),
            (_, None) => "no end".to_owned(),
            (_, Some(lease)) => format!("{lease} ms"),
        };
        let holder = report.holder.as_ref();
        table.push(
            Row::new()
                .cell(report.seat.to_string())
                .state(report.holding.to_string())
                .cell(report.epoch.to_string())
                .cell(lease)
                .cell(holder.map_or("-".into(), |(gateway, epoch)| format!("{gateway} ({epoch})")))
                .cell(successors(&seat.next)),
        );
    }
    table
}

/// The first of those who may take a seat next: a seat may be granted ahead many times over.
fn successors(next: &[(GatewayName, u64)]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = next.iter().take(SHOWN).map(|(gateway, epoch)| format!("{gateway} ({epoch})")).collect();
    match next.len() {
        0 => "nobody".to_owned(),
        all if all > SHOWN => format!("{}, {} more", shown.join(", "), all - SHOWN),
        _ => shown.join(", "),
    }
}

fn gateway_table(status: &Status) -> Table {
    let columns = [("GATEWAY", Left), ("SEEN", Left), ("LONGEST GAP", Right), ("DISCOUNTED", Right), ("CLOCK", Right)];
    let mut table = Table::new("no other gateways", &columns);
    for peer in &status.peers {
        let clock = peer.clock_ahead_us.zip(peer.clock_error_us);
        table.push(
            Row::new()
                .cell(peer.name.to_string())
                .state(peer.diagnosis.to_string())
                .cell(milliseconds(peer.longest_gap_us))
                .cell(milliseconds(peer.longest_discounted_gap_us))
                .cell(clock.map_or("-".into(), |(ahead, error)| clock_text(ahead, error))),
        );
    }
    table
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

fn clock_text(ahead: i64, error: u64) -> String {
    format!("{:+.3} ms ± {:.3}", ahead as f64 / 1000.0, error as f64 / 1000.0)
}

/// What happened, in lines.
pub fn story(entries: &[Entry]) -> Vec<String> {
    entries.iter().flat_map(|entry| lines(entry, entries)).collect()
}

/// An entry as lines: what happened, and of a takeover all its times.
fn lines(entry: &Entry, all: &[Entry]) -> Vec<String> {
    let seat = entry.seat.as_ref().map(|seat| format!("seat {seat}: ")).unwrap_or_default();
    let mut lines = vec![format!("{}  {}  {seat}{}", units::time_of_day(entry.at), entry.gateway, entry.what)];
    if let What::Taken(takeover) = &entry.what {
        let of_seat = || all.iter().filter(|other| other.seat == entry.seat);
        let first = of_seat().find_map(|other| match other.what {
            What::FirstPacket { epoch, passed } if epoch == takeover.epoch => Some(passed),
            _ => None,
        });
        let sessions = of_seat().filter_map(|other| match other.what {
            What::BgpUp { epoch, up, of } if epoch == takeover.epoch => Some((other.at, up, of)),
            _ => None,
        });
        // Once all are up, what is told again is about an agent's restart.
        let all_up = sessions.clone().find(|(_, up, of)| up >= of);
        lines.extend(timeline(takeover, first, all_up.or(sessions.clone().next())));
    }
    lines
}

fn timeline(takeover: &Takeover, first: Option<u64>, sessions: Option<(u64, usize, usize)>) -> Vec<String> {
    let steps = [
        ("last good packet", takeover.last_good),
        ("detected", takeover.detected),
        ("asked for votes", Some(takeover.bid)),
        ("decided", Some(takeover.decided)),
        ("activated", Some(takeover.activated)),
        ("announced", takeover.announced),
        ("first packet", first),
        ("BGP up", sessions.map(|(at, ..)| at)),
    ];
    let start = steps.iter().find_map(|(_, at)| *at).unwrap_or_default();
    let mut lines: Vec<String> = steps
        .iter()
        .filter_map(|(step, at)| {
            let at = (*at)?;
            let after = (i128::from(at) - i128::from(start)) as f64 / 1_000_000.0;
            let note = match (*step, sessions) {
                ("announced", _) => {
                    let what = if takeover.announcements == 1 { "address" } else { "addresses" };
                    format!(" ({} {what})", takeover.announcements)
                }
                ("BGP up", Some((_, up, of))) => format!(" ({up} of {of} sessions)"),
                _ => String::new(),
            };
            Some(format!("    {:<16} {}  {after:+10.3} ms{note}", step, units::time_of_day(at)))
        })
        .collect();
    for clock in &takeover.clocks {
        lines.push(format!("    clock of {:<7} {}", clock.gateway, clock_text(clock.ahead_us, clock.error_us)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::output::Style;
    use crate::sentinel::SeatReport;
    use crate::sentinel::history::Clock;
    use crate::sentinel::protocol::{AgentState, PeerStatus, SeatStatus};
    use seat::watch::Diagnosis;

    #[test]
    fn a_takeovers_line_has_all_its_times_from_the_last_good_packet_on() {
        let second = 1_000_000_000;
        let at = |milliseconds: u64| 60 * second + milliseconds * 1_000_000;
        let takeover = Takeover {
            epoch: 7,
            from: Some("GW1".into()),
            last_good: Some(at(0)),
            detected: Some(at(17)),
            bid: at(17),
            decided: at(18),
            activated: at(18),
            announced: Some(at(19)),
            announcements: 2,
            clocks: vec![Clock { gateway: "GW2".into(), ahead_us: -1500, error_us: 40 }],
        };
        let entry = |number, what| Entry { number, at: at(19), gateway: "GW3".into(), seat: Some("GW1".into()), what };
        let all = [
            entry(1, What::Taken(Box::new(takeover))),
            entry(2, What::FirstPacket { epoch: 7, passed: at(21) }),
            entry(3, What::BgpUp { epoch: 7, up: 1, of: 2 }),
            entry(4, What::BgpUp { epoch: 7, up: 2, of: 2 }),
        ];
        let lines = lines(&all[0], &all);
        assert_eq!(lines[0], "00:01:00.019000Z  GW3  seat GW1: took it from GW1 under epoch 7");
        assert_eq!(lines[1], "    last good packet 00:01:00.000000Z      +0.000 ms");
        assert_eq!(lines[6], "    announced        00:01:00.019000Z     +19.000 ms (2 addresses)");
        assert_eq!(lines[7], "    first packet     00:01:00.021000Z     +21.000 ms");
        assert_eq!(lines[8], "    BGP up           00:01:00.019000Z     +19.000 ms (2 of 2 sessions)");
        assert_eq!(lines[9], "    clock of GW2     -1.500 ms ± 0.040");
    }

    #[test]
    fn a_seat_says_what_it_is_here_who_holds_it_and_who_is_next() {
        let report = SeatReport {
            seat: "GW1".into(),
            holding: Holding::Held,
            epoch: 5,
            holder: Some(("GW1".into(), 5)),
            sight: Default::default(),
        };
        let status = Status {
            me: "GW1".into(),
            seats: vec![SeatStatus { report, lease_ms: Some(3700), next: vec![("GW3".into(), 6)] }],
            peers: vec![PeerStatus {
                name: "GW3".into(),
                diagnosis: Diagnosis::Dead,
                longest_gap_us: 5712,
                longest_discounted_gap_us: 5012,
                clock_error_us: None,
                clock_ahead_us: None,
            }],
            agent: AgentState::Heard,
        };
        let text = seat_table(&status).render(Style::Plain);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["GW1", "held", "5", "3700", "ms", "GW1", "(5)", "GW3", "(6)"]);
        let text = gateway_table(&status).render(Style::Plain);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["GW3", "is", "dead", "5.7", "ms", "5.0", "ms", "-"]);
    }

    #[test]
    fn of_many_who_may_take_a_seat_the_first_three_are_shown() {
        let granted: Vec<(GatewayName, u64)> = (6..11).map(|epoch| ("GW3".into(), epoch)).collect();
        assert_eq!(successors(&granted), "GW3 (6), GW3 (7), GW3 (8), 2 more");
        assert_eq!(successors(&granted[..3]), "GW3 (6), GW3 (7), GW3 (8)");
        assert_eq!(successors(&[]), "nobody");
    }
}
