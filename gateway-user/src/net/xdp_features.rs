//! What a device's driver can do with XDP, as the kernel's `netdev` generic netlink family tells (since Linux 6.3).

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// nlmsghdr and genlmsghdr.
const HEADERS: usize = 20;

/// Bits of the kernel's `enum netdev_xdp_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Programs run in the driver.
    pub const fn runs_programs(self) -> bool {
        self.0 & 1 != 0
    }

    /// Programs may redirect out of it.
    pub const fn redirects(self) -> bool {
        self.0 & 2 != 0
    }

    /// Frames may be redirected into it. A veth says so only while its other end takes them by NAPI.
    pub const fn takes_redirected(self) -> bool {
        self.0 & 4 != 0
    }
}

/// Asks the kernel about devices of the calling thread's namespace. Nothing where the kernel is too old to tell.
pub fn query(index: u32) -> io::Result<Option<XdpFeatures>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let family = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, (CTRL_ATTR_FAMILY_NAME, b"netdev\0")).map(|reply| {
        attribute(&reply, CTRL_ATTR_FAMILY_ID).and_then(|value| Some(u16::from_ne_bytes(*value.first_chunk()?)))
    });
    let family = match family {
        Ok(Some(family)) => family,
        Ok(None) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    match ask(&socket, family, NETDEV_CMD_DEV_GET, (NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes())) {
        Ok(reply) => Ok(attribute(&reply, NETDEV_A_DEV_XDP_FEATURES)
            .and_then(|value| Some(XdpFeatures(u64::from_ne_bytes(*value.first_chunk()?))))),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOENT)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn ask(socket: &OwnedFd, family: u16, command: u8, (kind, value): (u16, &[u8])) -> io::Result<Vec<u8>> {
    let attribute_length = 4 + value.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one question, one answer
    message.extend([command, 1, 0, 0]);
    message.extend((attribute_length as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(length, 0);
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut reply = vec![0; 1 << 14];
    let length = recv(socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    reply.truncate(length);
    let kind = reply.get(4..6).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    match (kind, reply.get(16..20)) {
        (Some(NLMSG_ERROR), Some(code)) => {
            let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
            Err(io::Error::from_raw_os_error(-code))
        }
        (Some(_), Some(_)) => Ok(reply),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn attribute(reply: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = reply.get(HEADERS..)?;
    while let [l0, l1, k0, k1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([k0, k1]) & 0x3fff == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}
