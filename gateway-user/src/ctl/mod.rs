//! `gatewayctl`: asks a running gateway, shows what it does, traces packets, checks and applies plans; asks network controllers.
//!
//! | to change | go to |
//! |---|---|
//! | a command's name, options or help | `args` |
//! | what is shown of BGP | `bgp` |
//! | how an answer is shown as a table | `show`, `table`, `units` |
//! | the live view | `top`, `live`, `terminal` |
//! | how traced packets are printed and written | `trace`, `capture` |
//! | checking and applying plans | `plan` |
//! | BFD sessions | `bfd` |
//! | seats, who holds them, what happened to them | `seats` |
//! | taking everything off the host | `detach` |
//! | everything that asks a network controller | `remote` |

mod args;
mod bfd;
mod bgp;
mod capture;
mod detach;
mod live;
mod output;
mod plan;
mod reasons;
mod remote;
mod seats;
mod show;
mod table;
mod terminal;
mod top;
mod trace;
mod units;

pub use seats::story;

use crate::api::client::ClientError;
use args::{Args, Command, Form, Show, TopOptions};
use clap::{CommandFactory, Parser};
use output::Output;
use remote::error::{Refused, Usage};
use std::io;
use std::process::ExitCode;

/// What went well.
const OK: u8 = 0;
/// What did not.
const FAILED: u8 = 1;
/// What was asked in a way that makes no sense.
const MISUSED: u8 = 2;

/// Runs the program. Exit codes: 0 it went well, 1 it did not, 2 it was called wrongly.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Prints help to stdout and errors to stderr; a reader that has gone is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
        }
    };
    if args.command.is_local() && !matches!(args.output, Form::Table | Form::Json) {
        let _ = Args::command()
            .error(
                clap::error::ErrorKind::InvalidValue,
                "the gateway of this host is shown as table or json; give `-o table` or `-o json`",
            )
            .print();
        return ExitCode::from(MISUSED);
    }
    let mut output = Output::new(args.output);
    let result = start(&args, &mut output).and_then(|code| {
        output.flush()?;
        Ok(code)
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(OK),
        Err(error) => {
            // What was printed so far comes before what went wrong.
            let _ = output.flush();
            report(&error);
            ExitCode::from(if error.downcast_ref::<Usage>().is_some() { MISUSED } else { FAILED })
        }
    }
}

fn start(args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(run(args, output));
    // A thread that still waits for a key must not keep the program.
    runtime.shutdown_background();
    result
}

async fn run(args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    match &args.command {
        Command::Status => show::show(&args.socket, &Show::Status, output).await.map(|()| OK),
        Command::Bgp { what } => bgp::show(&args.socket, what, output).await.map(|()| OK),
        Command::Show { what } => show::show(&args.socket, what, output).await.map(|()| OK),
        Command::Top(options @ TopOptions { what: Some(what), .. }) => {
            remote::top(&args.reach, *what, options, output).await
        }
        Command::Top(options) => top::run(&args.socket, options, output).await.map(|()| OK),
        Command::Trace(options) => trace::run(&args.socket, options, output).await.map(|()| OK),
        Command::Check { plan, pins } => plan::check(plan, pins, output),
        Command::Get(options) => match (&options.local, options.what.as_slice()) {
            (Some(what), []) => show::show(&args.socket, what, output).await.map(|()| OK),
            (None, what) => remote::get(&args.reach, what, output).await,
            (Some(_), _) => {
                Err(Usage("what this host's gateway does and the controller's resources are got one by one".to_owned())
                    .into())
            }
        },
        Command::Apply { plan: Some(plan), .. } => plan::apply(&args.socket, plan, output).await.map(|()| OK),
        Command::Apply { plan: None, files } => remote::apply(&args.reach, files, output).await,
        Command::Remote(command) => remote::run(&args.reach, command, output).await,
        Command::Bfd(options) => bfd::run(options, output).await.map(|()| OK),
        Command::Seats(options) => seats::seats(options, output).await.map(|()| OK),
        Command::History(options) => seats::history(options, output).await.map(|()| OK),
        Command::Failover(options) => seats::failover(options, output).await.map(|()| OK),
        Command::Detach(options) => detach::run(options, output).map(|()| OK),
        Command::ExplainDrop { reason } => reasons::explain(reason.as_deref(), output).map(|()| OK),
    }
}

/// Whether whoever read our output has gone, which is no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// Says what went wrong, where, and what to do.
fn report(error: &anyhow::Error) {
    use std::io::Write;
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "gatewayctl: {error:#}");
    if let Some(ClientError::Failure(failure)) = error.downcast_ref() {
        for detail in &failure.details {
            let _ = writeln!(stderr, "{detail}");
        }
        if let Some(remedy) = &failure.remedy {
            let _ = writeln!(stderr, "{remedy}");
        }
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        for detail in refused.details() {
            let _ = writeln!(stderr, "{detail}");
        }
        if let Some(remedy) = refused.remedy() {
            let _ = writeln!(stderr, "{remedy}");
        }
    }
}
