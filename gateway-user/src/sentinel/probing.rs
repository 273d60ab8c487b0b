//! Probes: what is sent to the other gateways' forwarding planes, and what comes back.
//!
//! Each gateway is asked on each side whether its port's program returns a packet by the port that it came in by. For each seat that it holds,
//! a packet goes through it as the seat's own do: in on one side and out on the other, both ways; its program lets it pass only if the
//! seat's gate is open.

use super::configuration::PairKey;
use super::keys::probe_key;
use super::ports::{Interfaces, Port, Ports};
use gateway_common::Epoch;
use gateway_common::probe::{Kind, PORT, Probe, Way};
use gateway_common::siphash::Key;
use seat::watch::{Gaps, Nonce, Prober, Side, Sign};
use seat::{GatewayName, Moment, SeatName, Timers};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Datagrams that are taken at once.
const TURN: usize = 4096;
/// A nonce begins with the number of its path.
const PATH_SHIFT: u32 = 40;

/// What a path of probes asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Whether the port at this side returns a packet.
    Port(Side),
    /// Whether a packet of this seat that goes in on this side comes out on the other.
    Through(SeatName, Side),
}

/// Which path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathName {
    /// The gateway that is asked.
    pub gateway: GatewayName,
    /// What.
    pub question: Question,
}

/// What a path is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where its probes go.
    pub to: IpAddr,
    /// The gateway's number.
    pub gateway: u16,
    /// The seat's number; 0 for none.
    pub seat: u32,
    /// The seat's highest epoch that is known here.
    pub epoch: u64,
    /// Out of which side they leave.
    pub by: Side,
    /// How they come back.
    pub way: Way,
}

#[derive(Debug)]
struct Path {
    name: PathName,
    route: Route,
    prober: Prober,
}

/// What came that was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Whose claim.
    pub gateway: u16,
    /// Which seat.
    pub seat: u32,
    /// Under which epoch it is held.
    pub epoch: u64,
}

/// All paths.
#[derive(Debug, Default)]
pub struct Probing {
    me: u16,
    ports: Ports,
    keys: BTreeMap<u16, Keys>,
    paths: BTreeMap<u32, Path>,
    last_path: u32,
}

/// A pair's keys of probes.
#[derive(Debug)]
struct Keys {
    /// What we ask that gateway.
    ours: Key,
    /// What it says of itself.
    theirs: Key,
    fabric: IpAddr,
    site: Option<IpAddr>,
}

impl Probing {
    /// Probes from these addresses, as this gateway; gives the sockets that somebody has to wait for.
    pub fn configure(
        &mut self,
        me: u16,
        fabric: IpAddr,
        site: Option<IpAddr>,
        interfaces: &Interfaces,
    ) -> Vec<(Side, Rc<Port>)> {
        self.me = me;
        self.ports.want(fabric, site, PORT, interfaces)
    }

