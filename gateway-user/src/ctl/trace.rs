//! Prints traced packets as they come.

use super::args::{Format, TraceOptions};
use super::capture::Capture;
use super::output::{Output, Style};
use super::{table, units};
use crate::api::protocol::TraceRequest;
use crate::api::report::TraceEvent;
use crate::api::{Answer, Client, Request};
use anyhow::Context;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Whether packets are printed besides being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Printing {
    On,
    /// Standard output is the capture's.
    Off,
}

/// Traces until the count is reached, the gateway ends it, or Ctrl-C.
pub async fn run(socket: &Path, options: &TraceOptions, output: &mut Output) -> anyhow::Result<()> {
    let mut client = Client::connect(socket).await?;
    let request = TraceRequest {
        tenant: options.tenant.clone(),
        src: options.src,
        dst: options.dst,
        connection: options.connection.clone(),
        count: options.count,
    };
    // Asked first: a tenant that is not there must not cost a file its contents.
    client.ask(&Request::Trace(request)).await?;
    let (mut capture, printing) = match &options.write {
        None => (None, Printing::On),
        Some(path) if path.as_os_str() == "-" => (Some(open(Box::new(io::stdout()))?), Printing::Off),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            (Some(open(Box::new(file))?), Printing::On)
        }
    };
    let mut told = 0;
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let lost = loop {
        let answer = tokio::select! {
            answer = client.answer() => answer?,
            _ = &mut interrupt => break 0,
        };
        match answer {
            Answer::Traced(event) => {
                told += 1;
                if let Some(capture) = &mut capture {
                    capture.write(&event)?;
                }
                if printing == Printing::On {
                    print(&event, output)?;
                }
            }
            Answer::TraceEnded { lost } => break lost,
            other => anyhow::bail!("the gateway answered something else: {other:?}"),
        }
    };
    let lost = if lost > 0 {
        format!("; {lost} records were lost, as packets came faster than they can be told")
    } else {
        String::new()
    };
    let _ = writeln!(io::stderr(), "{} traced{lost}", units::count(told, "packet"));
    Ok(())
}

fn open(writer: Box<dyn Write>) -> io::Result<Capture<Box<dyn Write>>> {
    Capture::new(writer)
}

fn print(event: &TraceEvent, output: &mut Output) -> io::Result<()> {
    match output.format() {
        Format::Json => output.json_line(event)?,
        Format::Table => output.text(&text(event, output.style()))?,
    }
    // A packet is seen when it passes, even through a pipe.
    output.flush()
}

/// How it ended, in short.
pub fn verdict(event: &TraceEvent) -> String {
    match (event.verdict.as_str(), &event.reason, &event.out_port) {
        ("forwarded", _, Some(port)) => format!("forwarded to {port}"),
        ("delivered", ..) => "delivered to the compartment".to_owned(),
        ("deferred", ..) => "deferred to the slow path".to_owned(),
        ("passed", ..) => "passed to the host's stack".to_owned(),
        ("dropped", Some(reason), _) => format!("dropped: {reason}"),
        (verdict, ..) => verdict.to_owned(),
    }
}

/// A line for the packet, and a line for each stage.
fn text(event: &TraceEvent, style: Style) -> String {
    let end = verdict(event);
    let (word, rest) = end.split_at(event.verdict.len().min(end.len()));
    let mut text = format!(
        "{} {}: {}{rest}\n",
        units::time_of_day(event.time_ns),
        table::clean(event.packet.clone()),
        style.state(word)
    );
    for stage in &event.stages {
        text.push_str(&format!("  {:<12} {}\n", stage.stage, table::clean(stage.detail.clone())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::report::StageReport;

    fn event() -> TraceEvent {
        let stage = |stage: &str, detail: &str| StageReport { stage: stage.to_owned(), detail: detail.to_owned() };
        TraceEvent {
            time_ns: 1_700_000_000_123_456_789,
            port: "tor0".to_owned(),
            packet: "10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3".to_owned(),
            stages: vec![
                stage("parse", "GRE key 100 203.0.113.20 > 198.51.100.10, 126 bytes on tor0"),
                stage("classify", "tenant contoso, connection hq, seat 0"),
                stage("decapsulate", "10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3, 84 bytes, ttl 64"),
                stage(
                    "admit",
                    "dropped: spoofed (The inner source address is not feasible for where the packet came from)",
                ),
            ],
            verdict: "dropped".to_owned(),
            reason: Some("spoofed".to_owned()),
            ..TraceEvent::default()
        }
    }

    #[test]
    fn a_packet_is_a_line_and_each_stage_another() {
        let expected = "\
22:13:20.123456Z 10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3: dropped: spoofed
  parse        GRE key 100 203.0.113.20 > 198.51.100.10, 126 bytes on tor0
  classify     tenant contoso, connection hq, seat 0
  decapsulate  10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3, 84 bytes, ttl 64
  admit        dropped: spoofed (The inner source address is not feasible for where the packet came from)
";
        assert_eq!(text(&event(), Style::Plain), expected);
        assert!(text(&event(), Style::Coloured).contains("\x1b[31mdropped\x1b[0m: spoofed"));
    }

    #[test]
    fn every_verdict_is_worded() {
        let with = |verdict: &str, port: Option<&str>| {
            let out_port = port.map(str::to_owned);
            super::verdict(&TraceEvent { verdict: verdict.to_owned(), reason: None, out_port, ..event() })
        };
        assert_eq!(with("forwarded", Some("fab0")), "forwarded to fab0");
        assert_eq!(with("forwarded", None), "forwarded");
        assert_eq!(with("passed", None), "passed to the host's stack");
        assert_eq!(with("", None), "");
    }
}
