//! The agent's loop: waits for signals, clients, the kernel and the programs, and meets what has changed.

use super::agent::{Agent, Sources};
use super::{bgp, controlled, notify};
use crate::dataplane::events::Event;
use crate::net::links::Link;
use crate::net::neighbours::Heard;
use crate::net::netlink::{Change, Presence};
use crate::net::next_hops::Effect;
use gateway_common::ConnectionId;
use gateway_common::trace::PathMtu;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Changes that come closer together than this many times what it took to meet the last ones are met together, so that meeting them leaves most of
/// the time for everything else. The first one of a burst is met at once.
const SETTLE: u32 = 4;
/// They are waited for this long at least, and at most.
const SETTLES: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(200);
/// How often failures are tried again, and what has a lifetime is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long next hops may take to answer before the gateway counts as ready without them.
const ANSWERS: Duration = Duration::from_secs(1);
/// How often a kernel without managed neighbours is asked again.
const REFRESH: Duration = Duration::from_secs(10);

/// What is still to be done.
#[derive(Debug)]
pub(super) struct Pending {
    effect: Effect,
    since: Option<Instant>,
    /// When the next ones may be met.
    free: Instant,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { effect: Effect::None, since: None, free: Instant::now() }
    }

    pub(super) fn add(&mut self, effect: Effect) {
        if effect > Effect::None {
            self.effect = self.effect.max(effect);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    fn postpone(&mut self, by: Duration) {
        self.free = Instant::now() + by;
    }

    /// When to act: at once, unless that was done a moment ago.
    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since.max(self.free))
    }

    fn take(&mut self) -> Effect {
        self.since = None;
        std::mem::replace(&mut self.effect, Effect::None)
    }

    /// What was taken is met, and it took this long.
    fn met(&mut self, took: Duration) {
        self.postpone((took * SETTLE).clamp(*SETTLES.start(), *SETTLES.end()));
    }
}

