//! What answers show beside what was written: where things are, and how they go.

use super::agents::{Agent, Hearing, Presence};
use super::event::Moment;
use super::plans::Documents;
use super::state::State;
use crate::agent::protocol::{LinkState, Load, Messages, PeerRoutes, PeerState, SessionState};
use crate::controller::model::Id;
use crate::controller::model::records::AgentId;
use crate::controller::placement::{GatewayState, Health, Warning};
use crate::controller::planning::{About, Planned};
use crate::controller::resources::{Kind, Observed, Path};
use crate::controller::seats::{Occupancy, Seats};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Learned routes that an answer shows of one connection.
const SHOWN: usize = 1000;

/// What is known beside the resources, as of one moment.
pub struct Beside<'a> {
    state: &'a State,
    now: Moment,
    /// Plans are made once an answer, however many of its resources ask.
    planned: RefCell<Documents>,
    /// The virtual network of each virtual gateway that was asked for.
    networks: RefCell<HashMap<Id, Option<Id>>>,
}

/// One thing that a `configurationState` tells.
struct Detail {
    severity: Severity,
    source: String,
    code: &'static str,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Success,
    Warning,
    InProgress,
    Failure,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Warning => "Warning",
            Self::InProgress => "InProgress",
            Self::Failure => "Failure",
        }
    }
}

impl<'a> Beside<'a> {
    /// What is known now.
    pub fn new(state: &'a State, now: Moment) -> Self {
        Self::knowing(state, now, Documents::default())
    }

    /// The same where some plans are made already.
    pub fn knowing(state: &'a State, now: Moment, planned: Documents) -> Self {
        Self { state, now, planned: RefCell::new(planned), networks: RefCell::default() }
    }

    fn planned(&self, network: &Id) -> Rc<Planned> {
        if let Some(known) = self.planned.borrow().get(network) {
            return Rc::clone(known);
        }
        let planned = Rc::new(self.state.planned(network));
        self.planned.borrow_mut().insert(network.clone(), Rc::clone(&planned));
        planned
    }

    fn time(&self) -> String {
        time(self.now.unix_milliseconds)
    }

    /// When an agent told what it knows.
    fn reported(&self, agent: &AgentId) -> String {
        self.state.agents.get(agent).and_then(Agent::reported).map_or_else(|| self.time(), time)
    }

    /// A `configurationState` of what is wrong.
    fn configuration(&self, details: Vec<Detail>) -> Value {
        let status = details.iter().map(|detail| detail.severity).max().unwrap_or(Severity::Success);
        let info = details
            .iter()
            .map(|detail| json!({ "source": detail.source, "message": detail.message, "code": detail.code }));
        let mut state = json!({ "status": status.as_str(), "lastUpdatedTime": self.time() });
        if !details.is_empty() {
            state["detailedInfo"] = info.collect();
        }
        state
    }

    /// Why an agent is not doing what it should, if so.
    fn agent_details(&self, agent: &AgentId) -> Vec<Detail> {
        let unreachable =
            |severity, message| vec![Detail { severity, source: agent.to_string(), code: "HostUnreachable", message }];
        let Some(known) = self.state.agents.get(agent) else {
            return unreachable(
                Severity::Failure,
                format!("no agent is enrolled for {agent}; create a join token, and start gatewayd there with it"),
            );
        };
        match known.presence(self.now.unix_milliseconds) {
            Presence::Alive => {}
            Presence::Silent => {
                return unreachable(
                    Severity::Failure,
                    format!(
                        "{agent} is not heard of; see whether its machine and its gatewayd run. Packets flow by its last plan"
                    ),
                );
            }
            Presence::Unknown => {
                let message = match self.state.agents.hearing() {
                    Hearing::Here => format!("{agent} has not been heard of yet"),
                    Hearing::Elsewhere => {
                        format!("only the controller that leads hears from {agent}, and this one follows; ask that one")
                    }
                };
                return unreachable(Severity::InProgress, message);
            }
        }
        let mut details: Vec<Detail> = known
            .problems()
            .iter()
            .map(|problem| Detail {
                severity: Severity::Failure,
                source: agent.to_string(),
                code: "PolicyConfigurationFailure",
                message: format!("{}: {}", problem.about, problem.message),
            })
            .collect();
        if details.is_empty() && !known.is_up_to_date() {
            let message = format!("{agent} is taking over its latest plan");
            details.push(Detail {
                severity: Severity::InProgress,
                source: agent.to_string(),
                code: "InProgress",
                message,
            });
        }
        details
    }

