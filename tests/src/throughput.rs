//! How much TCP carries between two machines.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

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

/// Ethernet's header, which an interface's counters have in them.
const ETHERNET: usize = 14;

/// Offers UDP at a steady rate, in IP packets of this length; gives the rate of IP in bits a second at which they arrive at the receiver's `eth0`
/// after the warm-up.
pub fn udp(
    from: &Node,
    to: &Node,
    at: IpAddr,
    (length, offered): (usize, f64),
    warm_up: Duration,
    duration: Duration,
) -> Result<f64> {
    // Nobody reads: what is over is dropped there, and nothing is refused.
    let sink = to.within_network(|| UdpSocket::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    let address = sink.local_addr()?;
    let any: IpAddr = if at.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    let source = from.within_network(|| UdpSocket::bind(SocketAddr::new(any, 0)))?;
    let payload = vec![0u8; length - if at.is_ipv4() { 28 } else { 48 }];
    let ending = AtomicBool::new(false);
    let arrived = || -> Result<(Instant, f64)> {
        let count = |name: &str| -> Result<usize> {
            Ok(std::fs::read_to_string(format!("/sys/class/net/eth0/statistics/{name}"))?.trim().parse()?)
        };
        let (now, bytes, packets) = (Instant::now(), count("rx_bytes")?, count("rx_packets")?);
        Ok((now, (bytes - packets * ETHERNET) as f64 * 8.0))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (start, mut sent) = (Instant::now(), 0.0);
            while !ending.load(Ordering::Relaxed) {
                while sent < start.elapsed().as_secs_f64() * offered {
                    // A full buffer on the way is a drop.
                    let _ = source.send_to(&payload, address);
                    sent += length as f64 * 8.0;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let measured = to.within(|| -> Result<f64> {
            std::thread::sleep(warm_up);
            let (start, before) = arrived()?;
            std::thread::sleep(duration);
            let (end, after) = arrived()?;
            ensure!(after > before, "nothing arrives");
            Ok((after - before) / (end - start).as_secs_f64())
        });
        ending.store(true, Ordering::Relaxed);
        measured
    })
}
