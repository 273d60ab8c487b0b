//! Echo requests and what comes back, in the process of the test: one at a time, or a numbered stream under which nothing may be lost.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::frame_socket::make_patient;
use crate::node::Node;
use crate::tunnel::internet_checksum;
use crate::wait::{SOON, readable, until};

/// What came back for an echo request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The echo reply.
    Reply {
        /// The time there and back.
        after: Duration,
    },
    /// The time to live or hop limit ran out at this router.
    TimeExceeded {
        /// Who says so.
        from: IpAddr,
    },
    /// Too big, and not to be fragmented.
    TooBig {
        /// Who says so; the sender's own kernel if nobody.
        from: Option<IpAddr>,
        /// The MTU that fits, by the message.
        mtu: u32,
    },
    /// Another ICMP error.
    Unreachable {
        /// Who says so.
        from: IpAddr,
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
    /// Nothing within the time.
    Silence,
}

impl Answer {
    /// Whether it is the echo reply.
    pub fn is_reply(&self) -> bool {
        matches!(self, Self::Reply { .. })
    }
}

/// Whether routers may fragment the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// They may, and the sender does where it knows that it must.
    Allowed,
    /// They may not (DF is set); the sender keeps to the path MTU that its kernel has learned.
    Forbidden,
    /// They may not, and the sender sends whatever its interface takes, whatever it has learned.
    Probing,
}

/// An echo request.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// Where to.
    pub to: IpAddr,
    /// From which address; the kernel chooses if there is none.
    pub from: Option<IpAddr>,
    /// The whole IP packet's length in bytes.
    pub length: usize,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Whether it may be fragmented.
    pub fragmentation: Fragmentation,
    /// DSCP and ECN, as in the header's byte.
    pub tos: u8,
}

impl Ping {
    /// A request of 84 bytes, as `ping` sends it.
    pub fn to(to: IpAddr) -> Self {
        Self { to, from: None, length: 84, ttl: 64, fragmentation: Fragmentation::Allowed, tos: 0 }
    }

    /// The same from this address.
    pub fn from(self, from: IpAddr) -> Self {
        Self { from: Some(from), ..self }
    }

    /// The same with this length of the IP packet.
    pub fn length(self, length: usize) -> Self {
        Self { length, ..self }
    }

    /// The same with this time to live.
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// The same with this rule about fragments.
    pub fn fragmentation(self, fragmentation: Fragmentation) -> Self {
        Self { fragmentation, ..self }
    }

    /// The same with this type of service.
    pub fn tos(self, tos: u8) -> Self {
        Self { tos, ..self }
    }

    /// Sends it from a machine and waits for what comes back.
    pub fn send(&self, node: &Node, patience: Duration) -> Result<Answer> {
        Echo::open(node, self)?.ask(1, patience, |_| true)
    }

    /// Sends it again every 100 ms until a reply comes or the time is up. Gives the last answer that was none.
    pub fn until_reply(&self, node: &Node, patience: Duration) -> Result<Answer> {
        self.insist(node, patience, Answer::is_reply)
    }

    /// Sends it again every 100 ms until there is the answer that is wanted, to whichever of the requests, or the time is up. Gives the last
    /// answer that was another. Time in which the machine lets nobody run hardly counts: it is that of so many requests.
    pub fn insist(&self, node: &Node, patience: Duration, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let requests = patience.as_millis().div_ceil(AGAIN.as_millis()).max(1);
        let (mut echo, mut last) = (None, Ok(Answer::Silence));
        for number in 0..requests {
            // Errors of sending (no address or no route yet) pass with time.
            let answer = match &echo {
                None => Echo::open(node, self)
                    .map(|opened| echo.insert(opened))
                    .and_then(|echo| echo.ask(0, AGAIN, &wanted)),
                Some(echo) => echo.ask(number as usize, AGAIN, &wanted),
            };
            match answer {
                // What came before says more.
                Ok(Answer::Silence) if last.is_ok() => {}
                Ok(answer) if answer != Answer::Silence && wanted(&answer) => return Ok(answer),
                Err(error) => {
                    std::thread::sleep(AGAIN);
                    last = Err(error);
                }
                other => last = other,
            }
        }
        last
    }

    /// Sends it at a regular interval, numbered, until the stream is stopped. Where answers are late, so are the next requests: of
    /// [`UNDER_WAY`], none is lost in a queue, whoever waits for a CPU.
    pub fn stream(&self, node: &Node, interval: Duration) -> Result<Stream> {
        let echo = Echo::open(node, self)?;
        let (phase, answered) = (Arc::new(AtomicU8::new(SENDING)), Arc::<AtomicUsize>::default());
        let (until, count) = (Arc::clone(&phase), Arc::clone(&answered));
        let thread = std::thread::Builder::new()
            .name("stream".to_owned())
            .spawn(move || run(&echo, interval, &until, &count))?;
        Ok(Stream { phase, answered, thread: Some(thread) })
    }
}