    /// How a tenant fares on an agent.
    fn tenant_details(&self, agent: &AgentId, name: &str, about: Option<&Id>) -> Vec<Detail> {
        let known = self.state.agents.get(agent).and_then(|known| known.tenant(name));
        let problems = known.into_iter().flat_map(|state| &state.problems);
        let concerned = problems.filter(|problem| about.is_none_or(|about| problem.about.contains(about.as_str())));
        concerned
            .map(|problem| Detail {
                severity: Severity::Failure,
                source: agent.to_string(),
                code: "PolicyConfigurationFailure",
                message: format!("{}: {}", problem.about, problem.message),
            })
            .collect()
    }

    /// What planning found wrong with a part of a tenant, or with all of a network.
    fn planning_details(&self, network: &Id, about: Option<&About>) -> Vec<Detail> {
        let planned = self.planned(network);
        let concerned = planned
            .problems
            .iter()
            .filter(|problem| about.is_none() || problem.about.as_ref() == about || problem.about.is_none());
        concerned
            .map(|problem| Detail {
                severity: Severity::Failure,
                source: "controller".to_owned(),
                code: problem.code,
                message: problem.message.clone(),
            })
            .collect()
    }

    /// That nobody holds a gateway's seat, if so.
    fn emptiness(&self, gateway: &Id, severity: Severity, code: &'static str) -> Option<Detail> {
        let (_, seats) = self.state.seats_around(gateway)?;
        let known = seats.seats.get(gateway).filter(|known| known.occupancy == Occupancy::Empty)?;
        let last = known.holder.as_ref().map_or(gateway, |holder| &holder.gateway);
        let message = format!(
            "nobody holds seat {gateway}: gateway {last}, which did, is gone, and no gateway that is heard of has taken it. Its routes are \
             withdrawn until one does; repair {last}, or add a standby"
        );
        Some(Detail { severity, source: "GatewayManager".to_owned(), code, message })
    }

    fn network_of(&self, tenant: &Id) -> Option<Id> {
        if let Some(known) = self.networks.borrow().get(tenant) {
            return known.clone();
        }
        let root = Path::root(Kind::VirtualGateway, tenant.clone());
        let text = self.state.forest.text(&root);
        let network = text.and_then(|text| self.state.networks(&root, text).into_iter().next());
        self.networks.borrow_mut().insert(tenant.clone(), network.clone());
        network
    }

