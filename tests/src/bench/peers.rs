//! The forwarders on the rig: our gateway, and the kernel's own routing onto a vxlan device.

use super::rig::{Rig, Sink, Track};
use super::scenario::{FAR_PA, GATEWAY_PA, HOST_MAC, Scenario, Way, mac_text};
use anyhow::{Context, Result};
use gateway_user::dataplane::attach::{Entry, Wanted};
use gateway_user::dataplane::object::Source;
use gateway_user::dataplane::pins::Mode;
use gateway_user::dataplane::{Dataplane, Options};
use gateway_user::plan::Plan;
use nix::net::if_::if_nametoindex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A gateway's data plane on a track. Its pins live on the track's own BPF file system and go with it.
pub struct Gateway {
    /// Where it is.
    pub track: Track,
    dataplane: Dataplane,
}

impl Gateway {
    /// Loads the programs, fills their maps for a scenario, attaches them.
    pub fn new(rig: &mut Rig, name: &str, scenario: &Scenario, object: Option<&Path>) -> Result<Self> {
        let track = rig.track(name, Sink::Xdp)?;
        let plan = Arc::new(scenario.plan()?);
        let dataplane = track.node.within(|| -> Result<Dataplane> {
            let mut dataplane = open(object)?;
            dataplane.apply(&plan, &scenario.world()?)?;
            dataplane.attach(&ports(scenario.way)?)?;
            Ok(dataplane)
        })?;
        Ok(Self { track, dataplane })
    }

    /// Applies another plan, and says how long that took, in milliseconds.
    pub fn apply(&mut self, plan: &Arc<Plan>, scenario: &Scenario) -> Result<f64> {
        let dataplane = &mut self.dataplane;
        self.track.node.within(|| {
            let world = scenario.world()?;
            let start = std::time::Instant::now();
            dataplane.apply(plan, &world)?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
    }

    /// What was dropped and why, for a message.
    pub fn drops(&self) -> Result<String> {
        let drops = self.track.node.within(|| self.dataplane.reader()?.drops())?;
        Ok(format!("{drops:?}"))
    }
}

fn open(object: Option<&Path>) -> Result<Dataplane> {
    let source = object.map_or(Source::Embedded, |path| Source::File(PathBuf::from(path)));
    let options =
        Options { pins: "/sys/fs/bpf/gateway".into(), state: "/run/gateway".into(), source, ..Options::default() };
    Ok(Dataplane::open(&options)?)
}

fn ports(way: Way) -> Result<Vec<Wanted>> {
    let entries = match way {
        Way::GreToVxlan | Way::VlanToVxlan => [Entry::Site, Entry::Fabric],
        Way::VxlanToGre => [Entry::Fabric, Entry::Site],
        Way::HostToHost => [Entry::Fabric, Entry::Fabric],
        Way::Steer => [Entry::Mux, Entry::Mux],
    };
    let port = |name: &str, entry| -> Result<Wanted> {
        Ok(Wanted { name: name.to_owned(), ifindex: if_nametoindex(name)?, entry, mode: Mode::Native })
    };
    Ok(vec![port("in0", entries[0])?, port("out0", entries[1])?])
}

/// The kernel routes plain packets onto a vxlan device: without tunnels from sites, tenants, policers or anti-spoofing.
pub fn kernel(rig: &mut Rig) -> Result<Track> {
    let track = rig.track("kernel", Sink::Stack)?;
    let mac = mac_text(HOST_MAC);
    track
        .node
        .sh(&format!(
            "cd /proc/sys/net/ipv4
             echo 1 > ip_forward
             for at in all default in0; do echo 0 > conf/$at/rp_filter; done
             ip address add {GATEWAY_PA}/24 dev out0
             ip neigh replace {FAR_PA} lladdr {mac} nud permanent dev out0
             ip link add vx0 type vxlan id 5000 dstport 4789 local {GATEWAY_PA} remote {FAR_PA} dev out0
             ip link set vx0 up
             ip address add 10.9.0.1/24 dev vx0
             ip neigh replace 10.9.0.2 lladdr {mac} nud permanent dev vx0
             ip route add 10.2.0.0/16 via 10.9.0.2 dev vx0
             ip route add 20.0.0.0/8 dev in0"
        ))
        .context("cannot set the kernel's vxlan routing up")?;
    Ok(track)
}
