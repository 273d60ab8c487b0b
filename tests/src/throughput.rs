//! How much TCP carries between two machines.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::node::Node;

/// Sends by one TCP connection for a time; gives the payload's rate in bits a second, as the receiver saw it from its first byte to its last.
pub fn tcp(from: &Node, to: &Node, at: IpAddr, duration: Duration) -> Result<f64> {
    tcp_after(from, to, at, Duration::ZERO, duration)
}

/// The same after a time that does not count, in which the flow finds its rate and burst allowances are used up.
pub fn tcp_after(from: &Node, to: &Node, at: IpAddr, warm_up: Duration, duration: Duration) -> Result<f64> {
    let listener = to.within_network(|| TcpListener::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    transfer(from, listener, warm_up, duration)
}

/// The same to a listener that is there already.
pub fn into(from: &Node, listener: TcpListener, duration: Duration) -> Result<f64> {
    transfer(from, listener, Duration::ZERO, duration)
}

fn transfer(from: &Node, listener: TcpListener, warm_up: Duration, duration: Duration) -> Result<f64> {
    let address = listener.local_addr()?;
    let mut stream = from
        .within_network(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
        .with_context(|| format!("{} cannot connect to {address}", from.name()))?;
    // Connected, so there is one to accept.
    let receiver = std::thread::spawn(move || -> std::io::Result<f64> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut buffer = vec![0u8; 256 << 10];
        // What is there before the clock starts does not count.
        stream.read_exact(&mut buffer[..1])?;
        let (mut start, mut received, mut warm) = (Instant::now(), 0, warm_up.is_zero());
        // The sender's last moments are its buffer's, so the clock stops with the time, too.
        while !warm || start.elapsed() < duration {
            match stream.read(&mut buffer)? {
                0 => break,
                length => received += length,
            }
            if !warm && start.elapsed() >= warm_up {
                (start, received, warm) = (Instant::now(), 0, true);
            }
        }
        let taken = start.elapsed();
        // Until the sender ends, too.
        while stream.read(&mut buffer)? > 0 {}
        Ok(received as f64 * 8.0 / taken.as_secs_f64().max(1e-9))
    });
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let buffer = vec![0u8; 128 << 10];
    let start = Instant::now();
    while start.elapsed() < warm_up + duration {
        stream.write_all(&buffer)?;
    }
    drop(stream);
    Ok(receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??)
}
