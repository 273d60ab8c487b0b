//! The sites' own routers, which exchange routes with the tenant's in the cloud: BIRD at the GRE site, FRR at the L3 site, with the same
//! addresses and AS numbers for every tenant.

use anyhow::Result;

use super::{Members, TENANT_GATEWAY};
use crate::identity::Identity;
use crate::node::Node;
use crate::peers::{Bird, Frr};
use crate::tenants::{HQ, addresses};

/// What the GRE site announces, and the addresses of a machine there.
pub const LEARNED_HQ: (&str, [&str; 2]) = ("10.20.0.0/16", ["10.20.0.1", "fd20::1"]);
/// What the L3 site announces, and the addresses of a machine there.
pub const LEARNED_DC: (&str, [&str; 2]) = ("10.30.0.0/16", ["10.30.0.1", "fd30::1"]);

/// A tenant's site routers. They end with this.
#[derive(Debug)]
pub struct SiteRouters {
    /// Of the GRE site.
    pub hq: Bird,
    /// Of the L3 site.
    pub dc: Frr,
    _identities: [Identity; 2],
}

impl Members {
    /// Starts the sites' routers. The GRE site's tunnel has been dug.
    pub fn start_routers(&self) -> Result<SiteRouters> {
        let identities = [machine_behind(&self.hq, LEARNED_HQ.1)?, machine_behind(&self.dc, LEARNED_DC.1)?];
        let bird = format!(
            "router id {hq};
protocol device {{ scan time 1; }}
protocol static announced {{ ipv4; route {} unreachable; }}
protocol bgp cloud {{
  local {hq} as 64513;
  neighbor {TENANT_GATEWAY} as 64512;
  multihop 2;
  graceful restart on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
",
            LEARNED_HQ.0,
            hq = HQ[0],
        );
        let frr = format!(
            "router bgp 64514
 bgp router-id 10.3.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor {gateway} remote-as 64512
 neighbor {gateway} timers connect 1
 address-family ipv4 unicast
  network {}
 exit-address-family
",
            LEARNED_DC.0,
            gateway = self.tenant.vlan_gateway[0],
        );
        let (hq, dc) = (Bird::start(&self.hq, &bird)?, Frr::bgpd(&self.dc, &frr)?);
        Ok(SiteRouters { hq, dc, _identities: identities })
    }
}

/// Lets a site's machine be one of a network behind it, too.
fn machine_behind(site: &Node, at: [&str; 2]) -> Result<Identity> {
    site.ip(&format!("address add {}/32 dev lo\naddress add {}/128 dev lo nodad\n", at[0], at[1]))?;
    Identity::new(site, addresses(at))
}
