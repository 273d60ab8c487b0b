//! The incremental tables against a model that knows only the set of routes and computes everything anew, and against
//! tables that are built anew.

use super::lab::*;
use crate::attributes::{AsPath, Attributes, Community, NextHop, Origin};
use crate::number::{Asn, Family, PathId, RouterId};
use crate::policy::{Criterion, Entry, EntryAction, Policy, Setting, Verdict};
use crate::rib::*;
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

const PREFIXES: [&str; 6] =
    ["10.1.0.0/16", "10.1.1.0/24", "10.1.2.0/24", "203.0.113.0/24", "2001:db8::/32", "2001:db8:1::/48"];

/// What each neighbour is: numbers 1 to 5. The last one takes several paths.
const RELATIONS: [Relation; 5] =
    [Relation::External, Relation::External, Relation::Internal, Relation::Client, Relation::Client];
const SEVERAL: usize = 4;

#[derive(Clone, Debug)]
struct Route {
    path: Vec<u32>,
    hop: u8,
    med: Option<u32>,
    local_pref: Option<u32>,
    origin: u8,
    community: Option<u8>,
    originator: Option<u8>,
}

#[derive(Clone, Debug)]
enum Event {
    Announce(usize, usize, u32, Route),
    Withdraw(usize, usize, u32),
    Down(usize, bool),
    Up(usize),
    EndOfRib(usize),
    Resolve(u8, bool),
    Originate(usize),
    WithdrawLocal(usize),
    Import(usize, usize),
    Export(usize, usize),
    Read(usize, usize),
    Refresh(usize),
}

fn routes() -> impl Strategy<Value = Route> {
    let numbers = (proptest::option::of(0..3_u32), proptest::option::of(99..102_u32), 0..3_u8);
    let marks = (proptest::option::of(0..3_u8), proptest::option::of(0..3_u8));
    let path = proptest::collection::vec(prop_oneof![8 => 1..4_u32, 1 => Just(OWN.0)], 0..3);
    (path, 1..6_u8, numbers, marks).prop_map(|(path, hop, (med, local_pref, origin), (community, originator))| Route {
        path,
        hop,
        med,
        local_pref,
        origin,
        community,
        originator,
    })
}

fn events() -> impl Strategy<Value = Event> {
    let (from, net, id) = (0..RELATIONS.len(), 0..PREFIXES.len(), 0..2_u32);
    prop_oneof![
        12 => (from.clone(), net.clone(), id.clone(), routes()).prop_map(|(a, b, c, d)| Event::Announce(a, b, c, d)),
        4 => (from.clone(), net.clone(), id).prop_map(|(a, b, c)| Event::Withdraw(a, b, c)),
        1 => (from.clone(), any::<bool>()).prop_map(|(a, b)| Event::Down(a, b)),
        2 => from.clone().prop_map(Event::Up),
        1 => from.clone().prop_map(Event::EndOfRib),
        2 => (1..6_u8, any::<bool>()).prop_map(|(a, b)| Event::Resolve(a, b)),
        1 => net.clone().prop_map(Event::Originate),
        1 => net.prop_map(Event::WithdrawLocal),
        1 => (from.clone(), 0..3_usize).prop_map(|(a, b)| Event::Import(a, b)),
        1 => (from.clone(), 0..3_usize).prop_map(|(a, b)| Event::Export(a, b)),
        3 => (from.clone(), 0..4_usize).prop_map(|(a, b)| Event::Read(a, b)),
        1 => from.prop_map(Event::Refresh),
    ]
}

