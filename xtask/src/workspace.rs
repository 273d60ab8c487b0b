//! Where things lie.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Everything that is built or downloaded.
pub fn target() -> PathBuf {
    root().join("target")
}

/// The BPF objects, by the names under which user space embeds and tests load them.
pub fn bpf() -> PathBuf {
    target().join("bpf")
}

/// A program of this workspace.
pub fn program(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}

/// A path as a person wants to read it: from the workspace's root.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
