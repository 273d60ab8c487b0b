//! The agent's main loop: from the plan and the host to the data plane, again after every change.
//!
//! ```text
//!   plan ──► ports made fit ──► compartments ──► next hops ──► World ──► tables ──► programs attached
//!              ▲                    ▲               ▲
//!              └──── links ─────────┴── neighbours ─┴── routes: the kernel tells of changes
//! ```
//!
//! Everything is level-triggered: what is done after a change is what would be done at a start, and writes differences only.

use super::compartment::{self, Compartments};
use super::path_mtu::PathMtus;
use super::record::{Lock, Record};
use super::slowpath;
use super::{Options, changes, notify, show};
use crate::api::agent::{TraceTarget, channel};
use crate::api::protocol::{Applied, Failure, FailureCode};
use crate::api::{Call, PlanSource, Server, Tracers};
use crate::dataplane::attach::{Entry, Wanted};
use crate::dataplane::events::{AsyncEvents, Event};
use crate::dataplane::pins::Mode;
use crate::dataplane::read::Reader;
use crate::dataplane::world::{Hop, PortState, World};
use crate::dataplane::{self, Dataplane, Found, Tracing};
use crate::net::fitness::{self, Verdict};
use crate::net::links::Link;
use crate::net::neighbours::Heard;
use crate::net::netlink::{Change, Monitor, Netlink, Scope};
use crate::net::next_hops::{Effect, Exit, NextHops};
use crate::plan::{self, ConnectionKind, Plan, PortMode, PortRole};
use anyhow::bail;
use gateway_common::trace::PathMtu;
use gateway_common::{ConnectionId, TenantId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Changes that come closer together than this are met together. The first one of a burst is met at once.
const SETTLE: Duration = Duration::from_millis(30);
/// How often failures are tried again, and what has a lifetime is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often a kernel without managed neighbours is asked again.
const REFRESH: Duration = Duration::from_secs(10);
/// Changes from compartments that may wait.
const BACKLOG: usize = 1024;

/// The running gateway.
pub struct Agent {
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) plan_name: String,
    pub(super) world: World,
    pub(super) dataplane: Dataplane,
    pub(super) reader: Reader,
    pub(super) next_hops: NextHops,
    pub(super) compartments: Compartments,
    pub(super) path_mtus: PathMtus,
    pub(super) slow: Arc<slowpath::Stats>,
    pub(super) tracers: Tracers,
    pub(super) traced: BTreeSet<TenantId>,
    pub(super) adopted: bool,
    pub(super) started: Instant,
    pub(super) plans_applied: u64,
    pub(super) links: BTreeMap<String, Link>,
    /// What a person should look at, by what it is about.
    pub(super) warnings: BTreeMap<String, String>,
    netlink: Netlink,
    record: Record,
    attached: Vec<Wanted>,
    monitors: HashMap<String, AbortHandle>,
    inside: mpsc::Sender<(String, Change)>,
    inside_changes: Option<mpsc::Receiver<(String, Change)>>,
    monitor: Option<Monitor>,
    events: Option<AsyncEvents>,
    server: Option<(Server, mpsc::Receiver<Call>, crate::api::AgentHandle)>,
    pending: Pending,
    _lock: Lock,
}

/// What is still to be done.
#[derive(Debug)]
struct Pending {
    effect: Effect,
    since: Option<Instant>,
    last: Instant,
}

impl Pending {
    fn add(&mut self, effect: Effect) {
        if effect > Effect::None {
            self.effect = self.effect.max(effect);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// When to act: at once, unless that was done a moment ago.
    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since.max(self.last + SETTLE))
    }

    fn take(&mut self) -> Effect {
        self.since = None;
        self.last = Instant::now();
        std::mem::replace(&mut self.effect, Effect::None)
    }
}

