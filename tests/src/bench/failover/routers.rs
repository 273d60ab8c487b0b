//! The sites' routers on their VLANs: one program answers ARP and neighbour discovery for all of them, since a kernel's interface for each
//! would cost the machine more than what is measured.

use super::estate::{END_MAC, SITE, VLAN_ROUTERS};
use crate::frame::{Mac, arp_reply, bytes, ether, icmp6, ipv6, vlan};
use crate::frame_socket::FrameSocket;
use crate::node::Node;
use crate::precedence::run_first;
use crate::wait::readable;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// All routers; they are gone when this is dropped.
#[derive(Debug)]
pub struct Routers {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Routers {
    /// Answers from now on.
    pub fn new(ends: &Node) -> Result<Self> {
        let wire = FrameSocket::open(ends, SITE)?;
        let routers: (Ipv4Addr, Ipv6Addr) = (VLAN_ROUTERS[0].parse()?, VLAN_ROUTERS[1].parse()?);
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = std::thread::Builder::new().name("routers".into()).spawn(move || {
            run_first();
            while !told.load(Ordering::Relaxed) {
                readable([wire.as_fd()], Duration::from_millis(50));
                while let Ok(Some(frame)) = wire.receive() {
                    if let Some(answer) = answer(&frame, routers) {
                        // What the wire does not take is asked for again.
                        let _ = wire.send(&answer);
                    }
                }
            }
        });
        Ok(Self { ended, thread: Some(thread.context("no thread for the sites' routers")?) })
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

/// What a router says to a tagged frame: who asks for it by ARP (RFC 826) or neighbour discovery (RFC 4861) is told.
fn answer(frame: &[u8], (v4, v6): (Ipv4Addr, Ipv6Addr)) -> Option<Vec<u8>> {
    let array = |at: usize| -> Option<[u8; 6]> { frame.get(at..at + 6)?.try_into().ok() };
    let asker = Mac(array(6)?);
    if frame.get(12..14)? != [0x81, 0x00] {
        return None;
    }
    let tag = u16::from_be_bytes(frame.get(14..16)?.try_into().ok()?) & 0xfff;
    let around = ether(asker, END_MAC) / vlan(tag);
    let packet = frame.get(18..)?;
    match frame.get(16..18)? {
        [0x08, 0x06] => {
            let asks = packet.get(6..8)? == [0, 1] && packet.get(24..28)? == v4.octets();
            let sender: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
            asks.then(|| (around / arp_reply(END_MAC, v4, asker, Ipv4Addr::from(sender))).build())
        }
        [0x86, 0xdd] => {
            const SOLICITATION: u8 = 135;
            let asks = packet.get(6) == Some(&58)
                && packet.get(40) == Some(&SOLICITATION)
                && packet.get(48..64)? == v6.octets();
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let mut told = v6.octets().to_vec();
            told.extend([2, 1]);
            told.extend(END_MAC.0);
            // Router, solicited, override.
            let header = ipv6(v6, Ipv6Addr::from(source)).hops(255) / icmp6(136, 0, 0xe000_0000);
            asks.then(|| (around / header / bytes(told)).build())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Stack, arp_request};

    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn asked(question: impl Into<Stack>) -> Option<Vec<u8>> {
        let frame = ether(Mac::BROADCAST, ASKER) / vlan(100) / question.into();
        answer(&frame.build(), ("172.16.0.2".parse().ok()?, "fd16::2".parse().ok()?))
    }

    #[test]
    fn routers_answer_for_their_own_addresses_alone() {
        let reply = asked(arp_request(ASKER, "172.16.0.1", "172.16.0.2")).expect("an answer");
        let right = ether(ASKER, END_MAC) / vlan(100) / arp_reply(END_MAC, "172.16.0.2", ASKER, "172.16.0.1");
        assert_eq!(reply, right.build());
        assert_eq!(asked(arp_request(ASKER, "172.16.0.1", "172.16.0.3")), None);
        let solicits = |target: &str| {
            let target: Ipv6Addr = target.parse().expect("an address");
            asked(ipv6("fd16::1", "fd16::2").hops(255) / icmp6(135, 0, 0) / bytes(target.octets().to_vec()))
        };
        let reply = solicits("fd16::2").expect("an answer");
        assert_eq!(reply[..6], ASKER.0);
        assert_eq!(reply[58], 136);
        assert_eq!(solicits("fd16::3"), None);
    }
}
