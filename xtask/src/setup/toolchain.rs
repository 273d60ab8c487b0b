//! The compiler and the linker of the XDP programs.
//!
//! BPF needs a `core` for `bpfel-unknown-none`. Either rustup's nightly builds it from rust-src, or Debian's rustc-web has it ready.
//! The linker, bpf-linker, works on LLVM's bitcode, so it must be linked with the LLVM of the compiler.

use super::{Group, Missing, Remedy};
use crate::process;
use crate::tool::Tool;
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINKER: Tool = Tool { name: "bpf-linker", version: "0.13.0", version_arguments: &["--version"] };
/// LLVM versions that this bpf-linker can be built with.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// What compiles the XDP programs.
pub struct Toolchain {
    kind: Kind,
    linker: PathBuf,
    llvm: u32,
}

enum Kind {
    /// A toolchain of rustup's, by its directory.
    Nightly(PathBuf),
    /// Debian's rustc-web.
    Debian,
}

impl Toolchain {
    /// The toolchain that is set up.
    pub fn find() -> Result<Self> {
        if wanted("nightly")
            && let Some(toolchain) = nightly()
        {
            return Ok(toolchain);
        }
        let llvm = debian_llvm().context("no compiler for BPF; `cargo xtask setup build` installs one")?;
        let linker = linker_for(llvm).context("no bpf-linker that fits; `cargo xtask setup build` installs one")?;
        Ok(Self { kind: Kind::Debian, linker, llvm })
    }

    /// A `cargo build` with this toolchain in `directory`, to which the caller adds its own arguments.
    pub fn build(&self, directory: &Path) -> Command {
        let mut command = process::cargo();
        process::forget_compiler(&mut command);
        if let Kind::Nightly(toolchain) = &self.kind {
            let mut nightly = Command::new(toolchain.join("bin/cargo"));
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => nightly.env(name, value),
                    None => nightly.env_remove(name),
                };
            }
            command = nightly;
        }
        command.current_dir(directory).args(["build", "--release", "--target", "bpfel-unknown-none"]);
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        match &self.kind {
            Kind::Nightly(toolchain) => {
                command.args(["-Z", "build-std=core"]).env("RUSTC", toolchain.join("bin/rustc"))
            }
            // A stable compiler takes the few unstable features that BPF needs only when told so.
            Kind::Debian => command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }

    /// What it is, in a few words.
    pub fn name(&self) -> String {
        let compiler = match &self.kind {
            Kind::Nightly(directory) => format!("rustup's {}", directory.file_name().unwrap_or_default().display()),
            Kind::Debian => "Debian's rustc-web".into(),
        };
        format!("{compiler}, LLVM {}, bpf-linker {}", self.llvm, LINKER.version)
    }
}