impl Agent {
    /// Starts: everything is made what the plan says. To be called within a tokio runtime.
    ///
    /// # Errors
    /// What keeps it from starting. What was found on the host is as it was.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let plan = plan::load(&options.plan)?;
        refuse_unfit(&plan)?;
        dataplane::check_privileges()?;
        let state = options.dataplane.state.clone();
        let lock = Lock::take(&state)?;
        let record = Record::load(&state)?;
        let server = Server::bind(&options.socket)?;
        let (handle, calls) = channel();
        let dataplane = Dataplane::open(&options.dataplane)?;
        let found = dataplane.found();
        let (inside, inside_changes) = mpsc::channel(BACKLOG);
        let now = Instant::now();
        let mut agent = Self {
            plan_name: options.plan.display().to_string(),
            world: World::default(),
            reader: dataplane.reader()?,
            next_hops: NextHops::default(),
            compartments: Compartments::new(&options.netns),
            path_mtus: PathMtus::default(),
            slow: Arc::default(),
            tracers: handle.tracers().clone(),
            traced: BTreeSet::new(),
            adopted: found != Found::Nothing,
            started: now,
            plans_applied: 0,
            links: BTreeMap::new(),
            warnings: BTreeMap::new(),
            // Listens before anything is read, so that no change falls in between.
            monitor: Some(Monitor::new(Monitor::open(Scope::Everything)?)?),
            netlink: Netlink::new()?,
            record,
            attached: Vec::new(),
            monitors: HashMap::new(),
            inside,
            inside_changes: Some(inside_changes),
            events: None,
            server: Some((server, calls, handle)),
            pending: Pending { effect: Effect::None, since: None, last: now },
            options,
            plan,
            dataplane,
            _lock: lock,
        };
        if let Err(error) = agent.come_up() {
            if !agent.adopted {
                agent.retreat();
            }
            return Err(error);
        }
        Ok(agent)
    }

    fn come_up(&mut self) -> anyhow::Result<()> {
        self.world.slow_port = Some(slowpath::prepare_link(&mut self.netlink)?);
        self.settle_host()?;
        self.settle_dataplane()?;
        // The programs of a migration have their own maps from here on.
        self.reader = self.dataplane.reader()?;
        self.events = Some(self.dataplane.events()?.into_async()?);
        self.slow = slowpath::start()?;
        self.plans_applied = 1;
        Ok(())
    }

    /// Leaves the host as it was found: nothing was there.
    fn retreat(self) {
        let Self { options, dataplane, _lock, .. } = self;
        drop(dataplane);
        if let Err(error) = super::undo(&options.dataplane.pins, &options.dataplane.state) {
            tracing::error!(
                error = format!("{error:#}"),
                "not everything could be undone; `gatewayd detach` tries again"
            );
        }
    }

    /// Makes the host what the plan wants: ports, compartments, neighbours.
    fn settle_host(&mut self) -> anyhow::Result<()> {
        let state = &self.options.dataplane.state;
        self.links = fitness::links(&self.plan, &mut self.netlink)?;
        self.world.ports = self
            .links
            .iter()
            .map(|(name, link)| (name.clone(), PortState { ifindex: link.index, mac: link.mac, mtu: link.mtu }))
            .collect();

        let wanted = compartment::wanted(&self.plan, &self.world.ports);
        self.record.netns.clone_from(&self.options.netns);
        let known = self.record.compartments.clone();
        self.record.compartments.extend(wanted.keys().cloned());
        self.record.ports.extend(self.links.keys().cloned());
        self.record.save(state)?;
        let prepared = fitness::prepare(&self.plan, &self.links, &mut self.record.switched, &mut self.netlink);
        self.record.save(state)?;
        prepared?;

        self.warnings.retain(|about, _| !about.starts_with("compartment"));
        let kept: BTreeSet<String> = wanted.keys().cloned().collect();
        for (tenant, error) in self.compartments.reconcile(&mut self.netlink, wanted, &known) {
            tracing::error!(tenant, error = format!("{error:#}"), "the tenant's compartment is not what it should be");
            self.warnings.insert(format!("compartment of {tenant}"), format!("{error:#}"));
        }
        if self.record.compartments != kept && self.warnings.is_empty() {
            self.record.compartments = kept;
            self.record.save(state)?;
        }
        self.follow_compartments()?;

        let exits = self
            .links
            .values()
            .map(|link| (link.index, Exit { name: link.name.clone(), mac: link.mac, mtu: link.mtu }))
            .collect();
        self.next_hops.want(&mut self.netlink, exits, remotes(&self.plan))?;
        Ok(())
    }

    /// Listens to the compartments that have neighbours.
    fn follow_compartments(&mut self) -> anyhow::Result<()> {
        let tenants: BTreeSet<&str> = self.compartments.tenants().collect();
        self.monitors.retain(|tenant, task| {
            let stays = tenants.contains(tenant.as_str());
            if !stays {
                task.abort();
            }
            stays
        });
        for (tenant, socket) in self.compartments.take_monitors() {
            let mut monitor = Monitor::new(socket)?;
            let (sender, name) = (self.inside.clone(), tenant.clone());
            let task = tokio::spawn(async move {
                loop {
                    match monitor.next().await {
                        Ok(changes) => {
                            for change in changes {
                                if sender.send((name.clone(), change)).await.is_err() {
                                    return;
                                }
                            }
                        }
                        Err(error) => {
                            tracing::error!(tenant = name, %error, "the compartment's neighbours are followed no more");
                            return;
                        }
                    }
                }
            });
            if let Some(before) = self.monitors.insert(tenant, task.abort_handle()) {
                before.abort();
            }
        }
        Ok(())
    }

    /// What the host looks like now.
    fn look_around(&mut self) -> World {
        let now = Instant::now();
        let mut world = World { ports: self.world.ports.clone(), slow_port: self.world.slow_port, ..World::default() };
        self.compartments.tell(&mut world);
        for (remote, way) in self.next_hops.ways() {
            let Some(port) = self.links.values().find(|link| link.index == way.link) else { continue };
            let mtu = self.path_mtus.get(remote, now).map_or(way.mtu, |learned| learned.min(way.mtu));
            let hop = Hop { ifindex: way.link, destination: way.mac, source: port.mac, mtu };
            world.hops.insert(remote, hop);
        }
        let own = self.next_hops.own_addresses();
        world.owned = own_outer_addresses(&self.plan).filter(|address| own.contains(address)).collect();
        world
    }

    /// Makes the data plane what the plan and the host say. How many elements were written or removed.
    fn settle_dataplane(&mut self) -> anyhow::Result<u64> {
        self.world = self.look_around();
        let started = Instant::now();
        let applied = self.dataplane.apply(&self.plan, &self.world)?;
        let wanted = self.programs();
        if wanted != self.attached {
            let change = self.dataplane.attach(&wanted)?;
            tracing::info!(
                attached = change.attached,
                swapped = change.swapped,
                detached = change.detached,
                "programs are in place"
            );
            self.attached = wanted;
        }
        if !applied.is_empty() {
            let milliseconds = started.elapsed().as_millis() as u64;
            tracing::info!(
                written = applied.written,
                removed = applied.removed,
                tenants = applied.tenants,
                milliseconds,
                "tables are in place"
            );
        }
        self.warn_of_unresolved();
        Ok((applied.written + applied.removed) as u64)
    }

    /// The programs that the interfaces are to run.
    fn programs(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = self
            .plan
            .ports
            .iter()
            .filter_map(|port| {
                let link = self.links.get(port.name.as_str())?;
                let entry = match port.role {
                    PortRole::Fabric => Entry::Fabric,
                    PortRole::Site => Entry::Site,
                    PortRole::Both => Entry::Both,
                };
                let mode = match port.mode {
                    PortMode::Native => Mode::Native,
                    PortMode::Generic => Mode::Generic,
                };
                Some(Wanted { name: link.name.clone(), ifindex: link.index, entry, mode })
            })
            .collect();
        let veth = |name: String, ifindex, entry| Wanted { name, ifindex, entry, mode: Mode::Native };
        wanted.extend(
            self.compartments.root_links().map(|(name, ifindex)| veth(name.to_owned(), ifindex, Entry::Compartment)),
        );
        wanted.extend(self.world.slow_port.map(|ifindex| veth(slowpath::ROOT_END.to_owned(), ifindex, Entry::Reentry)));
        wanted
    }

    fn warn_of_unresolved(&mut self) {
        let unresolved = self.next_hops.unresolved();
        self.warnings.retain(|about, _| {
            about
                .strip_prefix("way to ")
                .is_none_or(|remote| remote.parse().is_ok_and(|remote: IpAddr| unresolved.contains_key(&remote)))
        });
        for (remote, reason) in unresolved {
            let about = format!("way to {remote}");
            if self.warnings.get(&about) != Some(&reason) {
                tracing::warn!(%remote, reason, "no way to a remote: packets for it are dropped");
                self.warnings.insert(about, reason);
            }
        }
    }

    /// Serves until a signal says to stop.
    pub async fn serve(mut self) -> anyhow::Result<()> {
        let missing = || anyhow::anyhow!("the agent was not started");
        let (server, mut calls, handle) = self.server.take().ok_or_else(missing)?;
        let mut monitor = self.monitor.take().ok_or_else(missing)?;
        let mut events = self.events.take().ok_or_else(missing)?;
        let mut inside = self.inside_changes.take().ok_or_else(missing)?;
        let (mut hangup, mut terminate, mut interrupt) =
            (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let serving = tokio::spawn(server.serve(handle));
        let tracers = self.tracers.clone();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut refreshed = Instant::now();
        notify("READY=1");
        tracing::info!(
            gateway = %self.plan.gateway.name,
            tenants = self.plan.tenants.len(),
            socket = %self.options.socket.display(),
            adopted = self.adopted,
            "ready"
        );
        loop {
            let due = self.pending.due();
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload(),
                () = tracers.changed() => self.trace(),
                Some(call) = calls.recv() => self.answer(call),
                changes = monitor.next() => self.heard(changes?),
                Some((tenant, change)) = inside.recv() => self.heard_inside(&tenant, &change),
                told = events.next() => self.told(told?),
                () = wait_until(due) => self.work(),
                _ = housekeeping.tick() => {
                    if self.path_mtus.expire(Instant::now()) {
                        self.pending.add(Effect::Ways);
                    }
                    if refreshed.elapsed() >= REFRESH {
                        refreshed = Instant::now();
                        self.compartments.refresh();
                        if self.next_hops.needs_refresh() {
                            self.pending.add(Effect::Manage);
                        }
                    }
                }
            }
        }
        notify("STOPPING=1");
        serving.abort();
        // The socket's name goes with the server.
        let _ = serving.await;
        tracing::info!("stopped; packets are forwarded all the same until `gatewayd detach`");
        Ok(())
    }

    fn heard(&mut self, changes: Vec<Change>) {
        for change in changes {
            let effect = match &change {
                Change::Link { message, .. } => self.heard_link(&Link::from_message(message), &change),
                change => self.next_hops.heard(change),
            };
            self.pending.add(effect);
        }
    }

    /// Only what matters of a link matters: its counters change all the time.
    fn heard_link(&self, link: &Link, change: &Change) -> Effect {
        let is_port = self.plan.ports.iter().any(|port| port.name.as_str() == link.name);
        let known = self.links.values().find(|known| known.index == link.index);
        let same = |known: &Link| {
            (known.mac, known.mtu, known.up, known.running) == (link.mac, link.mtu, link.up, link.running)
                && known.name == link.name
        };
        match (known, change) {
            (Some(known), Change::Link { gone: crate::net::netlink::Presence::Present, .. }) if same(known) => {
                Effect::None
            }
            (None, _) if !is_port => Effect::None,
            _ => Effect::Resync,
        }
    }

    fn heard_inside(&mut self, tenant: &str, change: &Change) {
        match self.compartments.heard(tenant, change) {
            Ok(Heard::Nothing) => {}
            Ok(Heard::Moved | Heard::Lost) => self.pending.add(Effect::Ways),
            Err(error) => tracing::warn!(tenant, %error, "the compartment's neighbours cannot be read"),
        }
    }

    fn told(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Traced(traced) => self.tracers.offer(bytemuck::bytes_of(&*traced)),
                Event::PathMtu(told) => self.told_path_mtu(&told),
            }
        }
    }

    fn told_path_mtu(&mut self, told: &PathMtu) {
        if told.connection != ConnectionId::NONE {
            if let Some((tenant, connection)) = self.dataplane.ids().connection_name(told.connection) {
                tracing::info!(
                    tenant,
                    connection,
                    mtu = told.mtu,
                    "the path of a connection takes smaller packets only"
                );
            }
            return;
        }
        let remote = IpAddr::from(told.remote);
        let Some(hop) = self.world.hops.get(&remote) else { return };
        let limit = self.links.values().find(|link| link.index == hop.ifindex).map_or(hop.mtu, |link| link.mtu);
        if self.path_mtus.learn(remote, told.mtu, limit, Instant::now()) {
            tracing::info!(%remote, mtu = told.mtu, "the path to a fabric peer takes smaller packets only");
            self.pending.add(Effect::Ways);
        }
    }

    /// Meets what has changed.
    fn work(&mut self) {
        let effect = self.pending.take();
        let result = match effect {
            Effect::None | Effect::Ways => Ok(()),
            Effect::Manage => {
                self.next_hops.manage(&mut self.netlink);
                Ok(())
            }
            Effect::LookUp => self.next_hops.look_up(&mut self.netlink).map_err(Into::into),
            Effect::Resync => self.settle_host(),
        };
        let result = result.and_then(|()| {
            // Most of what the kernel tells changes nothing for us.
            if self.look_around() == self.world && self.programs() == self.attached {
                Ok(0)
            } else {
                self.settle_dataplane()
            }
        });
        if let Err(error) = result {
            tracing::error!(error = format!("{error:#}"), "the host's change could not be met; trying again");
            self.warnings.insert("host".to_owned(), format!("{error:#}"));
            self.pending.add(Effect::Resync);
            // Not at once, though: what failed now will fail in a moment.
            self.pending.last = Instant::now() + HOUSEKEEPING;
        } else {
            self.warnings.remove("host");
        }
    }

    fn reload(&mut self) {
        notify("RELOADING=1");
        match self.apply(&PlanSource::Path(self.options.plan.clone())) {
            Ok(applied) => tracing::info!(
                added = applied.added.len(),
                changed = applied.changed.len(),
                removed = applied.removed.len(),
                "the plan was applied"
            ),
            Err(failure) => {
                tracing::error!(%failure, details = ?failure.details, "the plan is not applied; nothing was changed");
            }
        }
        notify("READY=1");
    }

    /// Applies a plan as a difference, or leaves everything as it is.
    fn apply(&mut self, source: &PlanSource) -> Result<Applied, Failure> {
        let started = Instant::now();
        let (name, plan) = match source {
            PlanSource::Path(path) => (path.display().to_string(), plan::load(path)),
            PlanSource::Text { name, text } => (name.clone(), plan::parse(text, name)),
        };
        let plan = plan.map_err(|errors| {
            let details = errors.to_string().lines().map(str::to_owned).collect();
            Failure::new(FailureCode::PlanInvalid, format!("the plan {name} is refused"))
                .details(details)
                .remedy("correct it, then apply it again; nothing was changed")
        })?;
        refuse_unfit(&plan).map_err(|error| Failure::new(FailureCode::PlanInvalid, format!("{error:#}")))?;
        let changes = changes::changes(&self.plan, &plan);
        let old = std::mem::replace(&mut self.plan, plan);
        let result = self.settle_host().and_then(|()| self.settle_dataplane());
        match result {
            Ok(writes) => {
                self.plan_name = name;
                self.plans_applied += 1;
                self.trace();
                Ok(Applied {
                    added: changes.added,
                    changed: changes.changed,
                    removed: changes.removed,
                    table_writes: writes,
                    microseconds: started.elapsed().as_micros() as u64,
                    warnings: self.warnings.iter().map(|(about, what)| format!("{about}: {what}")).collect(),
                })
            }
            Err(error) => {
                self.plan = old;
                if let Err(again) = self.settle_host().and_then(|()| self.settle_dataplane()) {
                    tracing::error!(
                        error = format!("{again:#}"),
                        "going back to the plan of before failed, too; trying again"
                    );
                    self.pending.add(Effect::Resync);
                }
                Err(Failure::new(FailureCode::Internal, format!("{error:#}")).remedy("the plan of before is in force"))
            }
        }
    }

    fn answer(&mut self, call: Call) {
        match call {
            Call::Show(query, reply) => reply.send(show::show(self, &query)),
            Call::Apply(source, reply) => reply.send(self.apply(&source)),
            Call::TraceTarget { tenant, connection, reply } => {
                reply.send(self.trace_target(&tenant, connection.as_deref()))
            }
            Call::TraceNames(keys, reply) => reply.send(show::names(self, &keys)),
        }
    }

    fn trace_target(&self, tenant: &str, connection: Option<&str>) -> Result<TraceTarget, Failure> {
        let ids = self.dataplane.ids();
        let number = ids.tenant_id(tenant).ok_or_else(|| Failure::not_found("tenant", tenant))?;
        let connection = connection
            .map(|name| ids.connection_id(tenant, name).ok_or_else(|| Failure::not_found("connection", name)))
            .transpose()?;
        Ok(TraceTarget { tenant: number, connection })
    }

    /// Marks the tenants that somebody traces, and no others.
    fn trace(&mut self) {
        let wanted = self.tracers.wanted();
        for (tenants, tracing) in [(&wanted, Tracing::On), (&self.traced, Tracing::Off)] {
            let other = if tracing == Tracing::On { &self.traced } else { &wanted };
            for tenant in tenants.difference(other) {
                let Some(name) = self.dataplane.ids().tenant_name(*tenant).map(str::to_owned) else { continue };
                if let Err(error) = self.dataplane.trace(&name, tracing) {
                    tracing::warn!(tenant = name, %error, "the tenant's tracing cannot be switched");
                }
            }
        }
        self.traced = wanted;
    }
}

