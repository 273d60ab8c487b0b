//! What an agent and the controller say to each other, as JSON.
//!
//! | the agent asks | it sends | it gets |
//! |---|---|---|
//! | `POST /networking/agents/v1/enrol`, with its join token | [`Enrolment`] | [`Enrolled`] |
//! | `POST …/ROLE/ID/renew` | [`Renewal`] | [`Enrolled`] |
//! | `POST …/ROLE/ID/plan` | [`Hello`] | [`PlanEvent`]s, as server-sent events without an end |
//! | `POST …/ROLE/ID/report` | [`Report`] | nothing |
//! | `POST …/ROLE/ID/heartbeat` | [`Heartbeat`] | nothing |
//! | `POST …/ROLE/ID/routes` | [`RouteReport`](super::routes::RouteReport) | nothing |
//!
//! On the plan's stream a compute host hears of learned routes, too, as [`RouteEvent`](super::routes::RouteEvent)s.
//!
//! Each of the four that go on for long has a connection of its own, so that a heartbeat never waits behind a plan. Who an agent is comes
//! from its certificate, and nothing in a message says otherwise.

use crate::controller::core::message::KeyId;
use crate::controller::model::records::{AgentId, Life, Registration};
use crate::plan::{Dual, PortName, PortRole};
use seat::Opinion;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The protocol's number: an agent and a controller that do not speak the same one say so.
pub const PROTOCOL: u32 = 1;

/// Where agents ask.
pub const ROOT: &str = "/networking/agents/v1";

/// Where a new agent asks for its certificate.
pub fn enrol_path() -> String {
    format!("{ROOT}/enrol")
}

/// Where an agent asks for something.
pub fn path(agent: &AgentId, what: Endpoint) -> String {
    format!("{ROOT}/{agent}/{}", what.as_str())
}

/// What an agent asks for under its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A certificate after the one that it has.
    Renew,
    /// Its plan, and what changes in it.
    Plan,
    /// To say what became of the plan.
    Report,
    /// To say that it lives.
    Heartbeat,
    /// To tell what tenants' routers have learned.
    Routes,
    /// To ask whether the controllers stand by a gateway as the holder of a seat.
    Vote,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Renew, Self::Plan, Self::Report, Self::Heartbeat, Self::Routes, Self::Vote];

    /// As it stands in the path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Renew => "renew",
            Self::Plan => "plan",
            Self::Report => "report",
            Self::Heartbeat => "heartbeat",
            Self::Routes => "routes",
            Self::Vote => "vote",
        }
    }
}

/// How new a plan is. A later epoch wins whatever its revision is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The leadership that it comes from.
    pub epoch: u64,
    /// The store's revision that it follows from.
    pub revision: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

/// A process between its start and its end. What it has not got in its memory, it has not got at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// Who asks to be let in, and what its machine is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The program's version.
    pub version: String,
    /// This run of it.
    pub boot: BootId,
    /// Its provider addresses.
    pub pa: Dual,
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<(PortName, PortRole)>,
    /// The life of its machine; absent if it cannot hold seats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
    /// The plan that it has; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// The plan that an agent has. Any controller can tell by it what differs from what the agent should have, whoever sent it and however long
/// ago, and sends no more than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// How new it is.
    pub position: Position,
    /// What concerns no tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Tenants, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Digest>,
}

/// What tells a document's text from others: the first half of its SHA-256, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(Box<str>);

impl Hello {
    /// What is worth keeping of it, and of who said it.
    pub fn registration(&self, key: KeyId) -> Registration {
        let (pa, ports, version) = (self.pa, self.ports.clone(), self.version.clone());
        Registration { pa, ports, version, life: self.life, key: Some(key.to_string()) }
    }
}

/// A new agent's request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The signing request (PEM). Only its public key counts: the name is the token's.
    pub request: String,
    /// What its machine is like.
    pub hello: Hello,
}

/// An agent's request for the next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The signing request (PEM). Only its public key counts.
    pub request: String,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The agent's certificate (PEM).
    pub certificate: String,
}

/// A part of a plan, as text that only its reader takes apart. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document(Arc<RawValue>);

impl Document {
    /// Writes a value as a document.
    ///
    /// # Errors
    /// The value has no form in JSON.
    pub fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(|raw| Self(raw.into()))
    }

    /// Its text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// What tells its text from others.
    pub fn digest(&self) -> Digest {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.get().as_bytes());
        Digest(digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is no such thing.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for Document {}

impl Serialize for Document {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

/// A plan, or what changed in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEvent {
    /// The leadership that it comes from.
    pub epoch: u64,
    /// The store's revision that it follows from: with the epoch, what the agent has once it took this.
    pub revision: u64,
    /// The revision that this changes: the agent must have exactly that. Absent if this is all there is, and whatever it had goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// What concerns no tenant: the gateway itself, its ports, its steering; for a host likewise. Absent if it is as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Document>,
    /// Tenants, by name, that came or changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Document>,
    /// Tenants that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Whether the same plan goes on in the next event: nothing is done before its last.
    #[serde(default, skip_serializing_if = "Parts::is_last")]
    pub parts: Parts,
}

/// Whether more of the same follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parts {
    /// This was the last.
    #[default]
    Last,
    /// More follows.
    More,
}

