//! Routes that are learned while the gateway runs. They lie beside those of the plan and change one by one, whatever their number.
//!
//! A route of the plan goes before a learned one to the same prefix. What a learned route leads to is kept once for all routes that lead there,
//! so a connection that changes costs nothing for each of them until their entries really differ.
//!
//! ```text
//!   learn(prefix, ways) ──► ways' number ──► next hop (a group, if several) and feasible sources
//! ```
//!
//! After a restart what the maps hold beyond the plan is taken over as [found](Source::Found): it stays until it is learned again or
//! [swept](Learned::sweep).

use super::ids::Ids;
use super::map::Table;
use super::routes::{group, group_id};
use super::tables::{AnyPrefix, Difference, Prefix4, Prefix6, Tables, TenantRoutes};
use crate::plan::Connection;
use bytemuck::Pod;
use gateway_common::tables::{FeasibleKey, Nexthop, Route};
use gateway_common::{Feasible, NexthopId, OriginId, TenantId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// By what packets leave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The connection of this name.
    Connection(Box<str>),
    /// The tenant's other gateway at this provider address.
    Gateway(IpAddr),
}

impl Via {
    /// A connection.
    pub fn of(connection: &Connection) -> Self {
        Self::Connection(connection.name.as_str().into())
    }
}

/// A way that a learned route leads by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// By what it leaves.
    pub via: Via,
    /// The router on the connection's VLAN. What goes into a tunnel comes out at its far end, whatever this is.
    pub next_hop: IpAddr,
}

/// What became of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub prefix: IpNet,
    /// Equally good ways there; none where it is gone.
    pub ways: Vec<Way>,
}

/// Where packets leave by a connection or another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// For whom nothing else is known.
    pub(super) any: NexthopId,
    /// For the routers that are known on a VLAN.
    pub(super) routers: HashMap<IpAddr, NexthopId>,
    /// It as a sender.
    pub(super) sender: OriginId,
}

/// A tenant's connections that carry packets, and its other gateways.
pub(super) type Exits = HashMap<Via, Exit>;

/// One way, as the numbers have it.
type Leg = (NexthopId, OriginId);

/// What routes lead to.
#[derive(Debug)]
struct Set {
    source: Source,
    target: Option<Target>,
    /// Routes.
    users: usize,
}

#[derive(Debug)]
enum Source {
    /// Learned.
    Ways(Box<[Way]>),
    /// Left by the daemon of before.
    Found,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    nexthops: Box<[NexthopId]>,
    senders: Box<[OriginId]>,
    nexthop: NexthopId,
    feasible: Feasible,
}

impl Target {
    /// What legs lead to, with the numbers that groups and sets of them have.
    fn of(mut legs: Vec<Leg>, ids: &mut Ids) -> Option<Self> {
        legs.sort_unstable();
        let mut nexthops: Vec<NexthopId> = legs.iter().map(|leg| leg.0).collect();
        nexthops.dedup();
        nexthops.truncate(Nexthop::GROUP_SIZE);
        let mut senders: Vec<OriginId> = legs.iter().map(|leg| leg.1).collect();
        senders.sort_unstable();
        senders.dedup();
        Self::numbered(nexthops.into(), senders.into(), ids)
    }

    fn numbered(nexthops: Box<[NexthopId]>, senders: Box<[OriginId]>, ids: &mut Ids) -> Option<Self> {
        let nexthop = match &*nexthops {
            [] => return None,
            [only] => *only,
            several => group_id(several, ids),
        };
        let feasible = match &*senders {
            [] => Feasible::NOBODY,
            [only] => Feasible::only(*only),
            several => Feasible::set(ids.set(several)),
        };
        Some(Self { nexthops, senders, nexthop, feasible })
    }

    /// The group and the set, if there are some.
    fn enter(&self, tables: &mut Needs) {
        if self.nexthops.len() > 1 {
            tables.nexthops.push((self.nexthop.0, group(&self.nexthops)));
        }
        if let Some(set) = self.feasible.as_set() {
            tables.feasible.extend(self.senders.iter().map(|&origin| FeasibleKey { set, origin }));
        }
    }
}

