//! An agent as gateways and hosts have it, with a plan that nobody has to carry out.

use super::controllers::{Controllers, PATIENCE};
use gateway_user::agent::address::ControllerAddress;
use gateway_user::agent::link::{self, Timers};
use gateway_user::agent::protocol::{Hello, PROTOCOL, PlanEvent, Position};
use gateway_user::agent::{Kind, Link, News, Options};
use gateway_user::controller::model::records::{AgentId, Role};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// Takes every plan as it is.
#[derive(Debug)]
struct Verbatim;

impl Kind for Verbatim {
    type Base = Value;
    type Part = Value;
    type Plan = Vec<Value>;

    fn assemble<'a>(_: &Value, parts: impl Iterator<Item = &'a Value>) -> Result<Vec<Value>, String> {
        Ok(parts.cloned().collect())
    }
}

/// A gateway's agent.
pub struct Agent {
    link: Link<Vec<Value>>,
    directory: TempDir,
    /// How new the plan is that it has.
    pub position: Position,
    /// Its tenants' documents.
    pub tenants: Vec<Value>,
}

impl Agent {
    /// Lets GW1 join: there has to be a resource of that name.
    pub fn join(controllers: &Controllers, addresses: Vec<ControllerAddress>) -> Self {
        let data = controllers.data(0).display().to_string();
        let create = ["controller", "token", "create", "--role", "gateway", "--id", "GW1", "--data-dir", &data];
        let token = controllers.run("gatewayd", &create).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            agent: AgentId { role: Role::Gateway, id: "GW1".into() },
            controllers: addresses,
            token: Some(token.trim().parse().unwrap()),
            directory: directory.path().to_owned(),
            hello: Hello {
                protocol: PROTOCOL,
                version: "lab".into(),
                boot: link::boot(),
                pa: serde_json::from_value(json!(["10.10.0.1"])).unwrap(),
                ports: serde_json::from_value(json!([["fab0", "fabric"], ["tor0", "site"]])).unwrap(),
                life: None,
                resume: None,
            },
            timers: Timers::default(),
        };
        let link = gateway_user::agent::start::<Verbatim>(options).unwrap();
        Self { link, directory, position: Position::default(), tenants: Vec::new() }
    }

    /// Takes plans until one is as wanted.
    pub async fn until(&mut self, awaited: &str, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let news = tokio::time::timeout(PATIENCE, self.link.news.recv()).await;
            match news.unwrap_or_else(|_| panic!("waited in vain for {awaited}; {:?}", self.position)) {
                Some(News::Plan(offer)) => {
                    assert!(offer.position >= self.position, "{} comes after {}", offer.position, self.position);
                    (self.position, self.tenants) = (offer.position, offer.plan);
                    offer.reply.send(Ok(())).unwrap();
                }
                Some(News::Routes(_)) => {}
                Some(News::Failed(error)) => panic!("{error:#}"),
                None => panic!("the link has ended"),
            }
        }
    }

    /// Whether its plan has so many tenants.
    pub fn has(&self, tenants: usize) -> bool {
        self.tenants.len() == tenants
    }

    /// The events that it keeps since it was last told a whole plan.
    pub fn kept(&self) -> Vec<PlanEvent> {
        let text = fs::read_to_string(self.directory.path().join("plan.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Describes a pool with GW1 alone, so that an agent of that name has something to do.
pub async fn furnish(controllers: &Controllers) {
    let mut client = controllers.client();
    let pools = json!([{ "resourceId": "p", "properties": { "startIpAddress": "198.51.100.16", "endIpAddress": "198.51.100.31" } }]);
    let subnets =
        json!([{ "resourceId": "gre", "properties": { "addressPrefix": "198.51.100.0/24", "ipPools": pools } }]);
    client.put("/logicalNetworks/vips", &json!({ "subnets": subnets })).await;
    let vips = json!({ "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] });
    let pool = json!({ "type": "All", "redundantGatewayCount": 0, "gatewayCapacityKiloBitsPerSecond": 10_000_000, "ipConfiguration": vips });
    client.put("/gatewayPools/default", &pool).await;
    client.put("/virtualServers/GW1", &json!({})).await;
    let (pool, machine) =
        (json!({ "resourceRef": "/gatewayPools/default" }), json!({ "resourceRef": "/virtualServers/GW1" }));
    client.put("/gateways/GW1", &json!({ "pool": pool, "virtualServer": machine })).await;
}

/// Describes a tenant whose only connection GW1 carries.
pub async fn describe(controllers: &Controllers, name: &str, key: u32) {
    let mut client = controllers.client();
    let subnets = json!([{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }]);
    let space = json!({ "addressPrefixes": ["10.1.0.0/16"] });
    client.put(&format!("/virtualNetworks/{name}"), &json!({ "addressSpace": space, "subnets": subnets })).await;
    client.put(&format!("/virtualGateways/{name}"), &gateway(name, key)).await;
}

/// The properties of a tenant's gateway with one connection.
pub fn gateway(name: &str, key: u32) -> Value {
    json!({
        "gatewaySubnets": [{ "resourceRef": format!("/virtualNetworks/{name}/subnets/gateway") }],
        "networkConnections": [{ "resourceId": "hq", "properties": {
            "connectionType": "GRE", "inboundKiloBitsPerSecond": 1000, "outboundKiloBitsPerSecond": 1000,
            "greConfiguration": { "greKey": key.to_string() }, "destinationIPAddress": "203.0.113.20",
            "routes": [{ "destinationPrefix": "10.2.0.0/16", "metric": 10 }] } }],
    })
}
