//! Running other programs, with errors that say which one failed.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cargo that runs us, for another build of this workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_outer_build(&mut command);
    // Wherever the user keeps other builds: what we run afterwards is looked for here.
    command.current_dir(workspace::root()).env("CARGO_TARGET_DIR", workspace::target());
    command
}

/// Removes what the outer `cargo run` tells about itself, so that an inner build neither sees it nor is rebuilt because of it.
fn forget_outer_build(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    for name in ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"] {
        command.env_remove(name);
    }
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", without_toolchain(&path));
    }
}

/// The library path without the directories that cargo puts in front of it.
fn without_toolchain(path: &OsString) -> OsString {
    let target = workspace::target();
    let kept = env::split_paths(path).filter(|directory| {
        !directory.starts_with(&target) && !directory.components().any(|part| part.as_os_str() == "toolchains")
    });
    env::join_paths(kept).unwrap_or_default()
}

/// Removes every setting by which a person or the outer build chooses a compiler: the caller chooses.
pub fn forget_compiler(command: &mut Command) {
    const PREFIXES: [&str; 5] =
        ["CARGO_BUILD_", "CARGO_TARGET_", "CARGO_PROFILE_", "CARGO_ENCODED_", "CARGO_UNSTABLE_"];
    const NAMES: [&str; 9] = [
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
        "RUSTUP_TOOLCHAIN",
        "CARGO",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// How the command would be typed.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        text.push(' ');
        if argument.contains([' ', '"', '*', '&', '|', '(']) {
            text.push_str(&format!("'{argument}'"));
        } else {
            text.push_str(&argument);
        }
    }
    text
}

/// Runs the command to its end; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    // What we said so far stands before what the program says.
    let _ = io::stdout().flush();
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs the command and returns what it wrote to standard output; its standard error is ours.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote something that is not text", shown(command)))
}

/// What the command wrote to standard output, if it ran and succeeded; it says nothing on the terminal.
pub fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the command, so that signals reach it and its exit code is ours.
pub fn become_program(command: &mut Command) -> Result<()> {
    let _ = io::stdout().flush();
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", shown(command)))
}

/// Finds an executable in `PATH` and where system programs lie.
pub fn find(program: &str) -> Option<PathBuf> {
    find_all(program).next()
}

/// Every executable of that name, the one that would be run first.
pub fn find_all(program: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories
        .into_iter()
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(move |directory| directory.join(program))
        .filter(|candidate| is_executable(candidate))
}

/// Whether the file is there and can be run.
pub fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether we are root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "-E", "kind(lib) & all"]);
        assert_eq!(shown(&command), "cargo test -E 'kind(lib) & all'");
    }

    #[test]
    fn the_library_path_keeps_what_the_user_put_there() {
        let path = env::join_paths([
            workspace::target().join("debug/deps"),
            PathBuf::from("/opt/lib"),
            PathBuf::from("/home/me/.rustup/toolchains/stable/lib"),
        ])
        .unwrap();
        assert_eq!(without_toolchain(&path), OsString::from("/opt/lib"));
    }

    #[test]
    fn a_failed_program_is_named() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
        let error = run(&mut Command::new("/nonexistent/program")).unwrap_err().to_string();
        assert!(error.contains("cannot start `program`"), "{error}");
    }
}
