//! The slow path: what XDP leaves to user space. A veth pair, `slow0` with the program `reentry` and `slow1` with a packet socket.
//!
//! Outer fragments are put together, inner packets without DF cut into pieces; either goes back by the way it came, behind a
//! [`Reentry`] header. What the socket cannot take is lost there: bounded, and nobody else waits for it.

use super::{fragmentation, reassembly};
use crate::api::report::SlowPathReport;
use crate::net::ethtool::{Ethtool, GRO};
use crate::net::link_frames::{self, Answer};
use crate::net::links::VethEnd;
use crate::net::netlink::Netlink;
use anyhow::Context;
use gateway_common::trace::Reentry;
use gateway_common::wire::ethertype;
use netlink_packet_route::link::LinkFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The end that the programs send to.
pub const ROOT_END: &str = "slow0";
/// The end that the daemon listens on.
pub const SOCKET_END: &str = "slow1";
/// What fits a page with the programs' headroom: the kernel takes no more on the peer of a veth with XDP.
const MTU: u32 = 3500;
const ETHERNET: usize = 14;
const HEADER: usize = ETHERNET + size_of::<Reentry>();
const RECEIVE_BUFFER: usize = 4 << 20;
const SWEEP: Duration = Duration::from_millis(500);

/// What the slow path did since the daemon started.
#[derive(Debug, Default)]
pub struct Stats {
    /// Datagrams put together.
    pub reassembled: AtomicU64,
    /// Datagrams of which a fragment never came.
    pub timed_out: AtomicU64,
    /// Packets cut into pieces.
    pub fragmented: AtomicU64,
    /// What was refused, for whatever reason.
    pub refused: AtomicU64,
}

impl Stats {
    /// As it is reported.
    pub fn report(&self) -> SlowPathReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SlowPathReport {
            reassembled: read(&self.reassembled),
            timed_out: read(&self.timed_out),
            fragmented: read(&self.fragmented),
            refused: read(&self.refused),
        }
    }
}

/// Whose the interfaces with the slow path's names are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// Somebody else's, if they are there.
    #[default]
    Others,
    /// This gateway's, of this or an earlier daemon.
    Ours,
}

/// Refuses to start where something else has a name of our own interfaces: another gateway, most likely.
pub fn refuse_others_links(netlink: &mut Netlink, names: &[&str], ownership: Ownership) -> anyhow::Result<()> {
    let taken = netlink.links(names.iter().copied())?.into_iter().flatten().next();
    match taken {
        Some(link) if ownership == Ownership::Others => anyhow::bail!(
            "there is an interface {} already, and it is not this gateway's: another gateway may be running in this network \
             namespace; detach that one, or remove what it left (`ip link delete {}`)",
            link.name,
            link.name
        ),
        _ => Ok(()),
    }
}

/// The veth pair's interface indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Of [`ROOT_END`].
    pub root: u32,
    /// Of [`SOCKET_END`].
    pub socket: u32,
}

/// Makes the veth pair, or takes the one that is there.
pub fn prepare_link(netlink: &mut Netlink) -> anyhow::Result<Ends> {
    let end = |name: &str, alias: &str| VethEnd { name: name.to_owned(), mac: None, mtu: MTU, alias: alias.to_owned() };
    let here = end(ROOT_END, "gateway: slow path");
    let there = end(SOCKET_END, "");
    let [root, socket] = match &netlink.links([ROOT_END, SOCKET_END])?[..] {
        [Some(root), Some(socket)] if root.peer == Some(socket.index) => [root.clone(), socket.clone()],
        [None, None] => {
            netlink
                .create_veth(&here, &there, None)
                .with_context(|| format!("cannot make the veth pair {ROOT_END}"))?;
            match &netlink.links([ROOT_END, SOCKET_END])?[..] {
                [Some(root), Some(socket)] => [root.clone(), socket.clone()],
                _ => anyhow::bail!("the veth pair {ROOT_END} vanished as soon as it was made"),
            }
        }
        _ => anyhow::bail!(
            "the interfaces {ROOT_END} and {SOCKET_END} are wanted for the slow path, but something else has a name of theirs; \
             rename or remove it (`ip link delete {ROOT_END}`)"
        ),
    };
    for link in [&root, &socket] {
        // Neither the kernel's ARP nor its IPv6 has any business here.
        netlink.disable_ipv6_autoconfiguration(link.index)?;
        netlink.set_flags(link.index, LinkFlags::Up | LinkFlags::Noarp, LinkFlags::empty())?;
    }
    Ethtool::new(SOCKET_END)?
        .switch(SOCKET_END, |feature| (feature == GRO).then_some(true))
        .with_context(|| format!("cannot switch NAPI of {SOCKET_END} on"))?;
    Ok(Ends { root: root.index, socket: socket.index })
}

