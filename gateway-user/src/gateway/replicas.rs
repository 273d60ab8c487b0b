//! What the replicas of seats are told by their holders: stations on tenants' VLANs and learned routes, which are in a replica's tables before it
//! is held. And the other way round: what is known here of the seats that are held here goes into their [logs](super::seat_log).
//!
//! ```text
//!   seat held here:   kernels, routers ──► tables
//!                            └──────────► log ──► replicas elsewhere
//!   replica here:     log of its holder ──► tables
//! ```
//!
//! A seat that is taken begins with what was told of it. Stations become the kernel's, which asks whether they are still there; routes stay until
//! the tenants' peers have told theirs, or should have.

use super::agent::Agent;
use super::bgp::Told;
use super::seat_log::report::Part;
use super::seat_log::{Credential, Fact, Heard, Members, Name, PORT, Peer, Record, Room, SeatLog, SeatLogReport};
use super::{PlanOrigin, Role};
use crate::dataplane::World;
use crate::dataplane::learned::Change;
use crate::dataplane::world::{ConnectionName, Mac, Neighbour};
use crate::net::next_hops::Effect;
use crate::plan::{Plan, Pool, Tenant};
use gateway_common::Epoch;
use seat::SeatName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a seat may lack a second gateway that knows everything before a person hears of it: longer than it takes to begin.
const PATIENCE: Duration = Duration::from_secs(15);
/// What warnings about logs start with.
const ABOUT: &str = "seat log";

/// The logs, and what they have of stations.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    running: Option<Running>,
    /// As the logs have them, of seats that are held here and of others.
    stations: BTreeMap<SeatName, Stations>,
    /// The seats whose logs are told from here.
    held: BTreeMap<SeatName, Epoch>,
    lacking: Lacking,
}

#[derive(Debug)]
struct Running {
    log: SeatLog,
    heard: mpsc::Receiver<Heard>,
}

/// A station, and its link-layer address.
pub(super) type Station = (Neighbour, Mac);

/// Link-layer addresses of stations.
type Stations = HashMap<Neighbour, Mac>;

/// What is different in the tables by what was heard.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    stations: usize,
    routes: BTreeMap<Name, Vec<Change>>,
    /// Tenants all of whose routes were told.
    complete: BTreeSet<Name>,
}

impl Replicas {
    /// What the holder of a seat says next; never anything without a log.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(running) = &mut self.running
            && let Some(heard) = running.heard.recv().await
        {
            return heard;
        }
        std::future::pending().await
    }

    /// How the logs are.
    pub(super) fn report(&self) -> Vec<SeatLogReport> {
        self.running.as_ref().map(|running| running.log.report()).unwrap_or_default()
    }

    /// The replicas here that lack some of what their holders know.
    pub(super) fn unknown(&self) -> BTreeSet<SeatName> {
        let is_whole = |part: &Part| matches!(part, Part::Holder { .. } | Part::Replica { whole: true, .. });
        self.report().into_iter().filter(|report| !is_whole(&report.part)).map(|report| report.seat).collect()
    }

    /// Tells the world of the stations of seats that others hold.
    pub(super) fn tell(&self, world: &mut World) {
        for stations in self.stations.iter().filter(|(seat, _)| !self.held.contains_key(*seat)).map(|(_, it)| it) {
            for (station, mac) in stations {
                if world.attachments.contains_key(&station.connection) {
                    world.neighbours.insert(station.clone(), *mac);
                }
            }
        }
    }

    /// The log, if a tenant's instance is of a seat that is held here.
    fn log_of(&self, tenant: &str) -> Option<(&SeatLog, SeatName)> {
        let seat = SeatName::from(Tenant::seat_in(tenant)?);
        let running = self.running.as_ref().filter(|_| self.held.contains_key(&seat))?;
        Some((&running.log, seat))
    }

    /// Whether others tell what a tenant's instance here knows.
    pub(super) fn follows(&self, tenant: &str) -> bool {
        self.running.is_some() && Tenant::seat_in(tenant).is_some_and(|seat| !self.held.contains_key(&seat.into()))
    }

    /// Whether a seat's holder would have told of a station on the connection's VLAN, and has told of none.
    pub(super) fn knows_nobody_on(&self, connection: &ConnectionName) -> bool {
        let stations = Tenant::seat_in(&connection.tenant).and_then(|seat| self.stations.get(&SeatName::from(seat)));
        let knows_one = stations.into_iter().flat_map(HashMap::keys).any(|station| station.connection == *connection);
        self.running.is_some() && !knows_one
    }

    /// Knows nothing any more of seats that are none of this gateway's.
    fn keep(&mut self, seats: &BTreeSet<SeatName>) {
        self.stations.retain(|seat, _| seats.contains(seat));
        self.held.retain(|seat, _| seats.contains(seat));
    }

    /// Takes what the holder of a seat said.
    fn take(&mut self, Heard { seat, changes }: Heard) -> News {
        let mut news = News::default();
        // It was taken meanwhile, and its log has what comes late.
        if self.held.contains_key(&seat) {
            return news;
        }
        let stations = self.stations.entry(seat).or_default();
        for record in changes {
            let tenant = record.tenant();
            match record.fact() {
                Fact::Complete(true) => drop(news.complete.insert(tenant.clone())),
                Fact::Complete(false) => {}
                Fact::Neighbour { connection, address, mac } => {
                    let connection = ConnectionName { tenant: tenant.to_string(), connection: connection.to_string() };
                    let station = Neighbour { connection, address };
                    match mac {
                        Some(mac) => stations.insert(station, mac),
                        None => stations.remove(&station),
                    };
                    news.stations += 1;
                }
                Fact::Route { prefix, ways } => {
                    let change = Change { prefix, ways: ways.to_vec() };
                    news.routes.entry(tenant.clone()).or_default().push(change);
                }
            }
        }
        news
    }
}