impl Agent {
    /// Serves until a signal says to stop.
    pub async fn serve(mut self, sources: Sources) -> anyhow::Result<()> {
        let Sources {
            server,
            handle,
            mut calls,
            mut monitor,
            mut events,
            mut inside,
            mut controlled,
            mut learned,
            mut answered,
        } = sources;
        let (mut hangup, mut terminate, mut interrupt) =
            (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Whoever is told that the gateway is ready may rely on it without its daemon from then on.
        let mut unannounced = Some((server, handle));
        let mut serving = None;
        let deadline = Instant::now() + ANSWERS;
        let (tracers, sentinel, ballots) = (self.tracers.clone(), self.sentinel.clone(), self.ballots.clone());
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        let mut refreshed = Instant::now();
        loop {
            let due = self.pending.due();
            let settled = due.is_none() && !self.next_hops.awaits() && !self.compartments.awaits();
            if (settled || Instant::now() >= deadline)
                && let Some((server, handle)) = unannounced.take()
            {
                serving = Some(tokio::spawn(server.serve(handle)));
                self.announce();
            }
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload(),
                () = tracers.changed() => self.trace(),
                Some(call) = calls.recv() => self.answer(call),
                changes = monitor.next() => self.heard(changes?),
                Some(answer) = answered.recv() => self.heard_on_vlan(answer),
                Some((tenant, change)) = inside.recv() => self.heard_inside(&tenant, &change),
                Some(told) = learned.recv() => {
                    if let (bgp::Told::Peers { .. }, Some(controlled)) = (&told, &mut controlled) {
                        controlled.report_soon();
                        self.report(controlled);
                    }
                    match &told {
                        // Its router was here a moment ago; what the seat knows comes from its holder now.
                        bgp::Told::Routes { tenant, .. } if self.replicas.follows(tenant) => continue,
                        bgp::Told::Routes { tenant, changes } => {
                            self.report_routes(tenant, changes);
                            self.log_routes(tenant, changes);
                        }
                        _ => {}
                    }
                    self.learn(told);
                }
                told = events.next() => self.told(told?),
                heard = self.replicas.next() => self.heard_of_seat(heard),
                news = sentinel.next() => self.heard_sentinel(&news),
                answer = ballots.answer() => sentinel.letter(seat::Message::Answer(answer)),
                news = controlled::next(&mut controlled) => self.heard_from_controller(news, controlled.as_mut()),
                () = wait_until(due) => self.work(),
                () = wait_until(unannounced.as_ref().map(|_| deadline)) => {}
                _ = housekeeping.tick() => {
                    if self.path_mtus.expire(Instant::now()) {
                        self.pending.add(Effect::Ways);
                    }
                    self.save_path_mtus();
                    self.warn_of_unresolved();
                    self.sweep();
                    self.watch_seats();
                    self.watch_logs();
                    self.ask_around();
                    if let Some(controlled) = &mut controlled {
                        self.report(controlled);
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
        self.save_path_mtus();
        if let Some(serving) = serving {
            serving.abort();
            // The socket's name goes with the server.
            let _ = serving.await;
        }
        tracing::info!("stopped; packets are forwarded all the same until `gatewayd detach`");
        Ok(())
    }

    fn save_path_mtus(&mut self) {
        if let Err(error) = self.path_mtus.save(&self.options.dataplane.state) {
            tracing::warn!(error = format!("{error:#}"), "the next daemon will not know the path MTUs");
        }
    }

    fn announce(&self) {
        notify("READY=1");
        tracing::info!(
            name = %self.assignment.plan.gateway.name,
            tenants = self.assignment.plan.tenants.len(),
            socket = %self.options.socket.display(),
            adopted = self.adopted,
            "ready"
        );
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
        if self.assignment.is_device(&link.name) {
            let known = self.world.devices.get(&link.name);
            let gone = matches!(change, Change::Link { gone: Presence::Gone, .. });
            let same = known.is_some_and(|known| (known.ifindex, known.mtu) == (link.index, link.mtu)) && !gone;
            return if same { Effect::None } else { Effect::Resync };
        }
        let is_port = self.assignment.plan.ports.iter().any(|port| port.name.as_str() == link.name);
        let known = self.links.values().find(|known| known.index == link.index);
        let same = |known: &Link| {
            (known.mac, known.mtu, known.up, known.running) == (link.mac, link.mtu, link.up, link.running)
                && known.name == link.name
        };
        match (known, change) {
            (Some(known), Change::Link { gone: Presence::Present, .. }) if same(known) => Effect::None,
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

    /// Takes what a tenant's router has learned.
    pub(super) fn learn(&mut self, told: bgp::Told) {
        match told {
            bgp::Told::Routes { tenant, changes } => {
                if let Err(error) = self.dataplane.learn(&tenant, changes) {
                    tracing::error!(%tenant, %error, "learned routes cannot be written; trying again");
                    self.unlearned.insert(tenant.into());
                }
            }
            bgp::Told::Peers { tenant, up } => self.heard_sessions(&tenant, up),
            bgp::Told::Recovered { tenant } => {
                self.unswept.remove(&*tenant);
                self.give_up(&tenant);
            }
        }
    }

    /// Gives up what was learned by an earlier daemon and is overdue, and writes what could not be written.
    fn sweep(&mut self) {
        let now = Instant::now();
        let overdue: Vec<String> =
            self.unswept.extract_if(.., |_, deadline| *deadline <= now).map(|(tenant, _)| tenant).collect();
        for tenant in overdue {
            self.end_round(&tenant);
            self.give_up(&tenant);
        }
        for tenant in std::mem::take(&mut self.unlearned) {
            if let Err(error) = self.dataplane.learn(&tenant, []) {
                tracing::debug!(tenant, %error, "learned routes can still not be written");
                self.unlearned.insert(tenant);
            }
        }
    }

    pub(super) fn give_up(&mut self, tenant: &str) {
        self.routes.complete(tenant);
        self.log_complete(tenant);
        self.sweep_found(tenant);
    }

    /// Nobody tells any more what was found and not learned again.
    pub(super) fn sweep_found(&mut self, tenant: &str) {
        match self.dataplane.sweep(tenant) {
            Ok(0) => {}
            Ok(routes) => {
                tracing::info!(tenant, routes, "routes of before the restart are gone: nobody told them again")
            }
            Err(error) => {
                tracing::error!(tenant, %error, "routes of before the restart cannot be removed; trying again");
                self.unlearned.insert(tenant.to_owned());
            }
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
        let started = Instant::now();
        let result = match effect {
            Effect::None | Effect::Ways => Ok(()),
            Effect::Manage => {
                self.next_hops.manage(&mut self.netlink);
                Ok(())
            }
            Effect::LookUp => self.next_hops.look_up(&mut self.netlink).map_err(Into::into),
            Effect::Resync => self.settle_host().and_then(|()| Ok(self.next_hops.resync(&mut self.netlink)?)),
        };
        let result = result.and_then(|()| {
            self.configure_sentinel();
            // Most of what the kernel tells changes nothing for us.
            if self.look_around() == self.world && self.programs() == self.attached {
                Ok(0)
            } else {
                self.settle_dataplane()
            }
        });
        self.pending.met(started.elapsed());
        if let Err(error) = result {
            tracing::error!(error = format!("{error:#}"), "the host's change could not be met; trying again");
            self.warnings.insert("host".to_owned(), format!("{error:#}"));
            self.pending.add(Effect::Resync);
            // Not at once, though: what failed now will fail in a moment.
            self.pending.postpone(HOUSEKEEPING);
        } else {
            self.warnings.remove("host");
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
