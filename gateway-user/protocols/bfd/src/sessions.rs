//! All sessions of a process: which one a packet is for, and who is due next.

use crate::packet::{Discriminator, Received};
use crate::session::{Forwarding, Output, Refusal, Session, Settings};
use crate::status::Status;
use crate::{MULTIHOP_PORT, SINGLE_HOP_PORT, TTL};
use gateway_common::moment::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// A network of its own: the same addresses elsewhere are other neighbours. Whoever drives the sessions numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u32);

/// How far away the neighbour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hops {
    /// On the link (RFC 5881): its packets have not passed a router.
    Single,
    /// Anywhere (RFC 5883).
    Multiple,
}

impl Hops {
    /// The UDP port that packets go to.
    pub const fn port(self) -> u16 {
        match self {
            Self::Single => SINGLE_HOP_PORT,
            Self::Multiple => MULTIHOP_PORT,
        }
    }
}

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The network.
    pub place: Place,
    /// How far away the neighbour is.
    pub hops: Hops,
    /// Our address.
    pub local: IpAddr,
    /// The neighbour's.
    pub peer: IpAddr,
}

/// How a session is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The only interface that packets may come in by.
    pub interface: Option<u32>,
    /// Over several hops: what packets must have left of their TTL.
    pub minimum_ttl: u8,
    /// All else.
    pub settings: Settings,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The sender's address, and the one that it was sent to; the port that it came to says how many hops it may have had.
    pub endpoint: Endpoint,
    /// The interface that it came in by.
    pub interface: u32,
    /// Its TTL, or hop limit.
    pub ttl: u8,
}

/// Who is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It has something to send.
    Send(Discriminator),
    /// Its neighbour was silent for too long, unless something waits to be received.
    Expire(Discriminator),
}

#[derive(Debug)]
struct Entry {
    session: Session,
    endpoint: Endpoint,
    interface: Option<u32>,
    minimum_ttl: u8,
    deadline: Option<Moment>,
}

/// All sessions of a process.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: HashMap<Discriminator, Entry>,
    endpoints: HashMap<Endpoint, Discriminator>,
    deadlines: BTreeSet<(Moment, Discriminator)>,
}

impl Sessions {
    /// Adds a session, or has the one that is there be otherwise. `random` gives any numbers, of which one becomes the discriminator.
    pub fn add(
        &mut self,
        endpoint: Endpoint,
        wanted: Wanted,
        now: Moment,
        random: &mut dyn FnMut() -> u32,
        out: &mut Vec<Output>,
    ) -> Discriminator {
        let Wanted { interface, minimum_ttl, settings } = wanted;
        if let Some(&discriminator) = self.endpoints.get(&endpoint) {
            let number = random();
            self.with(discriminator, |entry| {
                entry.interface = interface;
                entry.minimum_ttl = minimum_ttl;
                entry.session.set(settings, now, number, out);
            });
            return discriminator;
        }
        let discriminator = loop {
            if let Some(free) = Discriminator::new(random()).filter(|it| !self.entries.contains_key(it)) {
                break free;
            }
        };
        let session = Session::new(discriminator, settings, now, random());
        let entry = Entry { session, endpoint, interface, minimum_ttl, deadline: None };
        self.entries.insert(discriminator, entry);
        self.endpoints.insert(endpoint, discriminator);
        self.with(discriminator, |_| {});
        discriminator
    }

    /// Forgets a session without a word to its neighbour.
    pub fn remove(&mut self, discriminator: Discriminator) {
        if let Some(entry) = self.entries.remove(&discriminator) {
            self.endpoints.remove(&entry.endpoint);
            if let Some(deadline) = entry.deadline {
                self.deadlines.remove(&(deadline, discriminator));
            }
        }
    }