/// Seats of which no second gateway knows everything.
#[derive(Debug, Default)]
struct Lacking {
    since: BTreeMap<SeatName, (&'static str, Instant)>,
    said: BTreeSet<SeatName>,
}

impl Lacking {
    /// What has lasted too long, by the seat. It is said in the log once.
    fn look(&mut self, reports: &[SeatLogReport], now: Instant) -> BTreeMap<SeatName, &'static str> {
        let lacks = |report: &SeatLogReport| Some((report.seat.clone(), lacks(&report.part)?));
        let lacking: BTreeMap<SeatName, &'static str> = reports.iter().filter_map(lacks).collect();
        self.since.retain(|seat, (what, _)| lacking.get(seat) == Some(what));
        for (seat, what) in &lacking {
            self.since.entry(seat.clone()).or_insert((what, now));
        }
        let overdue = self.since.iter().filter(|(_, (_, since))| now.saturating_duration_since(*since) >= PATIENCE);
        let overdue: BTreeMap<SeatName, &'static str> =
            overdue.map(|(seat, (what, _))| (seat.clone(), *what)).collect();
        self.said.retain(|seat| overdue.contains_key(seat));
        for (seat, what) in &overdue {
            if self.said.insert(seat.clone()) {
                tracing::warn!(%seat, "{what}");
            }
        }
        overdue
    }
}

fn lacks(part: &Part) -> Option<&'static str> {
    match part {
        Part::Holder { protected: false, .. } => Some(
            "no other gateway has the stations and learned routes that the seat has here: one that takes it has to learn them anew",
        ),
        Part::Replica { whole: false, .. } | Part::Replica { holder: None, .. } => Some(
            "the seat's holder does not tell this gateway of stations and learned routes: taken here, the seat has to learn them anew",
        ),
        Part::Holder { .. } | Part::Replica { .. } => None,
    }
}

