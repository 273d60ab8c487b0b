//! What is known of the agents: who is there, what each has been told, what each tells.

use super::event::StreamId;
use crate::agent::protocol::{
    ConnectionState, Extent, Load, PeerState, Position, Problem, RackSession, Report, SeatNews, SessionState,
    TenantState,
};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Registration};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An agent that was not heard of for so long is not there, in milliseconds.
pub const SILENCE: u64 = 10_000;

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// What it said of its machine.
    pub registration: Registration,
    /// Its open plan stream.
    pub stream: Option<StreamId>,
    /// When it was heard of last, in milliseconds since 1970; never by this controller if absent.
    pub heard: Option<u64>,
    /// The plan that is in force there, by its own word.
    pub position: Option<Position>,
    /// The last plan that it was sent.
    pub sent: Option<u64>,
    boot: String,
    sequence: u64,
    problems: Vec<Problem>,
    unreachable: BTreeMap<IpAddr, String>,
    tenants: BTreeMap<String, TenantState>,
    machines: Option<Load>,
    rack: Vec<RackSession>,
    seats: BTreeMap<Id, SeatNews>,
    /// When it reported last, in milliseconds since 1970.
    reported: Option<u64>,
}

/// Whether an agent is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Alive,
    /// It was, and is not heard of.
    Silent,
    /// This controller has not heard of it yet.
    Unknown,
}

impl Agent {
    fn new(registration: Registration) -> Self {
        Self {
            registration,
            stream: None,
            heard: None,
            position: None,
            sent: None,
            boot: String::new(),
            sequence: 0,
            problems: Vec::new(),
            unreachable: BTreeMap::new(),
            tenants: BTreeMap::new(),
            machines: None,
            rack: Vec::new(),
            seats: BTreeMap::new(),
            reported: None,
        }
    }

    /// Whether it is there.
    pub fn presence(&self, now: u64) -> Presence {
        match self.heard {
            Some(heard) if now.saturating_sub(heard) < SILENCE => Presence::Alive,
            Some(_) => Presence::Silent,
            None => Presence::Unknown,
        }
    }

    /// What tells this run of its program from others, if it has reported to this controller.
    pub fn run(&self) -> Option<&str> {
        Some(self.boot.as_str()).filter(|boot| !boot.is_empty())
    }

    /// Whether the latest plan that it was sent is in force there.
    pub fn is_up_to_date(&self) -> bool {
        matches!((self.sent, self.position), (Some(sent), Some(position)) if position.revision >= sent)
    }

    /// What is wrong with its plan as a whole.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How a tenant fares there.
    pub fn tenant(&self, name: &str) -> Option<&TenantState> {
        self.tenants.get(name)
    }

    /// How a connection fares there.
    pub fn connection(&self, tenant: &str, name: &str) -> Option<&ConnectionState> {
        self.tenants.get(tenant)?.connections.get(name)
    }

    /// What the machines of a compute host carry, all together.
    pub fn machines(&self) -> Option<&Load> {
        self.machines.as_ref()
    }

    /// How its sessions with the rack's routers are.
    pub fn rack(&self) -> &[RackSession] {
        &self.rack
    }

    /// What it said of its pool's seats last.
    pub fn seats(&self) -> &BTreeMap<Id, SeatNews> {
        &self.seats
    }

    /// What it said of a seat last.
    pub fn seat(&self, seat: &Id) -> Option<&SeatNews> {
        self.seats.get(seat)
    }

    /// When it reported last, in milliseconds since 1970.
    pub fn reported(&self) -> Option<u64> {
        self.reported
    }

    /// Why no packet can be sent to an address, if so.
    pub fn unreachable(&self, address: IpAddr) -> Option<&str> {
        self.unreachable.get(&address).map(String::as_str)
    }
}

/// Where agents' words go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// To the controller that leads, which is another one.
    #[default]
    Elsewhere,
    /// Here.
    Here,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Agents {
    hearing: Hearing,
    known: BTreeMap<AgentId, Agent>,
    streams: BTreeMap<StreamId, AgentId>,
}

impl Agents {
    /// From now on agents are heard here.
    pub fn listen(&mut self) {
        self.hearing = Hearing::Here;
    }

    /// Where agents are heard.
    pub fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// One of them.
    pub fn get(&self, agent: &AgentId) -> Option<&Agent> {
        self.known.get(agent)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.known.iter()
    }

    /// What an agent said of its machine; nothing if it is not let in any more.
    pub fn register(&mut self, agent: &AgentId, registration: Option<Registration>) {
        match registration {
            Some(registration) => match self.known.get_mut(agent) {
                Some(known) => known.registration = registration,
                None => {
                    self.known.insert(agent.clone(), Agent::new(registration));
                }
            },
            None => {
                if let Some(stream) = self.known.remove(agent).and_then(|known| known.stream) {
                    self.streams.remove(&stream);
                }
            }
        }
    }

    /// An agent has opened its plan stream: the stream that it had before, which ends.
    pub fn connect(&mut self, agent: &AgentId, stream: StreamId, now: u64) -> Option<StreamId> {
        let known = self.known.get_mut(agent)?;
        known.heard = Some(now);
        known.sent = None;
        self.streams.insert(stream, agent.clone());
        let before = known.stream.replace(stream)?;
        self.streams.remove(&before);
        Some(before)
    }

