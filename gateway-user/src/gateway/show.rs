//! What the control socket's questions are answered, from the plan, the world, the tables and the counters.

use super::agent::Agent;
use super::compartment::PREFIX;
use crate::api::agent::{TraceKeys, TraceNames};
use crate::api::protocol::{Answer, Failure, Query};
use crate::api::report::{
    ConnectionReport, DropCount, DropReport, NexthopReport, PathMtuReport, PortReport, RouteReport, SeatReport,
    StatusReport, TenantReport, Traffic,
};
use crate::dataplane::compile::SEAT;
use crate::dataplane::read::{Dropped, Scope};
use crate::dataplane::tables::{Tables, TenantRoutes};
use crate::dataplane::world::{ConnectionName, World};
use crate::plan::{Connection, ConnectionKind, Encapsulation, PortMode, PortRole, Tenant};
use gateway_common::gate::State;
use gateway_common::tables::{Counters, Nexthop, Route};
use gateway_common::{ConnectionId, DropReason, HostId, NexthopId, OriginId, PortId, TenantId, template};
use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Answers a question.
pub(super) fn show(agent: &mut Agent, query: &Query) -> Result<Answer, Failure> {
    let answer = match query {
        Query::Status => status(agent).map(|report| Answer::Status(Box::new(report))),
        Query::Connections => connections(agent).map(Answer::Connections),
        Query::Tenants => tenants(agent).map(Answer::Tenants),
        Query::Ports => ports(agent).map(Answer::Ports),
        Query::Drops => drops(agent).map(Answer::Drops),
        Query::Routes { tenant, prefix } => {
            let id = agent.dataplane.ids().tenant_id(tenant).ok_or_else(|| Failure::not_found("tenant", tenant))?;
            routes(agent, id, *prefix).map(Answer::Routes)
        }
        Query::Nexthops => nexthops(agent).map(Answer::Nexthops),
        Query::Seats => seats(agent).map(Answer::Seats),
        Query::PathMtus => path_mtus(agent).map(Answer::PathMtus),
    };
    answer.map_err(|error| Failure::internal(format!("{error:#}")))
}

fn status(agent: &mut Agent) -> anyhow::Result<StatusReport> {
    let tables = agent.dataplane.tables()?;
    let routes = tables.routes.values().map(|routes| routes.v4.len() + routes.v6.len()).sum::<usize>();
    let nexthops = tables.nexthops.len();
    let unresolved = tables.nexthops.values().filter(|nexthop| nexthop.kind == Nexthop::UNRESOLVED).count();
    let plan = &agent.plan;
    let ids = agent.dataplane.ids();
    Ok(StatusReport {
        name: plan.gateway.name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: agent.started.elapsed().as_secs(),
        adopted: agent.adopted,
        plan: agent.plan_name.clone(),
        plans_applied: agent.plans_applied,
        encapsulation: match plan.gateway.encapsulation {
            Encapsulation::Vxlan => "vxlan",
            Encapsulation::Nvgre => "nvgre",
        }
        .to_owned(),
        pa: plan.gateway.pa.iter().collect(),
        ports: plan.ports.len() as u64,
        tenants: plan.tenants.len() as u64,
        connections: plan.tenants.iter().map(|tenant| tenant.connections.len() as u64).sum(),
        routes: routes as u64,
        nexthops: nexthops as u64,
        nexthops_unresolved: unresolved as u64,
        compartments: agent.compartments.tenants().count() as u64,
        traced: agent.traced.iter().filter_map(|tenant| ids.tenant_name(*tenant)).map(str::to_owned).collect(),
        warnings: agent.warnings.iter().map(|(about, what)| format!("{about}: {what}")).collect(),
    })
}

/// Drop counts by whose they are.
struct Drops(HashMap<Scope, Vec<Dropped>>);

