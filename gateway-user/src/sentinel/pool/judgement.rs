//! What is thought of every gateway and of every seat's holder, and which probes tell of them.

use super::{News, Pool};
use crate::api::clock;
use crate::sentinel::gates::Gates;
use crate::sentinel::history::What;
use crate::sentinel::probing::{PathName, Question, Route};
use crate::sentinel::verdicts::opinion;
use gateway_common::probe::Way;
use seat::watch::{Side, Sign, Signs, diagnose};
use seat::{GatewayName, Input, Moment, Opinion, SeatName};
use std::collections::BTreeMap;

impl Pool {
    fn port(gateway: &GatewayName, side: Side) -> PathName {
        PathName { gateway: gateway.clone(), question: Question::Port(side) }
    }

    fn through(gateway: &GatewayName, seat: &SeatName, side: Side) -> PathName {
        PathName { gateway: gateway.clone(), question: Question::Through(seat.clone(), side) }
    }

    /// Looks what is to be thought of every gateway, and of every seat's holder.
    pub(super) fn judge(&mut self, gates: &mut dyn Gates, now: Moment, news: &mut News) {
        let heartbeat = self.configuration.timers.heartbeat();
        let peers: Vec<GatewayName> = self.configuration.peers.iter().map(|peer| peer.name.clone()).collect();
        let signs: Vec<Signs> = peers
            .iter()
            .map(|peer| Signs {
                fabric: self.probing.sign(&Self::port(peer, Side::Fabric), now),
                site: self.probing.sign(&Self::port(peer, Side::Site), now),
                agent: self.post.agent(peer, heartbeat, now),
            })
            .collect();
        let diagnoses = diagnose(&signs);
        for (peer, diagnosis) in peers.iter().zip(&diagnoses) {
            let before = self.diagnoses.insert(peer.clone(), *diagnosis);
            if before.unwrap_or_default() != *diagnosis {
                let last_answer = self.last_port_answer(peer).map(|at| clock::wall(at.0));
                let what = What::Seen { peer: peer.clone(), diagnosis: *diagnosis, last_answer };
                news.happened.push((None, what));
            }
        }
        let mut inputs = Vec::new();
        let names: Vec<SeatName> = self.configuration.charter.seats().keys().cloned().collect();
        for name in names {
            let Some((holder, ..)) = self.member.holder(&name) else { continue };
            let Some(at) = peers.iter().position(|peer| peer == holder) else { continue };
            let (holder, diagnosis) = (holder.clone(), diagnoses[at]);
            let paths = [Side::Fabric, Side::Site].map(|side| Self::through(&holder, &name, side));
            let through = paths.each_ref().map(|path| self.probing.sign(path, now));
            let opinion = opinion(diagnosis, through);
            let Some(state) = self.seats.get_mut(&name) else {
                // This gateway has a vote on it all the same.
                inputs.push(Input::Seen { seat: name, gateway: holder, opinion });
                continue;
            };
            if state.told.as_ref().is_some_and(|(of, told)| *of == holder && *told == opinion) {
                continue;
            }
            let was = state.told.replace((holder.clone(), opinion)).map(|(_, was)| was);
            let lost = paths.iter().zip(through).filter(|(_, sign)| *sign == Sign::Lost);
            let answers: Vec<Moment> = lost.filter_map(|(path, _)| self.probing.last_answer(path)).collect();
            let is_seats_own = !diagnosis.loses_packets();
            if opinion == Opinion::Gone {
                let last = answers.into_iter().min().or_else(|| self.last_port_answer(&holder));
                if let Some(state) = self.seats.get_mut(&name) {
                    state.lost = Some((holder.clone(), now, last));
                }
                if is_seats_own {
                    let last_answer = last.map_or(0, |last| clock::wall(last.0));
                    let what = What::SeatSeen { peer: holder.clone(), passes: false, last_answer };
                    news.happened.push((Some(name.clone()), what));
                }
            } else {
                state.lost = None;
                if was == Some(Opinion::Gone) && is_seats_own && opinion == Opinion::Alive {
                    let what = What::SeatSeen { peer: holder.clone(), passes: true, last_answer: clock::wall(now.0) };
                    news.happened.push((Some(name.clone()), what));
                }
            }
            inputs.push(Input::Seen { seat: name, gateway: holder, opinion });
        }
        for input in inputs {
            self.step(input, gates, now, news);
        }
    }

    fn last_port_answer(&self, peer: &GatewayName) -> Option<Moment> {
        [Side::Fabric, Side::Site].iter().filter_map(|side| self.probing.last_answer(&Self::port(peer, *side))).min()
    }

    /// Has the seats probed where they are held.
    pub(super) fn probe_holders(&mut self, now: Moment, anew: bool) {
        let held = self.configuration.charter.seats().keys().filter_map(|seat| {
            let (gateway, epoch, _) = self.member.holder(seat)?;
            (*gateway != self.configuration.me).then(|| (seat.clone(), (gateway.clone(), epoch.0)))
        });
        let held: BTreeMap<SeatName, (GatewayName, u64)> = held.collect();
        if held == self.probed && !anew {
            return;
        }
        let mut wanted = BTreeMap::new();
        let site = self.configuration.site;
        for peer in &self.configuration.peers {
            let route = |to, seat, epoch, by, way| Route { to, gateway: peer.number, seat, epoch, by, way };
            let sides = [(Side::Fabric, Some(peer.fabric)), (Side::Site, peer.site.and(site).and(peer.site))];
            for (side, to) in sides {
                let Some(to) = to else { continue };
                wanted.insert(Self::port(&peer.name, side), route(to, 0, 0, side, Way::Back));
            }
            for (seat, (_, epoch)) in held.iter().filter(|(_, (gateway, _))| *gateway == peer.name) {
                let Some(number) = self.seats.get(seat).map(|state| state.seat.number) else { continue };
                for (side, to) in sides {
                    let Some(to) = to else { continue };
                    let way = match (side, sides[1].1) {
                        (_, None) => Way::Back,
                        (Side::Fabric, _) => Way::Site,
                        (Side::Site, _) => Way::Fabric,
                    };
                    wanted.insert(Self::through(&peer.name, seat, side), route(to, number, *epoch, side, way));
                }
            }
        }
        self.probed = held;
        self.probing.want(wanted, &self.configuration.timers, crate::sentinel::random, now);
    }
}
