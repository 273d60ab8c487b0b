//! Checks and applies plans.

use super::args::Format;
use super::output::{Output, Style};
use super::table::clean;
use super::units;
use crate::api::protocol::{Applied, PlanSource};
use crate::api::{Answer, Client, Request};
use crate::dataplane::pins::Pins;
use crate::net::fitness::{self, PortReport, Verdict};
use crate::plan::{self, Plan};
use anyhow::Context;
use serde::Serialize;
use std::io::{Read, Write};
use std::path::Path;

/// What `check` found, for programs.
#[derive(Debug, Serialize)]
struct Check {
    plan: String,
    /// Whether the plan is right in itself.
    valid: bool,
    /// Whether it can be applied on this host.
    applicable: bool,
    errors: Vec<Problem>,
    ports: Vec<Port>,
}

/// Something wrong with a plan.
#[derive(Debug, Serialize)]
struct Problem {
    message: String,
}

/// A port's fitness.
#[derive(Debug, Serialize)]
struct Port {
    fit: bool,
    #[serde(flatten)]
    report: PortReport,
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read the plan from standard input")?;
    Ok(text)
}

/// Validates without touching the host.
pub fn check(path: &Path, pins: &Path, output: &mut Output) -> anyhow::Result<u8> {
    let result = if is_stdin(path) { plan::parse(&read_stdin()?, "standard input") } else { plan::load(path) };
    let ports = match &result {
        Ok(plan) => {
            // Not everybody may look there.
            let ours = Pins::new(pins).links().ok();
            fitness::inspect(plan, &ours.map(|links| links.into_iter().map(|link| link.ifindex).collect()))?
        }
        Err(_) => Vec::new(),
    };
    let applicable = result.is_ok() && ports.iter().all(PortReport::is_fit);
    match (output.format(), &result) {
        (Format::Json, _) => {
            let errors = result.err().map(|errors| Problem { message: errors.to_string() });
            output.json(&Check {
                plan: path.display().to_string(),
                valid: errors.is_none(),
                applicable,
                errors: errors.into_iter().collect(),
                ports: ports.into_iter().map(|report| Port { fit: report.is_fit(), report }).collect(),
            })?;
        }
        (Format::Table, Ok(plan)) => {
            let style = output.style();
            output.line(&format!("{}: {}", path.display(), summary(plan)))?;
            ports.iter().try_for_each(|port| output.text(&fitness_text(port, style)))?;
        }
        (Format::Table, Err(errors)) => {
            let _ = writeln!(std::io::stderr(), "{errors}");
        }
    }
    Ok(if applicable { super::OK } else { super::FAILED })
}

/// What the plan holds, in a line.
fn summary(plan: &Plan) -> String {
    let connections: usize = plan.tenants.iter().map(|tenant| tenant.connections.len()).sum();
    format!(
        "valid: {}, {}, {}",
        units::count(plan.ports.len() as u64, "port"),
        units::count(plan.tenants.len() as u64, "tenant"),
        units::count(connections as u64, "connection"),
    )
}

/// A line for the port, and two for each finding.
fn fitness_text(port: &PortReport, style: Style) -> String {
    let mut facts = Vec::new();
    facts.extend(port.driver.as_ref().map(|driver| format!("driver {driver}")));
    facts.extend(port.mtu.map(|mtu| format!("mtu {mtu}")));
    facts.extend(port.mac.clone());
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    let fit = style.state(if port.is_fit() { "fit" } else { "unfit" });
    let mut text = format!("port {}: {fit}{}\n", port.name, clean(facts));
    for finding in &port.findings {
        let verdict = match finding.verdict {
            Verdict::Refused => "refused",
            Verdict::Warning => "warning",
            Verdict::Switched => "switched",
        };
        text.push_str(&format!("  {verdict}: {}\n", clean(finding.message.clone())));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("    {}\n", clean(finding.remedy.clone())));
        }
    }
    text
}

/// Applies as a difference.
pub async fn apply(socket: &Path, path: &Path, output: &mut Output) -> anyhow::Result<()> {
    let source = if is_stdin(path) {
        PlanSource::Text { name: "standard input".to_owned(), text: read_stdin()? }
    } else {
        // The daemon has another working directory.
        let whole = path.canonicalize().with_context(|| format!("cannot read the plan {}", path.display()))?;
        PlanSource::Path(whole)
    };
    let mut client = Client::connect(socket).await?;
    let answer = client.ask(&Request::Apply(source)).await?;
    let Answer::Applied(applied) = answer else {
        anyhow::bail!("the gateway answered something else: {answer:?}");
    };
    match output.format() {
        Format::Json => output.json(&applied)?,
        Format::Table => output.text(&changes(&applied))?,
    }
    Ok(())
}

/// A line a change, with the signs that people know from diff.
fn changes(applied: &Applied) -> String {
    let mut text = String::new();
    for (sign, list) in [('+', &applied.added), ('~', &applied.changed), ('-', &applied.removed)] {
        for thing in list {
            text.push_str(&format!("{sign} {}\n", clean(thing.clone())));
        }
    }
    for warning in &applied.warnings {
        text.push_str(&format!("Warning: {}\n", clean(warning.clone())));
    }
    let things = applied.added.len() + applied.changed.len() + applied.removed.len();
    if things == 0 && applied.table_writes == 0 {
        text.push_str("nothing to change\n");
        return text;
    }
    text.push_str(&format!(
        "applied in {:.1} ms: {} added, {} changed, {} removed; entries of tables written: {}\n",
        applied.microseconds as f64 / 1000.0,
        applied.added.len(),
        applied.changed.len(),
        applied.removed.len(),
        applied.table_writes,
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::fitness::Finding;

    #[test]
    fn changes_are_told_one_a_line() {
        let applied = Applied {
            added: vec!["connection contoso/hq".to_owned()],
            changed: vec!["tenant woodgrove".to_owned()],
            removed: vec!["connection contoso/old".to_owned()],
            table_writes: 12,
            microseconds: 3456,
            warnings: vec!["tor0 is down".to_owned()],
        };
        let expected = "\
+ connection contoso/hq
~ tenant woodgrove
- connection contoso/old
Warning: tor0 is down
applied in 3.5 ms: 1 added, 1 changed, 1 removed; entries of tables written: 12
";
        assert_eq!(changes(&applied), expected);
        assert_eq!(changes(&Applied::default()), "nothing to change\n");
    }

    #[test]
    fn a_ports_fitness_is_told_with_the_remedy() {
        let port = PortReport {
            name: "tor0".to_owned(),
            driver: Some("veth".to_owned()),
            mtu: Some(9000),
            mac: None,
            findings: vec![Finding {
                verdict: Verdict::Refused,
                message: "tor0 has MTU 9000".to_owned(),
                remedy: "`ip link set tor0 mtu 3498` or less".to_owned(),
            }],
        };
        let expected = "\
port tor0: unfit (driver veth, mtu 9000)
  refused: tor0 has MTU 9000
    `ip link set tor0 mtu 3498` or less
";
        assert_eq!(fitness_text(&port, Style::Plain), expected);
    }
}
