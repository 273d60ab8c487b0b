//! Path MTUs to fabric peers, learned from ICMP errors (RFC 1191, RFC 8201). Those of connections are kept by the programs themselves.

use crate::api::clock;
use anyhow::Context;
use gateway_common::wire::{IPV4_MIN_PATH_MTU, IPV6_MIN_MTU};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

/// How long one is believed (RFC 1191 section 6.3, RFC 8201 section 4: ten minutes).
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How many are remembered: more remotes than a gateway has.
const MOST: usize = 100_000;

/// What was learned of each remote.
#[derive(Debug, Default)]
pub struct PathMtus {
    learned: HashMap<IpAddr, Learned>,
    /// Whether anything differs from what was last saved.
    changed: bool,
}

/// What was learned of one remote, as the next daemon finds it.
#[derive(Serialize, Deserialize)]
struct Saved {
    remote: IpAddr,
    mtu: u32,
    /// When it is forgotten: nanoseconds of `CLOCK_MONOTONIC`, which runs as long as the file system below /run lasts.
    until: u64,
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
        self.changed = true;
        mtu < known
    }

    /// Reads what an earlier daemon has learned. What cannot be read is learned again.
    pub fn load(state: &Path) -> Self {
        let (now, then) = (Instant::now(), clock::monotonic());
        let bytes = fs::read(path(state)).unwrap_or_default();
        let saved: Vec<Saved> = serde_json::from_slice(&bytes).unwrap_or_default();
        let fresh = saved.into_iter().filter_map(|Saved { remote, mtu, until }| {
            let left = Duration::from_nanos(until.saturating_sub(then)).min(LIFETIME);
            (!left.is_zero()).then(|| (remote, Learned { mtu, until: now + left }))
        });
        Self { learned: fresh.take(MOST).collect(), changed: false }
    }

    /// Writes what the next daemon is to know, if anything has changed.
    ///
    /// # Errors
    /// The file cannot be written; it is tried again with the next change.
    pub fn save(&mut self, state: &Path) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let (now, then) = (Instant::now(), clock::monotonic());
        let saved: Vec<Saved> = self
            .all()
            .map(|(remote, Learned { mtu, until })| {
                let left = u64::try_from(until.saturating_duration_since(now).as_nanos()).unwrap_or(u64::MAX);
                Saved { remote, mtu, until: then.saturating_add(left) }
            })
            .collect();
        let path = path(state);
        let fresh = path.with_extension("json.new");
        let write = || -> anyhow::Result<()> {
            fs::write(&fresh, serde_json::to_vec(&saved)?)?;
            Ok(fs::rename(&fresh, &path)?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what was saved.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(state: &Path) -> anyhow::Result<()> {
        match fs::remove_file(path(state)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("cannot remove the path MTUs"),
            _ => Ok(()),
        }
    }

    /// What is known of a remote.
    pub fn get(&self, remote: IpAddr, now: Instant) -> Option<u32> {
        self.learned.get(&remote).filter(|learned| now < learned.until).map(|learned| learned.mtu)
    }

    /// Forgets what is too old; whether anything was.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.learned.len();
        self.learned.retain(|_, learned| now < learned.until);
        let any = self.learned.len() != before;
        self.changed |= any;
        any
    }

    /// All that is known.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, Learned)> {
        self.learned.iter().map(|(&remote, &learned)| (remote, learned))
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("path-mtus.json")
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
    fn the_next_daemon_knows_it_for_as_long_as_this_one_would() {
        let state = tempfile::tempdir().expect("a directory");
        assert_eq!(PathMtus::load(state.path()).all().count(), 0);
        let (mut mtus, now) = (PathMtus::default(), Instant::now());
        mtus.learn(REMOTE, 1400, 1500, now);
        mtus.save(state.path()).expect("saved");
        let next = PathMtus::load(state.path());
        assert_eq!(next.get(REMOTE, now), Some(1400));
        assert_eq!(next.get(REMOTE, now + LIFETIME - Duration::from_secs(60)), Some(1400));
        assert_eq!(next.get(REMOTE, now + LIFETIME + Duration::from_secs(60)), None);
        fs::write(path(state.path()), "[{").expect("damaged");
        assert_eq!(PathMtus::load(state.path()).all().count(), 0);
        PathMtus::remove(state.path()).expect("removed");
        PathMtus::remove(state.path()).expect("twice");
        mtus.save(state.path()).expect("nothing has changed");
        assert!(!path(state.path()).exists());
        assert!(mtus.expire(now + LIFETIME));
        mtus.save(state.path()).expect("something has");
        assert_eq!(PathMtus::load(state.path()).all().count(), 0);
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
