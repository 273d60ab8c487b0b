//! Whole Ethernet frames from and to an interface, with their VLAN tags where a wire has them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socket, sockopt};

use crate::node::Node;
use crate::wait::readable;

// Of linux/if_packet.h.
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

/// Bytes that wait for a process which does not come to read: a busy machine may keep it for some hundred milliseconds, and a redirected
/// frame counts as a whole page.
const PATIENCE: usize = 32 << 20;

/// Lets a socket hold what arrives while its process waits for a CPU, whatever the host's limit for others is.
pub fn make_patient(socket: &impl AsFd) -> Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &PATIENCE).context("cannot enlarge a socket's buffer")
}

/// `struct tpacket_auxdata`.
#[repr(C)]
#[allow(dead_code)]
struct AuxiliaryData {
    status: u32,
    length: u32,
    captured: u32,
    link: u16,
    network: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
}

impl FrameSocket {
    /// Opens one on a machine's interface. It sees what arrives there, and not what the machine sends.
    pub fn open(node: &Node, interface: &str) -> Result<Self> {
        node.within_network(|| -> Result<Self> {
            let index = nix::net::if_::if_nametoindex(interface)?;
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            // SAFETY: all zeroes are a valid address of any family.
            let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            address.sll_family = u16::try_from(libc::AF_PACKET)?;
            address.sll_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
            address.sll_ifindex = i32::try_from(index)?;
            let length = u32::try_from(size_of_val(&address))?;
            // SAFETY: the address is a `sockaddr_ll` of that length.
            Errno::result(unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })?;
            for option in [PACKET_AUXDATA, PACKET_IGNORE_OUTGOING] {
                let on: libc::c_int = 1;
                let length = u32::try_from(size_of_val(&on))?;
                // SAFETY: both options take an int.
                Errno::result(unsafe {
                    libc::setsockopt(
                        socket.as_raw_fd(),
                        libc::SOL_PACKET,
                        option,
                        std::ptr::from_ref(&on).cast(),
                        length,
                    )
                })?;
            }
            make_patient(&socket)?;
            Ok(Self { socket })
        })
        .with_context(|| format!("on {}: cannot listen on {interface}", node.name()))
    }

    /// Sends a frame. What the interface refuses (it is down, the frame is too long) is an error.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).context("cannot send a frame")?;
        Ok(())
    }

    /// Sends a frame so many times at once; how many times it was: none where the interface takes no more for now.
    pub fn send_many(&self, frame: &[u8], times: usize) -> Result<usize> {
        let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        // SAFETY: all zeroes are a valid `mmsghdr`.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
        let mut messages = vec![message; times];
        let count = libc::c_uint::try_from(times)?;
        // SAFETY: there are so many messages, which point to a frame of the length they say; nothing is written but their lengths.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match Errno::result(sent) {
            Ok(sent) => Ok(usize::try_from(sent)?),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(0),
            Err(error) => Err(error).context("cannot send frames"),
        }
    }

    /// The next frame, if there is one.
    pub fn receive(&self) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0u8; 65_600];
        let mut control = [0u64; 16];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: all zeroes are a valid `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to buffers of the lengths it says, which live through the call.
        let length = match Errno::result(unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) }) {
            Ok(length) => usize::try_from(length)?,
            // An interface that went down says so once.
            Err(Errno::EAGAIN | Errno::ENETDOWN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        frame.truncate(length);
        if let Some(tag) = tag(&message)
            && frame.len() >= 12
        {
            frame.splice(12..12, [0x81, 0x00, (tag >> 8) as u8, tag as u8]);
        }
        Ok(Some(frame))
    }

    /// The next frame that fits, within a time.
    pub fn expect(&self, timeout: Duration, mut fits: impl FnMut(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(frame) = self.receive()? {
                if fits(&frame) {
                    return Ok(Some(frame));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            readable([self.as_fd()], left);
        }
    }
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The tag that the kernel took out of the frame on receipt.
fn tag(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the message was filled in by recvmsg, so its control part is a chain of headers within its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the header lies within the control part.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == PACKET_AUXDATA {
            // SAFETY: the data of this kind is a `struct tpacket_auxdata`; it may lie unaligned.
            let about = unsafe { libc::CMSG_DATA(header).cast::<AuxiliaryData>().read_unaligned() };
            return (about.status & TP_STATUS_VLAN_VALID != 0).then_some(about.vlan_tci);
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}
