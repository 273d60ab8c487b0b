//! What was chosen for the last plan, so that a change costs what has changed and not what there is.

use super::routes::Chosen;
use crate::plan::{Plan, Tenant};
use gateway_common::{ConnectionId, TenantId};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The last plan, and what was chosen for its tenants. Good only with the same numbers, and only right after.
#[derive(Default)]
pub(super) struct Memory {
    plan: Option<Arc<Plan>>,
    tenants: HashMap<TenantId, Remembered>,
}

/// What was chosen for a tenant, and what of the world it depends on.
#[derive(Clone)]
pub(super) struct Remembered {
    /// Where the tenant stood in the plan.
    pub(super) index: usize,
    /// Who was known on its VLANs.
    pub(super) neighbours: Vec<(ConnectionId, IpAddr)>,
    /// The choice.
    pub(super) chosen: Chosen,
}

impl Memory {
    pub(super) fn new(plan: &Arc<Plan>, tenants: HashMap<TenantId, Remembered>) -> Self {
        Self { plan: Some(Arc::clone(plan)), tenants }
    }

    /// The last plan.
    pub(super) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.clone()
    }

    /// What was chosen for a tenant of a plan, if all that it depends on is as it was.
    pub(super) fn of(
        &self,
        id: TenantId,
        (now, tenant): (&Plan, &Tenant),
        neighbours: &[(ConnectionId, IpAddr)],
    ) -> Option<&Chosen> {
        let (plan, remembered) = (self.plan.as_ref()?, self.tenants.get(&id)?);
        let before = plan.tenants.get(remembered.index)?;
        let same = (&plan.gateway, before, plan.pa_of(before)) == (&now.gateway, tenant, now.pa_of(tenant));
        (same && remembered.neighbours == neighbours).then_some(&remembered.chosen)
    }
}
