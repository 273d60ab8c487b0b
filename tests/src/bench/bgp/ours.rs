//! The gateway as it is shipped, with tenants whose sites' routers are in their compartments: what a tunnel carries there in the end.

use super::receivers::{Used, quiet, used};
use super::sender::{Opening, Peer};
use super::{PATIENCE, SITES};
use crate::gateway::Gateway;
use crate::link::{End, cable};
use crate::node::{Node, Processes};
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use gateway_user::dataplane::pins::Pins;
use gateway_user::dataplane::read::LiveRoutes;
use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, setns};
use std::fmt::Write as _;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Each tenant's router.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 255, 1);
/// Where the routers of a tenant's sites are.
const NEIGHBOURS: &str = "10.2.0.0/15";
const MTU: u32 = 1600;
/// How often the gateway is asked how far it is.
const ASK: Duration = Duration::from_millis(100);

/// The address of a site's router, the same for every tenant.
pub const fn address(site: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 2 + site as u8, 0, 1)
}

/// Its system.
pub const fn asn(site: usize) -> u32 {
    64513 + site as u32
}

/// A plan with tenants of so many sites, each with a router, and room for so many routes of each tenant.
pub fn plan(tenants: usize, sites: usize, room: usize) -> String {
    let mut text = format!(
        "[gateway]\nname = 'gw1'\nencapsulation = 'vxlan'\npa = ['10.10.0.1']\nroutes_per_tenant = {room}\n\
         [[port]]\nname = 'in0'\nrole = 'site'\n[[port]]\nname = 'out0'\nrole = 'fabric'\n"
    );
    // Writing to a string does not fail.
    for tenant in 0..tenants {
        let _ = writeln!(
            text,
            "[[tenant]]\nname = 't{tenant}'\ngateway_addresses = ['{ROUTER}']\n\
             subnets = [ {{ vsid = {}, prefix = '10.1.0.0/24' }} ]",
            5000 + tenant
        );
        for site in 0..sites {
            let _ = writeln!(
                text,
                "[[tenant.connection]]\nname = 's{site}'\ntype = 'gre'\nvip = '198.51.100.10'\nremote = '203.0.113.20'\n\
                 key = {}",
                100 + tenant * SITES + site
            );
        }
        let _ = writeln!(text, "[tenant.bgp]\nas_number = 64512\nannounce = []");
        for site in 0..sites {
            let _ = writeln!(
                text,
                "[[tenant.bgp.peer]]\nname = 's{site}'\naddress = '{}'\nas_number = {}\nconnection = 's{site}'\n\
                 mode = 'passive'",
                address(site),
                asn(site),
            );
        }
    }
    text
}

/// A gateway that runs.
pub struct Ours {
    gateway: Gateway,
    compartments: Vec<Arc<File>>,
    /// Routes of the plan.
    planned: u64,
    _ends: Arc<Node>,
}

impl Ours {
    /// Starts one with a plan for so many tenants, and waits until it has nothing left to do.
    pub fn start(plan: &str, tenants: usize) -> Result<Self> {
        let processes = Processes::new()?;
        let (ends, node) = (Node::new("ends", &processes)?, Node::new("gateway", &processes)?);
        for (outside, inside) in [("end0", "in0"), ("far0", "out0")] {
            cable(MTU, End::new(&ends, outside).from_gateway(), End::new(&node, inside).from_gateway())?;
        }
        let mut gateway = Gateway::new(&node);
        gateway.start_large(plan, PATIENCE)?;
        let status = until(PATIENCE, "the plan to be applied", || {
            gateway.status().ok().filter(|status| status.plans_applied > 0 && status.compartments == tenants as u64)
        })?;
        let compartments = node.within(|| open_compartments(tenants))?;
        let ours = Self { gateway, compartments, planned: status.routes, _ends: ends };
        quiet(ours.id()?, PATIENCE)?;
        Ok(ours)
    }

    /// The daemon's process.
    pub fn id(&self) -> Result<u32> {
        self.gateway.pid().context("no daemon runs")
    }

    /// A site's router that announces something.
    pub fn peer(&self, tenant: usize, site: usize, updates: Arc<Vec<u8>>, awaits: usize) -> Peer {
        let network = Arc::clone(&self.compartments[tenant]);
        Peer {
            network,
            local: address(site),
            remote: ROUTER,
            asn: asn(site),
            hold_time: 0,
            updates,
            awaits,
            opening: Opening::Ours,
        }
    }

    /// How many learned routes there are.
    pub fn learned_now(&self) -> Result<u64> {
        Ok(self.gateway.status()?.routes - self.planned)
    }

    /// Waits until there are exactly so many learned routes. When that was seen.
    pub fn learned(&self, routes: u64) -> Result<Instant> {
        let start = Instant::now();
        loop {
            let there = self.learned_now()?;
            if there == routes {
                return Ok(Instant::now());
            }
            ensure!(start.elapsed() < PATIENCE, "{there} of {routes} routes are there; {}", self.gateway.log());
            std::thread::sleep(ASK);
        }
    }

    /// The same, and until it has nothing left to do. What it has used by then.
    pub fn settled(&self, routes: u64) -> Result<Used> {
        self.learned(routes)?;
        quiet(self.id()?, PATIENCE)
    }

    /// What it has used.
    pub fn used(&self) -> Result<Used> {
        used(self.id()?)
    }

    /// A tenant's routes as packets meet them.
    pub fn table(&self, tenant: usize) -> Result<LiveRoutes> {
        let id = self.gateway.tenant(&format!("t{tenant}"))?.id;
        let table = self.gateway.node().within(|| -> Result<_> {
            Ok(LiveRoutes::open(&Pins::new(Path::new("/sys/fs/bpf/gateway")).maps(), gateway_common::TenantId(id))?)
        })?;
        table.with_context(|| format!("tenant t{tenant} has no table"))
    }
}

/// Waits, without a pause, until a prefix is in a table or is not.
pub fn watch(table: &LiveRoutes, prefix: Ipv4Net, wanted: Presence) -> Result<()> {
    let start = Instant::now();
    while table.has(prefix)? != (wanted == Presence::There) {
        ensure!(start.elapsed() < PATIENCE, "{prefix} is not {wanted:?}");
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether a prefix is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// It is not.
    Gone,
}

/// Opens the tenants' compartments, and has each take the sites' routers' addresses for its own: the far ends are here.
fn open_compartments(tenants: usize) -> Result<Vec<Arc<File>>> {
    let open = |tenant: usize| -> Result<Arc<File>> {
        let file = File::open(format!("/run/netns/gw-t{tenant}"))?;
        setns(&file, CloneFlags::CLONE_NEWNET)?;
        let status = Command::new("ip").args(["route", "add", "local", NEIGHBOURS, "dev", "lo"]).status()?;
        ensure!(status.success(), "ip failed in the compartment of t{tenant}");
        Ok(Arc::new(file))
    };
    (0..tenants).map(open).collect()
}
