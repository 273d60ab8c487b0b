//! `gatewayctl`: asks a running gateway, shows what it does, traces packets, checks and applies plans.
//!
//! | to change | go to |
//! |---|---|
//! | a command's name, options or help | `args` |
//! | how an answer is shown as a table | `show`, `table`, `units` |
//! | the live view | `top`, `terminal` |
//! | how traced packets are printed and written | `trace`, `capture` |
//! | checking and applying plans | `plan` |
//! | taking everything off the host | `detach` |

mod args;
mod capture;
mod detach;
mod output;
mod plan;
mod reasons;
mod show;
mod table;
mod terminal;
mod top;
mod trace;
mod units;

use crate::api::client::ClientError;
use args::{Args, Command, Show};
use clap::Parser;
use output::Output;
use std::io;
use std::process::ExitCode;

/// What went well.
const OK: u8 = 0;
/// What did not.
const FAILED: u8 = 1;

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
            ExitCode::from(FAILED)
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
        Command::Show { what } => show::show(&args.socket, what, output).await.map(|()| OK),
        Command::Top(options) => top::run(&args.socket, options, output).await.map(|()| OK),
        Command::Trace(options) => trace::run(&args.socket, options, output).await.map(|()| OK),
        Command::Check { plan, pins } => plan::check(plan, pins, output),
        Command::Apply { plan } => plan::apply(&args.socket, plan, output).await.map(|()| OK),
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
}
