//! Answers to what clients ask, made of the plan, the host, the tables and the counters as they are at the moment.
//!
//! | to change | go to |
//! |---|---|
//! | what numbers of the tables are called | `names` |
//! | routes and next hops | `routes` |
//! | connections, tenants, ports, drops and the rest | here |

mod names;
mod routes;
#[cfg(test)]
mod tests;

use super::agent::{TraceKeys, TraceNames};
use super::clock;
use super::protocol::{Answer, Failure, Query};
use super::report::{
    ConnectionReport, DropCount, DropReport, PathMtuReport, PortReport, SeatReport, SlowPathReport, StatusReport,
    TenantReport, Traffic,
};
use crate::dataplane::compile::SEAT;
use crate::dataplane::ids::Ids;
use crate::dataplane::learned::Learned;
use crate::dataplane::read::{Dropped, Reader, Scope};
use crate::dataplane::tables::Tables;
use crate::dataplane::world::ConnectionName;
use crate::dataplane::{self, World};
use crate::gateway::seat_log::SeatLogReport;
use crate::net::links::Link;
use crate::plan::{self, ConnectionKind, Plan, PortMode, PortRole};
use gateway_common::gate::State;
use gateway_common::tables::{ConnectionState, Counters, Nexthop, Seat};
use gateway_common::{ConnectionId, DropReason, NexthopId, PortId, SeatId, TenantId, Vni};
use names::Names;
pub use routes::{RouteList, SortedRoutes};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// What the programs count and learn.
pub trait Counts {
    /// A connection's packets and bytes.
    fn connection(&self, id: ConnectionId) -> dataplane::Result<Counters>;
    /// A tenant's, on the fabric.
    fn tenant(&self, id: TenantId) -> dataplane::Result<Counters>;
    /// A port's.
    fn port(&self, id: PortId) -> dataplane::Result<Counters>;
    /// All that was dropped.
    fn drops(&self) -> dataplane::Result<Vec<Dropped>>;
    /// What was learned about a connection.
    fn connection_state(&self, id: ConnectionId) -> dataplane::Result<ConnectionState>;
    /// A seat's gate.
    fn seat(&self, id: SeatId) -> dataplane::Result<Seat>;
}

impl Counts for Reader {
    fn connection(&self, id: ConnectionId) -> dataplane::Result<Counters> {
        Self::connection(self, id)
    }

    fn tenant(&self, id: TenantId) -> dataplane::Result<Counters> {
        Self::tenant(self, id)
    }

    fn port(&self, id: PortId) -> dataplane::Result<Counters> {
        Self::port(self, id)
    }

    fn drops(&self) -> dataplane::Result<Vec<Dropped>> {
        Self::drops(self)
    }

    fn connection_state(&self, id: ConnectionId) -> dataplane::Result<ConnectionState> {
        Self::connection_state(self, id)
    }

    fn seat(&self, id: SeatId) -> dataplane::Result<Seat> {
        Self::seat(self, id)
    }
}

/// What only the daemon knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Daemon {
    /// How long it has been running.
    pub uptime: Duration,
    /// Whether it took over what an earlier one had loaded.
    pub adopted: bool,
    /// Where the plan that runs came from.
    pub plan: String,
    /// Plans applied since it started.
    pub plans_applied: u64,
    /// Tenants that are being traced.
    pub traced: Vec<TenantId>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// How the logs of its seats are.
    pub seat_logs: Vec<SeatLogReport>,
    /// What the slow path did.
    pub slow_path: SlowPathReport,
    /// Path MTUs to fabric peers, and for how long they are believed yet.
    pub path_mtus: Vec<(IpAddr, u32, Duration)>,
}

/// Everything that answers are made of.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The plan that runs.
    pub plan: &'a Plan,
    /// The host around it.
    pub world: &'a World,
    /// The plan's ports that exist, by name.
    pub links: &'a BTreeMap<String, Link>,
    /// The numbers that stand for names.
    pub ids: &'a Ids,
    /// What the maps hold by the plan.
    pub tables: &'a Tables,
    /// What they hold beyond it.
    pub learned: &'a Learned,
    /// What the programs count.
    pub counts: &'a dyn Counts,
    /// What only the daemon knows.
    pub daemon: &'a Daemon,
}

