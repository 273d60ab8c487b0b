//! The BFD sessions that watch peers (RFC 5882): asked for where a peer's settings say so, and told to its router when they fail.
//!
//! They are kept by another process, and go on while this daemon does not run. BGP does not wait for them to come up: only one that was up
//! and fails ends the session with the peer.

use super::socket::{Internal, Security};
use super::stream::RouterKey;
use crate::bfd::{self, BfdClient, Report, SessionKey, SessionOptions, Verdict, Watcher};
use crate::plan::BgpPeer;
use ::bfd::packet::ControlPlane;
use ::bfd::{Cause, Hops, Settings, State};
use bgp::session::Distance;
use bgp::speaker::{Bfd, NeighborName};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A session that watches a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    key: SessionKey,
    options: SessionOptions,
}

/// What lies between a peer and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// A link.
    Link,
    /// Routers, or a tunnel.
    Network,
}

impl Session {
    /// The session of a peer, if it is to have one.
    pub(super) fn of(peer: &BgpPeer, local: IpAddr, security: &Security, between: Between) -> Option<Self> {
        let timers = peer.bfd?.timers().ok()?;
        let hops = hops(security, between);
        let key = SessionKey { netns: None, hops, local, peer: peer.address };
        let options =
            SessionOptions { settings: Settings { timers, ..Settings::default() }, ..SessionOptions::default() };
        Some(Self { key, options })
    }

    /// The same, which fails where an interface has no XDP program: what the peer sends would reach nobody.
    pub(super) fn forwarded_by<'p>(mut self, interfaces: impl Iterator<Item = &'p str>) -> Self {
        self.options.forwarded_by = interfaces.map(str::to_owned).collect();
        self
    }

    /// The same within a network namespace.
    pub(super) fn within(mut self, netns: PathBuf) -> Self {
        self.key.netns = Some(netns);
        self
    }
}

/// How far away BFD takes a peer to be: as far as BGP does.
fn hops(security: &Security, between: Between) -> Hops {
    match (security.distance, security.internal) {
        (Distance::SingleHop, Internal::No) | (Distance::Security(1), _) => Hops::Single,
        (Distance::SingleHop, Internal::Yes) if between == Between::Link => Hops::Single,
        _ => Hops::Multiple,
    }
}

/// What a router is told of the session that watches one of its peers.
#[derive(Debug)]
pub(super) struct Heard {
    /// Whose peer.
    pub(super) router: RouterKey,
    /// Which.
    pub(super) neighbor: NeighborName,
    /// The session's state, if anybody keeps it.
    pub(super) state: Option<State>,
    /// It has just failed: what that is to the speaker, and to a person.
    pub(super) failed: Option<(Bfd, Cause)>,
}

#[derive(Debug)]
struct Watched {
    router: RouterKey,
    neighbor: NeighborName,
    options: SessionOptions,
    /// How often it went down, and whether it had failed, when it was last told; nothing was told before the first time.
    seen: Option<(u64, Verdict)>,
}

/// All sessions that watch peers.
#[derive(Debug)]
pub(super) struct Watch {
    client: BfdClient,
    watcher: Option<Watcher>,
    sessions: HashMap<SessionKey, Watched>,
}

impl Watch {
    /// Nothing is watched. The process that keeps the sessions listens in this directory.
    pub(super) fn new(state: &Path) -> Self {
        let client = BfdClient::start(bfd::client::Options::new(bfd::socket_in(state)));
        Self { client, watcher: None, sessions: HashMap::new() }
    }

    /// Has a router's peers be watched by these sessions and no others.
    pub(super) fn want(&mut self, router: RouterKey, wanted: Vec<(NeighborName, Session)>) {
        let wanted: HashMap<SessionKey, (NeighborName, SessionOptions)> =
            wanted.into_iter().map(|(neighbor, session)| (session.key, (neighbor, session.options))).collect();
        let watcher = self.watcher.get_or_insert_with(|| self.client.watcher());
        self.sessions.retain(|key, watched| {
            let stays = watched.router != router || wanted.contains_key(key);
            if !stays {
                watcher.remove(key);
            }
            stays
        });
        for (key, (neighbor, options)) in wanted {
            match self.sessions.get_mut(&key) {
                Some(watched) if watched.options == options => watched.neighbor = neighbor,
                Some(watched) => {
                    (watched.neighbor, watched.options) = (neighbor, options.clone());
                    watcher.add(key, options);
                }
                None => {
                    watcher.add(key.clone(), options.clone());
                    self.sessions.insert(key, Watched { router, neighbor, options, seen: None });
                }
            }
        }
    }

