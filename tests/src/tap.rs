//! TUN and TAP devices: the inner side of the tunnels that the lab's sites speak in user space.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

use crate::link::request;
use crate::node::Node;

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// IP packets (TUN).
    Packets,
    /// Ethernet frames (TAP).
    Frames,
    /// Ethernet frames, each behind a header that tells which checksums are still to be computed and where it is to be cut
    /// (TAP with `struct virtio_net_hdr`). For an emulator, which asks the kernel for as much of that as its machine takes.
    Offloaded,
}

/// A TUN or TAP device; it disappears when this is dropped.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Makes the device on a machine. It is down, and has no address.
    pub fn new(node: &Node, name: &str, carries: Carries) -> Result<Self> {
        node.within_network(|| -> Result<Self> {
            let file = File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("cannot open /dev/net/tun")?;
            let kind = match carries {
                Carries::Packets => libc::IFF_TUN,
                Carries::Frames => libc::IFF_TAP,
                Carries::Offloaded => libc::IFF_TAP | libc::IFF_VNET_HDR,
            };
            let mut request = request(name)?;
            request.ifr_ifru.ifru_flags = i16::try_from(kind | libc::IFF_NO_PI)?;
            // SAFETY: the request lives through the call and holds a name and flags, as TUNSETIFF reads them.
            nix::errno::Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &request) })?;
            Ok(Self { file })
        })
        .with_context(|| format!("on {}: cannot make the device {name}", node.name()))
    }

    /// The next packet or frame that the machine sends, if there is one.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<&'a mut [u8]>> {
        match (&self.file).read(buffer) {
            Ok(length) => Ok(buffer.get_mut(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands the machine a packet or frame. What its kernel refuses (a frame while the device is down, a malformed packet) is lost, as on a wire.
    pub fn send(&self, packet: &[u8]) {
        let _ = (&self.file).write(packet);
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
