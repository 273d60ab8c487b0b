//! What the documents tell people to type does what they say.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::gateway::program;
use lab::node::{Node, Processes};

/// The first block of shell commands under a heading of the operator's guide.
fn commands(heading: &str) -> Result<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators-guide.md");
    let guide = std::fs::read_to_string(guide)?;
    let (_, section) = guide.split_once(&format!("\n## {heading}\n")).context("the guide has no such heading")?;
    let (_, block) = section.split_once("```sh\n").context("there are no commands")?;
    let (block, _) = block.split_once("```").context("the commands have no end")?;
    Ok(block.to_owned())
}

#[test]
fn trying_the_gateway_apart_works_as_the_guide_says_and_leaves_nothing() -> Result<()> {
    let machine = Node::new("host", &Processes::new()?)?;
    let look = || machine.sh("ip -o link; ls -A /run /run/netns; find /sys/fs/bpf -mindepth 1 ! -name '*.debug'");
    let before = look()?;
    let mut shell = Command::new("timeout");
    shell.args(["170", "sh", "-ec", &commands("Try it apart")?]);
    shell.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"));
    let own = program("gatewayd")?;
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", own.parent().context("a program lies in a directory")?.display()));
    let said = machine.run(&mut shell)?;
    ensure!(said.matches(" 0% packet loss").count() == 3, "{said}");
    ensure!(said.contains("port eth1: fit") && said.contains("gw-contoso"), "{said}");
    let after = look()?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}\n{said}");
    Ok(())
}
