//! A table with neighbours, in few words.

use crate::Moment;
use crate::attributes::{AsPath, Attributes, NextHop};
use crate::number::{Asn, Family, PathId, RouterId};
use crate::rib::{NeighbourId, NeighbourSettings, Nlri, Received, Relation, Rib, RibSettings, SessionFacts, Update};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub const OWN: Asn = Asn(65000);
pub const START: Moment = Moment(1_000_000_000_000);

pub fn settings() -> RibSettings {
    RibSettings::new(OWN, RouterId([192, 0, 2, 254].into()))
}

pub fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn address(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

/// A neighbour 192.0.2.NUMBER: of AS 65000 inside, of AS 65000 + NUMBER outside.
pub fn neighbour(number: u8, relation: Relation) -> NeighbourSettings {
    let asn = if relation.is_internal() { OWN } else { Asn(OWN.0 + u32::from(number)) };
    NeighbourSettings::new(address(number), asn, relation)
}

pub fn facts(number: u8) -> SessionFacts {
    let mut facts = SessionFacts::new(RouterId([192, 0, 2, number].into()), address(254));
    facts.families = Family::ALL.to_vec();
    facts.local_v6 = Some("2001:db8::254".parse().expect("an address"));
    facts
}

/// A route through these systems, by the neighbour 192.0.2.NUMBER.
pub fn route(number: u8, path: &[u32]) -> Attributes {
    Attributes {
        as_path: AsPath::sequence(path.iter().copied()),
        next_hop: address(number).into(),
        ..Attributes::default()
    }
}

pub struct Lab {
    pub rib: Rib,
    pub now: Moment,
    /// What each neighbour has been told, and not been told to forget.
    pub told: BTreeMap<(NeighbourId, IpNet, PathId), Attributes>,
    /// The markers that came.
    pub markers: Vec<(NeighbourId, Update)>,
    /// What forwarding was told.
    pub forwarding: BTreeMap<IpNet, Vec<NextHop>>,
}

impl Lab {
    pub fn new(settings: RibSettings) -> Self {
        Self {
            rib: Rib::new(settings),
            now: START,
            told: BTreeMap::new(),
            markers: Vec::new(),
            forwarding: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, settings: NeighbourSettings) -> NeighbourId {
        let number = match settings.address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 1,
        };
        let id = self.rib.add_neighbour(settings);
        self.up(id, facts(number));
        id
    }

    pub fn up(&mut self, id: NeighbourId, facts: SessionFacts) {
        self.told.retain(|(to, _, _), _| *to != id);
        self.rib.session_up(id, facts, self.now).expect("it was added");
    }

    pub fn announce(&mut self, from: NeighbourId, net: &str, attributes: &Attributes) -> Received {
        self.rib.announce(from, attributes, &[prefix(net).into()], self.now)
    }

    pub fn announce_with_id(&mut self, from: NeighbourId, net: &str, id: u32, attributes: &Attributes) -> Received {
        let nlri = Nlri { prefix: prefix(net), path_id: PathId(id) };
        self.rib.announce(from, attributes, &[nlri], self.now)
    }

    pub fn withdraw(&mut self, from: NeighbourId, net: &str) {
        self.rib.withdraw(from, &[prefix(net).into()], self.now);
    }

    /// Who has the best path, and through whom it goes besides.
    pub fn chosen(&self, net: &str) -> Vec<NeighbourId> {
        let paths = self.rib.paths(prefix(net));
        paths.iter().filter(|path| path.chosen).map(|path| path.neighbour).collect()
    }

    /// Lets every neighbour read all it is to be told.
    pub fn deliver(&mut self) {
        for id in (0..16).map(NeighbourId) {
            self.deliver_to(id, 4096);
        }
        self.rib.drain_changes(usize::MAX, |prefix, paths| {
            let hops: Vec<NextHop> = paths.iter().map(|path| path.next_hop).collect();
            if hops.is_empty() {
                self.forwarding.remove(&prefix)
            } else {
                self.forwarding.insert(prefix, hops)
            };
        });
    }

    pub fn deliver_to(&mut self, id: NeighbourId, most: usize) {
        while let Some(update) = self.rib.next_update(id, most) {
            match update {
                Update::Announce { attributes, nlri, .. } => {
                    let attributes = self.rib.attributes().get(attributes);
                    for one in nlri {
                        self.told.insert((id, one.prefix, one.path_id), attributes.clone());
                    }
                }
                Update::Withdraw { nlri, .. } => {
                    for one in nlri {
                        let had = self.told.remove(&(id, one.prefix, one.path_id));
                        assert!(had.is_some(), "{one:?} is withdrawn from {id:?}, which never had it");
                    }
                }
                marker => self.markers.push((id, marker)),
            }
        }
        assert!(!self.rib.has_updates(id));
    }

    /// What a neighbour was told of a prefix.
    pub fn told(&mut self, id: NeighbourId, net: &str) -> Option<Attributes> {
        self.deliver();
        let net = prefix(net);
        self.told.iter().find(|((to, prefix, _), _)| *to == id && *prefix == net).map(|(_, one)| one.clone())
    }

    /// Everything goes: nothing may be left.
    pub fn clear(mut self) {
        self.deliver();
        for id in (0..16).map(NeighbourId) {
            self.rib.remove_neighbour(id, self.now);
        }
        let local: Vec<_> = self.rib.prefixes().collect();
        for net in local {
            for path in self.rib.paths(net) {
                self.rib.withdraw_local(net, path.path_id, self.now);
            }
        }
        self.rib.drain_changes(usize::MAX, |_, _| ());
        let totals = self.rib.totals();
        assert_eq!((totals.prefixes_v4, totals.prefixes_v6, totals.paths, totals.groups), (0, 0, 0, 0));
        assert_eq!(totals.attributes, 0, "references to attributes are lost");
        assert_eq!(self.rib.next_hops().count(), 0);
    }
}
