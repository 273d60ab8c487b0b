//! What a statement changes about a route.

use crate::attributes::{Attributes, Community, ExtendedCommunity, LargeCommunity, Origin};
use crate::number::Asn;
use std::net::IpAddr;

/// How a list of communities is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<T> {
    /// These are put in where they are missing.
    Add(Vec<T>),
    /// These are taken out.
    Remove(Vec<T>),
    /// These take the place of all.
    Replace(Vec<T>),
}

impl<T: Copy + PartialEq> Edit<T> {
    fn apply(&self, list: &mut Vec<T>) {
        match self {
            Self::Add(values) => {
                for value in values {
                    if !list.contains(value) {
                        list.push(*value);
                    }
                }
            }
            Self::Remove(values) => list.retain(|value| !values.contains(value)),
            Self::Replace(values) => list.clone_from(values),
        }
    }
}

/// How the MED is changed. Sums stay inside the range of the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MedChange {
    /// It becomes this.
    Set(u32),
    /// It grows by this.
    Add(u32),
    /// It shrinks by this.
    Subtract(u32),
    /// It goes away.
    Clear,
}

/// What the next hop becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextHopChange {
    /// This address.
    To(IpAddr),
    /// This speaker's own address on the session.
    ToSelf,
    /// The neighbour's address on the session.
    ToPeer,
    /// It stays, even where it would otherwise become this speaker's own.
    Unchanged,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The weight, which only this speaker sees.
    Weight(u32),
    /// LOCAL_PREF.
    LocalPref(u32),
    /// The MED.
    Med(MedChange),
    /// ORIGIN.
    Origin(Origin),
    /// Numbers in front of the path, as they will stand.
    Prepend(Vec<Asn>),
    /// This speaker's own number in front of the path, so many times besides the usual one.
    PrependOwn(u8),
    /// The next hop.
    NextHop(NextHopChange),
    /// Standard communities.
    Communities(Edit<Community>),
    /// Extended communities.
    ExtendedCommunities(Edit<ExtendedCommunity>),
    /// Large communities.
    LargeCommunities(Edit<LargeCommunity>),
}

impl Action {
    /// Does it; the next hop is left to who knows the addresses.
    pub(super) fn apply(&self, own: Asn, attributes: &mut Attributes) -> Option<NextHopChange> {
        match self {
            Self::Weight(weight) => attributes.weight = *weight,
            Self::LocalPref(preference) => attributes.local_pref = Some(*preference),
            Self::Med(change) => {
                let med = attributes.med.unwrap_or_default();
                attributes.med = match *change {
                    MedChange::Set(med) => Some(med),
                    MedChange::Add(more) => Some(med.saturating_add(more)),
                    MedChange::Subtract(less) => Some(med.saturating_sub(less)),
                    MedChange::Clear => None,
                };
            }
            Self::Origin(origin) => attributes.origin = *origin,
            Self::Prepend(asns) => asns.iter().rev().for_each(|asn| attributes.as_path.prepend(*asn, 1)),
            Self::PrependOwn(times) => attributes.as_path.prepend(own, usize::from(*times)),
            Self::NextHop(change) => return Some(*change),
            Self::Communities(edit) => edit.apply(&mut attributes.communities),
            Self::ExtendedCommunities(edit) => edit.apply(&mut attributes.extended_communities),
            Self::LargeCommunities(edit) => edit.apply(&mut attributes.large_communities),
        }
        None
    }
}
