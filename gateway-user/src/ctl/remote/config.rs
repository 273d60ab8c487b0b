//! Keeps contexts: `gatewayctl config`.

use super::args::{Config, Reach};
use super::context::{self, Contexts};
use super::error::Usage;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};

/// Carries it out.
pub fn run(reach: &Reach, what: &Config, output: &mut Output) -> anyhow::Result<()> {
    let path = context::file(reach)?;
    let mut contexts = context::load(&path)?;
    let said = match what {
        Config::GetContexts => return show(&contexts, output),
        Config::SetContext { name } => {
            let context = contexts.contexts.remove(name).unwrap_or_default().with(reach);
            if context.controllers.is_empty() {
                return Err(Usage("give the context a controller: --controller https://NAME:PORT".to_owned()).into());
            }
            contexts.contexts.insert(name.clone(), context);
            contexts.current.get_or_insert_with(|| name.clone());
            "set"
        }
        Config::UseContext { name } => {
            if !contexts.contexts.contains_key(name) {
                return Err(context::missing(name, &path, &contexts).into());
            }
            contexts.current = Some(name.clone());
            "is used from now on"
        }
        Config::DeleteContext { name } => {
            if contexts.contexts.remove(name).is_none() {
                return Err(context::missing(name, &path, &contexts).into());
            }
            if contexts.current.as_ref() == Some(name) {
                contexts.current = None;
            }
            "deleted"
        }
    };
    context::save(&path, &contexts)?;
    let (Config::SetContext { name } | Config::UseContext { name } | Config::DeleteContext { name }) = what else {
        return Ok(());
    };
    Ok(output.line(&format!("context {} {said}", clean(name.clone())))?)
}

fn show(contexts: &Contexts, output: &mut Output) -> anyhow::Result<()> {
    if output.format() == Format::Json {
        return Ok(output.document(contexts)?);
    }
    let mut table = Table::new(
        "no contexts; `gatewayctl config set-context NAME --controller https://…` makes one",
        &[("CURRENT", Align::Left), ("NAME", Align::Left), ("CONTROLLERS", Align::Left), ("AS", Align::Left)],
    );
    for (name, context) in &contexts.contexts {
        let shown = context.certificate.as_ref().or(context.token_file.as_ref());
        table.push(
            Row::new()
                .cell(if contexts.current.as_ref() == Some(name) { "*" } else { "" })
                .cell(name)
                .cell(context.controllers.join(","))
                .cell(shown.map_or_else(|| "nobody".to_owned(), |path| path.display().to_string())),
        );
    }
    Ok(output.table(&table)?)
}
