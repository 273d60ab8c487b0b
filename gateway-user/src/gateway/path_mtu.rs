//! Path MTUs to fabric peers, learned from ICMP errors (RFC 1191, RFC 8201). Those of connections are kept by the programs themselves.

use gateway_common::wire::{IPV4_MIN_PATH_MTU, IPV6_MIN_MTU};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long one is believed (RFC 1191 section 6.3, RFC 8201 section 4: ten minutes).
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How many are remembered: more remotes than a gateway has.
const MOST: usize = 100_000;

/// What was learned of each remote.
#[derive(Debug, Default)]
pub struct PathMtus {
    learned: HashMap<IpAddr, Learned>,
}

/// What was learned of one remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The largest outer packet.
    pub mtu: u32,
    /// When it is forgotten.
    pub until: Instant,
}

impl PathMtus {
    /// Takes what an ICMP error said of a remote whose way has `limit` anyway. Whether that lowers anything.
    pub fn learn(&mut self, remote: IpAddr, mtu: u32, limit: u32, now: Instant) -> bool {
        // Nobody may make us cut packets to nothing: below the floor the floor is taken.
        let floor = if remote.is_ipv4() { IPV4_MIN_PATH_MTU } else { IPV6_MIN_MTU };
        let mtu = mtu.max(floor);
        let known = self.get(remote, now).unwrap_or(limit);
        if mtu > known || mtu >= limit || (self.learned.len() >= MOST && !self.learned.contains_key(&remote)) {
            return false;
        }
        self.learned.insert(remote, Learned { mtu, until: now + LIFETIME });
        mtu < known
    }

    /// What is known of a remote.
    pub fn get(&self, remote: IpAddr, now: Instant) -> Option<u32> {
        self.learned.get(&remote).filter(|learned| now < learned.until).map(|learned| learned.mtu)
    }

    /// Forgets what is too old; whether anything was.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.learned.len();
        self.learned.retain(|_, learned| now < learned.until);
        self.learned.len() != before
    }

    /// All that is known.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, Learned)> {
        self.learned.iter().map(|(&remote, &learned)| (remote, learned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 0, 11));

    #[test]
    fn it_is_lowered_kept_and_forgotten() {
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        assert!(!mtus.learn(REMOTE, 1500, 1500, now), "what the port takes anyway");
        assert!(mtus.learn(REMOTE, 1400, 1500, now));
        assert!(!mtus.learn(REMOTE, 1450, 1500, now), "only lower ones count");
        assert!(mtus.learn(REMOTE, 1300, 1500, now));
        assert_eq!(mtus.get(REMOTE, now), Some(1300));
        let later = now + LIFETIME;
        assert_eq!(mtus.get(REMOTE, later), None);
        assert!(mtus.expire(later) && !mtus.expire(later));
    }

    #[test]
    fn an_error_that_says_it_again_keeps_it() {
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        let half = now + LIFETIME / 2;
        assert!(mtus.learn(REMOTE, 1400, 1500, now));
        assert!(!mtus.learn(REMOTE, 1400, 1500, half), "nothing is lowered");
        assert_eq!(mtus.get(REMOTE, now + LIFETIME), Some(1400));
    }

    #[test]
    fn nobody_can_push_it_below_the_floor() {
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        mtus.learn(REMOTE, 68, 1500, now);
        assert_eq!(mtus.get(REMOTE, now), Some(IPV4_MIN_PATH_MTU));
        let six = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        mtus.learn(six, 0, 1500, now);
        assert_eq!(mtus.get(six, now), Some(IPV6_MIN_MTU));
    }
}