/// Groups and sets that the maps must hold before routes lead to them.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) nexthops: Vec<(u32, Nexthop)>,
    pub(super) feasible: Vec<FeasibleKey>,
}

/// A family's routes.
#[derive(Debug)]
pub(super) struct Family<P> {
    routes: HashMap<P, u32>,
    /// Prefixes whose entry in the map may not be what it should.
    pending: HashSet<P>,
}

impl<P> Default for Family<P> {
    fn default() -> Self {
        Self { routes: HashMap::new(), pending: HashSet::new() }
    }
}

/// One tenant's.
#[derive(Debug, Default)]
pub(super) struct OfTenant {
    v4: Family<Prefix4>,
    v6: Family<Prefix6>,
    sets: Vec<Set>,
    free: Vec<u32>,
    by_ways: HashMap<Box<[Way]>, u32>,
    exits: Exits,
}

/// A prefix of one family, as the key of a trie.
pub(super) trait Key: Pod + Ord + Hash {
    /// Its length.
    fn len(&self) -> u32;
    /// Its family.
    fn family(of: &OfTenant) -> &Family<Self>;
    /// The same, to be changed.
    fn family_mut(of: &mut OfTenant) -> &mut Family<Self>;
    /// The plan's routes.
    fn of_plan(routes: &TenantRoutes) -> &[(Self, Route)];
}

impl Key for Prefix4 {
    fn len(&self) -> u32 {
        self.len
    }
    fn family(of: &OfTenant) -> &Family<Self> {
        &of.v4
    }
    fn family_mut(of: &mut OfTenant) -> &mut Family<Self> {
        &mut of.v4
    }
    fn of_plan(routes: &TenantRoutes) -> &[(Self, Route)] {
        &routes.v4
    }
}

impl Key for Prefix6 {
    fn len(&self) -> u32 {
        self.len
    }
    fn family(of: &OfTenant) -> &Family<Self> {
        &of.v6
    }
    fn family_mut(of: &mut OfTenant) -> &mut Family<Self> {
        &mut of.v6
    }
    fn of_plan(routes: &TenantRoutes) -> &[(Self, Route)] {
        &routes.v6
    }
}

impl OfTenant {
    fn route<P: Key>(&self, prefix: &P) -> Option<Route> {
        let set = P::family(self).routes.get(prefix)?;
        self.route_by(prefix, *set)
    }

    fn route_by<P: Key>(&self, prefix: &P, set: u32) -> Option<Route> {
        let target = self.sets.get(set as usize)?.target.as_ref()?;
        Some(Route { nexthop: target.nexthop, feasible: target.feasible, prefix_len: prefix.len() })
    }

    fn count(&self) -> usize {
        self.v4.routes.len() + self.v6.routes.len()
    }

    fn is_settled(&self) -> bool {
        self.v4.pending.is_empty() && self.v6.pending.is_empty()
    }

    fn put<P: Key>(&mut self, prefix: P, set: Option<u32>) {
        let family = P::family_mut(self);
        let before = match set {
            Some(set) => family.routes.insert(prefix, set),
            None => family.routes.remove(&prefix),
        };
        if before == set {
            return;
        }
        family.pending.insert(prefix);
        if let Some(set) = set {
            self.sets[set as usize].users += 1;
        }
        if let Some(before) = before {
            self.release(before);
        }
    }

    fn release(&mut self, set: u32) {
        let entry = &mut self.sets[set as usize];
        entry.users -= 1;
        if entry.users == 0 {
            if let Source::Ways(ways) = &entry.source {
                self.by_ways.remove(ways);
            }
            entry.source = Source::Found;
            entry.target = None;
            self.free.push(set);
        }
    }

