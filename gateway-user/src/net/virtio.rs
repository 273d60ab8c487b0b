//! What a hypervisor does for a virtio_net card and lets the machine switch: the features that both agreed on.

use std::fs;

/// Bits of the virtio specification (version 1.3, section 5.1.3).
const GUEST_CSUM: usize = 1;
const CTRL_GUEST_OFFLOADS: usize = 2;
/// `GUEST_TSO4`, `GUEST_TSO6`, `GUEST_ECN`, `GUEST_UFO`, `GUEST_USO4`, `GUEST_USO6`.
const MERGING: [usize; 6] = [7, 8, 9, 10, 54, 55];

/// What the machine does not get as it was on the wire, and cannot switch; nothing for another driver's card.
pub fn fixed_offload(interface: &str) -> Option<&'static str> {
    let features = fs::read_to_string(format!("/sys/class/net/{interface}/device/features")).ok()?;
    fixed(&features)
}

/// The kernel writes the features as a digit each, the first one's first.
fn fixed(features: &str) -> Option<&'static str> {
    let has = |bit: usize| features.as_bytes().get(bit) == Some(&b'1');
    if has(CTRL_GUEST_OFFLOADS) {
        None
    } else if MERGING.into_iter().any(has) {
        Some("packets arrive merged")
    } else {
        has(GUEST_CSUM).then_some("packets arrive whose checksums are still to be computed")
    }
}

/// Queue pairs of a card: as `ethtool -l` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// In use.
    pub used: u32,
    /// All that it has.
    pub all: u32,
}

impl Queues {
    /// How many pairs the card would need so that each processor can send by one of its own, if it has too few: the driver sets those aside
    /// from the ones that the stack uses.
    pub fn too_few_for(self, processors: u32) -> Option<u32> {
        let needed = self.used.saturating_add(processors);
        (processors > 1 && needed > self.all).then_some(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features as the kernel writes them.
    fn with(bits: &[usize]) -> String {
        (0..64).map(|bit| if bits.contains(&bit) { '1' } else { '0' }).chain(['\n']).collect()
    }

    #[test]
    fn what_cannot_be_switched_is_told() {
        assert_eq!(fixed(&with(&[5, 15, 17])), None, "nothing is done for it");
        assert_eq!(fixed(&with(&[1, 2, 7, 8])), None, "it can be switched");
        assert_eq!(fixed(&with(&[1, 7])), Some("packets arrive merged"));
        assert_eq!(fixed(&with(&[54])), Some("packets arrive merged"));
        assert_eq!(fixed(&with(&[1])), Some("packets arrive whose checksums are still to be computed"));
        assert_eq!(fixed(""), None);
    }

    #[test]
    fn every_processor_wants_a_queue_beside_the_stacks() {
        assert_eq!(Queues { used: 1, all: 1 }.too_few_for(1), None, "nobody to wait for");
        assert_eq!(Queues { used: 1, all: 1 }.too_few_for(2), Some(3));
        assert_eq!(Queues { used: 2, all: 4 }.too_few_for(2), None);
        assert_eq!(Queues { used: 4, all: 4 }.too_few_for(4), Some(8));
    }
}
