//! Updates for a neighbour, made when it can take them: prefixes with the same attributes together.

use super::neighbour::{Markers, Staged};
use super::table::PrefixId;
use super::{NeighbourId, Nlri, Rib, family_index};
use crate::attributes::AttributesId;
use crate::number::{Family, PathId};
use ipnet::IpNet;

/// What a neighbour is to be told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// These prefixes have these attributes. The attributes are held until the table is changed: encode them at once.
    Announce {
        /// Of one family.
        family: Family,
        /// Theirs; [`AttributeStore::canonical`](crate::attributes::AttributeStore::canonical) has the octets.
        attributes: AttributesId,
        /// The prefixes.
        nlri: Vec<Nlri>,
    },
    /// These prefixes are not to be reached any more.
    Withdraw {
        /// Of one family.
        family: Family,
        /// The prefixes.
        nlri: Vec<Nlri>,
    },
    /// All routes of the family were sent once (RFC 4724, 2).
    EndOfRib(Family),
    /// All routes of the family will be sent again (RFC 7313, 4).
    BeginOfRefresh(Family),
    /// They were.
    EndOfRefresh(Family),
}

/// How many prefixes are sorted by their attributes at once.
const STAGE: usize = 4096;

/// Octets of a message besides attributes and NLRI: the header, two lengths, and the frame of MP_REACH_NLRI.
const FRAME: usize = 19 + 4 + 16;

const fn nlri_octets(prefix: IpNet, has_path_id: bool) -> usize {
    let length = match prefix {
        IpNet::V4(net) => net.prefix_len(),
        IpNet::V6(net) => net.prefix_len(),
    };
    1 + length.div_ceil(8) as usize + if has_path_id { 4 } else { 0 }
}

impl Rib {
    /// Whether [`next_update`](Self::next_update) has something for a neighbour.
    pub fn has_updates(&self, id: NeighbourId) -> bool {
        let ready = |neighbour: &super::Neighbour| neighbour.up && neighbour.outbox.has_work();
        !self.held && self.neighbour(id).is_some_and(ready)
    }

    /// The neighbour asks for all routes of a family again (RFC 2918). With `enhanced` they stand between a begin and an
    /// end (RFC 7313).
    pub fn refresh(&mut self, id: NeighbourId, family: Family, enhanced: Enhanced) {
        let Some(neighbour) = self.neighbours.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let Some(group) = neighbour.group.and_then(|index| self.groups[index].as_ref()) else { return };
        for prefix in self.table.ids().filter(|prefix| self.table.family(*prefix) == family) {
            if group.wanted(id, prefix).next().is_some() {
                neighbour.outbox.pending.insert(prefix);
            }
        }
        let outbox = &mut neighbour.outbox;
        if enhanced == Enhanced::Yes {
            outbox.markers[family_index(family)].refresh_begin = true;
        }
        outbox.cursor = PrefixId(0);
    }

    /// What to send a neighbour next, in a message of at most `most` octets; none when it has everything. To be asked
    /// again after any other call.
    pub fn next_update(&mut self, id: NeighbourId, most: usize) -> Option<Update> {
        if self.held || !self.neighbour(id)?.up {
            return None;
        }
        loop {
            let outbox = &mut self.neighbour_mut(id)?.outbox;
            if outbox.staged_at < outbox.staged.len() {
                if let Some(update) = self.pack(id, most) {
                    return Some(update);
                }
                continue;
            }
            if let Some(family) = take_marker(&mut outbox.markers, |markers| {
                let begins = std::mem::take(&mut markers.refresh_begin);
                markers.refresh_end |= begins;
                begins
            }) {
                return Some(Update::BeginOfRefresh(family));
            }
            if self.stage(id) {
                continue;
            }
            let group = self.neighbour(id)?.group;
            if group.is_some_and(|group| self.is_filling(group)) {
                return None;
            }
            // Every prefix was looked at since the markers were set.
            let markers = &mut self.neighbour_mut(id)?.outbox.markers;
            if let Some(family) = take_marker(markers, |markers| std::mem::take(&mut markers.refresh_end)) {
                return Some(Update::EndOfRefresh(family));
            }
            if let Some(family) = take_marker(markers, |markers| std::mem::take(&mut markers.end_of_rib)) {
                return Some(Update::EndOfRib(family));
            }
            if !self.stage(id) {
                return None;
            }
        }
    }

