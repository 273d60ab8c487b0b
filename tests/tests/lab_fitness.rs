//! What would mislead the programs is switched or refused, and what was switched is put back.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gateway_user::net::fitness::{self, PortReport, Verdict};
use lab::gateway::{Gateway, PLAN};
use lab::link::{End, cable};
use lab::node::{Node, Processes};

mod common;
use common::on;

/// A plan with these site ports, and a tenant with an address of its own.
fn plan(ports: &[&str]) -> String {
    let ports: String = ports.iter().map(|name| format!("[[port]]\nname = \"{name}\"\nrole = \"site\"\n")).collect();
    format!(
        "[gateway]\nname = \"gw1\"\nencapsulation = \"vxlan\"\npa = [\"10.10.0.1\"]\n[[port]]\nname = \"fab0\"\nrole = \"fabric\"\n\
         {ports}[[tenant]]\nname = \"contoso\"\ngateway_addresses = [\"10.1.255.1\"]\n"
    )
}

/// A machine with a port to the fabric, and the switch at its other end.
fn machine() -> Result<[Arc<Node>; 2]> {
    let processes = Processes::new()?;
    let (gateway, fabric) = (Node::new("gateway", &processes)?, Node::new("fabric", &processes)?);
    cable(1500, End::new(&gateway, "fab0"), End::new(&fabric, "fab0"))?;
    Ok([gateway, fabric])
}

fn offloads(node: &Node) -> Result<String> {
    node.sh("ethtool -k fab0 | grep -E '^(rx-vlan-offload|generic-receive-offload)'")
}

#[test]
fn each_kind_of_unfit_port_is_refused_with_its_remedy() -> Result<()> {
    let [gateway, _fabric] = machine()?;
    gateway.ip("link add br0 up type bridge\n\
         link add member0 up type veth peer name far0\nlink set member0 master br0\n\
         link add large0 mtu 9000 up type veth peer name far1\n\
         link add quiet0 type veth peer name far2\n\
         link add over0 up link large0 type macvlan\n")?;
    let plan = gateway_user::plan::parse(&plan(&["br0", "member0", "large0", "quiet0", "over0", "none0"]), PLAN)?;
    let reports = on(&gateway, || fitness::inspect(&plan, &None))?;
    let reports: BTreeMap<String, PortReport> =
        reports.into_iter().map(|report| (report.name.clone(), report)).collect();
    for (port, verdict, words) in [
        ("br0", Verdict::Refused, "is a bridge"),
        ("member0", Verdict::Refused, "`ip link set member0 nomaster`"),
        ("large0", Verdict::Refused, "`ip link set large0 mtu"),
        ("quiet0", Verdict::Warning, "is down"),
        ("over0", Verdict::Refused, "name large0 as the port"),
        ("none0", Verdict::Refused, "there is no interface none0"),
    ] {
        let findings = &reports[port].findings;
        let told = findings.iter().any(|finding| {
            finding.verdict == verdict && format!("{}; {}", finding.message, finding.remedy).contains(words)
        });
        assert!(told, "{port}: {findings:?}");
    }
    assert!(reports["fab0"].is_fit() && reports["quiet0"].is_fit());
    assert_eq!(reports["fab0"].driver.as_deref(), Some("veth"));
    Ok(())
}

#[test]
fn vlan_stripping_is_switched_off_and_detaching_switches_it_on_again() -> Result<()> {
    let [node, _fabric] = machine()?;
    node.sh("ethtool -K fab0 rxvlan on")?;
    let before = offloads(&node)?;
    assert!(before.contains("rx-vlan-offload: on"), "{before}");
    let mut gateway = Gateway::new(&node);
    gateway.start_text(&plan(&[]))?;
    let during = offloads(&node)?;
    assert!(during.contains("rx-vlan-offload: off"), "{during}");
    gateway.stop()?;
    gateway.ctl(&["detach"])?;
    assert_eq!(offloads(&node)?, before);
    Ok(())
}

#[test]
fn a_start_that_fails_at_the_last_step_leaves_the_host_as_it_was() -> Result<()> {
    let [node, fabric] = machine()?;
    node.sh("ethtool -K fab0 rxvlan on")?;
    // The kernel takes no program on a veth whose other end sends frames larger than a page, and says so only when it is attached.
    fabric.ip("link set fab0 mtu 9000\n")?;
    let look =
        || node.sh("ip -o link; ls -A /run /run/netns; ls -A /sys/fs/bpf; ethtool -k fab0 | grep rx-vlan-offload");
    let before = look()?;
    let mut gateway = Gateway::new(&node);
    node.write(PLAN, &plan(&[]))?;
    let written = look()?;
    gateway.launch()?;
    let code = gateway.await_end()?;
    ensure!(code == Some(1), "the daemon ended with {code:?}: {}", gateway.log());
    let said =
        lab::wait::until(lab::wait::SOON, "the remedy", || Some(gateway.log()).filter(|log| log.contains("mtu")));
    said.with_context(|| gateway.log())?;
    let after = look()?;
    ensure!(after == written, "before:\n{before}\nafter:\n{after}\n{}", gateway.log());
    Ok(())
}
