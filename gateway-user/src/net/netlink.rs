//! A small rtnetlink client: requests are sent in batches and answered in order, notifications are awaited.
//!
//! A socket belongs to the network namespace of the thread that made it, wherever it is used afterwards.

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_MULTI: u16 = 0x2;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// Requests that are on their way at once: their answers fit the receive buffer with room to spare.
const BATCH: usize = 128;
const RECEIVE_BUFFER: usize = 1 << 20;
/// Neighbours of thousands of next hops may all change at once when a port's carrier goes.
const MONITOR_BUFFER: usize = 8 << 20;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("the netlink socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused the request.
    #[error("the kernel refused it: {error}{}", message.as_deref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Refused {
        /// The kernel's error number, as an error.
        error: io::Error,
        /// The kernel's own words, if it had any.
        message: Option<String>,
    },
    /// The answer was not understood.
    #[error("the kernel's answer was not understood: {0}")]
    Decode(String),
}

impl NetlinkError {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(error) | Self::Refused { error, .. } => error.raw_os_error(),
            Self::Decode(_) => None,
        }
    }

    /// What was to be made is there already.
    pub fn exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// What was asked for is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL))
    }
}

impl From<nix::Error> for NetlinkError {
    fn from(error: nix::Error) -> Self {
        Self::Socket(error.into())
    }
}

/// What a change does with an object that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ask; change nothing.
    Get,
    /// Change what is there, or remove it.
    Change,
    /// Make it; fail if it is there.
    Create,
    /// Make it, or overwrite what is there.
    Replace,
}

impl Mode {
    fn flags(self) -> u16 {
        match self {
            Self::Get | Self::Change => 0,
            Self::Create => 0x400 | 0x200,  // NLM_F_CREATE | NLM_F_EXCL
            Self::Replace => 0x400 | 0x100, // NLM_F_CREATE | NLM_F_REPLACE
        }
    }
}

/// What the kernel said in answer to one request.
pub type Answer = Result<Vec<RouteNetlinkMessage>, NetlinkError>;

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket in the calling thread's network namespace.
    pub fn new() -> Result<Self, NetlinkError> {
        let socket = open(SockFlag::SOCK_CLOEXEC, 0, RECEIVE_BUFFER)?;
        // Both are refinements of error messages: an old kernel without them is as good.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            set_netlink_option(&socket, option);
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; 1 << 16] })
    }

    /// One request; its answers, empty for a plain acknowledgement.
    pub fn request(&mut self, message: RouteNetlinkMessage, mode: Mode) -> Answer {
        self.batch(vec![(message, mode)]).pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Many requests; the answers in the order of the requests. One that fails does not stop the others.
    pub fn batch(&mut self, messages: Vec<(RouteNetlinkMessage, Mode)>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(messages.len());
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            let mut count = 0;
            for (message, mode) in messages.by_ref().take(BATCH) {
                self.sequence = self.sequence.wrapping_add(1);
                append(&mut bytes, message, NLM_F_REQUEST | NLM_F_ACK | mode.flags(), self.sequence);
                count += 1;
            }
            answers.extend(self.exchange(&bytes, first, count));
        }
        answers
    }

    fn exchange(&mut self, bytes: &[u8], first: u32, count: usize) -> Vec<Answer> {
        let mut answers: Vec<Answer> = (0..count).map(|_| Ok(Vec::new())).collect();
        let failed = |answers: &mut Vec<Answer>, from: usize, error: io::Error| {
            for answer in answers.iter_mut().skip(from) {
                *answer = Err(NetlinkError::Socket(clone_error(&error)));
            }
        };
        if let Err(error) = send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
            failed(&mut answers, 0, error.into());
            return answers;
        }
        let mut done = 0;
        while done < count {
            let length = match receive(&self.socket, &mut self.buffer) {
                Ok(length) => length,
                Err(error) => {
                    failed(&mut answers, done, error);
                    return answers;
                }
            };
            for part in Parts::new(&self.buffer[..length]) {
                let index = part.header.sequence_number.wrapping_sub(first) as usize;
                let Some(answer) = answers.get_mut(index) else {
                    continue; // The rest of an earlier exchange that failed half way.
                };
                if part.header.message_type == NLMSG_ERROR {
                    if let Err(error) = acknowledgement(&part) {
                        *answer = Err(error);
                    }
                    done += 1;
                } else if let Ok(list) = answer {
                    match decode(&part) {
                        Ok(message) => list.push(message),
                        Err(error) => *answer = Err(error),
                    }
                }
            }
        }
        answers
    }

    /// Everything of a kind. Asked again if the kernel's list changed meanwhile.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Answer {
        let mut tries = 0;
        loop {
            let (list, interrupted) = self.dump_once(message.clone())?;
            tries += 1;
            if !interrupted || tries == 5 {
                return Ok(list);
            }
        }
    }

    fn dump_once(&mut self, message: RouteNetlinkMessage) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        append(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP, self.sequence);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let (mut list, mut interrupted) = (Vec::new(), false);
        loop {
            let length = receive(&self.socket, &mut self.buffer)?;
            for part in Parts::new(&self.buffer[..length]) {
                if part.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= part.header.flags & NLM_F_DUMP_INTR != 0;
                match part.header.message_type {
                    NLMSG_DONE => return Ok((list, interrupted)),
                    NLMSG_ERROR => {
                        acknowledgement(&part)?;
                        return Ok((list, interrupted));
                    }
                    // One object that this version of the codec does not know must not hide all others.
                    _ => match decode(&part) {
                        Ok(message) => list.push(message),
                        Err(error) => tracing::debug!(%error, "an entry of a netlink dump was skipped"),
                    },
                }
                if part.header.flags & NLM_F_MULTI == 0 {
                    return Ok((list, interrupted));
                }
            }
        }
    }
}

