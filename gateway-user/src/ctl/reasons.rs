//! What drop reasons mean.

use super::args::Format;
use super::output::Output;
use super::table::{Align, Row, Table};
use gateway_common::DropReason;
use serde::Serialize;

#[derive(Serialize)]
struct Reason {
    number: u32,
    reason: &'static str,
    meaning: &'static str,
}

impl From<DropReason> for Reason {
    fn from(reason: DropReason) -> Self {
        Self { number: reason as u32, reason: reason.name(), meaning: reason.meaning() }
    }
}

/// The reason with this name or number, in any writing that people use.
fn find(text: &str) -> Option<DropReason> {
    let name = text.to_ascii_lowercase().replace(['-', ' '], "_");
    let number = || name.parse().ok().and_then(DropReason::from_number);
    DropReason::ALL.iter().copied().find(|reason| reason.name() == name).or_else(number)
}

/// Explains one reason, or all.
pub fn explain(reason: Option<&str>, output: &mut Output) -> anyhow::Result<()> {
    let chosen: Vec<Reason> = match reason {
        None => DropReason::ALL.iter().copied().map(Reason::from).collect(),
        Some(text) => match find(text) {
            Some(reason) => vec![reason.into()],
            None => anyhow::bail!("there is no drop reason \"{text}\"; `gatewayctl explain-drop` lists all of them"),
        },
    };
    match (output.format(), reason) {
        (Format::Json, Some(_)) => output.json(&chosen[0])?,
        (Format::Json, None) => output.json(&chosen)?,
        (Format::Table, _) => {
            let columns = &[("NUMBER", Align::Right), ("REASON", Align::Left), ("MEANING", Align::Left)];
            let mut table = Table::new("no reasons", columns);
            for reason in chosen {
                table.push(Row::new().cell(reason.number.to_string()).cell(reason.reason).cell(reason.meaning));
            }
            output.table(&table)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_by_name_and_by_number() {
        for text in ["spoofed", "Spoofed", "27"] {
            assert_eq!(find(text), Some(DropReason::Spoofed), "{text}");
        }
        assert_eq!(find("no-route"), Some(DropReason::NoRoute));
        assert_eq!(find("0"), None);
        assert_eq!(find("nonsense"), None);
    }
}
