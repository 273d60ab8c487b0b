//! What can go wrong, told so that a person knows what to do.

use super::Revision;
use std::path::{Path, PathBuf};

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that no store does.
    #[error("{0}")]
    Invalid(String),
    /// The store has no room; the transaction was not applied.
    #[error("{what} is full: {remedy}")]
    Full {
        /// What is full.
        what: String,
        /// What a person can do about it.
        remedy: String,
    },
    /// The store cannot be read or written at the moment. Whether a transaction that got this answer was applied is not known.
    #[error("the store {at} is not available: {why}")]
    Unavailable {
        /// Which store.
        at: String,
        /// What it said.
        why: String,
    },
    /// An earlier write of the same [`Writer`](super::Writer) was not committed, so this one was not tried.
    #[error("an earlier write was not committed, so this one was not tried")]
    Halted,
    /// What is there is not what it should be, and is left as it is.
    #[error("{place}: {why}; {remedy}")]
    Refused {
        /// A file, or a key.
        place: String,
        /// What is wrong with it.
        why: String,
        /// What a person can do about it.
        remedy: String,
    },
}

impl Error {
    pub(super) fn refused(place: &Path, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { place: place.display().to_string(), why: why.into(), remedy: remedy.into() }
    }

    /// An error of the file system, with the remedy where there is one.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full {
                what: format!("the file system of {}", path.display()),
                remedy: format!("make room there, or move the directory to a larger one ({error})"),
            },
            _ => Self::Unavailable { at: path.display().to_string(), why: error.to_string() },
        }
    }
}

/// Why a watch ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// Changes up to and including this revision are forgotten: list again, then watch from there.
    #[error("the changes up to revision {0} are forgotten")]
    Compacted(Revision),
    /// The store cannot be read; the watch may be asked again.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A path and what went wrong there.
pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path: PathBuf = path.into();
    move |error| Error::io(&path, &error)
}
