//! How to look closer at the running cloud, from another terminal.

use super::{Scene, shown};

/// What can be pasted into another terminal to see more.
pub fn text(scene: &Scene) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let own = std::env::current_exe().unwrap_or_else(|_| "lab".into());
    let own = own.strip_prefix(here).unwrap_or(&own).display();
    let members = &scene.operated.cloud.tenants[0];
    let tenant = members.tenant.name;
    let gateway = scene.plans.gateway_of(tenant).unwrap_or_else(|| scene.operated.cloud.gateways[0].name().to_owned());
    // On a gateway with seats a tenant is there once for each seat.
    let instance = scene.plans.instance_of(tenant).unwrap_or_else(|| tenant.to_owned());
    let machine = members.vms[0].name();
    let [site, other_site] = [&members.hq, &members.dc].map(|site| site.name());
    let groups: [(String, &str, &[String]); 7] = [
        (
            "The controller:".to_owned(),
            "controller",
            &[
                format!("gatewayctl where tenant/{tenant}"),
                format!("gatewayctl explain connection/{tenant}/hq"),
                "gatewayctl get networkConnections -o wide".to_owned(),
                "gatewayctl watch".to_owned(),
            ],
        ),
        (
            format!("Change {}, then:", shown(tenant).display()),
            "controller",
            &[format!("gatewayctl apply -f {}", shown(tenant).display())],
        ),
        (
            format!("As {tenant}'s own user, for whom nobody else is there:"),
            "controller",
            &[format!("gatewayctl --context {tenant} get virtualGateways")],
        ),
        (
            format!("The gateway that carries {tenant}:"),
            &gateway,
            &[
                "gatewayctl seats".to_owned(),
                "gatewayctl history".to_owned(),
                "gatewayctl top".to_owned(),
                format!("gatewayctl trace --tenant {instance} --dst 10.2.0.1"),
                "gatewayctl bgp neighbors".to_owned(),
                format!("gatewayctl bgp routes --tenant {instance}"),
                format!("gatewayctl bgp explain {} --tenant {instance}", crate::cloud::LEARNED_HQ.0),
            ],
        ),
        (
            format!("The routers of {tenant}'s sites, which are BIRD and FRR:"),
            site,
            &["birdc -s /run/bird.ctl show route".to_owned()],
        ),
        (String::new(), other_site, &["vtysh --vty_socket /run/frr -d bgpd -c 'show bgp ipv4 unicast'".to_owned()]),
        (
            "One of its machines, and the names of all machines:".to_owned(),
            machine,
            &["traceroute -n 10.2.0.1".to_owned()],
        ),
    ];
    let mut text = String::from("To look closer, paste a line into another terminal.\n");
    for (heading, machine, commands) in groups {
        if !heading.is_empty() {
            text += &format!("{heading}\n");
        }
        text.extend(commands.iter().map(|command| format!("  {own} enter {machine} {command}\n")));
    }
    text + &format!("  {own} enter\n")
}