    fn new_set(&mut self, set: Set) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.sets[number as usize] = set;
                number
            }
            None => {
                self.sets.push(set);
                (self.sets.len() - 1) as u32
            }
        }
    }

    /// Where ways lead by the connections as they are.
    fn legs(&self, ways: &[Way]) -> Vec<Leg> {
        let leg = |way: &Way| {
            let exit = self.exits.get(&way.via)?;
            Some((exit.routers.get(&way.next_hop).copied().unwrap_or(exit.any), exit.sender))
        };
        ways.iter().filter_map(leg).collect()
    }

    /// The number of ways, which have to be sorted.
    fn set_of(&mut self, ways: Vec<Way>, ids: &mut Ids, needs: &mut Needs) -> u32 {
        if let Some(set) = self.by_ways.get(&*ways) {
            return *set;
        }
        let target = Target::of(self.legs(&ways), ids);
        target.iter().for_each(|target| target.enter(needs));
        let ways: Box<[Way]> = ways.into();
        let set = self.new_set(Set { source: Source::Ways(ways.clone()), target, users: 0 });
        self.by_ways.insert(ways, set);
        set
    }

    fn mark<P: Key>(&mut self, changed: &HashSet<u32>) {
        let Family { routes, pending } = P::family_mut(self);
        pending.extend(routes.iter().filter(|(_, set)| changed.contains(set)).map(|(prefix, _)| *prefix));
    }

    fn clear<P: Key>(&mut self, which: impl Fn(&Set) -> bool) {
        let gone: Vec<P> = (P::family(self).routes.iter())
            .filter(|(_, set)| which(&self.sets[**set as usize]))
            .map(|(prefix, _)| *prefix)
            .collect();
        gone.into_iter().for_each(|prefix| self.put(prefix, None));
    }
}

/// All that was learned.
#[derive(Debug, Default)]
pub struct Learned {
    tenants: HashMap<TenantId, OfTenant>,
}

impl Learned {
    /// Takes changes in. Of what the maps have to hold for them, what is new is returned.
    pub(super) fn learn(
        &mut self,
        tenant: TenantId,
        changes: impl IntoIterator<Item = Change>,
        most: usize,
        ids: &mut Ids,
    ) -> (Needs, usize) {
        let (mut needs, mut refused) = (Needs::default(), 0);
        // Only a tenant that a plan gave exits has a router.
        let Some(of) = self.tenants.get_mut(&tenant) else { return (needs, 0) };
        for Change { prefix, mut ways } in changes {
            ways.sort_unstable();
            ways.dedup();
            let prefix = AnyPrefix::from(prefix);
            let known = match prefix {
                AnyPrefix::V4(prefix) => of.v4.routes.contains_key(&prefix),
                AnyPrefix::V6(prefix) => of.v6.routes.contains_key(&prefix),
            };
            if !ways.is_empty() && !known && of.count() >= most {
                refused += 1;
                continue;
            }
            let set = (!ways.is_empty()).then(|| of.set_of(ways, ids, &mut needs));
            match prefix {
                AnyPrefix::V4(prefix) => of.put(prefix, set),
                AnyPrefix::V6(prefix) => of.put(prefix, set),
            }
        }
        (needs, refused)
    }

    /// What was learned so far counts as found from here on: it stays until it is learned again or swept.
    pub(super) fn age(&mut self, tenant: TenantId) {
        let Some(of) = self.tenants.get_mut(&tenant) else { return };
        of.by_ways.clear();
        of.sets.iter_mut().for_each(|set| set.source = Source::Found);
    }

    /// Gives up what was found and not learned again.
    pub(super) fn sweep(&mut self, tenant: TenantId) -> usize {
        let Some(of) = self.tenants.get_mut(&tenant) else { return 0 };
        let before = of.count();
        of.clear::<Prefix4>(|set| matches!(set.source, Source::Found));
        of.clear::<Prefix6>(|set| matches!(set.source, Source::Found));
        before - of.count()
    }

