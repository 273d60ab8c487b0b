//! Aggregates (RFC 4271, 9.2.2.2): originated while a more specific route is there.

use super::bits::BitSet;
use super::settings::AggregateSettings;
use super::table::{PathFlags, PrefixId};
use super::{NeighbourId, Rib};
use crate::attributes::{Aggregator, AsPath, Attributes, AttributesId, Origin, Segment, SegmentKind};
use crate::number::{Asn, PathId};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The identifier of an aggregate among the paths that the speaker originates.
pub(super) const AGGREGATE: PathId = PathId(u32::MAX);

#[derive(Debug)]
pub(super) struct Aggregate {
    pub settings: AggregateSettings,
    contributors: BitSet,
    /// How many contributors have each origin.
    origins: [u32; 3],
    /// How many have a path at all.
    with_path: u32,
    /// How many have each system in their paths.
    asns: BTreeMap<Asn, u32>,
}

impl Aggregate {
    pub fn new(mut settings: AggregateSettings) -> Self {
        settings.prefix = settings.prefix.trunc();
        Self { settings, contributors: BitSet::default(), origins: [0; 3], with_path: 0, asns: BTreeMap::new() }
    }

    /// Whether it stands for a prefix, its own excepted.
    pub fn covers(&self, prefix: IpNet) -> bool {
        prefix.prefix_len() > self.settings.prefix.prefix_len() && self.settings.prefix.contains(&prefix)
    }

    fn add(&mut self, attributes: &Attributes) {
        self.origins[usize::from(attributes.origin.number())] += 1;
        self.with_path += u32::from(!attributes.as_path.segments.is_empty());
        if self.settings.keep_as_path {
            attributes.as_path.asns().for_each(|asn| *self.asns.entry(asn).or_default() += 1);
        }
    }

    fn subtract(&mut self, attributes: &Attributes) {
        self.origins[usize::from(attributes.origin.number())] -= 1;
        self.with_path -= u32::from(!attributes.as_path.segments.is_empty());
        if self.settings.keep_as_path {
            for asn in attributes.as_path.asns() {
                if let Some(count) = self.asns.get_mut(&asn) {
                    *count -= 1;
                    if *count == 0 {
                        self.asns.remove(&asn);
                    }
                }
            }
        }
    }

    fn attributes(&self, own: &super::RibSettings) -> Attributes {
        let worst = [Origin::Incomplete, Origin::Egp].into_iter();
        let origin = worst.into_iter().find(|origin| self.origins[usize::from(origin.number())] > 0);
        let mut as_path = AsPath::default();
        let asns: Vec<Asn> = self.asns.keys().copied().collect();
        for part in asns.chunks(255) {
            as_path.segments.push(Segment { kind: SegmentKind::Set, asns: part.to_vec() });
        }
        Attributes {
            origin: origin.unwrap_or_default(),
            as_path,
            atomic_aggregate: self.with_path > 0 && !self.settings.keep_as_path,
            aggregator: Some(Aggregator { asn: own.asn, router: own.router_id }),
            ..Attributes::default()
        }
    }
}

impl Rib {
    /// The best path of a prefix changed: what aggregates make of it. `before` is still held.
    pub(super) fn contribute(&mut self, id: PrefixId, before: Option<AttributesId>) {
        let prefix = self.table.prefix(id);
        let after = self.table.best(id).map(|path| path.attributes);
        for index in 0..self.aggregates.len() {
            if !self.aggregates[index].covers(prefix) {
                continue;
            }
            let old = before.map(|id| self.attributes.get(id));
            let new = after.map(|id| self.attributes.get(id));
            let aggregate = &mut self.aggregates[index];
            if let Some(old) = old.filter(|_| aggregate.contributors.remove(id)) {
                aggregate.subtract(&old);
            }
            if let Some(new) = new {
                aggregate.contributors.insert(id);
                aggregate.add(&new);
            }
            let net = aggregate.settings.prefix;
            if aggregate.contributors.is_empty() {
                self.drop_path(net, NeighbourId::LOCAL, AGGREGATE);
            } else {
                let attributes = aggregate.attributes(&self.settings);
                let attributes = self.attributes.intern(&attributes);
                self.put_path(net, NeighbourId::LOCAL, AGGREGATE, attributes, None, PathFlags::default());
                self.attributes.release(attributes);
            }
        }
    }

    /// Whether a prefix is not sent because an aggregate stands for it.
    pub(super) fn is_summarised(&self, prefix: IpNet) -> bool {
        self.aggregates.iter().any(|aggregate| aggregate.settings.summary_only && aggregate.covers(prefix))
    }
}