    fn connection(&self, tenant: &Id, id: &Id) -> Map<String, Value> {
        let mut shown = Map::new();
        let network = self.network_of(tenant);
        let about = About::Connection(id.clone());
        let mut details = network.map(|network| self.planning_details(&network, Some(&about))).unwrap_or_default();
        if let Some(at) = self.state.fleet.placement(tenant, id) {
            let bearer = self.state.bearer(&at.gateway);
            let (agent, name) = (bearer.agent(), bearer.name(tenant));
            if bearer.is_seat() {
                shown.insert("seatHolder".into(), json!({ "resourceRef": format!("/gateways/{}", bearer.gateway) }));
            }
            shown.insert("gateway".into(), json!({ "resourceRef": format!("/gateways/{}", at.gateway) }));
            if let Some(vip) = at.vip {
                shown.insert("sourceIPAddress".into(), json!(vip));
            }
            details.extend(self.emptiness(&at.gateway, Severity::Failure, "HostUnreachable"));
            if details.is_empty() {
                details.extend(self.agent_details(&agent));
                details.extend(self.tenant_details(&agent, &name, Some(id)));
            }
            let known = self.state.agents.get(&agent).and_then(|known| known.connection(&name, id.as_str()));
            let connected = known.is_some_and(|known| known.state == LinkState::Up) && details.is_empty();
            shown.insert("connectionState".into(), json!(if connected { "Connected" } else { "Disconnected" }));
            let mut statistics = statistics(&known.map(|known| known.load).unwrap_or_default());
            statistics["lastUpdated"] = json!(self.reported(&agent));
            shown.insert("statistics".into(), statistics);
        } else {
            shown.insert("connectionState".into(), json!("Disconnected"));
        }
        if let Some(learned) = self.state.learned.get(tenant) {
            let route = |prefix| json!({ "destinationPrefix": prefix, "protocol": "BGP" });
            let routes: Vec<Value> = learned.by_connection(id).take(SHOWN).map(route).collect();
            if !routes.is_empty() {
                shown.insert("routes".into(), routes.into());
            }
        }
        shown.insert("configurationState".into(), self.configuration(details));
        shown
    }

    /// Of a BGP peer: what planning found, and how its session fares.
    fn peer(&self, tenant: &Id, router: &Id, id: &Id) -> Map<String, Value> {
        let mut shown = self.bgp(tenant, &About::Peer { router: router.clone(), peer: id.clone() });
        let at = self.network_of(tenant).and_then(|network| self.planned(&network).reach.router.clone());
        let bearer = at.as_ref().map(|at| self.state.bearer(at));
        let agent = bearer.as_ref().map(|bearer| bearer.agent());
        let known = agent.as_ref().and_then(|agent| self.state.agents.get(agent));
        let alive = known.is_some_and(|known| known.presence(self.now.unix_milliseconds) == Presence::Alive);
        let tenant = bearer.and_then(|bearer| known?.tenant(&bearer.name(tenant)));
        let peer = tenant.and_then(|tenant| {
            tenant.peers.iter().find(|(name, _)| name.eq_ignore_ascii_case(id.as_str())).map(|(_, peer)| peer)
        });
        let connected = alive && peer.is_some_and(|peer| peer.session == SessionState::Up);
        shown.insert("connectionState".into(), json!(if connected { "Connected" } else { "Disconnected" }));
        if let (Some(peer), Some(agent)) = (peer, &agent) {
            let mut statistics = peer_statistics(peer);
            statistics["lastUpdated"] = json!(self.reported(agent));
            shown.insert("statistics".into(), statistics);
        }
        shown
    }

    /// Of a BGP router or peer.
    fn bgp(&self, tenant: &Id, about: &About) -> Map<String, Value> {
        let network = self.network_of(tenant);
        let details = network.map(|network| self.planning_details(&network, Some(about))).unwrap_or_default();
        [("configurationState".to_owned(), self.configuration(details))].into_iter().collect()
    }

    fn virtual_gateway(&self, tenant: &Id) -> Map<String, Value> {
        let network = self.network_of(tenant);
        let mut details = network.map(|network| self.planning_details(&network, None)).unwrap_or_default();
        let mut gateways: Vec<&Id> = self.state.fleet.placements(tenant).map(|(_, at)| &at.gateway).collect();
        gateways.sort();
        gateways.dedup();
        for gateway in gateways {
            let bearer = self.state.bearer(gateway);
            let agent = bearer.agent();
            details.extend(self.emptiness(gateway, Severity::Failure, "HostUnreachable"));
            details.extend(self.agent_details(&agent));
            details.extend(self.tenant_details(&agent, &bearer.name(tenant), None));
        }
        [("configurationState".to_owned(), self.configuration(details))].into_iter().collect()
    }

