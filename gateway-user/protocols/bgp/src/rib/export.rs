//! What is sent to a group of neighbours, and what is changed about it on the way.

use super::groups::{CacheKey, Cached, GroupKey};
use super::settings::{ClientToClient, NeighbourSettings, NextHopMode, Relation, Role, SessionFacts, WithoutPolicy};
use super::table::Path;
use super::{NeighbourId, Rib};
use crate::attributes::{Attributes, AttributesId, Marks, NextHop, SegmentKind, Summary};
use crate::number::{Family, RouterId};
use crate::policy::{NextHopChange, Trace};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Why a path is not sent to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It came from there.
    CameFromThere,
    /// It came from inside and is not reflected (RFC 4456, 6).
    NotReflected,
    /// Routes of clients do not go to other clients.
    BetweenClients,
    /// NO_ADVERTISE.
    NoAdvertise,
    /// NO_EXPORT.
    NoExport,
    /// NO_EXPORT_SUBCONFED.
    NoExportSubconfed,
    /// NOPEER (RFC 3765).
    NoPeer,
    /// Only to Customer (RFC 9234, 5).
    OnlyToCustomer,
    /// Long-lived stale, and the neighbour does not know what that means (RFC 9494, 4.3).
    LongLivedStale,
    /// An aggregate is sent in its place.
    Summarised,
    /// There is no export policy, and one is required (RFC 8212).
    NoPolicy,
    /// The export policy, by the statement of that name.
    Policy {
        /// The policy's name.
        policy: String,
        /// The statement's; none where nothing matched.
        statement: Option<String>,
    },
    /// The speaker has no address on the session that could be the next hop.
    NoNextHop,
    /// It is not among the paths that are sent.
    NotBest,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CameFromThere => "it came from there",
            Self::NotReflected => "learned from inside, and neither side is a client",
            Self::BetweenClients => "client-to-client reflection is off",
            Self::NoAdvertise => "community no-advertise",
            Self::NoExport => "community no-export",
            Self::NoExportSubconfed => "community no-export-subconfed",
            Self::NoPeer => "community no-peer",
            Self::OnlyToCustomer => "only to customers (OTC)",
            Self::LongLivedStale => "long-lived stale",
            Self::Summarised => "an aggregate is sent in its place",
            Self::NoPolicy => "no export policy (RFC 8212)",
            Self::NoNextHop => "no address on the session to be the next hop",
            Self::NotBest => "not the best path",
            Self::Policy { policy, statement: Some(statement) } => {
                return write!(f, "denied by policy {policy}, statement {statement}");
            }
            Self::Policy { policy, statement: None } => {
                return write!(f, "denied by policy {policy}: no statement matched");
            }
        })
    }
}

/// Where a path comes from.
#[derive(Clone, Copy)]
struct Source {
    /// None for what the speaker originates.
    relation: Option<Relation>,
    router_id: RouterId,
}

impl Rib {
    fn source(&self, id: NeighbourId) -> Source {
        let neighbour = self.neighbour(id);
        Source {
            relation: neighbour.map(|neighbour| neighbour.settings.relation),
            router_id: neighbour.and_then(|one| one.router_id()).unwrap_or(self.settings.router_id),
        }
    }

    /// The rules that need no look at the whole attributes.
    fn may_go(&self, key: &GroupKey, source: Source, summary: &Summary, prefix: IpNet) -> Result<(), Refusal> {
        let marks = summary.marks;
        match (source.relation, key.relation) {
            (Some(Relation::Internal), Relation::Internal) => return Err(Refusal::NotReflected),
            (Some(Relation::Client), Relation::Client)
                if self.settings.client_to_client == ClientToClient::Withheld =>
            {
                return Err(Refusal::BetweenClients);
            }
            _ => {}
        }
        if marks.has(Marks::NO_ADVERTISE) {
            return Err(Refusal::NoAdvertise);
        }
        if !key.relation.is_internal() {
            if marks.has(Marks::NO_EXPORT_SUBCONFED) {
                return Err(Refusal::NoExportSubconfed);
            }
            if key.relation == Relation::External && marks.has(Marks::NO_EXPORT) {
                return Err(Refusal::NoExport);
            }
        }
        if marks.has(Marks::NO_PEER) && key.role == Some(Role::Peer) {
            return Err(Refusal::NoPeer);
        }
        let upwards = matches!(key.role, Some(Role::Customer | Role::Peer | Role::RouteServerClient));
        if marks.has(Marks::ONLY_TO_CUSTOMER) && upwards {
            return Err(Refusal::OnlyToCustomer);
        }
        if marks.has(Marks::LLGR_STALE) && !key.long_lived {
            return Err(Refusal::LongLivedStale);
        }
        if self.is_summarised(prefix) {
            return Err(Refusal::Summarised);
        }
        let external = key.relation == Relation::External;
        if external && key.export.is_none() && key.without_policy == WithoutPolicy::DenyExternal {
            return Err(Refusal::NoPolicy);
        }
        Ok(())
    }

