//! What the lab shows of a gateway's death: who noticed what, and how the seat moved.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// So long that a busy machine is no reason to fail, and much shorter than anything but a takeover would take.
const OUTAGE_MS: u64 = 1000;

/// A line of the table.
#[derive(Debug)]
struct Row {
    tenant: String,
    seat: String,
    moved: Option<(String, String)>,
    sent: u64,
    lost: u64,
    outage_ms: u64,
}

fn row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [tenant, "hq" | "dc", "to", "site" | "VM", seat, holders @ .., sent, lost, outage, "ms"] = &words[..] else {
        return None;
    };
    let moved = match holders {
        [from, "→", to] => Some(((*from).to_owned(), (*to).to_owned())),
        _ => None,
    };
    let number = |text: &str| text.parse().ok();
    let (sent, lost, outage_ms) = (number(sent)?, number(lost)?, number(outage)?);
    Some(Row { tenant: (*tenant).to_owned(), seat: (*seat).to_owned(), moved, sent, lost, outage_ms })
}

#[test]
fn a_silent_death_is_counted_packet_by_packet_and_its_history_told() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(["run", "--kill", "gw1"]).output()?;
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let about = || format!("{shown}\n{said}");
    ensure!(output.status.success(), "{}", about());
    let rows: Vec<Row> = shown.lines().filter_map(row).collect();
    for tenant in ["contoso", "woodgrove"] {
        ensure!(rows.iter().filter(|row| row.tenant == tenant).count() == 4, "{tenant}: {rows:?}\n{}", about());
    }
    for row in &rows {
        ensure!(row.sent > 200 && row.outage_ms < OUTAGE_MS, "{row:?}\n{}", about());
        ensure!((row.lost > 0) == (row.outage_ms > 0), "{row:?}\n{}", about());
    }
    let seat: Vec<&Row> = rows.iter().filter(|row| row.seat == "gw1").collect();
    ensure!(seat.len() == 4, "{}", about());
    for row in &seat {
        let (from, to) = row.moved.as_ref().with_context(about)?;
        ensure!(from == "gw1" && to != "gw1", "{row:?}\n{}", about());
    }
    ensure!(seat.iter().any(|row| row.lost > 0), "nothing was lost\n{}", about());
    for step in ["took it from gw1", "last good packet", "detected", "decided", "activated", "announced", "BGP up"] {
        ensure!(shown.contains(step), "nothing is told of {step:?}\n{}", about());
    }
    ensure!(!shown.contains("somebody else"), "{}", about());
    Ok(())
}
