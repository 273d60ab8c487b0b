//! Sockets of BGP sessions, made inside a tenant's compartment: how far their packets may come and go, and the passwords that sign them.

use crate::net::netns::Netns;
use bgp::session::{Authentication, Distance};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// BGP's port.
pub const PORT: u16 = 179;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// How long what was sent may stay without acknowledgement: as long as the usual hold time.
const UNACKNOWLEDGED: Duration = Duration::from_secs(90);
/// Internetwork control (RFC 4271 appendix E).
const CLASS: u32 = 0xc0;
/// The largest time to live.
const FULL: u8 = 255;

/// How the segments of a session are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Who is at the other end.
    pub remote: IpAddr,
    /// How segments are signed.
    pub authentication: Authentication,
    /// How far the other end may be.
    pub distance: Distance,
    /// Whether it is in our own AS, and so any number of hops away unless that is limited.
    pub internal: Internal,
}

/// Whether a neighbour is in our own AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internal {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl Security {
    /// The time to live of what is sent, and the least one of what is taken.
    fn hops(&self) -> (u8, u8) {
        match (self.distance, self.internal) {
            (Distance::Security(hops), _) => (FULL, FULL - (hops.max(1) - 1)),
            (Distance::SingleHop, Internal::No) => (1, 0),
            (Distance::MultiHop(hops), _) => (hops, 0),
            (Distance::SingleHop, Internal::Yes) => (FULL, 0),
        }
    }

    /// Sets a connection's times to live.
    pub fn limit(&self, socket: &impl AsRawFd) -> io::Result<()> {
        let (sent, least) = self.hops();
        limit(socket, self.remote, sent, least)
    }
}

/// A socket that listens for a tenant's neighbours of one family.
pub fn listen(namespace: &Netns, family: IpAddr) -> io::Result<Socket> {
    namespace.run(|| {
        let socket = open(family)?;
        socket.set_reuse_address(true)?;
        let any = match family {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => {
                socket.set_only_v6(true)?;
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            }
        };
        // Answers to a neighbour that insists on it must have come from next door; of others it is not known yet how far they may go.
        limit(&socket, family, FULL, 0)?;
        socket.bind(&SocketAddr::new(any, PORT).into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    })?
}

/// A socket that has begun to connect to a neighbour.
pub fn connect(
    namespace: &Netns,
    local: Option<IpAddr>,
    remote: SocketAddr,
    security: &Security,
) -> io::Result<Socket> {
    namespace.run(|| {
        let socket = open(remote.ip())?;
        security.limit(&socket)?;
        sign(&socket, security.remote, &security.authentication)?;
        if let Some(local) = local {
            socket.bind(&SocketAddr::new(local, 0).into())?;
        }
        match socket.connect(&remote.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            result => result?,
        }
        Ok(socket)
    })?
}

fn open(family: IpAddr) -> io::Result<Socket> {
    let (domain, class) = match family {
        IpAddr::V4(_) => (Domain::IPV4, (libc::IPPROTO_IP, libc::IP_TOS)),
        IpAddr::V6(_) => (Domain::IPV6, (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)),
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    set(&socket, class, &(CLASS as libc::c_int))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(socket)
}

fn limit(socket: &impl AsRawFd, family: IpAddr, sent: u8, least: u8) -> io::Result<()> {
    /// linux/in6.h
    const IPV6_MINHOPCOUNT: libc::c_int = 73;
    /// linux/in.h
    const IP_MINTTL: libc::c_int = 21;
    let (level, unicast, minimum) = match family {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL, IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, IPV6_MINHOPCOUNT),
    };
    set(socket, (level, unicast), &libc::c_int::from(sent))?;
    set(socket, (level, minimum), &libc::c_int::from(least))
}

/// linux/tcp.h: struct tcp_md5sig.
#[repr(C)]
struct Md5 {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: libc::c_int,
    key: [u8; 80],
}

/// Has the kernel sign what goes to an address and take nothing from there that is not signed so. On a listening socket this holds for the
/// connections that it takes from then on.
pub fn sign(socket: &impl AsRawFd, remote: IpAddr, authentication: &Authentication) -> io::Result<()> {
    match authentication {
        Authentication::None => Ok(()),
        Authentication::Md5(secret) => sign_md5(socket, remote, secret.expose()),
        Authentication::Ao(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel has no TCP-AO")),
    }
}

/// Takes segments from an address without a signature again.
pub fn forget_signature(socket: &impl AsRawFd, remote: IpAddr) -> io::Result<()> {
    match sign_md5(socket, remote, &[]) {
        // There was none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sign_md5(socket: &impl AsRawFd, remote: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.len() > 80 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the password is longer than TCP-MD5 takes"));
    }
    let address = SockAddr::from(SocketAddr::new(remote, 0));
    let mut option = Md5 {
        // SAFETY: all zero is a socket address of no family.
        address: unsafe { std::mem::zeroed() },
        flags: 0,
        prefix_len: 0,
        key_len: key.len() as u16,
        ifindex: 0,
        key: [0; 80],
    };
    // SAFETY: a socket address is no longer than what has room for any.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut option.address).cast::<u8>(),
            (address.len() as usize).min(size_of::<libc::sockaddr_storage>()),
        );
    }
    option.key[..key.len()].copy_from_slice(key);
    set(socket, (libc::IPPROTO_TCP, libc::TCP_MD5SIG), &option)
}

fn set<T>(socket: &impl AsRawFd, (level, name): (libc::c_int, libc::c_int), value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a value that lives on; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_sends_and_takes_as_far_as_its_distance_says() {
        let security = |distance, internal| Security {
            remote: [10, 2, 0, 1].into(),
            authentication: Authentication::None,
            distance,
            internal,
        };
        assert_eq!(security(Distance::SingleHop, Internal::No).hops(), (1, 0));
        assert_eq!(security(Distance::SingleHop, Internal::Yes).hops(), (255, 0));
        assert_eq!(security(Distance::MultiHop(4), Internal::No).hops(), (4, 0));
        assert_eq!(security(Distance::Security(1), Internal::No).hops(), (255, 255));
        assert_eq!(security(Distance::Security(3), Internal::Yes).hops(), (255, 253));
    }

    #[test]
    fn the_kernel_takes_a_password_and_its_absence() {
        for remote in [IpAddr::from([10, 2, 0, 1]), IpAddr::from([0xfd02, 0, 0, 0, 0, 0, 0, 1])] {
            let socket = open(remote).expect("a socket");
            let md5 = Authentication::Md5(bgp::session::Secret::new("correct horse"));
            sign(&socket, remote, &md5).expect("signed");
            forget_signature(&socket, remote).expect("forgotten");
            forget_signature(&socket, remote).expect("twice");
            limit(&socket, remote, 255, 254).expect("limited");
        }
    }
}