/// 0: none. 1: denies 203.0.113.0/24. 2: routes with 1:1 get preference 200 and MED 77.
fn policy(number: usize) -> Option<Arc<Policy>> {
    let part = |property: &str, value: &str| (property.to_owned(), vec![value.to_owned()]);
    let entry = |action, (property, value): (String, Vec<String>), settings: Vec<(String, Vec<String>)>| Entry {
        name: String::new(),
        action,
        criteria: vec![Criterion { property, value }],
        settings: settings.into_iter().map(|(property, value)| Setting { property, value }).collect(),
    };
    let entry = match number {
        0 => return None,
        1 => entry(EntryAction::Deny, part("MatchPrefix", "203.0.113.0/24"), vec![]),
        _ => entry(
            EntryAction::ModifyAttribute,
            part("Community", "1:1"),
            vec![part("Local-Pref", "200"), part("MED", "77")],
        ),
    };
    Some(Arc::new(Policy::from_entries("P", &[entry], Verdict::Permit).expect("it makes sense")))
}

/// The same, without the policies' code.
fn apply(number: usize, net: IpNet, mut attributes: Attributes) -> Option<Attributes> {
    if number == 1 && net == prefix("203.0.113.0/24") {
        return None;
    }
    if number == 2 && attributes.communities.contains(&Community::of(1, 1)) {
        attributes.local_pref = Some(200);
        attributes.med = Some(77);
    }
    Some(attributes)
}

fn hop(number: u8, net: IpNet) -> NextHop {
    match net {
        IpNet::V4(_) => address(number).into(),
        IpNet::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)]).into(),
    }
}

fn attributes(from: usize, net: IpNet, route: &Route) -> Attributes {
    let external = RELATIONS[from] == Relation::External;
    let first = external.then_some(OWN.0 + 1 + from as u32);
    Attributes {
        origin: Origin::of(route.origin).expect("0 to 2 are origins"),
        as_path: AsPath::sequence(first.into_iter().chain(route.path.iter().copied())),
        next_hop: hop(route.hop, net),
        med: route.med,
        local_pref: route.local_pref,
        communities: match route.community {
            Some(0) => vec![Community::of(1, 1)],
            Some(1) => vec![Community::NO_EXPORT],
            Some(_) => vec![Community::NO_ADVERTISE],
            None => vec![],
        },
        originator_id: route.originator.filter(|_| !external).map(|number| RouterId([10, 0, 0, number].into())),
        ..Attributes::default()
    }
}

fn rib_settings() -> RibSettings {
    let aggregate = AggregateSettings { prefix: prefix("10.0.0.0/8"), summary_only: true, keep_as_path: true };
    let multipath = Multipath { maximum: 2, paths: EqualPaths::SameLength };
    RibSettings { aggregates: vec![aggregate], multipath, ..settings() }
}

fn neighbour_settings(index: usize, import: usize, export: usize) -> NeighbourSettings {
    NeighbourSettings {
        soft_reconfiguration: true,
        import: policy(import),
        export: policy(export),
        add_path: if index == SEVERAL { AddPathSend::All } else { AddPathSend::Best },
        ..neighbour(1 + index as u8, RELATIONS[index])
    }
}

fn session(index: usize) -> SessionFacts {
    let add_path_send = if index == SEVERAL { Family::ALL.to_vec() } else { vec![] };
    SessionFacts { add_path_send, ..facts(1 + index as u8) }
}

/// Everything that the tables' content follows from.
#[derive(Clone, Default)]
struct Model {
    routes: BTreeMap<(usize, IpNet, u32), (Attributes, bool)>,
    local: BTreeSet<IpNet>,
    unreachable: BTreeSet<NextHop>,
    up: [bool; 5],
    known: [bool; 5],
    import: [usize; 5],
    export: [usize; 5],
}

/// A path that takes part: who told, its identifier, its attributes.
type Candidate = (Option<usize>, u32, Attributes);

impl Model {
    fn candidates(&self, net: IpNet) -> Vec<Candidate> {
        let imported = |((from, at, id), (attributes, _)): (&(usize, IpNet, u32), &(Attributes, bool))| {
            let refused = *at != net
                || attributes.as_path.asns().any(|asn| asn == OWN)
                || self.unreachable.contains(&attributes.next_hop);
            if refused {
                return None;
            }
            let mut attributes = attributes.clone();
            if RELATIONS[*from] == Relation::External {
                attributes.local_pref = None;
            }
            Some((Some(*from), *id, apply(self.import[*from], net, attributes)?))
        };
        let local = self.local.contains(&net).then(|| (None, 0, Attributes::default()));
        self.routes.iter().filter_map(imported).chain(local).collect()
    }

