//! `cargo xtask dist`: what a user installs, a Debian package made with dpkg-deb alone.

use crate::build::{self, Profile};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "edge-gateway";
const PROGRAMS: [&str; 2] = ["gatewayd", "gatewayctl"];
const UNITS: [(&str, &str); 3] = [
    ("gatewayd.service", include_str!("../dist/gatewayd.service")),
    ("gatewayd-host.service", include_str!("../dist/gatewayd-host.service")),
    ("gatewayd-controller.service", include_str!("../dist/gatewayd-controller.service")),
];

/// Build what a user installs: a .deb with the daemon, its client, their manual pages, systemd units and the documents
#[derive(Args)]
#[command(
    after_help = "Units: gatewayd (a gateway), gatewayd-host, gatewayd-controller. Each waits for a file below /etc/gateway that a person
writes (plan.toml, host.toml, or gateway.env, host.env, controller.env); installing the package starts nothing.

Examples:
  cargo xtask dist
  apt install ./target/dist/edge-gateway_0.1.0_amd64.deb"
)]
pub struct Arguments {
    /// Pack the programs of development, to try the packing: they are slow
    #[arg(long)]
    debug: bool,
}

pub fn main(arguments: &Arguments) -> Result<()> {
    let packer = process::find("dpkg-deb").context("packing needs dpkg-deb (Debian's package dpkg)")?;
    let Some(architecture) = process::probe(Command::new("dpkg").arg("--print-architecture")) else {
        bail!("dpkg does not tell this machine's architecture");
    };
    let architecture = architecture.trim();
    let profile = Profile::chosen(!arguments.debug);
    build::all(profile)?;
    let dist = workspace::target().join("dist");
    let root = dist.join("root");
    let _ = fs::remove_dir_all(&root);
    let package = Package { root: &root, profile };
    package.fill(architecture)?;
    let file = dist.join(format!("{NAME}_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    let mut command = Command::new(packer);
    command.args(["--root-owner-group", "--build"]).arg(&root).arg(&file);
    process::output(&mut command)?;
    println!("dist: {}", workspace::shown(&file));
    Ok(())
}

/// The package's file system while it is put together.
struct Package<'a> {
    root: &'a Path,
    profile: Profile,
}

impl Package<'_> {
    fn fill(&self, architecture: &str) -> Result<()> {
        let mut glibc = (0, 0);
        for program in PROGRAMS {
            let built = workspace::program(self.profile.directory(), program);
            let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
            glibc = glibc.max(newest_glibc(&bytes));
            let path = format!("usr/bin/{program}");
            self.put(&path, &bytes, 0o755)?;
            // What only a debugger reads is most of it. The programs that go into the kernel are data, which stays.
            if let Some(strip) = process::find("strip") {
                process::output(Command::new(strip).arg("--strip-debug").arg(self.root.join(path)))?;
            }
        }
        let documents = format!("usr/share/doc/{NAME}");
        for (from, to) in documents_of(workspace::root())? {
            self.put(&format!("{documents}/{to}"), &fs::read(&from)?, 0o644)?;
        }
        self.put(&format!("{documents}/copyright"), COPYRIGHT.as_bytes(), 0o644)?;
        for (name, unit) in UNITS {
            self.put(&format!("lib/systemd/system/{name}"), unit.as_bytes(), 0o644)?;
        }
        self.manual()?;
        self.put("DEBIAN/postinst", include_bytes!("../dist/postinst"), 0o755)?;
        self.put("DEBIAN/prerm", include_bytes!("../dist/prerm"), 0o755)?;
        self.put("DEBIAN/control", control(architecture, glibc).as_bytes(), 0o644)
    }

    /// Manual pages and completions, by the client's own word.
    fn manual(&self) -> Result<()> {
        let client = workspace::program(self.profile.directory(), "gatewayctl");
        let pages = self.root.join("usr/share/man/man1");
        fs::create_dir_all(&pages).with_context(|| format!("cannot make {}", pages.display()))?;
        process::output(Command::new(&client).arg("man").arg(&pages))?;
        for entry in fs::read_dir(&pages)? {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o644))?;
        }
        let completion = process::output(Command::new(&client).args(["completion", "bash"]))?;
        self.put("usr/share/bash-completion/completions/gatewayctl", completion.as_bytes(), 0o644)
    }

    fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(path);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(self.root))?;
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Documents for the user: from, and the name in the package's directory of documents.
fn documents_of(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut documents = Vec::new();
    for name in ["README.md", "CHANGELOG.md"] {
        documents.push((root.join(name), name.to_owned()));
    }
    let directories =
        [("docs", "md", "docs"), ("examples", "toml", "examples"), ("examples/cloud", "yaml", "examples/cloud")];
    for (directory, extension, below) in directories {
        let Ok(entries) = fs::read_dir(root.join(directory)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension)
                && let Some(name) = path.file_name()
            {
                let name = format!("{below}/{}", name.to_string_lossy());
                documents.push((path, name));
            }
        }
    }
    Ok(documents)
}

