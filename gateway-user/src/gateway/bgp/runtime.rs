//! The task that all routers live in.

use super::bfd::{Heard, Watch};
use super::router::{News, Router};
use super::stations::{News as StationNews, Stations};
use super::stream::{Happening, Opener, RouterKey, Teller};
use super::subject::Subject;
use super::{Command, Told, monitor, report};
use crate::agent::protocol::RackSession;
use crate::api::clock;
use crate::bfd::Report;
use crate::gateway::standing::Standing;
use crate::plan::Plan;
use bgp::Moment;
use bgp::speaker::{Config, Input, Start, Watch as Listening};
use gateway_common::Epoch;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Happenings that are met before anything else is looked at.
const AT_ONCE: usize = 64;

/// How often compartments that were not there are looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// How often stations are told figures.
const STATISTICS: Duration = Duration::from_secs(60);

/// All routers.
pub(super) struct Runtime {
    netns: PathBuf,
    start: Start,
    /// What is in force.
    plan: Option<Arc<Plan>>,
    standing: Arc<Standing>,
    commands: mpsc::UnboundedReceiver<Command>,
    happenings: mpsc::UnboundedReceiver<Happening>,
    teller: mpsc::UnboundedSender<Happening>,
    told: mpsc::Sender<Told>,
    /// Where it is said how the gateway's own sessions are.
    rack: watch::Sender<Vec<RackSession>>,
    routers: HashMap<RouterKey, Router>,
    by_tenant: HashMap<Box<str>, RouterKey>,
    last: u64,
    opener: Opener,
    deadlines: BTreeSet<(Moment, RouterKey)>,
    due: HashMap<RouterKey, Moment>,
    /// Those that have something to tell the agent.
    fresh: BTreeSet<RouterKey>,
    /// The one that did so last.
    told_last: RouterKey,
    /// The sessions that watch peers.
    watch: Watch,
    /// Those without a compartment, or without all sockets that they want in it.
    homeless: BTreeSet<RouterKey>,
    stations: Stations,
    /// What stations call the gateway.
    name: Box<str>,
    /// Whether any is there.
    listening: Listening,
}

fn now() -> Moment {
    Moment(clock::monotonic())
}

impl Runtime {
    pub(super) fn new(
        netns: PathBuf,
        watch: Watch,
        start: Start,
        commands: mpsc::UnboundedReceiver<Command>,
        (told, rack): (mpsc::Sender<Told>, watch::Sender<Vec<RackSession>>),
    ) -> Self {
        let (teller, happenings) = mpsc::unbounded_channel();
        Self {
            netns,
            start,
            plan: None,
            standing: Arc::default(),
            commands,
            happenings,
            teller,
            told,
            rack,
            routers: HashMap::new(),
            by_tenant: HashMap::new(),
            last: 0,
            opener: Opener::default(),
            deadlines: BTreeSet::new(),
            due: HashMap::new(),
            fresh: BTreeSet::new(),
            told_last: RouterKey(0),
            watch,
            homeless: BTreeSet::new(),
            stations: Stations::default(),
            name: Box::default(),
            listening: Listening::Off,
        }
    }

