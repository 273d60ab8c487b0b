//! What clients and signals ask of the agent: to show, to apply a plan, to trace.

use super::agent::Agent;
use super::assignment::Assignment;
use super::{PlanOrigin, changes, notify, show};
use crate::api::agent::TraceTarget;
use crate::api::protocol::{Applied, Failure, FailureCode};
use crate::api::{Call, PlanSource};
use crate::dataplane::Tracing;
use crate::net::next_hops::Effect;
use std::time::Instant;

impl Agent {
    /// Reads the plan's file again.
    pub(super) fn reload(&mut self) {
        let PlanOrigin::File(path) = &self.options.plan else {
            tracing::info!("plans come from the controller: there is no file to read again");
            return;
        };
        notify("RELOADING=1");
        match self.apply(&PlanSource::Path(path.clone())) {
            Ok(applied) => tracing::info!(
                added = applied.added.len(),
                changed = applied.changed.len(),
                removed = applied.removed.len(),
                "the plan was applied"
            ),
            Err(failure) => {
                // A person reads this: the details are lines that point into the plan.
                tracing::error!("{failure}; nothing was changed\n{}", failure.details.join("\n"));
            }
        }
        notify("READY=1");
    }

    /// Applies a client's plan as a difference, or leaves everything as it is.
    fn apply(&mut self, source: &PlanSource) -> Result<Applied, Failure> {
        let (name, plan) = match source {
            PlanSource::Path(path) => (path.display().to_string(), Assignment::load(self.options.role, path)),
            PlanSource::Text { name, text } => (name.clone(), Assignment::parse(self.options.role, text, name)),
        };
        let assignment = plan.map_err(|errors| {
            let details = errors.to_string().lines().map(str::to_owned).collect();
            Failure::new(FailureCode::PlanInvalid, format!("the plan {name} is refused"))
                .details(details)
                .remedy("correct it, then apply it again; nothing was changed")
        })?;
        self.put_in_force(name, assignment)
    }

    /// Applies a plan as a difference, or leaves everything as it is.
    pub(super) fn put_in_force(&mut self, name: String, assignment: Assignment) -> Result<Applied, Failure> {
        let started = Instant::now();
        self.port_warnings
            .refuse_unfit(&assignment.plan, self.dataplane.pins())
            .map_err(|error| Failure::new(FailureCode::PlanInvalid, format!("{error:#}")))?;
        let changes = changes::changes(&self.assignment.plan, &assignment.plan);
        let old = std::mem::replace(&mut self.assignment, assignment);
        let result = self.settle_host().and_then(|()| self.settle_dataplane());
        match result {
            Ok(writes) => {
                self.bgp.configure(&self.assignment.plan);
                self.configure_seat_log();
                self.watch_seats();
                self.learn_of_added(&changes.added);
                self.configure_sentinel();
                self.plan_name = name;
                self.plans_applied += 1;
                self.trace();
                Ok(Applied {
                    added: changes.added,
                    changed: changes.changed,
                    removed: changes.removed,
                    table_writes: writes,
                    microseconds: started.elapsed().as_micros() as u64,
                    warnings: self.warnings.iter().map(|(about, what)| format!("{about}: {what}")).collect(),
                })
            }
            Err(error) => {
                self.assignment = old;
                if let Err(again) = self.settle_host().and_then(|()| self.settle_dataplane()) {
                    tracing::error!(
                        error = format!("{again:#}"),
                        "going back to the plan of before failed, too; trying again"
                    );
                    self.pending.add(Effect::Resync);
                }
                Err(Failure::new(FailureCode::Internal, format!("{error:#}")).remedy("the plan of before is in force"))
            }
        }
    }

    /// Answers a client.
    pub(super) fn answer(&mut self, call: Call) {
        match call {
            Call::Show(query, reply) if query.is_about_bgp() => self.bgp.show(query, reply),
            Call::Show(query, reply) => reply.send(show::show(self, &query)),
            Call::Apply(source, reply) => reply.send(match &self.options.plan {
                PlanOrigin::File(_) => self.apply(&source),
                PlanOrigin::Controller(_) => {
                    let message = "this gateway takes its plans from the controller";
                    Err(Failure::new(FailureCode::BadRequest, message)
                        .remedy("change the resources there: `gatewayctl apply -f` with the controller's address"))
                }
            }),
            Call::TraceTarget { tenant, connection, reply } => {
                reply.send(self.trace_target(&tenant, connection.as_deref()))
            }
            Call::TraceNames(keys, reply) => reply.send(show::names(self, &keys)),
        }
    }

    fn trace_target(&self, tenant: &str, connection: Option<&str>) -> Result<TraceTarget, Failure> {
        let ids = self.dataplane.ids();
        let number = ids.tenant_id(tenant).ok_or_else(|| Failure::not_found("tenant", tenant))?;
        let connection = connection
            .map(|name| ids.connection_id(tenant, name).ok_or_else(|| Failure::not_found("connection", name)))
            .transpose()?;
        Ok(TraceTarget { tenant: number, connection })
    }

    /// Marks the tenants that somebody traces, and no others.
    pub(super) fn trace(&mut self) {
        let wanted = self.tracers.wanted();
        for (tenants, tracing) in [(&wanted, Tracing::On), (&self.traced, Tracing::Off)] {
            let other = if tracing == Tracing::On { &self.traced } else { &wanted };
            for tenant in tenants.difference(other) {
                let Some(name) = self.dataplane.ids().tenant_name(*tenant).map(str::to_owned) else { continue };
                if let Err(error) = self.dataplane.trace(&name, tracing) {
                    tracing::warn!(tenant = name, %error, "the tenant's tracing cannot be switched");
                }
            }
        }
        self.traced = wanted;
    }
}
