//! Which store is meant.

use super::{Error, FileStore, Store};
use std::path::{Path, PathBuf};

/// Files of certificates and keys (PEM) for a store that is reached over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who signed the members' certificates.
    pub ca: PathBuf,
    /// Our certificate and its key, where the members ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where a store is, as `--store` and `--data-dir` say it.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a file of this directory.
    Directory(PathBuf),
    /// In an etcd cluster.
    #[cfg(feature = "etcd")]
    Etcd(super::etcd::Options),
}

impl Location {
    /// Reads `--store`: `etcd://a:2379,b:2379,c:2379`, or with `/NAME` at its end where the cluster serves others too; without it the
    /// store is in the directory.
    ///
    /// With `tls` the members of an etcd cluster are reached by HTTPS.
    pub fn parse(store: Option<&str>, tls: Option<Tls>, data_dir: &Path) -> Result<Self, Error> {
        let Some(text) = store else { return Ok(Self::Directory(data_dir.into())) };
        #[cfg(feature = "etcd")]
        if text.starts_with("etcd://") {
            let options = super::etcd::Options { tls, ..super::etcd::Options::parse(text)? };
            options.check_files()?;
            return Ok(Self::Etcd(options));
        }
        #[cfg(not(feature = "etcd"))]
        drop(tls);
        let known = if cfg!(feature = "etcd") {
            "etcd://HOST:PORT,HOST:PORT,… is; without --store, a file in --data-dir is used"
        } else {
            "this program was built without etcd, so the only store is a file in --data-dir: leave --store out"
        };
        Err(Error::Invalid(format!("{text:?} is not a store: {known}")))
    }

    /// Opens it.
    pub async fn open(&self) -> Result<Store, Error> {
        match self {
            Self::Directory(directory) => {
                let directory = directory.clone();
                let task = tokio::task::spawn_blocking(move || FileStore::open(&directory));
                let opened = task.await.unwrap_or_else(|error| {
                    Err(Error::Unavailable {
                        at: "of this process".into(),
                        why: format!("opening ended early: {error}"),
                    })
                });
                opened.map(Store::File)
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(options) => super::etcd::EtcdStore::connect(options).await.map(Store::Etcd),
        }
    }
}
