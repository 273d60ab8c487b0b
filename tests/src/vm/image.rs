//! The machine's file system: an archive that the kernel unpacks into memory (cpio, "newc": Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::console::INIT;
use super::kernel::{Module, found};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// Files by their path, without the leading slash.
#[derive(Debug)]
pub struct Image(BTreeMap<String, Vec<u8>>);

impl Image {
    /// A file system with busybox, its first process, and these modules.
    pub fn new(modules: &[Module]) -> Result<Self> {
        let mut image = Self(BTreeMap::new());
        image.file("init", INIT.into());
        let busybox = found("busybox")?;
        image.file("bin/busybox", read(&busybox)?);
        let mut order = String::new();
        for module in modules {
            image.file(&format!("modules/{}", module.name), module.content.clone());
            order += &module.name;
            order.push('\n');
        }
        image.file("modules/order", order.into());
        Ok(image)
    }

    /// Adds a file, whatever its path begins with.
    pub fn file(&mut self, path: &str, content: Vec<u8>) {
        self.0.insert(path.trim_start_matches('/').to_owned(), content);
    }

    /// Adds a program, and the shared libraries it is linked with at the places where its loader looks for them.
    pub fn program(&mut self, name: &str, from: &Path) -> Result<()> {
        self.file(&format!("bin/{name}"), read(from)?);
        for library in libraries(from)? {
            let content = read(Path::new(&library))?;
            self.file(&library, content);
        }
        Ok(())
    }

    /// Writes the archive.
    pub fn write(&self, mut to: impl Write) -> Result<()> {
        let empty = ["proc", "sys", "dev", "run", "tmp", "etc"].map(String::from);
        let mut directories: BTreeSet<String> = empty.into();
        for path in self.0.keys() {
            // The path itself, the empty path at the end, and between them its directories.
            let ancestors = Path::new(path).ancestors().skip(1).map(|it| it.to_string_lossy().into_owned());
            directories.extend(ancestors.filter(|path| !path.is_empty()));
        }
        // Sorted, a directory comes before what is in it.
        for path in &directories {
            to.write_all(&entry(path, DIRECTORY, &[]))?;
        }
        for (path, content) in &self.0 {
            to.write_all(&entry(path, FILE, content))?;
        }
        to.write_all(&entry("TRAILER!!!", 0, &[]))?;
        Ok(to.flush()?)
    }
}

/// A file or directory as the archive has it.
fn entry(path: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
    let mut bytes = b"070701".to_vec();
    for field in fields {
        bytes.extend(format!("{field:08X}").bytes());
    }
    bytes.extend(path.bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where the loader finds a program's libraries, and the loader itself.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("not found"), "{} has a library that is not found:\n{text}", program.display());
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(|path| PathBuf::from(path).to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_lists_directories_before_what_is_in_them() {
        let mut image = Image(BTreeMap::new());
        image.file("/lib/deep/x", b"content".to_vec());
        let mut bytes = Vec::new();
        image.write(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(at("lib\0") < at("lib/deep\0") && at("lib/deep\0") < at("lib/deep/x\0"));
        assert!(at("lib/deep/x\0") < at("content") && at("content") < at("TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
