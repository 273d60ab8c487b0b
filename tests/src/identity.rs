//! Who answers at an address: machines of the lab say their name by UDP, so that tenants with the same addresses are told apart.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::node::Node;
use crate::wait::readable;

const PORT: u16 = 7;

/// The answering of one machine, at some of its addresses.
#[derive(Debug)]
pub struct Identity {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Identity {
    /// Answers with the machine's name at these two addresses.
    pub fn new(node: &Node, addresses: [IpAddr; 2]) -> Result<Self> {
        let open = |address| -> Result<UdpSocket> {
            let socket = UdpSocket::bind(SocketAddr::new(address, PORT))
                .with_context(|| format!("cannot listen at {address}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = node
            .within_network(|| Ok::<_, anyhow::Error>([open(addresses[0])?, open(addresses[1])?]))
            .with_context(|| format!("on {}", node.name()))?;
        let ending = Arc::<AtomicBool>::default();
        let (until, name) = (Arc::clone(&ending), node.name().to_owned());
        let thread = std::thread::Builder::new().name("identity".to_owned()).spawn(move || {
            let mut question = [0u8; 2048];
            while !until.load(Ordering::Relaxed) {
                readable([sockets[0].as_fd(), sockets[1].as_fd()], Duration::from_millis(50));
                for socket in &sockets {
                    while let Ok((length, from)) = socket.recv_from(&mut question) {
                        // An answer that cannot be sent is like one that was lost.
                        let _ = socket.send_to(&[&question[..length.min(8)], name.as_bytes()].concat(), from);
                    }
                }
            }
        })?;
        Ok(Self { ending, thread: Some(thread) })
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// What one machine hears when it asks at an address who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The name of the machine that answered.
    pub name: String,
    /// How long it took.
    pub after: Duration,
}

/// Asks at an address who is there. The question is repeated every 100 ms until the time is up.
pub fn who_is_at(asker: &Node, from: Option<IpAddr>, address: IpAddr, patience: Duration) -> Result<Option<Heard>> {
    let unspecified = if address.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    let socket = asker.within_network(|| -> Result<UdpSocket> {
        let socket = UdpSocket::bind(SocketAddr::new(from.unwrap_or(unspecified), 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let start = Instant::now();
    for number in 0u64.. {
        let asked = Instant::now();
        // No route, or an earlier ICMP error: like a lost question.
        let _ = socket.send_to(&number.to_be_bytes(), SocketAddr::new(address, PORT));
        while asked.elapsed() < Duration::from_millis(100) {
            readable([socket.as_fd()], Duration::from_millis(100).saturating_sub(asked.elapsed()));
            let mut answer = [0u8; 256];
            if let Ok((length, _)) = socket.recv_from(&mut answer)
                && length >= 8
            {
                // To whichever of the questions: the socket is its own.
                let name = String::from_utf8_lossy(&answer[8..length]).into_owned();
                return Ok(Some(Heard { name, after: asked.elapsed() }));
            }
        }
        if start.elapsed() >= patience {
            break;
        }
    }
    Ok(None)
}