/// Drop counters by whose they are.
type Drops = HashMap<Scope, Vec<DropCount>>;

impl<'a> View<'a> {
    /// Answers a query.
    pub fn show(&self, query: &Query) -> Result<Answer, Failure> {
        Ok(match query {
            Query::Status => Answer::Status(Box::new(self.status())),
            Query::Connections => Answer::Connections(self.connections().map_err(Failure::internal)?),
            Query::Tenants => Answer::Tenants(self.tenants().map_err(Failure::internal)?),
            Query::Ports => Answer::Ports(self.ports().map_err(Failure::internal)?),
            Query::Drops => Answer::Drops(self.drops().map_err(Failure::internal)?),
            Query::Routes { tenant, prefix } => Answer::Routes(self.routes(tenant, *prefix)?),
            Query::Nexthops => Answer::Nexthops(self.nexthops()),
            Query::Seats => Answer::Seats(self.seats().map_err(Failure::internal)?),
            Query::PathMtus => Answer::PathMtus(self.path_mtus().map_err(Failure::internal)?),
            Query::BgpNeighbors { .. }
            | Query::BgpRoutes(_)
            | Query::BgpPolicyTest(_)
            | Query::BgpDump(_)
            | Query::BgpExplain { .. } => {
                return Err(Failure::internal("BGP is asked elsewhere"));
            }
        })
    }

    /// The names of what a traced packet met.
    pub fn trace_names(&self, keys: &TraceKeys) -> TraceNames {
        let nexthop = self.tables.nexthops.get(&keys.nexthop.0).filter(|_| keys.nexthop != NexthopId::NONE);
        let of_plan = nexthop.filter(|nexthop| nexthop.connection != ConnectionId::NONE);
        TraceNames {
            tenant: self.ids.tenant_name(keys.tenant).map_or_else(|| format!("#{}", keys.tenant.0), str::to_owned),
            in_port: self.interface(keys.ifindex),
            origin: names::origin(self.ids, keys.origin),
            prefix: keys.destination.and_then(|address| self.longest_prefix(keys.tenant, address)),
            leads_to: nexthop.map(|nexthop| {
                let meaning = || {
                    let mut meanings = self.ids.nexthop_meanings();
                    meanings.find(|(id, _)| *id == keys.nexthop).map(|(_, meaning)| meaning).unwrap_or_default()
                };
                names::leads_to(nexthop, meaning, |id| {
                    self.ids.connection_name(id).map(|(_, connection)| connection.to_owned())
                })
            }),
            out_connection: of_plan.map(|nexthop| nexthop.connection),
            out_port: match nexthop {
                Some(nexthop) => self.slot(nexthop.port),
                // A compartment's frame for its VLAN.
                None => self.tables.compartments.get(&keys.ifindex).and_then(|attachment| self.slot(attachment.port)),
            },
            mtu: nexthop.filter(|nexthop| nexthop.kind == Nexthop::ADJACENCY).map(|nexthop| nexthop.mtu),
        }
    }

    /// The plan's tenants that have a number.
    fn numbered_tenants(&self) -> impl Iterator<Item = (TenantId, &'a plan::Tenant)> {
        self.plan.tenants.iter().filter_map(|tenant| Some((self.ids.tenant_id(&tenant.key())?, tenant)))
    }

    /// The plan's connections that have a number.
    fn numbered_connections(
        &self,
    ) -> impl Iterator<Item = (ConnectionId, &'a plan::Tenant, &'a plan::Connection)> + use<'_, 'a> {
        self.plan.tenants.iter().flat_map(move |tenant| {
            tenant.connections.iter().filter_map(move |connection| {
                let id = self.ids.connection_id(&tenant.key(), connection.name.as_str())?;
                Some((id, tenant, connection))
            })
        })
    }

    /// An interface's name, or what it is for.
    fn interface(&self, ifindex: u32) -> String {
        let port = self.world.ports.iter().find(|(_, port)| port.ifindex == ifindex).map(|(name, _)| name.clone());
        let attachment = || {
            let attachment = self.tables.compartments.get(&ifindex)?;
            let tenant = self.ids.tenant_name(attachment.tenant)?;
            Some(format!("compartment of {tenant}"))
        };
        let slow = || (self.world.slow_port == Some(ifindex)).then(|| "slow path".to_owned());
        port.or_else(attachment).or_else(slow).unwrap_or_else(|| format!("interface {ifindex}"))
    }

