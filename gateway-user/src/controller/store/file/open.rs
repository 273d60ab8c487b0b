//! How a file begins, and what is refused at opening.

use super::super::Error;
use super::super::error::at;
use super::tables::{CHANGES, ENTRIES, FORMAT, NUMBERS, THIS_FORMAT};
use redb::{Builder, Database, ReadableDatabase, TableError};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What a redb file begins with.
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// How much of the file is kept in memory.
const CACHE_BYTES: usize = 128 << 20;

const DAMAGED: &str = "the file is left as it is: move it away and restore the configuration from a backup (`gatewayctl restore`), \
    or start with an empty store in another --data-dir";

/// The directory of a store, which this process alone uses.
#[derive(Debug)]
pub struct Directory {
    file: PathBuf,
    /// Held, not read.
    _lock: File,
}

impl Directory {
    /// Makes the directory if there is none, and keeps other processes out of it.
    pub fn lock(directory: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
        let path = directory.join("lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file: directory.join("store.redb"), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::refused(
                directory,
                "another process uses this directory",
                "stop it, or give this one another --data-dir; several controllers share a store with --store etcd://…",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, &error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Opens the file; makes it if there is none.
    pub fn database(&self) -> Result<Database, Error> {
        match File::open(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.create()?,
            Err(error) => return Err(Error::io(&self.file, &error)),
            Ok(file) => self.check_magic(file)?,
        }
        let database = self.open(&self.file)?;
        self.check_format(&database)?;
        Ok(database)
    }

    /// Makes the file under another name first: what has the right name is complete.
    fn create(&self) -> Result<(), Error> {
        let new = self.file.with_extension("redb.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&new, &error)),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(at(&new))?;
        let fill = || -> Result<(), redb::Error> {
            let database = builder().create(&new)?;
            let transaction = database.begin_write()?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(CHANGES)?;
            transaction.open_table(NUMBERS)?.insert(FORMAT, THIS_FORMAT)?;
            transaction.commit()?;
            database.close()?;
            Ok(())
        };
        fill().map_err(|error| self.error(error))?;
        fs::rename(&new, &self.file).map_err(at(&self.file))?;
        let directory = self.file.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
    }

    fn check_magic(&self, mut file: File) -> Result<(), Error> {
        let mut start = [0; MAGIC.len()];
        match file.read_exact(&mut start) {
            Ok(()) if start == MAGIC => Ok(()),
            Ok(()) => Err(self.foreign()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.foreign()),
            Err(error) => Err(Error::io(&self.file, &error)),
        }
    }

    fn foreign(&self) -> Error {
        let remedy = "the file is left as it is: move it away, or give another --data-dir";
        Error::refused(&self.file, "this file is not a store of the controller", remedy)
    }

    /// Opens a file after checking all of it.
    fn open(&self, path: &Path) -> Result<Database, Error> {
        // redb trusts checked pages, but a few of its own assumptions about a damaged file are assertions.
        let opened = catch_unwind(AssertUnwindSafe(|| builder().open(path)));
        let Ok(opened) = opened else { return Err(self.damaged("reading it failed")) };
        opened.map_err(|error| self.error(error.into()))
    }

    fn damaged(&self, why: &str) -> Error {
        Error::refused(&self.file, format!("the file is damaged ({why})"), DAMAGED)
    }

    fn check_format(&self, database: &Database) -> Result<(), Error> {
        let read = || -> Result<Option<u64>, redb::Error> {
            let transaction = database.begin_read()?;
            let numbers = match transaction.open_table(NUMBERS) {
                Err(TableError::Storage(error)) => return Err(error.into()),
                Err(_) => return Ok(None),
                Ok(numbers) => numbers,
            };
            transaction.open_table(ENTRIES)?;
            transaction.open_table(CHANGES)?;
            Ok(numbers.get(FORMAT)?.map(|format| format.value()))
        };
        match read().map_err(|error| self.error(error))? {
            Some(THIS_FORMAT) => Ok(()),
            Some(format) if format > THIS_FORMAT => Err(Error::refused(
                &self.file,
                format!("a later version wrote this file (layout {format}; this one knows {THIS_FORMAT})"),
                "start that version, or restore a backup into an empty --data-dir",
            )),
            Some(format) => Err(self.damaged(&format!("it claims the layout {format}"))),
            None => Err(self.foreign()),
        }
    }

    /// What an error of redb means to a person.
    pub fn error(&self, error: redb::Error) -> Error {
        use redb::Error as E;
        match error {
            E::Io(error) if error.kind() == ErrorKind::InvalidData => self.damaged(&error.to_string()),
            E::Io(error) if error.kind() == ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            E::Io(error) => Error::io(&self.file, &error),
            E::Corrupted(why) => self.damaged(&why),
            E::RepairAborted => self.damaged("it could not be repaired"),
            E::TableTypeMismatch { .. } | E::TypeDefinitionChanged { .. } | E::TableDoesNotExist(_) => self.foreign(),
            E::UpgradeRequired(version) => Error::refused(
                &self.file,
                format!("another version of redb wrote this file (its format {version})"),
                "start the version that wrote it, and restore a backup of it here",
            ),
            E::DatabaseAlreadyOpen => {
                Error::refused(&self.file, "another process has this file open", "stop it, or give another --data-dir")
            }
            other => Error::Unavailable { at: self.file.display().to_string(), why: other.to_string() },
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}
