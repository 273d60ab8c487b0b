//! What is taken from a neighbour.

use super::neighbour::Neighbour;
use super::settings::{LimitScope, Relation, Role, WithoutPolicy};
use super::table::{PathFlags, PrefixId};
use super::{NeighbourId, Nlri, Rib, damping, family_index};
use crate::Moment;
use crate::attributes::{Attributes, AttributesId, Community, NextHop};
use crate::number::{Asn, Family, PathId};
use crate::policy::{Decision, NextHopChange, Policy};
use ipnet::IpNet;
use std::fmt;

/// The most paths that a neighbour may have to one prefix: each costs time whenever the prefix is decided about.
const PATHS_PER_PREFIX: usize = 128;

/// Why no path with these attributes is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The own system is in the path (RFC 4271, 9.1.2).
    OwnAsn,
    /// The speaker is the originator (RFC 4456, 8).
    OwnOriginatorId,
    /// The speaker's cluster is in the list (RFC 4456, 8).
    OwnCluster,
    /// The first system of the path is not the neighbour's (RFC 4271, 6.3).
    FirstAsn,
    /// The next hop is the speaker itself (RFC 4271, 5.1.3).
    OwnNextHop,
    /// A route leak (RFC 9234, 5).
    Leak,
    /// There is no import policy, and one is required (RFC 8212).
    NoPolicy,
    /// The import policy.
    Policy,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnAsn => "the own AS is in the path",
            Self::OwnOriginatorId => "this speaker is the originator",
            Self::OwnCluster => "this speaker's cluster is in the cluster list",
            Self::FirstAsn => "the path does not begin with the neighbour's AS",
            Self::OwnNextHop => "the next hop is this speaker",
            Self::Leak => "route leak: the role forbids it",
            Self::NoPolicy => "no import policy (RFC 8212)",
            Self::Policy => "denied by the import policy",
        })
    }
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Prefixes that were taken.
    pub accepted: u32,
    /// Prefixes that were refused.
    pub rejected: u32,
    /// Why all of them were, where that does not depend on the prefix.
    pub reason: Option<Rejection>,
    /// A limit that just began to be near.
    pub warning: Option<LimitScope>,
    /// A limit that kept prefixes out.
    pub exceeded: Option<LimitScope>,
}

impl Rib {
    /// A neighbour announces prefixes with these attributes.
    pub fn announce(&mut self, from: NeighbourId, attributes: &Attributes, nlri: &[Nlri], now: Moment) -> Received {
        self.tell(now);
        let mut received = Received::default();
        let Some(neighbour) = self.neighbour(from) else { return received };
        let soft = neighbour.settings.soft_reconfiguration;
        let mut import = match self.admit(from, attributes) {
            Ok(attributes) => Import { attributes: Some(attributes), decided: Vec::new() },
            Err(reason) => {
                received.reason = Some(reason);
                Import { attributes: None, decided: Vec::new() }
            }
        };
        let original = soft.then(|| self.attributes.intern(attributes));
        for one in nlri {
            let prefix = one.prefix.trunc();
            let family = Family::of(prefix.addr());
            if let Some(neighbour) = self.neighbour_mut(from) {
                neighbour.counters[family_index(family)].announcements_in += 1;
            }
            let imported = self.imported(from, prefix, &mut import);
            if imported.is_none() {
                received.rejected += 1;
                if let Some(neighbour) = self.neighbour_mut(from) {
                    neighbour.counters[family_index(family)].refused_in += 1;
                }
            }
            let (kept, flags) = match (imported, original) {
                (Some(imported), _) => (imported, PathFlags::default()),
                (None, Some(original)) => (original, PathFlags::default().with(PathFlags::REJECTED)),
                (None, None) => {
                    self.drop_path(prefix, from, one.path_id);
                    continue;
                }
            };
            if let Some(exceeded) = self.no_room(from, prefix, *one, &mut received) {
                received.exceeded = Some(exceeded);
                continue;
            }
            let flags = self.damped(from, prefix, *one, kept, flags, now);
            let before = original.filter(|original| *original != kept);
            self.put_path(prefix, from, one.path_id, kept, before, flags);
            received.accepted += u32::from(imported.is_some());
        }
        let interned = import.decided.iter().filter_map(|(_, id)| *id).chain(original);
        interned.for_each(|id| self.attributes.release(id));
        received
    }

    /// A neighbour withdraws prefixes.
    pub fn withdraw(&mut self, from: NeighbourId, nlri: &[Nlri], now: Moment) {
        self.tell(now);
        for one in nlri {
            let prefix = one.prefix.trunc();
            let Some(neighbour) = self.neighbour_mut(from) else { return };
            neighbour.counters[family_index(Family::of(prefix.addr()))].withdrawals_in += 1;
            let settings = neighbour.settings.damping;
            if self.drop_path(prefix, from, one.path_id)
                && let Some(settings) = settings
            {
                self.damping.flap((from, prefix, one.path_id), damping::WITHDRAWAL, settings, now);
            }
        }
    }