    /// By comparing pairs: first within each neighbouring system, with MEDs, then the winners without.
    fn best(&self, net: IpNet) -> Option<Candidate> {
        let key = |(from, id, one): &Candidate, med: bool| {
            let router = one
                .originator_id
                .map_or_else(|| from.map_or([192, 0, 2, 254], |from| [192, 0, 2, 1 + from as u8]), |id| id.0.octets());
            (
                std::cmp::Reverse(one.local_pref.unwrap_or(100)),
                from.is_some(),
                one.as_path.asns().count(),
                one.origin,
                if med { one.med.unwrap_or(0) } else { 0 },
                from.is_none_or(|from| RELATIONS[from] != Relation::External),
                (router, from.map_or(0, |from| from + 1), *id),
            )
        };
        let mut winners: BTreeMap<Option<Asn>, Candidate> = BTreeMap::new();
        for candidate in self.candidates(net) {
            let system = candidate.2.as_path.asns().next();
            let better = winners.get(&system).is_none_or(|other| key(&candidate, true) < key(other, true));
            if better {
                winners.insert(system, candidate);
            }
        }
        winners.into_values().min_by_key(|winner| key(winner, false))
    }

    /// What a neighbour is told of a path.
    fn exported(&self, to: usize, net: IpNet, (from, _, attributes): &Candidate) -> Option<Attributes> {
        if *from == Some(to) || prefix("10.0.0.0/8").contains(&net) {
            return None;
        }
        let (mut told, relation) = (attributes.clone(), from.map(|from| RELATIONS[from]));
        let outside = RELATIONS[to] == Relation::External;
        let reflected = relation.is_some_and(|one| one != Relation::External) && !outside;
        if reflected && relation == Some(Relation::Internal) && RELATIONS[to] == Relation::Internal
            || told.communities.contains(&Community::NO_ADVERTISE)
            || outside && told.communities.contains(&Community::NO_EXPORT)
        {
            return None;
        }
        let own = match net {
            IpNet::V4(_) => NextHop::from(address(254)),
            IpNet::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x254]).into(),
        };
        if outside && from.is_some() {
            told.med = None;
        }
        told = apply(self.export[to], net, told)?;
        if outside {
            told.as_path = AsPath::sequence([OWN.0].into_iter().chain(told.as_path.asns().map(|asn| asn.0)));
            (told.local_pref, told.originator_id) = (None, None);
        } else {
            told.local_pref = Some(told.local_pref.unwrap_or(100));
        }
        if outside || from.is_none() {
            told.next_hop = own;
        }
        if let Some(from) = from.filter(|_| reflected) {
            told.originator_id = told.originator_id.or(Some(RouterId([192, 0, 2, 1 + from as u8].into())));
            told.cluster_list = vec![RouterId([192, 0, 2, 254].into())];
        }
        Some(told)
    }

    /// What each neighbour that is up has been told when it has read everything, the aggregate excepted.
    fn told(&self) -> Vec<(usize, IpNet, Attributes)> {
        let mut told = Vec::new();
        for net in PREFIXES.map(prefix) {
            for to in (0..RELATIONS.len()).filter(|to| self.up[*to]) {
                let paths = if to == SEVERAL { self.candidates(net) } else { self.best(net).into_iter().collect() };
                let sent = paths.iter().filter_map(|path| self.exported(to, net, path));
                told.extend(sent.map(|attributes| (to, net, attributes)));
            }
        }
        told.sort_by_cached_key(|one| format!("{one:?}"));
        told
    }
}

