//! What the controller tells of its agents and of the tenants' connections, and which plan each agent says that it runs by.

use std::process::Command;

use anyhow::{Context, Result};
use gateway_user::api::report::StatusReport;
use serde_json::Value;

use super::{Machine, fit};
use crate::cloud::Operated;
use crate::gateway::program;

/// Agents and connections.
#[derive(Debug, Default)]
pub struct Plans {
    agents: Vec<Agent>,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Agent {
    name: String,
    role: String,
    /// The controller's word for how it fares.
    status: String,
    /// Epoch and revision of the plan that is in force there.
    plan: Option<String>,
    carries: Vec<String>,
}

#[derive(Debug)]
struct Connection {
    tenant: String,
    name: String,
    kind: String,
    /// Where it is placed: a gateway, or a gateway's seat.
    placed: String,
    /// Who carries it.
    gateway: String,
    near: String,
    far: String,
    limit: String,
    state: String,
}

impl Plans {
    /// Looks again. What cannot be seen is as it was, but for its state.
    pub fn look(&mut self, operated: &Operated) {
        let asked = ["/gateways", "/servers", "/virtualGateways"];
        let [gateways, servers, tenants] = std::thread::scope(|scope| {
            asked.map(|path| scope.spawn(move || operated.get(path).ok())).map(|asked| asked.join().ok().flatten())
        });
        let (Some(gateways), Some(servers), Some(tenants)) = (gateways, servers, tenants) else {
            for agent in &mut self.agents {
                "no controller".clone_into(&mut agent.status);
            }
            return;
        };
        self.connections = items(&tenants).flat_map(connections).collect();
        let mut agents: Vec<Agent> = items(&gateways).map(|gateway| self.gateway(gateway)).collect();
        agents.extend(items(&servers).map(host));
        std::thread::scope(|scope| {
            for agent in &mut agents {
                let machines = operated.cloud.gateways.iter().chain(&operated.cloud.hosts);
                let machine = machines.into_iter().find(|machine| machine.name() == agent.name);
                scope.spawn(move || agent.plan = machine.and_then(|machine| plan_of(machine).ok()));
            }
        });
        self.agents = agents;
    }

    fn gateway(&self, gateway: &Value) -> Agent {
        let name = text(&gateway["resourceId"]);
        let carried = self.connections.iter().filter(|connection| connection.gateway == name);
        Agent {
            role: format!("gateway, {}", text(&gateway["properties"]["state"]).to_lowercase()),
            status: status(gateway),
            plan: None,
            carries: carried.map(|connection| format!("{}/{}", connection.tenant, connection.name)).collect(),
            name,
        }
    }

    /// The gateway that carries a tenant's first connection.
    pub fn gateway_of(&self, tenant: &str) -> Option<String> {
        self.connections.iter().find(|connection| connection.tenant == tenant).map(|one| one.gateway.clone())
    }

    /// The name by which that gateway has the tenant: with the seat, since the same tenant may be on several.
    pub fn instance_of(&self, tenant: &str) -> Option<String> {
        self.connections.iter().find(|one| one.tenant == tenant).map(|one| format!("{tenant}@{}", one.placed))
    }

    /// Whether everything is as it was described.
    pub fn is_complete(&self) -> bool {
        !self.agents.is_empty()
            && !self.connections.is_empty()
            && self.agents.iter().all(|agent| agent.status == "Success" && agent.plan.is_some())
            && self.connections.iter().all(|connection| connection.state == "Connected")
    }

    /// The tables of both.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{:<6} {:<19} {:<13} {:<7} {}", "AGENT", "ROLE", "STATUS", "PLAN", "CARRIES")];
        lines.extend(self.agents.iter().map(|agent| {
            let plan = agent.plan.as_deref().unwrap_or("-");
            let carries = if agent.carries.is_empty() { "-".to_owned() } else { agent.carries.join(" ") };
            let Agent { name, role, status, .. } = agent;
            format!("{name:<6} {role:<19} {:<13} {plan:<7} {}", fit(status, 13), fit(&carries, 31))
        }));
        lines.push(String::new());
        let columns = |[connection, kind, gateway, near, far, limit, state]: [&str; 7]| {
            format!("{connection:<12} {kind:<4} {gateway:<7} {near:<13} {far:<13} {limit:>10}  {state}")
        };
        lines.push(columns(["CONNECTION", "TYPE", "GATEWAY", "GATEWAY'S END", "SITE'S END", "LIMIT", "STATE"]));
        lines.extend(self.connections.iter().map(|one| {
            let name = format!("{}/{}", one.tenant, one.name);
            columns([&name, &one.kind, &one.gateway, &one.near, &one.far, &one.limit, &one.state])
        }));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn host(server: &Value) -> Agent {
    let interfaces = server["properties"]["virtualNetworkInterfaces"].as_array();
    Agent {
        name: text(&server["resourceId"]),
        role: "host".to_owned(),
        status: status(server),
        plan: None,
        carries: interfaces.into_iter().flatten().map(text).collect(),
    }
}

fn connections(tenant: &Value) -> Vec<Connection> {
    let all = tenant["properties"]["networkConnections"].as_array();
    let one = |connection: &Value| {
        let properties = &connection["properties"];
        let (near, far) = match properties["connectionType"].as_str() {
            Some("GRE") => (&properties["sourceIPAddress"], &properties["destinationIPAddress"]),
            _ => (&properties["ipAddresses"][0]["ipAddress"], &properties["peerIPAddresses"][0]),
        };
        let limit = properties["outboundKiloBitsPerSecond"].as_u64().unwrap_or_default();
        Connection {
            tenant: text(&tenant["resourceId"]),
            name: text(&connection["resourceId"]),
            kind: text(&properties["connectionType"]),
            placed: text(&properties["gateway"]),
            gateway: text(properties.get("seatHolder").unwrap_or(&properties["gateway"])),
            near: text(near),
            far: text(far),
            limit: format!("{} Mbit/s", limit / 1000),
            state: text(&properties["connectionState"]),
        }
    };
    all.into_iter().flatten().map(one).collect()
}

fn items(collection: &Value) -> impl Iterator<Item = &Value> {
    collection["value"].as_array().into_iter().flatten()
}

/// A text, or the id that a reference ends with.
fn text(value: &Value) -> String {
    let text = value.as_str().or_else(|| value["resourceRef"].as_str()?.rsplit('/').next());
    text.unwrap_or("-").to_owned()
}

fn status(resource: &Value) -> String {
    text(&resource["properties"]["configurationState"]["status"])
}

/// The epoch and revision of the plan that an agent says it runs by.
fn plan_of(machine: &Machine) -> Result<String> {
    let printed = machine.run(Command::new(program("gatewayctl")?).args(["status", "-o", "json"]))?;
    let status: StatusReport = serde_json::from_str(&printed)?;
    let position = status.plan.rsplit(' ').next().context("the plan has no name")?;
    Ok(position.to_owned())
}