    /// Runs until the agent is gone.
    pub(super) async fn run(mut self) {
        let told = self.told.clone();
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut figures = tokio::time::interval(STATISTICS);
        figures.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.deadlines.first().map(|(at, _)| *at);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Plan(plan)) => self.configure(&plan),
                    Some(Command::Standing(standing)) => self.stand(standing),
                    Some(Command::Show(query, reply)) => reply.send(report::show(&query, self.routers.values_mut())),
                    Some(Command::Peers(tell)) => tell(report::peers(self.routers.values())),
                    None => return,
                },
                Some(happening) = self.happenings.recv() => {
                    self.happened(happening);
                    for _ in 1..AT_ONCE {
                        let Ok(happening) = self.happenings.try_recv() else { break };
                        self.happened(happening);
                    }
                }
                report = self.watch.next() => self.heard(&report),
                place = told.reserve(), if !self.fresh.is_empty() => match place {
                    Ok(place) => self.tell(place),
                    Err(_) => return,
                },
                () = sleep_until(wake) => self.timers(),
                news = self.stations.next() => self.station(news),
                _ = figures.tick(), if self.listening == Listening::On => self.tell_figures(),
                _ = retry.tick(), if !self.homeless.is_empty() => self.enter_again(),
            }
        }
    }

    /// The gateway stands otherwise with its seats, which concerns its own router, and those of the seats that came or went.
    fn stand(&mut self, standing: Standing) {
        let before = std::mem::replace(&mut self.standing, Arc::new(standing));
        let Some(plan) = self.plan.clone() else { return };
        let now = now();
        let lost = plan.tenants.iter().filter(|tenant| before.speaks_for(tenant) && !self.standing.speaks_for(tenant));
        for name in lost.map(|tenant| Box::from(tenant.key())).collect::<Vec<Box<str>>>() {
            self.fall_silent(&name);
        }
        let standing = Arc::clone(&self.standing);
        for subject in Subject::all(&plan, &standing).filter(Subject::moves) {
            let Some(config) = subject.config() else { continue };
            let known = self.by_tenant.get(subject.name()).copied();
            match (known, subject.tenant().and_then(|tenant| tenant.seat.as_ref())) {
                // Of a seat that is held as before.
                (Some(_), Some(_)) => {}
                (Some(key), None) => {
                    if let Some(router) = self.routers.get_mut(&key) {
                        router.configure(subject, config, now);
                    }
                    self.look_after(key);
                }
                (None, seat) => {
                    let epoch = seat.and_then(|seat| standing.held.get(seat)).copied();
                    self.begin(subject, config, start_under(epoch), now);
                }
            }
        }
        self.tell_tables();
    }

    /// The router of a tenant whose seat is held by another gateway says nothing more.
    fn fall_silent(&mut self, name: &str) {
        let Some(key) = self.by_tenant.remove(name) else { return };
        if let Some(router) = self.routers.get_mut(&key) {
            router.fall_silent();
        }
        self.forget(key);
    }

    fn configure(&mut self, plan: &Arc<Plan>) {
        self.plan = Some(Arc::clone(plan));
        let now = now();
        self.name = plan.gateway.name.as_str().into();
        self.stations.configure(&plan.gateway.bmp);
        self.watch_as_needed();
        let mut wanted = HashMap::new();
        for subject in Subject::all(plan, &self.standing) {
            if let Some(config) = subject.config() {
                wanted.insert(Box::<str>::from(subject.name()), (subject, config));
            }
        }
        let gone: Vec<Box<str>> = self.by_tenant.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if plan.tenants.iter().any(|tenant| tenant.bgp.is_some() && tenant.key() == *name) {
                self.fall_silent(&name);
            } else if let Some(key) = self.by_tenant.remove(&name) {
                self.remove(key, now);
            }
        }
        for (name, (subject, config)) in wanted {
            match self.by_tenant.get(&name).copied() {
                Some(key) => {
                    let sessions = subject.bfd(&self.netns);
                    if let Some(router) = self.routers.get_mut(&key) {
                        let was = monitor::chosen(&name, router.speaker.config());
                        router.configure(subject, config, now);
                        if was != monitor::chosen(&name, router.speaker.config()) {
                            // Another router stands in its place, with a table of its own.
                            self.stations.tell(key, &router.monitor.take());
                            self.stations.tell(key, &monitor::last_words(&was));
                            self.stations.tell_anew(key);
                        }
                    }
                    self.enter(key);
                    self.watch.want(key, sessions);
                    self.look_after(key);
                }
                None => self.begin(subject, config, self.start, now),
            }
        }
        self.tell_tables();
        // What comes with a later plan was not here before.
        self.start = Start::Fresh;
    }

    /// Another router speaks from here on.
    fn begin(&mut self, subject: Subject, config: Config, start: Start, now: Moment) {
        self.last += 1;
        let key = RouterKey(self.last);
        let (name, sessions) = (Box::from(subject.name()), subject.bfd(&self.netns));
        let teller = Teller { router: key, to: self.teller.clone() };
        let mut router = Router::new(subject, config, start, (self.opener.clone(), teller), now);
        router.speaker.watch(self.listening);
        self.routers.insert(key, router);
        self.stations.tell_anew(key);
        self.by_tenant.insert(name, key);
        self.enter(key);
        self.watch.want(key, sessions);
        self.look_after(key);
    }

    fn remove(&mut self, key: RouterKey, now: Moment) {
        if let Some(router) = self.routers.get_mut(&key) {
            router.end(now);
        }
        self.forget(key);
    }

    fn forget(&mut self, key: RouterKey) {
        if let Some(mut router) = self.routers.remove(&key) {
            let own = monitor::chosen(router.name(), router.speaker.config());
            self.stations.tell(key, &router.monitor.take());
            self.stations.forget(key, &monitor::last_words(&own));
            if router.subject.tenant().is_none() {
                self.say_rack(Vec::new());
            }
        }
        if let Some(at) = self.due.remove(&key) {
            self.deadlines.remove(&(at, key));
        }
        self.fresh.remove(&key);
        self.homeless.remove(&key);
        self.watch.want(key, Vec::new());
    }

    /// A session that watches a peer is not as before.
    fn heard(&mut self, report: &Report) {
        let Some(Heard { router: key, neighbor, state, failed }) = self.watch.heard(report) else { return };
        let Some(router) = self.routers.get_mut(&key) else { return };
        router.peers.watched(&neighbor, state);
        if let Some((state, cause)) = failed {
            let tenant = router.name();
            tracing::warn!(tenant, peer = %neighbor, "the path to the BGP peer has failed: BFD says that {cause}");
            router.step(Input::Bfd { neighbor, state }, now());
            self.look_after(key);
        }
    }

    fn enter(&mut self, key: RouterKey) {
        if let Some(router) = self.routers.get_mut(&key) {
            if router.enter(&self.netns) {
                self.homeless.remove(&key);
            } else {
                self.homeless.insert(key);
            }
        }
    }

    fn enter_again(&mut self) {
        for key in self.homeless.clone() {
            self.enter(key);
        }
    }

    fn happened(&mut self, Happening { router: key, what }: Happening) {
        if let Some(router) = self.routers.get_mut(&key) {
            router.happened(what, now());
            self.look_after(key);
        }
    }

    fn timers(&mut self) {
        let now = now();
        while let Some((_, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            if let Some(router) = self.routers.get_mut(&key) {
                router.step(Input::Timer, now);
            }
            let before = self.due.get(&key).copied();
            self.look_after(key);
            if self.due.get(&key).copied() == before {
                // A speaker that wants the same moment again gets the next one.
                self.put_off(key, now);
            }
        }
    }

    fn put_off(&mut self, key: RouterKey, now: Moment) {
        if let Some(at) = self.due.get_mut(&key) {
            self.deadlines.remove(&(*at, key));
            *at = now + Duration::from_millis(1);
            self.deadlines.insert((*at, key));
        }
    }

    /// A station's task has something to say.
    fn station(&mut self, news: StationNews) {
        match news {
            StationNews::Connected(at, queue) => {
                let first = monitor::first_words(&self.name);
                self.stations.begin(at, queue, first, self.by_tenant.values().copied());
            }
            StationNews::Gone(at) => self.stations.gone(at),
            StationNews::Emptied => {}
        }
        self.watch_as_needed();
        self.tell_tables();
    }

    /// Routers tell what changes while a station is there to be told.
    fn watch_as_needed(&mut self) {
        let listening = if self.stations.any() { Listening::On } else { Listening::Off };
        if listening != self.listening {
            self.listening = listening;
            self.routers.values_mut().for_each(|router| router.speaker.watch(listening));
        }
    }

    /// Tells stations of tables what they have room for.
    fn tell_tables(&mut self) {
        for at in self.stations.unfinished() {
            while let Some((key, from)) = self.stations.due(at) {
                let part =
                    self.routers.get(&key).map(|router| router.monitor.piece(router.name(), &router.speaker, from));
                let (bytes, next) = part.unwrap_or_default();
                self.stations.part(at, bytes, next);
            }
        }
    }

    fn tell_figures(&mut self) {
        for (key, router) in &self.routers {
            self.stations.tell(*key, &router.monitor.statistics(router.name(), &router.speaker));
        }
    }

    /// Notes when a router wants to be asked again, and whether it has news.
    fn look_after(&mut self, key: RouterKey) {
        let told = self.routers.get_mut(&key).map(|router| router.monitor.take()).unwrap_or_default();
        if !told.is_empty() {
            self.stations.tell(key, &told);
        }
        let Some(router) = self.routers.get(&key) else { return };
        if let Some(at) = self.due.remove(&key) {
            self.deadlines.remove(&(at, key));
        }
        if let Some(at) = router.speaker.next_deadline() {
            self.due.insert(key, at);
            self.deadlines.insert((at, key));
        }
        if router.has_news() {
            self.fresh.insert(key);
        }
        if router.subject.tenant().is_none() {
            self.say_rack(report::rack(router));
        }
    }

    fn say_rack(&self, sessions: Vec<RackSession>) {
        self.rack.send_if_modified(|said| {
            let is_other = *said != sessions;
            *said = sessions;
            is_other
        });
    }

    /// Tells the agent one thing, in turns among the routers.
    fn tell(&mut self, place: mpsc::Permit<'_, Told>) {
        // The next one after the last: one with a million routes to tell must not keep the others waiting.
        let next = self.fresh.range((Bound::Excluded(self.told_last), Bound::Unbounded)).next();
        let Some(key) = next.or(self.fresh.first()).copied() else { return };
        self.fresh.remove(&key);
        self.told_last = key;
        let Some(router) = self.routers.get_mut(&key) else { return };
        let tenant: Box<str> = router.name().into();
        match router.news() {
            Some(News::Routes(changes)) => place.send(Told::Routes { tenant, changes }),
            Some(News::Recovered) => place.send(Told::Recovered { tenant }),
            Some(News::Peers { up }) => place.send(Told::Peers { tenant, up }),
            None => {}
        }
        if router.has_news() {
            self.fresh.insert(key);
        }
    }
}

/// How a router of a seat begins: as the successor of whoever held it before, unless nobody did.
fn start_under(epoch: Option<Epoch>) -> Start {
    match epoch {
        Some(Epoch(0 | 1)) | None => Start::Fresh,
        Some(_) => Start::Restart(true.into()),
    }
}

async fn sleep_until(wake: Option<Moment>) {
    match wake {
        Some(at) => tokio::time::sleep(at.since(now())).await,
        None => std::future::pending().await,
    }
}
