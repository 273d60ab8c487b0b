//! What is made of the key that two gateways have in common.

use super::configuration::PairKey;
use gateway_common::siphash::Key;

/// The key of the probes with which one gateway of a pair, which has this number, observes the other, and of what it claims.
pub fn probe_key(pair: &PairKey, observer: u16) -> Key {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair.bytes());
    let tag = ring::hmac::sign(&key, &[b"probes".as_slice(), &observer.to_be_bytes()].concat());
    let number = |at: usize| tag.as_ref()[at..at + 8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    Key([number(0), number(8)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observer_of_each_pair_has_a_key_of_its_own() {
        let [one, other] = [1, 2].map(|byte| PairKey::new([byte; 32]));
        let keys = [probe_key(&one, 1), probe_key(&one, 2), probe_key(&other, 1)];
        assert_eq!(keys[0], probe_key(&one, 1));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }
}
