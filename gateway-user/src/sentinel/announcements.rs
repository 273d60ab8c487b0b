//! What neighbours are told when a seat is taken: gratuitous ARP as requests (RFC 5227, 3), and unsolicited neighbour advertisements with
//! the override flag (RFC 4861, 7.2.6), built beforehand.
//!
//! They are sent at once, all of them; then again after each of [`AGAIN`], since a frame may be lost; and every [`REFRESH`] for as long as
//! the seat is held, so that no switch forgets where its MAC address is.

use super::configuration::Announcement;
use seat::Moment;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// After what time all are sent again: four more copies.
pub const AGAIN: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(250), Duration::from_millis(1000)];
/// How often a holder says it again.
pub const REFRESH: Duration = Duration::from_secs(30);
/// Frames that the kernel is handed at once.
const BATCH: usize = 64;

/// One seat's frames, by port, and when they are to be sent.
#[derive(Debug, Default)]
pub struct Announcements {
    frames: BTreeMap<u32, Vec<Vec<u8>>>,
    /// When the next copy is due, and how many there were.
    due: Option<(Moment, usize)>,
}

impl Announcements {
    /// Frames for these.
    pub fn new(announcements: &[Announcement]) -> Self {
        let mut frames: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for announcement in announcements {
            frames.entry(announcement.ifindex).or_default().push(frame(announcement));
        }
        Self { frames, due: None }
    }

    /// Takes the times over from those that were before.
    pub fn take_over(&mut self, before: &Self, now: Moment) {
        self.due = before.due;
        // What is new among them is not waited for until the next round.
        if before.due.is_some() && before.frames != self.frames {
            self.due = Some((now, 1));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.frames.values().map(Vec::len).sum()
    }

    /// Sends the first copies, and has the others follow.
    pub fn announce(&mut self, sender: &mut Sender, now: Moment) {
        self.send(sender);
        self.due = Some((now + AGAIN[0], 1));
    }

    /// Sends no more.
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// When [`Self::look`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        self.due.map(|(due, _)| due)
    }

    /// Sends another copy if it is time to.
    pub fn look(&mut self, sender: &mut Sender, now: Moment) {
        let Some((due, copies)) = self.due else { return };
        if now >= due {
            self.send(sender);
            self.due = Some((now + AGAIN.get(copies).copied().unwrap_or(REFRESH), copies + 1));
        }
    }

    fn send(&self, sender: &mut Sender) {
        for (ifindex, frames) in &self.frames {
            sender.send(*ifindex, frames);
        }
    }
}

/// Sends whole frames.
#[derive(Debug, Default)]
pub struct Sender {
    socket: Option<OwnedFd>,
}

impl Sender {
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

    fn send(&mut self, ifindex: u32, frames: &[Vec<u8>]) {
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
                        tracing::debug!(%error, ifindex, "an announcement was not sent");
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

/// The frame that says so.
fn frame(announcement: &Announcement) -> Vec<u8> {
    let mac = announcement.mac.octets();
    let tag = announcement.vlan.map(|vlan| [[0x81, 0x00], vlan.to_be_bytes()].concat()).unwrap_or_default();
    match announcement.address {
        IpAddr::V4(address) => [&[0xff; 6], mac.as_slice(), &tag, &[0x08, 0x06], &arp(mac, address)].concat(),
        IpAddr::V6(address) => {
            let group = [0x33, 0x33, 0, 0, 0, 1];
            [group.as_slice(), &mac, &tag, &[0x86, 0xdd], &advertisement(mac, address)].concat()
        }
    }
}

/// An ARP request for one's own address.
fn arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let address = address.octets();
    [&[0, 1, 8, 0, 6, 4, 0, 1], mac.as_slice(), &address, &[0; 6], &address].concat()
}

/// An unsolicited advertisement to all nodes.
fn advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let source = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let mut message = [&[136, 0, 0, 0, OVERRIDE, 0, 0, 0], source.as_slice(), &[2, 1], &mac].concat();
    let length = message.len() as u16;
    let pseudo = [source.as_slice(), &group, &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58], &message].concat();
    let sum = internet_checksum(&pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [&[0x60, 0, 0, 0], length.to_be_bytes().as_slice(), &[58, 255]].concat();
    [header.as_slice(), &source, &group, &message].concat()
}

/// RFC 1071, for an even number of bytes.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(address: &str, vlan: Option<u16>) -> Announcement {
        let (address, mac) = (address.parse().unwrap(), "02:00:00:00:00:07".parse().unwrap());
        Announcement { ifindex: 3, vlan, address, mac }
    }

    #[test]
    fn an_ipv4_address_is_announced_as_a_request_for_itself() {
        let frame = frame(&announcement("192.0.2.1", Some(100)));
        let expected = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 7, 0x81, 0, 0, 100, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 7, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn an_ipv6_address_is_advertised_to_all_with_override_and_a_right_checksum() {
        let frame = frame(&announcement("2001:db8::1", None));
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd]);
        let (header, message) = frame[14..].split_at(40);
        assert_eq!((header[6], header[7], message[0], message[4]), (58, 255, 136, 0x20));
        assert_eq!(message[24..], [2, 1, 2, 0, 0, 0, 0, 7]);
        let pseudo = [&header[8..40], &[0, 0, 0, 32, 0, 0, 0, 58], message].concat();
        assert_eq!(internet_checksum(&pseudo), 0, "a right one sums up to nothing");
    }

    #[test]
    fn copies_follow_and_then_refreshments_until_it_is_stopped() {
        let mut announcements = Announcements::new(&[announcement("192.0.2.1", None)]);
        let mut sender = Sender::default();
        let mut now = Moment(0);
        assert_eq!((announcements.count(), announcements.deadline()), (1, None));
        announcements.announce(&mut sender, now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = announcements.deadline().unwrap();
            waits.push(due.since(now));
            now = due;
            announcements.look(&mut sender, now);
        }
        assert_eq!(waits, [AGAIN.as_slice(), &[REFRESH; 2]].concat());
        announcements.stop();
        assert_eq!(announcements.deadline(), None);
    }
}
