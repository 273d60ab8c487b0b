//! The agent's main loop: from the plan and the host to the data plane, again after every change.
//!
//! ```text
//!   plan ──► ports made fit ──► compartments ──► next hops ──► World ──► tables ──► programs attached
//!              ▲                    ▲               ▲
//!              └──── links ─────────┴── neighbours ─┴── routes: the kernel tells of changes
//! ```
//!
//! Everything is level-triggered: what is done after a change is what would be done at a start, and writes differences only.

use super::assignment::{Assignment, Role};
use super::compartment::{self, Compartments};
use super::controlled::Controlled;
use super::heard_routes::HeardRoutes;
use super::path_mtu::PathMtus;
use super::ports::PortWarnings;
use super::reach::Reach;
use super::record::{Lock, Record};
use super::replicas::Replicas;
use super::sessions::Sessions;
use super::slowpath::Answered;
use super::standing::Standing;
use super::watch::Pending;
use super::{Options, bgp, slowpath};
use crate::agent::{Ballots, RouteReporter};
use crate::api::agent::channel;
use crate::api::{AgentHandle, Call, Server, Tracers};
use crate::dataplane::attach::{Entry, Wanted};
use crate::dataplane::events::AsyncEvents;
use crate::dataplane::pins::{Mode, Pins};
use crate::dataplane::read::Reader;
use crate::dataplane::world::{Hop, PortState, World};
use crate::dataplane::{self, Dataplane, Found};
use crate::host::{self, overlay};
use crate::net::fitness;
use crate::net::links::Link;
use crate::net::netlink::{Change, Monitor, Netlink, Scope};
use crate::net::next_hops::{Exit, NextHops};
use crate::plan::{Plan, PlanErrors, PortMode, PortRole};
use crate::sentinel::{SentinelClient, client as sentinel};
use gateway_common::TenantId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Changes from compartments, and answers from VLANs, that may wait.
const BACKLOG: usize = 1024;

/// How long a next hop may take to answer before a person hears of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a compute host keeps learned routes that it is told nothing of: those that it found at its start, and those of a round before.
pub(super) const UNTOLD: Duration = Duration::from_secs(3600);

/// Lines of the log that one cause may fill.
const WARNINGS_AT_ONCE: usize = 10;

/// Where the agent's news come from.
pub(super) struct Sources {
    pub(super) server: Server,
    pub(super) handle: AgentHandle,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) monitor: Monitor,
    pub(super) events: AsyncEvents,
    pub(super) inside: mpsc::Receiver<(String, Change)>,
    pub(super) controlled: Option<Controlled>,
    pub(super) learned: mpsc::Receiver<bgp::Told>,
    pub(super) answered: mpsc::Receiver<Answered>,
}

/// The plan to start with.
pub(super) struct First {
    pub(super) name: String,
    pub(super) assignment: Assignment,
    /// Where to say whether it is in force.
    pub(super) reply: Option<oneshot::Sender<Result<(), String>>>,
}

impl First {
    /// From a file.
    pub(super) fn read(role: Role, path: &Path) -> Result<Self, PlanErrors> {
        Ok(Self { name: path.display().to_string(), assignment: Assignment::load(role, path)?, reply: None })
    }
}

/// Where plans come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    File,
    Controller,
}

impl Followed {
    fn by(controlled: Option<&Controlled>) -> Self {
        if controlled.is_some() { Self::Controller } else { Self::File }
    }
}

/// The running gateway.
pub(super) struct Agent {
    pub(super) options: Options,
    pub(super) assignment: Assignment,
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
    /// A compute host's VXLAN device.
    overlay: Option<u32>,
    /// What a person should look at, by what it is about.
    pub(super) warnings: BTreeMap<String, String>,
    pub(super) port_warnings: PortWarnings,
    pub(super) netlink: Netlink,
    pub(super) pending: Pending,
    pub(super) bgp: bgp::Handle,
    /// How the gateway stood with its seats when it looked last.
    pub(super) standing: Standing,
    /// How far the sessions of tenants on held seats have come.
    pub(super) sessions: Sessions,
    /// Who watches the other gateways of the pool.
    pub(super) sentinel: SentinelClient,
    /// What is told between the holders of seats and their replicas.
    pub(super) replicas: Replicas,
    /// Who answers on the VLANs of seats that others hold.
    pub(super) reach: Reach,
    /// When what an earlier daemon had learned for tenants is given up at the latest.
    pub(super) unswept: BTreeMap<String, Instant>,
    /// Where the controller hears what was learned here.
    pub(super) routes: RouteReporter,
    /// Where the controllers are asked about seats.
    pub(super) ballots: Ballots,
    /// What a compute host was told of learned routes, by tenant.
    pub(super) heard: BTreeMap<String, HeardRoutes>,
    /// Tenants whose learned routes could not be written.
    pub(super) unlearned: BTreeSet<String>,
    pub(super) attached: Vec<Wanted>,
    /// Since when there is no way to a remote.
    unresolved: HashMap<IpAddr, Instant>,
    record: Record,
    monitors: HashMap<String, AbortHandle>,
    inside: mpsc::Sender<(String, Change)>,
    answers: mpsc::Sender<Answered>,
    _lock: Lock,
}

