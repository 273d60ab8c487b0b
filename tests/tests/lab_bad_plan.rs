//! A plan with an error changes nothing, and says what is wrong.

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::gateway::{Gateway, PLAN};
use lab::plan::Plan;
use lab::tenants::{HQ, address};
use lab::topology::{Topology, World};

fn refused(spoil: impl FnOnce(&mut Plan), remarks: &[&str]) -> Result<()> {
    let world = Topology::build(World::default(), |_| {})?;
    let mut plan = Plan::of(&world.world);
    spoil(&mut plan);
    let look = || world.gateway.sh("ip -o link; ls -A /run/netns; find /sys/fs/bpf -mindepth 1 -not -name '*.debug'");
    let before = look()?;
    let mut gateway = Gateway::new(&world.gateway);
    world.gateway.write(PLAN, &plan.to_string())?;
    gateway.launch()?;
    let code = gateway.await_end()?;
    ensure!(code.is_some_and(|code| code != 0), "the daemon ended with {code:?}: {}", gateway.log());
    for remark in remarks {
        // What it said is read by a thread, which may not be through yet.
        lab::wait::until(lab::wait::SOON, remark, || gateway.log().contains(remark).then_some(()))
            .with_context(|| format!("the daemon said: {}", gateway.log()))?;
    }
    ensure!(look()? == before, "something has changed:\n{before}\n{}", look()?);
    Ok(())
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    refused(|plan| plan.add("port", "name = 'missing0'\nrole = 'site'"), &["missing0"])
}

#[test]
fn a_prefix_with_host_bits_is_told_with_its_line() -> Result<()> {
    refused(
        |plan| {
            let route = "destination = '10.9.0.1/16'\nmetric = 1".parse::<toml::Table>().expect("it is TOML");
            plan.connection("contoso", "hq").insert("routes".into(), vec![toml::Value::from(route)].into());
        },
        &[PLAN, "10.9.0.1/16", "10.9.0.0/16"],
    )
}

#[test]
fn a_running_gateway_keeps_to_its_plan() -> Result<()> {
    let mut lab = Lab::start()?;
    lab.losing_nothing(
        |lab| &lab.world.contoso.vms[0],
        address(HQ[0]),
        |lab, stream| {
            lab.gateway.node().write("/run/bad.toml", "[gateway]\nname = 'gw1'\ncolour = 'blue'\n")?;
            let refused = lab.gateway.ctl(&["apply", "/run/bad.toml"]);
            let said = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(said.contains("colour") && said.contains("bad.toml:3"), "gatewayctl said: {said}");
            stream.go_on(100)
        },
    )
}