/// Takes the veth pair away.
pub fn remove_link(netlink: &mut Netlink) -> anyhow::Result<()> {
    Ok(netlink.delete_link(ROOT_END)?)
}

/// What a neighbour on a tenant's VLAN answered to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The port's interface index.
    pub ifindex: u32,
    /// What it was.
    pub answer: Answer,
}

/// Starts the slow path's thread, which runs as long as the process. It passes on what neighbours answer as far as there is room.
pub fn start(answers: mpsc::Sender<Answered>) -> anyhow::Result<Arc<Stats>> {
    let socket = open().with_context(|| format!("cannot open a packet socket on {SOCKET_END}"))?;
    let stats = Arc::new(Stats::default());
    let counted = stats.clone();
    std::thread::Builder::new().name("slow-path".to_owned()).spawn(move || {
        let worker = Worker { answers: Some(answers), ..Worker::default() };
        if let Err(error) = serve(&socket, worker, &counted) {
            tracing::error!(%error, "the slow path has ended: fragments are lost until the daemon is started again");
        }
    })?;
    Ok(stats)
}

fn open() -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ethertype::PRIVATE.to_be()))))?;
    let index = nix::net::if_::if_nametoindex(SOCKET_END)?;
    if socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER).is_err() {
        tracing::debug!("the slow path's receive buffer stays small");
    }
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a sockaddr_ll is plain data, and smaller than the storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype::PRIVATE.to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the storage holds a sockaddr_ll of this length.
    let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
    socket.bind(&address)?;
    Ok(socket)
}

fn serve(socket: &Socket, mut worker: Worker, stats: &Stats) -> anyhow::Result<()> {
    let mut buffer = vec![0u8; 1 << 16];
    let mut swept = Instant::now();
    loop {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(SWEEP)?) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        if now.duration_since(swept) >= SWEEP {
            swept = now;
            stats.timed_out.fetch_add(worker.expire(now) as u64, Ordering::Relaxed);
        }
        for _ in 0..64 {
            let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                // The link went down for a moment.
                Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => break,
                Err(error) => return Err(error.into()),
            };
            for frame in worker.take(&buffer[..length], now, stats) {
                if let Err(error) = send(socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT) {
                    tracing::debug!(%error, "the slow path could not hand a frame back");
                    stats.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// The slow path's work without its socket.
#[derive(Debug, Default)]
pub struct Worker {
    reassembler: reassembly::Reassembler,
    /// Who is told what neighbours answer.
    answers: Option<mpsc::Sender<Answered>>,
}

impl Worker {
    /// Takes a frame of [`SOCKET_END`]; the frames that go back.
    pub fn take(&mut self, frame: &[u8], now: Instant, stats: &Stats) -> Vec<Vec<u8>> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let Some((header, payload)) = split(frame) else {
            count(&stats.refused);
            return Vec::new();
        };
        match header.operation {
            Reentry::FRAME => match self.reassembler.accept(header.context, payload, now) {
                Ok(None) => Vec::new(),
                Ok(Some(whole)) => {
                    count(&stats.reassembled);
                    vec![join(header, &whole)]
                }
                Err(reason) => {
                    tracing::trace!(%reason, "a fragment was refused");
                    count(&stats.refused);
                    Vec::new()
                }
            },
            Reentry::PACKET => match fragmentation::fragment(payload, header.mtu as usize) {
                Ok(pieces) => {
                    count(&stats.fragmented);
                    pieces.iter().map(|piece| join(header, piece)).collect()
                }
                Err(reason) => {
                    tracing::trace!(%reason, "a packet was not fragmented");
                    count(&stats.refused);
                    Vec::new()
                }
            },
            Reentry::CUT => match cut(payload, header.mtu as usize) {
                Ok(pieces) => {
                    count(&stats.fragmented);
                    let header = Reentry { operation: Reentry::RESUME, ..header };
                    pieces.iter().map(|piece| join(header, piece)).collect()
                }
                Err(reason) => {
                    tracing::trace!(%reason, "a machine's packet was not fragmented");
                    count(&stats.refused);
                    Vec::new()
                }
            },
            Reentry::ANSWERED if let Some(answer) = link_frames::answer(payload) => {
                if let Some(answers) = &self.answers {
                    // Who asked asks again.
                    let _ = answers.try_send(Answered { ifindex: header.context, answer });
                }
                Vec::new()
            }
            _ => {
                count(&stats.refused);
                Vec::new()
            }
        }
    }

    /// Forgets fragments that waited too long; of how many datagrams.
    pub fn expire(&mut self, now: Instant) -> usize {
        self.reassembler.expire(now)
    }
}

/// A machine's frame as frames of at most `mtu` bytes of IP.
fn cut(frame: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, fragmentation::Refusal> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET).ok_or(fragmentation::Refusal::Malformed)?;
    let pieces = fragmentation::fragment(packet, mtu)?;
    Ok(pieces.into_iter().map(|piece| [ethernet, &piece].concat()).collect())
}

fn split(frame: &[u8]) -> Option<(Reentry, &[u8])> {
    if frame.get(12..ETHERNET)? != ethertype::PRIVATE.to_be_bytes() {
        return None;
    }
    let header = bytemuck::pod_read_unaligned(frame.get(ETHERNET..HEADER)?);
    Some((header, &frame[HEADER..]))
}

fn join(header: Reentry, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET - 2];
    frame.extend_from_slice(&ethertype::PRIVATE.to_be_bytes());
    frame.extend_from_slice(bytemuck::bytes_of(&header));
    frame.extend_from_slice(payload);
    frame
}

