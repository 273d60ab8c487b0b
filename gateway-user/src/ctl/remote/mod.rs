//! What `gatewayctl` does with a network controller: the verbs that people know from kubectl, over the controller's REST interface.
//!
//! | to change | go to |
//! |---|---|
//! | a command's name, options or help | [`args`] |
//! | which controller is asked, and as whom | [`context`], `config` |
//! | how it is asked: leaders, retries, certificates | [`client`] |
//! | how a refusal is told, and its remedy | [`error`] |
//! | a kind's names, how targets are written | [`kinds`], [`target`] |
//! | what a table shows of a kind | [`columns`], [`fields`] |
//! | how answers are printed | [`print`](mod@print), [`describe`] |
//! | files with resources: reading them, their order | [`documents`], [`order`] |
//! | a verb | the module of its name |
//! | what is made of the command line itself | `shell` |

mod apply;
pub mod args;
mod client;
mod columns;
mod config;
mod context;
mod copies;
mod credentials;
mod delete;
mod describe;
mod diff;
mod documents;
mod drain;
pub mod error;
mod explain;
mod fetch;
mod fields;
mod gateways;
mod get;
mod kinds;
mod order;
mod places;
mod print;
mod rebalance;
mod shell;
mod target;
mod token;
mod top;
mod upgrade;
mod watch;

#[cfg(test)]
mod tests;

use super::output::Output;
use super::{FAILED, OK};
use crate::controller::core::ledger::CredentialKind;
use crate::controller::store::backup::Existing;
use args::{Command, Reach};
use client::Client;

/// Carries out a command that may ask a controller.
///
/// # Errors
/// What went wrong, where, and what to do.
pub async fn run(reach: &Reach, command: &Command, output: &mut Output) -> anyhow::Result<u8> {
    match command {
        Command::Describe { what } => describe::run(&mut client(reach).await?, what, output).await?,
        Command::Diff { files } => {
            let documents = documents::read(files)?;
            return diff::run(&mut client(reach).await?, &documents, output).await;
        }
        Command::Delete(options) => return delete::run(reach, options, output).await,
        Command::Watch(options) => watch::run(&mut client(reach).await?, options, output).await?,
        Command::Explain { what } => explain::run(&mut client(reach).await?, what, output).await?,
        Command::Drain { gateway, confirm, connections } => {
            let wish = if *confirm { drain::Wish::Move } else { drain::Wish::Look };
            let what = if *connections { drain::What::Connections } else { drain::What::Everything };
            drain::run(&mut client(reach).await?, gateway, wish, what, output).await?;
        }
        Command::Move { connection, to, confirm } => {
            let wish = if *confirm { drain::Wish::Move } else { drain::Wish::Look };
            rebalance::connection(&mut client(reach).await?, connection, to, wish, output).await?;
        }
        Command::Rebalance { pool, confirm } => {
            let wish = if *confirm { drain::Wish::Move } else { drain::Wish::Look };
            rebalance::pool(&mut client(reach).await?, pool, wish, output).await?;
        }
        Command::Upgrade(options) => {
            let wish = if options.confirm { drain::Wish::Move } else { drain::Wish::Look };
            let (pool, command, version) = (options.pool.clone(), options.run.clone(), options.to.clone());
            let upgrade = upgrade::Upgrade { pool, wish, command, version };
            upgrade::run(&mut client(reach).await?, &upgrade, output).await?;
        }
        Command::Cordon { gateway } => {
            gateways::schedule(&mut client(reach).await?, gateway, gateways::Scheduling::Cordoned, output).await?;
        }
        Command::Uncordon { gateway } => {
            gateways::schedule(&mut client(reach).await?, gateway, gateways::Scheduling::Enabled, output).await?;
        }
        Command::Where { tenant, address: None } => places::run(&mut client(reach).await?, tenant, output).await?,
        Command::Where { tenant, address: Some(address) } => {
            places::ways(&mut client(reach).await?, tenant, *address, output).await?;
        }
        Command::WhoTakesOver { gateway } => {
            gateways::who_takes_over(&mut client(reach).await?, gateway, output).await?;
        }
        Command::Backup { file } => copies::backup(&mut client(reach).await?, file, output).await?,
        Command::Restore { file, force } => {
            let existing = if *force { Existing::Replace } else { Existing::Keep };
            copies::restore(reach, file, existing, output).await?;
        }
        Command::Token { what } => {
            let mut client = client(reach).await?;
            match what {
                args::Token::Create(options) => token::create(&mut client, options, output).await?,
                args::Token::List => credentials::list(&mut client, CredentialKind::Token, output).await?,
                args::Token::Revoke { which } => {
                    credentials::revoke(&mut client, CredentialKind::Token, which, output).await?;
                }
            }
        }
        Command::Certificate { what } => {
            let mut client = client(reach).await?;
            match what {
                args::Certificate::List => credentials::list(&mut client, CredentialKind::Certificate, output).await?,
                args::Certificate::Revoke { which } => {
                    credentials::revoke(&mut client, CredentialKind::Certificate, which, output).await?;
                }
            }
        }
        Command::Config { what } => config::run(reach, what, output)?,
        Command::Completion { shell } => shell::completion(*shell, output)?,
        Command::Man { directory } => shell::man(directory, output)?,
    }
    Ok(OK)
}

/// Shows resources.
///
/// # Errors
/// What went wrong, where, and what to do.
pub async fn get(reach: &Reach, what: &[String], output: &mut Output) -> anyhow::Result<u8> {
    let targets = target::all(what)?;
    get::run(&mut client(reach).await?, &targets, output).await?;
    Ok(OK)
}

/// Creates and changes what files describe.
///
/// # Errors
/// What went wrong, where, and what to do.
pub async fn apply(reach: &Reach, files: &[std::path::PathBuf], output: &mut Output) -> anyhow::Result<u8> {
    let documents = documents::read(files)?;
    apply::run(&mut client(reach).await?, documents, output).await
}

/// Shows how much is used, live.
///
/// # Errors
/// What went wrong, where, and what to do.
pub async fn top(
    reach: &Reach,
    what: super::args::Subject,
    options: &super::args::TopOptions,
    output: &mut Output,
) -> anyhow::Result<u8> {
    top::run(&mut client(reach).await?, what, options, output).await?;
    Ok(OK)
}

async fn client(reach: &Reach) -> anyhow::Result<Client> {
    Client::new(&context::resolve(reach)?, reach.patience()).await
}

/// The exit code of something that was done in part.
fn code(failures: usize) -> u8 {
    if failures == 0 { OK } else { FAILED }
}
