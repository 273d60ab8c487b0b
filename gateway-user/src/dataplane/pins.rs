//! Where things are pinned, so that packets flow without the daemon.
//!
//! ```text
//! /sys/fs/bpf/gateway/
//!     maps/NAME        the maps, one set
//!     next/NAME        the set that a migration is filling; takes the place of maps/ at its end
//!     stages/NUMBER    the tail-called programs of one load; those of earlier loads go once no port runs them
//!     links/IFINDEX-MODE   the ports' and veths' programs
//! ```
//!
//! The file system allows no dot in a name.

use super::bpf;
use super::error::{Error, Result};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the gateway pins if not told otherwise.
pub const DEFAULT: &str = "/sys/fs/bpf/gateway";

/// A directory of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

/// How a program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// Not XDP but tc, on what comes in.
    Tc,
}

impl Mode {
    /// Its `XDP_FLAGS_*`; tc has none.
    pub const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
            Self::Tc => 0,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}

/// A pinned link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkPin {
    /// The interface that it was made for.
    pub ifindex: u32,
    /// The mode that it was made in.
    pub mode: Mode,
}

impl LinkPin {
    fn parse(name: &str) -> Option<Self> {
        let (ifindex, mode) = name.split_once('-')?;
        let mode = [Mode::Native, Mode::Generic, Mode::Tc].into_iter().find(|candidate| candidate.name() == mode)?;
        Some(Self { ifindex: ifindex.parse().ok()?, mode })
    }
}

impl Pins {
    /// The pins in a directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The maps that are in use.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// The maps that a migration is filling.
    pub fn next(&self) -> PathBuf {
        self.root.join("next")
    }

    /// The tail-called programs of one load.
    pub fn stages(&self, number: u32) -> PathBuf {
        self.root.join("stages").join(number.to_string())
    }

    /// A link.
    pub fn link(&self, pin: LinkPin) -> PathBuf {
        self.root.join("links").join(format!("{}-{}", pin.ifindex, pin.mode.name()))
    }

    /// Takes a link's program off its interface and removes the pin.
    pub fn detach(&self, link: LinkPin) -> Result<()> {
        let path = self.link(link);
        if let Some((fd, _)) = link_at(&path)? {
            // An interface that is gone has lost its program already.
            if let Err(error) = bpf::link_detach(fd.as_fd()) {
                tracing::debug!(path = %path.display(), %error, "nothing to detach");
            }
        }
        remove_pin(&path)
    }

    /// Makes the directories that are missing.
    pub fn create(&self) -> Result<()> {
        for directory in [self.maps(), self.root.join("stages"), self.root.join("links")] {
            fs::create_dir_all(&directory).map_err(Error::io(directory))?;
        }
        Ok(())
    }

    /// The links that are pinned.
    pub fn links(&self) -> Result<Vec<LinkPin>> {
        Ok(list(&self.root.join("links"))?.iter().filter_map(|name| LinkPin::parse(name)).collect())
    }

    /// Whether any interface runs a program of these.
    pub fn forward(&self) -> Result<bool> {
        for pin in self.links()? {
            // A link whose interface is gone has the index 0.
            if link_at(&self.link(pin))?.is_some_and(|(_, link)| link.ifindex != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The loads whose tail-called programs are pinned.
    pub fn loads(&self) -> Result<Vec<u32>> {
        Ok(list(&self.root.join("stages"))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Puts the set that was migrated to in the place of the old one.
    pub fn finish_migration(&self) -> Result<()> {
        remove_directory(&self.maps())?;
        fs::rename(self.next(), self.maps()).map_err(Error::io(self.next()))
    }

    /// Removes everything, links first so that no packet meets a program without its maps. Says how many pins there were; none is no error.
    pub fn remove(&self) -> Result<usize> {
        let mut removed = 0;
        for link in self.links()? {
            self.detach(link)?;
            removed += 1;
        }
        for name in ["links", "stages", "next", "maps"] {
            removed += remove_directory(&self.root.join(name))?;
        }
        match fs::remove_dir(&self.root) {
            Ok(()) => {}
            // Somebody else's files are none of ours to remove; a mount point stays.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTEMPTY | libc::EBUSY)) => {}
            Err(error) => return Err(Error::Io { path: self.root.clone(), source: error }),
        }
        Ok(removed)
    }
}

/// Removes a directory of pins; says how many there were.
pub(super) fn remove_directory(directory: &Path) -> Result<usize> {
    let names = list(directory)?;
    for name in &names {
        remove_pin(&directory.join(name))?;
    }
    match fs::remove_dir(directory) {
        Ok(()) => Ok(names.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(names.len()),
        Err(error) => Err(Error::Io { path: directory.into(), source: error }),
    }
}

/// Removes a pin if it is there.
pub(super) fn remove_pin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Io { path: path.into(), source: error }),
        _ => Ok(()),
    }
}

/// What the link at a pin connects; `None` if there is no such pin.
pub(super) fn link_at(path: &Path) -> Result<Option<(OwnedFd, bpf::Link)>> {
    let fd = match bpf::open_pin(path) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { path: path.into(), source }),
    };
    let link = bpf::link_info(fd.as_fd()).map_err(Error::io(path))?;
    Ok(Some((fd, link)))
}

/// Whether nothing is pinned in a directory.
pub(super) fn is_empty(directory: &Path) -> Result<bool> {
    Ok(list(directory)?.is_empty())
}

fn list(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { path: directory.into(), source }),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(Error::io(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_again_by_its_name() {
        let pins = Pins::new("/x");
        for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
            let pin = LinkPin { ifindex: 42, mode };
            let path = pins.link(pin);
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            assert_eq!(LinkPin::parse(name), Some(pin));
        }
        assert_eq!(LinkPin::parse("42"), None);
        assert_eq!(LinkPin::parse("x-native"), None);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Pins::new(directory.path().join("none")).remove().expect("nothing to do"), 0);
    }
}
