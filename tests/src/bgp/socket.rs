//! The router's sockets.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use bgp::session::{Authentication, Neighbor};
use bgp::speaker::Config;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A socket that listens at BGP's port, with the passwords of all neighbours of its family.
pub fn listen(address: IpAddr, config: &Config) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    for neighbor in config.neighbors.values().map(|neighbor| &neighbor.session) {
        if neighbor.address.is_ipv6() == address.is_ipv6() {
            sign(&socket, neighbor)?;
        }
    }
    socket.bind(&SocketAddr::new(address, 179).into()).context("cannot bind BGP's port")?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket that has begun to connect.
pub fn connect(neighbor: &Neighbor, local: Option<IpAddr>, remote: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    sign(&socket, neighbor)?;
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error.into()),
        _ => Ok(socket),
    }
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5 {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix: u8,
    length: u16,
    interface: libc::c_int,
    key: [u8; 80],
}

fn sign(socket: &Socket, neighbor: &Neighbor) -> Result<()> {
    let Authentication::Md5(secret) = &neighbor.authentication else { return Ok(()) };
    let address = SockAddr::from(SocketAddr::new(neighbor.address, 0));
    let mut key = [0; 80];
    let secret = secret.expose();
    key.get_mut(..secret.len()).context("the password is longer than 80 octets")?.copy_from_slice(secret);
    let length = u16::try_from(secret.len())?;
    // SAFETY: all zero is a socket address of no family.
    let mut option = Md5 { address: unsafe { std::mem::zeroed() }, flags: 0, prefix: 0, length, interface: 0, key };
    // SAFETY: a socket address fits into the storage for any, and the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut option.address).cast::<u8>(),
            address.len() as usize,
        );
    }
    // SAFETY: pointer and length are those of a value that lives through the call.
    nix::errno::Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            (&raw const option).cast(),
            size_of::<Md5>() as libc::socklen_t,
        )
    })
    .context("the kernel does not take the password")?;
    Ok(())
}