impl Drops {
    fn read(agent: &Agent) -> anyhow::Result<Self> {
        let mut drops: HashMap<Scope, Vec<Dropped>> = HashMap::new();
        for dropped in agent.reader.drops()? {
            drops.entry(dropped.scope).or_default().push(dropped);
        }
        Ok(Self(drops))
    }

    fn traffic(&self, counters: Counters, scope: Scope) -> Traffic {
        let list = self.0.get(&scope).map(Vec::as_slice).unwrap_or_default();
        let mut counts: Vec<DropCount> = list
            .iter()
            .filter(|dropped| dropped.packets > 0)
            .map(|dropped| DropCount { reason: dropped.reason.name().to_owned(), packets: dropped.packets })
            .collect();
        counts.sort_by(|a, b| a.reason.cmp(&b.reason));
        Traffic::new(counters, counts)
    }
}

fn connections(agent: &Agent) -> anyhow::Result<Vec<ConnectionReport>> {
    let drops = Drops::read(agent)?;
    let ids = agent.dataplane.ids();
    let mut list = Vec::new();
    for (tenant, connection) in each_connection(agent) {
        let Some(id) = ids.connection_id(tenant.name.as_str(), connection.name.as_str()) else { continue };
        let traffic = drops.traffic(agent.reader.connection(id)?, Scope::Connection(id));
        let mut report = ConnectionReport {
            tenant: tenant.name.to_string(),
            name: connection.name.to_string(),
            state: state(&agent.world, tenant, connection).to_owned(),
            inbound_kbps: connection.inbound_kbps.map(|limit| limit.get().into()),
            outbound_kbps: connection.outbound_kbps.map(|limit| limit.get().into()),
            rate_limited_in: traffic.dropped_for(DropReason::RateInbound),
            rate_limited_out: traffic.dropped_for(DropReason::RateOutbound),
            traffic,
            ..ConnectionReport::default()
        };
        match &connection.kind {
            ConnectionKind::Gre(gre) => {
                report.r#type = "gre".to_owned();
                let key = gre.key.map(|key| format!(" key {key}")).unwrap_or_default();
                report.endpoint = format!("{} - {}{key}", gre.vip, gre.remote);
                (report.vip, report.remote, report.key) = (Some(gre.vip), Some(gre.remote), gre.key);
            }
            ConnectionKind::L3(l3) => {
                report.r#type = "l3".to_owned();
                report.endpoint = format!("{} vlan {}", l3.port, l3.vlan);
                (report.port, report.vlan) = (Some(l3.port.to_string()), Some(l3.vlan.get()));
            }
        }
        list.push(report);
    }
    Ok(list)
}

fn each_connection(agent: &Agent) -> impl Iterator<Item = (&Tenant, &Connection)> {
    agent.plan.tenants.iter().flat_map(|tenant| tenant.connections.iter().map(move |connection| (tenant, connection)))
}

fn state(world: &World, tenant: &Tenant, connection: &Connection) -> &'static str {
    let resolved = match &connection.kind {
        ConnectionKind::Gre(gre) => world.hops.contains_key(&gre.remote),
        ConnectionKind::L3(_) => {
            let name = ConnectionName { tenant: tenant.name.to_string(), connection: connection.name.to_string() };
            world.neighbours.keys().any(|neighbour| neighbour.connection == name)
        }
    };
    match (connection.enabled, resolved) {
        (false, _) => "disabled",
        (true, true) => "up",
        (true, false) => "unresolved",
    }
}

