//! What would become of a route: the way through a peer's rules and policy, or through a policy alone. Nothing is changed, and no daemon is
//! needed where there is a plan.

use super::report::peer_name_of;
use super::routes::{put_communities, row};
use super::translate;
use crate::api::bgp::{
    BgpAttributesReport, BgpDirection, BgpGivenAttributes, BgpOrigin, BgpPolicyStepReport, BgpPolicyTest,
    BgpPolicyTestReport, BgpTestedRoute, BgpThrough,
};
use crate::api::protocol::{Failure, FailureCode};
use crate::plan::bgp::policy::BgpPolicy;
use crate::plan::{Plan, Tenant};
use bgp::Moment;
use bgp::attributes::{AsPath, Attributes, Origin};
use bgp::policy::{Trace, Verdict};
use bgp::rib::{NeighbourId, PathView, Rehearsal};
use bgp::speaker::{NeighborName, Speaker, Start};
use std::time::Duration;

/// Tests a route with the routers of a plan that nobody runs: without what peers have told.
///
/// # Errors
/// The question makes no sense, or names what the plan does not have.
pub fn of_plan(plan: &Plan, test: &BgpPolicyTest) -> Result<BgpPolicyTestReport, Failure> {
    let tenant = plan.tenants.iter().find(|tenant| tenant.key() == test.tenant);
    let with_router =
        tenant.and_then(|tenant| Some((tenant, translate::config(tenant, plan.gateway.routes_per_tenant)?)));
    let (tenant, config) = with_router.ok_or_else(|| {
        let message = format!("the tenant \"{}\" has no BGP router in the plan", test.tenant);
        Failure::new(FailureCode::NotFound, message).remedy("look at the tenant's [tenant.bgp] in the plan")
    })?;
    let speaker = Speaker::new(config, Start::Fresh, 0, Moment(0), &mut Vec::new());
    run(&speaker, Some(tenant), test)
}

/// Tests a route.
pub(super) fn run(
    speaker: &Speaker,
    tenant: Option<&Tenant>,
    test: &BgpPolicyTest,
) -> Result<BgpPolicyTestReport, Failure> {
    let source = test.from.as_deref().map(|name| id_of(speaker, name)).transpose()?;
    let (attributes, source) = match &test.route {
        BgpTestedRoute::Known => known(speaker, test, source)?,
        BgpTestedRoute::Given(given) => {
            let source = match &test.through {
                BgpThrough::Peer { name, direction: BgpDirection::In } => Some(id_of(speaker, name)?),
                _ => source,
            };
            (self::given(speaker, given, source)?, source.unwrap_or(NeighbourId::LOCAL))
        }
    };
    let mut report = BgpPolicyTestReport {
        tenant: test.tenant.clone(),
        prefix: test.prefix,
        peer: None,
        direction: None,
        permitted: false,
        why: String::new(),
        policy: None,
        steps: Vec::new(),
        before: told(test, &attributes),
        after: None,
    };
    match &test.through {
        BgpThrough::Policy(name) => {
            let policy = policies(tenant).find(|policy| policy.name.as_str() == *name);
            let policy =
                policy.and_then(|policy| policy.compiled().ok()).ok_or_else(|| no_policy(test, tenant, name))?;
            let trace = policy.explain(test.prefix, speaker.config().asn, &attributes);
            report.permitted = trace.verdict == Verdict::Permit;
            report.why = words(&trace);
            report.after = report.permitted.then(|| told(test, &trace.attributes));
            report.steps = steps(&trace);
            report.policy = Some(name.clone());
        }
        BgpThrough::Peer { name, direction } => {
            let peer = NeighborName::from(name.as_str());
            let rehearsed = match direction {
                BgpDirection::In => speaker.rehearse_import(&peer, test.prefix, &attributes),
                BgpDirection::Out => speaker.rehearse_export(&peer, test.prefix, &attributes, source),
            };
            let Rehearsal { policy, outcome } = rehearsed.ok_or_else(|| no_peer(speaker, name))?;
            report.peer = Some(name.clone());
            report.direction = Some(*direction);
            report.permitted = outcome.is_ok();
            report.why = match (&outcome, &policy) {
                // The policy's word is final where it denies; what stops a route afterwards has its own.
                (Err(_), Some((_, trace))) if trace.verdict == Verdict::Deny => words(trace),
                (Err(stopped), _) => stopped.to_string(),
                (Ok(_), Some((_, trace))) => words(trace),
                (Ok(_), None) => "there is no policy".to_owned(),
            };
            report.after = outcome.ok().map(|attributes| told(test, &attributes));
            if let Some((name, trace)) = policy {
                report.steps = steps(&trace);
                report.policy = Some(name);
            }
        }
    }
    Ok(report)
}

