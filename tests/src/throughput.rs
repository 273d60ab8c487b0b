//! How much TCP carries between two machines, and load by TCP or UDP under which something else is measured.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::node::Node;
use crate::precedence::run_first;
use crate::wait::SOON;

/// Sends by one TCP connection for a time; gives the payload's rate in bits a second, as the receiver saw it from its first byte to its last.
pub fn tcp(from: &Node, to: &Node, at: IpAddr, duration: Duration) -> Result<f64> {
    let listener = to.within_network(|| TcpListener::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    let [mut sender, mut receiver] = connect(from, &listener)?;
    receiver.set_read_timeout(Some(SOON))?;
    sender.set_write_timeout(Some(SOON))?;
    let receiver = std::thread::spawn(move || -> std::io::Result<f64> {
        let mut buffer = vec![0u8; 256 << 10];
        // What is there before the clock starts does not count.
        receiver.read_exact(&mut buffer[..1])?;
        let (start, mut received) = (Instant::now(), 0);
        // The sender's last moments are its buffer's, so the clock stops with the time, too.
        while start.elapsed() < duration {
            match receiver.read(&mut buffer)? {
                0 => break,
                length => received += length,
            }
        }
        let taken = start.elapsed();
        // Until the sender ends, too.
        while receiver.read(&mut buffer)? > 0 {}
        Ok(received as f64 * 8.0 / taken.as_secs_f64().max(1e-9))
    });
    let buffer = vec![0u8; 128 << 10];
    let start = Instant::now();
    while start.elapsed() < duration {
        sender.write_all(&buffer)?;
    }
    drop(sender);
    Ok(receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??)
}

/// Sends so many bytes by one TCP connection, and fails unless all arrive, in whatever time.
pub fn carry(from: &Node, to: &Node, at: IpAddr, bytes: usize) -> Result<()> {
    let listener = to.within_network(|| TcpListener::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    carry_to(from, listener, bytes)
}

/// The same to a listener that is there already.
pub fn carry_to(from: &Node, listener: TcpListener, bytes: usize) -> Result<()> {
    let [mut sender, mut receiver] = connect(from, &listener)?;
    for stream in [&sender, &receiver] {
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
    }
    let arrived = std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&vec![0u8; bytes]));
        let (mut arrived, mut buffer) = (0, vec![0u8; 256 << 10]);
        while let Ok(length @ 1..) = receiver.read(&mut buffer) {
            arrived += length;
        }
        arrived
    });
    ensure!(arrived == bytes, "{arrived} of {bytes} bytes have arrived");
    Ok(())
}

/// Both ends of a connection.
fn connect(from: &Node, listener: &TcpListener) -> Result<[TcpStream; 2]> {
    let address = listener.local_addr()?;
    let sender = from
        .within_network(|| TcpStream::connect_timeout(&address, SOON))
        .with_context(|| format!("{} cannot connect to {address}", from.name()))?;
    // Connected, so there is one to accept.
    Ok([sender, listener.accept()?.0])
}

/// Runs something while one TCP connection sends as fast as it is let.
pub fn under_tcp<T>(from: &Node, to: &Node, at: IpAddr, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let listener = to.within_network(|| TcpListener::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    let [mut sender, mut receiver] = connect(from, &listener)?;
    let ends = [sender.try_clone()?, receiver.try_clone()?];
    std::thread::scope(|scope| {
        // Both go on until the connection is shut down below.
        scope.spawn(move || {
            run_first();
            let buffer = vec![0u8; 128 << 10];
            while sender.write_all(&buffer).is_ok() {}
        });
        scope.spawn(move || {
            run_first();
            let mut buffer = vec![0u8; 256 << 10];
            while receiver.read(&mut buffer).is_ok_and(|length| length > 0) {}
        });
        let outcome = action();
        for end in ends {
            // Fails only where there is nothing to shut down any more.
            let _ = end.shutdown(Shutdown::Both);
        }
        outcome
    })
}

/// Runs something while UDP is offered at a rate in bits a second, in IP packets of this length.
pub fn under_udp<T>(
    from: &Node,
    to: &Node,
    at: IpAddr,
    (length, offered): (usize, f64),
    action: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // Nobody reads: what is over is dropped there, and nothing is refused.
    let sink = to.within_network(|| UdpSocket::bind(SocketAddr::new(at, 0))).context("cannot listen")?;
    let address = sink.local_addr()?;
    let any: IpAddr = if at.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    let source = from.within_network(|| UdpSocket::bind(SocketAddr::new(any, 0)))?;
    let payload = vec![0u8; length - if at.is_ipv4() { 28 } else { 48 }];
    let ending = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (start, mut sent) = (Instant::now(), 0.0);
            while !ending.load(Ordering::Relaxed) {
                while sent < start.elapsed().as_secs_f64() * offered && !ending.load(Ordering::Relaxed) {
                    // A full buffer on the way is a drop.
                    let _ = source.send_to(&payload, address);
                    sent += length as f64 * 8.0;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let outcome = action();
        ending.store(true, Ordering::Relaxed);
        outcome
    })
}
