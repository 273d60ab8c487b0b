//! Update groups: neighbours that are sent the same share one Adj-RIB-Out.

use super::SLICE;
use super::decision::{Judge, eliminate};
use super::neighbour::{Neighbour, Outbox};
use super::settings::{AddPathSend, NextHopMode, Relation, Role, WithoutPolicy};
use super::table::{Path, PrefixId};
use super::{NeighbourId, Rib, family_index};
use crate::attributes::{AttributesId, WeakAttributes};
use crate::number::{Asn, Family};
use crate::policy::Policy;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Everything that what a neighbour is sent depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupKey {
    pub relation: Relation,
    /// The number that is replaced by the speaker's.
    pub override_asn: Option<Asn>,
    pub families: [bool; 2],
    /// Where the session has path identifiers: how many paths.
    pub add_path: [Option<AddPathSend>; 2],
    pub export: Option<Arc<Policy>>,
    pub without_policy: WithoutPolicy,
    pub next_hop: NextHopMode,
    /// Where the policy makes the neighbour's own address the next hop.
    pub peer: Option<IpAddr>,
    pub local_v4: Option<Ipv4Addr>,
    pub local_v6: Option<Ipv6Addr>,
    pub local_link: Option<Ipv6Addr>,
    pub extended_next_hop: bool,
    pub shared_subnets: Vec<IpNet>,
    pub role: Option<Role>,
    pub long_lived: bool,
    pub default_originate: bool,
}

/// A path of an Adj-RIB-Out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Out {
    pub attributes: AttributesId,
    /// Who is not sent it, because it came from there.
    pub source: NeighbourId,
    pub local_id: u16,
}

/// What the export of a path depends on, within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheKey {
    pub attributes: WeakAttributes,
    pub source: NeighbourId,
    pub family: Family,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cached {
    pub key: CacheKey,
    pub sent: WeakAttributes,
}

/// What sets of attributes became on their way out, for the last few.
#[derive(Debug, Default)]
pub(super) struct Cache(Vec<Option<Cached>>);

const CACHE: usize = 64;

impl Cache {
    fn place(key: &CacheKey) -> usize {
        key.attributes.index() % CACHE
    }

    pub fn get(&self, key: CacheKey) -> Option<WeakAttributes> {
        let cached = (*self.0.get(Self::place(&key))?)?;
        (cached.key == key).then_some(cached.sent)
    }

    pub fn put(&mut self, cached: Cached) {
        if self.0.is_empty() {
            self.0.resize(CACHE, None);
        }
        self.0[Self::place(&cached.key)] = Some(cached);
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub key: GroupKey,
    pub members: Vec<NeighbourId>,
    pub cache: Cache,
    /// By prefix, where one path is sent.
    single: Vec<Option<(AttributesId, NeighbourId)>>,
    /// By prefix, where several may be.
    several: HashMap<PrefixId, Vec<Out>>,
}

impl Group {
    pub fn memory(&self) -> usize {
        self.single.capacity() * size_of::<Option<(AttributesId, NeighbourId)>>()
            + self.several.allocation_size()
            + self.several.values().map(|outs| outs.capacity() * size_of::<Out>()).sum::<usize>()
    }

    /// What one member is to have of a prefix.
    pub fn wanted(&self, member: NeighbourId, id: PrefixId) -> impl Iterator<Item = Out> + '_ {
        let single = self.single.get(id.0 as usize).copied().flatten();
        let single = single.map(|(attributes, source)| Out { attributes, source, local_id: 0 });
        let several = self.several.get(&id).into_iter().flatten().copied();
        single.into_iter().chain(several).filter(move |out| out.source != member)
    }

    fn ids(&self) -> impl Iterator<Item = PrefixId> + '_ {
        let single = self.single.iter().enumerate().filter(|(_, out)| out.is_some());
        single.map(|(index, _)| PrefixId(index as u32)).chain(self.several.keys().copied())
    }
}

