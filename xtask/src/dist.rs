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

/// Build what a user installs: a .deb with the daemon, its client, a systemd unit and the documents
#[derive(Args)]
#[command(
    after_help = "The unit reads its plan from /etc/gateway/plan.toml, which a person writes (an example is among the
documents); installing the package starts nothing.

Examples:
  cargo xtask dist
  apt install ./target/dist/edge-gateway_0.1.0_amd64.deb"
)]
pub struct Arguments {}

pub fn main(_: &Arguments) -> Result<()> {
    let packer = process::find("dpkg-deb").context("packing needs dpkg-deb (Debian's package dpkg)")?;
    let Some(architecture) = process::probe(Command::new("dpkg").arg("--print-architecture")) else {
        bail!("dpkg does not tell this machine's architecture");
    };
    let architecture = architecture.trim();
    build::all(Profile::Release)?;
    let dist = workspace::target().join("dist");
    let root = dist.join("root");
    let _ = fs::remove_dir_all(&root);
    let package = Package { root: &root };
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
}

impl Package<'_> {
    fn fill(&self, architecture: &str) -> Result<()> {
        let mut glibc = (0, 0);
        for program in PROGRAMS {
            let built = workspace::program(Profile::Release.directory(), program);
            let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
            glibc = glibc.max(newest_glibc(&bytes));
            self.put(&format!("usr/bin/{program}"), &bytes, 0o755)?;
        }
        let documents = format!("usr/share/doc/{NAME}");
        for (from, to) in documents_of(workspace::root())? {
            self.put(&format!("{documents}/{to}"), &fs::read(&from)?, 0o644)?;
        }
        self.put(&format!("{documents}/copyright"), COPYRIGHT.as_bytes(), 0o644)?;
        self.put("lib/systemd/system/gatewayd.service", include_bytes!("../dist/gatewayd.service"), 0o644)?;
        self.put("DEBIAN/postinst", include_bytes!("../dist/postinst"), 0o755)?;
        self.put("DEBIAN/prerm", include_bytes!("../dist/prerm"), 0o755)?;
        self.put("DEBIAN/control", control(architecture, glibc).as_bytes(), 0o644)
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
 forwarded by XDP programs that live on when the daemon restarts.
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
    fn systemd_accepts_the_unit() {
        let Some(analyze) = process::find("systemd-analyze") else { return };
        let unit = include_str!("../dist/gatewayd.service").replace("/usr/bin/gatewayd", "/bin/true");
        let directory = std::env::temp_dir().join(format!("gatewayd-unit-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("gatewayd.service");
        fs::write(&path, unit).unwrap();
        let output = Command::new(analyze).args(["verify", "--man=no"]).arg(&path).output();
        fs::remove_dir_all(&directory).unwrap();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("gatewayd.service"), "{said}");
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