    /// Switches a session off; see [`Session::disable`]. Says for how long the neighbour is to be told.
    pub fn disable(
        &mut self,
        discriminator: Discriminator,
        now: Moment,
        random: u32,
        out: &mut Vec<Output>,
    ) -> Duration {
        self.with(discriminator, |entry| {
            entry.session.disable(now, random, out);
            entry.session.farewell()
        })
        .unwrap_or_default()
    }

    /// Whether this end forwards; see [`Session::set_forwarding`].
    pub fn set_forwarding(
        &mut self,
        discriminator: Discriminator,
        forwarding: Forwarding,
        now: Moment,
        random: u32,
        out: &mut Vec<Output>,
    ) {
        self.with(discriminator, |entry| entry.session.set_forwarding(forwarding, now, random, out));
    }

    /// The session between two ends.
    pub fn at(&self, endpoint: &Endpoint) -> Option<Discriminator> {
        self.endpoints.get(endpoint).copied()
    }

    /// What is told of a session.
    pub fn status(&self, discriminator: Discriminator) -> Option<Status> {
        Some(self.entries.get(&discriminator)?.session.status())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When somebody is due next. To be asked again after every other call.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(moment, _)| *moment)
    }

    /// Who is due. It stays due until [`Self::elapse`] is called, or until a packet of its neighbour's comes.
    pub fn due(&self, now: Moment) -> Option<Due> {
        let (_, discriminator) = self.deadlines.first().filter(|(moment, _)| *moment <= now)?;
        let expires = self.entries.get(discriminator).is_some_and(|entry| entry.session.expires(now));
        Some(if expires { Due::Expire(*discriminator) } else { Due::Send(*discriminator) })
    }

    /// Time has passed for a session.
    pub fn elapse(&mut self, discriminator: Discriminator, now: Moment, random: u32, out: &mut Vec<Output>) {
        self.with(discriminator, |entry| entry.session.elapse(now, random, out));
    }

    /// The process did not run for so long; see [`Session::excuse`].
    pub fn excuse(&mut self, pause: Duration) {
        let all: Vec<Discriminator> = self.entries.keys().copied().collect();
        for discriminator in all {
            self.with(discriminator, |entry| entry.session.excuse(pause));
        }
    }

    /// A packet has come. Gives the session that it was for.
    ///
    /// A discriminator of ours leads to its session only from that session's neighbour, over as many hops as it has, in the same network: who
    /// guesses one from elsewhere does no harm.
    ///
    /// # Errors
    /// It was discarded.
    pub fn receive(
        &mut self,
        arrival: &Arrival,
        payload: &[u8],
        now: Moment,
        random: u32,
        out: &mut Vec<Output>,
    ) -> Result<Discriminator, Refusal> {
        if arrival.endpoint.hops == Hops::Single && arrival.ttl != TTL {
            return Err(Refusal::Ttl(arrival.ttl));
        }
        let received = Received::decode(payload)?;
        let discriminator = self.endpoints.get(&arrival.endpoint).copied().ok_or(Refusal::NoSession)?;
        if received.packet.your_discriminator.is_some_and(|named| named != discriminator) {
            return Err(Refusal::NoSession);
        }
        self.with(discriminator, |entry| {
            if entry.interface.is_some_and(|interface| interface != arrival.interface) {
                return Err(Refusal::NoSession);
            }
            if arrival.endpoint.hops == Hops::Multiple && arrival.ttl < entry.minimum_ttl {
                return Err(Refusal::Ttl(arrival.ttl));
            }
            entry.session.receive(&received, now, random, out)
        })
        .unwrap_or(Err(Refusal::NoSession))?;
        Ok(discriminator)
    }

    /// Does something to a session and notes when it is due afterwards.
    fn with<T>(&mut self, discriminator: Discriminator, action: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&discriminator)?;
        let result = action(entry);
        let deadline = entry.session.deadline();
        if deadline != entry.deadline {
            if let Some(before) = entry.deadline {
                self.deadlines.remove(&(before, discriminator));
            }
            if let Some(after) = deadline {
                self.deadlines.insert((after, discriminator));
            }
            entry.deadline = deadline;
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests;