impl Outbox {
    /// Whether the neighbour was sent anything of a prefix.
    pub fn was_sent(&self, id: PrefixId) -> bool {
        self.sent.contains(id) || (!self.sent_paths.is_empty() && self.sent_paths.contains_key(&id))
    }
}

impl Rib {
    pub(super) fn sends_several(&self, group: usize) -> bool {
        self.groups[group].as_ref().is_some_and(|group| group.key.add_path.iter().any(Option::is_some))
    }

    /// Brings a group's Adj-RIB-Out up to date about a prefix.
    pub(super) fn export(&mut self, index: usize, id: PrefixId) {
        let Some(Some(group)) = self.groups.get(index) else { return };
        let family = family_index(self.table.family(id));
        if !group.key.families[family] {
            return;
        }
        let prefix = self.table.prefix(id);
        if group.key.default_originate && prefix.prefix_len() == 0 {
            let out = self.export_default(index, prefix);
            self.replace_single(index, id, out.map(|attributes| (attributes, NeighbourId::LOCAL)));
            return;
        }
        match group.key.add_path[family] {
            None => {
                let only = match group.members[..] {
                    [only] => Some(only),
                    _ => None,
                };
                // Nobody would be sent what came from the group's only member.
                let best = self.table.best(id).filter(|best| only != Some(best.neighbour));
                let out = best.and_then(|best| {
                    let attributes = self.export_path(index, prefix, &best).ok()?;
                    Some((attributes, best.neighbour))
                });
                self.replace_single(index, id, out);
            }
            Some(how_many) => {
                let mut outs = Vec::new();
                for path in self.candidates(id, how_many) {
                    if let Ok(attributes) = self.export_path(index, prefix, &path) {
                        outs.push(Out { attributes, source: path.neighbour, local_id: path.local_id });
                    }
                }
                self.replace_several(index, id, outs);
            }
        }
    }

    /// The paths that are sent where several may be, best first.
    fn candidates(&self, id: PrefixId, how_many: AddPathSend) -> Vec<Path> {
        let judge = self.judge();
        let paths = self.table.paths(id);
        let most = match how_many {
            AddPathSend::Best => return self.table.best(id).into_iter().collect(),
            AddPathSend::All => return paths.iter().filter(|path| judge.usable(path).is_ok()).copied().collect(),
            AddPathSend::BestOf(most) => usize::from(most),
        };
        in_order(&judge, paths, most).into_iter().map(|position| paths[position]).collect()
    }

    fn replace_single(&mut self, index: usize, id: PrefixId, out: Option<(AttributesId, NeighbourId)>) {
        let Some(Some(group)) = self.groups.get_mut(index) else { return };
        let place = id.0 as usize;
        if place >= group.single.len() {
            if out.is_none() {
                // Nothing was sent, nothing is.
                return;
            }
            group.single.resize((place + 1).max(self.table.end()), None);
        }
        let old = std::mem::replace(&mut group.single[place], out);
        if old != out {
            note_change(&mut self.neighbours, group, id);
        }
        if let Some((attributes, _)) = old {
            self.attributes.release(attributes);
        }
    }

    fn replace_several(&mut self, index: usize, id: PrefixId, outs: Vec<Out>) {
        let Some(Some(group)) = self.groups.get_mut(index) else { return };
        let some = !outs.is_empty();
        let old = if some { group.several.insert(id, outs) } else { group.several.remove(&id) }.unwrap_or_default();
        if group.several.get(&id).map_or(&[][..], Vec::as_slice) != old {
            note_change(&mut self.neighbours, group, id);
        }
        old.into_iter().for_each(|out| self.attributes.release(out.attributes));
    }

    /// Takes a neighbour with a session into the group of those that are sent the same.
    pub(super) fn join_group(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbour(id) else { return };
        let Some(facts) = neighbour.facts.as_ref().filter(|_| neighbour.up) else { return };
        let key = GroupKey::of(&neighbour.settings, facts);
        let same = self.groups.iter().position(|group| group.as_ref().is_some_and(|group| group.key == key));
        let index = match same {
            Some(index) => {
                self.join(index, id);
                index
            }
            None => self.found(key, id),
        };
        if let Some(neighbour) = self.neighbour_mut(id) {
            neighbour.group = Some(index);
        }
    }