    fn gateway(&self, id: &Id) -> Map<String, Value> {
        let mut shown = Map::new();
        let agent = super::gateway(id);
        let mut details = self.agent_details(&agent);
        details.extend(self.emptiness(id, Severity::Failure, "HostUnreachable"));
        let Some(status) = self.state.fleet.status(id) else { return shown };
        let state = match status.state {
            GatewayState::Active => "Active",
            GatewayState::Redundant => "Redundant",
        };
        let failed = self.state.fleet.health(id) == Some(Health::Failed);
        let presence = self.state.agents.get(&agent).map(|known| known.presence(self.now.unix_milliseconds));
        let health = match presence {
            Some(Presence::Alive) if !failed => "Healthy",
            Some(Presence::Silent) => "Unhealthy",
            _ if failed => "Unhealthy",
            _ => "Unknown",
        };
        shown.insert("state".into(), json!(state));
        shown.insert("healthState".into(), json!(health));
        if let Some(known) = self.state.agents.get(&agent) {
            shown.insert("agent".into(), json!({ "version": known.registration.version, "run": known.run() }));
        }
        shown.insert("totalCapacity".into(), json!(status.total_capacity));
        shown.insert("availableCapacity".into(), json!(status.available_capacity));
        let addresses = status
            .vips
            .iter()
            .map(|vip| json!({ "ipAddress": vip, "prefixLength": if vip.is_ipv4() { 32 } else { 128 } }));
        shown.insert("externalIPAddress".into(), addresses.collect());
        shown.insert("connections".into(), json!([]));
        if let Some(gateway) = self.state.gateway_resource(id).filter(|it| !it.bgp_config.peers.is_empty()) {
            let known = self.state.agents.get(&agent).filter(|_| presence == Some(Presence::Alive));
            let sessions = gateway.bgp_config.peers.iter().map(|peer| {
                let session = known.and_then(|known| known.rack().iter().find(|it| it.peer == peer.address));
                let connected = session.is_some_and(|session| session.state == "established");
                let mut state = json!({
                    "peerIP": peer.address,
                    "connectionState": if connected { "Connected" } else { "Disconnected" },
                });
                if let Some(error) = session.and_then(|session| session.last_error.as_ref()) {
                    state["lastError"] = json!(error);
                }
                state
            });
            shown.insert("bgpPeerStates".into(), sessions.collect());
        }
        let mut tenants: BTreeMap<&Id, Vec<Value>> = BTreeMap::new();
        for (tenant, connection) in self.state.fleet.carried_by(id) {
            let reference = format!("/virtualGateways/{tenant}/networkConnections/{connection}");
            tenants.entry(tenant).or_default().push(json!({ "resourceRef": reference }));
        }
        let tenants = tenants.into_iter().map(|(tenant, connections)| {
            json!({
                "virtualGateway": { "resourceRef": format!("/virtualGateways/{tenant}") },
                "networkConnections": connections,
            })
        });
        shown.insert("virtualGateways".into(), tenants.collect());
        if let Some((_, seats)) = self.state.seats_around(id) {
            let concerned = seats.concerning(id).map(|name| self.state.shown_seat(seats, name));
            shown.insert("seats".into(), concerned.collect());
        }
        shown.insert("configurationState".into(), self.configuration(details));
        shown
    }

