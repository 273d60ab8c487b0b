//! What a rehearsal says is what then happens, and it changes nothing.

use super::lab::{Lab, facts, neighbour, prefix, route, settings};
use crate::attributes::Community;
use crate::policy::{Action, Condition, Policy, PrefixList, PrefixPattern, Statement, Verdict};
use crate::rib::{Refusal, Rejection, Relation, Stopped};
use std::sync::Arc;

fn statement(name: &str, net: &str, verdict: Verdict, actions: Vec<Action>) -> Statement {
    let pattern = PrefixPattern::new(prefix(net), prefix(net).prefix_len(), 32).expect("a pattern");
    let conditions = vec![Condition::Prefix(PrefixList::new([pattern]))];
    Statement { name: name.to_owned(), conditions, verdict, actions }
}

fn policy() -> Arc<Policy> {
    let statements = vec![
        statement("no", "10.1.0.0/16", Verdict::Deny, Vec::new()),
        statement(
            "yes",
            "10.0.0.0/8",
            Verdict::Permit,
            vec![Action::LocalPref(50), Action::Med(crate::policy::MedChange::Set(7))],
        ),
    ];
    Arc::new(Policy::new("p", statements, Verdict::Deny).expect("it makes sense"))
}

#[test]
fn a_rehearsed_import_is_what_an_announcement_comes_to() {
    let mut lab = Lab::new(settings());
    let mut one = neighbour(1, Relation::External);
    one.import = Some(policy());
    let id = lab.add(one);
    let attributes = route(1, &[65001]);
    for net in ["10.1.2.0/24", "10.2.0.0/16", "11.0.0.0/8"] {
        let said = lab.rib.rehearse_import(id, prefix(net), &attributes).expect("it is there");
        assert_eq!(lab.rib.totals().paths, 0, "nothing has changed");
        lab.announce(id, net, &attributes);
        let taken = lab.rib.best(prefix(net)).map(|id| lab.rib.attributes().get(id));
        assert_eq!(said.outcome.clone().ok(), taken, "{net}: {said:?}");
        lab.withdraw(id, net);
        lab.deliver();
    }
    let looped = lab.rib.rehearse_import(id, prefix("10.2.0.0/16"), &route(1, &[65001, 65000])).expect("it is there");
    assert_eq!((looped.policy, looped.outcome), (None, Err(Stopped::In(Rejection::OwnAsn))));
    let denied = lab.rib.rehearse_import(id, prefix("10.1.0.0/16"), &attributes).expect("it is there");
    let (name, trace) = denied.policy.expect("it came to the policy");
    assert_eq!((name.as_str(), trace.steps.len(), trace.steps[0].failed.as_deref()), ("p", 1, None));
    lab.clear();
}

#[test]
fn a_rehearsed_export_is_what_the_neighbour_is_told() {
    let mut lab = Lab::new(settings());
    let from = lab.add(neighbour(1, Relation::External));
    let mut to = neighbour(2, Relation::External);
    to.export = Some(policy());
    let to = lab.add(to);
    let attributes = route(1, &[65001]);
    for net in ["10.1.2.0/24", "10.2.0.0/16"] {
        let said = lab.rib.rehearse_export(to, &facts(2), prefix(net), &attributes, from).expect("it is there");
        lab.announce(from, net, &attributes);
        let kept = lab.rib.best(prefix(net)).map(|id| lab.rib.attributes().get(id)).expect("it was taken");
        assert_eq!(kept, attributes);
        assert_eq!(said.outcome.ok(), lab.told(to, net), "{net}");
    }
    let back = lab.rib.rehearse_export(from, &facts(1), prefix("10.2.0.0/16"), &attributes, from).expect("it is there");
    assert_eq!(back.outcome, Err(Stopped::Out(Refusal::CameFromThere)));
    let mut inside = route(1, &[65001]);
    inside.communities.push(Community::NO_EXPORT);
    let kept_in = lab.rib.rehearse_export(to, &facts(2), prefix("10.2.0.0/16"), &inside, from).expect("it is there");
    assert_eq!((kept_in.policy, kept_in.outcome), (None, Err(Stopped::Out(Refusal::NoExport))));
    lab.clear();
}

#[test]
fn pages_are_the_whole_table() {
    let mut lab = Lab::new(settings());
    let id = lab.add(neighbour(1, Relation::External));
    for number in 0..10 {
        lab.announce(id, &format!("10.{number}.0.0/16"), &route(1, &[65001]));
    }
    lab.withdraw(id, "10.3.0.0/16");
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let (prefixes, after) = lab.rib.page(from, 4);
        assert!(prefixes.len() <= 4);
        found.extend(prefixes);
        next = after;
    }
    let mut all: Vec<_> = lab.rib.prefixes().collect();
    found.sort();
    all.sort();
    assert_eq!(found, all);
    assert_eq!(found.len(), 9);
    lab.clear();
}
