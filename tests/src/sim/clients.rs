//! Clients: each does one thing after the other, and asks again until it has an answer that says what became of it.

use super::controllers::Caller;
use super::random::Random;
use super::world::{CONTROLLERS, Simulation, What};
use super::{Fault, TENANTS, checks};
use gateway_user::controller::core::event::Event;
use gateway_user::controller::core::message::{Answer, Method, Principal, Request, Role};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// How long a client waits for an answer, in milliseconds.
const PATIENCE: u64 = 400;

/// Something that a client wants done.
#[derive(Clone, Debug)]
pub struct Task {
    pub method: Method,
    pub path: String,
    pub body: Value,
    /// What the stored tree holds once this is done, and before it does not; nothing for a tree that is to go.
    pub mark: String,
    /// It is asked on a condition that does not hold.
    pub stale: bool,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    /// What it has still to do.
    pub tasks: VecDeque<Task>,
    /// Counts its requests, and its attempts.
    pub task: u64,
    pub attempt: u64,
    /// What the first answer that was sent for this task said, whether it arrived or not: its ETag.
    pub busy: bool,
    /// What its tree holds by the last definite answer.
    pub holds: Option<String>,
}

impl Client {
    pub fn new(number: usize, tasks: VecDeque<Task>) -> Self {
        Self { number, tasks, task: 0, attempt: 0, busy: false, holds: None }
    }

    pub fn request(&self) -> Option<Request> {
        let task = self.tasks.front()?;
        Some(Request {
            principal: Principal { name: format!("client-{}", self.number).into(), role: Role::Admin },
            request_id: format!("{}-{}-{}", self.number, self.task, self.attempt),
            method: task.method,
            path: format!("/networking/v1{}", task.path),
            query: match task.method {
                Method::Post => vec![("confirm".to_owned(), "true".to_owned())],
                _ => Vec::new(),
            },
            if_match: task.stale.then(|| "\"another\"".to_owned()),
            if_none_match: None,
            client_request_id: Some(format!("{}-{}", self.number, self.task)),
            body: if task.body == Value::Null { Default::default() } else { task.body.to_string().into() },
        })
    }

    /// Takes an answer to its present attempt. Gives the task if that is over with it.
    pub fn answered(&mut self, answer: &Answer) -> Option<Task> {
        self.busy = false;
        if answer.status == 503 || answer.status == 421 {
            self.attempt += 1;
            return None;
        }
        self.task += 1;
        self.attempt = 0;
        self.tasks.pop_front()
    }
}

/// What an operator sets up before anything else.
pub fn operator(gateways: usize) -> VecDeque<Task> {
    let mut tasks = VecDeque::new();
    let mut put = |path: String, properties: Value| {
        tasks.push_back(Task {
            method: Method::Put,
            path,
            body: json!({ "properties": properties }),
            mark: String::new(),
            stale: false,
        });
    };
    put(
        "/logicalNetworks/vips".to_owned(),
        json!({ "subnets": [{ "resourceId": "gre", "properties": {
            "addressPrefix": "198.51.100.0/24",
            "ipPools": [{ "resourceId": "p", "properties": { "startIpAddress": "198.51.100.16", "endIpAddress": "198.51.100.47" } }],
        } }] }),
    );
    put(
        "/gatewayPools/default".to_owned(),
        json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 100_000,
                "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } }),
    );
    for number in 0..gateways {
        put(format!("/virtualServers/GW{number}"), json!({}));
        put(
            format!("/gateways/GW{number}"),
            json!({ "pool": { "resourceRef": "/gatewayPools/default" },
                    "virtualServer": { "resourceRef": format!("/virtualServers/GW{number}") } }),
        );
    }
    tasks
}

/// What an operator does to gateways that are in use: cordons and drains them, takes them away and brings them back.
pub fn keeper(gateways: usize, random: &mut Random) -> VecDeque<Task> {
    let mut tasks = VecDeque::new();
    for _ in 0..3 {
        let name = format!("GW{}", random.below(gateways as u64));
        let mut task = |method, path: String, body| {
            tasks.push_back(Task { method, path, body, mark: String::new(), stale: false })
        };
        let gateway = |scheduling: &str| {
            json!({ "properties": { "scheduling": scheduling, "pool": { "resourceRef": "/gatewayPools/default" },
                    "virtualServer": { "resourceRef": format!("/virtualServers/{name}") } } })
        };
        let path = format!("/gateways/{name}");
        task(Method::Put, path.clone(), gateway("Cordoned"));
        task(Method::Post, format!("{path}/drain"), Value::Null);
        if random.once_in(2) {
            task(Method::Delete, path.clone(), Value::Null);
        }
        task(Method::Put, path, gateway("Enabled"));
    }
    tasks
}

