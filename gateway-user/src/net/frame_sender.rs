//! Whole frames onto interfaces, past their queues.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Frames that the kernel is handed at once.
const BATCH: usize = 64;

/// Sends whole frames.
#[derive(Debug, Default)]
pub struct FrameSender {
    socket: Option<OwnedFd>,
}

impl FrameSender {
    /// Opens the socket beforehand.
    ///
    /// # Errors
    /// The kernel does not permit it.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a system call without pointers. Protocol 0: nothing is received.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let on: libc::c_int = 1;
        // SAFETY: the value lives through the call, with its size. Without the option frames wait in the port's queue with all others.
        unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            let option = libc::PACKET_QDISC_BYPASS;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), size);
        }
        Ok(Self { socket: Some(socket) })
    }

    /// Sends frames by an interface, as far as it takes them: what is lost is said again in time.
    pub fn send(&self, ifindex: u32, frames: &[Vec<u8>]) {
        let Some(socket) = &self.socket else { return };
        // SAFETY: all zero is a value of this C structure.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = ifindex.cast_signed();
        to.sll_halen = 6;
        for batch in frames.chunks(BATCH) {
            let mut parts: Vec<libc::iovec> = batch
                .iter()
                .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = parts
                .iter_mut()
                .map(|part| {
                    // SAFETY: all zero is a value of this C structure.
                    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                    message.msg_hdr.msg_name = (&raw mut to).cast();
                    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                    message.msg_hdr.msg_iov = part;
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            let mut sent = 0;
            while sent < messages.len() {
                let rest = &mut messages[sent..];
                // SAFETY: the messages, their parts and the address live through the call, which writes to the messages' lengths alone.
                let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
                if count <= 0 {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    // A frame that finds no room is lost as on any wire; a port that is gone is not reached anyhow.
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        tracing::debug!(%error, ifindex, "a frame was not sent");
                        return;
                    }
                    sent += 1;
                    continue;
                }
                sent += count.unsigned_abs() as usize;
            }
        }
    }
}