/// What is missing; one thing at a time, since each decides about the next.
pub fn survey() -> Option<Missing> {
    let missing =
        |what: String, why: &str, remedy| Some(Missing { group: Group::Build, what, why: why.into(), remedy });
    if wanted("nightly") && nightly().is_some() {
        return None;
    }
    if env::var_os("BPF_TOOLCHAIN").is_some_and(|name| name == "nightly") {
        return missing(
            "rustup's nightly with rust-src and bpf-linker".into(),
            "compiles the XDP programs, as BPF_TOOLCHAIN asks",
            Remedy::ByHand(BY_HAND.into()),
        );
    }
    let Some(llvm) = debian_llvm() else {
        let remedy = if process::find("apt-get").is_some() {
            Remedy::Packages(vec!["ca-certificates".into(), "rustc-web".into(), "libstd-rust-web-dev-bpf".into()])
        } else {
            Remedy::ByHand(BY_HAND.into())
        };
        return missing(
            "rustc for BPF".into(),
            "compiles the XDP programs (Debian's rustc-web; no rustup nightly with rust-src and a fitting bpf-linker is here)",
            remedy,
        );
    };
    if linker_for(llvm).is_some() {
        return None;
    }
    if !LINKER_LLVM.contains(&llvm) {
        return missing(
            format!("a bpf-linker for LLVM {llvm}"),
            "links the XDP programs",
            Remedy::ByHand(format!("bpf-linker {} cannot be built with LLVM {llvm}; {BY_HAND}", LINKER.version)),
        );
    }
    if !process::is_executable(&llvm_config(llvm)) {
        return missing(
            format!("LLVM {llvm}"),
            "is what bpf-linker is linked with: the LLVM of the compiler",
            Remedy::Packages(vec![format!("llvm-{llvm}-dev")]),
        );
    }
    let mut command = LINKER.installation(&["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    command.env("PATH", path_with(llvm_config(llvm).parent()?));
    missing(
        format!("bpf-linker {} for LLVM {llvm}", LINKER.version),
        "links the XDP programs; one that was built for another LLVM cannot",
        Remedy::Command(Box::new(command)),
    )
}

const BY_HAND: &str = "run `rustup toolchain install nightly --component rust-src` and `cargo install bpf-linker` (built for nightly's LLVM)";

/// Whether the environment leaves the choice to us or asks for just this kind.
fn wanted(kind: &str) -> bool {
    env::var_os("BPF_TOOLCHAIN").is_none_or(|name| name == kind)
}

/// Rustup's nightly, if it has the standard library's source and there is a linker for it.
fn nightly() -> Option<Toolchain> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))?;
    let mut toolchains: Vec<PathBuf> = fs::read_dir(home.join("toolchains"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nightly")))
        .filter(|path| path.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists())
        .collect();
    // `nightly-x86_64-…` before `nightly-2026-…`: the user's current one.
    toolchains.sort_by(|one, other| other.cmp(one));
    toolchains.into_iter().find_map(|directory| {
        let llvm = llvm_of(&directory.join("bin/rustc"))?;
        let linker = linker_for(llvm)?;
        Some(Toolchain { kind: Kind::Nightly(directory), linker, llvm })
    })
}

/// The LLVM of Debian's compiler, if it is there with a `core` for BPF.
fn debian_llvm() -> Option<u32> {
    let has_core = fs::read_dir(DEBIAN_CORE)
        .ok()?
        .filter_map(|entry| entry.ok())
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"));
    if has_core { llvm_of(Path::new(DEBIAN_RUSTC)) } else { None }
}

/// The major version of the LLVM that a rustc generates code with.
fn llvm_of(rustc: &Path) -> Option<u32> {
    let mut command = Command::new(rustc);
    process::forget_compiler(&mut command);
    llvm_in_version(&process::probe(command.arg("-vV").env_remove("LD_LIBRARY_PATH"))?)
}

fn llvm_in_version(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.parse().ok()
}

/// A bpf-linker of the pinned version that is linked with this LLVM.
fn linker_for(llvm: u32) -> Option<PathBuf> {
    LINKER.candidates().find(|path| {
        let libraries = process::probe(Command::new("ldd").arg(path).env_remove("LD_LIBRARY_PATH"));
        libraries.is_some_and(|text| links_llvm(&text, llvm))
    })
}

/// Whether the output of `ldd` shows this LLVM, or none at all: a linker with an LLVM of its own, which its makers keep ahead of rustc's.
fn links_llvm(ldd: &str, llvm: u32) -> bool {
    let mut libraries = ldd.lines().map(str::trim);
    if ldd.contains("not found") {
        return false;
    }
    libraries.find(|line| line.starts_with("libLLVM")).is_none_or(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        let major: String = name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        major.parse() == Ok(llvm)
    })
}

fn llvm_config(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin/llvm-config"))
}

fn path_with(directory: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_version() {
        assert_eq!(llvm_in_version("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_in_version("rustc 1.96.0\n"), None);
    }

    #[test]
    fn a_linker_for_another_llvm_is_refused() {
        let debian = "\tlinux-vdso.so.1 (0x0)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x1)\n";
        assert!(links_llvm(debian, 22));
        assert!(!links_llvm(debian, 21));
        assert!(links_llvm("\tlibLLVM-21-rust-1.9.so => /x (0x1)\n", 21));
        assert!(!links_llvm("\tlibLLVM.so.22.1 => not found\n", 22));
        assert!(links_llvm("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n", 22));
    }
}
