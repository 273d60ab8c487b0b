//! A gateway or host under a controller: its plans come by the [link](crate::agent::link), and how its tenants fare goes back by it.

use super::agent::{Agent, First};
use super::assignment::{Assignment, Role};
use super::meter::Meter;
use super::{notify, show};
use crate::agent::protocol::{ConnectionCounters, ConnectionState, LinkState, Load, Problem, TenantState};
use crate::agent::{self, Ballots, Kind, Link, News, Offer, RouteReporter};
use crate::api::agent::Shown;
use crate::api::protocol::{Answer, Failure, Query};
use crate::api::report::ConnectionReport;
use crate::plan::host::{Host, HostPort, HostTenant};
use crate::plan::{HostPlan, Passage, Plan, Tenant};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often counters are reported, with how connections fare.
const STATISTICS: Duration = Duration::from_secs(10);
/// The same while the controller waits for a connection that moves here.
const ARRIVALS: Duration = Duration::from_secs(1);

/// How a gateway's plan is made of documents: the base is a plan without tenants, and each tenant's part is its table there.
#[derive(Debug)]
pub struct GatewayKind;

impl Kind for GatewayKind {
    type Base = Plan;
    type Part = Tenant;
    type Plan = Assignment;

    fn assemble<'a>(base: &Plan, parts: impl Iterator<Item = &'a Tenant>) -> Result<Assignment, String> {
        let plan = base.clone().with_tenants(parts.cloned().collect());
        plan.map(Assignment::gateway).map_err(|errors| errors.to_string())
    }
}

/// How a compute host's plan is made of documents, likewise.
#[derive(Debug)]
pub struct HostKind;

/// What concerns no tenant of a compute host.
#[derive(Clone, Debug, Deserialize)]
pub struct HostBase {
    /// The host itself.
    pub host: Host,
    /// Its ports.
    #[serde(rename = "port", default)]
    pub ports: Box<[HostPort]>,
}

impl Kind for HostKind {
    type Base = HostBase;
    type Part = HostTenant;
    type Plan = Assignment;

    fn assemble<'a>(base: &HostBase, parts: impl Iterator<Item = &'a HostTenant>) -> Result<Assignment, String> {
        let HostBase { host, ports } = base.clone();
        let plan = HostPlan::assemble(host, ports, parts.cloned().collect());
        plan.map(Assignment::host).map_err(|errors| errors.to_string())
    }
}

/// The link, and what was reported by it.
pub(super) struct Controlled {
    link: Link<Assignment>,
    /// When counters were reported.
    reported: Option<Instant>,
    /// How much is carried, by tenant and name.
    meter: Meter<(String, String)>,
    /// The failure that ended the link, for as long as it lasts.
    failed: Option<Problem>,
}

impl Controlled {
    /// Where the controller hears of learned routes.
    pub(super) fn routes(&self) -> RouteReporter {
        self.link.routes.clone()
    }

    /// What the controllers are asked about seats.
    pub(super) fn ballots(&self) -> Ballots {
        self.link.ballots.clone()
    }

    /// Counters are reported at the next look.
    pub(super) fn report_soon(&mut self) {
        self.reported = None;
    }
}

/// Starts the link and waits for the first plan: the one that was kept, or what the controller says. Nothing if a signal came first.
///
/// # Errors
/// The gateway cannot join.
pub(super) async fn first(role: Role, options: agent::Options) -> anyhow::Result<Option<(First, Controlled)>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut link = match role {
        Role::Gateway => agent::start::<GatewayKind>(options)?,
        Role::Host => agent::start::<HostKind>(options)?,
    };
    // There may be no controller for a long time, which is no reason to start this daemon again and again.
    let patience = tokio::time::sleep(Duration::from_secs(1));
    tokio::pin!(patience);
    let mut told = false;
    loop {
        tokio::select! {
            news = link.news.recv() => match news {
                Some(News::Plan(Offer { plan, position, reply })) => {
                    let first = First { name: format!("the controller's, {position}"), assignment: plan, reply: Some(reply) };
                    return Ok(Some((first, Controlled { link, reported: None, meter: Meter::default(), failed: None })));
                }
                // What is not in force has no use for them yet, and hears of them again.
                Some(News::Routes(_)) => {}
                Some(News::Failed(error)) => return Err(error),
                None => anyhow::bail!("the link to the controller ended before it brought a plan"),
            },
            () = &mut patience, if !told => {
                told = true;
                tracing::info!("waiting for the first plan; nothing is done on this host before it comes");
                notify("READY=1\nSTATUS=waiting for the first plan");
            }
            _ = terminate.recv() => return Ok(None),
            _ = interrupt.recv() => return Ok(None),
        }
    }
}

/// What comes from the controller next; never anything without one.
pub(super) async fn next(controlled: &mut Option<Controlled>) -> News<Assignment> {
    if let Some(controlled) = controlled
        && let Some(news) = controlled.link.news.recv().await
    {
        return news;
    }
    std::future::pending().await
}