    /// The next session that is not as before. May be cancelled.
    pub(super) async fn next(&mut self) -> Report {
        match &mut self.watcher {
            Some(watcher) => watcher.next().await,
            None => std::future::pending().await,
        }
    }

    /// Who is to hear of it.
    pub(super) fn heard(&mut self, report: &Report) -> Option<Heard> {
        let watched = self.sessions.get_mut(&report.session)?;
        let verdict = report.verdict();
        let before = watched.seen.replace((report.downs, verdict));
        let failed = match (verdict, before) {
            // It may have come up and failed again between two reports.
            (Verdict::Failed(failure), Some((downs, last)))
                if !matches!(last, Verdict::Failed(_)) || report.downs > downs =>
            {
                let what = match failure.control_plane {
                    ControlPlane::Independent => Bfd::ForwardingDown,
                    ControlPlane::Shared => Bfd::Down,
                };
                Some((what, failure.cause))
            }
            // What had failed before we asked is no news.
            _ => None,
        };
        let state = report.status.as_ref().map(|status| status.state);
        Some(Heard { router: watched.router, neighbor: watched.neighbor.clone(), state, failed })
    }
}

/// The daemon ends; the sessions go on, and are claimed by the next one.
impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::bfd::packet::Diagnostic;
    use ::bfd::{Discriminator, Failure, Interval, Status};

    fn report(key: &SessionKey, state: State, failure: Option<ControlPlane>, downs: u64) -> Report {
        let status = Status {
            state,
            diagnostic: Diagnostic::NONE,
            discriminator: Discriminator::new(1).expect("not zero"),
            remote: None,
            transmit_interval: Interval::SLOW,
            detection_time: None,
            failure: failure.map(|control_plane| Failure { cause: Cause::Silence, control_plane }),
        };
        Report { status: Some(status), downs, ..Report::unknown(key.clone(), None) }
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_none_of_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut watch = Watch::new(directory.path());
        let local: IpAddr = [10, 9, 0, 1].into();
        let key = SessionKey { netns: None, hops: Hops::Single, local, peer: [10, 9, 0, 2].into() };
        let (router, neighbor) = (RouterKey(1), NeighborName::from("hq"));
        let watched = Watched { router, neighbor, options: SessionOptions::default(), seen: None };
        watch.sessions.insert(key.clone(), watched);
        let mut told = |state, failure, downs| {
            watch.heard(&report(&key, state, failure, downs)).and_then(|heard| heard.failed).map(|(what, _)| what)
        };
        let (shared, alone) = (Some(ControlPlane::Shared), Some(ControlPlane::Independent));
        assert_eq!(told(State::Down, shared, 3), None, "it had failed before this daemon began");
        assert_eq!(told(State::Up, None, 3), None);
        assert_eq!(told(State::Down, shared, 4), Some(Bfd::Down));
        assert_eq!(told(State::Down, shared, 4), None, "the same");
        assert_eq!(told(State::Down, alone, 5), Some(Bfd::ForwardingDown), "it was up in between");
        assert_eq!(told(State::AdminDown, None, 5), None);
        assert_eq!(told(State::Down, None, 5), None, "nothing is known");
    }

    #[test]
    fn bfd_takes_a_peer_to_be_as_far_away_as_bgp_does() {
        let security = |distance, internal| Security {
            remote: [10, 2, 0, 1].into(),
            authentication: bgp::session::Authentication::None,
            distance,
            internal,
        };
        for (distance, internal, between, expected) in [
            (Distance::SingleHop, Internal::No, Between::Network, Hops::Single),
            (Distance::Security(1), Internal::No, Between::Network, Hops::Single),
            (Distance::Security(2), Internal::No, Between::Network, Hops::Multiple),
            (Distance::MultiHop(2), Internal::No, Between::Link, Hops::Multiple),
            (Distance::SingleHop, Internal::Yes, Between::Link, Hops::Single),
            (Distance::SingleHop, Internal::Yes, Between::Network, Hops::Multiple),
        ] {
            assert_eq!(hops(&security(distance, internal), between), expected, "{distance:?} {internal:?} {between:?}");
        }
    }
}