fn tenants(agent: &mut Agent) -> anyhow::Result<Vec<TenantReport>> {
    let drops = Drops::read(agent)?;
    let routes: HashMap<TenantId, u64> = agent
        .dataplane
        .tables()?
        .routes
        .iter()
        .map(|(tenant, routes)| (*tenant, (routes.v4.len() + routes.v6.len()) as u64))
        .collect();
    let mut list = Vec::new();
    for tenant in &agent.plan.tenants {
        let name = tenant.name.as_str();
        let Some(id) = agent.dataplane.ids().tenant_id(name) else { continue };
        list.push(TenantReport {
            name: name.to_owned(),
            id: id.0,
            connections: tenant.connections.len() as u64,
            vms: tenant.vms.len() as u64,
            routes: routes.get(&id).copied().unwrap_or_default(),
            gateway_addresses: tenant.gateway_addresses.iter().collect(),
            compartment: agent.world.compartments.contains_key(name).then(|| format!("{PREFIX}{name}")),
            traffic: drops.traffic(agent.reader.tenant(id)?, Scope::Tenant(id)),
        });
    }
    Ok(list)
}

fn ports(agent: &Agent) -> anyhow::Result<Vec<PortReport>> {
    let drops = Drops::read(agent)?;
    let mut list = Vec::new();
    for port in &agent.plan.ports {
        let link = agent.links.get(port.name.as_str());
        let ifindex = link.map_or(0, |link| link.index);
        let counters = match agent.dataplane.ids().port_id(port.name.as_str()) {
            Some(id) => agent.reader.port(id)?,
            None => Counters::default(),
        };
        list.push(PortReport {
            name: port.name.to_string(),
            ifindex,
            role: match port.role {
                PortRole::Fabric => "fabric",
                PortRole::Site => "site",
                PortRole::Both => "both",
            }
            .to_owned(),
            mode: match port.mode {
                PortMode::Native => "native",
                PortMode::Generic => "generic",
            }
            .to_owned(),
            state: link.map_or("gone", |link| if link.up && link.running { "up" } else { "down" }).to_owned(),
            mac: link.map(|link| written(link.mac)).unwrap_or_default(),
            mtu: link.map_or(0, |link| link.mtu),
            traffic: drops.traffic(counters, Scope::Port(ifindex)),
        });
    }
    Ok(list)
}

fn drops(agent: &Agent) -> anyhow::Result<Vec<DropReport>> {
    let ids = agent.dataplane.ids();
    let connections: HashMap<ConnectionId, (&str, &str)> = each_connection(agent)
        .filter_map(|(tenant, connection)| {
            let names = (tenant.name.as_str(), connection.name.as_str());
            Some((ids.connection_id(names.0, names.1)?, names))
        })
        .collect();
    let tenants: HashMap<TenantId, &str> =
        agent.plan.tenants.iter().filter_map(|t| Some((ids.tenant_id(t.name.as_str())?, t.name.as_str()))).collect();
    let mut list = Vec::new();
    for dropped in agent.reader.drops()? {
        if dropped.packets == 0 {
            continue;
        }
        let (scope, tenant, name) = match dropped.scope {
            Scope::Port(ifindex) => ("port", None, interface(agent, ifindex)),
            Scope::Tenant(id) => {
                let name = tenants.get(&id).map_or_else(|| format!("#{}", id.0), |name| (*name).to_owned());
                ("tenant", Some(name.clone()), name)
            }
            Scope::Connection(id) => match connections.get(&id) {
                Some((tenant, name)) => ("connection", Some((*tenant).to_owned()), (*name).to_owned()),
                None => ("connection", None, format!("#{}", id.0)),
            },
        };
        list.push(DropReport {
            scope: scope.to_owned(),
            tenant,
            name,
            reason: dropped.reason.name().to_owned(),
            packets: dropped.packets,
            meaning: dropped.reason.meaning().to_owned(),
        });
    }
    Ok(list)
}

fn interface(agent: &Agent, ifindex: u32) -> String {
    let port = agent.links.values().find(|link| link.index == ifindex).map(|link| link.name.clone());
    let veth = || agent.compartments.root_links().find(|(_, index)| *index == ifindex).map(|(name, _)| name.to_owned());
    port.or_else(veth).unwrap_or_else(|| format!("if{ifindex}"))
}