/// How often a request is repeated.
const AGAIN: Duration = Duration::from_millis(100);
/// Requests of a stream that wait for an answer at a time: even of several streams far fewer than any queue on the way holds, the shortest
/// of which is a veth's with 256 places.
const UNDER_WAY: usize = 16;
/// After this time without an answer, a request is no longer counted among those under way. If it is answered after all, it was not lost.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// What a stream does: it sends, it waits for the last answers, or nobody wants to know any more.
const SENDING: u8 = 0;
const FINISHING: u8 = 1;
const ABANDONED: u8 = 2;

/// A stream of echo requests that runs.
#[derive(Debug)]
pub struct Stream {
    phase: Arc<AtomicU8>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Tally>>,
}

impl Stream {
    /// Waits until so many more requests were answered.
    pub fn go_on(&self, more: usize) -> Result<()> {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        until(SOON, "replies", || (self.answered.load(Ordering::Relaxed) >= wanted).then_some(()))
    }

    /// How many requests were answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the stream, waits for replies that are under way, and counts.
    pub fn stop(mut self) -> Tally {
        self.phase.store(FINISHING, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.phase.store(ABANDONED, Ordering::Relaxed);
    }
}

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests sent.
    pub sent: usize,
    /// The numbers of those that had no reply.
    pub lost: Vec<usize>,
}

fn run(echo: &Echo, interval: Duration, phase: &AtomicU8, count: &AtomicUsize) -> Tally {
    let mut answered: Vec<bool> = Vec::new();
    let mut under_way: VecDeque<(usize, Instant)> = VecDeque::new();
    let (mut due, mut finishing) = (Instant::now(), None);
    loop {
        let now = Instant::now();
        let pause = match phase.load(Ordering::Relaxed) {
            SENDING => {
                under_way.retain(|(number, sent)| !answered[*number] && now - *sent < GIVEN_UP);
                if now >= due && under_way.len() < UNDER_WAY {
                    // A refused request counts as lost: it was due, and the path did not take it.
                    let _ = echo.send(answered.len());
                    under_way.push_back((answered.len(), now));
                    answered.push(false);
                    due = now.max(due + interval);
                }
                due.saturating_duration_since(now).max(Duration::from_micros(100))
            }
            FINISHING => {
                let since = *finishing.get_or_insert(now);
                if answered.iter().all(|answered| *answered) || now - since > SOON {
                    break;
                }
                Duration::from_millis(10)
            }
            _ => break,
        };
        readable([echo.socket.as_fd()], pause);
        while let Some((_, message)) = echo.receive() {
            if let Some(number) = echo.number_of(&message)
                && let Some(answered) = answered.get_mut(number)
            {
                count.fetch_add(usize::from(!*answered), Ordering::Relaxed);
                *answered = true;
            }
        }
    }
    let lost = answered.iter().enumerate().filter(|(_, answered)| !**answered).map(|(number, _)| number).collect();
    Tally { sent: answered.len(), lost }
}

static NEXT_ID: AtomicU16 = AtomicU16::new(1);

#[derive(Debug)]
struct Echo {
    socket: Socket,
    to: IpAddr,
    id: u16,
    payload: usize,
}