    fn join(&mut self, index: usize, id: NeighbourId) {
        let Some(Some(group)) = self.groups.get_mut(index) else { return };
        group.members.push(id);
        if let [_, _] = group.members[..] {
            // What the first member's routes become was of no use to itself.
            self.fill(index);
        }
        let (Some(Some(group)), Some(Some(neighbour))) =
            (self.groups.get(index), self.neighbours.get_mut(id.0 as usize))
        else {
            return;
        };
        for prefix in group.ids().filter(|prefix| group.wanted(id, *prefix).next().is_some()) {
            neighbour.outbox.pending.insert(prefix);
        }
    }

    fn found(&mut self, key: GroupKey, id: NeighbourId) -> usize {
        let default = key.default_originate.then_some(key.families);
        let group = Some(Group {
            key,
            members: vec![id],
            cache: Cache::default(),
            single: Vec::new(),
            several: HashMap::new(),
        });
        let index = match self.groups.iter().position(Option::is_none) {
            Some(free) => {
                self.groups[free] = group;
                free
            }
            None => {
                self.groups.push(group);
                self.groups.len() - 1
            }
        };
        for default in default.into_iter().flat_map(defaults) {
            let id = self.table.insert(default);
            if let Some(entry) = self.table.get_mut(id) {
                entry.holds += 1;
            }
        }
        self.fill(index);
        index
    }

    /// Brings a group's whole Adj-RIB-Out up to date, by and by where it is large.
    fn fill(&mut self, index: usize) {
        self.filling.retain(|(filling, _)| *filling != index);
        self.filling.push((index, PrefixId(0)));
        self.fill_groups(SLICE);
    }

    /// Goes on with groups whose Adj-RIB-Out is not complete, as far as so many prefixes.
    pub(super) fn fill_groups(&mut self, mut most: usize) {
        while most > 0
            && let Some((index, from)) = self.filling.pop()
        {
            let end = self.table.end();
            let until = (from.0 as usize).saturating_add(most).min(end).max(from.0 as usize);
            most -= until - from.0 as usize;
            for prefix in (from.0..until as u32).map(PrefixId) {
                if self.table.get(prefix).is_some() {
                    self.export(index, prefix);
                }
            }
            if until < end {
                self.filling.push((index, PrefixId(until as u32)));
            }
        }
    }

    /// Whether more of a group's Adj-RIB-Out is to come.
    pub(super) fn is_filling(&self, index: usize) -> bool {
        self.filling.iter().any(|(other, _)| *other == index)
    }

    /// Takes a neighbour out of its group; the last one takes the group along.
    pub(super) fn leave_group(&mut self, id: NeighbourId) {
        let Some(index) = self.neighbour_mut(id).and_then(|neighbour| neighbour.group.take()) else { return };
        self.step_out(index, id);
        self.dissolve(index);
    }

    fn step_out(&mut self, index: usize, id: NeighbourId) {
        if let Some(Some(group)) = self.groups.get_mut(index) {
            group.members.retain(|member| *member != id);
        }
    }

    fn dissolve(&mut self, index: usize) {
        let Some(slot) = self.groups.get_mut(index) else { return };
        let Some(group) = slot.take_if(|group| group.members.is_empty()) else { return };
        self.filling.retain(|(filling, _)| *filling != index);
        let several = group.several.into_values().flatten().map(|out| out.attributes);
        let outs = group.single.into_iter().flatten().map(|(attributes, _)| attributes).chain(several);
        outs.for_each(|attributes| self.attributes.release(attributes));
        for default in Some(group.key.families).filter(|_| group.key.default_originate).into_iter().flat_map(defaults) {
            if let Some(id) = self.table.find(default) {
                if let Some(entry) = self.table.get_mut(id) {
                    entry.holds -= 1;
                }
                self.table.remove_unused(id);
            }
        }
        while self.groups.last().is_some_and(Option::is_none) {
            self.groups.pop();
        }
    }

