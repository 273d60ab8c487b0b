//! AS_PATH and AS4_PATH as bytes: checking, widening, merging, narrowing (RFC 4271 4.3, RFC 6793 4.2).

use crate::number::Asn;

const SET: u8 = 1;
const SEQUENCE: u8 = 2;
const CONFED_SEQUENCE: u8 = 3;
const CONFED_SET: u8 = 4;

/// How many octets an AS number has in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
}

impl Width {
    const fn octets(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// Segments: their type and their numbers' bytes. Ends early where the path is malformed.
fn segments(path: &[u8], width: Width) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<2>()?;
        let (numbers, after) = after.split_at_checked(usize::from(head[1]) * width.octets())?;
        rest = after;
        Some((head[0], numbers))
    })
}

fn numbers(segment: &[u8], width: Width) -> impl Iterator<Item = Asn> {
    segment
        .chunks_exact(width.octets())
        .map(|chunk| Asn(chunk.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))))
}

/// Whether the path can be read to its end, its segments are not empty and of known types outside a confederation
/// (RFC 5065, 4), and no number in it is 0 (RFC 7607).
pub(super) fn is_well_formed(path: &[u8], width: Width) -> bool {
    let mut read = 0;
    for (kind, segment) in segments(path, width) {
        if !matches!(kind, SET | SEQUENCE) || segment.is_empty() || numbers(segment, width).any(|asn| asn.0 == 0) {
            return false;
        }
        read += 2 + segment.len();
    }
    read == path.len()
}

/// The leftmost number, where the path begins with a sequence.
pub(super) fn first(path: &[u8]) -> Option<Asn> {
    segments(path, Width::Four)
        .next()
        .filter(|(kind, _)| *kind == SEQUENCE)
        .and_then(|(_, segment)| numbers(segment, Width::Four).next())
}

/// The same path with numbers of four octets.
pub(super) fn widen(path: &[u8]) -> Vec<u8> {
    let mut wide = Vec::with_capacity(2 * path.len());
    for (kind, segment) in segments(path, Width::Two) {
        push(&mut wide, kind, numbers(segment, Width::Two));
    }
    wide
}

/// The path that the neighbour would have sent with four octets (RFC 6793, 4.2.3): what AS4_PATH lacks is taken from the
/// front of the AS_PATH; an AS4_PATH that is longer than it is not believed.
pub(super) fn merge(path: &[u8], four: &[u8]) -> Vec<u8> {
    let Some(mut lacking) = hops(path, Width::Two).checked_sub(hops(four, Width::Four)) else {
        return widen(path);
    };
    let mut merged = Vec::with_capacity(2 * path.len());
    for (kind, segment) in segments(path, Width::Two) {
        if lacking == 0 {
            break;
        }
        match kind {
            SEQUENCE => {
                let take = lacking.min(segment.len() / 2);
                push(&mut merged, kind, numbers(&segment[..2 * take], Width::Two));
                lacking -= take;
            }
            _ => {
                push(&mut merged, kind, numbers(segment, Width::Two));
                lacking -= usize::from(kind == SET);
            }
        }
    }
    for (kind, segment) in segments(four, Width::Four) {
        push(&mut merged, kind, numbers(segment, Width::Four));
    }
    merged
}

/// The path with numbers of two octets, and the AS4_PATH that goes with it where a number does not fit.
pub(super) fn narrow(path: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut narrow = Vec::with_capacity(path.len());
    let mut four = Vec::with_capacity(path.len());
    let mut fits = true;
    for (kind, segment) in segments(path, Width::Four) {
        narrow.extend_from_slice(&[kind, u8::try_from(segment.len() / 4).unwrap_or(u8::MAX)]);
        for asn in numbers(segment, Width::Four) {
            let short = u16::try_from(asn.0).unwrap_or_else(|_| {
                fits = false;
                23456
            });
            narrow.extend_from_slice(&short.to_be_bytes());
        }
        if !matches!(kind, CONFED_SEQUENCE | CONFED_SET) {
            push(&mut four, kind, numbers(segment, Width::Four));
        }
    }
    (narrow, (!fits).then_some(four))
}

