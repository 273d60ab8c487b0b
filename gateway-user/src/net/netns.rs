//! Network namespaces: making them, naming them, working inside them.
//!
//! A thread that enters another namespace never comes back to the pool: each piece of work has a thread of its own.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Where `ip netns` looks for namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace that is held open.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/ns/net")? })
    }

    /// The namespace that was named by [`Self::create`] or by `ip netns add`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // An empty file is left over where a mount is gone, as after a reboot without a fresh /run.
        if nix::sys::statfs::fstatfs(&file)?.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is no namespace", path.display())));
        }
        Ok(Self { file })
    }

    /// Makes a namespace with that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let target = path.to_owned();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::options().create(true).truncate(false).write(true).open(&target)?;
            mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Self::current()
        })
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that made the namespace died")))
    }

    /// Does `work` inside the namespace, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| -> io::Result<T> {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace died")))
        })
    }

    /// The file that stands for it.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Takes a namespace's name away; the namespace ends with its last user.
pub fn remove(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the directory as `ip netns` does: a mount of its own, shared, so that names are seen by all who share it.
pub fn prepare_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let share = || mount(None::<&str>, directory, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Ok(()) => Ok(()),
        Err(nix::Error::EINVAL) => {
            mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
            Ok(share()?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Undoes [`prepare_directory`] for a directory of our own that nothing is named in any more. That of `ip netns` stays.
pub fn release_directory(directory: &Path) -> io::Result<()> {
    if directory == Path::new(DIRECTORY) || !list(directory, "")?.is_empty() {
        return Ok(());
    }
    match umount2(directory, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The names in `directory` that start with `prefix`.
pub fn list(directory: &Path, prefix: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(prefix)) {
            found.push((name.to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