    /// The attributes with which a group is sent a path: a reference that the caller must release.
    pub(super) fn export_path(&mut self, group: usize, prefix: IpNet, path: &Path) -> Result<AttributesId, Refusal> {
        let Some(Some(members)) = self.groups.get(group) else { return Err(Refusal::NotBest) };
        let source = self.source(path.neighbour);
        self.may_go(&members.key, source, self.attributes.summary(path.attributes), prefix)?;
        let by_prefix = members.key.export.as_ref().is_some_and(|policy| policy.depends_on_prefix());
        let cache_key = CacheKey {
            attributes: self.attributes.weak(path.attributes),
            source: path.neighbour,
            family: Family::of(prefix.addr()),
        };
        if !by_prefix
            && let Some(cached) = members.cache.get(cache_key)
            && let Some(id) = self.attributes.upgrade(cached)
        {
            return Ok(id);
        }
        self.decode(path.attributes);
        let (Some((_, attributes)), Some(Some(members))) = (&self.decoded, self.groups.get(group)) else {
            return Err(Refusal::NotBest);
        };
        let changed = self.changed_for(&members.key, source, prefix, attributes)?;
        let id = self.attributes.intern(&changed);
        if !by_prefix {
            let sent = self.attributes.weak(id);
            if let Some(Some(members)) = self.groups.get_mut(group) {
                members.cache.put(Cached { key: cache_key, sent });
            }
        }
        Ok(id)
    }

    /// What a default route that a group is sent anyway looks like.
    pub(super) fn export_default(&mut self, group: usize, prefix: IpNet) -> Option<AttributesId> {
        let key = self.groups.get(group)?.as_ref()?.key.clone();
        let source = Source { relation: None, router_id: self.settings.router_id };
        let mut attributes = Attributes::default();
        self.leave(&key, source, prefix, &mut attributes, None).ok()?;
        Some(self.attributes.intern(&attributes))
    }

    /// What would be sent, and how the policy took it where the rules before it let the route come so far.
    pub(super) fn export_rehearsed(
        &self,
        settings: &NeighbourSettings,
        facts: &SessionFacts,
        prefix: IpNet,
        attributes: &Attributes,
        source: NeighbourId,
    ) -> (Option<Trace>, Result<Attributes, Refusal>) {
        let key = GroupKey::of(settings, facts);
        let source = self.source(source);
        if let Err(refusal) = self.may_go(&key, source, &Summary::of(attributes), prefix) {
            return (None, Err(refusal));
        }
        let trace = key.export.as_ref().map(|policy| policy.explain(prefix, self.outside_asn(&key), attributes));
        (trace, self.changed_for(&key, source, prefix, attributes))
    }

    fn decode(&mut self, id: AttributesId) {
        let weak = self.attributes.weak(id);
        if self.decoded.as_ref().is_none_or(|(last, _)| *last != weak) {
            self.decoded = Some((weak, self.attributes.get(id)));
        }
    }

    fn changed_for(
        &self,
        key: &GroupKey,
        source: Source,
        prefix: IpNet,
        attributes: &Attributes,
    ) -> Result<Attributes, Refusal> {
        let decision = key.export.as_ref().map(|policy| (policy, policy.decide(prefix, attributes)));
        let mut changed = attributes.clone();
        if key.relation == Relation::External && source.relation.is_some() {
            // What a MED of another system means, this one's neighbours cannot know (RFC 4271, 5.1.4).
            changed.med = None;
        }
        let mut next_hop = None;
        if let Some((policy, decision)) = decision {
            if !decision.permitted {
                let name = |position: u16| policy.statements()[usize::from(position)].name.clone();
                return Err(Refusal::Policy {
                    policy: policy.name().to_owned(),
                    statement: decision.statement.map(name),
                });
            }
            next_hop = policy.apply(decision, self.outside_asn(key), &mut changed);
        }
        self.leave(key, source, prefix, &mut changed, next_hop)?;
        Ok(changed)
    }

    /// The number that a neighbour knows the speaker by.
    fn outside_asn(&self, key: &GroupKey) -> crate::number::Asn {
        match &self.settings.confederation {
            Some(confederation) if key.relation == Relation::External => confederation.identifier,
            _ => self.settings.asn,
        }
    }

