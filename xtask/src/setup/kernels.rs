//! Debian's kernels for the virtual machine, downloaded and unpacked below `target/vm/`, never installed on the host.
//!
//! `target/vm/linux-6.12/` then holds `boot/vmlinuz-*` and `lib/modules/*` with its dependency files.

use super::{Group, Missing, Remedy, apt};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel series that tests want.
#[derive(Clone, Copy)]
pub struct Kernel {
    series: &'static str,
    why: &'static str,
    absence: Absence,
}

/// What it means that apt offers no kernel of a series.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// The tests cannot do without.
    Fatal,
    /// This release of Debian is newer; what would be tested on that kernel is not.
    Noted,
}

const KERNELS: [Kernel; 2] = [
    Kernel { series: "6.12", why: "is the real peer of the tests: its GRE, VLAN and VXLAN", absence: Absence::Fatal },
    Kernel { series: "6.1", why: "is the oldest kernel that the XDP programs must load on", absence: Absence::Noted },
];

/// Packages that depend on a kernel, newest name first; which of them leads to which series differs between Debian's releases.
const METAPACKAGES: [&str; 2] = ["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"];

/// What is missing.
pub fn survey() -> Vec<Missing> {
    let absent = KERNELS.iter().filter(|kernel| !kernel.stamp().exists());
    absent
        .map(|kernel| Missing {
            group: Group::Vm,
            what: format!("Linux {}", kernel.series),
            why: format!("{} (downloaded to {}, not installed)", kernel.why, workspace::shown(&kernel.directory())),
            remedy: if cfg!(target_arch = "x86_64") {
                Remedy::Kernel(*kernel)
            } else {
                Remedy::ByHand("the virtual machine is for x86_64 hosts only; leave the group `vm` out".into())
            },
        })
        .collect()
}

impl Kernel {
    fn directory(&self) -> PathBuf {
        workspace::target().join("vm").join(format!("linux-{}", self.series))
    }

    /// Written last, so that an interrupted download is done again.
    fn stamp(&self) -> PathBuf {
        self.directory().join("package")
    }

    /// Downloads and unpacks the kernel.
    pub fn fetch(&self) -> Result<()> {
        if process::find("apt-get").is_none() {
            bail!("kernels for the virtual machine come from Debian by apt-get, which this system lacks");
        }
        let Some(package) = self.package()? else { return self.note_absence() };
        let directory = self.directory();
        println!("setup: downloading {package} to {}", workspace::shown(&directory));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        apt::download(&package, &directory)?;
        let archive = only_entry(&directory)?;
        process::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&directory))?;
        fs::remove_file(&archive)?;
        if !directory.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", directory.join("lib"))?;
        }
        let release = only_entry(&directory.join("lib/modules"))?;
        let release = release.file_name().context("a kernel release has a name")?;
        let depmod = process::find("depmod").context("depmod is missing; `cargo xtask setup vm` installs it")?;
        process::run(Command::new(depmod).arg("-b").arg(&directory).arg(release))?;
        fs::write(self.stamp(), format!("{package}\n"))?;
        Ok(())
    }

    /// The package of this series that apt offers; the package lists are fetched again if it seems to offer none.
    fn package(&self) -> Result<Option<String>> {
        let prefix = format!("linux-image-{}.", self.series);
        let offered =
            || METAPACKAGES.iter().flat_map(|name| apt::dependencies(name)).find(|name| name.starts_with(&prefix));
        if let Some(package) = offered() {
            return Ok(Some(package));
        }
        apt::update()?;
        Ok(offered())
    }

    fn note_absence(&self) -> Result<()> {
        let looked_at = METAPACKAGES.join(", ");
        if self.absence == Absence::Fatal {
            bail!(
                "apt offers no Linux {} for the virtual machine (looked at {looked_at}); Debian 12 has it in bookworm-security",
                self.series
            );
        }
        println!("setup: apt offers no Linux {} (looked at {looked_at}): nothing is tested on it", self.series);
        fs::create_dir_all(self.directory())?;
        fs::write(self.stamp(), "none is offered\n").with_context(|| format!("cannot write {}", self.stamp().display()))
    }
}

/// The one thing in a directory.
fn only_entry(directory: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => bail!("expected exactly one thing in {}", directory.display()),
    }
}