impl Parts {
    fn is_last(&self) -> bool {
        *self == Self::Last
    }
}

impl PlanEvent {
    /// What the agent has once it took this.
    pub fn position(&self) -> Position {
        // Not a flattened field: serde buffers what it flattens, and a document's text does not come through that.
        Position { epoch: self.epoch, revision: self.revision }
    }

    /// Of a whole plan, what an agent that has this one lacks.
    #[must_use]
    pub fn beyond(mut self, has: &Resume) -> Self {
        if self.base.is_none() {
            // There is no way to say that there is none.
            return self;
        }
        self.since = Some(has.position.revision);
        self.removed = has.tenants.keys().filter(|name| !self.set.contains_key(*name)).cloned().collect();
        self.base = self.base.filter(|base| has.base != Some(base.digest()));
        self.set.retain(|name, document| has.tenants.get(name) != Some(&document.digest()));
        self
    }

    /// Cuts an event so that no part has much more than `limit` bytes of documents. The parts in their order mean what the whole does.
    pub fn split(&self, limit: usize) -> Vec<Self> {
        let head = Self { set: BTreeMap::new(), ..self.clone() };
        let empty = Self { base: None, removed: Vec::new(), ..head.clone() };
        let mut parts = vec![head];
        let mut size = 0;
        for (name, document) in &self.set {
            if size > 0 && size + document.get().len() > limit {
                parts.push(empty.clone());
                size = 0;
            }
            size += document.get().len() + name.len();
            if let Some(part) = parts.last_mut() {
                part.set.insert(name.clone(), document.clone());
            }
        }
        let last = parts.len() - 1;
        for part in &mut parts[..last] {
            part.parts = Parts::More;
        }
        parts
    }
}

/// That an agent lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// This run of the agent.
    pub boot: BootId,
    /// Grows by one with each.
    pub sequence: u64,
    /// The plan that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// What became of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// This run of the agent.
    pub boot: BootId,
    /// Grows by one with each.
    pub sequence: u64,
    /// Whether this is all there is to report, or what is different since the report before.
    pub extent: Extent,
    /// The plan that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is wrong with the whole, or with a plan that is not in force. Always all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Addresses outside that no packet can be sent to, each with the reason. Always all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreachable: BTreeMap<IpAddr, String>,
    /// Tenants, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, TenantState>,
    /// Tenants that are there no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Of a compute host: what all its machines carried together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Load>,
    /// Of a gateway: how its BGP sessions with the rack's routers are. Always all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rack: Vec<RackSession>,
    /// Of a gateway: how its pool's seats are, by name. Always all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<String, SeatNews>,
}

/// How a seat is, as far as a gateway knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeatNews {
    /// What this gateway is to it.
    pub holding: Holding,
    /// Who holds it, by what was heard last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Under which epoch that one does.
    pub epoch: u64,
    /// What is seen of it from here.
    #[serde(skip_serializing_if = "Opinion::is_unknown")]
    pub sight: Opinion,
    /// What this gateway lacks to take it.
    #[serde(skip_serializing_if = "Lack::is_nothing")]
    pub lack: Lack,
}

/// What a gateway that does not hold a seat lacks to take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// What the seat's holder knows of stations and learned routes, or some of it.
    Knowledge,
    /// A VLAN of the seat: nobody there answers.
    Vlan,
    /// Nothing, as far as it knows.
    #[default]
    #[serde(other)]
    Nothing,
}

impl Lack {
    /// Whether it is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// What a gateway is to a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// It holds it.
    Held,
    /// It forwards what still reaches it, and another takes it.
    Yielding,
    /// It has a replica: nothing passes.
    #[default]
    #[serde(other)]
    Replica,
}

/// A gateway's session with one of the rack's routers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RackSession {
    /// The router.
    pub peer: IpAddr,
    /// The session's state: `established`, or another of RFC 4271's.
    pub state: String,
    /// Why there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What was carried, and how much it is at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// What was carried.
    #[serde(flatten)]
    pub counters: ConnectionCounters,
    /// How much a second.
    pub rates: Rates,
}

/// How much a report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Everything: what it does not name is not there.
    #[default]
    Whole,
    /// What is different.
    Changes,
}

/// Something that is not as the plan wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about, for a person: `plan 3.120`, `connection hq`.
    pub about: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// How a tenant fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantState {
    /// What is wrong. While its document is refused, an earlier one is in force, or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Its connections, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, ConnectionState>,
    /// The peers of its BGP router, if that is here, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, PeerState>,
}

/// How a BGP peer fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerState {
    /// Whether there is a session.
    pub session: SessionState,
    /// Why there is none, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the last session ended, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
    /// OPENs.
    pub open: Messages,
    /// UPDATEs.
    pub update: Messages,
    /// NOTIFICATIONs.
    pub notification: Messages,
    /// KEEPALIVEs.
    pub keepalive: Messages,
    /// ROUTE-REFRESHs.
    pub refresh: Messages,
    /// IPv4 routes.
    pub ipv4: PeerRoutes,
    /// IPv6 routes.
    pub ipv6: PeerRoutes,
}