fn routes(agent: &mut Agent, tenant: TenantId, wanted: Option<IpNet>) -> anyhow::Result<Vec<RouteReport>> {
    let tables = agent.dataplane.tables()?;
    let empty = TenantRoutes::default();
    let routes = tables.routes.get(&tenant).unwrap_or(&empty);
    let chosen = |prefix: &IpNet| wanted.is_none_or(|wanted| prefix.contains(&wanted) || wanted.contains(prefix));
    let found: Vec<(IpNet, Route)> = prefixes(routes).filter(|(prefix, _)| chosen(prefix)).collect();
    let mut sets: HashMap<u32, Vec<OriginId>> = HashMap::new();
    for key in tables.feasible.keys() {
        sets.entry(key.set).or_default().push(key.origin);
    }
    let nexthops: HashMap<NexthopId, Nexthop> =
        found.iter().filter_map(|(_, route)| Some((route.nexthop, *tables.nexthops.get(&route.nexthop.0)?))).collect();
    let names = Names::new(agent);
    let mut list: Vec<RouteReport> = found
        .into_iter()
        .map(|(prefix, route)| {
            let mut feasible: Vec<String> = match route.feasible.as_set() {
                Some(set) => sets.get(&set).into_iter().flatten().map(|origin| names.origin(*origin)).collect(),
                None if route.feasible == gateway_common::Feasible::NOBODY => Vec::new(),
                None => vec![names.origin(OriginId(route.feasible.0))],
            };
            feasible.sort();
            let leads_to = match (route.nexthop, nexthops.get(&route.nexthop)) {
                (NexthopId::NONE, _) => "none (source only)".to_owned(),
                (id, nexthop) => names.nexthop(id, nexthop),
            };
            RouteReport {
                prefix,
                leads_to,
                nexthop: (route.nexthop != NexthopId::NONE).then_some(route.nexthop.0),
                feasible,
            }
        })
        .collect();
    list.sort_by_key(|route| route.prefix);
    Ok(list)
}

fn prefixes(routes: &TenantRoutes) -> impl Iterator<Item = (IpNet, Route)> {
    let net = |address: IpAddr, len: u32| IpNet::new(address, len as u8).ok();
    let v4 =
        routes.v4.iter().filter_map(move |(prefix, route)| Some((net(prefix.address.into(), prefix.len)?, *route)));
    let v6 =
        routes.v6.iter().filter_map(move |(prefix, route)| Some((net(prefix.address.into(), prefix.len)?, *route)));
    v4.chain(v6)
}

fn nexthops(agent: &mut Agent) -> anyhow::Result<Vec<NexthopReport>> {
    let all: BTreeMap<u32, Nexthop> = agent
        .dataplane
        .tables()?
        .nexthops
        .iter()
        .filter(|(_, nexthop)| nexthop.kind != Nexthop::UNUSED)
        .map(|(id, n)| (*id, *n))
        .collect();
    let ports = port_names(agent);
    let names = Names::new(agent);
    let mut list = Vec::new();
    for (id, nexthop) in all {
        let mut report = NexthopReport {
            id,
            state: match nexthop.kind {
                Nexthop::UNRESOLVED => "unresolved",
                Nexthop::ADJACENCY => "resolved",
                Nexthop::GROUP => "group",
                Nexthop::LOCAL => "local",
                _ => "blackhole",
            }
            .to_owned(),
            tenant: names.tenant_of(NexthopId(id), &nexthop),
            leads_to: names.nexthop(NexthopId(id), Some(&nexthop)),
            ..NexthopReport::default()
        };
        if nexthop.kind == Nexthop::ADJACENCY {
            report.encapsulation =
                template::Encapsulation::from_number(nexthop.encapsulation).map(|kind| snake(&format!("{kind:?}")));
            report.port = ports.get(&nexthop.port).cloned();
            let header: &[u8] = bytemuck::cast_slice(&nexthop.header);
            report.mac = header.first_chunk().map(|mac: &[u8; 6]| written(*mac));
            report.mtu = Some(nexthop.mtu);
        }
        if nexthop.kind == Nexthop::GROUP {
            let count = (nexthop.flags as usize).min(Nexthop::GROUP_SIZE);
            report.members = (0..count).map(|index| (nexthop.header[index / 2] >> (32 * (index % 2))) as u32).collect();
        }
        list.push(report);
    }
    Ok(list)
}

