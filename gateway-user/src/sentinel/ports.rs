//! UDP sockets on one's own addresses, each bound to the port that has the address: what leaves by another would say nothing of this one.

use seat::watch::Side;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// Class selector 6, as for all that controls a network (RFC 4594).
const CLASS: u32 = 0xc0;
/// What datagrams wait in while the process does not run.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A socket on one side.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    address: SocketAddr,
    interface: Option<String>,
    /// Nobody listens to it any more.
    pub closed: Notify,
}

impl Port {
    /// Opens a socket.
    ///
    /// # Errors
    /// The kernel refuses; most likely somebody else has the UDP port.
    pub fn open(address: IpAddr, port: u16, interfaces: &Interfaces) -> io::Result<Rc<Self>> {
        let address = SocketAddr::new(address, port);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let interface = interfaces.of(address.ip()).map(str::to_owned);
        if let Some(interface) = &interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        if address.is_ipv4() {
            socket.set_tos_v4(CLASS)?;
            socket.set_freebind_v4(true)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(CLASS)?;
            socket.set_freebind_v6(true)?;
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Rc::new(Self { socket, address, interface, closed: Notify::new() }))
    }

    /// Whether the address is where it was when the socket was opened.
    pub fn is_current(&self, address: IpAddr, interfaces: &Interfaces) -> bool {
        self.address.ip() == address && self.interface.as_deref() == interfaces.of(address)
    }

    /// Until something is there to be received.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Sends, or does not: what is lost is sent again in time.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) {
        if let Err(error) = self.send_now(datagram, to) {
            tracing::trace!(%error, %to, "not sent");
        }
    }

    fn send_now(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = socket2::SockAddr::from(to);
        // Past tokio, which would wait until it has been told that there is room.
        socket2::SockRef::from(&self.socket).send_to_with_flags(datagram, &to, libc::MSG_DONTWAIT).map(drop)
    }

    /// The next datagram, if one is there: its length. An error that tells of an earlier datagram counts as one without bytes.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // SAFETY: the buffer lives through the call, with its length.
        let length = unsafe {
            libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
        };
        if let Ok(length) = usize::try_from(length) {
            return Some(length);
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock => {
                // It was read without tokio, which believes that there is more until it is told.
                let is_empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = self.socket.try_io(tokio::io::Interest::READABLE, is_empty);
                None
            }
            _ => Some(0),
        }
    }
}

/// Which interface has which address.
#[derive(Debug, Default)]
pub struct Interfaces(BTreeMap<IpAddr, String>);

impl Interfaces {
    /// As they are now. The kernel is asked for all links and waits for whoever changes any: not where a probe is waited for.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn now() -> io::Result<Self> {
        let entries = nix::ifaddrs::getifaddrs()?;
        let with_address = entries.filter_map(|entry| {
            let has = entry.address.as_ref()?;
            let v4 = has.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            let has = v4.or_else(|| has.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))?;
            (!has.is_loopback()).then_some((has, entry.interface_name))
        });
        Ok(Self(with_address.collect()))
    }

    fn of(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(String::as_str)
    }
}

/// The sockets on both sides for one UDP port.
#[derive(Debug, Default)]
pub struct Ports {
    fabric: Option<Rc<Port>>,
    site: Option<Rc<Port>>,
}

impl Ports {
    /// The socket on a side.
    pub const fn at(&self, side: Side) -> Option<&Rc<Port>> {
        match side {
            Side::Fabric => self.fabric.as_ref(),
            Side::Site => self.site.as_ref(),
        }
    }

    /// Has sockets on these addresses, as they are; gives those that somebody has to wait for from here on.
    pub fn want(
        &mut self,
        fabric: IpAddr,
        site: Option<IpAddr>,
        port: u16,
        interfaces: &Interfaces,
    ) -> Vec<(Side, Rc<Port>)> {
        let mut fresh = Vec::new();
        for (side, slot, address) in
            [(Side::Fabric, &mut self.fabric, Some(fabric)), (Side::Site, &mut self.site, site)]
        {
            if slot.as_ref().is_some_and(|port| address.is_some_and(|address| port.is_current(address, interfaces))) {
                continue;
            }
            if let Some(old) = slot.take() {
                old.closed.notify_one();
            }
            let Some(address) = address else { continue };
            match Port::open(address, port, interfaces) {
                Ok(port) => {
                    *slot = Some(port.clone());
                    fresh.push((side, port));
                }
                Err(error) => {
                    tracing::warn!(%error, %address, port, "cannot open a socket there; it is tried again in a second");
                }
            }
        }
        fresh
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for port in [&self.fabric, &self.site].into_iter().flatten() {
            port.closed.notify_one();
        }
    }
}
