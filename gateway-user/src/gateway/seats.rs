//! The seats that the gateway holds or may take: how it stands with them, and what it has its sentinel do.

use super::PlanOrigin;
use super::agent::Agent;
use super::compartment;
use super::replicas::Station;
use super::standing::Standing;
use crate::agent::life::life;
use crate::agent::protocol::{self, Lack, SeatNews};
use crate::dataplane::attach::Wanted;
use crate::dataplane::compile;
use crate::net::next_hops::Effect;
use crate::plan::{ConnectionKind, Mac, Name, Passage, Plan, Pool, Tenant};
use crate::sentinel::{self, Announcement, Configuration, Holding, SeatReport, client::News};
use gateway_common::tables::Seat;
use gateway_common::{Epoch, SeatId};
use seat::{Incarnation, SeatName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl Agent {
    /// How the gateway stands with its seats. A seat is held as far as its gate is open, and the gateway's own as far as its ports run their
    /// programs.
    fn stand(&self) -> Standing {
        let ports: Vec<Wanted> = self.attached.iter().filter(|it| self.links.contains_key(&it.name)).cloned().collect();
        let now = crate::api::clock::monotonic();
        let open = |slot: SeatId| -> Option<Epoch> {
            let seat: Seat = self.reader.seat(slot).ok()?;
            seat.gate.is_open(now).then_some(seat.epoch)
        };
        let runs = !ports.is_empty() && self.dataplane.runs(&ports).unwrap_or_default();
        let seats = self.assignment.plan.seats.iter();
        let held = seats.filter_map(|it| {
            let slot = self.dataplane.ids().seat_id(it.name.as_str())?;
            Some((it.name.clone(), open(slot)?))
        });
        Standing { own: open(compile::SEAT).filter(|_| runs), held: held.collect() }
    }

    /// Takes the seats that are held for granted, and tells BGP.
    pub(super) fn take_stand(&mut self) {
        self.standing = self.stand();
        let known = self.settle_logs();
        self.bgp.stand(self.standing.clone());
        self.ask_neighbours(&known);
        self.want_reach();
    }

    /// Meets seats that came and went, and ports that have lost their programs, which get them again.
    pub(super) fn watch_seats(&mut self) {
        if self.assignment.host.is_some() {
            return;
        }
        let standing = self.stand();
        if standing == self.standing {
            return;
        }
        // What was heard of a seat comes before what it is here.
        self.hear_out_seats();
        let before = std::mem::replace(&mut self.standing, standing);
        let taken: Vec<(Name, Epoch)> = (self.standing.held.iter())
            .filter(|(seat, _)| !before.held.contains_key(*seat))
            .map(|(seat, epoch)| (seat.clone(), *epoch))
            .collect();
        for (seat, epoch) in &taken {
            tracing::info!(%seat, epoch = epoch.0, "the seat is held here");
            self.succeed(seat);
        }
        for seat in before.held.keys().filter(|seat| !self.standing.held.contains_key(*seat)) {
            tracing::info!(%seat, "the seat is held here no more");
        }
        let mut known = self.reached(|seat| taken.iter().any(|(name, _)| name.as_str() == seat));
        for (tenant, stations) in self.settle_logs() {
            // What the holder knew comes last, and counts: it heard them all the time.
            known.entry(tenant).or_default().extend(stations);
        }
        // First who is to be reached, then who is to be told.
        self.ask_neighbours(&known);
        self.want_reach();
        self.bgp.stand(self.standing.clone());
        if let PlanOrigin::Controller(_) = &self.options.plan {
            self.report_routers();
        }
        if before.own.is_some() && self.standing.own.is_none() {
            tracing::error!("a port does not run its program: VIPs are announced no more; it gets it again");
            self.attached.clear();
            self.pending.add(Effect::Resync);
        }
    }

    /// What a seat's tenants have learned of old stays until their peers tell it again, or should have.
    fn succeed(&mut self, seat: &Name) {
        let now = Instant::now();
        let tenants = self.assignment.plan.tenants.iter().filter(|tenant| tenant.seat.as_ref() == Some(seat));
        for tenant in tenants {
            let Some(bgp) = &tenant.bgp else { continue };
            let wait = bgp.peers.iter().map(|peer| peer.graceful_restart.get()).max().unwrap_or_default();
            self.dataplane.age(&tenant.key());
            self.unswept.insert(tenant.key().into_owned(), now + Duration::from_secs(wait.into()));
        }
    }

    /// Has the compartments of seats that are held ask for their neighbours, and those of others for nobody.
    fn ask_neighbours(&mut self, known: &BTreeMap<String, Vec<Station>>) {
        let wanted = compartment::wanted(&self.assignment.plan, &self.world.ports, &self.standing);
        self.compartments.ask(&wanted, known);
        self.pending.add(Effect::Ways);
    }

    /// Tells the sentinel what is settled. Without a pool there is none.
    pub(super) fn configure_sentinel(&mut self) {
        let plan = &self.assignment.plan;
        let Some(pool) = &plan.pool else { return };
        let incarnation = match life(&self.options.dataplane.state, pool.site) {
            Ok(life) => Incarnation(life.incarnation),
            Err(error) => {
                tracing::error!(%error, "the sentinel is not configured: what tells this life of the machine cannot be kept");
                self.warnings.insert("incarnation".to_owned(), error.to_string());
                return;
            }
        };
        let slot = |name: &Name| self.dataplane.ids().seat_id(name.as_str()).map(|slot| slot.0);
        let ports = |role: fn(crate::plan::PortRole) -> bool| -> Vec<u32> {
            let ports = plan.ports.iter().filter(|port| role(port.role));
            ports.filter_map(|port| Some(self.links.get(port.name.as_str())?.index)).collect()
        };
        let (fabric, site) = (ports(crate::plan::PortRole::is_fabric), ports(crate::plan::PortRole::is_site));
        let vlan_port = |name: &str| self.links.get(name).map(|link| link.index);
        let seats = plan.seats.iter().filter_map(|it| {
            Some(sentinel::Seat {
                name: it.name.as_str().into(),
                slot: slot(&it.name)?,
                number: it.number.get(),
                announcements: announcements(plan, it, (&fabric, &site), vlan_port),
            })
        });
        let configuration = configuration(plan, pool, incarnation, seats.collect());
        if let Err(error) = configuration.check() {
            tracing::error!(%error, "the sentinel is not configured");
            return;
        }
        self.sentinel.configure(configuration);
    }

    /// What the controller is told of the pool's seats.
    pub(super) fn seat_news(&self) -> BTreeMap<String, SeatNews> {
        let (unreached, unknown) = (self.seats_unreached(), self.replicas.unknown());
        let lack = |seat: &SeatName, holding: Holding| match holding {
            Holding::Held => Lack::Nothing,
            _ if unreached.contains(seat) => Lack::Vlan,
            _ if unknown.contains(seat) => Lack::Knowledge,
            _ => Lack::Nothing,
        };
        let news = |seat: &SeatName, report: SeatReport| {
            let lack = lack(seat, report.holding);
            let holding = match report.holding {
                Holding::Held => protocol::Holding::Held,
                Holding::Yielding => protocol::Holding::Yielding,
                Holding::Replica => protocol::Holding::Replica,
            };
            let (holder, epoch) = report.holder.unzip();
            SeatNews {
                holding,
                holder: holder.map(String::from),
                epoch: epoch.unwrap_or_default(),
                sight: report.sight,
                lack,
            }
        };
        let seats = self.sentinel.seats().into_iter();
        seats.map(|(seat, report)| (seat.to_string(), news(&seat, report))).collect()
    }

    /// Takes news of the sentinel.
    pub(super) fn heard_sentinel(&mut self, news: &News) {
        match news {
            News::Seat(_) => self.watch_seats(),
            News::Letter(seat::Message::Ask(ask)) => self.ballots.ask(ask.clone()),
            // Nobody asks a gateway by way of its agent.
            News::Letter(seat::Message::Answer(_)) | News::Happened(_) => {}
        }
    }
}

fn configuration(plan: &Plan, pool: &Pool, incarnation: Incarnation, seats: Vec<sentinel::Seat>) -> Configuration {
    let peer = |peer: &crate::plan::PoolPeer| sentinel::Peer {
        name: peer.name.as_str().into(),
        number: peer.number.get(),
        fabric: peer.fabric,
        site: peer.site,
        key: peer.key.clone(),
    };
    Configuration {
        me: plan.gateway.name.as_str().into(),
        number: pool.number.get(),
        incarnation,
        timers: pool.timers,
        charter: pool.charter.clone(),
        fabric: pool.fabric,
        site: pool.site,
        peers: pool.peers.iter().map(peer).collect(),
        seats,
    }
}

/// What neighbours are told when a seat is taken: its addresses on the fabric, at the rack, and on its tenants' VLANs.
fn announcements(
    plan: &Plan,
    seat: &crate::plan::Seat,
    (fabric, site): (&[u32], &[u32]),
    port: impl Fn(&str) -> Option<u32>,
) -> Vec<Announcement> {
    let mac: Mac = seat.mac.get();
    let plain = |ports: &[u32], addresses: Vec<IpAddr>| -> Vec<Announcement> {
        let at = |ifindex: u32| {
            let addresses = addresses.clone().into_iter();
            addresses.map(move |address| Announcement { ifindex, vlan: None, address, mac })
        };
        ports.iter().copied().flat_map(at).collect()
    };
    let mut all: BTreeSet<Announcement> = plain(fabric, seat.pa.iter().collect()).into_iter().collect();
    let at_rack = seat.next_hop.iter().chain(plan.announced_vips_of(&seat.name));
    all.extend(plain(site, at_rack.collect()));
    let tenants = plan.tenants.iter().filter(|tenant| tenant.seat.as_ref() == Some(&seat.name));
    let connections = tenants.flat_map(|tenant: &Tenant| &tenant.connections);
    for connection in connections.filter(|connection| connection.passage == Passage::None) {
        let ConnectionKind::L3(l3) = &connection.kind else { continue };
        let Some(ifindex) = port(l3.port.as_str()) else { continue };
        all.extend(l3.addresses.iter().map(|own| Announcement {
            ifindex,
            vlan: Some(l3.vlan.get()),
            address: own.addr(),
            mac,
        }));
    }
    all.into_iter().collect()
}
