//! What is taken away is gone.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::tenants::HQ;

/// What a gateway leaves or does not leave on its machine.
fn traces(lab: &Lab) -> Result<String> {
    let node = lab.gateway.node();
    let links = node.sh("ip -o -d link | grep -oE '^[0-9]+: [^:]+|prog/xdp[^ ]*|xdp[a-z]*'")?;
    let rest = node.sh("find /sys/fs/bpf -mindepth 1 -not -name '*.debug'; ls -A /run/netns /run/gateway 2>/dev/null || true; ip rule; ip route")?;
    Ok(links + &rest)
}

#[test]
fn detaching_removes_every_trace() -> Result<()> {
    let world = lab::topology::Topology::build(lab::topology::World::default(), |_| {})?;
    let plan = lab::plan::Plan::of(&world.world);
    let gateway = lab::gateway::Gateway::new(&world.gateway);
    let mut lab = Lab { gateway, plan, world };
    let before = traces(&lab)?;
    let plan = lab.plan.clone();
    lab.gateway.start(&plan)?;
    lab.reaches(&lab.world.contoso.vms[0], HQ[0])?;
    ensure!(lab.gateway.ctl(&["detach"]).is_err(), "detached under a daemon that runs");
    lab.gateway.stop()?;
    ensure!(traces(&lab)? != before, "nothing was left behind to forward packets");
    lab.gateway.ctl(&["detach"])?;
    let after = traces(&lab)?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    // And from nothing it starts again.
    lab.gateway.start(&plan)?;
    lab.reaches(&lab.world.contoso.vms[0], HQ[0])
}