/// The tables, with what they are to be compared with.
struct Run {
    lab: Lab,
    ids: Vec<NeighbourId>,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let mut lab = Lab::new(rib_settings());
        let ids = (0..RELATIONS.len()).map(|index| lab.rib.add_neighbour(neighbour_settings(index, 0, 0))).collect();
        Self { lab, ids, model: Model::default() }
    }

    fn step(&mut self, event: &Event) {
        let (lab, model) = (&mut self.lab, &mut self.model);
        let net = |index: usize| prefix(PREFIXES[index]);
        match event.clone() {
            Event::Announce(from, at, id, route) if model.up[from] => {
                let attributes = attributes(from, net(at), &route);
                lab.announce_with_id(self.ids[from], PREFIXES[at], id, &attributes);
                model.routes.insert((from, net(at), id), (attributes, false));
            }
            Event::Withdraw(from, at, id) if model.up[from] => {
                let nlri = Nlri { prefix: net(at), path_id: PathId(id) };
                lab.rib.withdraw(self.ids[from], &[nlri], START);
                model.routes.remove(&(from, net(at), id));
            }
            Event::Down(from, keep) if model.up[from] => {
                let keep: &[Family] = if keep { &[Family::Ipv4] } else { &[] };
                lab.rib.session_down(self.ids[from], keep, START);
                lab.told.retain(|(to, _, _), _| *to != self.ids[from]);
                model.up[from] = false;
                model.routes.retain(|(owner, net, _), (_, stale)| {
                    *owner != from || keep.contains(&Family::of(net.addr())) && !std::mem::replace(stale, true)
                });
            }
            Event::Up(from) if !model.up[from] => {
                lab.up(self.ids[from], session(from));
                (model.up[from], model.known[from]) = (true, true);
            }
            Event::EndOfRib(from) => {
                lab.rib.end_of_rib(self.ids[from], Family::Ipv4, START);
                model.routes.retain(|(owner, _, _), (_, stale)| *owner != from || !*stale);
            }
            Event::Resolve(number, reachable) => {
                for hop in [hop(number, net(0)), hop(number, net(4))] {
                    let reach = if reachable { Reachability::Reachable(0) } else { Reachability::Unreachable };
                    lab.rib.resolve(hop, reach);
                    // What is said of a hop without routes holds until its last route goes: said again, so that it stays.
                    if reachable {
                        model.unreachable.remove(&hop)
                    } else {
                        model.unreachable.insert(hop)
                    };
                }
            }
            Event::Originate(at) => {
                lab.rib.originate(net(at), PathId(0), &Attributes::default(), START);
                model.local.insert(net(at));
            }
            Event::WithdrawLocal(at) => {
                lab.rib.withdraw_local(net(at), PathId(0), START);
                model.local.remove(&net(at));
            }
            Event::Import(from, number) => {
                model.import[from] = number;
                let settings = neighbour_settings(from, number, model.export[from]);
                assert_eq!(lab.rib.change_neighbour(self.ids[from], settings, START), Ok(AfterChange::Done));
            }
            Event::Export(to, number) => {
                model.export[to] = number;
                let settings = neighbour_settings(to, model.import[to], number);
                assert_eq!(lab.rib.change_neighbour(self.ids[to], settings, START), Ok(AfterChange::Done));
            }
            Event::Read(to, messages) => {
                for _ in 0..messages {
                    read(lab, self.ids[to]);
                }
            }
            Event::Refresh(to) if model.up[to] => lab.rib.refresh(self.ids[to], Family::Ipv4, Enhanced::No),
            _ => {}
        }
    }

    fn check_best(&self) -> Result<(), TestCaseError> {
        for net in PREFIXES.map(prefix) {
            let chosen = self.lab.rib.paths(net).into_iter().find(|path| path.chosen);
            let best = chosen.map(|path| {
                let from = self.ids.iter().position(|id| *id == path.neighbour);
                (from, path.path_id.0, self.lab.rib.attributes().get(path.attributes))
            });
            prop_assert_eq!(best, self.model.best(net), "{}", net);
        }
        Ok(())
    }

    fn told(&self) -> Vec<(usize, IpNet, Attributes)> {
        let index = |id: &NeighbourId| self.ids.iter().position(|other| other == id).expect("one of them");
        let told = self.lab.told.iter().map(|((to, net, _), attributes)| (index(to), *net, attributes.clone()));
        let mut told: Vec<_> = told.collect();
        told.sort_by_cached_key(|one| format!("{one:?}"));
        told
    }

    /// Tables of the same content that never were anything else.
    fn anew(&self) -> Self {
        let mut run = Self::new();
        run.model = Model { routes: BTreeMap::new(), ..self.model.clone() };
        for index in 0..RELATIONS.len() {
            let settings = neighbour_settings(index, self.model.import[index], self.model.export[index]);
            let _ = run.lab.rib.change_neighbour(run.ids[index], settings, START);
            if self.model.known[index] {
                run.lab.up(run.ids[index], session(index));
            }
        }
        for hop in &self.model.unreachable {
            run.lab.rib.resolve(*hop, Reachability::Unreachable);
        }
        for ((from, net, id), (attributes, _)) in &self.model.routes {
            run.lab.announce_with_id(run.ids[*from], &net.to_string(), *id, attributes);
        }
        for net in &self.model.local {
            run.lab.rib.originate(*net, PathId(0), &Attributes::default(), START);
        }
        for index in (0..RELATIONS.len()).filter(|index| !self.model.up[*index]) {
            run.lab.rib.session_down(run.ids[index], &Family::ALL, START);
        }
        run.lab.deliver();
        run
    }
}