impl Agent {
    /// Starts: everything is made what the plan says. To be called within a tokio runtime.
    ///
    /// # Errors
    /// What keeps it from starting. What was found on the host is as it was.
    pub(super) fn start(
        options: Options,
        first: First,
        controlled: Option<Controlled>,
    ) -> anyhow::Result<(Self, Sources)> {
        let First { name, assignment, reply } = first;
        dataplane::check_privileges()?;
        let mut port_warnings = PortWarnings::default();
        port_warnings.refuse_unfit(&assignment.plan, &Pins::new(&options.dataplane.pins))?;
        let state = options.dataplane.state.clone();
        let lock = Lock::take(&state)?;
        let open = || -> anyhow::Result<_> {
            let (record, server) = (Record::load(&state)?, Server::bind(&options.socket)?);
            Ok((record, server, Dataplane::open(&options.dataplane)?))
        };
        let (record, server, dataplane) = match open() {
            Ok(opened) => opened,
            Err(error) => {
                // What remains is what was there before.
                let _ = lock.remove();
                let _ = std::fs::remove_dir(&state);
                return Err(error);
            }
        };
        let (handle, calls) = channel();
        let found = dataplane.found();
        let (inside, inside_changes) = mpsc::channel(BACKLOG);
        let (answers, answered) = mpsc::channel(BACKLOG);
        let before = match found {
            Found::Adopted => ::bgp::speaker::Start::Restart(forwarded(&dataplane, &assignment.plan).into()),
            Found::Nothing | Found::Outdated => ::bgp::speaker::Start::Fresh,
        };
        let (bgp, learned) = bgp::Handle::start(&options.netns, &state, before);
        // Listens before anything is read, so that no change falls in between.
        let monitor = Monitor::new(Monitor::open(Scope::Everything)?)?;
        let mut agent = Self {
            plan_name: name,
            world: World::default(),
            reader: dataplane.reader()?,
            next_hops: NextHops::default(),
            compartments: Compartments::new(&options.netns),
            path_mtus: PathMtus::load(&state),
            slow: Arc::default(),
            tracers: handle.tracers().clone(),
            traced: BTreeSet::new(),
            adopted: found != Found::Nothing,
            started: Instant::now(),
            plans_applied: 0,
            links: BTreeMap::new(),
            overlay: None,
            warnings: BTreeMap::new(),
            port_warnings,
            netlink: Netlink::new()?,
            record,
            attached: Vec::new(),
            monitors: HashMap::new(),
            inside,
            answers,
            pending: Pending::new(),
            bgp,
            standing: Standing::default(),
            sessions: Sessions::default(),
            sentinel: SentinelClient::start(sentinel::Options::new(state.clone(), options.dataplane.pins.clone())),
            replicas: Replicas::default(),
            reach: Reach::open()?,
            unswept: BTreeMap::new(),
            routes: controlled.as_ref().map(Controlled::routes).unwrap_or_default(),
            ballots: controlled.as_ref().map(Controlled::ballots).unwrap_or_default(),
            heard: BTreeMap::new(),
            unlearned: BTreeSet::new(),
            unresolved: HashMap::new(),
            options,
            assignment,
            dataplane,
            _lock: lock,
        };
        match agent.come_up(Followed::by(controlled.as_ref())) {
            Ok(events) => {
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(()));
                }
                let inside = inside_changes;
                Ok((agent, Sources { server, handle, calls, monitor, events, inside, controlled, learned, answered }))
            }
            Err(error) => {
                // Its socket may be in the state directory, which goes, too.
                drop(server);
                if !agent.adopted {
                    agent.retreat();
                }
                Err(error)
            }
        }
    }

    fn come_up(&mut self, followed: Followed) -> anyhow::Result<AsyncEvents> {
        let slow_path = [slowpath::ROOT_END, slowpath::SOCKET_END];
        slowpath::refuse_others_links(&mut self.netlink, &slow_path, self.record.slow_path)?;
        self.record.slow_path = slowpath::Ownership::Ours;
        if self.assignment.host.is_some() {
            slowpath::refuse_others_links(&mut self.netlink, &[overlay::DEVICE], self.record.overlay)?;
            self.record.overlay = slowpath::Ownership::Ours;
        }
        self.record.save(&self.options.dataplane.state)?;
        let ends = slowpath::prepare_link(&mut self.netlink)?;
        self.world.slow_port = Some(ends.root);
        if self.assignment.host.is_some() {
            host::prepare_aside(slowpath::SOCKET_END)?;
            host::prepare_aside(slowpath::ROOT_END)?;
            self.overlay = Some(overlay::prepare(&mut self.netlink)?);
            self.world.aside = Some(ends.socket);
        }
        self.settle_host()?;
        self.settle_dataplane()?;
        // The programs of a migration have their own maps from here on.
        self.reader = self.dataplane.reader()?;
        let events = self.dataplane.events()?.into_async()?;
        self.slow = slowpath::start(self.answers.clone())?;
        self.wait_for_routes(followed);
        self.configure_seat_log();
        self.take_stand();
        if followed == Followed::Controller {
            self.report_routers();
        }
        self.bgp.configure(&self.assignment.plan);
        self.configure_sentinel();
        self.plans_applied = 1;
        Ok(events)
    }

    /// Gives tenants' peers time to tell again what an earlier daemon had learned: as long as they were asked to wait for it.
    fn wait_for_routes(&mut self, followed: Followed) {
        if !self.adopted {
            return;
        }
        let now = Instant::now();
        if let Some(host) = &self.assignment.host {
            // Its controller tells of learned routes; a plan file knows none.
            let wait = if followed == Followed::Controller { UNTOLD } else { Duration::ZERO };
            self.unswept = host.tenants.iter().map(|tenant| (tenant.name.to_string(), now + wait)).collect();
            return;
        }
        for tenant in &self.assignment.plan.tenants {
            let times = tenant.bgp.iter().flat_map(|bgp| &bgp.peers).map(|peer| peer.graceful_restart.get());
            if tenant.bgp.is_some() {
                let wait = Duration::from_secs(times.max().unwrap_or(0).into());
                self.unswept.insert(tenant.key().into_owned(), now + wait);
            }
        }
    }

    /// Leaves the host as it was found: nothing was there.
    fn retreat(self) {
        let Self { options, dataplane, _lock: lock, .. } = self;
        drop(dataplane);
        let state = &options.dataplane.state;
        let undone = super::undo(&options.dataplane.pins, state).and_then(|()| lock.remove());
        if let Err(error) = undone {
            tracing::error!(
                error = format!("{error:#}"),
                "not everything could be undone; `gatewayd detach` tries again"
            );
        }
        // Only if nobody else keeps anything there.
        let _ = std::fs::remove_dir(state);
    }

    /// Makes the host what the plan wants: ports, compartments, neighbours.
    pub(super) fn settle_host(&mut self) -> anyhow::Result<()> {
        let state = &self.options.dataplane.state;
        let plan = Arc::clone(&self.assignment.plan);
        self.links = fitness::links(&plan, &mut self.netlink)?;
        if let Some(host) = &self.assignment.host {
            self.world.devices = host::devices(host, &mut self.netlink)?;
        }
        self.world.ports = self
            .links
            .iter()
            .map(|(name, link)| (name.clone(), PortState { ifindex: link.index, mac: link.mac, mtu: link.mtu }))
            .collect();

        let wanted = compartment::wanted(&plan, &self.world.ports, &self.standing);
        self.record.netns.clone_from(&self.options.netns);
        let known = self.record.compartments.clone();
        self.compartments.refuse_others(&mut self.netlink, &wanted, &known)?;
        self.record.compartments.extend(wanted.keys().cloned());
        self.record.ports.extend(self.links.keys().cloned());
        self.record.save(state)?;
        let prepared =
            fitness::prepare(&plan, self.finishing(), &self.links, &mut self.record.switched, &mut self.netlink);
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
        self.next_hops.want(&mut self.netlink, exits, self.assignment.remotes())?;
        self.want_reach();
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
    pub(super) fn look_around(&mut self) -> World {
        let now = Instant::now();
        let mut world = World {
            ports: self.world.ports.clone(),
            slow_port: self.world.slow_port,
            aside: self.world.aside,
            devices: self.world.devices.clone(),
            processors: dataplane::processors(),
            ..World::default()
        };
        self.compartments.tell(&mut world);
        self.replicas.tell(&mut world);
        self.reach.tell(&mut world);
        for (remote, way) in self.next_hops.ways() {
            let Some(port) = self.links.values().find(|link| link.index == way.link) else { continue };
            let mtu = self.path_mtus.get(remote, now).map_or(way.mtu, |learned| learned.min(way.mtu));
            let hop = Hop { ifindex: way.link, destination: way.mac, source: port.mac, mtu };
            world.hops.insert(remote, hop);
        }
        let own = self.next_hops.own_addresses();
        world.owned = self.assignment.own_outer_addresses().filter(|address| own.contains(address)).collect();
        if self.assignment.host.is_some() {
            self.warn_of_missing(&world);
        }
        world
    }

    /// Makes the data plane what the plan and the host say. How many elements were written or removed.
    pub(super) fn settle_dataplane(&mut self) -> anyhow::Result<u64> {
        self.world = self.look_around();
        self.log_stations();
        let started = Instant::now();
        let applied = match &self.assignment.host {
            Some(host) => self.dataplane.apply_host(host, &self.world)?,
            None => self.dataplane.apply(&self.assignment.plan, &self.world)?,
        };
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
        Ok((applied.written + applied.removed) as u64)
    }

    /// Who finishes frames before they leave.
    fn finishing(&self) -> fitness::Finishing {
        if self.assignment.host.is_some() { fitness::Finishing::Port } else { fitness::Finishing::Programs }
    }

    /// The programs that the interfaces are to run.
    pub(super) fn programs(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = self
            .assignment
            .plan
            .ports
            .iter()
            .filter_map(|port| {
                let link = self.links.get(port.name.as_str())?;
                let entry = match port.role {
                    _ if self.assignment.host.is_some() => Entry::Host,
                    PortRole::Fabric => Entry::Fabric,
                    PortRole::Site => Entry::Site,
                    PortRole::Both => Entry::Both,
                };
                Some(Wanted { name: link.name.clone(), ifindex: link.index, entry, mode: mode(port.mode) })
            })
            .collect();
        let veth = |name: String, ifindex, entry| Wanted { name, ifindex, entry, mode: Mode::Native };
        wanted.extend(
            self.compartments.root_links().map(|(name, ifindex)| veth(name.to_owned(), ifindex, Entry::Compartment)),
        );
        wanted.extend(self.world.slow_port.map(|ifindex| veth(slowpath::ROOT_END.to_owned(), ifindex, Entry::Reentry)));
        if self.assignment.host.is_some() {
            let tc = |name: &str, ifindex, entry| Wanted { name: name.to_owned(), ifindex, entry, mode: Mode::Tc };
            let overlay = self.overlay.map(|ifindex| tc(overlay::DEVICE, ifindex, Entry::Overlay));
            let aside = self.world.slow_port.map(|ifindex| tc(slowpath::ROOT_END, ifindex, Entry::Deliver));
            let devices = self.world.devices.iter().map(|(name, device)| tc(name, device.ifindex, Entry::Vm));
            wanted.extend(overlay.into_iter().chain(aside).chain(devices).collect::<Vec<_>>());
        }
        wanted
    }

    /// Tells of provider addresses that a compute host's kernel does not have.
    fn warn_of_missing(&mut self, world: &World) {
        self.warnings.retain(|about, _| !about.starts_with("address "));
        for address in self.assignment.own_outer_addresses().filter(|address| !world.owned.contains(address)) {
            let remedy = "no interface has it, so nobody answers for it: `ip address add` it to a port";
            self.warnings.insert(format!("address {address}"), remedy.to_owned());
        }
    }

    /// Tells of remotes that have had no way for a while.
    pub(super) fn warn_of_unresolved(&mut self) {
        let unresolved = self.next_hops.unresolved();
        self.unresolved.retain(|remote, _| unresolved.contains_key(remote));
        let about = |remote: &IpAddr| format!("way to {remote}");
        let still: HashSet<String> = unresolved.keys().map(about).collect();
        self.warnings.retain(|about, _| !about.starts_with("way to ") || still.contains(about));
        let mut news = 0;
        for (remote, reason) in unresolved {
            let since = *self.unresolved.entry(remote).or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE && self.warnings.get(&about(&remote)) != Some(&reason) {
                news += 1;
                if news <= WARNINGS_AT_ONCE {
                    tracing::warn!(%remote, reason, "no way to a remote: packets for it are dropped");
                }
                self.warnings.insert(about(&remote), reason);
            }
        }
        if news > WARNINGS_AT_ONCE {
            tracing::warn!(remotes = news - WARNINGS_AT_ONCE, "no way to more remotes; `gatewayctl status` names them");
        }
    }
}

/// Whether a plan's ports ran their programs all the while.
fn forwarded(dataplane: &Dataplane, plan: &Plan) -> bool {
    let wanted = plan.ports.iter().map(|port| {
        let ifindex = nix::net::if_::if_nametoindex(port.name.as_str()).unwrap_or_default();
        Wanted { name: port.name.to_string(), ifindex, entry: Entry::Both, mode: mode(port.mode) }
    });
    dataplane.runs(&wanted.collect::<Vec<_>>()).unwrap_or_default()
}

fn mode(mode: PortMode) -> Mode {
    match mode {
        PortMode::Native => Mode::Native,
        PortMode::Generic => Mode::Generic,
        PortMode::Stack => Mode::Tc,
    }
}