    /// Its settings changed: it is sent the difference to what it had.
    pub(super) fn regroup(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbour(id) else { return };
        let (Some(old), Some(facts)) = (neighbour.group, neighbour.facts.as_ref()) else { return };
        let key = GroupKey::of(&neighbour.settings, facts);
        if self.groups[old].as_ref().is_some_and(|group| group.key == key) {
            return;
        }
        let waiting = neighbour.outbox.pending.clone();
        let staged: Vec<PrefixId> =
            neighbour.outbox.staged.iter().skip(neighbour.outbox.staged_at).map(|staged| staged.prefix).collect();
        self.step_out(old, id);
        self.join_group(id);
        self.fill_groups(usize::MAX);
        let (Some(neighbour), groups) = (self.neighbours[id.0 as usize].as_mut(), &self.groups) else { return };
        let (Some(before), Some(after)) =
            (groups[old].as_ref(), neighbour.group.and_then(|index| groups[index].as_ref()))
        else {
            return;
        };
        for prefix in (0..self.table.end()).map(|index| PrefixId(index as u32)) {
            let same = before.wanted(id, prefix).eq(after.wanted(id, prefix));
            if same && neighbour.outbox.was_sent(prefix) && !waiting.contains(prefix) {
                neighbour.outbox.pending.remove(prefix);
            } else if !same {
                neighbour.outbox.pending.insert(prefix);
            }
        }
        // What was about to be sent is looked at again: it may have changed.
        staged.into_iter().for_each(|prefix| {
            neighbour.outbox.pending.insert(prefix);
        });
        self.dissolve(old);
    }

    /// Forgets what a neighbour was sent and must be sent.
    pub(super) fn reset_outbox(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbour_mut(id) else { return };
        let outbox = std::mem::take(&mut neighbour.outbox);
        for counters in &mut neighbour.counters {
            counters.advertised = 0;
        }
        for prefix in outbox.sent.iter().chain(outbox.sent_paths.keys().copied()) {
            if let Some(entry) = self.table.get_mut(prefix) {
                entry.holds -= 1;
            }
            self.table.remove_unused(prefix);
        }
    }
}

/// Sets the members' bits for a prefix whose Adj-RIB-Out changed.
fn note_change(neighbours: &mut [Option<Box<Neighbour>>], group: &Group, id: PrefixId) {
    for member in &group.members {
        let Some(Some(neighbour)) = neighbours.get_mut(member.0 as usize) else { continue };
        if neighbour.outbox.was_sent(id) || group.wanted(*member, id).next().is_some() {
            neighbour.outbox.pending.insert(id);
        } else {
            neighbour.outbox.pending.remove(id);
        }
    }
}

fn defaults(families: [bool; 2]) -> impl Iterator<Item = IpNet> {
    let both = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
    both.into_iter().zip(families).filter(|(_, wanted)| *wanted).map(|(default, _)| default)
}

/// The positions of the `most` best paths that may be used, best first.
pub(super) fn in_order(judge: &Judge<'_>, paths: &[Path], most: usize) -> Vec<usize> {
    let usable = paths.iter().enumerate().filter_map(|(position, path)| Some((position, judge.rank(path).ok()?)));
    let (positions, ranks): (Vec<usize>, Vec<_>) = usable.unzip();
    let mut left: Vec<usize> = (0..ranks.len()).collect();
    let (mut order, mut equal) = (Vec::new(), Vec::new());
    while !left.is_empty() && order.len() < most {
        let mut alive = left.clone();
        let Some(best) = eliminate(judge.settings, &ranks, &mut alive, &mut equal, |_, _| ()) else { break };
        left.retain(|index| *index != best);
        order.push(positions[best]);
    }
    order
}