    /// Meets what a compilation made of the plan: resolves all ways anew and asks again for the numbers of groups and sets. Tenants without
    /// exits lose what they learned. `found` is what the maps of the daemon of before hold, at the first compilation.
    pub(super) fn settle(
        &mut self,
        exits: HashMap<TenantId, Exits>,
        found: Option<&Tables>,
        ids: &mut Ids,
        tables: &mut Tables,
    ) {
        for (tenant, of) in &mut self.tenants {
            if !exits.contains_key(tenant) {
                of.clear::<Prefix4>(|_| true);
                of.clear::<Prefix6>(|_| true);
            }
        }
        self.tenants.retain(|tenant, of| {
            exits.contains_key(tenant) || (tables.routes.contains_key(tenant) && !of.is_settled())
        });
        let mut needs = Needs::default();
        let groups: HashMap<NexthopId, Box<[NexthopId]>> = match found {
            Some(found) if !exits.is_empty() => groups(found),
            _ => HashMap::new(),
        };
        for (tenant, exits) in exits {
            let of = self.tenants.entry(tenant).or_default();
            of.exits = exits;
            let out: HashSet<NexthopId> =
                (of.exits.values()).flat_map(|exit| exit.routers.values().copied().chain([exit.any])).collect();
            if let Some(found) = found {
                let routes = (found.routes.get(&tenant), tables.routes.get(&tenant));
                adopt::<Prefix4>(of, routes, (found, &groups, &out), ids);
                adopt::<Prefix6>(of, routes, (found, &groups, &out), ids);
            }
            let mut changed = HashSet::new();
            for number in 0..of.sets.len() {
                let set = &of.sets[number];
                if set.users == 0 {
                    continue;
                }
                let target = match &set.source {
                    Source::Ways(ways) => Target::of(of.legs(ways), ids),
                    Source::Found => set.target.as_ref().and_then(|target| {
                        let there = target.nexthops.iter().all(|nexthop| out.contains(nexthop));
                        let Target { nexthops, senders, .. } = target.clone();
                        there.then(|| Target::numbered(nexthops, senders, ids)).flatten()
                    }),
                };
                target.iter().for_each(|target| target.enter(&mut needs));
                if target != set.target {
                    changed.insert(number as u32);
                    of.sets[number].target = target;
                }
            }
            if !changed.is_empty() {
                of.mark::<Prefix4>(&changed);
                of.mark::<Prefix6>(&changed);
            }
        }
        tables.nexthops.extend(needs.nexthops);
        tables.feasible.extend(needs.feasible.into_iter().map(|key| (key, 1)));
    }

    /// Nothing is known of what the maps hold: all that was learned has to be written again.
    pub(super) fn unsettle(&mut self) {
        for of in self.tenants.values_mut() {
            of.v4.pending.extend(of.v4.routes.keys());
            of.v6.pending.extend(of.v6.routes.keys());
        }
    }

    /// Everything that was to be written is.
    pub(super) fn settled(&mut self) {
        for of in self.tenants.values_mut().filter(|of| !of.is_settled()) {
            of.v4.pending = HashSet::new();
            of.v6.pending = HashSet::new();
        }
    }