fn told(test: &BgpPolicyTest, attributes: &Attributes) -> BgpAttributesReport {
    (&row(test.prefix, String::new(), "", attributes, (false, Duration::ZERO))).into()
}

fn words(trace: &Trace) -> String {
    let verdict = match trace.verdict {
        Verdict::Permit => "permits",
        Verdict::Deny => "denies",
    };
    match trace.steps.last() {
        Some(step) if step.failed.is_none() => format!("statement {} matches and {verdict} it", step.statement),
        _ => format!("no statement matches, and the policy {verdict} what none does"),
    }
}

fn steps(trace: &Trace) -> Vec<BgpPolicyStepReport> {
    let step = |step: &bgp::policy::Step| BgpPolicyStepReport {
        statement: step.statement.clone(),
        matched: step.failed.is_none(),
        failed: step.failed.clone(),
    };
    trace.steps.iter().map(step).collect()
}

/// The attributes of a path that the router has, and who has told it.
fn known(
    speaker: &Speaker,
    test: &BgpPolicyTest,
    source: Option<NeighbourId>,
) -> Result<(Attributes, NeighbourId), Failure> {
    let source = match &test.through {
        BgpThrough::Peer { name, direction: BgpDirection::In } => Some(id_of(speaker, name)?),
        _ => source,
    };
    let rib = speaker.rib();
    let from_there = |path: &PathView| source.is_none_or(|source| path.neighbour == source);
    let path = rib.paths(test.prefix).into_iter().find(from_there).ok_or_else(|| {
        let from = source.map(|source| format!(" from {}", peer_name_of(speaker, source))).unwrap_or_default();
        let message = format!("no path to {}{from} is known to the router of \"{}\"", test.prefix, test.tenant);
        Failure::new(FailureCode::NotFound, message)
            .remedy("give the route's attributes instead of --known, or look at `gatewayctl bgp routes`")
    })?;
    Ok((rib.attributes().get(path.received.unwrap_or(path.attributes)), path.neighbour))
}

/// The attributes that were given, and what goes without saying of a route of `source`.
fn given(speaker: &Speaker, given: &BgpGivenAttributes, source: Option<NeighbourId>) -> Result<Attributes, Failure> {
    let settings = source.and_then(|source| speaker.rib().neighbour_settings(source));
    let from_outside = settings.filter(|settings| !settings.relation.is_internal());
    let usual_path = || from_outside.map(|settings| vec![settings.asn.0]).unwrap_or_default();
    let mut attributes = Attributes {
        as_path: AsPath::sequence(given.as_path.clone().unwrap_or_else(usual_path)),
        origin: match given.origin {
            BgpOrigin::Igp => Origin::Igp,
            BgpOrigin::Egp => Origin::Egp,
            BgpOrigin::Incomplete => Origin::Incomplete,
        },
        med: given.med,
        local_pref: given.local_preference,
        ..Attributes::default()
    };
    if let Some(address) = given.next_hop.or(settings.map(|settings| settings.address)) {
        attributes.next_hop = address.into();
    }
    put_communities(&given.communities, &mut attributes)?;
    Ok(attributes)
}

fn id_of(speaker: &Speaker, name: &str) -> Result<NeighbourId, Failure> {
    speaker.neighbor(&name.into()).map(|view| view.id).ok_or_else(|| no_peer(speaker, name))
}

fn no_peer(speaker: &Speaker, name: &str) -> Failure {
    let there: Vec<String> = speaker.neighbors().map(ToString::to_string).collect();
    Failure::new(FailureCode::NotFound, format!("the router has no peer \"{name}\"")).remedy(one_of(&there, "peers"))
}

fn policies(tenant: Option<&Tenant>) -> impl Iterator<Item = &BgpPolicy> {
    tenant.and_then(|tenant| tenant.bgp.as_ref()).into_iter().flat_map(|bgp| &bgp.policies)
}

fn no_policy(test: &BgpPolicyTest, tenant: Option<&Tenant>, name: &str) -> Failure {
    let there = policies(tenant).map(|policy| policy.name.to_string());
    let message = format!("the tenant \"{}\" has no policy \"{name}\"", test.tenant);
    Failure::new(FailureCode::NotFound, message).remedy(one_of(&there.collect::<Vec<_>>(), "policies"))
}

fn one_of(there: &[String], what: &str) -> String {
    if there.is_empty() { format!("it has no {what} at all") } else { format!("its {what}: {}", there.join(", ")) }
}
