//! `gatewayctl get`: shows resources.

use super::client::Client;
use super::fetch;
use super::print::{self, Number};
use super::target::Target;
use crate::ctl::output::Output;

/// Shows what was asked for.
pub async fn run(client: &mut Client, targets: &[Target], output: &mut Output) -> anyhow::Result<()> {
    let items = fetch::all(client, targets).await?;
    let number = match targets {
        [Target::Resource(_) | Target::Anywhere(_, Some(_))] => Number::One,
        _ => Number::Many,
    };
    print::items(&items, number, output)
}
