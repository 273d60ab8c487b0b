//! UDP sockets of BFD (RFC 5881, 4 and 5; RFC 5883, 5).

use super::places::Family;
use bfd::{FIRST_SOURCE_PORT, Hops, TTL};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Internetwork control (RFC 4594): what routers put first.
const CLASS: u32 = 0xc0;
/// Source ports that are tried before giving up.
const ATTEMPTS: usize = 200;
/// What packets wait in while the process does not run.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Any number.
pub fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter; a discriminator that is taken is drawn again.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// Opens a socket that hears all sessions of a namespace with that many hops. To be called inside the namespace.
///
/// # Errors
/// The kernel refuses, most likely since another BFD daemon listens there.
pub fn receiver(hops: Hops, family: Family) -> io::Result<Socket> {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    let any: IpAddr = if family == Family::V4 {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        Ipv6Addr::UNSPECIFIED.into()
    };
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SocketAddr::new(any, hops.port()).into())?;
    Ok(socket)
}

/// Opens a session's own socket to send from, with the interface's number if one is named. To be called inside the namespace. The address
/// need not be there yet.
///
/// # Errors
/// There is no such interface, or the kernel refuses.
pub fn sender(local: IpAddr, interface: Option<&str>) -> io::Result<(Socket, Option<u32>)> {
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(local, 0)), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    let index = interface.map(|name| {
        socket.bind_device(Some(name.as_bytes()))?;
        Ok::<_, io::Error>(nix::net::if_::if_nametoindex(name)?)
    });
    let index = index.transpose()?;
    if local.is_ipv4() {
        socket.set_ttl_v4(TTL.into())?;
        socket.set_tos_v4(CLASS)?;
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_unicast_hops_v6(TTL.into())?;
        socket.set_tclass_v6(CLASS)?;
        socket.set_freebind_v6(true)?;
    }
    // Nobody answers to that port.
    socket.set_recv_buffer_size(0)?;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let port = FIRST_SOURCE_PORT + (random() % u32::from(u16::MAX - FIRST_SOURCE_PORT)) as u16;
        match socket.bind(&address(local, port, index).into()) {
            Ok(()) => return Ok((socket, index)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// With the interface where the address means nothing without it.
pub fn address(ip: IpAddr, port: u16, interface: Option<u32>) -> SocketAddr {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, port, 0, interface.unwrap_or(0)).into(),
        ip => SocketAddr::new(ip, port),
    }
}

/// A datagram as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    /// How many bytes of the buffer.
    pub length: usize,
    /// Who sent it.
    pub from: IpAddr,
    /// Where to.
    pub to: IpAddr,
    /// The interface that it came in by.
    pub interface: u32,
    /// What is left of its TTL.
    pub ttl: u8,
}

/// The next datagram; `None` when there is none. One of which not all is known is passed over.
///
/// # Errors
/// The socket fails.
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    loop {
        let mut control = cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = match recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let length = message.bytes;
        let from = message.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        });
        let (mut to, mut ttl) = (None, None);
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    to = Some((IpAddr::V4(ip), info.ipi_ifindex.unsigned_abs()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    to = Some((IpAddr::V6(info.ipi6_addr.s6_addr.into()), info.ipi6_ifindex));
                }
                ControlMessageOwned::Ipv4Ttl(left) | ControlMessageOwned::Ipv6HopLimit(left) => {
                    ttl = u8::try_from(left).ok();
                }
                _ => {}
            }
        }
        if let (Some(from), Some((to, interface)), Some(ttl)) = (from, to, ttl) {
            return Ok(Some(Datagram { length, from, to, interface, ttl }));
        }
    }
}
