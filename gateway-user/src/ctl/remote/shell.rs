//! What is made of the command line itself: completions and manual pages.

use crate::ctl::args::Args;
use crate::ctl::output::Output;
use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// Prints a shell's completions.
pub fn completion(shell: Shell, output: &mut Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "gatewayctl", &mut script);
    Ok(output.text(&String::from_utf8(script)?)?)
}

/// Writes a page for the program and one for each of its commands.
pub fn man(directory: &Path, output: &mut Output) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Args::command(), directory))
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))?;
    Ok(output.line(&format!("manual pages are in {}", directory.display()))?)
}
