//! Puts the XDP programs that `cargo xtask build` has made into the daemon.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let object = object();
    println!("cargo:rerun-if-env-changed=GATEWAY_OBJECT");
    println!("cargo:rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("gateway.o");
    let bytes = fs::read(&object).unwrap_or_default();
    if bytes.is_empty() {
        println!("cargo:warning=built without the XDP programs: run `cargo xtask build`");
    }
    if let Err(error) = fs::write(&out, bytes) {
        println!("cargo:error=cannot write {}: {error}", out.display());
    }
}

/// Where the object is expected.
fn object() -> PathBuf {
    if let Some(path) = env::var_os("GATEWAY_OBJECT") {
        return path.into();
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    manifest.parent().unwrap_or(Path::new("..")).join("target/bpf/gateway.o")
}