    /// Tenants of which something is to be written.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = TenantId> + '_ {
        self.tenants.iter().filter(|(_, of)| !of.is_settled()).map(|(tenant, _)| *tenant)
    }

    /// Adds to the change of a tenant's routes of the plan, after which they are `new`, what the learned ones make of it.
    pub(super) fn add_to<P: Key>(&self, tenant: TenantId, change: &mut Difference<P, Route>, new: &[(P, Route)]) {
        let Some(of) = self.tenants.get(&tenant) else { return };
        if !P::family(of).routes.is_empty() {
            let gone = std::mem::take(&mut change.gone);
            for prefix in gone {
                match of.route(&prefix) {
                    Some(route) => {
                        change.keys.push(prefix);
                        change.values.push(route);
                    }
                    None => change.gone.push(prefix),
                }
            }
        }
        for prefix in &P::family(of).pending {
            if new.binary_search_by_key(prefix, |(key, _)| *key).is_ok() {
                continue;
            }
            match of.route(prefix) {
                Some(route) => {
                    change.keys.push(*prefix);
                    change.values.push(route);
                }
                None => change.gone.push(*prefix),
            }
        }
    }

    /// How many routes of a family a tenant has learned.
    pub(super) fn len<P: Key>(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, |of| P::family(of).routes.len())
    }

    /// Puts a tenant's learned routes into a trie that nobody uses yet, before the plan's are put over them.
    pub(super) fn fill<P: Key>(&self, tenant: TenantId, trie: &Table<P, Route>) -> super::Result<()> {
        let Some(of) = self.tenants.get(&tenant) else { return Ok(()) };
        let routes = P::family(of).routes.iter();
        let (keys, values): (Vec<P>, Vec<Route>) =
            routes.filter_map(|(prefix, set)| Some((*prefix, of.route_by(prefix, *set)?))).unzip();
        trie.set_all(&keys, &values)
    }

    /// All routes that a tenant has learned, in no order.
    pub fn routes(&self, tenant: TenantId) -> TenantRoutes {
        fn all<P: Key>(of: &OfTenant) -> Box<[(P, Route)]> {
            let routes = P::family(of).routes.iter();
            routes.filter_map(|(prefix, set)| Some((*prefix, of.route_by(prefix, *set)?))).collect()
        }
        self.tenants.get(&tenant).map(|of| TenantRoutes { v4: all(of), v6: all(of) }).unwrap_or_default()
    }

    /// How many routes a tenant has learned.
    pub fn count(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).map_or(0, OfTenant::count)
    }

    /// How many routes were learned in all.
    pub fn total(&self) -> usize {
        self.tenants.values().map(OfTenant::count).sum()
    }

    /// Whether a tenant has learned a route to exactly this prefix.
    pub fn contains(&self, tenant: TenantId, prefix: IpNet) -> bool {
        self.tenants.get(&tenant).is_some_and(|of| match AnyPrefix::from(prefix) {
            AnyPrefix::V4(prefix) => of.v4.routes.contains_key(&prefix),
            AnyPrefix::V6(prefix) => of.v6.routes.contains_key(&prefix),
        })
    }
}

/// The members of all groups of tables.
fn groups(tables: &Tables) -> HashMap<NexthopId, Box<[NexthopId]>> {
    let groups = tables.nexthops.iter().filter(|(_, nexthop)| nexthop.kind == Nexthop::GROUP);
    groups.map(|(id, nexthop)| (NexthopId(*id), nexthop.members().collect())).collect()
}

/// What was found: the tables, the members of their groups, and the next hops that learned routes can have.
type Found<'a> = (&'a Tables, &'a HashMap<NexthopId, Box<[NexthopId]>>, &'a HashSet<NexthopId>);