    /// Takes the next prefixes that wait, and sorts them by what is to be said. False at the end of a round.
    fn stage(&mut self, id: NeighbourId) -> bool {
        let (Some(Some(neighbour)), table) = (self.neighbours.get_mut(id.0 as usize), &self.table) else {
            return false;
        };
        let Some(group) = neighbour.group.and_then(|index| self.groups[index].as_ref()) else { return false };
        let outbox = &mut neighbour.outbox;
        outbox.staged.clear();
        outbox.staged_at = 0;
        for _ in 0..STAGE {
            let Some(prefix) = outbox.pending.next(outbox.cursor) else {
                outbox.cursor = PrefixId(0);
                break;
            };
            outbox.pending.remove(prefix);
            outbox.cursor = PrefixId(prefix.0.saturating_add(1));
            let family = table.family(prefix);
            let staged = |attributes, local_id| Staged { attributes, family, prefix, local_id };
            let mut none = true;
            for out in group.wanted(id, prefix) {
                none = false;
                outbox.staged.push(staged(Some(out.attributes), out.local_id));
            }
            if none && outbox.sent.contains(prefix) {
                outbox.staged.push(staged(None, 0));
            }
            for local_id in outbox.sent_paths.get(&prefix).into_iter().flatten() {
                if group.wanted(id, prefix).all(|out| out.local_id != *local_id) {
                    outbox.staged.push(staged(None, *local_id));
                }
            }
        }
        outbox.staged.sort_unstable();
        !outbox.staged.is_empty()
    }

