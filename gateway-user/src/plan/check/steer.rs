//! A mux's rules.

use super::super::model::{ConnectionKind, Draft, Steer, SteerMatch};
use super::super::path::Path;
use super::super::report::Problems;
use super::super::values::{Complaint, family, unicast};
use super::connections::not_provider;
use super::{World, good};
use std::collections::HashMap;
use std::net::IpAddr;

/// Checks all rules.
pub(super) fn check(draft: &Draft, world: &World<'_>, problems: &mut Problems) {
    let mut forward = HashMap::new();
    let mut back = HashMap::new();
    let mut tunnels = HashMap::new();
    if draft.steer.iter().any(|rule| rule.select == SteerMatch::Gre) {
        for (tenant, it) in draft.tenants.iter().enumerate() {
            for (number, connection) in it.connections.iter().enumerate() {
                if let ConnectionKind::Gre(gre) = &connection.kind {
                    tunnels.insert((gre.vip, gre.remote), (tenant, number));
                }
            }
        }
    }
    for (index, rule) in draft.steer.iter().enumerate() {
        let here = |key| Path::root().item("steer", index).key(key);
        addresses(rule, &here, problems);
        not_provider("VIP", rule.vip, world, || here("vip"), problems);
        if let Some(&first) = forward.get(&(rule.vip, rule.source, rule.select)) {
            let remedy = "keep one: a packet goes to one gateway";
            let complaint = Complaint::new("a rule above takes the same packets", remedy);
            problems.conflict(here("vip"), Path::root().item("steer", first), complaint);
            continue;
        }
        forward.insert((rule.vip, rule.source, rule.select), index);
        if let Some(first) = back.insert((rule.gateway, rule.source, rule.select), index) {
            let what = format!(
                "answers from the gateway {} to {} would belong to this rule and to another, with another VIP",
                rule.gateway, rule.source
            );
            let remedy = "send one of the two to another gateway, or to another address of this one";
            problems.conflict(here("gateway"), Path::root().item("steer", first), Complaint::new(what, remedy));
        }
        if rule.select == SteerMatch::Gre
            && let Some(&(tenant, number)) = tunnels.get(&(rule.vip, rule.source))
        {
            let what = format!("GRE from {} to {} ends in a connection of this gateway", rule.source, rule.vip);
            let complaint = Complaint::new(what, "remove the rule or the connection");
            problems.conflict(here("vip"), Path::connection(tenant, number), complaint);
        }
    }
}

fn addresses(rule: &Steer, here: &impl Fn(&'static str) -> Path, problems: &mut Problems) {
    let all: [(&'static str, IpAddr); 3] = [("vip", rule.vip), ("source", rule.source), ("gateway", rule.gateway)];
    let mut fine = true;
    for (key, address) in all {
        fine &= good(problems, unicast(address), || here(key));
    }
    if !fine {
        return;
    }
    for (key, address) in &all[1..] {
        if address.is_ipv4() != rule.vip.is_ipv4() {
            let what =
                format!("`{key}` {address} is {}, the VIP {} is {}", family(*address), rule.vip, family(rule.vip));
            let remedy = "write addresses of one family: only the destination is rewritten";
            problems.conflict(here(key), here("vip"), Complaint::new(what, remedy));
        } else if *address == rule.vip {
            let what = format!("`{key}` is the VIP itself");
            let remedy =
                if *key == "source" { "write the site's address" } else { "write the gateway's provider address" };
            problems.conflict(here(key), here("vip"), Complaint::new(what, remedy));
        }
    }
    if rule.source == rule.gateway {
        let complaint = Complaint::new("`gateway` is the site's own address", "write the gateway's provider address");
        problems.conflict(here("gateway"), here("source"), complaint);
    }
}
