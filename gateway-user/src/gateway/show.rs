//! What the control socket's questions are answered: the agent's state, as [`View`] tells it.

use super::agent::Agent;
use crate::api::agent::{Shown, TraceKeys, TraceNames};
use crate::api::protocol::{Failure, Query};
use crate::api::view::{Daemon, View};
use std::time::Instant;

/// Answers a question.
pub(super) fn show(agent: &mut Agent, query: &Query) -> Result<Shown, Failure> {
    let daemon = daemon(agent);
    let view = view(agent, &daemon)?;
    match query {
        Query::Routes { tenant, prefix } => view.route_list(tenant, *prefix).map(Shown::Routes),
        query => view.show(query).map(Shown::Whole),
    }
}

/// The names of what a traced packet met.
pub(super) fn names(agent: &mut Agent, keys: &TraceKeys) -> Result<TraceNames, Failure> {
    let daemon = Daemon::default();
    Ok(view(agent, &daemon)?.trace_names(keys))
}

fn view<'a>(agent: &'a mut Agent, daemon: &'a Daemon) -> Result<View<'a>, Failure> {
    let (tables, learned, ids) = agent.dataplane.known().map_err(Failure::internal)?;
    let Agent { assignment, world, links, reader, .. } = agent;
    Ok(View { plan: &assignment.plan, world, links, ids, tables, learned, counts: reader, daemon })
}

/// What only the daemon knows of itself.
fn daemon(agent: &Agent) -> Daemon {
    let now = Instant::now();
    let path_mtus = agent.path_mtus.all();
    Daemon {
        uptime: agent.started.elapsed(),
        adopted: agent.adopted,
        plan: agent.plan_name.clone(),
        plans_applied: agent.plans_applied,
        traced: agent.traced.iter().copied().collect(),
        warnings: agent.warnings.iter().map(|(about, what)| format!("{about}: {what}")).collect(),
        slow_path: agent.slow.report(),
        seat_logs: agent.replicas.report(),
        path_mtus: path_mtus
            .map(|(remote, learned)| (remote, learned.mtu, learned.until.saturating_duration_since(now)))
            .collect(),
    }
}
