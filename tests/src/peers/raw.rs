//! A neighbour that sends whatever it is told, well formed or not, and reads only when it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::PATIENCE;
use crate::node::Node;
use crate::wait::{SOON, until};

const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

/// A connection to a BGP speaker.
#[derive(Debug)]
pub struct Raw {
    node: Arc<Node>,
    stream: TcpStream,
    asn: u32,
}

/// A path attribute: flags, type, value.
pub type Attribute = (u8, u8, Vec<u8>);

/// An UPDATE about IPv4 in its plain form.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Withdrawn prefixes, as they are on the wire.
    pub withdrawn: Vec<u8>,
    /// The attributes, in their order.
    pub attributes: Vec<Attribute>,
    /// Announced prefixes, as they are on the wire.
    pub prefixes: Vec<u8>,
}

impl Update {
    /// The body of the message.
    pub fn body(&self) -> Vec<u8> {
        let mut attributes = Vec::new();
        for (flags, kind, value) in &self.attributes {
            // The extended length is for all.
            attributes.extend([flags | 0x10, *kind]);
            attributes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
            attributes.extend(value);
        }
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&length(&self.withdrawn), &self.withdrawn[..], &length(&attributes), &attributes, &self.prefixes].concat()
    }

    /// A prefix as it is on the wire.
    pub fn prefix(address: Ipv4Addr, length: u8) -> Vec<u8> {
        let octets = usize::from(length.div_ceil(8)).min(4);
        [&[length], &address.octets()[..octets]].concat()
    }
}

impl Raw {
    /// Connects from one of a machine's addresses. What does not listen yet is waited for.
    pub fn connect(node: &Arc<Node>, own: IpAddr, to: IpAddr, asn: u32) -> Result<Self> {
        let stream = until(SOON, &format!("a connection of {own} to {to}"), || dial(node, own, to).ok())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { node: Arc::clone(node), stream, asn })
    }

    /// Connects, and goes on until there is a session: the other end may not want one yet.
    pub fn establish(node: &Arc<Node>, own: IpAddr, to: IpAddr, asn: u32) -> Result<Self> {
        until(PATIENCE, &format!("a session of {own}"), || {
            let mut raw = Self::connect(node, own, to, asn).ok()?;
            raw.open(90).ok()?;
            raw.awaits(OPEN).ok()?;
            raw.send(KEEPALIVE, &[]).ok()?;
            raw.awaits(KEEPALIVE).ok()?;
            Some(raw)
        })
    }

    /// Its machine.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Sends an OPEN: IPv4, AS numbers of four octets.
    pub fn open(&mut self, hold: u16) -> Result<()> {
        self.open_as(4, self.asn, hold)
    }

    /// The same with a version and an AS of one's own.
    pub fn open_as(&mut self, version: u8, asn: u32, hold: u16) -> Result<()> {
        let two = u16::try_from(asn).unwrap_or(23456).to_be_bytes();
        let id = match self.stream.local_addr()?.ip() {
            IpAddr::V4(own) => own.octets(),
            IpAddr::V6(_) => [192, 0, 2, 99],
        };
        let mut capabilities = vec![1, 4, 0, 1, 0, 1, 65, 4];
        capabilities.extend(asn.to_be_bytes());
        let length = capabilities.len() as u8;
        let fixed = [&[version], &two[..], &hold.to_be_bytes(), &id, &[length + 2, 2, length]].concat();
        self.send(OPEN, &[fixed, capabilities].concat())
    }

    /// The attributes of a good route.
    pub fn attributes(&self) -> Vec<Attribute> {
        let next_hop = match self.stream.local_addr() {
            Ok(SocketAddr::V4(own)) => own.ip().octets(),
            _ => [192, 0, 2, 99],
        };
        let path = [&[2, 1], &self.asn.to_be_bytes()[..]].concat();
        vec![(0x40, 1, vec![0]), (0x40, 2, path), (0x40, 3, next_hop.to_vec())]
    }

    /// Announces a prefix by a good UPDATE.
    pub fn announce(&mut self, address: Ipv4Addr, length: u8) -> Result<()> {
        let prefixes = Update::prefix(address, length);
        self.update(&Update { attributes: self.attributes(), prefixes, ..Update::default() })
    }

    /// Sends an UPDATE.
    pub fn update(&mut self, update: &Update) -> Result<()> {
        self.send(UPDATE, &update.body())
    }

    /// Sends a message.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let length = u16::try_from(body.len() + 19).context("a message that is too long")?;
        self.bytes(&[&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat())
    }

    /// Sends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads the next message: its type and body.
    pub fn read(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut header = [0; 19];
        self.stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length.checked_sub(19).context("a message that is too short")?];
        self.stream.read_exact(&mut body)?;
        Ok((header[18], body))
    }

    /// Reads until a message of a type; fails if the other end says why there is none.
    fn awaits(&mut self, wanted: u8) -> Result<Vec<u8>> {
        loop {
            match self.read()? {
                (kind, body) if kind == wanted => return Ok(body),
                (NOTIFICATION, body) => bail!("a NOTIFICATION: {body:?}"),
                _ => {}
            }
        }
    }

    /// Reads until the other end says why it ends the session: code and subcode.
    pub fn notification(&mut self) -> Result<(u8, u8)> {
        let body = self.awaits_notification()?;
        ensure!(body.len() >= 2, "a NOTIFICATION of {} octets", body.len());
        Ok((body[0], body[1]))
    }

    fn awaits_notification(&mut self) -> Result<Vec<u8>> {
        loop {
            let (kind, body) = self.read().context("no NOTIFICATION came")?;
            if kind == NOTIFICATION {
                return Ok(body);
            }
        }
    }
}

fn dial(node: &Node, own: IpAddr, to: IpAddr) -> std::io::Result<TcpStream> {
    node.within_network(|| {
        let domain = if own.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(own, 0).into())?;
        socket.connect_timeout(&SocketAddr::new(to, 179).into(), Duration::from_secs(10))?;
        let stream: TcpStream = socket.into();
        match stream.take_error()? {
            Some(error) => Err(error),
            None if stream.peer_addr().is_err() => Err(ErrorKind::NotConnected.into()),
            None => Ok(stream),
        }
    })
}