    /// What a slot of the device map leads to.
    fn slot(&self, slot: PortId) -> Option<String> {
        self.tables.devices.get(&slot.0).map(|&ifindex| self.interface(ifindex))
    }

    fn status(&self) -> StatusReport {
        let unresolved = |nexthop: &&Nexthop| nexthop.kind == Nexthop::UNRESOLVED;
        let planned = self.tables.routes.values().map(|routes| routes.v4.len() + routes.v6.len());
        let routes = planned.chain([self.learned.total()]);
        let traced = self.daemon.traced.iter().filter_map(|id| self.ids.tenant_name(*id));
        StatusReport {
            name: self.plan.gateway.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.daemon.uptime.as_secs(),
            adopted: self.daemon.adopted,
            plan: self.daemon.plan.clone(),
            plans_applied: self.daemon.plans_applied,
            encapsulation: match self.plan.gateway.encapsulation {
                plan::Encapsulation::Vxlan => "vxlan".to_owned(),
                plan::Encapsulation::Nvgre => "nvgre".to_owned(),
            },
            pa: self.plan.gateway.pa.iter().collect(),
            ports: self.plan.ports.len() as u64,
            tenants: self.plan.tenants.len() as u64,
            connections: self.plan.tenants.iter().map(|tenant| tenant.connections.len() as u64).sum(),
            routes: routes.sum::<usize>() as u64,
            nexthops: self.tables.nexthops.len() as u64,
            nexthops_unresolved: self.tables.nexthops.values().filter(unresolved).count() as u64,
            compartments: self.compartments().len() as u64,
            slow_path: self.daemon.slow_path,
            traced: traced.map(str::to_owned).collect(),
            warnings: self.daemon.warnings.clone(),
        }
    }

