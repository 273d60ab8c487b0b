//! What the host must offer before anything is loaded. Changes nothing but a missing mount of /sys/fs/bpf.

use super::bpf;
use super::error::{Error, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::statfs;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

/// The file system's number in statfs(2).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Where distributions mount it.
const USUAL: &str = "/sys/fs/bpf";

/// Numbers of linux/capability.h. CAP_BPF is not enough: opening a map by its number asks for CAP_SYS_ADMIN.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Refuses a process that may not load programs.
pub fn check_privileges() -> Result<()> {
    let effective = bpf::effective_capabilities().map_err(|error| Error::Privileges(error.to_string()))?;
    match lacking(effective) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(Error::Privileges(missing.join(", "))),
    }
}

fn lacking(effective: u64) -> Vec<&'static str> {
    NEEDED.iter().filter(|&&(bit, _)| effective >> bit & 1 == 0).map(|&(_, name)| name).collect()
}

/// Refuses a kernel without type information.
pub fn check_btf() -> Result<()> {
    if Path::new("/sys/kernel/btf/vmlinux").exists() { Ok(()) } else { Err(Error::NoBtf) }
}

/// Makes sure that a directory for pins is on a BPF file system, and exists. Mounts /sys/fs/bpf if only that is missing.
pub fn prepare_pins(directory: &Path) -> Result<()> {
    let usual = Path::new(USUAL);
    if directory.starts_with(usual) && usual.is_dir() && !is_bpffs(usual) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if let Err(error) = mount(Some("bpf"), usual, Some("bpf"), flags, None::<&str>) {
            tracing::warn!(path = USUAL, %error, "the BPF file system cannot be mounted");
            return Err(Error::NoBpffs { path: directory.into(), mount: usual.into() });
        }
        tracing::info!(path = USUAL, "mounted the BPF file system");
    }
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    if !is_bpffs(existing) {
        let mount = if directory.starts_with(usual) { usual } else { directory };
        return Err(Error::NoBpffs { path: directory.into(), mount: mount.into() });
    }
    fs::create_dir_all(directory).map_err(Error::io(directory))
}

/// Whether a path is on a BPF file system.
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type().0 == BPF_FS_MAGIC)
}

/// The processors that programs may run on.
pub fn processors() -> Option<NonZeroU32> {
    NonZeroU32::new(aya::util::nr_cpus().ok()? as u32)
}

/// The running kernel's release.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert!(lacking(u64::MAX).is_empty());
        assert_eq!(lacking(0), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert_eq!(lacking(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking(1 << 12 | 1 << 39), ["CAP_SYS_ADMIN"]);
    }

    #[test]
    fn pins_elsewhere_are_refused_with_the_mount_that_helps() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = prepare_pins(&directory.path().join("pins")).expect_err("not a BPF file system");
        assert!(error.to_string().contains("mount -t bpf bpf"), "{error}");
        assert!(!directory.path().join("pins").exists());
    }
}