    /// The changes that the protocol asks for.
    fn leave(
        &self,
        key: &GroupKey,
        source: Source,
        prefix: IpNet,
        attributes: &mut Attributes,
        next_hop: Option<NextHopChange>,
    ) -> Result<(), Refusal> {
        attributes.weight = 0;
        attributes.next_hop =
            self.next_hop_for(key, source, prefix, attributes.next_hop, next_hop).ok_or(Refusal::NoNextHop)?;
        match key.relation {
            Relation::External => {
                let own = self.outside_asn(key);
                attributes.local_pref = None;
                attributes.originator_id = None;
                attributes.cluster_list.clear();
                attributes.extended_communities.retain(|community| community.is_transitive());
                attributes.as_path.leave_confederation();
                if let Some(theirs) = key.override_asn {
                    attributes.as_path.replace(theirs, own);
                }
                attributes.as_path.prepend(own, 1);
            }
            Relation::ConfederationExternal => {
                attributes.originator_id = None;
                attributes.cluster_list.clear();
                attributes.local_pref.get_or_insert(crate::attributes::DEFAULT_LOCAL_PREF);
                attributes.as_path.prepend_as(SegmentKind::ConfederationSequence, self.settings.asn, 1);
            }
            Relation::Internal | Relation::Client => {
                attributes.local_pref.get_or_insert(crate::attributes::DEFAULT_LOCAL_PREF);
                if source.relation.is_some_and(Relation::is_internal) {
                    // Reflected (RFC 4456, 8).
                    attributes.originator_id.get_or_insert(source.router_id);
                    attributes.cluster_list.insert(0, self.settings.cluster());
                }
            }
        }
        if matches!(key.role, Some(Role::Provider | Role::Peer | Role::RouteServer)) {
            attributes.only_to_customer.get_or_insert(self.outside_asn(key));
        }
        Ok(())
    }

    /// The next hop that a group is told; none where the speaker has no address to be it.
    fn next_hop_for(
        &self,
        key: &GroupKey,
        source: Source,
        prefix: IpNet,
        hop: NextHop,
        change: Option<NextHopChange>,
    ) -> Option<NextHop> {
        let own = own_next_hop(key, prefix);
        let fits = |hop: &NextHop| match (prefix, hop) {
            (IpNet::V4(_), NextHop::V4(_)) | (IpNet::V6(_), NextHop::V6 { .. }) => true,
            (IpNet::V4(_), NextHop::V6 { .. }) => key.extended_next_hop,
            (IpNet::V6(_), NextHop::V4(_)) => false,
        };
        let kept = || {
            let without_link = match hop {
                NextHop::V6 { global, .. } => NextHop::V6 { global, link_local: None },
                v4 => v4,
            };
            Some(without_link).filter(|hop| !hop.is_self() && fits(hop)).or(own)
        };
        match change {
            Some(NextHopChange::To(address)) => return Some(NextHop::from(address)).filter(fits),
            Some(NextHopChange::ToPeer) => return key.peer.map(NextHop::from).filter(fits),
            Some(NextHopChange::ToSelf) => return own,
            Some(NextHopChange::Unchanged) => return kept(),
            None => {}
        }
        let reflected = source.relation.is_some_and(Relation::is_internal) && key.relation.is_internal();
        match key.next_hop {
            NextHopMode::ToSelfAlways => own,
            NextHopMode::ToSelf if !reflected => own,
            NextHopMode::Standard if key.relation == Relation::External => {
                let shared = key.shared_subnets.iter().any(|subnet| subnet.contains(&hop.address()));
                if shared { kept() } else { own }
            }
            NextHopMode::ToSelf | NextHopMode::Unchanged | NextHopMode::Standard => kept(),
        }
    }
}

/// The speaker itself as a next hop.
fn own_next_hop(key: &GroupKey, prefix: IpNet) -> Option<NextHop> {
    let v6 = |global: Ipv6Addr| NextHop::V6 { global, link_local: key.local_link };
    match prefix {
        IpNet::V4(_) => {
            let extended = key.local_v6.filter(|_| key.extended_next_hop).map(v6);
            key.local_v4.map(NextHop::V4).or(extended)
        }
        IpNet::V6(_) => key.local_v6.map(v6),
    }
}

impl GroupKey {
    pub(super) fn of(settings: &super::NeighbourSettings, facts: &SessionFacts) -> Self {
        let to_peer = |statement: &crate::policy::Statement| {
            statement.actions.contains(&crate::policy::Action::NextHop(NextHopChange::ToPeer))
        };
        let knows_peer = settings.export.as_ref().is_some_and(|policy| policy.statements().iter().any(to_peer));
        let peer: Option<IpAddr> = knows_peer.then_some(settings.address);
        Self {
            relation: settings.relation,
            override_asn: settings.as_override.then_some(settings.asn),
            families: Family::ALL.map(|family| facts.families.contains(&family)),
            add_path: Family::ALL.map(|family| facts.add_path_send.contains(&family).then_some(settings.add_path)),
            export: settings.export.clone(),
            without_policy: settings.without_policy,
            next_hop: settings.next_hop,
            peer,
            local_v4: facts.local_v4,
            local_v6: facts.local_v6,
            local_link: facts.local_link,
            extended_next_hop: facts.extended_next_hop,
            shared_subnets: settings.shared_subnets.clone(),
            role: settings.role,
            long_lived: facts.long_lived,
            default_originate: settings.default_originate,
        }
    }
}