    /// Tenants that have a compartment.
    fn compartments(&self) -> HashSet<&'a str> {
        let attached = self.world.attachments.keys().map(|ConnectionName { tenant, .. }| tenant.as_str());
        self.world.compartments.keys().map(String::as_str).chain(attached).collect()
    }

    fn drop_counts(&self) -> dataplane::Result<Drops> {
        let mut drops = Drops::new();
        for Dropped { scope, reason, packets } in self.counts.drops()?.into_iter().filter(|drop| drop.packets > 0) {
            drops.entry(scope).or_default().push(DropCount { reason: reason.name().to_owned(), packets });
        }
        for counts in drops.values_mut() {
            counts.sort_by(|a, b| (b.packets, &a.reason).cmp(&(a.packets, &b.reason)));
        }
        Ok(drops)
    }

    fn connections(&self) -> dataplane::Result<Vec<ConnectionReport>> {
        let mut drops = self.drop_counts()?;
        let resolved: HashSet<ConnectionId> = self
            .tables
            .nexthops
            .values()
            .filter(|nexthop| nexthop.kind == Nexthop::ADJACENCY)
            .map(|nexthop| nexthop.connection)
            .collect();
        let machines = self.machines(&resolved, &mut drops)?;
        let connections = self
            .numbered_connections()
            .map(|(id, tenant, connection)| {
                let drops = drops.remove(&Scope::Connection(id)).unwrap_or_default();
                let traffic = Traffic::new(self.counts.connection(id)?, drops);
                let state = match (connection.enabled, resolved.contains(&id)) {
                    (false, _) => "disabled",
                    (true, true) => "up",
                    (true, false) => "unresolved",
                };
                Ok(ConnectionReport {
                    tenant: tenant.key().into_owned(),
                    name: connection.name.to_string(),
                    state: state.to_owned(),
                    inbound_kbps: connection.inbound_kbps.map(|kbps| kbps.get().into()),
                    outbound_kbps: connection.outbound_kbps.map(|kbps| kbps.get().into()),
                    rate_limited_in: traffic.dropped_for(DropReason::RateInbound),
                    rate_limited_out: traffic.dropped_for(DropReason::RateOutbound),
                    traffic,
                    ..endpoint(&connection.kind)
                })
            })
            .collect::<dataplane::Result<Vec<_>>>()?;
        Ok([connections, machines].concat())
    }

    /// A compute host's machines, each by its interface, in the order of tenants and interfaces.
    fn machines(
        &self,
        resolved: &HashSet<ConnectionId>,
        drops: &mut Drops,
    ) -> dataplane::Result<Vec<ConnectionReport>> {
        let stations: HashMap<(TenantId, Vni, [u8; 8]), ConnectionId> =
            self.tables.vms.values().map(|port| ((port.tenant, port.vni, port.mac), port.connection)).collect();
        let mut addresses: HashMap<ConnectionId, Vec<String>> = HashMap::new();
        for (tenant, vm) in self.numbered_tenants().flat_map(|(id, tenant)| tenant.vms.iter().map(move |vm| (id, vm))) {
            let mut mac = [0; 8];
            mac[..6].copy_from_slice(&vm.mac.octets());
            if let Some(&connection) = stations.get(&(tenant, Vni(vm.vsid.get()), mac)) {
                addresses.entry(connection).or_default().push(vm.ca.to_string());
            }
        }
        let of_plan: HashSet<ConnectionId> = self.numbered_connections().map(|(id, ..)| id).collect();
        let others = self.tables.connections.keys().map(|&id| ConnectionId(id)).filter(|id| !of_plan.contains(id));
        let mut machines = Vec::new();
        for id in others {
            let Some((tenant, device)) = self.ids.connection_name(id) else { continue };
            let drops = drops.remove(&Scope::Connection(id)).unwrap_or_default();
            let state = if resolved.contains(&id) { "up" } else { "unresolved" };
            machines.push(ConnectionReport {
                tenant: tenant.to_owned(),
                name: device.to_owned(),
                r#type: "vm".to_owned(),
                state: state.to_owned(),
                endpoint: addresses.remove(&id).unwrap_or_default().join(" "),
                port: Some(device.to_owned()),
                traffic: Traffic::new(self.counts.connection(id)?, drops),
                ..ConnectionReport::default()
            });
        }
        machines.sort_by(|a, b| (&a.tenant, &a.name).cmp(&(&b.tenant, &b.name)));
        Ok(machines)
    }

    fn tenants(&self) -> dataplane::Result<Vec<TenantReport>> {
        let mut drops = self.drop_counts()?;
        let compartments = self.compartments();
        self.numbered_tenants()
            .map(|(id, tenant)| {
                let drops = drops.remove(&Scope::Tenant(id)).unwrap_or_default();
                let planned = self.tables.routes.get(&id).map_or(0, |routes| routes.v4.len() + routes.v6.len());
                let routes = planned + self.learned.count(id);
                let compartment = compartments
                    .contains(&*tenant.key())
                    .then(|| format!("{}{}", crate::gateway::compartment::PREFIX, tenant.key()));
                Ok(TenantReport {
                    name: tenant.key().into_owned(),
                    id: id.0,
                    connections: tenant.connections.len() as u64,
                    vms: tenant.vms.len() as u64,
                    routes: routes as u64,
                    gateway_addresses: tenant.gateway_addresses.iter().collect(),
                    compartment,
                    traffic: Traffic::new(self.counts.tenant(id)?, drops),
                })
            })
            .collect()
    }

    fn ports(&self) -> dataplane::Result<Vec<PortReport>> {
        let mut drops = self.drop_counts()?;
        self.plan
            .ports
            .iter()
            .map(|port| {
                let link = self.links.get(port.name.as_str());
                let drops = link.and_then(|link| drops.remove(&Scope::Port(link.index))).unwrap_or_default();
                let counters = match self.ids.port_id(port.name.as_str()) {
                    Some(id) => self.counts.port(id)?,
                    None => Counters::default(),
                };
                let state = match link {
                    None => "gone",
                    Some(link) if link.up && link.running => "up",
                    Some(_) => "down",
                };
                Ok(PortReport {
                    name: port.name.to_string(),
                    ifindex: link.map_or(0, |link| link.index),
                    role: match port.role {
                        PortRole::Fabric => "fabric",
                        PortRole::Site => "site",
                        PortRole::Both => "both",
                    }
                    .to_owned(),
                    mode: match port.mode {
                        PortMode::Native => "native",
                        PortMode::Generic => "generic",
                        PortMode::Stack => "tc",
                    }
                    .to_owned(),
                    state: state.to_owned(),
                    mac: link.map_or_else(String::new, |link| super::dissect::mac(&link.mac)),
                    mtu: link.map_or(0, |link| link.mtu),
                    traffic: Traffic::new(counters, drops),
                })
            })
            .collect()
    }

    fn drops(&self) -> dataplane::Result<Vec<DropReport>> {
        let names = Names::new(self);
        let drops = self.counts.drops()?.into_iter().filter(|drop| drop.packets > 0);
        let mut rows: Vec<DropReport> = drops
            .map(|Dropped { scope, reason, packets }| {
                let (scope, tenant, name) = match scope {
                    Scope::Port(ifindex) => ("port", None, self.interface(ifindex)),
                    Scope::Tenant(id) => {
                        let tenant = names.tenant(id);
                        ("tenant", Some(tenant.clone()), tenant)
                    }
                    Scope::Connection(id) => {
                        let (tenant, connection) = names.connection(id);
                        ("connection", tenant, connection)
                    }
                };
                let (reason, meaning) = (reason.name().to_owned(), reason.meaning().to_owned());
                DropReport { scope: scope.to_owned(), tenant, name, reason, packets, meaning }
            })
            .collect();
        rows.sort_by(|a, b| {
            (b.packets, &a.tenant, &a.name, &a.reason).cmp(&(a.packets, &b.tenant, &b.name, &b.reason))
        });
        Ok(rows)
    }

    /// The gateway's own, and those that it holds or may take.
    fn seats(&self) -> dataplane::Result<Vec<SeatReport>> {
        let named = |seat: &plan::Seat| Some((self.ids.seat_id(seat.name.as_str())?, Some(seat.name.to_string())));
        let all = std::iter::once((SEAT, None)).chain(self.plan.seats.iter().filter_map(named));
        all.map(|(id, name)| self.seat(id, name)).collect()
    }

    fn seat(&self, id: SeatId, name: Option<String>) -> dataplane::Result<SeatReport> {
        let seat = self.counts.seat(id)?;
        let log = self.daemon.seat_logs.iter().find(|log| Some(log.seat.as_str()) == name.as_deref());
        Ok(SeatReport {
            id: id.0,
            log: log.map(|log| log.part.clone()),
            name,
            state: match seat.gate.state() {
                State::Replica => "replica",
                State::Held => "held",
                State::Yielding => "yielding",
            }
            .to_owned(),
            epoch: seat.epoch.0,
            lease_seconds: seat.gate.expiry().map(|expiry| expiry.saturating_sub(clock::monotonic()) as f64 / 1e9),
        })
    }

    fn path_mtus(&self) -> dataplane::Result<Vec<PathMtuReport>> {
        let now = clock::monotonic();
        let mut rows = Vec::new();
        for (id, tenant, connection) in self.numbered_connections() {
            let state = self.counts.connection_state(id)?;
            if state.path_mtu == 0 || state.path_mtu_expiry <= now {
                continue;
            }
            rows.push(PathMtuReport {
                tenant: Some(tenant.key().into_owned()),
                connection: Some(connection.name.to_string()),
                remote: endpoint(&connection.kind).remote,
                mtu: state.path_mtu,
                expires_seconds: (state.path_mtu_expiry - now) / 1_000_000_000,
            });
        }
        rows.extend(self.daemon.path_mtus.iter().map(|&(remote, mtu, left)| PathMtuReport {
            tenant: None,
            connection: None,
            remote: Some(remote),
            mtu,
            expires_seconds: left.as_secs(),
        }));
        Ok(rows)
    }
}

/// Where a connection ends; the rest of the report is empty.
fn endpoint(kind: &ConnectionKind) -> ConnectionReport {
    match kind {
        ConnectionKind::Gre(gre) => ConnectionReport {
            r#type: "gre".to_owned(),
            endpoint: match gre.key {
                Some(key) => format!("{} - {} key {key}", gre.vip, gre.remote),
                None => format!("{} - {}", gre.vip, gre.remote),
            },
            vip: Some(gre.vip),
            remote: Some(gre.remote),
            key: gre.key,
            ..ConnectionReport::default()
        },
        ConnectionKind::L3(l3) => ConnectionReport {
            r#type: "l3".to_owned(),
            endpoint: format!("{} vlan {}", l3.port, l3.vlan),
            port: Some(l3.port.to_string()),
            vlan: Some(l3.vlan.get()),
            ..ConnectionReport::default()
        },
    }
}