/// Length for the comparison of RFC 6793 4.2.3: a set counts once, confederations do not count.
fn hops(path: &[u8], width: Width) -> usize {
    segments(path, width)
        .map(|(kind, segment)| match kind {
            SEQUENCE => segment.len() / width.octets(),
            SET => 1,
            _ => 0,
        })
        .sum()
}

/// Adds a segment; joins a sequence to one before it, as far as 255 numbers go.
fn push(path: &mut Vec<u8>, kind: u8, numbers: impl Iterator<Item = Asn>) {
    let mut open = if kind == SEQUENCE { last_sequence(path) } else { None };
    for asn in numbers {
        let at = match open {
            Some(at) if path[at + 1] < u8::MAX => at,
            _ => {
                path.extend_from_slice(&[kind, 0]);
                path.len() - 2
            }
        };
        open = Some(at);
        path[at + 1] += 1;
        path.extend_from_slice(&asn.0.to_be_bytes());
    }
}

fn last_sequence(path: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut last = None;
    for (kind, segment) in segments(path, Width::Four) {
        last = (kind == SEQUENCE).then_some(at);
        at += 2 + segment.len();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(kind: u8, numbers: &[u16]) -> Vec<u8> {
        let mut path = vec![kind, numbers.len() as u8];
        path.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        path
    }

    fn four(kind: u8, numbers: &[u32]) -> Vec<u8> {
        let mut path = vec![kind, numbers.len() as u8];
        path.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        path
    }

    #[test]
    fn the_front_of_the_path_completes_what_a_two_octet_neighbour_passed_through() {
        let path = two(SEQUENCE, &[64500, 23456, 23456]);
        assert_eq!(merge(&path, &four(SEQUENCE, &[70000, 70001])), four(SEQUENCE, &[64500, 70000, 70001]));
    }

    #[test]
    fn a_longer_four_octet_path_is_not_believed() {
        let path = two(SEQUENCE, &[64500]);
        assert_eq!(merge(&path, &four(SEQUENCE, &[70000, 70001])), four(SEQUENCE, &[64500]));
    }

    #[test]
    fn a_set_counts_once() {
        let path = [two(SEQUENCE, &[64500, 23456]), two(SET, &[1, 23456])].concat();
        let late = [four(SEQUENCE, &[70000]), four(SET, &[1, 70001])].concat();
        let merged = [four(SEQUENCE, &[64500, 70000]), four(SET, &[1, 70001])].concat();
        assert_eq!(merge(&path, &late), merged);
    }

    #[test]
    fn a_path_is_narrowed_and_merged_back() {
        let path = [four(SEQUENCE, &[64500, 70000, 3]), four(SET, &[70001, 5])].concat();
        let (narrow, late) = narrow(&path);
        assert_eq!(narrow, [two(SEQUENCE, &[64500, 23456, 3]), two(SET, &[23456, 5])].concat());
        assert_eq!(merge(&narrow, &late.expect("a number does not fit")), path);
        assert_eq!(super::narrow(&four(SEQUENCE, &[1, 2])).1, None);
    }

    #[test]
    fn paths_that_cannot_be_are_told() {
        assert!(is_well_formed(&[], Width::Four));
        assert!(is_well_formed(&four(SEQUENCE, &[1]), Width::Four));
        for (wrong, why) in [
            (vec![SEQUENCE, 2, 0, 0, 0, 1], "overruns"),
            (vec![SEQUENCE, 1, 0, 0, 0, 1, 9], "a byte is left"),
            (vec![SEQUENCE, 0], "empty segment"),
            (four(CONFED_SEQUENCE, &[1]), "confederation"),
            (four(9, &[1]), "unknown type"),
            (four(SEQUENCE, &[1, 0]), "AS 0"),
        ] {
            assert!(!is_well_formed(&wrong, Width::Four), "{why}");
        }
    }
}
