//! A pinned map as typed keys and values.

use super::bpf;
use super::error::{Error, Result};
use bytemuck::Pod;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Elements that one call of a walk asks for.
const WALK: usize = 4096;

/// A map whose keys are `K` and whose values are `V`; the sizes were checked when it was opened.
#[derive(Debug)]
pub struct Table<K, V> {
    name: String,
    fd: OwnedFd,
    capacity: u32,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Opens the map that is pinned under its name in a directory.
    pub fn open(directory: &Path, name: &str) -> Result<Self> {
        let fd = bpf::open_pin(&directory.join(name)).map_err(|source| Error::map(name, "open", source))?;
        Self::new(fd, name)
    }

    /// Takes a map by its descriptor.
    pub fn new(fd: OwnedFd, name: &str) -> Result<Self> {
        let info = bpf::map_info(fd.as_fd()).map_err(|source| Error::map(name, "inspect", source))?;
        let sizes = (info.key_size as usize, info.value_size as usize);
        if sizes != (size_of::<K>(), size_of::<V>()) {
            return Err(Error::Sizes {
                map: name.to_owned(),
                found: sizes,
                expected: (size_of::<K>(), size_of::<V>()),
            });
        }
        Ok(Self { name: name.to_owned(), fd, capacity: info.max_entries, types: PhantomData })
    }

    /// How many elements it has room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    fn error(&self, doing: &'static str) -> impl Fn(io::Error) -> Error {
        move |source| Error::map(&self.name, doing, source)
    }

    /// The value under a key.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::zeroed();
        let found = bpf::lookup(self.fd.as_fd(), bytemuck::bytes_of(key), bytemuck::bytes_of_mut(&mut value))
            .map_err(self.error("read"))?;
        Ok(found.then_some(value))
    }

    /// Writes one element.
    pub fn set(&self, key: &K, value: &V) -> Result<()> {
        bpf::update(self.fd.as_fd(), bytemuck::bytes_of(key), bytemuck::bytes_of(value)).map_err(self.error("write"))
    }

    /// Removes one element if it is there.
    pub fn delete(&self, key: &K) -> Result<()> {
        bpf::delete(self.fd.as_fd(), bytemuck::bytes_of(key)).map(drop).map_err(self.error("delete from"))
    }

    /// Writes many elements, `keys[i]` with `values[i]`.
    pub fn set_all(&self, keys: &[K], values: &[V]) -> Result<()> {
        debug_assert_eq!(keys.len(), values.len());
        if keys.is_empty() {
            return Ok(());
        }
        let (key_bytes, value_bytes) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
        match bpf::update_batch(self.fd.as_fd(), key_bytes, value_bytes, keys.len() as u32) {
            Ok(()) => Ok(()),
            Err((_, error)) if has_no_batches(&error) => {
                keys.iter().zip(values).try_for_each(|(key, value)| self.set(key, value))
            }
            Err((_, error)) => Err(Error::map(&self.name, "write", error)),
        }
    }

    /// Removes many elements; those that are not there are passed over.
    pub fn delete_all(&self, keys: &[K]) -> Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            match bpf::delete_batch(self.fd.as_fd(), bytemuck::cast_slice(rest), rest.len() as u32) {
                Ok(()) => break,
                Err((done, error)) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest = rest.get(done as usize + 1..).unwrap_or_default();
                }
                Err((_, error)) if has_no_batches(&error) => {
                    return rest.iter().try_for_each(|key| self.delete(key));
                }
                Err((_, error)) => return Err(Error::map(&self.name, "delete from", error)),
            }
        }
        Ok(())
    }

    /// Every element. Of an array these are all its slots.
    pub fn entries(&self) -> Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        self.walk(size_of::<V>(), |key, value| entries.push((key, bytemuck::pod_read_unaligned(value))))?;
        Ok(entries)
    }

    fn walk(&self, stride: usize, each: impl FnMut(K, &[u8])) -> Result<()> {
        walk(self.fd.as_fd(), stride, self.capacity, each).map_err(self.error("read"))
    }
}

impl<K, V> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn has_no_batches(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| bpf::NO_BATCH.contains(&code))
}

