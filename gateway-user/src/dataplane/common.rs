//! What two plans have in common: the first of two steps where there is no room for both of them at once.

use crate::plan::{Plan, Tenant};
use std::collections::{BTreeMap, HashSet};

/// The plan `new` without what `old` has otherwise or not at all, as far as that takes up room. What is in both goes on without a gap; what is in
/// `old` alone is gone afterwards, and its room free.
pub fn common(old: &Plan, new: &Plan) -> Plan {
    let before: BTreeMap<_, &Tenant> = old.tenants.iter().map(|tenant| (tenant.key(), tenant)).collect();
    let mut plan = new.clone();
    keep(&mut plan.tenants, |tenant| before.contains_key(&tenant.key()));
    for tenant in &mut plan.tenants {
        let Some(before) = before.get(&tenant.key()).copied() else { continue };
        let same_fabric =
            (old.pa_of(before), old.gateway.encapsulation) == (new.pa_of(before), new.gateway.encapsulation);
        let vms: HashSet<_> = before.vms.iter().collect();
        keep(&mut tenant.vms, |vm| same_fabric && vms.contains(vm));
        keep(&mut tenant.subnets, |subnet| before.subnets.contains(subnet));
        let connections: BTreeMap<&str, _> =
            before.connections.iter().map(|connection| (connection.name.as_str(), connection)).collect();
        keep(&mut tenant.connections, |connection| connections.get(connection.name.as_str()) == Some(&connection));
    }
    keep(&mut plan.steer, |rule| old.steer.contains(rule));
    plan
}

fn keep<T>(list: &mut Box<[T]>, wanted: impl FnMut(&T) -> bool) {
    let mut kept = std::mem::take(list).into_vec();
    kept.retain(wanted);
    *list = kept.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenant's name, its connections with their keys, and the last bytes of its VMs' addresses.
    type Named<'a> = (&'a str, &'a [(&'a str, u32)], &'a [u8]);

    fn plan(pa: &str, tenants: &[Named<'_>]) -> Plan {
        let mut text = format!(
            "port = [ {{ name = 'port0', role = 'both' }} ]\n[gateway]\nname = 'gw1'\nencapsulation = 'vxlan'\npa = ['{pa}']\n"
        );
        for (number, (name, connections, vms)) in tenants.iter().enumerate() {
            let vsid = 5001 + number;
            let vms: String = vms
                .iter()
                .map(|vm| {
                    format!("{{ ca = '10.1.0.{vm}', mac = '02:00:00:00:01:05', vsid = {vsid}, pa = '10.10.0.11' }}, ")
                })
                .collect();
            text += &format!(
                "[[tenant]]\nname = '{name}'\nsubnets = [ {{ vsid = {vsid}, prefix = '10.1.0.0/24' }} ]\nvms = [ {vms} ]\n"
            );
            for (name, key) in *connections {
                text += &format!(
                    "[[tenant.connection]]\nname = '{name}'\ntype = 'gre'\nvip = '198.51.100.10'\nremote = '203.0.113.20'\nkey = {key}\n"
                );
            }
        }
        crate::plan::parse(&text, "test").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    #[test]
    fn what_is_the_same_stays_and_everything_else_waits() {
        let old = plan("10.10.0.1", &[("a", &[("x", 1), ("y", 2)], &[5, 6]), ("b", &[("x", 3)], &[])]);
        let new = plan("10.10.0.1", &[("a", &[("x", 1), ("y", 9), ("z", 4)], &[6, 7]), ("c", &[("x", 5)], &[])]);
        assert_eq!(common(&old, &new), plan("10.10.0.1", &[("a", &[("x", 1)], &[6])]));
        assert_eq!(common(&old, &old), old);
    }

    #[test]
    fn vms_wait_where_the_gateway_itself_changes() {
        let (old, new) = (plan("10.10.0.1", &[("a", &[], &[5])]), plan("10.10.0.2", &[("a", &[], &[5])]));
        assert_eq!(common(&old, &new), plan("10.10.0.2", &[("a", &[], &[])]));
    }
}
