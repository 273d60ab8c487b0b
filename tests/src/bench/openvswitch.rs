//! Open vSwitch in user space, with AF_XDP ports: plain frames into a keyed GRE tunnel.
//!
//! Its own thread polls on another core, so it has more of the machine than the others.

use super::rig::{Rig, Sink, Track};
use super::scenario::{FAR_PA, GATEWAY_PA, HOST_MAC, mac_text};
use crate::node::Running;
use crate::wait::until;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long its daemons may take for each step.
const PATIENCE: Duration = Duration::from_secs(15);

/// The switch, with its daemons.
pub struct Switch {
    /// Where it is.
    pub track: Track,
    _daemons: [Running; 2],
}

impl Switch {
    /// Starts the daemons and sets the tunnel up.
    pub fn new(rig: &mut Rig) -> Result<Self> {
        let cpu = rig.other_cpu()?.context("it needs a CPU beside the generator's")?;
        let track = rig.track("openvswitch", Sink::Stack)?;
        match daemons(&track, cpu) {
            Ok(daemons) => Ok(Self { track, _daemons: daemons }),
            Err(error) => {
                rig.take_up(track);
                Err(error)
            }
        }
    }

    /// Ends the daemons; what is left is the track.
    pub fn remove(self) -> Track {
        self.track
    }
}

fn daemons(track: &Track, cpu: usize) -> Result<[Running; 2]> {
    let node = &track.node;
    node.sh("mkdir -p /run/openvswitch
         ovsdb-tool create /run/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema")
        .context("is openvswitch-switch installed?")?;
    let start = |program: &str, arguments: &[&str]| {
        node.spawn(
            Command::new(program)
                .args(arguments)
                .args(["--no-chdir", "-vconsole:off", "-vsyslog:off", "-vfile:off"])
                .env("OVS_RUNDIR", "/run/openvswitch")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    };
    let database =
        start("ovsdb-server", &["/run/openvswitch/conf.db", "--remote=punix:/run/openvswitch/db.sock", "--pidfile"])?;
    ready("the database of Open vSwitch", || node.sh("ovs-vsctl --timeout=5 --no-wait init"))?;
    let switch = start("ovs-vswitchd", &["unix:/run/openvswitch/db.sock", "--pidfile"])?;
    let mac = mac_text(HOST_MAC);
    node.sh(&format!(
        "ovs-vsctl --timeout=15 set open_vswitch . other_config:pmd-cpu-mask={:#x} \
           -- add-br outer -- set bridge outer datapath_type=netdev fail-mode=secure \
           -- add-br inner -- set bridge inner datapath_type=netdev fail-mode=secure \
           -- add-port outer out0 -- set interface out0 type=afxdp options:xdp-mode=native \
           -- add-port inner in0 -- set interface in0 type=afxdp options:xdp-mode=native \
           -- add-port inner gre0 -- set interface gre0 type=gre options:remote_ip={FAR_PA} options:key=100
         ip address add {GATEWAY_PA}/24 dev outer
         ip link set outer up
         ovs-ofctl add-flow outer action=normal
         ovs-ofctl add-flow inner in_port=in0,action=output:gre0
         ovs-appctl tnl/arp/set outer {FAR_PA} {mac} || ovs-appctl tnl/neigh/set outer {FAR_PA} {mac}",
        1u128 << cpu
    ))
    .context("cannot set Open vSwitch up")?;
    ready("Open vSwitch's AF_XDP ports", || {
        node.sh("ovs-appctl dpif/show | grep -q in0 && ovs-appctl ovs/route/show | grep -q outer")
    })?;
    Ok([switch, database])
}

fn ready(what: &str, mut ask: impl FnMut() -> Result<String>) -> Result<()> {
    let mut last = None;
    let outcome = until(PATIENCE, what, || match ask() {
        Ok(_) => Some(()),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    outcome.with_context(|| last.map_or_else(String::new, |error| format!("{error:#}")))
}