/// The newest version of glibc whose symbols a program wants: what it depends on.
fn newest_glibc(program: &[u8]) -> (u32, u32) {
    const PREFIX: &[u8] = b"GLIBC_";
    let versions = program.windows(PREFIX.len()).enumerate().filter(|(_, window)| *window == PREFIX);
    let parsed = versions.filter_map(|(at, _)| {
        let rest = &program[at + PREFIX.len()..];
        let text = rest.split(|byte| !(byte.is_ascii_digit() || *byte == b'.')).next()?;
        let mut parts = std::str::from_utf8(text).ok()?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    parsed.max().unwrap_or((0, 0))
}

fn control(architecture: &str, (major, minor): (u32, u32)) -> String {
    format!(
        "Package: {NAME}
Version: {}
Architecture: {architecture}
Maintainer: The {NAME} authors <root@localhost>
Section: net
Priority: optional
Depends: libc6 (>= {major}.{minor}), libgcc-s1
Description: multitenant edge gateway on XDP
 Joins each tenant's virtual network (VXLAN, NVGRE) to that tenant's sites, over
 GRE or a tenant VLAN, with overlapping tenant address spaces. The packets are
 forwarded by XDP programs that live on when the daemon restarts. With the network
 controller that places tenants' connections on gateways, and the compute hosts'
 edge of virtual machines.
",
        env!("CARGO_PKG_VERSION")
    )
}

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: the edge-gateway authors
License: MIT or Apache-2.0
 Either the MIT licence (https://opensource.org/license/mit) or the Apache
 License, version 2.0 (/usr/share/common-licenses/Apache-2.0), at your choice.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_version_decides_on_the_libc() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.4\0"), (2, 34));
        assert_eq!(newest_glibc(b"GLIBC_PRIVATE GLIBC_"), (0, 0));
    }

    #[test]
    fn a_control_file_has_its_fields_and_ends_with_a_newline() {
        let text = control("amd64", (2, 36));
        assert!(text.contains("\nDepends: libc6 (>= 2.36), libgcc-s1\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with(' ') || line.contains(": ")), "{text}");
        assert!(text.ends_with(".\n"));
    }

    /// By systemd's own eyes, but for the daemon, which is not installed here.
    #[test]
    fn systemd_accepts_the_units() {
        let Some(analyze) = process::find("systemd-analyze") else { return };
        let directory = std::env::temp_dir().join(format!("gatewayd-unit-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new(analyze);
        command.args(["verify", "--man=no"]);
        for (name, unit) in UNITS {
            let path = directory.join(name);
            fs::write(&path, unit.replace("/usr/bin/gatewayd", "/bin/true")).unwrap();
            command.arg(path);
        }
        let output = command.output();
        fs::remove_dir_all(&directory).unwrap();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("gatewayd"), "{said}");
    }

    #[test]
    fn the_guide_names_only_drop_reasons_that_exist() {
        let guide = fs::read_to_string(workspace::root().join("docs/operators-guide.md")).unwrap();
        let (_, table) = guide.split_once("| reason | look at |").unwrap();
        let mut names = 0;
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cell = row.split('|').nth(1).unwrap();
            for name in cell.split('`').skip(1).step_by(2) {
                assert!(gateway_common::DropReason::ALL.iter().any(|reason| reason.name() == name), "{name}");
                names += 1;
            }
        }
        assert!(names > 5);
    }
}
