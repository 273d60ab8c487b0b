//! `host`: TCP between two unmodified machines on two hosts, by our hosts and by the kernel's bridge and vxlan, in turn.
//!
//! ```text
//! machine ─ veth ─ host 1 ═ a wire: frames of the MTU, whole checksums ═ host 2 ─ veth ─ machine
//! ```

use super::Options;
use super::report::{Goal, Row, Samples};
use crate::gateway::Gateway;
use crate::link::{End, cable};
use crate::node::{Node, Processes};
use crate::ping::Ping;
use crate::throughput;
use crate::wait::SOON;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const GOAL: f64 = 1.0;
const FABRIC_MTU: u32 = 1600;
const VSID: u32 = 5001;

/// Two machines and their hosts.
struct Pair {
    machines: [Arc<Node>; 2],
    hosts: [Arc<Node>; 2],
    /// Ours, while they run.
    daemons: Vec<Gateway>,
}

impl Pair {
    /// The machines at their hosts, which do nothing with them yet.
    fn new(name: &str, processes: &Arc<Processes>) -> Result<Self> {
        let node = |what: &str, number: usize| Node::new(&format!("{name}-{what}{number}"), processes);
        let machines = [node("vm", 1)?, node("vm", 2)?];
        let hosts = [node("host", 1)?, node("host", 2)?];
        // GRO at both ends: the best for either.
        let [one, other] = [0, 1].map(|index| End::new(&hosts[index], "eth0").from_gateway());
        cable(FABRIC_MTU, one, other)?;
        for (number, (machine, host)) in (1..).zip(machines.iter().zip(&hosts)) {
            host.ip(&format!(
                "address add 10.10.0.{number}/24 dev eth0\n\
                 link add vm0 mtu 1500 type veth peer name eth0 mtu 1500 address 02:00:00:00:00:0{number} netns {}\n\
                 link set vm0 up\n",
                machine.namespaces().network.display(),
            ))?;
            machine.ip(&format!("link set eth0 up\naddress add 10.1.0.{number}/24 dev eth0\n"))?;
        }
        Ok(Self { machines, hosts, daemons: Vec::new() })
    }

    /// Joined by our hosts.
    fn ours(processes: &Arc<Processes>) -> Result<Self> {
        let mut pair = Self::new("ours", processes)?;
        for here in 1..=2 {
            let mut text = format!(
                "[host]\nname = 'host{here}'\npa = ['10.10.0.{here}']\n[[port]]\nname = 'eth0'\n[[tenant]]\nname = 't'\n\
                 encapsulation = 'vxlan'\nmtu = 1500\nsubnets = [ {{ vsid = {VSID}, prefix = '10.1.0.0/24' }} ]\nvms = [\n"
            );
            for number in 1..=2 {
                let device = if number == here { ", device = 'vm0'" } else { "" };
                text += &format!(
                    "{{ ca = ['10.1.0.{number}'], mac = '02:00:00:00:00:0{number}', vsid = {VSID}, pa = '10.10.0.{number}'{device} }},\n"
                );
            }
            let mut daemon = Gateway::host(&pair.hosts[here - 1]);
            daemon.start_text(&(text + "]\n"))?;
            pair.daemons.push(daemon);
        }
        Ok(pair)
    }

    /// Joined by the kernel's bridges and vxlan devices.
    fn kernel(processes: &Arc<Processes>) -> Result<Self> {
        let pair = Self::new("kernel", processes)?;
        for (host, (local, remote)) in pair.hosts.iter().zip([(1, 2), (2, 1)]) {
            host.ip(&format!(
                "link add vs0 mtu 1500 type vxlan id {VSID} local 10.10.0.{local} remote 10.10.0.{remote} dstport 4789 nolearning\n\
                 link add br0 type bridge forward_delay 0 mcast_snooping 0\n\
                 link set br0 up\nlink set vs0 up master br0\nlink set vm0 master br0\n"
            ))?;
        }
        Ok(pair)
    }

    /// Gbit/s of payload from the first machine to the second.
    fn rate(&self, duration: Duration) -> Result<f64> {
        let to: IpAddr = [10, 1, 0, 2].into();
        let answer = Ping::to(to).until_reply(&self.machines[0], SOON)?;
        ensure!(answer.is_reply(), "the machines do not reach each other: {answer:?}");
        let rate = throughput::tcp(&self.machines[0], &self.machines[1], to, duration);
        rate.map(|rate| rate / 1e9).with_context(|| {
            self.daemons.iter().filter_map(|daemon| daemon.ctl(&["show", "drops"]).ok()).collect::<String>()
        })
    }
}

/// Runs the row.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let (runs, duration) = if options.quick { (3, 1) } else { (7, 3) };
    let duration = Duration::from_secs(duration);
    let processes = Processes::new()?;
    let (ours, kernel) = (Pair::ours(&processes)?, Pair::kernel(&processes)?);
    let (mut our_rates, mut kernel_rates) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        for (pair, rates) in [(&ours, &mut our_rates), (&kernel, &mut kernel_rates)] {
            let rate = pair.rate(duration)?;
            // The first run warms up.
            if run > 0 {
                rates.push(rate);
            }
        }
    }
    let row = Row {
        name: "TCP between machines on two hosts, 1500 bytes".to_owned(),
        unit: "Gbit/s",
        ours: Samples::new(our_rates),
        peer: Some(("kernel bridge + vxlan", Samples::new(kernel_rates))),
        goal: Goal::RatioAtLeast(GOAL),
    };
    eprintln!("bench: {}", row.line());
    Ok(vec![row])
}