    /// The protocol's own rules; the attributes as the policy gets them.
    pub(super) fn admit(&self, from: NeighbourId, attributes: &Attributes) -> Result<Attributes, Rejection> {
        let Some(neighbour) = self.neighbour(from) else { return Err(Rejection::Policy) };
        let (settings, own) = (&neighbour.settings, &self.settings);
        let external = settings.relation == Relation::External;
        if external && settings.enforce_first_asn && attributes.as_path.first() != Some(settings.asn) {
            return Err(Rejection::FirstAsn);
        }
        let confederation = own.confederation.as_ref().map_or(0, |one| attributes.as_path.count(one.identifier));
        if attributes.as_path.count(own.asn) + confederation > usize::from(settings.allow_own_asn) {
            return Err(Rejection::OwnAsn);
        }
        if !external {
            if attributes.originator_id == Some(own.router_id) {
                return Err(Rejection::OwnOriginatorId);
            }
            if attributes.cluster_list.contains(&own.cluster()) {
                return Err(Rejection::OwnCluster);
            }
        }
        if let Some(facts) = &neighbour.facts {
            let ours = match attributes.next_hop {
                NextHop::V4(address) => facts.local_v4 == Some(address),
                NextHop::V6 { global, .. } => facts.local_v6 == Some(global),
            };
            if ours || attributes.next_hop.is_self() {
                return Err(Rejection::OwnNextHop);
            }
        }
        let mut attributes = attributes.clone();
        attributes.weight = settings.weight;
        if let Some(role) = settings.role {
            match (role, attributes.only_to_customer) {
                // What a customer, or a server's client, was told only to pass to customers comes back: a leak.
                (Role::Provider | Role::RouteServer, Some(_)) => return Err(Rejection::Leak),
                (Role::Peer, Some(asn)) if asn != settings.asn => return Err(Rejection::Leak),
                (Role::Customer | Role::RouteServerClient | Role::Peer, None) => {
                    attributes.only_to_customer = Some(settings.asn);
                }
                _ => {}
            }
        }
        if external {
            // What these mean ends at a system's border (RFC 4271, 5.1.5; RFC 4456, 7).
            attributes.local_pref = None;
            attributes.originator_id = None;
            attributes.cluster_list.clear();
            if attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
                attributes.local_pref = Some(0);
            }
            if settings.import.is_none() && settings.without_policy == WithoutPolicy::DenyExternal {
                return Err(Rejection::NoPolicy);
            }
        }
        Ok(attributes)
    }

    /// The attributes after the policy for a prefix; none where it is denied. The references are `import`'s.
    fn imported(&mut self, from: NeighbourId, prefix: IpNet, import: &mut Import) -> Option<AttributesId> {
        let attributes = import.attributes.as_ref()?;
        let neighbour = self.neighbours.get(from.0 as usize)?.as_ref()?;
        let policy = neighbour.settings.import.clone();
        let decision = match &policy {
            Some(policy) => match import.decided.first() {
                Some((decision, _)) if !policy.depends_on_prefix() => *decision,
                _ => policy.decide(prefix, attributes),
            },
            None => Decision { statement: None, permitted: true },
        };
        if let Some((_, id)) = import.decided.iter().find(|(other, _)| *other == decision) {
            return *id;
        }
        let id = if decision.permitted {
            let changed = policy.filter(|policy| policy.changes(decision));
            let changed =
                changed.map(|policy| changed_by(neighbour, &policy, decision, self.settings.asn, prefix, attributes));
            Some(self.attributes.intern(changed.as_ref().unwrap_or(attributes)))
        } else {
            None
        };
        import.decided.push((decision, id));
        id
    }

    /// What a policy makes of a route that the protocol's rules let in; none where it is denied.
    pub(super) fn after_policy(
        &self,
        from: NeighbourId,
        policy: &Policy,
        prefix: IpNet,
        attributes: &Attributes,
    ) -> Option<Attributes> {
        let neighbour = self.neighbour(from)?;
        let decision = policy.decide(prefix, attributes);
        decision.permitted.then(|| changed_by(neighbour, policy, decision, self.settings.asn, prefix, attributes))
    }

    /// The limit that leaves no room for one more path, if the announcement is one more.
    fn no_room(&mut self, from: NeighbourId, prefix: IpNet, one: Nlri, received: &mut Received) -> Option<LimitScope> {
        let family = Family::of(prefix.addr());
        let total = self.settings.limit;
        let paths = self.paths;
        let settings = self.neighbour(from)?.settings.limit;
        if total.is_none() && settings.is_none() && one.path_id == PathId(0) {
            return None;
        }
        let its = self.table.find(prefix).map_or(&[][..], |id| self.table.paths(id));
        let its = its.iter().filter(|path| path.neighbour == from);
        let (mut count, mut there) = (0, false);
        for path in its {
            count += 1;
            there |= path.path_id == one.path_id;
        }
        if there {
            return None;
        }
        if count >= PATHS_PER_PREFIX {
            self.neighbour_mut(from)?.counters[family_index(family)].beyond_limit_in += 1;
            return Some(LimitScope::Prefix(from));
        }
        let warned = self.warned;
        let neighbour = self.neighbour_mut(from)?;
        let count = neighbour.counters[family_index(family)].paths;
        let scope = LimitScope::Neighbour(from, family);
        let mut full = None;
        if let Some(limit) = settings {
            let seen = &mut neighbour.warned[family_index(family)];
            if count + 1 >= limit.warning && !std::mem::replace(seen, true) {
                received.warning = Some(scope);
            }
            full = (count >= limit.maximum).then_some(scope);
        }
        if let Some(limit) = total {
            if paths + 1 >= limit.warning as usize && !warned {
                self.warned = true;
                received.warning = received.warning.or(Some(LimitScope::Table));
            }
            full = full.or((paths >= limit.maximum as usize).then_some(LimitScope::Table));
        }
        if full.is_some()
            && let Some(neighbour) = self.neighbour_mut(from)
        {
            neighbour.counters[family_index(family)].beyond_limit_in += 1;
        }
        full
    }

    fn damped(
        &mut self,
        from: NeighbourId,
        prefix: IpNet,
        one: Nlri,
        kept: AttributesId,
        flags: PathFlags,
        now: Moment,
    ) -> PathFlags {
        let Some(settings) = self.neighbour(from).and_then(|neighbour| neighbour.settings.damping) else {
            return flags;
        };
        let key = (from, prefix, one.path_id);
        let id = self.table.find(prefix);
        let paths = id.map_or(&[][..], |id| self.table.paths(id));
        let old = paths.iter().find(|path| path.neighbour == from && path.path_id == one.path_id);
        let changes = old.is_some_and(|old| old.attributes != kept && !old.flags.has(PathFlags::STALE));
        let suppressed = match changes {
            true => self.damping.flap(key, damping::CHANGE, settings, now),
            false => self.damping.is_suppressed(&key),
        };
        if suppressed { flags.with(PathFlags::DAMPED) } else { flags }
    }

    /// Takes a neighbour's routes once more, as they came, under its present settings.
    pub(super) fn import_again(&mut self, from: NeighbourId, now: Moment) {
        let Some(neighbour) = self.neighbour(from) else { return };
        let ids: Vec<PrefixId> = neighbour.received.iter().collect();
        let mut last: Option<(AttributesId, Import)> = None;
        for id in ids {
            let prefix = self.table.prefix(id);
            let mine: Vec<_> = self.table.paths(id).iter().filter(|path| path.neighbour == from).copied().collect();
            for path in mine {
                let original = path.received.unwrap_or(path.attributes);
                if last.as_ref().is_none_or(|(same, _)| *same != original) {
                    self.finish(last.take());
                    self.attributes.retain(original);
                    let attributes = self.admit(from, &self.attributes.get(original)).ok();
                    last = Some((original, Import { attributes, decided: Vec::new() }));
                }
                let Some((_, import)) = &mut last else { continue };
                let imported = self.imported(from, prefix, import);
                let flags = path.flags.without(PathFlags::REJECTED);
                let (kept, flags) = match imported {
                    Some(imported) => (imported, flags),
                    None => (original, flags.with(PathFlags::REJECTED)),
                };
                let received = (original != kept).then_some(original);
                self.put_path(prefix, from, path.path_id, kept, received, flags);
            }
        }
        self.finish(last);
        self.tell(now);
    }

    fn finish(&mut self, import: Option<(AttributesId, Import)>) {
        if let Some((original, import)) = import {
            import
                .decided
                .iter()
                .filter_map(|(_, id)| *id)
                .chain([original])
                .for_each(|id| self.attributes.release(id));
        }
    }
}