/// Who is told of which seats: those that may take them by what is settled, and whoever holds them.
fn members(plan: &Plan, pool: &Pool, held: &BTreeMap<SeatName, Epoch>) -> Members {
    let peer = |peer: &crate::plan::PoolPeer| Peer {
        name: peer.name.as_str().into(),
        address: SocketAddr::new(peer.fabric, PORT),
    };
    let granted = |seat: &SeatName| {
        let grants = pool.charter.seats().get(seat).map(|succession| &*succession.grants).unwrap_or_default();
        grants.iter().any(|grant| grant.to.as_str() == plan.gateway.name.as_str())
    };
    let seats = plan.seats.iter().map(|seat| SeatName::from(seat.name.as_str()));
    Members {
        listen: SocketAddr::new(pool.fabric, PORT),
        peers: pool.peers.iter().map(peer).collect(),
        seats: seats.filter(|seat| granted(seat) || held.contains_key(seat)).collect(),
    }
}

impl Agent {
    /// Tells the log who takes part. Without a controller there are no certificates, and so there is no log.
    pub(super) fn configure_seat_log(&mut self) {
        let plan = Arc::clone(&self.assignment.plan);
        let (PlanOrigin::Controller(options), Role::Gateway, Some(pool)) =
            (&self.options.plan, self.options.role, &plan.pool)
        else {
            self.replicas = Replicas::default();
            return;
        };
        let members = members(&plan, pool, &self.replicas.held);
        let running = self.replicas.running.get_or_insert_with(|| {
            let (log, heard) = SeatLog::start(Credential::Kept(options.directory.clone()), Room::default());
            Running { log, heard }
        });
        let seats = members.seats.clone();
        running.log.configure(members);
        self.replicas.keep(&seats);
        self.log_tenants();
    }

    /// Takes all that holders of seats have said so far.
    pub(super) fn hear_out_seats(&mut self) {
        while let Some(heard) = self.replicas.running.as_mut().and_then(|running| running.heard.try_recv().ok()) {
            self.heard_of_seat(heard);
        }
    }

    /// Begins the logs of seats that were taken, and ends those of others. The stations that the holders of those knew, by tenant's key.
    pub(super) fn settle_logs(&mut self) -> BTreeMap<String, Vec<Station>> {
        if self.replicas.running.is_none() {
            return BTreeMap::new();
        }
        let named = |(seat, epoch): (&crate::plan::Name, &Epoch)| (SeatName::from(seat.as_str()), *epoch);
        let held: BTreeMap<SeatName, Epoch> = self.standing.held.iter().map(named).collect();
        let before = std::mem::take(&mut self.replicas.held);
        let mut known: BTreeMap<String, Vec<Station>> = BTreeMap::new();
        let taken = held.keys().filter(|seat| !before.contains_key(*seat));
        for (station, mac) in taken.filter_map(|seat| self.replicas.stations.get(seat)).flatten() {
            known.entry(station.connection.tenant.clone()).or_default().push((station.clone(), *mac));
        }
        let Some(Running { log, .. }) = &self.replicas.running else { return known };
        for (seat, epoch) in held.iter().filter(|(seat, epoch)| before.get(*seat) != Some(epoch)) {
            // What its routers have learned they do not tell again for another epoch.
            let own = if before.contains_key(seat) { log.known(seat) } else { Vec::new() };
            log.hold(seat, *epoch);
            log.put(seat, own);
        }
        before.keys().filter(|seat| !held.contains_key(*seat)).for_each(|seat| log.release(seat));
        self.replicas.held = held;
        self.log_tenants();
        self.log_stations();
        known
    }

    /// Says whose the seats that are held here are, and which of them has nothing of before to learn again.
    fn log_tenants(&self) {
        let Some(Running { log, .. }) = &self.replicas.running else { return };
        for seat in self.replicas.held.keys() {
            let tenants = self.assignment.plan.tenants.iter();
            let of_seat: Vec<(Name, &Tenant)> = tenants
                .filter(|tenant| tenant.seat.as_ref().is_some_and(|it| it.as_str() == seat.as_str()))
                .map(|tenant| (Name::from(&*tenant.key()), tenant))
                .collect();
            log.tenants(seat, &of_seat.iter().map(|(name, _)| name.clone()).collect());
            let complete =
                |(name, tenant): &&(Name, &Tenant)| tenant.bgp.is_some() && !self.unswept.contains_key(&**name);
            of_seat.iter().filter(complete).for_each(|(name, _)| log.complete(seat, name));
        }
    }