    /// The gateways that there are.
    pub fn know<'a>(&mut self, peers: impl Iterator<Item = (u16, &'a PairKey, IpAddr, Option<IpAddr>)>) {
        self.keys = peers
            .map(|(number, key, fabric, site)| {
                let (ours, theirs) = (probe_key(key, self.me), probe_key(key, number));
                (number, Keys { ours, theirs, fabric, site })
            })
            .collect();
    }

    /// Has these paths and no others; those that there were go on.
    pub fn want(
        &mut self,
        mut wanted: BTreeMap<PathName, Route>,
        timers: &Timers,
        mut random: impl FnMut() -> u64,
        now: Moment,
    ) {
        self.paths.retain(|_, path| match wanted.remove(&path.name) {
            // Another address is another path.
            Some(route)
                if (route.to, route.gateway, route.seat) == (path.route.to, path.route.gateway, path.route.seat) =>
            {
                path.route = route;
                true
            }
            Some(route) => {
                wanted.insert(path.name.clone(), route);
                false
            }
            None => false,
        });
        for (name, route) in wanted {
            loop {
                self.last_path = (self.last_path + 1) & 0x00ff_ffff;
                if !self.paths.contains_key(&self.last_path) {
                    break;
                }
            }
            let start = u64::from(self.last_path) << PATH_SHIFT | random() & ((1 << (PATH_SHIFT - 1)) - 1);
            self.paths.insert(self.last_path, Path { name, route, prober: Prober::new(timers, start, now) });
        }
    }

    /// Sends what is due.
    pub fn send(&mut self, now: Moment) {
        let Self { me, ports, keys, paths, .. } = self;
        for path in paths.values_mut() {
            let Some(Nonce(nonce)) = path.prober.send(now) else { continue };
            let Route { to, gateway, seat, epoch, by, way } = path.route;
            let (Some(port), Some(keys)) = (ports.at(by), keys.get(&gateway)) else { continue };
            let epoch = Epoch(epoch);
            let probe = Probe { kind: Kind::Request, observer: *me, nonce, seat, way, epoch, clock: 0 };
            port.send(&probe.to_bytes(keys.ours), SocketAddr::new(to, PORT));
        }
    }

    /// Tells all gateways that a seat is held here, on both sides.
    pub fn claim(&self, seat: u32, epoch: u64, nonce: u64) {
        for keys in self.keys.values() {
            let epoch = Epoch(epoch);
            let way = Way::Back;
            let probe = Probe { kind: Kind::Claim, observer: self.me, nonce, seat, way, epoch, clock: 0 };
            let sealed = probe.to_bytes(keys.ours);
            for (side, to) in [(Side::Fabric, Some(keys.fabric)), (Side::Site, keys.site)] {
                if let (Some(port), Some(to)) = (self.ports.at(side), to) {
                    port.send(&sealed, SocketAddr::new(to, PORT));
                }
            }
        }
    }

    /// Takes in what has come on a side.
    pub fn hear(&mut self, side: Side, now: Moment, out: &mut Vec<Claimed>) {
        let Some(port) = self.ports.at(side).cloned() else { return };
        let mut buffer = [0; 64];
        for _ in 0..TURN {
            let Some(length) = port.receive(&mut buffer) else { return };
            out.extend(self.take(&buffer[..length], now));
        }
    }

    fn take(&mut self, bytes: &[u8], now: Moment) -> Option<Claimed> {
        // An answer has the key of whom it was asked, which its nonce tells; a claim that of who makes it.
        let nonce = bytes.get(8..16)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let path = u32::try_from(nonce >> PATH_SHIFT).ok()?;
        let probe = Probe::read(bytes, |observer| {
            if observer == self.me {
                let asked = self.paths.get(&path)?.route.gateway;
                Some(self.keys.get(&asked)?.ours)
            } else {
                Some(self.keys.get(&observer)?.theirs)
            }
        })?;
        let is_ours = probe.observer == self.me;
        match probe.kind {
            Kind::Reply if is_ours => {
                let path = self.paths.get_mut(&path).filter(|path| path.route.seat == probe.seat)?;
                path.prober.came_back(Nonce(probe.nonce), now);
                None
            }
            Kind::Claim if !is_ours => {
                Some(Claimed { gateway: probe.observer, seat: probe.seat, epoch: probe.epoch.0 })
            }
            _ => None,
        }
    }

    /// What a path's answers say. A path that never carried a probe says nothing: it may not be there yet.
    pub fn sign(&self, name: &PathName, now: Moment) -> Sign {
        let Some(path) = self.paths.values().find(|path| path.name == *name) else { return Sign::Unknown };
        if path.prober.has_answered() { path.prober.is_alive(now).into() } else { Sign::Unknown }
    }

    /// When the last probe came back along a path.
    pub fn last_answer(&self, name: &PathName) -> Option<Moment> {
        let path = self.paths.values().find(|path| path.name == *name)?;
        path.prober.has_answered().then(|| path.prober.last_answer())
    }

    /// How long the ports of a gateway were silent, at most.
    pub fn gaps(&self, gateway: &GatewayName) -> Gaps {
        let ports = self
            .paths
            .values()
            .filter(|path| path.name.gateway == *gateway && matches!(path.name.question, Question::Port(_)));
        ports.map(|path| path.prober.gaps()).fold(Gaps::default(), |one, other| Gaps {
            longest: one.longest.max(other.longest),
            longest_discounted: one.longest_discounted.max(other.longest_discounted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probing() -> (Probing, PathName) {
        let mut probing = Probing { me: 1, ..Probing::default() };
        let key = PairKey::new([3; 32]);
        let to: IpAddr = "10.0.0.2".parse().unwrap();
        probing.know([(2, &key, to, None)].into_iter());
        let name = PathName { gateway: "b".into(), question: Question::Port(Side::Fabric) };
        let route = Route { to, gateway: 2, seat: 0, epoch: 0, by: Side::Fabric, way: Way::Back };
        probing.want([(name.clone(), route)].into(), &Timers::default(), || 77, Moment(0));
        (probing, name)
    }

    const REPLY: Probe = Probe {
        kind: Kind::Reply,
        observer: 1,
        nonce: 1 << PATH_SHIFT | 77,
        seat: 0,
        way: Way::Back,
        epoch: Epoch(0),
        clock: 5,
    };

    #[test]
    fn an_answer_counts_that_is_sealed_and_for_this_observer() {
        let (mut probing, name) = probing();
        probing.send(Moment(1));
        let key_of = |byte, observer| probe_key(&PairKey::new([byte; 32]), observer);
        for (wrong, key) in [
            (Probe { observer: 2, ..REPLY }, key_of(3, 2)),
            (Probe { seat: 1, ..REPLY }, key_of(3, 1)),
            (Probe { nonce: 2 << PATH_SHIFT | 77, ..REPLY }, key_of(3, 1)),
            (Probe { nonce: 1 << PATH_SHIFT | 78, ..REPLY }, key_of(3, 1)),
            (Probe { kind: Kind::Request, ..REPLY }, key_of(3, 1)),
            (REPLY, key_of(4, 1)),
        ] {
            assert_eq!(probing.take(&wrong.to_bytes(key), Moment(2)), None);
            assert_eq!(probing.sign(&name, Moment(2)), Sign::Unknown);
        }
        assert_eq!(probing.take(&REPLY.to_bytes(key_of(3, 1)), Moment(2)), None);
        assert_eq!(probing.sign(&name, Moment(2)), Sign::Good);
        assert_eq!(probing.last_answer(&name), Some(Moment(2)));
    }

    #[test]
    fn a_claim_counts_that_its_gateway_sealed() {
        let (mut probing, _) = probing();
        let claim = Probe { kind: Kind::Claim, observer: 2, nonce: 5, seat: 9, epoch: Epoch(7), ..REPLY };
        let claimed = Some(Claimed { gateway: 2, seat: 9, epoch: 7 });
        let key_of = |observer| probe_key(&PairKey::new([3; 32]), observer);
        assert_eq!(probing.take(&claim.to_bytes(key_of(2)), Moment(2)), claimed);
        assert_eq!(probing.take(&claim.to_bytes(key_of(1)), Moment(2)), None, "our own key");
        assert_eq!(probing.take(&Probe { observer: 1, ..claim }.to_bytes(key_of(1)), Moment(2)), None, "our own claim");
        assert_eq!(probing.take(&[0; 48], Moment(2)), None);
    }

    #[test]
    fn a_path_that_never_answered_is_not_lost() {
        let (mut probing, name) = probing();
        let mut now = Moment(1);
        for _ in 0..10 {
            probing.send(now);
            now = now + Timers::default().probe();
            assert_eq!(probing.sign(&name, now), Sign::Unknown);
        }
    }
}
