//! The bpf(2) calls that aya does not make: batches, links without a netlink fallback, inner maps by their id.
//!
//! This is the only unsafe code of the data plane. Sizes are checked against the kernel's own record
//! of a map when it is opened ([`super::map`]), so that no call here reads or writes beyond a buffer.

#![allow(unsafe_code)]

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info};
use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Errors that the kernel gives where a map type has no batches: 524 is ENOTSUPP, which is not for user space and yet arrives there.
pub const NO_BATCH: [i32; 3] = [524, libc::EOPNOTSUPP, libc::EINVAL];

fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attributes are a whole, initialised `bpf_attr`; every pointer in it was made by a caller below from a buffer that lives through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attributes), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attributes() -> bpf_attr {
    // SAFETY: `bpf_attr` is a union of plain integers; all zero is valid for each.
    unsafe { std::mem::zeroed() }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Opens what is pinned at a path.
pub fn open_pin(at: &Path) -> io::Result<OwnedFd> {
    let at = path(at)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = at.as_ptr() as u64;
    descriptor(bpf_cmd::BPF_OBJ_GET, &mut attributes)
}

/// Pins a map, program or link.
pub fn pin(fd: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let at = path(at)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = at.as_ptr() as u64;
    attributes.__bindgen_anon_4.bpf_fd = raw(fd);
    call(bpf_cmd::BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Opens a map by its number.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(bpf_cmd::BPF_MAP_GET_FD_BY_ID, id)
}

/// Opens type information by its number.
pub fn btf_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(bpf_cmd::BPF_BTF_GET_FD_BY_ID, id)
}

fn by_id(command: bpf_cmd, id: u32) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_6.__bindgen_anon_1.map_id = id;
    descriptor(command, &mut attributes)
}

fn info<T: Copy>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: only called for the kernel's information structs, unions of plain integers and byte arrays: all zero is valid.
    let mut info: T = unsafe { std::mem::zeroed() };
    let mut attributes = attributes();
    attributes.info.bpf_fd = raw(fd);
    attributes.info.info = std::ptr::from_mut(&mut info) as u64;
    attributes.info.info_len = size_of::<T>() as u32;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// What the kernel knows of a map.
pub fn map_info(fd: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    info(fd)
}

/// A link of an XDP program as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The interface index; 0 once the interface is gone.
    pub ifindex: u32,
    /// The program's number.
    pub program: u32,
}

/// What an XDP link connects.
pub fn link_info(fd: BorrowedFd<'_>) -> io::Result<Link> {
    let info: bpf_link_info = info(fd)?;
    // SAFETY: the union holds plain integers; XDP's and tc's links, the only kinds that we pin, both begin with the interface.
    let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    Ok(Link { ifindex, program: info.prog_id })
}

/// Attaches an XDP program by a link, with the given `XDP_FLAGS_*` mode. Unlike aya this never falls back to netlink, which cannot be pinned.
pub fn link_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.link_create.__bindgen_anon_1.prog_fd = raw(program);
    attributes.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attributes.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attributes.link_create.flags = mode;
    descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attributes)
}

/// Attaches a tc program by a link to what comes in by an interface, before others that are there.
pub fn link_tc(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    const BPF_F_BEFORE: u32 = 1 << 3;
    let mut attributes = attributes();
    attributes.link_create.__bindgen_anon_1.prog_fd = raw(program);
    attributes.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attributes.link_create.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    attributes.link_create.flags = BPF_F_BEFORE;
    descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attributes)
}

/// Puts another program in a link's place: every packet meets the one or the other.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.link_update.link_fd = raw(link);
    attributes.link_update.__bindgen_anon_1.new_prog_fd = raw(program);
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Takes a link's program off its interface at once; removing the last pin does so only some time later.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.link_detach.link_fd = raw(link);
    call(bpf_cmd::BPF_LINK_DETACH, &mut attributes).map(drop)
}

fn element(map: BorrowedFd<'_>, key: &[u8]) -> bpf_attr {
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = raw(map);
    attributes.__bindgen_anon_2.key = key.as_ptr() as u64;
    attributes
}

/// Reads one element into `value`, which must have room for what the map holds; `false` if it is not there.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attributes = element(map, key);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    found(call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes))
}

/// Writes one element.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = element(map, key);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Removes one element; `false` if it was not there.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    found(call(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut element(map, key)))
}

/// The key after `key`, or the first; `false` at the end.
pub fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attributes = element(map, key.unwrap_or(&[]));
    if key.is_none() {
        attributes.__bindgen_anon_2.key = 0;
    }
    attributes.__bindgen_anon_2.__bindgen_anon_1.next_key = next.as_mut_ptr() as u64;
    found(call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attributes))
}

fn found(result: io::Result<i64>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes `count` elements, keys and values packed one after another. On an error, how many were written before it.
pub fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> Result<(), (u32, io::Error)> {
    batch(bpf_cmd::BPF_MAP_UPDATE_BATCH, map, keys, values.as_ptr(), count)
}

/// Removes `count` elements. On an error (ENOENT for a key that is not there), how many were removed before it.
pub fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> Result<(), (u32, io::Error)> {
    batch(bpf_cmd::BPF_MAP_DELETE_BATCH, map, keys, std::ptr::null(), count)
}

fn batch(
    command: bpf_cmd,
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: *const u8,
    count: u32,
) -> Result<(), (u32, io::Error)> {
    let mut attributes = attributes();
    attributes.batch.map_fd = raw(map);
    attributes.batch.keys = keys.as_ptr() as u64;
    attributes.batch.values = values as u64;
    attributes.batch.count = count;
    match call(command, &mut attributes) {
        Ok(_) => Ok(()),
        // SAFETY: the kernel wrote the count into the `batch` member that was set above.
        Err(error) => Err((unsafe { attributes.batch.count }.min(count), error)),
    }
}

/// Where a walk over a map by batches stands. Opaque; as large as any map's key.
#[derive(Clone, Copy, Debug)]
pub struct Cursor([u64; 8]);

/// Reads the next elements into `keys` and `values`, which have room for `count` of them.
/// Returns how many there were and the cursor to go on from; `None` when that was the last. `ENOSPC`: a bucket is larger than `count`.
pub fn lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<Cursor>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, Option<Cursor>)> {
    let mut next = Cursor([0; 8]);
    let mut attributes = attributes();
    attributes.batch.map_fd = raw(map);
    attributes.batch.in_batch = from.as_ref().map_or(0, |cursor| std::ptr::from_ref(&cursor.0) as u64);
    attributes.batch.out_batch = std::ptr::from_mut(&mut next.0) as u64;
    attributes.batch.keys = keys.as_mut_ptr() as u64;
    attributes.batch.values = values.as_mut_ptr() as u64;
    attributes.batch.count = count;
    let result = call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes);
    // SAFETY: the kernel wrote the count into the `batch` member that was set above.
    let got = unsafe { attributes.batch.count };
    match result {
        Ok(_) => Ok((got.min(count), Some(next))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((got.min(count), None)),
        Err(error) => Err(error),
    }
}

/// Waits until every packet that was in a program when this was called has left it (they run within RCU's read side).
pub fn quiesce() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // A kernel without it, or with nohz_full: no program runs for this long.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The capabilities that this thread may use, a bit each.
pub fn effective_capabilities() -> io::Result<u64> {
    const VERSION_3: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: both live through the call and have the layout that version 3 asks for: a header and two words of each set.
    let result = unsafe { libc::syscall(libc::SYS_capget, std::ptr::from_mut(&mut header), data.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}