/// Hands every element of a map to `each`, its value as `stride` bytes.
fn walk<K: Pod>(map: BorrowedFd<'_>, stride: usize, capacity: u32, mut each: impl FnMut(K, &[u8])) -> io::Result<()> {
    let mut room = WALK.min(capacity.max(1) as usize);
    let mut keys = vec![K::zeroed(); room];
    let mut values = vec![0; room * stride];
    let mut cursor = None;
    loop {
        let (got, next) =
            match bpf::lookup_batch(map, cursor, bytemuck::cast_slice_mut(&mut keys), &mut values, room as u32) {
                Ok(batch) => batch,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    // A hash bucket with more elements than there is room for.
                    room *= 2;
                    keys.resize(room, K::zeroed());
                    values.resize(room * stride, 0);
                    continue;
                }
                Err(error) if cursor.is_none() && has_no_batches(&error) => {
                    return walk_singly(map, stride, each);
                }
                Err(error) => return Err(error),
            };
        for (key, value) in keys.iter().zip(values.chunks_exact(stride)).take(got as usize) {
            each(*key, value);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

fn walk_singly<K: Pod>(map: BorrowedFd<'_>, stride: usize, mut each: impl FnMut(K, &[u8])) -> io::Result<()> {
    let mut value = vec![0; stride];
    let mut at: Option<K> = None;
    loop {
        let mut next = K::zeroed();
        if !bpf::next_key(map, at.as_ref().map(bytemuck::bytes_of), bytemuck::bytes_of_mut(&mut next))? {
            return Ok(());
        }
        if bpf::lookup(map, bytemuck::bytes_of(&next), &mut value)? {
            each(next, &value);
        }
        at = Some(next);
    }
}

/// A map with a value a processor.
#[derive(Debug)]
pub struct PerCpu<K, V> {
    table: Table<K, V>,
    processors: usize,
}

impl<K: Pod, V: Pod> PerCpu<K, V> {
    /// Opens the map that is pinned under its name in a directory.
    pub fn open(directory: &Path, name: &str) -> Result<Self> {
        let processors = aya::util::nr_cpus().map_err(|(path, source)| Error::Io { path: path.into(), source })?;
        Ok(Self { table: Table::open(directory, name)?, processors })
    }

    /// The kernel rounds each processor's value up to whole words.
    const STEP: usize = size_of::<V>().next_multiple_of(8);

    fn values(bytes: &[u8]) -> impl Iterator<Item = V> {
        bytes.chunks_exact(Self::STEP).map(|step| bytemuck::pod_read_unaligned(&step[..size_of::<V>()]))
    }

    /// A key's value on every processor; empty if it is not there.
    pub fn get(&self, key: &K) -> Result<Vec<V>> {
        let mut bytes = vec![0; self.processors * Self::STEP];
        let found = bpf::lookup(self.table.fd.as_fd(), bytemuck::bytes_of(key), &mut bytes)
            .map_err(self.table.error("read"))?;
        Ok(if found { Self::values(&bytes).collect() } else { Vec::new() })
    }

    /// Every key with its values on all processors, brought down to one by `sum`.
    pub fn entries(&self, sum: impl Fn(V, V) -> V) -> Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        self.table.walk(self.processors * Self::STEP, |key, bytes| {
            if let Some(total) = Self::values(bytes).reduce(&sum) {
                entries.push((key, total));
            }
        })?;
        Ok(entries)
    }

    /// Sets a key's value to all zero on every processor, if there is one.
    pub fn clear_if_present(&self, key: &K) -> Result<()> {
        if self.get(key)?.iter().all(|value| bytemuck::bytes_of(value).iter().all(|&byte| byte == 0)) {
            return Ok(());
        }
        let bytes = vec![0; self.processors * Self::STEP];
        bpf::update(self.table.fd.as_fd(), bytemuck::bytes_of(key), &bytes).map_err(self.table.error("write"))
    }

    /// Removes many keys; those that are not there are passed over.
    pub fn delete_all(&self, keys: &[K]) -> Result<()> {
        self.table.delete_all(keys)
    }
}
