//! What is told to who watches the tables.

use super::{NeighborName, Output, Speaker};
use crate::attributes::AttributesId;
use crate::number::{Family, PathId};
use crate::rib::{NeighbourId, Nlri, Noted, Place, Watch};
use crate::session::ConnectionId;
use crate::wire::{Encoder, NlriEntry};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

/// How much an UPDATE may have.
const LIMIT: u16 = 4096;

/// A piece of the tables, as UPDATEs.
#[derive(Debug, Default)]
pub struct Piece {
    /// Each with whose Adj-RIB-In it is from; none for the Loc-RIB.
    pub updates: Vec<(Option<NeighborName>, Bytes)>,
    /// Where to go on; none at the end.
    pub next: Option<u32>,
}

/// The UPDATE that says that all routes of a family were told.
pub fn end_of_rib(family: Family) -> Bytes {
    let mut bytes = BytesMut::new();
    Encoder { limit: LIMIT, four_octet: true, add_path: Vec::new() }.end_of_rib(family, &mut bytes);
    bytes.freeze()
}

impl Speaker {
    /// Begins to tell changes of routes ([`Output::Watched`]), or ends it.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
        self.rib.watch(watch);
    }

    /// The connection of a neighbour's session that is up, and the two OPENs, headers included: ours and the neighbour's.
    pub fn opens(&self, neighbor: &NeighborName) -> Option<(ConnectionId, Bytes, Bytes)> {
        self.peers.get(self.names.get(neighbor)?)?.session.opens()
    }

    /// What stands in the next `places` of the tables from `from` on, for who begins to watch.
    pub fn piece(&self, from: u32, places: u32) -> Piece {
        let (prefixes, next) = self.rib.page(from, places);
        let mut all = Vec::new();
        for prefix in prefixes {
            for (position, path) in self.rib.paths(prefix).into_iter().enumerate() {
                if path.chosen && position == 0 {
                    all.push(noted(Place::Chosen, prefix, PathId(0), path.attributes));
                }
                if path.neighbour != NeighbourId::LOCAL && !path.rejected {
                    all.push(noted(Place::Received(path.neighbour), prefix, path.path_id, path.attributes));
                }
            }
        }
        // What has the same attributes goes in the same messages.
        all.sort_by_key(|one| (place_number(one.place), one.attributes));
        let mut updates = Vec::new();
        self.say(&all, |neighbor, update| updates.push((neighbor, update)));
        Piece { updates, next }
    }

    pub(super) fn tell_watchers(&mut self, outputs: &mut Vec<Output>) {
        if self.watch == Watch::Off {
            return;
        }
        let mut noted = Vec::new();
        self.rib.hold_journal(&mut noted);
        self.say(&noted, |neighbor, update| outputs.push(Output::Watched { neighbor, update }));
        self.rib.release_journal(&noted);
    }

    /// Changes as messages: those that follow each other and have all in common but the prefix are one.
    fn say(&self, noted: &[Noted], mut tell: impl FnMut(Option<NeighborName>, Bytes)) {
        let family = |one: &Noted| Family::of(one.nlri.prefix.addr());
        let alike = |a: &Noted, b: &Noted| (a.place, a.attributes, family(a)) == (b.place, b.attributes, family(b));
        for run in noted.chunk_by(alike) {
            let Some(first) = run.first() else { continue };
            let (neighbor, encoder) = match first.place {
                Place::Chosen => (None, Encoder { limit: LIMIT, four_octet: true, add_path: Vec::new() }),
                Place::Received(id) => {
                    let Some(peer) = self.peers.get(&id) else { continue };
                    let Some(agreed) = peer.session.negotiated() else { continue };
                    let several = agreed.families.iter().filter(|family| family.receives_paths);
                    let add_path = several.map(|family| family.family).collect();
                    (Some(peer.name.clone()), Encoder { limit: LIMIT, four_octet: true, add_path })
                }
            };
            let mut list = run.iter().map(|one| entry(one.nlri)).peekable();
            while list.peek().is_some() {
                let mut bytes = BytesMut::new();
                let canonical = first.attributes.map(|id| self.rib.attributes().canonical(id));
                let said = canonical.map(|canonical| encoder.announce(family(first), canonical, &mut list, &mut bytes));
                if !matches!(said, Some(Ok(()))) {
                    // Gone, or of attributes that no message has room for.
                    encoder.withdraw(family(first), &mut list, &mut bytes);
                }
                tell(neighbor.clone(), bytes.freeze());
            }
        }
    }
}

fn noted(place: Place, prefix: IpNet, path_id: PathId, attributes: AttributesId) -> Noted {
    Noted { place, nlri: Nlri { prefix, path_id }, attributes: Some(attributes) }
}

const fn place_number(place: Place) -> u32 {
    match place {
        Place::Chosen => u32::MAX,
        Place::Received(NeighbourId(id)) => id,
    }
}

const fn entry(nlri: Nlri) -> NlriEntry {
    NlriEntry { prefix: nlri.prefix, path: nlri.path_id }
}
