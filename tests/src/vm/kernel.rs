//! Debian's kernels as `cargo xtask setup vm` unpacks them, and their modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A kernel for the virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The peer of the tests, and Debian's newest.
    Linux6_12,
    /// The oldest that the gateway runs on.
    Linux6_1,
}

/// What the tests use of the kernel; what they depend on comes along.
const MODULES: [&str; 9] = ["virtio_pci", "virtio_net", "ip_gre", "ip6_gre", "8021q", "vxlan", "veth", "dummy", "tun"];

/// A module as it is inserted.
#[derive(Debug)]
pub struct Module {
    /// Its file's name.
    pub name: String,
    /// Its file, uncompressed.
    pub content: Vec<u8>,
}

impl Kernel {
    const fn series(self) -> &'static str {
        match self {
            Self::Linux6_12 => "6.12",
            Self::Linux6_1 => "6.1",
        }
    }

    /// Whether this release of Debian offers it; a newer one no longer has the oldest kernel, and setting up has said so.
    pub fn is_offered(self) -> bool {
        self.directory().join("boot").exists() || !self.directory().join("package").exists()
    }

    fn directory(self) -> PathBuf {
        // As for the XDP programs, beside which it lies.
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vm").join(format!("linux-{}", self.series()))
    }

    /// The kernel itself.
    pub fn image(self) -> Result<PathBuf> {
        only_one(&self.directory().join("boot"), "vmlinuz-")
    }

    /// The modules in the order in which they are inserted.
    pub fn modules(self) -> Result<Vec<Module>> {
        let directory = self.directory();
        let release = only_one(&directory.join("lib/modules"), "")?;
        let release = release.file_name().context("a kernel release has a name")?;
        let output = Command::new(found("modprobe")?)
            .arg("-d")
            .arg(&directory)
            .arg("-S")
            .arg(release)
            .args(["--all", "--show-depends"])
            .args(MODULES)
            .output()
            .context("cannot start modprobe")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "modprobe finds not all modules of {}: {}",
            directory.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let mut seen = Vec::new();
        // What follows the path are options that this host gives its own modules.
        let paths = text.lines().filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next());
        for path in paths {
            if !seen.contains(&path) {
                seen.push(path);
            }
        }
        seen.into_iter().map(|path| Module::read(Path::new(path))).collect()
    }
}

impl Module {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().context("a module has a name")?.to_string_lossy();
        let content = match name.strip_suffix(".xz") {
            Some(_) => {
                let unpacked = Command::new(found("busybox")?).arg("xzcat").arg(path).output()?;
                ensure!(unpacked.status.success(), "cannot unpack {}", path.display());
                unpacked.stdout
            }
            None => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(Self { name: name.trim_end_matches(".xz").to_owned(), content })
    }
}

/// The one entry of a directory that begins so.
fn only_one(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} is missing; run `cargo xtask setup vm`", directory.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .with_context(|| format!("there is no {prefix} in {}; run `cargo xtask setup vm`", directory.display()))
}

/// A program of this host.
pub fn found(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no {program}; run `cargo xtask setup test vm`"))
}