/// Something changed in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A neighbour appeared, changed or went.
    Neighbour {
        /// The neighbour.
        message: NeighbourMessage,
        /// Whether it went.
        gone: Presence,
    },
    /// A link appeared, changed or went.
    Link {
        /// The link.
        message: Box<LinkMessage>,
        /// Whether it went.
        gone: Presence,
    },
    /// Some route, nexthop object or policy rule changed.
    Routes,
    /// Some address changed.
    Addresses,
    /// Notifications were lost: everything is to be read again.
    Overrun,
}

/// Whether an object is there after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Present,
    /// It went.
    Gone,
}

/// What a [`Monitor`] listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Links, addresses, routes, rules and neighbours.
    Everything,
    /// Neighbours only.
    Neighbours,
}

/// A socket for notifications.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Makes the socket in the calling thread's network namespace. [`Self::new`] may be called anywhere afterwards.
    pub fn open(scope: Scope) -> Result<OwnedFd, NetlinkError> {
        // Group n is bit n - 1 (rtnetlink.h).
        const LINK: u32 = 1 << 0;
        const NEIGH: u32 = 1 << 2;
        const IPV4_ADDRESS: u32 = 1 << 4;
        const IPV4_ROUTE: u32 = 1 << 6;
        const IPV4_RULE: u32 = 1 << 7;
        const IPV6_ADDRESS: u32 = 1 << 8;
        const IPV6_ROUTE: u32 = 1 << 10;
        const IPV6_RULE: u32 = 1 << 18;
        const NEXTHOP: u32 = 1 << 31;
        let groups = match scope {
            Scope::Everything => {
                LINK | NEIGH | IPV4_ADDRESS | IPV4_ROUTE | IPV4_RULE | IPV6_ADDRESS | IPV6_ROUTE | IPV6_RULE | NEXTHOP
            }
            Scope::Neighbours => NEIGH,
        };
        open(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, groups, MONITOR_BUFFER)
    }

    /// Needs a running tokio reactor.
    pub fn new(socket: OwnedFd) -> Result<Self, NetlinkError> {
        // SAFETY: an `OwnedFd` is one and the same open descriptor until it is dropped, and it is dropped with the `AsyncFd`.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(|failed| failed.into_parts().1)?;
        Ok(Self { socket, buffer: vec![0; 1 << 16] })
    }

    /// The next changes, at least one.
    pub async fn next(&mut self) -> Result<Vec<Change>, NetlinkError> {
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            match ready.try_io(|socket| receive(socket.get_ref(), buffer)) {
                Err(_) => {}
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(vec![Change::Overrun]),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(length)) => {
                    let changes: Vec<Change> =
                        Parts::new(&self.buffer[..length]).filter_map(|part| change(&part)).collect();
                    if !changes.is_empty() {
                        return Ok(changes);
                    }
                }
            }
        }
    }
}

