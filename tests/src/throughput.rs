//! How much TCP carries between two machines.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::node::Node;

/// Sends by one TCP connection for a time; gives the payload's rate in bits a second, as the receiver saw it from its first byte to its last.
pub fn tcp(from: &Node, to: &Node, at: IpAddr, duration: Duration) -> Result<f64> {
    let listener = to.within_network(|| TcpListener::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    into(from, listener, duration)
}

/// The same with a listener that is there already.
pub fn into(from: &Node, listener: TcpListener, duration: Duration) -> Result<f64> {
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
        let (start, mut received) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                length => received += length,
            }
        }
        Ok(received as f64 * 8.0 / start.elapsed().as_secs_f64().max(1e-9))
    });
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let buffer = vec![0u8; 128 << 10];
    let start = Instant::now();
    while start.elapsed() < duration {
        stream.write_all(&buffer)?;
    }
    drop(stream);
    Ok(receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??)
}