    fn pool(&self, id: &Id) -> Map<String, Value> {
        let detail =
            |code, message| Detail { severity: Severity::Warning, source: "GatewayManager".to_owned(), code, message };
        let seats = self.state.seats_of(id);
        let mut warnings = self.state.fleet.warnings(id);
        // Who could take over which seat is known better than how many standbys there are.
        warnings.retain(|warning| {
            seats.is_none() || !matches!(warning, Warning::FewStandbys { .. } | Warning::Uncovered { .. })
        });
        let mut details: Vec<Detail> =
            warnings.into_iter().map(|warning| detail("Warning", warning.to_string())).collect();
        let mut shown = Map::new();
        if let Some(seats) = seats {
            let empty = seats.seats.keys().filter_map(|seat| self.emptiness(seat, Severity::Warning, "Degraded"));
            details.extend(empty);
            let losses = self.state.unsurvived(id, self.now.unix_milliseconds);
            details.extend(losses.into_iter().map(|loss| detail("Degraded", loss.to_string())));
            if seats.secret.is_none() {
                let message = "this controller keeps no secrets, so that gateways cannot talk to each other of seats";
                details.push(detail("Degraded", message.to_owned()));
            }
            shown.insert("seats".into(), seats.seats.keys().map(|name| self.state.shown_seat(seats, name)).collect());
            let moves = seats.history.iter().map(|moved| {
                json!({ "time": time(moved.heard), "seat": moved.seat, "from": moved.from, "to": moved.to, "epoch": moved.epoch })
            });
            shown.insert("seatHistory".into(), moves.collect());
        }
        shown.insert("configurationState".to_owned(), self.configuration(details));
        shown
    }

    fn subnet(&self, network: &Id, id: &Id) -> Map<String, Value> {
        let allocations = self.state.allocations(network);
        let vsid = allocations.subnets.get(id).map(|vsid| ("virtualSubnetId".to_owned(), json!(vsid.get())));
        vsid.into_iter().collect()
    }

    fn interface(&self, path: &Path) -> Map<String, Value> {
        let Some(text) = self.state.forest.text(path) else { return Map::new() };
        let mut details = Vec::new();
        let about = About::Interface(path.id().clone());
        for network in self.state.networks(path, text) {
            details.extend(self.planning_details(&network, Some(&about)));
        }
        [("configurationState".to_owned(), self.configuration(details))].into_iter().collect()
    }

    fn network(&self, id: &Id) -> Map<String, Value> {
        let details = self.planning_details(id, None);
        [("configurationState".to_owned(), self.configuration(details))].into_iter().collect()
    }

    fn server(&self, id: &Id) -> Map<String, Value> {
        let agent = super::host(id);
        let mut shown = Map::new();
        if let Some(load) = self.state.agents.get(&agent).and_then(Agent::machines) {
            let mut statistics = statistics(load);
            statistics["lastUpdated"] = json!(self.reported(&agent));
            shown.insert("statistics".to_owned(), statistics);
        }
        shown.insert("configurationState".to_owned(), self.configuration(self.agent_details(&agent)));
        shown
    }

    /// Figures of the whole.
    pub fn statistics(&self) -> Value {
        let mut gateways = [0u64; 3];
        for (id, _) in self.state.forest.trees(Kind::Gateway) {
            let known = self.state.agents.get(&super::gateway(id));
            match known.map(|known| known.presence(self.now.unix_milliseconds)) {
                Some(Presence::Alive) => gateways[0] += 1,
                Some(Presence::Silent) => gateways[1] += 1,
                Some(Presence::Unknown) | None => gateways[2] += 1,
            }
        }
        let count = |kind| self.state.forest.trees(kind).count();
        json!({
            "properties": {
                "healthStatistics": {
                    "Gateway": {
                        "totalResourceCount": gateways.iter().sum::<u64>(),
                        "healthyResourceCount": gateways[0],
                        "errorResourceCount": gateways[1],
                        "healthUnknownResourceCount": gateways[2],
                    },
                    "VirtualNetwork": { "totalResourceCount": count(Kind::VirtualNetwork) },
                    "VirtualGateway": { "totalResourceCount": count(Kind::VirtualGateway) },
                },
                "lastUpdatedTime": self.time(),
            }
        })
    }
}

