//! Network namespaces with sessions in them, and the sockets that hear those.

use super::socket;
use crate::net::netns::Netns;
use bfd::{Hops, Place};
use socket2::Socket;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What one socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hearing {
    /// The namespace.
    pub place: Place,
    /// The port.
    pub hops: Hops,
    /// The family.
    pub family: Family,
}

/// A session's way out and in.
#[derive(Debug)]
pub struct Way {
    /// Whose namespace.
    pub place: Place,
    /// What it sends from.
    pub sender: Socket,
    /// The number of the interface that it is bound to.
    pub interface: Option<u32>,
    /// What hears its neighbour.
    pub hearing: Hearing,
}

#[derive(Debug)]
struct Namespace {
    path: Option<PathBuf>,
    /// Device and inode: another namespace may get the same name.
    identity: (u64, u64),
    place: Place,
    ways: usize,
}

/// A socket that hears, shared with the task that waits for it.
#[derive(Debug)]
pub struct Receiver {
    /// The socket.
    pub socket: UdpSocket,
    /// Nobody listens to it any more.
    pub closed: Notify,
}

/// A socket that somebody has to wait for.
pub type Fresh = (Hearing, Rc<Receiver>);

/// All namespaces with sessions in them.
#[derive(Debug, Default)]
pub struct Places {
    namespaces: Vec<Namespace>,
    receivers: HashMap<Hearing, (Rc<Receiver>, usize)>,
    last: u32,
}

impl Places {
    /// Opens the sockets of a session. A receiver that is new is given too: somebody has to wait for it.
    ///
    /// # Errors
    /// There is no such namespace, or the kernel refuses; the error says what.
    pub fn open(
        &mut self,
        path: Option<&Path>,
        hops: Hops,
        local: IpAddr,
        interface: Option<&str>,
    ) -> Result<(Way, Option<Fresh>), String> {
        let namespace = match path {
            None => Netns::current().map_err(|error| format!("cannot tell the own namespace: {error}"))?,
            Some(path) => Netns::open(path).map_err(|error| format!("no namespace {}: {error}", path.display()))?,
        };
        let metadata = namespace.file().metadata().map_err(|error| error.to_string())?;
        let identity = (metadata.dev(), metadata.ino());
        let family = if local.is_ipv4() { Family::V4 } else { Family::V6 };
        let known = self.namespaces.iter().position(|it| it.path.as_deref() == path && it.identity == identity);
        let place = known.map_or(Place(self.last.wrapping_add(1)), |at| self.namespaces[at].place);
        let hearing = Hearing { place, hops, family };
        let hears = self.receivers.contains_key(&hearing);
        let opened = namespace.run(|| {
            let sender = socket::sender(local, interface)
                .map_err(|error| format!("cannot send from {local}{}: {error}", on(interface)))?;
            let receiver = (!hears).then(|| socket::receiver(hops, family)).transpose().map_err(|error| {
                let hint = if error.kind() == io::ErrorKind::AddrInUse { "; another BFD daemon has it" } else { "" };
                format!("cannot listen on UDP port {}: {error}{hint}", hops.port())
            })?;
            Ok::<_, String>((sender, receiver))
        });
        let ((sender, interface), receiver) =
            opened.map_err(|error| format!("cannot enter the namespace: {error}"))??;
        let receiver =
            receiver.map(|socket| UdpSocket::from_std(socket.into())).transpose().map_err(|error| error.to_string())?;
        let receiver = receiver.map(|socket| Rc::new(Receiver { socket, closed: Notify::new() }));
        if let Some(receiver) = &receiver {
            self.receivers.insert(hearing, (receiver.clone(), 0));
        }
        if let Some((_, users)) = self.receivers.get_mut(&hearing) {
            *users += 1;
        }
        match known {
            Some(at) => self.namespaces[at].ways += 1,
            None => {
                self.last = place.0;
                self.namespaces.push(Namespace { path: path.map(Path::to_owned), identity, place, ways: 1 });
            }
        }
        Ok((Way { place, sender, interface, hearing }, receiver.map(|receiver| (hearing, receiver))))
    }

    /// A session's sockets are not needed any more.
    pub fn close(&mut self, way: &Way) {
        if let Some((receiver, users)) = self.receivers.get_mut(&way.hearing) {
            *users -= 1;
            if *users == 0 {
                receiver.closed.notify_one();
                self.receivers.remove(&way.hearing);
            }
        }
        if let Some(at) = self.namespaces.iter().position(|it| it.place == way.place) {
            self.namespaces[at].ways -= 1;
            if self.namespaces[at].ways == 0 {
                self.namespaces.swap_remove(at);
            }
        }
    }

    /// Whether the name still leads to the namespace that a session's sockets are in.
    pub fn is_current(&self, way: &Way) -> bool {
        self.namespaces.iter().find(|it| it.place == way.place).is_some_and(|it| match &it.path {
            None => true,
            Some(path) => std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == it.identity),
        })
    }

    /// The socket with what it hears.
    pub fn receiver(&self, hearing: &Hearing) -> Option<Rc<Receiver>> {
        Some(self.receivers.get(hearing)?.0.clone())
    }
}

fn on(interface: Option<&str>) -> String {
    interface.map_or(String::new(), |name| format!(" on {name}"))
}
