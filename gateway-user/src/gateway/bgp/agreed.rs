//! What a session came to, in words.

use bgp::number::Family;
use bgp::session::Negotiated;

/// The capabilities that both sides have, in the order of their numbers at IANA, with the family where they are a family's.
pub(super) fn capabilities(agreed: &Negotiated) -> Vec<String> {
    let families = || agreed.families.iter();
    let of = |what: &str, family: Family| format!("{what} {}", name(family));
    let there = |what: &str, is: bool| is.then(|| what.to_owned());
    let mut all: Vec<String> = families().map(|it| of("multiprotocol", it.family)).collect();
    all.extend(there("route-refresh", agreed.route_refresh));
    all.extend(there("extended-next-hop", agreed.extended_next_hop));
    all.extend(there("extended-messages", agreed.extended_message));
    if let Some(role) = agreed.role.filter(|_| agreed.role_agreed) {
        all.push(format!("role {}", role.name()));
    }
    if let Some(restart) = &agreed.restart {
        all.extend(restart.families.iter().map(|(family, _)| of("graceful-restart", *family)));
        all.extend(there("graceful-notifications", restart.notifications));
    }
    all.extend(there("four-octet-as", agreed.four_octet));
    for it in families() {
        all.extend(it.sends_paths.then(|| of("add-path-send", it.family)));
        all.extend(it.receives_paths.then(|| of("add-path-receive", it.family)));
    }
    all.extend(there("enhanced-route-refresh", agreed.enhanced_refresh));
    if let Some(restart) = &agreed.restart {
        all.extend(restart.long_lived.iter().map(|entry| of("long-lived-graceful-restart", entry.family)));
    }
    all
}

/// A family as the plan calls it.
pub(super) const fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}