fn change(part: &Part<'_>) -> Option<Change> {
    use RouteNetlinkMessage as M;
    match part.header.message_type {
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE | 104 | 105 => {
            return Some(Change::Routes);
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => return Some(Change::Addresses),
        _ => {}
    }
    match decode(part) {
        Ok(M::NewNeighbour(message)) => Some(Change::Neighbour { message, gone: Presence::Present }),
        Ok(M::DelNeighbour(message)) => Some(Change::Neighbour { message, gone: Presence::Gone }),
        Ok(M::NewLink(message)) => Some(Change::Link { message: Box::new(message), gone: Presence::Present }),
        Ok(M::DelLink(message)) => Some(Change::Link { message: Box::new(message), gone: Presence::Gone }),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "a netlink notification was skipped");
            None
        }
    }
}

fn open(flags: SockFlag, groups: u32, receive_buffer: usize) -> Result<OwnedFd, NetlinkError> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
    }
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

fn set_netlink_option(socket: &OwnedFd, option: i32) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, the value lives through the call and has the length given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Receives one datagram whole: the buffer grows to its size first.
fn receive(socket: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
            Ok(length) if length > buffer.len() => buffer.resize(length.next_power_of_two(), 0),
            Ok(_) => return Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn append(bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

struct Part<'a> {
    header: NetlinkHeader,
    payload: &'a [u8],
}

/// The messages of a datagram.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let word = |at: usize| self.rest.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        let half = |at: usize| self.rest.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
        let length = word(0)? as usize;
        let mut header = NetlinkHeader::default();
        header.length = length as u32;
        header.message_type = half(4)?;
        header.flags = half(6)?;
        header.sequence_number = word(8)?;
        header.port_number = word(12)?;
        let payload = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Part { header, payload })
    }
}

fn decode(part: &Part<'_>) -> Result<RouteNetlinkMessage, NetlinkError> {
    RouteNetlinkMessage::deserialize(&part.header, part.payload)
        .map_err(|error| NetlinkError::Decode(error.to_string()))
}

/// An `NLMSG_ERROR`: error 0 is the acknowledgement; the kernel's words may follow as attributes.
fn acknowledgement(part: &Part<'_>) -> Result<(), NetlinkError> {
    let Some(code) = part.payload.get(..4) else {
        return Err(NetlinkError::Decode("a netlink error without its number".to_owned()));
    };
    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
    if code == 0 {
        return Ok(());
    }
    let mut message = None;
    if part.header.flags & NLM_F_ACK_TLVS != 0 {
        let quoted = part.payload.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize);
        let skip = if part.header.flags & NLM_F_CAPPED != 0 { HEADER } else { quoted.next_multiple_of(4) };
        let mut rest = part.payload.get(4 + skip..).unwrap_or_default();
        while let [l0, l1, k0, k1, ..] = *rest {
            let (length, kind) = (u16::from_ne_bytes([l0, l1]) as usize, u16::from_ne_bytes([k0, k1]));
            let Some(value) = rest.get(4..length) else { break };
            if kind == NLMSGERR_ATTR_MSG {
                let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
                message = Some(String::from_utf8_lossy(text).into_owned());
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Err(NetlinkError::Refused { error: io::Error::from_raw_os_error(-code), message })
}

fn clone_error(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