impl State {
    /// A seat, as it is shown.
    pub(super) fn shown_seat(&self, seats: &Seats, name: &Id) -> Value {
        let Some((name, known)) = seats.seats.get_key_value(name) else { return json!({ "seat": name }) };
        let next = known.ahead().map(|grant| {
            let mut next = json!({ "gateway": grant.to, "epoch": grant.epoch });
            let lack = self.lack(name, &grant.to);
            if !lack.is_nothing() {
                next["lacks"] = json!(lack);
            }
            next
        });
        json!({
            "seat": name,
            "holder": known.holder.as_ref().map(|holder| &holder.gateway),
            "epoch": known.held(),
            "fabricAddresses": known.pa,
            "rackAddresses": known.next_hop,
            "macAddress": known.mac,
            "occupancy": known.occupancy,
            "next": next.collect::<Vec<_>>(),
        })
    }
}

/// What was carried, and how much it is a second.
fn statistics(load: &Load) -> Value {
    let (counters, rates) = (&load.counters, &load.rates);
    json!({
        "outboundBytes": counters.out_bytes,
        "inboundBytes": counters.in_bytes,
        "outboundPackets": counters.out_packets,
        "inboundPackets": counters.in_packets,
        "rxTotalPacketsDropped": counters.dropped_packets,
        "txTotalPacketsDropped": counters.dropped_packets,
        "rxRateLimitedPacketsDropped": counters.rate_limited_in,
        "txRateLimitedPacketsDropped": counters.rate_limited_out,
        "rxRateKbps": rates.in_bits / 1000,
        "txRateKbps": rates.out_bits / 1000,
        "inboundBitsPerSecond": rates.in_bits,
        "outboundBitsPerSecond": rates.out_bits,
        "inboundPacketsPerSecond": rates.in_packets,
        "outboundPacketsPerSecond": rates.out_packets,
        "droppedPacketsPerSecond": rates.dropped_packets,
    })
}

/// What was exchanged with a BGP peer.
fn peer_statistics(peer: &PeerState) -> Value {
    let messages = |of: &Messages| json!({ "sentCount": of.sent, "receivedCount": of.received });
    // As the northbound interface spells it.
    let routes = |of: &PeerRoutes| {
        json!({
            "updateSentCount": of.updates.sent,
            "updateReceivedCount": of.updates.received,
            "withdrawlSentCount": of.withdrawals.sent,
            "withdrawlReceivedCount": of.withdrawals.received,
        })
    };
    let mut statistics = json!({
        "openMessageStats": messages(&peer.open),
        "notificationMessageStats": messages(&peer.notification),
        "keepAliveMessageStats": messages(&peer.keepalive),
        "routeRefreshMessageStats": messages(&peer.refresh),
        "updateMessageStats": messages(&peer.update),
        "ipv4Route": routes(&peer.ipv4),
        "ipv6Route": routes(&peer.ipv6),
    });
    if let Some(closed) = peer.closed {
        statistics["tcpConnectionClosed"] = json!(time(closed));
    }
    statistics
}

impl Observed for Beside<'_> {
    fn properties(&self, path: &Path) -> Map<String, Value> {
        let root = path.tree();
        match path.kind() {
            Kind::NetworkConnection => self.connection(root.id(), path.id()),
            Kind::VirtualGateway => self.virtual_gateway(path.id()),
            Kind::BgpRouter => self.bgp(root.id(), &About::Router(path.id().clone())),
            Kind::BgpPeer => match path.parent() {
                Some(router) => self.peer(root.id(), router.id(), path.id()),
                None => Map::new(),
            },
            Kind::Gateway => self.gateway(path.id()),
            Kind::GatewayPool => self.pool(path.id()),
            Kind::VirtualSubnet => self.subnet(root.id(), path.id()),
            Kind::VirtualNetwork => self.network(path.id()),
            Kind::NetworkInterface => self.interface(path),
            Kind::Server => self.server(path.id()),
            _ => Map::new(),
        }
    }
}

/// A time as the northbound interface writes it (RFC 3339, UTC).
pub fn time(unix_milliseconds: u64) -> String {
    let nanoseconds = i128::from(unix_milliseconds) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    time.and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}