/// For fuzzing: the first bytes choose the operation, the rest is what the programs might send. Never panics.
pub fn exercise(bytes: &[u8]) {
    let [operation, mtu, payload @ ..] = bytes else { return };
    let (operation, answer) = match operation % 3 {
        0 => (Reentry::FRAME, Reentry::FRAME),
        1 => (Reentry::PACKET, Reentry::PACKET),
        _ => (Reentry::CUT, Reentry::RESUME),
    };
    let header = Reentry { operation, context: 1, mtu: u32::from(*mtu) * 8, ..Reentry::default() };
    let expected = Reentry { operation: answer, ..header };
    let mut worker = Worker::default();
    for frame in worker.take(&join(header, payload), Instant::now(), &Stats::default()) {
        assert!(split(&frame).is_some_and(|(back, _)| back == expected), "what goes back names another context");
    }
    worker.take(bytes, Instant::now(), &Stats::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_common::OriginId;
    use proptest::prelude::*;

    #[test]
    fn the_pieces_of_a_packet_go_back_with_its_tenant_and_origin() {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 1];
        packet.resize(1000, 7);
        packet[2..4].copy_from_slice(&1000u16.to_be_bytes());
        let header = Reentry { operation: Reentry::PACKET, context: 5, origin: OriginId(9), mtu: 500 };
        let stats = Stats::default();
        let back = Worker::default().take(&join(header, &packet), Instant::now(), &stats);
        assert_eq!(back.len(), 3);
        for frame in &back {
            let (again, piece) = split(frame).expect("a frame of ours");
            assert_eq!(again, header);
            assert!(piece.len() <= 500);
        }
        assert_eq!(stats.fragmented.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_pieces_of_a_machines_packet_go_back_in_its_frame() {
        let mut frame = vec![0x0a, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0];
        frame.extend([0x45, 0, 3, 0xe8, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 1]);
        frame.resize(ETHERNET + 1000, 7);
        let header = Reentry { operation: Reentry::CUT, context: 9, origin: OriginId(4), mtu: 500 };
        let stats = Stats::default();
        let back = Worker::default().take(&join(header, &frame), Instant::now(), &stats);
        assert_eq!((back.len(), stats.fragmented.load(Ordering::Relaxed)), (3, 1));
        for piece in &back {
            let (again, piece) = split(piece).expect("a frame of ours");
            assert_eq!(again, Reentry { operation: Reentry::RESUME, ..header });
            assert!(piece.len() <= ETHERNET + 500 && piece[..ETHERNET] == frame[..ETHERNET]);
        }
        assert!(Worker::default().take(&join(header, &frame[..10]), Instant::now(), &stats).is_empty());
        assert_eq!(stats.refused.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_not_ours_is_counted_and_dropped() {
        let stats = Stats::default();
        let mut worker = Worker::default();
        let unknown = join(Reentry { operation: 77, ..Reentry::default() }, &[0; 40]);
        for frame in [&unknown[..], &unknown[..20], &[]] {
            assert!(worker.take(frame, Instant::now(), &stats).is_empty());
        }
        assert_eq!(stats.refused.load(Ordering::Relaxed), 3);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_slow_path(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            exercise(&bytes);
        }
    }
}
