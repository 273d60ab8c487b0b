//! AS_PATH (RFC 4271, 5.1.2; RFC 5065).

use crate::number::Asn;
use std::fmt;

/// What a segment of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// AS_SET: unordered, left by an aggregation.
    Set,
    /// AS_SEQUENCE.
    Sequence,
    /// AS_CONFED_SEQUENCE (RFC 5065).
    ConfederationSequence,
    /// AS_CONFED_SET (RFC 5065).
    ConfederationSet,
}

impl SegmentKind {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Sequence => 2,
            Self::ConfederationSequence => 3,
            Self::ConfederationSet => 4,
        }
    }

    /// The kind of that number.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfederationSequence),
            4 => Some(Self::ConfederationSet),
            _ => None,
        }
    }

    /// Whether it speaks of members of a confederation.
    pub const fn is_confederation(self) -> bool {
        matches!(self, Self::ConfederationSequence | Self::ConfederationSet)
    }
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// What it is.
    pub kind: SegmentKind,
    /// Its numbers, 1 to 255 of them.
    pub asns: Vec<Asn>,
}

/// The autonomous systems that a route came through, nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    /// Its segments, nearest first.
    pub segments: Vec<Segment>,
}

/// The most numbers that a segment can hold.
const SEGMENT_MAX: usize = 255;

impl AsPath {
    /// A path of one sequence; the empty path for no numbers.
    pub fn sequence(asns: impl IntoIterator<Item = u32>) -> Self {
        let mut path = Self::default();
        let asns: Vec<Asn> = asns.into_iter().map(Asn).collect();
        for part in asns.chunks(SEGMENT_MAX) {
            path.segments.push(Segment { kind: SegmentKind::Sequence, asns: part.to_vec() });
        }
        path
    }

    /// Every number in it.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments.iter().flat_map(|segment| segment.asns.iter().copied())
    }

    /// Its length for the decision: a set counts as one, confederation segments not at all (RFC 4271, 9.1.2.2; RFC 5065, 5.3).
    pub fn length(&self) -> u32 {
        let length = |segment: &Segment| match segment.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => u32::try_from(segment.asns.len()).unwrap_or(u32::MAX),
            SegmentKind::ConfederationSequence | SegmentKind::ConfederationSet => 0,
        };
        self.segments.iter().map(length).sum()
    }

    /// How often a number is in it.
    pub fn count(&self, asn: Asn) -> usize {
        self.asns().filter(|other| *other == asn).count()
    }

    /// The nearest autonomous system: the first of the first segment when that is a sequence. Members of the own
    /// confederation are not counted as systems of their own.
    pub fn neighbour(&self) -> Option<Asn> {
        let first = self.segments.iter().find(|segment| !segment.kind.is_confederation())?;
        if first.kind == SegmentKind::Sequence { first.asns.first().copied() } else { None }
    }

    /// The number that stands first, whatever the kind of its segment: a neighbour must have put its own there.
    pub fn first(&self) -> Option<Asn> {
        self.segments.first()?.asns.first().copied()
    }

    /// The system where the route started: the last of the last segment when that is a sequence.
    pub fn origin(&self) -> Option<Asn> {
        let last = self.segments.iter().rev().find(|segment| !segment.kind.is_confederation())?;
        if last.kind == SegmentKind::Sequence { last.asns.last().copied() } else { None }
    }

    /// Puts a number in front, `times` times (RFC 4271, 5.1.2).
    pub fn prepend(&mut self, asn: Asn, times: usize) {
        self.prepend_as(SegmentKind::Sequence, asn, times);
    }

    /// The same, into a segment of a kind of its own.
    pub fn prepend_as(&mut self, kind: SegmentKind, asn: Asn, times: usize) {
        let mut left = times;
        while left > 0 {
            let room = match self.segments.first() {
                Some(first) if first.kind == kind => SEGMENT_MAX.saturating_sub(first.asns.len()),
                _ => 0,
            };
            if room == 0 {
                self.segments.insert(0, Segment { kind, asns: Vec::new() });
                continue;
            }
            let now = left.min(room);
            if let Some(first) = self.segments.first_mut() {
                first.asns.splice(0..0, std::iter::repeat_n(asn, now));
            }
            left -= now;
        }
    }

    /// Takes the confederation's segments out, as is done where a route leaves it (RFC 5065, 4).
    pub fn leave_confederation(&mut self) {
        self.segments.retain(|segment| !segment.kind.is_confederation());
    }

    /// Puts one number in the place of another, everywhere.
    pub fn replace(&mut self, old: Asn, new: Asn) {
        for asn in self.segments.iter_mut().flat_map(|segment| &mut segment.asns).filter(|asn| **asn == old) {
            *asn = new;
        }
    }
}

impl fmt::Display for AsPath {
    /// As routers print it: `65001 65002 {65003,65004} (65100)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments.iter().enumerate() {
            let (open, between, close) = match segment.kind {
                SegmentKind::Sequence => ("", " ", ""),
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::ConfederationSequence => ("(", " ", ")"),
                SegmentKind::ConfederationSet => ("[", ",", "]"),
            };
            f.write_str(if position > 0 { " " } else { "" })?;
            f.write_str(open)?;
            for (position, asn) in segment.asns.iter().enumerate() {
                write!(f, "{}{asn}", if position > 0 { between } else { "" })?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(segments: &[(SegmentKind, &[u32])]) -> AsPath {
        let segment = |(kind, asns): &(SegmentKind, &[u32])| Segment {
            kind: *kind,
            asns: asns.iter().copied().map(Asn).collect(),
        };
        AsPath { segments: segments.iter().map(segment).collect() }
    }

    #[test]
    fn a_set_counts_as_one_and_a_confederation_as_none() {
        let path = path(&[
            (SegmentKind::ConfederationSequence, &[65100, 65101]),
            (SegmentKind::Sequence, &[1, 2, 3]),
            (SegmentKind::Set, &[7, 8]),
        ]);
        assert_eq!(path.length(), 4);
        assert_eq!(path.neighbour(), Some(Asn(1)));
        assert_eq!(path.first(), Some(Asn(65100)));
        assert_eq!(path.origin(), None);
        assert_eq!(path.to_string(), "(65100 65101) 1 2 3 {7,8}");
    }

    #[test]
    fn prepending_opens_another_segment_when_one_is_full() {
        let mut path = AsPath::sequence(std::iter::repeat_n(9, 254));
        path.prepend(Asn(5), 3);
        assert_eq!(path.length(), 257);
        assert_eq!(path.segments.iter().map(|segment| segment.asns.len()).collect::<Vec<_>>(), [2, 255]);
        let mut path = AsPath::default();
        path.prepend(Asn(5), 0);
        assert_eq!(path, AsPath::default());
        path.prepend(Asn(5), 2);
        assert_eq!(path, AsPath::sequence([5, 5]));
    }
}
