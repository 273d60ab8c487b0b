//! Prints resources in the form that was chosen.

use super::columns::{self, Width};
use super::fetch::Item;
use crate::ctl::args::Form;
use crate::ctl::output::Output;
use serde_json::{Value, json};

/// How many were asked for: one stands alone, several stand in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A single resource.
    One,
    /// Any number of them.
    Many,
}

/// Prints resources.
///
/// # Errors
/// Nobody reads.
pub fn items(items: &[Item], number: Number, output: &mut Output) -> anyhow::Result<()> {
    match output.form() {
        Form::Table => tables(items, Width::Narrow, output)?,
        Form::Wide => tables(items, Width::Wide, output)?,
        Form::Name => {
            for item in items {
                output.line(item.path.to_string().trim_start_matches('/'))?;
            }
        }
        Form::Json | Form::Yaml => output.document(&document(items, number))?,
    }
    Ok(())
}

fn document(items: &[Item], number: Number) -> Value {
    match (number, items) {
        (Number::One, [item]) => item.value.clone(),
        _ => json!({ "value": items.iter().map(|item| &item.value).collect::<Vec<_>>() }),
    }
}

/// A table for each run of resources of one kind.
fn tables(items: &[Item], width: Width, output: &mut Output) -> anyhow::Result<()> {
    if items.is_empty() {
        output.line("nothing there")?;
    }
    for (index, run) in items.chunk_by(|one, other| one.path.kind() == other.path.kind()).enumerate() {
        if index > 0 {
            output.line("")?;
        }
        output.table(&columns::table(run[0].path.kind(), run.iter(), width))?;
    }
    Ok(())
}
