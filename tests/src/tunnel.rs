//! GRE and NVGRE spoken in user space: a raw socket outside, a TUN or TAP device inside, a thread between them.
//!
//! So a site or a compute host is a real kernel's stack behind a tunnel that was not written by the gateway's code, on kernels without GRE.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::frame_socket::make_patient;
use crate::node::Node;
use crate::ping::Fragmentation;
use crate::precedence::run_first;
use crate::tap::{Carries, Tap};
use crate::wait::readable;

/// What a tunnel's GRE headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IP in GRE (RFC 2784, RFC 2890).
    Gre {
        /// The key, if the header has one.
        key: Option<u32>,
        /// Whether the sent header has a checksum.
        checksum: Presence,
        /// Whether the sent header has a sequence number.
        sequence: Presence,
    },
    /// Ethernet in GRE, with the virtual subnet in the key (RFC 7637).
    Nvgre {
        /// The virtual subnet.
        vsid: u32,
    },
}

/// Whether an optional field is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there.
    Present,
    /// It is not.
    Absent,
}

impl Kind {
    /// GRE with this key, and nothing else that is optional.
    pub const fn gre(key: Option<u32>) -> Self {
        Self::Gre { key, checksum: Presence::Absent, sequence: Presence::Absent }
    }

    fn carries(self) -> Carries {
        match self {
            Self::Gre { .. } => Carries::Packets,
            Self::Nvgre { .. } => Carries::Frames,
        }
    }
}

/// What a tunnel saw, counted.
#[derive(Debug, Default)]
pub struct Seen {
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets that the outer path refused to take (too long for it, no route).
    pub refused: AtomicU64,
    /// Packets received and handed to the machine.
    pub received: AtomicU64,
    /// Packets received with a sequence number.
    pub sequenced: AtomicU64,
    /// Packets received that were not to the standard: a bad checksum, an unknown protocol or version.
    pub wrong: AtomicU64,
    /// The last type of service or traffic class received outside.
    pub outer_tos: AtomicU32,
}

/// One end of a tunnel. The device disappears when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    seen: Arc<Seen>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// Makes a device on a machine whose packets go to `remote` from `local`. The device is down, and has no address.
    pub fn new(node: &Node, device: &str, local: IpAddr, remote: IpAddr, kind: Kind) -> Result<Self> {
        let tap = Tap::new(node, device, kind.carries())?;
        let socket = node
            .within_network(|| -> Result<Socket> {
                let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
                let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_GRE)))?;
                socket.bind(&SocketAddr::new(local, 0).into())?;
                socket.connect(&SocketAddr::new(remote, 0).into())?;
                socket.set_nonblocking(true)?;
                // A packet too long for the way is fragmented outside, as routers without path-MTU discovery on their tunnels do.
                crate::ping::set_fragmentation(&socket, remote, Fragmentation::Allowed)?;
                make_patient(&socket)?;
                Ok(socket)
            })
            .with_context(|| format!("on {}: cannot open the tunnel {local} - {remote}", node.name()))?;
        let (seen, ending) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let pump = Pump { tap, socket, kind, family: local, seen: Arc::clone(&seen), next: 0 };
        let until = Arc::clone(&ending);
        let thread = std::thread::Builder::new().name(device.to_owned()).spawn(move || {
            run_first();
            pump.run(&until);
        })?;
        Ok(Self { seen, ending, thread: Some(thread) })
    }

    /// What it saw so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

struct Pump {
    tap: Tap,
    socket: Socket,
    kind: Kind,
    family: IpAddr,
    seen: Arc<Seen>,
    next: u32,
}