    /// One message of what is staged; none where all of it has changed since.
    fn pack(&mut self, id: NeighbourId, most: usize) -> Option<Update> {
        let neighbour = self.neighbours.get_mut(id.0 as usize)?.as_mut()?;
        let group = neighbour.group.and_then(|index| self.groups[index].as_ref());
        let facts = neighbour.facts.as_ref()?;
        let outbox = &mut neighbour.outbox;
        // What changed since it was staged waits again, or is of no interest any more.
        let is_current = |staged: &Staged, pending: &super::bits::BitSet, has_path_id: bool| {
            let wanted = group.and_then(|group| {
                group.wanted(id, staged.prefix).find(|out| out.local_id == staged.local_id || !has_path_id)
            });
            !pending.contains(staged.prefix) && wanted.map(|out| out.attributes) == staged.attributes
        };
        let first = loop {
            let staged = *outbox.staged.get(outbox.staged_at)?;
            if is_current(&staged, &outbox.pending, facts.add_path_send.contains(&staged.family)) {
                break staged;
            }
            outbox.staged_at += 1;
        };
        let has_path_id = facts.add_path_send.contains(&first.family);
        let attributes = match first.attributes {
            None => 0,
            Some(id) => {
                let octets = self.attributes.canonical(id).len();
                // Where numbers have two octets, the path stands there twice (RFC 6793, 4.2.2).
                if facts.four_octet_asn { octets } else { octets + self.attributes.as_path_octets(id).len() + 24 }
            }
        };
        let mut room = most.saturating_sub(FRAME + attributes);
        let mut nlri = Vec::new();
        let mut unused = Vec::new();
        let counters = &mut neighbour.counters[family_index(first.family)];
        while let Some(staged) = outbox.staged.get(outbox.staged_at).copied() {
            if (staged.attributes, staged.family) != (first.attributes, first.family) {
                break;
            }
            if !is_current(&staged, &outbox.pending, has_path_id) {
                outbox.staged_at += 1;
                continue;
            }
            let prefix = self.table.prefix(staged.prefix);
            let octets = nlri_octets(prefix, has_path_id);
            let fits = octets <= room;
            if !fits && !nlri.is_empty() {
                break;
            }
            outbox.staged_at += 1;
            let announced = staged.attributes.is_some() && fits;
            if !fits && staged.attributes.is_none() {
                continue;
            }
            let sent_before = outbox.sent.contains(staged.prefix)
                || outbox.sent_paths.get(&staged.prefix).is_some_and(|sent| sent.contains(&staged.local_id));
            if !announced && !sent_before {
                continue;
            }
            let nobody_before = !outbox.was_sent(staged.prefix);
            match (has_path_id, announced) {
                (false, true) => {
                    outbox.sent.insert(staged.prefix);
                }
                (false, false) => {
                    outbox.sent.remove(staged.prefix);
                }
                (true, true) => {
                    let sent = outbox.sent_paths.entry(staged.prefix).or_default();
                    if !sent.contains(&staged.local_id) {
                        sent.push(staged.local_id);
                    }
                }
                (true, false) => {
                    if let Some(sent) = outbox.sent_paths.get_mut(&staged.prefix) {
                        sent.retain(|local_id| *local_id != staged.local_id);
                        if sent.is_empty() {
                            outbox.sent_paths.remove(&staged.prefix);
                        }
                    }
                }
            }
            let nobody_after = !outbox.was_sent(staged.prefix);
            if let Some(entry) = self.table.get_mut(staged.prefix) {
                match (nobody_before, nobody_after) {
                    (true, false) => {
                        entry.holds += 1;
                        counters.advertised += 1;
                    }
                    (false, true) => {
                        entry.holds -= 1;
                        counters.advertised -= 1;
                        unused.push(staged.prefix);
                    }
                    _ => {}
                }
            }
            let path_id = PathId(if has_path_id { u32::from(staged.local_id) } else { 0 });
            let one = Nlri { prefix, path_id };
            if staged.attributes.is_some() && !announced {
                // Attributes that no message can hold: the neighbour must not go on with what it was told before.
                counters.withdrawals_out += 1;
                unused.into_iter().for_each(|prefix| self.table.remove_unused(prefix));
                return Some(Update::Withdraw { family: first.family, nlri: vec![one] });
            }
            room -= octets;
            nlri.push(one);
        }
        let count = nlri.len() as u64;
        match first.attributes {
            Some(_) => counters.announcements_out += count,
            None => counters.withdrawals_out += count,
        }
        unused.into_iter().for_each(|prefix| self.table.remove_unused(prefix));
        if nlri.is_empty() {
            return None;
        }
        Some(match first.attributes {
            Some(attributes) => Update::Announce { family: first.family, attributes, nlri },
            None => Update::Withdraw { family: first.family, nlri },
        })
    }

    /// What a neighbour was sent and is to have: prefixes, path identifiers, attributes. What still waits to be sent is
    /// not among it.
    pub fn advertised(&self, id: NeighbourId) -> Vec<(Nlri, AttributesId)> {
        let Some(neighbour) = self.neighbour(id) else { return Vec::new() };
        let Some(group) = neighbour.group.and_then(|index| self.groups[index].as_ref()) else { return Vec::new() };
        let outbox = &neighbour.outbox;
        let ids = outbox.sent.iter().chain(outbox.sent_paths.keys().copied());
        let sent = ids.flat_map(|prefix| group.wanted(id, prefix).map(move |out| (prefix, out)));
        let nlri = |(prefix, out): (PrefixId, super::groups::Out)| {
            let path_id = PathId(u32::from(out.local_id));
            (Nlri { prefix: self.table.prefix(prefix), path_id }, out.attributes)
        };
        sent.map(nlri).collect()
    }
}

/// Whether a refresh stands between a begin and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enhanced {
    /// Both sides have the capability (RFC 7313).
    Yes,
    /// Not both.
    No,
}

fn take_marker(markers: &mut [Markers; 2], take: impl Fn(&mut Markers) -> bool) -> Option<Family> {
    Family::ALL.into_iter().find(|family| take(&mut markers[family_index(*family)]))
}
