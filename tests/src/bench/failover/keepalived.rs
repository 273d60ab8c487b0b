//! The peer: keepalived moves an address between two routers on the same switches, and is struck in the same way.
//!
//! ```text
//!  site0 ═ router ═ rack ┬ K1 ┬ fabric ═ fabric0
//!                        └ K2 ┘
//! ```
//!
//! The router's next hop to all machines is the address that keepalived moves; it learns by gratuitous ARP where that is.

use super::estate::{END_MAC, FABRIC, HOST, SITE};
use crate::frame::{Mac, bytes, ether, ipv4};
use crate::link::{End, cable};
use crate::node::{Node, Processes, Running};
use crate::numbered::{FRAME, Flow, Traffic};
use crate::switch::{Switch, Wire};
use crate::wait::{SOON, until};
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 2] = ["K1", "K2"];
const ADDRESS: &str = "192.0.2.100";
const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0xcc, 1]);
const FLOWS: u8 = 20;
const MTU: u32 = 1600;
/// How long an address may take to be held and to be answered for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often keepalived says that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As it does if it is told nothing else: every second.
    Default,
    /// As often as the protocol allows (RFC 5798: centiseconds).
    Fastest,
}

impl Pace {
    /// Its name in a row's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "keepalived, default",
            Self::Fastest => "keepalived, fastest",
        }
    }

    const fn seconds(self) -> &'static str {
        match self {
            Self::Default => "1",
            Self::Fastest => "0.01",
        }
    }
}

/// Two routers with keepalived, and traffic by the address that it moves.
pub struct Keepalived {
    traffic: Traffic,
    nodes: Vec<Arc<Node>>,
    switches: [Switch; 2],
    router: Arc<Node>,
    _daemons: Vec<Running>,
}

impl Keepalived {
    /// The routers, one of which has the address, and traffic that flows.
    pub fn new(pace: Pace) -> Result<Self> {
        let processes = Processes::new()?;
        let mut switches = [Switch::new("fabric", &processes)?, Switch::new("rack", &processes)?];
        let ends = Node::new("ends", &processes)?;
        let router = Node::new("router", &processes)?;
        let (end_mac, router_mac) = (format!("{END_MAC:?}"), format!("{ROUTER_MAC:?}"));
        switches[0].connect(MTU, End::new(&ends, FABRIC).mac(&end_mac), "ends")?;
        cable(
            MTU,
            End::new(&ends, SITE).mac(&end_mac).from_gateway(),
            End::new(&router, "sites").mac(&router_mac).from_gateway(),
        )?;
        switches[1].connect(MTU, End::new(&router, "rack"), "router")?;
        ends.ip(&format!("address add {HOST}/24 dev {FABRIC}\n"))?;
        router.sh(&format!(
            "{FORWARD}; ip address add 192.0.2.254/24 dev rack; ip address add 10.8.0.1/24 dev sites
             ip route add 10.9.0.0/16 via {ADDRESS}"
        ))?;
        let mut nodes = Vec::new();
        let mut daemons = Vec::new();
        for (at, name) in (1..).zip(NAMES) {
            let node = Node::new(name, &processes)?;
            for (switch, side) in switches.iter_mut().zip(["fabric", "site"]) {
                switch.connect(MTU, End::new(&node, side), name)?;
            }
            node.sh(&format!(
                "{FORWARD}; ip address add 10.10.0.{at}/24 dev fabric; ip address add 192.0.2.{at}/24 dev site
                 ip route add 10.9.0.0/16 via {HOST}; ip route add 10.8.0.0/24 via 192.0.2.254"
            ))?;
            node.write("/run/keepalived.conf", &configuration(at, pace))?;
            let mut command = Command::new("keepalived");
            command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file=/run/keepalived.conf"]);
            command.args(["--pid=/run/keepalived.pid", "--vrrp_pid=/run/vrrp.pid"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            daemons.push(node.spawn(&mut command)?);
            nodes.push(node);
        }
        let traffic = Traffic::new(&ends, &[FABRIC, SITE], &flows())?;
        let mut new = Self { traffic, nodes, switches, router, _daemons: daemons };
        until(PATIENCE, "keepalived to hold the address", || (new.holders().len() == 1).then_some(()))?;
        new.traffic.start()?;
        new.traffic.flows_all(PATIENCE)?;
        Ok(new)
    }

    /// Silences the router that has the address until the other has it; for each flow how long nothing arrived, in milliseconds.
    pub fn strike(&mut self) -> Result<Vec<f64>> {
        // After a strike both may have had it for a moment.
        until(PATIENCE, "one router alone to have the address", || (self.holders().len() == 1).then_some(()))?;
        // The other forwards still what a next hop sends it that has not heard of the return.
        self.router.sh(&format!("ip neighbour flush to {ADDRESS} dev rack"))?;
        self.traffic.flows_all(PATIENCE)?;
        let holder = *self.holders().first().context("nobody has the address")?;
        self.traffic.begin()?;
        self.wire(holder, Wire::Cut)?;
        until(PATIENCE, "the other router to have the address", || (self.holders().len() == 2).then_some(()))?;
        self.traffic.flows_all(SOON)?;
        let account = self.traffic.account()?;
        self.wire(holder, Wire::Whole)?;
        Ok(account.outages)
    }

    /// Has the switches know a router no more, or again; its links stay up.
    fn wire(&mut self, at: usize, wire: Wire) -> Result<()> {
        self.switches.iter_mut().try_for_each(|switch| switch.set(NAMES[at], wire))
    }

    /// Who has the address.
    fn holders(&self) -> Vec<usize> {
        let has =
            |node: &Arc<Node>| node.sh("ip -brief address show dev site").is_ok_and(|shown| shown.contains(ADDRESS));
        (0..).zip(&self.nodes).filter(|(_, node)| has(node)).map(|(at, _)| at).collect()
    }
}

/// Has a machine be a router.
const FORWARD: &str = "cd /proc/sys/net; echo 1 > ipv4/ip_forward
    for at in all default; do echo 1 > ipv6/conf/$at/disable_ipv6; echo 0 > ipv4/conf/$at/rp_filter; done
    for at in ipv4/conf/*/rp_filter; do echo 0 > $at; done; cd /";

/// One of the two is preferred, so that both never want the address for long.
fn configuration(at: usize, pace: Pace) -> String {
    format!(
        "global_defs {{\n  vrrp_version 3\n}}\nvrrp_instance address {{\n  state BACKUP\n  interface site\n  virtual_router_id 51\n  priority {}\n  \
         advert_int {}\n  virtual_ipaddress {{\n    {ADDRESS}/24\n  }}\n}}\n",
        120 - 10 * at,
        pace.seconds()
    )
}

fn flows() -> Vec<Flow> {
    let flow = |number: u8| {
        let machine = Ipv4Addr::new(10, 9, 0, number);
        let frame = ether(ROUTER_MAC, END_MAC) / ipv4("10.8.0.2", machine);
        let rest = FRAME - frame.build().len();
        Flow { frame: (frame / bytes(vec![0; rest])).build(), from: SITE, whose: machine.octets() }
    };
    (1..=FLOWS).map(flow).collect()
}