/// One short message.
fn read(lab: &mut Lab, id: NeighbourId) {
    match lab.rib.next_update(id, 200) {
        Some(Update::Announce { attributes, nlri, .. }) => {
            let attributes = lab.rib.attributes().get(attributes);
            lab.told.extend(nlri.into_iter().map(|one| ((id, one.prefix, one.path_id), attributes.clone())));
        }
        Some(Update::Withdraw { nlri, .. }) => {
            for one in nlri {
                assert!(lab.told.remove(&(id, one.prefix, one.path_id)).is_some(), "{one:?} was never sent");
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_are_always_what_their_routes_make_them(steps in proptest::collection::vec(events(), 1..80)) {
        let mut run = Run::new();
        for index in 0..RELATIONS.len() {
            run.step(&Event::Up(index));
        }
        // What is said of next hops is to last, whether or not they have routes.
        for number in 1..6 {
            run.step(&Event::Resolve(number, true));
        }
        for step in &steps {
            run.step(step);
            run.check_best()?;
        }
        run.lab.deliver();
        let aggregate = prefix("10.0.0.0/8");
        let told: Vec<_> = run.told().into_iter().filter(|(_, net, _)| *net != aggregate).collect();
        prop_assert_eq!(told, run.model.told());
        let anew = run.anew();
        prop_assert_eq!(run.told(), anew.told());
        // Forwarding is not told when nothing but the order of equal paths has changed.
        let sorted = |lab: &Lab| {
            let mut forwarding = lab.forwarding.clone();
            forwarding.values_mut().for_each(|hops| hops.sort_unstable());
            forwarding
        };
        prop_assert_eq!(sorted(&run.lab), sorted(&anew.lab));
        for (index, id) in run.ids.iter().enumerate() {
            for family in Family::ALL {
                let counters = |lab: &Lab| {
                    let counters = lab.rib.counters(*id, family);
                    (counters.paths, counters.rejected, counters.advertised)
                };
                prop_assert_eq!(counters(&run.lab), counters(&anew.lab), "neighbour {}", index);
            }
        }
        let advertised: usize = run.ids.iter().map(|id| run.lab.rib.advertised(*id).len()).sum();
        prop_assert_eq!(advertised, run.lab.told.len());
        for number in 1..6 {
            for net in [prefix(PREFIXES[0]), prefix(PREFIXES[4])] {
                run.lab.rib.forget_next_hop(hop(number, net));
            }
        }
        run.lab.clear();
    }
}