/// Whether there is a BGP session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// There is.
    Up,
    /// There is none.
    #[default]
    #[serde(other)]
    Down,
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// From us.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// Routes of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerRoutes {
    /// Told.
    pub updates: Messages,
    /// Taken back.
    pub withdrawals: Messages,
}

/// How a connection fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionState {
    /// Whether it carries packets.
    pub state: LinkState,
    /// What it carried, and carries.
    #[serde(flatten)]
    pub load: Load,
}

/// Whether a connection carries packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// It does.
    Up,
    /// It was switched off.
    Disabled,
    /// None of its next hops answers.
    Unresolved,
    /// Nothing is known of it.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What a connection carried since it was set up on this agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionCounters {
    /// Packets from the site.
    pub in_packets: u64,
    /// Bytes from the site.
    pub in_bytes: u64,
    /// Packets to the site.
    pub out_packets: u64,
    /// Bytes to the site.
    pub out_bytes: u64,
    /// Packets dropped, whatever the reason.
    pub dropped_packets: u64,
    /// Packets from the site over its limit.
    pub rate_limited_in: u64,
    /// Packets to the site over its limit.
    pub rate_limited_out: u64,
}

/// How much is carried a second, since the report before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Packets in.
    pub in_packets: u64,
    /// Bits in.
    pub in_bits: u64,
    /// Packets out.
    pub out_packets: u64,
    /// Bits out.
    pub out_bits: u64,
    /// Packets dropped, whatever the reason.
    pub dropped_packets: u64,
}

impl std::iter::Sum for Load {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| {
            let (counters, more) = (sum.counters, one.counters);
            let (rates, faster) = (sum.rates, one.rates);
            Self {
                counters: ConnectionCounters {
                    in_packets: counters.in_packets.saturating_add(more.in_packets),
                    in_bytes: counters.in_bytes.saturating_add(more.in_bytes),
                    out_packets: counters.out_packets.saturating_add(more.out_packets),
                    out_bytes: counters.out_bytes.saturating_add(more.out_bytes),
                    dropped_packets: counters.dropped_packets.saturating_add(more.dropped_packets),
                    rate_limited_in: counters.rate_limited_in.saturating_add(more.rate_limited_in),
                    rate_limited_out: counters.rate_limited_out.saturating_add(more.rate_limited_out),
                },
                rates: Rates {
                    in_packets: rates.in_packets.saturating_add(faster.in_packets),
                    in_bits: rates.in_bits.saturating_add(faster.in_bits),
                    out_packets: rates.out_packets.saturating_add(faster.out_packets),
                    out_bits: rates.out_bits.saturating_add(faster.out_bits),
                    dropped_packets: rates.dropped_packets.saturating_add(faster.dropped_packets),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(tenants: usize) -> PlanEvent {
        let document = |n: usize| Document::of(&serde_json::json!({ "name": format!("tenant-{n}") })).expect("JSON");
        PlanEvent {
            epoch: 2,
            revision: 9,
            base: Some(document(0)),
            set: (0..tenants).map(|n| (format!("tenant-{n}"), document(n))).collect(),
            removed: vec!["gone".to_owned()],
            ..PlanEvent::default()
        }
    }

    #[test]
    fn the_parts_of_an_event_mean_what_the_whole_does() {
        let whole = event(10);
        for limit in [0, 50, 100, 10_000] {
            let parts = whole.split(limit);
            assert!(limit < 10_000 || parts.len() == 1);
            let (last, before) = parts.split_last().expect("one at least");
            assert_eq!(last.parts, Parts::Last);
            assert!(before.iter().all(|part| part.parts == Parts::More));
            assert!(parts.iter().all(|part| part.position() == whole.position() && part.since == whole.since));
            let mut joined = parts[0].clone();
            joined.parts = Parts::Last;
            for part in &parts[1..] {
                assert!(part.base.is_none() && part.removed.is_empty());
                joined.set.extend(part.set.clone());
            }
            assert_eq!(joined, whole);
        }
        assert_eq!(event(0).split(10), [event(0)], "an event without tenants is one part");
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let event = event(3);
        let text = serde_json::to_string(&event).expect("written");
        assert!(text.starts_with(r#"{"epoch":2,"revision":9,"base":{"name":"tenant-0"}"#), "{text}");
        assert_eq!(serde_json::from_str::<PlanEvent>(&text).expect("read"), event);
    }

    #[test]
    fn a_later_epoch_wins_whatever_the_revision_is() {
        assert!(Position { epoch: 2, revision: 1 } > Position { epoch: 1, revision: 100 });
        assert!(Position { epoch: 1, revision: 2 } > Position { epoch: 1, revision: 1 });
    }

    #[test]
    fn a_state_that_is_not_known_yet_is_no_error() {
        let state: ConnectionState = serde_json::from_str(r#"{"state":"dancing","in_packets":3}"#).expect("read");
        assert_eq!((state.state, state.load.counters.in_packets), (LinkState::Unknown, 3));
    }
}
