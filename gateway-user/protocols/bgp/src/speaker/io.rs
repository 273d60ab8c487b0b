//! What a speaker is told and what it wants done.

use super::config::{Config, NeighborName};
use crate::number::Family;
use crate::session::{Close, ConnectionId, Event};
use bytes::Bytes;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Something that a speaker is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// The configuration has changed: only what differs is touched, and only sessions that must be are reset.
    Configure(Config),
    /// A connection that was asked for is open.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
        /// The neighbour's.
        remote: SocketAddr,
    },
    /// A connection that was asked for could not be opened.
    ConnectFailed {
        /// Which.
        connection: ConnectionId,
    },
    /// Somebody has connected to us. Where nobody is expected from there, [`Output::Close`] is the answer.
    Accepted {
        /// The owner of the sockets numbers it: [`ConnectionId::Incoming`].
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
        /// The neighbour's.
        remote: SocketAddr,
    },
    /// A connection is gone: closed by the other end, or by an error.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// Bytes have come.
    Received {
        /// By which connection.
        connection: ConnectionId,
        /// As they came; any number of messages or parts of them.
        bytes: &'a [u8],
    },
    /// Bytes of [`Output::Send`] have been given to the kernel: there is room for as many more.
    Sent {
        /// By which connection.
        connection: ConnectionId,
        /// How many.
        count: usize,
    },
    /// [`next_deadline`](super::Speaker::next_deadline) has come. Any other input does as well.
    Timer,
    /// What BFD says of a neighbour.
    Bfd {
        /// Of which.
        neighbor: NeighborName,
        /// What.
        state: Bfd,
    },
    /// Whether an address that routes lead to can be reached. One that was never spoken of is taken to be reachable where it
    /// is a neighbour's own.
    NextHop {
        /// Which.
        address: IpAddr,
        /// Whether.
        change: NextHopChange,
    },
    /// An operator wants a session begun again, or routes sent again.
    Reset {
        /// With which neighbour.
        neighbor: NeighborName,
        /// What.
        how: Reset,
    },
}

/// What BFD says (RFC 5882).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bfd {
    /// Packets pass.
    Up,
    /// They do not; both ends' BFD depends on their control planes, so a restart may be all there is to it.
    Down,
    /// They do not, and that is the forwarding plane's word (the C bit): routes are not retained.
    ForwardingDown,
}

/// Whether an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopChange {
    /// At this cost.
    Reachable {
        /// Of the interior routing.
        metric: u32,
    },
    /// Not at all.
    Unreachable,
}

/// What an operator may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The session ends, and begins again; the neighbour is told these words.
    Session(String),
    /// The neighbour's routes are wanted again.
    In,
    /// Ours are sent again.
    Out,
}

/// Something that a speaker wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection, with the neighbour's authentication and distance.
    Connect {
        /// Its name from here on.
        connection: ConnectionId,
        /// Whose settings hold.
        neighbor: NeighborName,
        /// From where, where that is not the system's to choose.
        local: Option<IpAddr>,
        /// Where to.
        remote: SocketAddr,
    },
    /// Close a connection. It is not spoken of again, neither by the speaker nor to it.
    Close {
        /// Which.
        connection: ConnectionId,
        /// How.
        how: Close,
    },
    /// Send bytes, in the order of these outputs. At most a window's worth is unsent at any time ([`Input::Sent`]).
    Send {
        /// By which connection.
        connection: ConnectionId,
        /// What.
        bytes: Bytes,
    },
    /// A prefix's next hops: all of them, equal in cost; none where the prefix is gone.
    Route {
        /// Of which prefix.
        prefix: IpNet,
        /// Where to.
        next_hops: Vec<RouteNextHop>,
    },
    /// All routes of the family are told that this speaker has after its start: what the forwarding plane has of an earlier
    /// speaker and was not told again may go.
    Recovered(Family),
    /// Routes have changed, where somebody watches: an UPDATE with AS numbers of four octets, and with path identifiers where the neighbour's
    /// session has them. What a neighbour's session takes along when it ends is not told.
    Watched {
        /// Whose Adj-RIB-In it is, after the policy; none for the Loc-RIB.
        neighbor: Option<NeighborName>,
        /// The message.
        update: Bytes,
    },
    /// Something happened that people may want to know.
    Event {
        /// With which neighbour.
        neighbor: NeighborName,
        /// What.
        event: Event,
    },
}

/// One of a prefix's next hops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteNextHop {
    /// Where to.
    pub address: IpAddr,
    /// Who said so.
    pub neighbor: NeighborName,
}