impl Echo {
    fn open(node: &Node, ping: &Ping) -> Result<Self> {
        let socket = node
            .within_network(|| open(ping))
            .with_context(|| format!("on {}: cannot ping {}", node.name(), ping.to))?;
        let header = if ping.to.is_ipv4() { 20 } else { 40 };
        // Eight bytes of ICMP header and eight with the number.
        let payload = ping.length.saturating_sub(header + 8).max(8);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed) ^ (std::process::id() as u16).rotate_left(7);
        Ok(Self { socket, to: ping.to, id, payload })
    }

    /// Sends a request and waits for an answer that is wanted, to this one or an earlier one; gives the last answer if none is.
    fn ask(&self, number: usize, patience: Duration, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let start = Instant::now();
        let mut last = Answer::Silence;
        let sent = match self.send(number) {
            // It may be a router's answer to an earlier request that the kernel tells now, and no refusal of this one. It tells that once.
            Err(error) if is_too_long(&error) => self.send(number),
            sent => sent,
        };
        match sent {
            Ok(()) => {}
            Err(error) if is_too_long(&error) => {
                last = Answer::TooBig { from: None, mtu: self.path_mtu()? };
                if wanted(&last) {
                    return Ok(last);
                }
            }
            Err(error) => return Err(error),
        }
        loop {
            let left = patience.saturating_sub(start.elapsed());
            readable([self.socket.as_fd()], left);
            while let Some((from, message)) = self.receive() {
                if let Some(answer) = self.understand(from, &message, start.elapsed()) {
                    if wanted(&answer) {
                        return Ok(answer);
                    }
                    last = answer;
                }
            }
            if left.is_zero() {
                return Ok(last);
            }
        }
    }

    fn send(&self, number: usize) -> Result<()> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut message = vec![0u8; 8 + self.payload];
        message[0] = kind;
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&(number as u16).to_be_bytes());
        message[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        if self.to.is_ipv4() {
            // For IPv6 the kernel computes it.
            let sum = internet_checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.socket.send_to(&message, &SocketAddr::new(self.to, 0).into())?;
        Ok(())
    }

    /// The next ICMP message, and who it is from.
    fn receive(&self) -> Option<(IpAddr, Vec<u8>)> {
        let mut buffer = vec![0u8; 65_600];
        if self.to.is_ipv4() {
            let length = (&self.socket).read(&mut buffer).ok()?;
            buffer.truncate(length);
            let from = Ipv4Addr::from(<[u8; 4]>::try_from(buffer.get(12..16)?).ok()?);
            let header = usize::from(buffer.first()? & 15) * 4;
            Some((from.into(), buffer.split_off(header.min(length))))
        } else {
            let mut from: libc::sockaddr_in6 = zeroed();
            let mut size = libc::socklen_t::try_from(size_of_val(&from)).ok()?;
            // SAFETY: the buffer and the address have the lengths given, and live through the call.
            let length = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    std::ptr::from_mut(&mut from).cast(),
                    &mut size,
                )
            };
            buffer.truncate(usize::try_from(length).ok()?);
            Some((Ipv6Addr::from(from.sin6_addr.s6_addr).into(), buffer))
        }
    }

    /// The number in an echo reply to us.
    fn number_of(&self, message: &[u8]) -> Option<usize> {
        let reply = if self.to.is_ipv4() { 0 } else { 129 };
        let ours = *message.first()? == reply && message.get(4..6)? == self.id.to_be_bytes();
        let number = u64::from_be_bytes(message.get(8..16)?.try_into().ok()?);
        if ours { usize::try_from(number).ok() } else { None }
    }

    fn understand(&self, from: IpAddr, message: &[u8], after: Duration) -> Option<Answer> {
        if self.number_of(message).is_some() {
            return Some(Answer::Reply { after });
        }
        let quoted = message.get(8..)?;
        // The quoted packet's own ICMP header: behind its IP header, whose options nobody here sends.
        let (echo, at, kind) = if self.to.is_ipv4() {
            (8, usize::from(quoted.first()? & 15) * 4, message[0])
        } else {
            (128, 40, message[0])
        };
        let inner = quoted.get(at..)?;
        if *inner.first()? != echo || inner.get(4..6)? != self.id.to_be_bytes() {
            return None;
        }
        let code = *message.get(1)?;
        let mtu = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
        Some(match (self.to.is_ipv4(), kind, code) {
            (true, 11, _) | (false, 3, _) => Answer::TimeExceeded { from },
            (true, 3, 4) | (false, 2, _) => Answer::TooBig { from: Some(from), mtu },
            _ => Answer::Unreachable { from, kind, code },
        })
    }

    /// What the kernel knows of the path's MTU.
    fn path_mtu(&self) -> Result<u32> {
        self.socket.connect(&SocketAddr::new(self.to, 0).into())?;
        let (level, option) =
            if self.to.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
        let mut mtu: libc::c_int = 0;
        let mut size = libc::socklen_t::try_from(size_of_val(&mtu))?;
        // SAFETY: both options give an int.
        Errno::result(unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), level, option, std::ptr::from_mut(&mut mtu).cast(), &mut size)
        })?;
        Ok(u32::try_from(mtu)?)
    }
}

fn is_too_long(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) == Some(libc::EMSGSIZE)
}

fn zeroed() -> libc::sockaddr_in6 {
    // SAFETY: all zeroes are a valid address.
    unsafe { std::mem::zeroed() }
}

fn open(ping: &Ping) -> Result<Socket> {
    let v4 = ping.to.is_ipv4();
    let (domain, protocol) = if v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    make_patient(&socket)?;
    if let Some(from) = ping.from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    if v4 {
        socket.set_ttl_v4(ping.ttl.into())?;
        socket.set_tos_v4(ping.tos.into())?;
    } else {
        socket.set_unicast_hops_v6(ping.ttl.into())?;
        socket.set_tclass_v6(ping.tos.into())?;
    }
    set_fragmentation(&socket, ping.to, ping.fragmentation)?;
    Ok(socket)
}

/// Sets what a socket does with what is too long for the way.
pub(crate) fn set_fragmentation(socket: &Socket, to: IpAddr, fragmentation: Fragmentation) -> Result<()> {
    let (level, option) = if to.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    };
    let value: libc::c_int = match fragmentation {
        Fragmentation::Allowed => libc::IP_PMTUDISC_DONT,
        Fragmentation::Forbidden => libc::IP_PMTUDISC_DO,
        Fragmentation::Probing => libc::IP_PMTUDISC_PROBE,
    };
    let size = libc::socklen_t::try_from(size_of_val(&value))?;
    // SAFETY: both options take an int, with the same values for both families.
    Errno::result(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&value).cast(), size)
    })?;
    Ok(())
}