fn port_names(agent: &Agent) -> HashMap<PortId, String> {
    let ids = agent.dataplane.ids();
    agent.plan.ports.iter().filter_map(|port| Some((ids.port_id(port.name.as_str())?, port.name.to_string()))).collect()
}

/// `Gre4Key` as `gre4_key`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn seats(agent: &Agent) -> anyhow::Result<Vec<SeatReport>> {
    let seat = agent.reader.seat(SEAT)?;
    let now = monotonic();
    Ok(vec![SeatReport {
        id: SEAT.0,
        state: match seat.gate.state() {
            State::Held => "held",
            State::Replica => "replica",
            State::Yielding => "yielding",
        }
        .to_owned(),
        epoch: seat.epoch.0,
        lease_seconds: seat.gate.expiry().map(|expiry| Duration::from_nanos(expiry.saturating_sub(now)).as_secs_f64()),
    }])
}

fn path_mtus(agent: &Agent) -> anyhow::Result<Vec<PathMtuReport>> {
    let (now, instant) = (monotonic(), Instant::now());
    let mut list = Vec::new();
    for (tenant, connection) in each_connection(agent) {
        let ConnectionKind::Gre(gre) = &connection.kind else { continue };
        let Some(id) = agent.dataplane.ids().connection_id(tenant.name.as_str(), connection.name.as_str()) else {
            continue;
        };
        let state = agent.reader.connection_state(id)?;
        if state.path_mtu != 0 && state.path_mtu_expiry > now {
            list.push(PathMtuReport {
                tenant: Some(tenant.name.to_string()),
                connection: Some(connection.name.to_string()),
                remote: Some(gre.remote),
                mtu: state.path_mtu,
                expires_seconds: Duration::from_nanos(state.path_mtu_expiry - now).as_secs(),
            });
        }
    }
    let mut peers: Vec<PathMtuReport> = agent
        .path_mtus
        .all()
        .map(|(remote, learned)| PathMtuReport {
            tenant: None,
            connection: None,
            remote: Some(remote),
            mtu: learned.mtu,
            expires_seconds: learned.until.saturating_duration_since(instant).as_secs(),
        })
        .collect();
    peers.sort_by_key(|peer| peer.remote);
    list.append(&mut peers);
    Ok(list)
}

/// The names of what a traced packet met.
pub(super) fn names(agent: &mut Agent, keys: &TraceKeys) -> TraceNames {
    let (nexthop, prefix) = match agent.dataplane.tables() {
        Ok(tables) => (tables.nexthops.get(&keys.nexthop.0).copied(), longest(tables, keys)),
        Err(error) => {
            tracing::debug!(%error, "a traced packet's next hop cannot be looked up");
            (None, None)
        }
    };
    let adjacency = nexthop.filter(|nexthop| nexthop.kind == Nexthop::ADJACENCY);
    let out_port = adjacency.and_then(|nexthop| port_names(agent).remove(&nexthop.port));
    let known = Names::new(agent);
    TraceNames {
        tenant: agent
            .dataplane
            .ids()
            .tenant_name(keys.tenant)
            .map_or_else(|| format!("#{}", keys.tenant.0), str::to_owned),
        in_port: interface(agent, keys.ifindex),
        origin: known.origin(keys.origin),
        prefix: prefix.map(|prefix| prefix.to_string()),
        leads_to: (keys.nexthop != NexthopId::NONE).then(|| known.nexthop(keys.nexthop, nexthop.as_ref())),
        out_connection: nexthop
            .map(|nexthop| nexthop.connection)
            .filter(|connection| *connection != ConnectionId::NONE),
        out_port,
        mtu: adjacency.map(|nexthop| nexthop.mtu),
    }
}

