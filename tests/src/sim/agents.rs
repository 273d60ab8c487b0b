//! Agents: each keeps the plan that it is told.

use super::Fault;
use super::controllers::Caller;
use super::world::{CONTROLLERS, Simulation, What};
use gateway_user::agent::protocol::{Document, Heartbeat, Hello, PROTOCOL, PlanEvent, Position, Resume};
use gateway_user::controller::core::event::{Event, StreamId};
use gateway_user::controller::core::message::{Connect, Enrol, KeyId};
use gateway_user::controller::model::records::{AgentId, Role};
use serde_json::json;
use std::collections::BTreeMap;

/// An agent.
#[derive(Debug)]
pub struct Agent {
    pub id: AgentId,
    pub number: usize,
    /// Which controller, in which of its lives, tells it what to do.
    pub link: Option<(usize, u64, StreamId)>,
    pub position: Option<Position>,
    pub base: Option<Document>,
    pub tenants: BTreeMap<String, Document>,
    pub enrolled: bool,
    /// Counts its installations: each has a join token and a key of its own.
    pub installation: u8,
}

/// What an agent does about an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It does as it is told.
    Applied,
    /// It has not what this changes, or it comes from a leader of the past: it connects again.
    Refused,
}

impl Agent {
    pub fn new(number: usize) -> Self {
        let id = AgentId { role: Role::Gateway, id: format!("GW{number}").into() };
        Self {
            id,
            number,
            link: None,
            position: None,
            base: None,
            tenants: BTreeMap::new(),
            enrolled: false,
            installation: 0,
        }
    }

    /// It has to join again, with another token: its machine was set up anew, or it is not let in any more.
    pub fn reinstall(&mut self) {
        let installation = self.installation.wrapping_add(1);
        *self = Self { installation, ..Self::new(self.number) };
    }

    pub fn hello(&self) -> Hello {
        let read =
            |value| serde_json::from_value(value).unwrap_or_else(|error| panic!("the simulator's own agent: {error}"));
        Hello {
            protocol: PROTOCOL,
            version: "sim".into(),
            boot: Default::default(),
            pa: serde_json::from_value(json!([format!("10.10.0.{}", self.number + 1)])).unwrap_or_default(),
            ports: read(json!([["fab0", "fabric"], ["tor0", "site"]])),
            life: None,
            resume: self.position.map(|position| Resume {
                position,
                base: self.base.as_ref().map(Document::digest),
                tenants: self.tenants.iter().map(|(name, document)| (name.clone(), document.digest())).collect(),
            }),
        }
    }

    pub fn take(&mut self, event: &PlanEvent, fault: Option<Fault>) -> Taken {
        let old = self.position.is_some_and(|position| event.epoch < position.epoch) && fault != Some(Fault::SkipEpoch);
        let fits = match event.since {
            None => true,
            Some(since) => self.position.is_some_and(|position| position.revision == since),
        };
        if old || !fits {
            return Taken::Refused;
        }
        if event.since.is_none() {
            self.tenants.clear();
        }
        if event.base.is_some() {
            self.base.clone_from(&event.base);
        }
        if fault != Some(Fault::DropWithdrawal) {
            for name in &event.removed {
                self.tenants.remove(name);
            }
        }
        self.tenants.extend(event.set.clone());
        self.position = Some(event.position());
        Taken::Applied
    }
}

impl Simulation {
    pub(super) fn seek(&mut self, agent: usize) -> Result<(), String> {
        let delay = 30 + self.random.below(60);
        self.after(delay, What::Seek(agent));
        // A stream ends with the process at its other end.
        let live = |(at, life, _): &(usize, u64, StreamId)| self.controllers[*at].life == *life;
        if self.agents[agent].link.as_ref().is_some_and(live) {
            return Ok(());
        }
        self.agents[agent].link = None;
        let controller = self.random.below(CONTROLLERS as u64) as usize;
        if self.controllers[controller].core.is_none() || self.is_lost() {
            return Ok(());
        }
        if !self.calm && self.agents[agent].enrolled && self.random.once_in(25) {
            self.note(format!("agent {agent} is set up anew"));
            self.agents[agent].reinstall();
        }
        let this = &self.agents[agent];
        let (id, hello, enrolled, installation) = (this.id.clone(), this.hello(), this.enrolled, this.installation);
        let mut key = [agent as u8; 32];
        key[0] = installation;
        let token = format!("token-{agent}-{installation}");
        if enrolled && !self.calm && self.random.once_in(4) {
            let call = self.call(controller, Caller::Thief(agent));
            let enrol = Enrol {
                agent: id.clone(),
                token: token.clone(),
                token_expires: u64::MAX,
                key: KeyId([u8::MAX; 32]),
                hello: hello.clone(),
            };
            let life = self.controllers[controller].life;
            self.step(controller, Event::Enrol(call, enrol))?;
            if self.controllers[controller].life != life {
                return Ok(());
            }
        }
        let key = KeyId(key);
        if !enrolled {
            let call = self.call(controller, Caller::Agent(agent, installation, None));
            let enrol = Enrol { agent: id, token, token_expires: u64::MAX, key, hello };
            return self.step(controller, Event::Enrol(call, enrol));
        }
        let this = &mut self.controllers[controller];
        this.next += 1;
        let stream = StreamId(this.next);
        this.streams.insert(stream, agent);
        let call = self.call(controller, Caller::Agent(agent, installation, Some(stream)));
        self.step(controller, Event::Connect(call, stream, Connect { agent: id, key, hello }))
    }

    pub(super) fn planned(
        &mut self,
        agent: usize,
        link: (usize, u64, StreamId),
        event: &PlanEvent,
    ) -> Result<(), String> {
        if self.agents[agent].link != Some(link) {
            return Ok(());
        }
        let before = self.agents[agent].position;
        let fault = self.fault;
        match self.agents[agent].take(event, fault) {
            Taken::Applied => {
                let position = self.agents[agent].position;
                if position < before {
                    return Err(format!("agent {agent} went back from {before:?} to {position:?}"));
                }
                let (controller, life, _) = link;
                if self.controllers[controller].life == life {
                    let id = self.agents[agent].id.clone();
                    self.step(controller, Event::Heartbeat(id, Heartbeat { position, ..Heartbeat::default() }))?;
                }
                if !self.calm && self.random.once_in(30) {
                    self.disconnect(agent)?;
                }
                Ok(())
            }
            Taken::Refused => self.disconnect(agent),
        }
    }

    /// A stream breaks; the controller may notice, and the agent looks for one again.
    fn disconnect(&mut self, agent: usize) -> Result<(), String> {
        let Some((controller, life, stream)) = self.agents[agent].link.take() else { return Ok(()) };
        let this = &mut self.controllers[controller];
        if this.life == life {
            this.streams.remove(&stream);
            self.step(controller, Event::Closed(stream))?;
        }
        Ok(())
    }
}
