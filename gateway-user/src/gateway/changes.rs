//! What differs between two plans, as a person names it.

use crate::plan::{Plan, Tenant};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Things that came, changed and went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those of the new plan only.
    pub added: Vec<String>,
    /// Those that are otherwise in the new plan.
    pub changed: Vec<String>,
    /// Those of the old plan only.
    pub removed: Vec<String>,
}

/// Compares two plans.
pub fn changes(old: &Plan, new: &Plan) -> Changes {
    let mut changes = Changes::default();
    if old.gateway != new.gateway {
        changes.changed.push(format!("gateway {}", new.gateway.name));
    }
    changes.compare(
        "port",
        named(&old.ports, |port| port.name.as_str().into()),
        named(&new.ports, |port| port.name.as_str().into()),
    );
    let (tenants_before, tenants_now) = (named(&old.tenants, Tenant::key), named(&new.tenants, Tenant::key));
    for name in tenants_before.keys().filter(|name| !tenants_now.contains_key(*name)) {
        changes.removed.push(format!("tenant {name}"));
    }
    for (name, tenant) in tenants_now {
        let Some(before) = tenants_before.get(&name) else {
            changes.added.push(format!("tenant {name}"));
            continue;
        };
        if itself(tenant) != itself(before) {
            changes.changed.push(format!("tenant {name}"));
        }
        let kind = format!("connection {name}/");
        let (then, now) = (
            named(&before.connections, |connection| connection.name.as_str().into()),
            named(&tenant.connections, |connection| connection.name.as_str().into()),
        );
        changes.compare_as(&kind, then, now);
    }
    changes.compare(
        "seat",
        named(&old.seats, |seat| seat.name.as_str().into()),
        named(&new.seats, |seat| seat.name.as_str().into()),
    );
    if old.pool != new.pool {
        changes.changed.push("pool".to_owned());
    }
    if old.tor != new.tor {
        changes.changed.push("BGP with the rack's routers".to_owned());
    }
    if old.steer != new.steer {
        changes.changed.push("steering rules".to_owned());
    }
    changes
}

/// What a tenant has beside its connections.
fn itself(tenant: &Tenant) -> impl PartialEq + '_ {
    let inside = (&tenant.gateway_addresses, &tenant.gateway_subnet, &tenant.subnets, &tenant.vms);
    (&tenant.encapsulation, inside, &tenant.gateway_vsid, &tenant.gateways)
}

fn named<'a, T>(list: &'a [T], name: impl Fn(&'a T) -> Cow<'a, str>) -> Named<'a, T> {
    list.iter().map(|item| (name(item), item)).collect()
}

/// By name.
type Named<'a, T> = BTreeMap<Cow<'a, str>, &'a T>;

impl Changes {
    fn compare<T: PartialEq>(&mut self, kind: &str, old: Named<'_, T>, new: Named<'_, T>) {
        self.compare_as(&format!("{kind} "), old, new);
    }

    fn compare_as<T: PartialEq>(&mut self, prefix: &str, old: Named<'_, T>, new: Named<'_, T>) {
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.removed.push(format!("{prefix}{name}"));
        }
        for (name, item) in new {
            match old.get(&name) {
                None => self.added.push(format!("{prefix}{name}")),
                Some(before) if *before != item => self.changed.push(format!("{prefix}{name}")),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        let head = r#"
            [gateway]
            name = "gw1"
            encapsulation = "vxlan"
            pa = ["10.10.0.1"]
            [[port]]
            name = "fab0"
            role = "both"
        "#;
        crate::plan::parse(&format!("{head}{text}"), "plan.toml").expect("a good plan")
    }

    const TENANT: &str = r#"
        [[tenant]]
        name = "contoso"
        gateway_addresses = ["10.1.255.1"]
    "#;
    const CONNECTION: &str = r#"
        [[tenant.connection]]
        name = "hq"
        type = "gre"
        vip = "198.51.100.10"
        remote = "203.0.113.20"
        key = 100
        routes = [ { destination = "10.2.0.0/16" } ]
    "#;

    #[test]
    fn connections_are_told_one_by_one() {
        let one = plan(&format!("{TENANT}{CONNECTION}"));
        let other =
            plan(&format!("{TENANT}{}", CONNECTION.replace("100", "101").replace("198.51.101.10", "198.51.100.10")));
        assert_eq!(changes(&one, &one), Changes::default());
        assert_eq!(changes(&one, &other).changed, ["connection contoso/hq"]);
        assert_eq!(changes(&plan(TENANT), &one).added, ["connection contoso/hq"]);
        assert_eq!(changes(&one, &plan(TENANT)).removed, ["connection contoso/hq"]);
        assert_eq!(changes(&plan(""), &one).added, ["tenant contoso"]);
    }
}