/// The attributes as a policy that permits a route leaves them.
fn changed_by(
    neighbour: &Neighbour,
    policy: &Policy,
    decision: Decision,
    own: Asn,
    prefix: IpNet,
    attributes: &Attributes,
) -> Attributes {
    let mut changed = attributes.clone();
    let next_hop = policy.apply(decision, own, &mut changed);
    let facts = neighbour.facts.as_ref();
    match next_hop {
        Some(NextHopChange::To(address)) => changed.next_hop = address.into(),
        Some(NextHopChange::ToPeer) => changed.next_hop = neighbour.settings.address.into(),
        Some(NextHopChange::ToSelf) => {
            let v4 = facts.and_then(|facts| facts.local_v4).filter(|_| prefix.addr().is_ipv4());
            let v6 = facts.and_then(|facts| facts.local_v6);
            changed.next_hop = match (v4, v6) {
                (Some(address), _) => NextHop::V4(address),
                (None, Some(global)) => NextHop::V6 { global, link_local: None },
                (None, None) => changed.next_hop,
            };
        }
        Some(NextHopChange::Unchanged) | None => {}
    }
    changed
}

/// One set of attributes on its way through the import policy.
struct Import {
    /// As the policy gets them; none where the protocol's rules refuse them.
    attributes: Option<Attributes>,
    /// What each decision of the policy made of them.
    decided: Vec<(Decision, Option<AttributesId>)>,
}