impl Agent {
    pub(super) fn heard_from_controller(&mut self, news: News<Assignment>, controlled: Option<&mut Controlled>) {
        match news {
            News::Plan(Offer { plan, position, reply }) => {
                let result = self.put_in_force(format!("the controller's, {position}"), plan);
                if let Ok(applied) = &result {
                    tracing::info!(
                        plan = %position,
                        added = applied.added.len(),
                        changed = applied.changed.len(),
                        removed = applied.removed.len(),
                        "the plan was applied"
                    );
                }
                if let (Ok(applied), true) = (&result, controlled.is_some()) {
                    self.report_routers();
                    self.settle_heard(&applied.added);
                }
                let _ = reply.send(result.map(drop).map_err(|failure| described(&failure)));
                if let Some(controlled) = controlled {
                    controlled.reported = None;
                }
            }
            News::Routes(event) => self.heard_routes(event),
            News::Failed(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the controller cannot be followed; packets are forwarded by the plan that is in force"
                );
                self.warnings.insert("controller".to_owned(), format!("{error:#}"));
                if let Some(controlled) = controlled {
                    let message = format!("{error:#}");
                    controlled.failed = Some(Problem { about: "controller".to_owned(), message });
                }
            }
        }
    }

    /// Tells the controller how tenants fare: at once what a person should look at, now and then the counters.
    pub(super) fn report(&mut self, controlled: &mut Controlled) {
        let reporter = controlled.link.reporter.clone();
        reporter.rack(self.bgp.rack());
        reporter.seats(self.seat_news());
        let unreachable = self.next_hops.unresolved().into_iter().collect();
        reporter.unreachable(unreachable);
        let warnings = self.warnings.iter().filter(|(about, _)| !about.starts_with("way to "));
        let problem = |(about, message): (&String, &String)| Problem { about: about.clone(), message: message.clone() };
        reporter.problems(warnings.map(problem).chain(controlled.failed.clone()).collect());
        let mut connections = self.assignment.plan.tenants.iter().flat_map(|tenant| &tenant.connections);
        let is_awaited = connections.any(|connection| connection.passage == Passage::Arriving);
        let interval = if is_awaited { ARRIVALS } else { STATISTICS };
        if controlled.reported.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        controlled.reported = Some(Instant::now());
        if self.assignment.host.is_none() {
            let peers = controlled.link.reporter.clone();
            self.bgp.peers(move |states| peers.peers(states));
        }
        match show::show(self, &Query::Connections) {
            Ok(Shown::Whole(Answer::Connections(connections))) => {
                let mut tenants: BTreeMap<String, TenantState> = self
                    .assignment
                    .plan
                    .tenants
                    .iter()
                    .map(|tenant| (tenant.key().into_owned(), TenantState::default()))
                    .collect();
                let counted = connections.iter().map(|connection| (key(connection), counters(connection)));
                controlled.meter.look(Instant::now(), counted.collect());
                let load = |connection: &ConnectionReport| Load {
                    counters: counters(connection),
                    rates: controlled.meter.rates(&key(connection)),
                };
                // Of machines the controller knows all that it shows, but for what they carry.
                let (machines, connections): (Vec<_>, Vec<_>) =
                    connections.into_iter().partition(|connection| connection.r#type == "vm");
                if self.assignment.host.is_some() {
                    reporter.machines(machines.iter().map(load).sum());
                }
                for connection in connections {
                    let state = ConnectionState { state: state(&connection), load: load(&connection) };
                    tenants.entry(connection.tenant).or_default().connections.insert(connection.name, state);
                }
                reporter.tenants(tenants);
            }
            Ok(_) => {}
            Err(failure) => tracing::warn!("the connections' state cannot be read: {failure}"),
        }
    }
}

fn key(connection: &ConnectionReport) -> (String, String) {
    (connection.tenant.clone(), connection.name.clone())
}

fn state(connection: &ConnectionReport) -> LinkState {
    match connection.state.as_str() {
        "up" => LinkState::Up,
        "disabled" => LinkState::Disabled,
        "unresolved" => LinkState::Unresolved,
        _ => LinkState::Unknown,
    }
}

fn counters(connection: &ConnectionReport) -> ConnectionCounters {
    let traffic = &connection.traffic;
    ConnectionCounters {
        in_packets: traffic.in_packets,
        in_bytes: traffic.in_bytes,
        out_packets: traffic.out_packets,
        out_bytes: traffic.out_bytes,
        dropped_packets: traffic.dropped_packets,
        rate_limited_in: connection.rate_limited_in,
        rate_limited_out: connection.rate_limited_out,
    }
}

fn described(failure: &Failure) -> String {
    let lines = std::iter::once(failure.message.as_str()).chain(failure.details.iter().map(String::as_str));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::Document;

    #[test]
    fn a_plan_without_tenants_is_the_base_and_each_tenant_a_part() {
        let text = r#"
            [gateway]
            name = "gw1"
            encapsulation = "vxlan"
            pa = ["10.10.0.1"]
            [[port]]
            name = "fab0"
            role = "both"
            [[tenant]]
            name = "contoso"
            gateway_addresses = ["10.1.255.1"]
            [[tenant.connection]]
            name = "hq"
            type = "gre"
            vip = "198.51.100.10"
            remote = "203.0.113.20"
            key = 100
            routes = [ { destination = "10.2.0.0/16" } ]
        "#;
        let plan = crate::plan::parse(text, "plan.toml").expect("a good plan");
        let base = Document::of(&Plan { tenants: Box::default(), ..plan.clone() }).expect("JSON");
        let part = Document::of(&plan.tenants[0]).expect("JSON");
        let (base, part) = (base.read().expect("a base"), part.read::<Tenant>().expect("a part"));
        let assembled = GatewayKind::assemble(&base, [&part].into_iter()).expect("they agree");
        assert_eq!(*assembled.plan, plan);
        let error = GatewayKind::assemble(&base, [&part, &part].into_iter()).expect_err("twice the same");
        assert!(error.contains("contoso"), "{error}");
    }
}
