//! What people call the kinds of resources.

use crate::controller::resources::Kind;

/// The names of a kind: its collection's, the singular, and others.
pub struct Names {
    /// The kind.
    pub kind: Kind,
    /// What a single one is called.
    pub singular: &'static str,
    /// What else it may be called, short or long.
    pub others: &'static [&'static str],
}

const fn names(kind: Kind, singular: &'static str, others: &'static [&'static str]) -> Names {
    Names { kind, singular, others }
}

/// All kinds. Where two kinds share a collection's name, the embedded one has a longer name too.
static NAMES: &[Names] = &[
    names(Kind::Credential, "credential", &["cred"]),
    names(Kind::LogicalNetwork, "logicalNetwork", &["ln"]),
    names(Kind::LogicalSubnet, "logicalSubnet", &["logicalSubnets", "ls"]),
    names(Kind::IpPool, "ipPool", &[]),
    names(Kind::MacPool, "macPool", &[]),
    names(Kind::PublicIpAddress, "publicIPAddress", &["publicIP", "publicIPs", "pip"]),
    names(Kind::Server, "server", &["host", "hosts"]),
    names(Kind::ServerInterface, "serverInterface", &["serverInterfaces"]),
    names(Kind::VirtualServer, "virtualServer", &["vs"]),
    names(Kind::VirtualNetworkManager, "virtualNetworkManager", &[]),
    names(Kind::VirtualNetwork, "virtualNetwork", &["vnet", "vnets", "vn"]),
    names(Kind::VirtualSubnet, "virtualSubnet", &["virtualSubnets", "subnet"]),
    names(Kind::NetworkInterface, "networkInterface", &["nic", "nics"]),
    names(Kind::IpConfiguration, "ipConfiguration", &[]),
    names(Kind::GatewayPool, "gatewayPool", &["pool", "pools"]),
    names(Kind::Gateway, "gateway", &["gw", "gws"]),
    names(Kind::VirtualGateway, "virtualGateway", &["tenant", "tenants", "vg", "vgs"]),
    names(Kind::NetworkConnection, "networkConnection", &["connection", "connections", "nc"]),
    names(Kind::BgpRouter, "bgpRouter", &["router", "routers"]),
    names(Kind::BgpPeer, "bgpPeer", &["peer", "peers"]),
    names(Kind::PolicyMap, "policyMap", &[]),
    names(Kind::LoadBalancerManager, "loadBalancerManager", &["lbm"]),
    names(Kind::LoadBalancerMux, "loadBalancerMux", &["mux", "muxes"]),
    names(Kind::AuditingSettings, "auditingSetting", &["auditing"]),
];

/// The names of a kind.
pub fn of(kind: Kind) -> Option<&'static Names> {
    NAMES.iter().find(|names| names.kind == kind)
}

fn is_called(kind: Kind, name: &str) -> bool {
    let same = |known: &str| known.eq_ignore_ascii_case(name);
    same(kind.info().collection)
        || of(kind).is_some_and(|names| same(names.singular) || names.others.iter().any(|other| same(other)))
}

/// The kind that is called so, among the children of one.
pub fn child(parent: Kind, name: &str) -> Option<Kind> {
    Kind::children_of(Some(parent)).find(|kind| is_called(*kind, name))
}

/// The kind that is called so. Roots come before embedded kinds of the same name.
pub fn named(name: &str) -> Option<Kind> {
    let embedded = || Kind::all().filter(|kind| kind.info().parent.is_some());
    // A name of its own is worth more than the collection's, which several kinds may have.
    let own = |kind: &Kind| of(*kind).is_some_and(|names| is_own(names, name));
    Kind::children_of(None)
        .find(|kind| is_called(*kind, name))
        .or_else(|| embedded().find(own))
        .or_else(|| embedded().find(|kind| is_called(*kind, name)))
}

fn is_own(names: &Names, name: &str) -> bool {
    names.singular.eq_ignore_ascii_case(name) || names.others.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// What a person may write, for a message.
pub fn known() -> String {
    let all: Vec<&str> = Kind::all().map(|kind| kind.info().collection).collect();
    let mut distinct: Vec<&str> = Vec::new();
    for name in all {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_names_and_they_lead_to_it() {
        for kind in Kind::all() {
            let names = of(kind).expect("names");
            assert_eq!(named(names.singular), Some(kind), "{}", names.singular);
            for other in names.others {
                assert_eq!(named(other), Some(kind), "{other}");
            }
        }
    }

    #[test]
    fn no_two_kinds_share_a_name_of_their_own() {
        let mut all: Vec<String> = NAMES
            .iter()
            .flat_map(|names| [names.singular].into_iter().chain(names.others.iter().copied()))
            .map(str::to_ascii_lowercase)
            .collect();
        all.sort();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }

    #[test]
    fn a_collections_name_means_the_root_and_below_another_its_child() {
        assert_eq!(named("networkinterfaces"), Some(Kind::NetworkInterface));
        assert_eq!(child(Kind::Server, "networkInterfaces"), Some(Kind::ServerInterface));
        assert_eq!(child(Kind::LogicalNetwork, "subnets"), Some(Kind::LogicalSubnet));
        assert_eq!(child(Kind::VirtualGateway, "connections"), Some(Kind::NetworkConnection));
        assert_eq!(child(Kind::VirtualGateway, "gateways"), None);
        assert_eq!(named("gizmos"), None);
    }
}