    /// Tells the logs which stations are known.
    pub(super) fn log_stations(&mut self) {
        let Replicas { running: Some(Running { log, .. }), held, stations, .. } = &mut self.replicas else { return };
        let mut known: BTreeMap<SeatName, Stations> = held.keys().map(|seat| (seat.clone(), Stations::new())).collect();
        for (station, mac) in &self.world.neighbours {
            let seat = Tenant::seat_in(&station.connection.tenant).map(SeatName::from);
            if let Some(of_seat) = seat.and_then(|seat| known.get_mut(&seat)) {
                of_seat.insert(station.clone(), *mac);
            }
        }
        for (seat, known) in known {
            let named = |(Neighbour { connection: name, address }, mac): (&Neighbour, &Mac)| {
                (Name::from(name.tenant.as_str()), Name::from(name.connection.as_str()), *address, *mac)
            };
            log.neighbours(&seat, known.iter().map(named));
            stations.insert(seat, known);
        }
    }

    /// Tells a seat's log what a tenant's router has learned.
    pub(super) fn log_routes(&self, tenant: &str, changes: &[Change]) {
        let Some((log, seat)) = self.replicas.log_of(tenant) else { return };
        let name = Name::from(tenant);
        let record = |change: &Change| Record::route(name.clone(), change.prefix, change.ways.as_slice().into());
        log.put(&seat, changes.iter().map(record));
    }

    /// Tells it that a tenant's router has learned all that its peers have to say.
    pub(super) fn log_complete(&self, tenant: &str) {
        if let Some((log, seat)) = self.replicas.log_of(tenant) {
            log.complete(&seat, &tenant.into());
        }
    }

    /// Takes what the holder of a seat says.
    pub(super) fn heard_of_seat(&mut self, heard: Heard) {
        let News { stations, routes, complete } = self.replicas.take(heard);
        if stations > 0 {
            self.pending.add(Effect::Ways);
        }
        for (tenant, changes) in routes {
            self.learn(Told::Routes { tenant: (&*tenant).into(), changes });
        }
        for tenant in complete {
            self.unswept.remove(&*tenant);
            self.sweep_found(&tenant);
        }
    }

    /// Puts into the tables what is known already of replicas' tenants that a plan has added.
    pub(super) fn learn_of_added(&mut self, added: &[String]) {
        let mut by_seat: BTreeMap<SeatName, BTreeSet<&str>> = BTreeMap::new();
        for tenant in added.iter().filter_map(|what| what.strip_prefix("tenant ")) {
            if let Some(seat) = Tenant::seat_in(tenant).filter(|_| self.replicas.follows(tenant)) {
                by_seat.entry(seat.into()).or_default().insert(tenant);
            }
        }
        for (seat, tenants) in by_seat {
            let known = self.replicas.running.as_ref().map(|running| running.log.known(&seat)).unwrap_or_default();
            let mut routes: BTreeMap<&str, Vec<Change>> = BTreeMap::new();
            for record in &known {
                if let (Some(tenant), Some(change)) = (tenants.get(&**record.tenant()), record.as_route()) {
                    routes.entry(tenant).or_default().push(change);
                }
            }
            for (tenant, changes) in routes {
                self.learn(Told::Routes { tenant: tenant.into(), changes });
            }
        }
    }