    /// A stream has ended.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(known) = self.streams.remove(&stream).and_then(|agent| self.known.get_mut(&agent)) {
            known.stream = None;
        }
    }

    /// An agent was sent a plan of this revision, by its stream: the revision before it, if this is not its first.
    pub fn send(&mut self, agent: &AgentId, revision: u64) -> Option<u64> {
        self.known.get_mut(agent)?.sent.replace(revision)
    }

    /// An agent lives.
    pub fn heartbeat(&mut self, agent: &AgentId, position: Option<Position>, now: u64) {
        if let Some(known) = self.known.get_mut(agent) {
            known.heard = Some(now);
            known.position = position.or(known.position);
        }
    }

    /// An agent was heard of.
    pub fn hear(&mut self, agent: &AgentId, now: u64) {
        self.heartbeat(agent, None, now);
    }

    /// An agent tells how it goes. A report that was overtaken by a later one is dropped. The tenants that it tells of.
    pub fn report(&mut self, agent: &AgentId, report: Report, now: u64) -> Vec<String> {
        let Some(known) = self.known.get_mut(agent) else { return Vec::new() };
        if known.boot == report.boot.0 && report.sequence <= known.sequence {
            return Vec::new();
        }
        (known.boot, known.sequence, known.heard) = (report.boot.0, report.sequence, Some(now));
        (known.problems, known.unreachable) = (report.problems, report.unreachable);
        known.position = report.position;
        known.rack = report.rack;
        known.seats = report.seats.into_iter().map(|(seat, news)| (Id::from(seat.as_str()), news)).collect();
        (known.machines, known.reported) = (report.machines, Some(now));
        let before = match report.extent {
            Extent::Whole => std::mem::take(&mut known.tenants),
            Extent::Changes => {
                let before =
                    |name| known.tenants.get_key_value(name).map(|(name, state)| (name.clone(), state.clone()));
                report.tenants.keys().filter_map(before).collect()
            }
        };
        for name in &report.removed {
            known.tenants.remove(name);
        }
        for (name, state) in &report.tenants {
            let before = before.get(name).map(|before| &before.peers);
            tell_of_peers(agent, name, before, &state.peers);
        }
        let told = report.tenants.keys().cloned().chain(report.removed).collect();
        known.tenants.extend(report.tenants);
        told
    }
}

/// Says which BGP sessions came up and which are lost.
fn tell_of_peers(
    agent: &AgentId,
    tenant: &str,
    before: Option<&BTreeMap<String, PeerState>>,
    now: &BTreeMap<String, PeerState>,
) {
    for (peer, state) in now {
        let was = before.and_then(|before| before.get(peer)).map(|before| before.session).unwrap_or_default();
        match (was, state.session) {
            (SessionState::Down, SessionState::Up) => tracing::info!(%agent, tenant, peer, "a BGP session is up"),
            (SessionState::Up, SessionState::Down) => {
                let why = state.last_error.as_deref().unwrap_or("its cause is not known");
                tracing::warn!(%agent, tenant, peer, "a BGP session is lost: {why}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::BootId;
    use crate::controller::model::records::Role;
    use crate::plan::Dual;

    fn known() -> (Agents, AgentId) {
        let agent = AgentId { role: Role::Gateway, id: "GW1".into() };
        let mut agents = Agents::default();
        let registration =
            Registration { pa: Dual::default(), ports: Vec::new(), version: "1".into(), life: None, key: None };
        agents.register(&agent, Some(registration));
        (agents, agent)
    }

    fn report(sequence: u64, tenant: &str) -> Report {
        let tenants = [(tenant.to_owned(), TenantState::default())].into();
        Report { boot: BootId("b".into()), sequence, extent: Extent::Changes, tenants, ..Report::default() }
    }

    #[test]
    fn an_agent_is_silent_after_a_while() {
        let (mut agents, agent) = known();
        assert_eq!(agents.get(&agent).expect("known").presence(5), Presence::Unknown);
        agents.heartbeat(&agent, None, 1_000);
        assert_eq!(agents.get(&agent).expect("known").presence(SILENCE), Presence::Alive);
        assert_eq!(agents.get(&agent).expect("known").presence(1_000 + SILENCE), Presence::Silent);
    }

    #[test]
    fn an_agent_has_one_stream() {
        let (mut agents, agent) = known();
        assert_eq!(agents.connect(&agent, StreamId(1), 0), None);
        assert_eq!(agents.connect(&agent, StreamId(2), 0), Some(StreamId(1)));
        // The end of the old one is not the end of the new one.
        agents.close(StreamId(1));
        assert_eq!(agents.get(&agent).expect("known").stream, Some(StreamId(2)));
        agents.close(StreamId(2));
        assert_eq!(agents.get(&agent).expect("known").stream, None);
    }

    #[test]
    fn a_report_that_was_overtaken_is_dropped() {
        let (mut agents, agent) = known();
        assert_eq!(agents.report(&agent, report(2, "a"), 0), ["a"]);
        assert!(agents.report(&agent, report(1, "b"), 0).is_empty());
        let whole = Report { extent: Extent::Whole, ..report(3, "b") };
        agents.report(&agent, whole, 0);
        let state = agents.get(&agent).expect("known");
        assert!(state.tenant("a").is_none() && state.tenant("b").is_some());
    }
}
