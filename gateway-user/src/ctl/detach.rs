//! Takes the gateway off the host.

use super::args::{DetachOptions, Format};
use super::output::Output;
use crate::gateway;
use serde::Serialize;

#[derive(Serialize)]
struct Detached<'a> {
    detached: &'a str,
}

/// Removes programs, tables and compartments, if no daemon is there to put them back.
pub fn run(options: &DetachOptions, output: &mut Output) -> anyhow::Result<()> {
    gateway::detach(&options.pins, &options.state)?;
    let pins = options.pins.display().to_string();
    match output.format() {
        Format::Json => output.json(&Detached { detached: &pins })?,
        Format::Table => output.line(&format!("the gateway is off this host: nothing is left below {pins}"))?,
    }
    Ok(())
}