    /// Tells the logs under which epochs others hold seats, and a person of seats of which no second gateway knows everything.
    pub(super) fn watch_logs(&mut self) {
        self.warnings.retain(|about, _| !about.starts_with(ABOUT));
        let Some(Running { log, .. }) = &self.replicas.running else { return };
        for (seat, report) in self.sentinel.seats() {
            if let Some((_, epoch)) = report.holder {
                log.heard_of(&seat, Epoch(epoch));
            }
        }
        self.warnings.extend(log.problems());
        for (seat, what) in self.replicas.lacking.look(&log.report(), Instant::now()) {
            self.warnings.insert(format!("{ABOUT} of {seat}"), what.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::learned::{Via, Way};
    use std::net::IpAddr;

    const TENANT: &str = "contoso@GW1";
    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn name() -> Name {
        TENANT.into()
    }

    fn heard(changes: Vec<Record>) -> Heard {
        Heard { seat: "GW1".into(), changes }
    }

    fn address() -> IpAddr {
        [10, 127, 134, 55].into()
    }

    fn station(mac: Option<Mac>) -> Record {
        Record::neighbour(name(), "dc".into(), address(), mac)
    }

    fn connection() -> ConnectionName {
        ConnectionName { tenant: TENANT.to_owned(), connection: "dc".to_owned() }
    }

    fn told(replicas: &Replicas) -> HashMap<Neighbour, Mac> {
        let mut world = World { attachments: BTreeMap::from([(connection(), 7)]), ..World::default() };
        replicas.tell(&mut world);
        world.neighbours
    }

    #[test]
    fn a_station_that_the_holder_knows_is_in_the_world_until_it_is_withdrawn() {
        let mut replicas = Replicas::default();
        assert_eq!(replicas.take(heard(vec![station(Some(MAC))])).stations, 1);
        assert_eq!(told(&replicas), HashMap::from([(Neighbour { connection: connection(), address: address() }, MAC)]));
        assert_eq!(replicas.take(heard(vec![station(None)])).stations, 1);
        assert!(told(&replicas).is_empty());
    }

    #[test]
    fn a_station_on_a_vlan_that_is_not_here_is_nobodys() {
        let mut replicas = Replicas::default();
        replicas.take(heard(vec![station(Some(MAC))]));
        let mut world = World::default();
        replicas.tell(&mut world);
        assert!(world.neighbours.is_empty());
    }

    #[test]
    fn of_a_seat_that_is_held_here_the_kernel_alone_tells() {
        let mut replicas = Replicas::default();
        replicas.take(heard(vec![station(Some(MAC))]));
        replicas.held.insert("GW1".into(), Epoch(2));
        assert!(told(&replicas).is_empty());
        assert_eq!(replicas.take(heard(vec![station(None)])), News::default(), "what comes late is not taken");
        replicas.held.clear();
        assert_eq!(told(&replicas).len(), 1, "who loses the seat goes on with what its log had");
        replicas.keep(&BTreeSet::new());
        assert!(told(&replicas).is_empty());
    }

    #[test]
    fn routes_are_learned_as_if_a_router_here_had_told_them() {
        let way = Way { via: Via::Connection("dc".into()), next_hop: address() };
        let prefix = "10.30.0.0/16".parse().expect("a prefix");
        let records = vec![Record::route(name(), prefix, [way.clone()].into()), Record::complete(name())];
        let news = Replicas::default().take(heard(records));
        assert_eq!(news.routes[TENANT], [Change { prefix, ways: vec![way] }]);
        assert_eq!(news.complete, BTreeSet::from([name()]));
        let gone = Replicas::default().take(heard(vec![Record::route(name(), prefix, [].into())]));
        assert_eq!(gone.routes[TENANT], [Change { prefix, ways: Vec::new() }]);
    }

    fn holder(protected: bool) -> SeatLogReport {
        let part = Part::Holder { epoch: 1, protected, entries: 0, refused: 0, followers: Vec::new() };
        SeatLogReport { seat: "GW1".into(), part }
    }

    fn replica(whole: bool) -> SeatLogReport {
        let part = Part::Replica { holder: Some("GW1".into()), epoch: Some(1), whole, entries: 0, refused: 0 };
        SeatLogReport { seat: "GW1".into(), part }
    }

    #[test]
    fn a_seat_without_a_second_gateway_that_knows_all_is_told_of_after_a_while() {
        let mut lacking = Lacking::default();
        let start = Instant::now();
        for report in [holder, replica] {
            assert!(lacking.look(&[report(false)], start).is_empty());
            assert!(lacking.look(&[report(false)], start + PATIENCE / 2).is_empty());
            assert_eq!(lacking.look(&[report(false)], start + PATIENCE).len(), 1);
            assert!(lacking.look(&[report(true)], start + PATIENCE).is_empty());
        }
        lacking.look(&[holder(false)], start);
        assert!(lacking.look(&[replica(false)], start + PATIENCE).is_empty(), "it is another lack, which begins now");
    }
}