/// What a tenant's administrator does: a network, then connections that come, change and go.
pub fn tenant(number: usize, changes: u64, random: &mut Random) -> VecDeque<Task> {
    let name = format!("t{number}");
    let mut tasks = VecDeque::new();
    tasks.push_back(Task {
        method: Method::Put,
        path: format!("/virtualNetworks/{name}"),
        body: json!({ "properties": { "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
            "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] } }),
        mark: String::new(),
        stale: false,
    });
    for change in 0..changes {
        if random.once_in(4) {
            tasks.push_back(Task {
                method: Method::Delete,
                path: format!("/virtualGateways/{name}"),
                body: Value::Null,
                mark: String::new(),
                stale: false,
            });
            continue;
        }
        // By who thinks that it is another than it is.
        let stale = random.once_in(5);
        // Sites and keys are few, so that tenants come into each other's way.
        let connections: Vec<Value> = (0..1 + random.below(3))
            .map(|connection| {
                json!({ "resourceId": format!("c{connection}"), "properties": {
                    "connectionType": "GRE",
                    "inboundKiloBitsPerSecond": 500 + random.below(4000), "outboundKiloBitsPerSecond": 500 + random.below(4000),
                    "greConfiguration": { "greKey": random.below(3).to_string() },
                    "destinationIPAddress": format!("203.0.113.{connection}"),
                    "routes": [{ "destinationPrefix": format!("10.{}.0.0/16", 2 + connection), "metric": 1000 * (number as u64 + 1) + change }],
                } })
            })
            .collect();
        tasks.push_back(Task {
            method: Method::Put,
            path: format!("/virtualGateways/{name}"),
            body: json!({ "properties": {
                "gatewaySubnets": [{ "resourceRef": format!("/virtualNetworks/{name}/subnets/gateway") }],
                "networkConnections": connections } }),
            mark: format!("\"metric\":{}", 1000 * (number as u64 + 1) + change),
            stale,
        });
    }
    tasks
}

impl Simulation {
    pub(super) fn act(&mut self, client: usize) {
        let this = &mut self.clients[client];
        if this.busy {
            return;
        }
        let Some(request) = this.request() else { return };
        this.busy = true;
        let attempt = (this.task, this.attempt);
        let controller = match self.leader() {
            Some(leader) if self.random.below(4) > 0 => leader,
            _ => self.random.below(CONTROLLERS as u64) as usize,
        };
        self.after(PATIENCE, What::Impatient { client, attempt });
        if !self.is_lost() {
            let delay = self.delay();
            // At times a request arrives twice.
            if !self.calm && self.random.once_in(6) {
                let later = 100 + self.random.below(3000);
                let controller = self.random.below(CONTROLLERS as u64) as usize;
                self.after(later, What::Arrive { client, attempt, controller, request: request.clone() });
            }
            self.after(delay, What::Arrive { client, attempt, controller, request });
        }
    }

    pub(super) fn arrive(
        &mut self,
        client: usize,
        attempt: (u64, u64),
        controller: usize,
        request: Request,
    ) -> Result<(), String> {
        if self.controllers[controller].core.is_none() {
            return Ok(());
        }
        let call = self.call(controller, Caller::Client { client, attempt });
        let mut request = request;
        if self.fault == Some(Fault::SkipCondition) {
            request.if_match = None;
        }
        self.step(controller, Event::Request(call, request))
    }

    /// What a client is told has to be so at that moment, whether the answer arrives or not.
    pub(super) fn check_answer(&mut self, client: usize, attempt: (u64, u64), answer: &Answer) -> Result<(), String> {
        let this = &self.clients[client];
        // A request that was overtaken tells of the past.
        if this.task != attempt.0 || !(200..300).contains(&answer.status) {
            return Ok(());
        }
        let Some(task) = this.tasks.front() else { return Ok(()) };
        checks::answered(task, answer.status, &self.store)
    }

    pub(super) fn answered(&mut self, client: usize, attempt: (u64, u64), answer: &Answer) -> Result<(), String> {
        let this = &mut self.clients[client];
        if (this.task, this.attempt) != attempt || !this.busy {
            return Ok(());
        }
        let done = this.answered(answer);
        if let Some(task) = &done {
            let status = answer.status;
            if (200..300).contains(&status) {
                this.holds = (task.method == Method::Put).then(|| task.mark.clone()).filter(|mark| !mark.is_empty());
            }
            let number = this.number;
            self.note(format!("client {number}: {:?} {} is answered {status}", task.method, task.path));
            if number == 0 && !(200..300).contains(&status) {
                return Err(format!("the operator is answered {status}: {}", String::from_utf8_lossy(&answer.body)));
            }
            if client == 0 && self.clients[0].tasks.is_empty() {
                for tenant in 1..=TENANTS + 1 {
                    self.after(1, What::Act(tenant));
                }
            }
        }
        let delay = if done.is_some() { self.random.below(60) } else { 20 };
        self.after(delay, What::Act(client));
        Ok(())
    }
}