fn longest(tables: &Tables, keys: &TraceKeys) -> Option<IpNet> {
    let destination = keys.destination?;
    let routes = tables.routes.get(&keys.tenant)?;
    prefixes(routes)
        .filter(|(prefix, route)| prefix.contains(&destination) && route.nexthop != NexthopId::NONE)
        .map(|(prefix, _)| prefix)
        .max_by_key(IpNet::prefix_len)
}

/// Numbers of the tables as a person knows them.
struct Names {
    meanings: HashMap<NexthopId, String>,
    connections: HashMap<ConnectionId, (String, String)>,
    tenants: HashMap<TenantId, String>,
    hosts: HashMap<HostId, IpAddr>,
}

impl Names {
    fn new(agent: &Agent) -> Self {
        let ids = agent.dataplane.ids();
        let connections = each_connection(agent).filter_map(|(tenant, connection)| {
            let id = ids.connection_id(tenant.name.as_str(), connection.name.as_str())?;
            Some((id, (tenant.name.to_string(), connection.name.to_string())))
        });
        let tenants =
            agent.plan.tenants.iter().filter_map(|t| Some((ids.tenant_id(t.name.as_str())?, t.name.to_string())));
        Self {
            connections: connections.collect(),
            tenants: tenants.collect(),
            meanings: ids.nexthop_meanings().map(|(id, meaning)| (id, meaning.to_owned())).collect(),
            hosts: ids.host_addresses().collect(),
        }
    }

    fn connection(&self, id: ConnectionId) -> String {
        self.connections
            .get(&id)
            .map_or_else(|| format!("connection #{}", id.0), |(_, name)| format!("connection {name}"))
    }

    fn origin(&self, origin: OriginId) -> String {
        match origin {
            OriginId::COMPARTMENT => "compartment".to_owned(),
            OriginId::GATEWAY => "another gateway".to_owned(),
            other => match other.as_connection() {
                Some(id) => self.connection(id),
                None => {
                    let host = HostId(other.0 & !OriginId::host(HostId(0)).0);
                    self.hosts.get(&host).map_or_else(|| format!("host #{}", host.0), |pa| format!("host {pa}"))
                }
            },
        }
    }

    fn nexthop(&self, id: NexthopId, nexthop: Option<&Nexthop>) -> String {
        let Some(nexthop) = nexthop else { return format!("next hop #{}", id.0) };
        let parts: Vec<&str> = self.meanings.get(&id).map(|meaning| meaning.split('/').collect()).unwrap_or_default();
        match (nexthop.kind, &parts[..]) {
            (Nexthop::LOCAL, _) => "compartment".to_owned(),
            (Nexthop::BLACKHOLE, _) => "nothing (a virtual subnet without such a VM)".to_owned(),
            (Nexthop::GROUP, _) => format!("{} equal-cost next hops", nexthop.flags),
            (_, ["vm", .., pa]) => format!("vm at {pa}"),
            (_, ["vlan", _, via]) => format!("{} by {via}", self.connection(nexthop.connection)),
            (_, ["hop", address]) => format!("outer address {address}"),
            _ => self.connection(nexthop.connection),
        }
    }

    fn tenant_of(&self, id: NexthopId, nexthop: &Nexthop) -> Option<String> {
        if let Some((tenant, _)) = self.connections.get(&nexthop.connection) {
            return Some(tenant.clone());
        }
        let number = self.meanings.get(&id)?.strip_prefix("vm/")?.split('/').next()?.parse().ok()?;
        self.tenants.get(&TenantId(number)).cloned()
    }
}

fn written([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// Nanoseconds of the clock that the programs use.
fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| Duration::from(now).as_nanos() as u64)
}
