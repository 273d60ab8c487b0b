//! The loop of what is shown live: it looks, draws, waits, and heeds keys.

use super::args::{Format, TopOptions};
use super::output::{Output, Style};
use super::table::Table;
use super::terminal::{self, Live};
use serde_json::Value;
use std::time::Duration;

/// What one look comes to.
pub struct Shown {
    /// For programs.
    pub json: Value,
    /// For people.
    pub table: Table,
}

/// How often to look where there is no terminal, unless the options say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattended {
    /// Once.
    Once,
    /// Until the end.
    Always,
}

/// Shows what `look` finds until the count is reached, q or Ctrl-C. A look that has nothing to show yet is followed by another one.
pub async fn run(
    options: &TopOptions,
    unattended: Unattended,
    output: &mut Output,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<Shown>>,
) -> anyhow::Result<()> {
    let mut live = match output.format() {
        Format::Table if !options.once => Live::enter()?,
        _ => None,
    };
    let mut left = match options.count {
        _ if options.once => 1,
        Some(count) => count,
        None if live.is_some() || unattended == Unattended::Always => u64::MAX,
        None => 1,
    };
    let mut interval = tokio::time::interval(Duration::from_secs_f64(options.interval));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut place = if live.is_some() { Place::Screen } else { Place::Top };
    while left > 0 {
        let key = async {
            match live.as_mut() {
                Some(live) => live.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interval.tick() => {}
            key = key => match key {
                b'q' | b'Q' => return Ok(()),
                _ => continue,
            },
            _ = &mut interrupt => return Ok(()),
        }
        if let Some(shown) = look().await? {
            draw(&shown, &mut place, output)?;
            left -= 1;
        }
    }
    Ok(())
}

/// Where a table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the place of the one before.
    Screen,
    /// It is the first.
    Top,
    /// After others.
    Below,
}

fn draw(shown: &Shown, place: &mut Place, output: &mut Output) -> anyhow::Result<()> {
    match (output.format(), &place) {
        (Format::Json, _) => output.json_line(&shown.json)?,
        (Format::Table, Place::Screen) => {
            let (rows, columns) = terminal::size();
            // Cut by columns, so without colours, which take characters and no columns.
            let text = format!("{}\nq quits\n", shown.table.render(Style::Plain));
            output.text(&terminal::frame(&text, rows, columns))?;
        }
        (Format::Table, Place::Top) => {
            output.table(&shown.table)?;
            *place = Place::Below;
        }
        (Format::Table, Place::Below) => {
            output.line("")?;
            output.table(&shown.table)?;
        }
    }
    Ok(output.flush()?)
}
