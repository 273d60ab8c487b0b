//! Agents: each keeps the plan that it is told.

use super::Fault;
use gateway_user::agent::protocol::{Document, Hello, PROTOCOL, PlanEvent, Position, Resume};
use gateway_user::controller::core::event::StreamId;
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