/// Refuses a plan with a port that is not fit, and warns of what else a person should know.
fn refuse_unfit(plan: &Plan) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for report in fitness::inspect(plan)? {
        for finding in report.findings {
            match finding.verdict {
                Verdict::Refused => {
                    refused.push(format!("port {}: {}; {}", report.name, finding.message, finding.remedy))
                }
                Verdict::Warning => tracing::warn!(port = report.name, remedy = finding.remedy, "{}", finding.message),
                Verdict::Switched => {}
            }
        }
    }
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    Ok(())
}

/// The addresses outside that packets go to, each with the source they have.
fn remotes(plan: &Plan) -> HashMap<IpAddr, Option<IpAddr>> {
    let hosts =
        plan.tenants.iter().flat_map(|tenant| &tenant.vms).map(|vm| (vm.pa, plan.gateway.pa.same_family(vm.pa)));
    let sites =
        plan.tenants.iter().flat_map(|tenant| &tenant.connections).filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some((gre.remote, Some(gre.vip))),
            ConnectionKind::L3(_) => None,
        });
    let steered = plan.steer.iter().flat_map(|rule| [(rule.gateway, None), (rule.source, Some(rule.vip))]);
    hosts.chain(sites).chain(steered).collect()
}

/// The gateway's outer addresses.
fn own_outer_addresses(plan: &Plan) -> impl Iterator<Item = IpAddr> + '_ {
    let vips =
        plan.tenants.iter().flat_map(|tenant| &tenant.connections).filter_map(|connection| match &connection.kind {
            ConnectionKind::Gre(gre) => Some(gre.vip),
            ConnectionKind::L3(_) => None,
        });
    plan.gateway.pa.iter().chain(vips).chain(plan.steer.iter().map(|rule| rule.vip))
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
