//! What an agent has to report, kept until a controller has it. Only what is different since then is sent.

use super::protocol::{BootId, Extent, Load, PeerState, Position, Problem, RackSession, Report, SeatNews, TenantState};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Takes what is to be reported. Cheap to clone; the latest word on a thing is what is sent.
#[derive(Clone, Debug, Default)]
pub struct Reporter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    position: Option<Position>,
    /// About the plan, from the link itself.
    plan: Vec<Problem>,
    /// Tenants whose documents are not in the plan.
    refused: BTreeMap<String, Problem>,
    /// From whoever does the plan.
    own: Vec<Problem>,
    unreachable: BTreeMap<IpAddr, String>,
    tenants: BTreeMap<String, TenantState>,
    /// Peers, by tenant.
    peers: BTreeMap<String, BTreeMap<String, PeerState>>,
    machines: Option<Load>,
    rack: Vec<RackSession>,
    seats: BTreeMap<String, SeatNews>,
}

impl State {
    /// Tenants with what is wrong about their documents.
    fn tenants(&self) -> BTreeMap<String, TenantState> {
        let mut tenants = self.tenants.clone();
        for (name, problem) in &self.refused {
            tenants.entry(name.clone()).or_default().problems.push(problem.clone());
        }
        for (name, peers) in &self.peers {
            if let Some(state) = tenants.get_mut(name) {
                state.peers.clone_from(peers);
            }
        }
        tenants
    }
}

impl Reporter {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.clone();
        change(&mut state);
        if *state != before {
            self.0.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the agent as a whole: all of it.
    pub fn problems(&self, problems: Vec<Problem>) {
        self.change(|state| state.own = problems);
    }

    /// Addresses that no packet can be sent to: all of them.
    pub fn unreachable(&self, unreachable: BTreeMap<IpAddr, String>) {
        self.change(|state| state.unreachable = unreachable);
    }

    /// How tenants fare: all of them.
    pub fn tenants(&self, tenants: BTreeMap<String, TenantState>) {
        self.change(|state| state.tenants = tenants);
    }

    /// How the peers of tenants' BGP routers fare, by tenant: all of them.
    pub fn peers(&self, peers: BTreeMap<String, BTreeMap<String, PeerState>>) {
        self.change(|state| state.peers = peers);
    }

    /// What the machines of a compute host carry, all together.
    pub fn machines(&self, load: Load) {
        self.change(|state| state.machines = Some(load));
    }

    /// How a gateway's sessions with the rack's routers are: all of them.
    pub fn rack(&self, sessions: Vec<RackSession>) {
        self.change(|state| state.rack = sessions);
    }

    /// How the pool's seats are: all of them.
    pub fn seats(&self, seats: BTreeMap<String, SeatNews>) {
        self.change(|state| state.seats = seats);
    }

    /// A plan is in force, as far as it goes.
    pub(super) fn in_force(&self, position: Position, refused: BTreeMap<String, Problem>) {
        self.change(|state| {
            state.position = Some(position);
            state.plan.clear();
            state.refused = refused;
        });
    }

    /// A plan is not in force.
    pub(super) fn not_in_force(&self, problem: Problem) {
        self.change(|state| state.plan = vec![problem]);
    }

    /// The plan that is in force.
    pub(super) fn position(&self) -> Option<Position> {
        self.lock().position
    }

    /// Waits until there is something else to report.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

/// What one controller has been told on one connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    tenants: Option<BTreeMap<String, TenantState>>,
}

impl Told {
    /// What is to be told, and what it will know then.
    pub(super) fn next(&self, reporter: &Reporter, boot: &BootId, sequence: u64) -> (Report, Self) {
        let state = reporter.lock().clone();
        let tenants = state.tenants();
        let mut report = Report {
            boot: boot.clone(),
            sequence,
            extent: Extent::Whole,
            position: state.position,
            problems: state.plan.into_iter().chain(state.own).collect(),
            unreachable: state.unreachable,
            machines: state.machines,
            rack: state.rack,
            seats: state.seats,
            ..Report::default()
        };
        match &self.tenants {
            None => report.tenants = tenants.clone(),
            Some(before) => {
                report.extent = Extent::Changes;
                let differs = |(name, state): &(&String, &TenantState)| before.get(*name) != Some(state);
                report.tenants =
                    tenants.iter().filter(differs).map(|(name, state)| (name.clone(), state.clone())).collect();
                report.removed = before.keys().filter(|name| !tenants.contains_key(*name)).cloned().collect();
            }
        }
        (report, Self { tenants: Some(tenants) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::{ConnectionState, LinkState};

    fn tenant(state: LinkState) -> TenantState {
        let connection = ConnectionState { state, ..ConnectionState::default() };
        TenantState { connections: [("hq".to_owned(), connection)].into(), ..TenantState::default() }
    }

    #[test]
    fn the_first_report_is_whole_and_the_others_tell_what_is_different() {
        let (reporter, boot) = (Reporter::default(), BootId::default());
        let up = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), tenant(LinkState::Up))).collect();
        reporter.tenants(up(&["a", "b", "c"]));
        let (first, told) = Told::default().next(&reporter, &boot, 1);
        assert_eq!((first.extent, first.tenants.len()), (Extent::Whole, 3));
        let mut tenants: BTreeMap<String, TenantState> = up(&["a", "b"]);
        tenants.insert("b".to_owned(), tenant(LinkState::Unresolved));
        reporter.tenants(tenants);
        let (second, told) = told.next(&reporter, &boot, 2);
        assert_eq!((second.extent, second.removed), (Extent::Changes, vec!["c".to_owned()]));
        assert_eq!(second.tenants.keys().collect::<Vec<_>>(), ["b"]);
        let problem = Problem { about: "tenant d".to_owned(), message: "it cannot be read".to_owned() };
        reporter.in_force(Position { epoch: 1, revision: 2 }, [("d".to_owned(), problem.clone())].into());
        let (third, _) = told.next(&reporter, &boot, 3);
        assert_eq!(third.tenants["d"].problems, [problem]);
        assert_eq!(third.position, Some(Position { epoch: 1, revision: 2 }));
        // A report that was lost is told again with the next, which is made of what is known to have come.
        assert!(told.next(&reporter, &boot, 4).0.tenants.contains_key("d"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_word_again_is_no_news() {
        let reporter = Reporter::default();
        let state: BTreeMap<String, TenantState> = [("a".to_owned(), tenant(LinkState::Up))].into();
        reporter.tenants(state.clone());
        reporter.changed().await;
        reporter.tenants(state);
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), reporter.changed());
        assert!(waiting.await.is_err());
    }
}