impl Pump {
    fn run(mut self, ending: &AtomicBool) {
        let mut buffer = vec![0u8; 65_600];
        while !ending.load(Ordering::Relaxed) {
            readable([self.tap.as_fd(), self.socket.as_fd()], Duration::from_millis(50));
            // In bursts, so that neither direction starves the other.
            for _ in 0..64 {
                match self.tap.receive(&mut buffer) {
                    Ok(Some(packet)) => self.send(packet),
                    Ok(None) | Err(_) => break,
                }
            }
            for _ in 0..64 {
                match (&self.socket).read(&mut buffer) {
                    Ok(length) => self.receive(&buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // What an ICMP error told the socket; the tunnel goes on.
                    Err(_) => {}
                }
            }
        }
    }

    fn send(&mut self, packet: &[u8]) {
        let mut out = header(self.kind, packet, self.next);
        self.next = self.next.wrapping_add(1);
        out.extend_from_slice(packet);
        if let Kind::Gre { checksum: Presence::Present, .. } = self.kind {
            let sum = internet_checksum(&out);
            out[4..6].copy_from_slice(&sum.to_be_bytes());
        }
        let counter = match self.socket.send(&out) {
            Ok(_) => &self.seen.sent,
            Err(_) => &self.seen.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn receive(&self, packet: &[u8]) {
        // A raw IPv4 socket hands over the IP header, an IPv6 one does not.
        let gre = if self.family.is_ipv4() {
            let length = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
            self.seen.outer_tos.store(packet.get(1).copied().unwrap_or(0).into(), Ordering::Relaxed);
            packet.get(length..).unwrap_or(&[])
        } else {
            packet
        };
        match parse(self.kind, gre) {
            Parsed::Ours { payload, sequenced } => {
                self.seen.received.fetch_add(1, Ordering::Relaxed);
                self.seen.sequenced.fetch_add(u64::from(sequenced), Ordering::Relaxed);
                self.tap.send(payload);
            }
            Parsed::OfAnother => {}
            Parsed::Wrong => {
                self.seen.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const BRIDGED: u16 = 0x6558;

/// The GRE header before a packet, its checksum still zero.
fn header(kind: Kind, packet: &[u8], number: u32) -> Vec<u8> {
    let ip = if packet.first().is_some_and(|first| first >> 4 == 6) { 0x86dd } else { 0x0800 };
    let (protocol, key, checksum, sequence) = match kind {
        Kind::Gre { key, checksum, sequence } => (ip, key, checksum, sequence),
        Kind::Nvgre { vsid } => (BRIDGED, Some(vsid << 8), Presence::Absent, Presence::Absent),
    };
    let mut flags = 0;
    let mut options = Vec::with_capacity(12 + packet.len());
    if checksum == Presence::Present {
        flags |= CHECKSUM;
        options.extend([0; 4]);
    }
    if let Some(key) = key {
        flags |= KEY;
        options.extend(key.to_be_bytes());
    }
    if sequence == Presence::Present {
        flags |= SEQUENCE;
        options.extend(number.to_be_bytes());
    }
    let mut header = Vec::with_capacity(16 + packet.len());
    header.extend(flags.to_be_bytes());
    header.extend(protocol.to_be_bytes());
    header.extend(options);
    header
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed<'a> {
    Ours { payload: &'a [u8], sequenced: bool },
    OfAnother,
    Wrong,
}

fn parse(kind: Kind, gre: &[u8]) -> Parsed<'_> {
    let word = |at: usize| Some(u32::from_be_bytes(gre.get(at..at + 4)?.try_into().ok()?));
    let Some(first) = word(0) else { return Parsed::Wrong };
    let (flags, protocol) = ((first >> 16) as u16, first as u16);
    let mut at = 4;
    if flags & CHECKSUM != 0 {
        at += 4;
    }
    let key = if flags & KEY != 0 {
        at += 4;
        let Some(key) = word(at - 4) else { return Parsed::Wrong };
        Some(key)
    } else {
        None
    };
    let sequenced = flags & SEQUENCE != 0;
    if sequenced {
        at += 4;
    }
    let ours = match kind {
        Kind::Gre { key: wanted, .. } => protocol != BRIDGED && key == wanted,
        Kind::Nvgre { vsid } => protocol == BRIDGED && key.map(|key| key >> 8) == Some(vsid),
    };
    if !ours {
        return Parsed::OfAnother;
    }
    let known = flags & !(CHECKSUM | KEY | SEQUENCE) == 0 && matches!(protocol, 0x0800 | 0x86dd | BRIDGED);
    let intact = flags & CHECKSUM == 0 || internet_checksum(gre) == 0;
    match gre.get(at..) {
        Some(payload) if known && intact => Parsed::Ours { payload, sequenced },
        _ => Parsed::Wrong,
    }
}

/// The internet checksum (RFC 1071).
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &[u8] = &[0x45, 1, 2, 3, 4, 5, 6];

    #[test]
    fn what_one_end_sends_the_other_reads() {
        for key in [None, Some(0), Some(100)] {
            for sequence in [Presence::Absent, Presence::Present] {
                let kind = Kind::Gre { key, checksum: Presence::Absent, sequence };
                let mut gre = header(kind, PACKET, 7);
                gre.extend(PACKET);
                let sequenced = sequence == Presence::Present;
                assert_eq!(parse(kind, &gre), Parsed::Ours { payload: PACKET, sequenced });
                assert_eq!(parse(Kind::gre(Some(101)), &gre), Parsed::OfAnother);
            }
        }
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let kind = Kind::Gre { key: Some(1), checksum: Presence::Present, sequence: Presence::Absent };
        let mut gre = header(kind, PACKET, 0);
        gre.extend(PACKET);
        let sum = internet_checksum(&gre).to_be_bytes();
        gre[4..6].copy_from_slice(&sum);
        assert!(matches!(parse(kind, &gre), Parsed::Ours { .. }));
        gre[15] ^= 1;
        assert_eq!(parse(kind, &gre), Parsed::Wrong);
    }
}