/// Takes for learned what the maps hold beyond the plan and by the tenant's connections.
fn adopt<P: Key>(
    of: &mut OfTenant,
    (found, planned): (Option<&Arc<TenantRoutes>>, Option<&Arc<TenantRoutes>>),
    (tables, groups, out): Found<'_>,
    ids: &mut Ids,
) {
    let Some(found) = found else { return };
    let planned = planned.map_or(&[][..], |routes| P::of_plan(routes));
    let mut sets: HashMap<(NexthopId, u32), u32> = HashMap::new();
    for (prefix, route) in P::of_plan(found) {
        let single = [route.nexthop];
        let nexthops = groups.get(&route.nexthop).map_or(&single[..], |members| members);
        let learned = nexthops.iter().all(|nexthop| out.contains(nexthop));
        if !learned || planned.binary_search_by_key(prefix, |(key, _)| *key).is_ok() {
            continue;
        }
        let key = (route.nexthop, route.feasible.0);
        let set = match sets.get(&key) {
            Some(set) => *set,
            None => {
                let senders: Box<[OriginId]> = match route.feasible.as_set() {
                    _ if route.feasible == Feasible::NOBODY => Box::default(),
                    None => [OriginId(route.feasible.0)].into(),
                    Some(set) => {
                        let members = tables.feasible.keys().filter(|key| key.set == set);
                        let mut members: Vec<OriginId> = members.map(|key| key.origin).collect();
                        members.sort_unstable();
                        members.into()
                    }
                };
                let target = Target::numbered(nexthops.into(), senders, ids);
                let set = of.new_set(Set { source: Source::Found, target, users: 0 });
                sets.insert(key, set);
                set
            }
        };
        of.put(*prefix, Some(set));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn exit(number: u32) -> Exit {
        Exit { any: NexthopId(number), routers: HashMap::new(), sender: OriginId(number) }
    }

    fn way(connection: &str) -> Way {
        Way { via: Via::Connection(connection.into()), next_hop: [10, 2, 0, 1].into() }
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn key(text: &str) -> Prefix4 {
        match AnyPrefix::from(net(text)) {
            AnyPrefix::V4(prefix) => prefix,
            AnyPrefix::V6(_) => panic!("IPv4 here"),
        }
    }

    struct Rig {
        ids: Ids,
        learned: Learned,
        tables: Tables,
    }

    impl Rig {
        fn new(connections: &[(&str, u32)]) -> Self {
            let mut rig = Self { ids: Ids::default(), learned: Learned::default(), tables: Tables::default() };
            rig.settle(connections, None);
            rig
        }

        fn settle(&mut self, connections: &[(&str, u32)], found: Option<&Tables>) {
            self.tables = Tables::default();
            self.tables.routes.insert(TENANT, Default::default());
            for (_, number) in connections {
                self.tables.nexthops.insert(*number, Nexthop { kind: Nexthop::ADJACENCY, ..Nexthop::default() });
            }
            let exits =
                connections.iter().map(|(name, number)| (Via::Connection(Box::from(*name)), exit(*number))).collect();
            self.ids.begin();
            self.learned.settle(HashMap::from([(TENANT, exits)]), found, &mut self.ids, &mut self.tables);
            self.ids.end();
        }

        fn learn(&mut self, prefix: &str, ways: &[&str]) -> Needs {
            let ways = ways.iter().map(|name| way(name)).collect();
            let (needs, refused) = self.learned.learn(TENANT, [Change { prefix: net(prefix), ways }], 3, &mut self.ids);
            assert_eq!(refused, 0);
            needs
        }

        /// What is to be written, as prefix and next hop; and what is to be removed.
        fn change(&mut self, planned: &[(Prefix4, Route)]) -> (Vec<(Prefix4, u32)>, Vec<Prefix4>) {
            let mut change = Difference { keys: Vec::new(), values: Vec::new(), gone: Vec::new() };
            self.learned.add_to(TENANT, &mut change, planned);
            self.learned.settled();
            let mut written: Vec<_> =
                change.keys.into_iter().zip(change.values).map(|(key, route)| (key, route.nexthop.0)).collect();
            written.sort_unstable();
            (written, change.gone)
        }
    }

    #[test]
    fn a_route_is_written_once_and_removed_once() {
        let mut rig = Rig::new(&[("hq", 5)]);
        rig.learn("10.9.0.0/16", &["hq"]);
        assert_eq!(rig.change(&[]), (vec![(key("10.9.0.0/16"), 5)], vec![]));
        rig.learn("10.9.0.0/16", &["hq"]);
        assert_eq!(rig.change(&[]), (vec![], vec![]), "the same again is no change");
        rig.learn("10.9.0.0/16", &[]);
        assert_eq!(rig.change(&[]), (vec![], vec![key("10.9.0.0/16")]));
        assert_eq!(rig.learned.total(), 0);
    }

    #[test]
    fn a_route_of_the_plan_goes_before_a_learned_one() {
        let mut rig = Rig::new(&[("hq", 5)]);
        let planned = [(key("10.9.0.0/16"), Route { nexthop: NexthopId(7), ..Route::default() })];
        rig.learn("10.9.0.0/16", &["hq"]);
        assert_eq!(rig.change(&planned), (vec![], vec![]));
        // The plan's goes, the learned one takes its place.
        let mut change = Difference { keys: vec![], values: vec![], gone: vec![key("10.9.0.0/16")] };
        rig.learned.add_to(TENANT, &mut change, &[]);
        assert_eq!((change.keys, change.gone), (vec![key("10.9.0.0/16")], vec![]));
        assert_eq!(change.values[0].nexthop, NexthopId(5));
    }

    #[test]
    fn several_ways_are_a_group_that_is_there_before_the_route() {
        let mut rig = Rig::new(&[("hq", 5), ("dc", 6)]);
        let needs = rig.learn("10.9.0.0/16", &["hq", "dc"]);
        let [(id, nexthop)] = &needs.nexthops[..] else { panic!("{needs:?}") };
        assert_eq!(nexthop.kind, Nexthop::GROUP);
        assert_eq!(needs.feasible.len(), 2);
        assert_eq!(rig.change(&[]), (vec![(key("10.9.0.0/16"), *id)], vec![]));
        assert!(rig.learn("10.8.0.0/16", &["dc", "hq"]).nexthops.is_empty(), "the group is there");
        let id = *id;
        rig.settle(&[("hq", 5), ("dc", 6)], None);
        assert!(rig.tables.nexthops.contains_key(&id), "a compilation asks for it again");
    }

    #[test]
    fn a_connection_that_changes_takes_its_routes_along() {
        let mut rig = Rig::new(&[("hq", 5), ("dc", 6)]);
        rig.learn("10.9.0.0/16", &["hq"]);
        rig.learn("10.8.0.0/16", &["dc"]);
        rig.change(&[]);
        rig.settle(&[("hq", 9), ("dc", 6)], None);
        assert_eq!(rig.change(&[]), (vec![(key("10.9.0.0/16"), 9)], vec![]));
        rig.settle(&[("dc", 6)], None);
        assert_eq!(rig.change(&[]), (vec![], vec![key("10.9.0.0/16")]), "no way is left");
        rig.settle(&[("hq", 5), ("dc", 6)], None);
        assert_eq!(rig.change(&[]), (vec![(key("10.9.0.0/16"), 5)], vec![]), "it was never forgotten");
    }

    #[test]
    fn there_are_no_more_routes_than_there_is_room_for() {
        let mut rig = Rig::new(&[("hq", 5)]);
        for prefix in ["10.9.0.0/16", "10.8.0.0/16", "10.7.0.0/16"] {
            rig.learn(prefix, &["hq"]);
        }
        let more = |prefix| Change { prefix: net(prefix), ways: vec![way("hq")] };
        let (_, refused) = rig.learned.learn(TENANT, [more("10.6.0.0/16"), more("10.7.0.0/16")], 3, &mut rig.ids);
        assert_eq!((refused, rig.learned.total()), (1, 3));
    }

    #[test]
    fn what_a_daemon_finds_stays_until_it_is_swept() {
        let mut rig = Rig::new(&[("hq", 5), ("dc", 6)]);
        rig.learn("10.9.0.0/16", &["hq", "dc"]);
        rig.learn("10.8.0.0/16", &["hq"]);
        rig.learn("10.7.0.0/16", &["hq"]);
        // What a restarted daemon reads back: everything as if it were the plan's.
        let mut found = std::mem::take(&mut rig.tables);
        let mut v4 = rig.learned.routes(TENANT).v4;
        v4.sort_unstable_by_key(|(prefix, _)| *prefix);
        let group = NexthopId(v4.iter().find(|(prefix, _)| *prefix == key("10.9.0.0/16")).expect("there").1.nexthop.0);
        found.nexthops.insert(group.0, super::group(&[NexthopId(5), NexthopId(6)]));
        found.routes.insert(TENANT, TenantRoutes { v4: v4.clone(), v6: Box::default() }.into());
        rig.learned = Learned::default();
        rig.settle(&[("hq", 5), ("dc", 6)], Some(&found));
        let mut again = rig.learned.routes(TENANT).v4;
        again.sort_unstable_by_key(|(prefix, _)| *prefix);
        let targets = |routes: &[(Prefix4, Route)]| routes.iter().map(|(_, route)| route.nexthop).collect::<Vec<_>>();
        assert_eq!(targets(&again), targets(&v4));
        rig.learned.settled();
        rig.learn("10.8.0.0/16", &["hq"]);
        assert_eq!(rig.learned.sweep(TENANT), 2);
        let (_, mut gone) = rig.change(&[]);
        gone.sort_unstable();
        assert_eq!(gone, [key("10.7.0.0/16"), key("10.9.0.0/16")]);
    }
}
