//! BFD sessions, asked of the process that keeps them: it answers also while the gateway's daemon does not run.

use super::args::{BfdOptions, Format};
use super::output::Output;
use super::table::{Align, Row, Table};
use crate::bfd::{Report, Verdict, client, socket_in};
use ::bfd::Hops;

use Align::{Left, Right};

/// Asks and prints.
pub async fn run(options: &BfdOptions, output: &mut Output) -> anyhow::Result<()> {
    let sessions = client::list(&socket_in(&options.state)).await?;
    match output.format() {
        Format::Json => output.json(&sessions)?,
        Format::Table => output.table(&table(&sessions))?,
    }
    Ok(())
}

fn table(sessions: &[Report]) -> Table {
    let columns = [
        ("NAMESPACE", Left),
        ("LOCAL", Left),
        ("PEER", Left),
        ("HOPS", Left),
        ("STATE", Left),
        ("INTERVAL", Right),
        ("DETECTION", Right),
        ("DOWNS", Right),
        ("WHY", Left),
    ];
    let mut table = Table::new("no BFD sessions", &columns);
    for report in sessions {
        let session = &report.session;
        let namespace = session.netns.as_deref().and_then(std::path::Path::file_name);
        let status = report.status.as_ref();
        let milliseconds = |microseconds: u64| format!("{} ms", microseconds / 1000);
        let detection = status.and_then(|status| status.detection_time);
        let row = Row::new()
            .cell(namespace.map_or("-".into(), |name| name.to_string_lossy().into_owned()))
            .cell(session.local.to_string())
            .cell(session.peer.to_string())
            .cell(if session.hops == Hops::Single { "single" } else { "multiple" })
            .state(status.map_or("unknown".to_owned(), |status| status.state.to_string()))
            .cell(status.map_or("-".into(), |status| milliseconds(status.transmit_interval.0.into())))
            .cell(detection.map_or("-".into(), milliseconds))
            .cell(report.downs.to_string())
            .cell(why(report));
        table.push(row);
    }
    table
}

/// Why a session is not up.
fn why(report: &Report) -> String {
    match (&report.trouble, report.verdict(), &report.status) {
        (Some(trouble), ..) => trouble.clone(),
        (None, Verdict::Failed(failure), _) => failure.cause.to_string(),
        (None, Verdict::Unknown, Some(status)) => match &status.remote {
            None => "nothing was heard of the neighbor".to_owned(),
            Some(remote) => format!("the neighbor says {}: {}", remote.state, remote.diagnostic),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bfd::SessionKey;
    use crate::ctl::output::Style;

    #[test]
    fn a_session_that_cannot_be_kept_says_why() {
        let session = SessionKey {
            netns: Some("/run/netns/gw-contoso".into()),
            hops: Hops::Multiple,
            local: "192.0.2.1".parse().unwrap(),
            peer: "192.0.2.2".parse().unwrap(),
        };
        let text = table(&[Report::unknown(session, Some("no namespace".into()))]).render(Style::Plain);
        let line = text.lines().nth(1).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            ["gw-contoso", "192.0.2.1", "192.0.2.2", "multiple", "unknown", "-", "-", "0", "no", "namespace"]
        );
        assert_eq!(table(&[]).render(Style::Plain), "no BFD sessions\n");
    }
}
