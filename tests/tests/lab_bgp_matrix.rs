//! What the gateway agrees on with each of the routing daemons that sites run: capability by capability, over tunnels and VLANs, in both
//! address families, in two tenants with the very same addresses at once. One tenant speaks over IPv4, with passwords; the other over
//! IPv6, where IPv4's routes have IPv6 next hops. The table is in the test's output.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::peers::{Bird, ExaBgp, Frr, GoBgp};
use lab::plan::Plan;
use lab::tenants::{HQ, SUBNETS, TENANT_GATEWAY, Tenant};
use lab::topology::{Members, Outer, World};

/// The gateway's AS, and the sites': the L3 sites' has four octets.
const CLOUD: u32 = 64512;
const SITES: [u32; 2] = [64513, 4_200_000_014];
/// What the GRE and the L3 sites announce, and a machine there.
const BEHIND: [[(&str, &str); 2]; 2] =
    [[("10.7.0.0/16", "10.7.0.1"), ("fd07::/48", "fd07::1")], [("10.8.0.0/16", "10.8.0.1"), ("fd08::/48", "fd08::1")]];

/// How a site is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    Gre,
    L3,
}

/// One session's far end.
#[derive(Debug)]
struct Seat {
    tenant: Tenant,
    node: Arc<Node>,
    attachment: Attachment,
    transport: Outer,
}

impl Seat {
    fn peer(&self) -> &'static str {
        match self.attachment {
            Attachment::Gre => "hq",
            Attachment::L3 => "dc",
        }
    }

    fn own_addresses(&self) -> [&'static str; 2] {
        match self.attachment {
            Attachment::Gre => HQ,
            Attachment::L3 => self.tenant.vlan_peer,
        }
    }

    fn own(&self) -> &'static str {
        self.transport.of(self.own_addresses())
    }

    fn gateway(&self) -> &'static str {
        self.transport.of(match self.attachment {
            Attachment::Gre => TENANT_GATEWAY,
            Attachment::L3 => self.tenant.vlan_gateway,
        })
    }

    fn asn(&self) -> u32 {
        SITES[self.attachment as usize]
    }

    fn router_id(&self) -> &'static str {
        ["10.2.0.1", "10.3.0.1"][self.attachment as usize]
    }

    fn prefixes(&self) -> [&'static str; 2] {
        BEHIND[self.attachment as usize].map(|(prefix, _)| prefix)
    }

    fn password(&self) -> Option<&'static str> {
        match self.transport {
            Outer::V4 => Some("correct-horse"),
            Outer::V6 => None,
        }
    }

    /// `with` the password, if there is one.
    fn signed(&self, with: impl FnOnce(&str) -> String) -> String {
        self.password().map(with).unwrap_or_default()
    }
}

/// A tenant's two sites.
fn seats(site: &Members, transport: Outer) -> [Seat; 2] {
    let seat =
        |node: &Arc<Node>, attachment| Seat { tenant: site.tenant, node: Arc::clone(node), attachment, transport };
    [seat(&site.hq, Attachment::Gre), seat(&site.dc, Attachment::L3)]
}

/// Routers of both tenants, with everything on.
fn with_bgp(plan: &mut Plan, seats: &[Seat]) {
    for name in ["contoso", "woodgrove"] {
        let mut text = format!("as_number = {CLOUD}\n");
        for seat in seats.iter().filter(|seat| seat.tenant.name == name) {
            text += &format!(
                "[[peer]]
                 name = '{}'
                 address = '{}'
                 as_number = {}
                 families = ['ipv4', 'ipv6']
                 add_path = 'both'
                 role = 'provider'
                 long_lived_stale_s = 3600
                 connect_retry_ms = 1000
                 {}\n",
                seat.peer(),
                seat.own(),
                seat.asn(),
                seat.signed(|password| format!("password = '{password}'")),
            );
        }
        let bgp: toml::Table = text.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{text}"));
        plan.tenant(name).insert("bgp".into(), bgp.into());
    }
}

/// Starts the daemon at all four sites, and tests and prints what comes of it. `lacks` is what this implementation has not.
fn meet<D>(
    implementation: &str,
    lacks: &[&str],
    start: impl Fn(&Seat) -> Result<D>,
    told: impl Fn(&Seat, &D) -> Result<()>,
) -> Result<()> {
    let mut all = Vec::new();
    let world = lab::topology::Topology::build(World::default(), |_| {})?;
    all.extend(seats(&world.contoso, Outer::V4));
    all.extend(seats(&world.woodgrove, Outer::V6));
    let mut plan = Plan::of(&World::default());
    with_bgp(&mut plan, &all);
    let lab = Lab::around(world, plan)?;
    let mut daemons = Vec::new();
    for seat in &all {
        for (_, address) in BEHIND[seat.attachment as usize] {
            let length = if address.contains(':') { 128 } else { 32 };
            seat.node.ip(&format!("address add {address}/{length} dev lo\n"))?;
        }
        daemons.push(start(seat)?);
    }
    let mut missing = Vec::new();
    println!("{}", header());
    for seat in &all {
        let (tenant, peer) = (seat.tenant.name, seat.peer());
        lab.gateway.await_session(tenant, peer)?;
        for prefix in seat.prefixes() {
            lab.gateway.await_path(tenant, prefix, peer)?;
        }
        let has = lab.gateway.bgp_peer(tenant, peer)?.capabilities;
        for family in ["ipv4", "ipv6"] {
            println!("{}", row(implementation, seat, family, &has));
        }
        missing.extend(absent(seat, lacks, &has));
    }
    ensure!(missing.is_empty(), "{implementation} does not agree on {missing:#?}\n{}", lab.gateway.about_bgp());
    for (seat, daemon) in all.iter().zip(&daemons) {
        told(seat, daemon)?;
        let site = if seat.tenant.name == "contoso" { &lab.world.contoso } else { &lab.world.woodgrove };
        for (_, address) in BEHIND[seat.attachment as usize] {
            lab.reaches(&site.vms[0], address).with_context(|| format!("{} of {}", seat.peer(), seat.tenant.name))?;
        }
    }
    Ok(())
}

/// The columns: a heading, and how the gateway calls it; `F` stands for the family.
const CAPABILITIES: [(&str, &str); 13] = [
    ("AS4", "four-octet-as"),
    ("MP", "multiprotocol F"),
    ("RFC8950", "extended-next-hop"),
    ("REFRESH", "route-refresh"),
    ("ENHANCED", "enhanced-route-refresh"),
    ("GR", "graceful-restart F"),
    ("GR-N", "graceful-notifications"),
    ("LLGR", "long-lived-graceful-restart F"),
    ("PATHS-OUT", "add-path-send F"),
    ("PATHS-IN", "add-path-receive F"),
    ("EXTMSG", "extended-messages"),
    ("ROLE", "role provider"),
    ("MD5", "password"),
];

fn header() -> String {
    let names: Vec<String> = CAPABILITIES.iter().map(|(name, _)| format!("{name:10}")).collect();
    format!("{:8}{:10}{:9}{:8}{}", "PEER", "OVER", "SESSION", "ROUTES", names.concat())
}

fn row(implementation: &str, seat: &Seat, family: &str, has: &[String]) -> String {
    let cell = |&(_, capability): &(&str, &str)| {
        let there = match capability {
            "password" => seat.password().is_some(),
            capability => has.contains(&capability.replace('F', family)),
        };
        format!("{:10}", if there { "yes" } else { "-" })
    };
    let cells: Vec<String> = CAPABILITIES.iter().map(cell).collect();
    let (over, session) = (["GRE", "L3"][seat.attachment as usize], seat.transport.of(["IPv4", "IPv6"]));
    format!("{implementation:8}{over:10}{session:9}{family:8}{}", cells.concat())
}

/// What should have been agreed on, and was not; and what was, though the daemon is said to lack it.
fn absent(seat: &Seat, lacks: &[&str], has: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Not all offer IPv6 next hops over IPv4, where nobody needs them.
    let counts = |name: &str| name != "MD5" && (name != "RFC8950" || seat.transport == Outer::V6);
    for (name, capability) in CAPABILITIES.iter().filter(|(name, _)| counts(name)) {
        for family in ["ipv4", "ipv6"] {
            let there = has.contains(&capability.replace('F', family));
            if there == lacks.contains(name) {
                let (tenant, peer) = (seat.tenant.name, seat.peer());
                wrong.push(format!("{name} of {family} with {peer} of {tenant}: {there}"));
            }
        }
    }
    wrong
}

/// Whether it was told the cloud's prefixes of both families.
fn told(seat: &Seat, has: impl Fn(&str) -> Result<()>) -> Result<()> {
    SUBNETS[0]
        .prefixes
        .iter()
        .try_for_each(|prefix| has(prefix).with_context(|| format!("{} of {}", seat.peer(), seat.tenant.name)))
}

fn frr(seat: &Seat) -> Result<Frr> {
    let (gateway, [v4, v6], own) = (seat.gateway(), seat.prefixes(), seat.own_addresses());
    let near = match seat.attachment {
        Attachment::Gre => format!(" neighbor {gateway} disable-connected-check\n"),
        Attachment::L3 => String::new(),
    };
    Frr::bgpd(
        &seat.node,
        &format!(
            "router bgp {}
 bgp router-id {}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp long-lived-graceful-restart stale-time 3600
 neighbor {gateway} remote-as {CLOUD}
 neighbor {gateway} update-source {}
 neighbor {gateway} timers 30 90
 neighbor {gateway} timers connect 1
 neighbor {gateway} capability extended-nexthop
 neighbor {gateway} local-role customer
{near}{} address-family ipv4 unicast
  network {v4}
  neighbor {gateway} activate
  neighbor {gateway} addpath-tx-all-paths
 exit-address-family
 address-family ipv6 unicast
  network {v6}
  neighbor {gateway} activate
  neighbor {gateway} addpath-tx-all-paths
  neighbor {gateway} route-map out out
 exit-address-family
route-map out permit 10
 set ipv6 next-hop global {}
",
            seat.asn(),
            seat.router_id(),
            seat.own(),
            seat.signed(|password| format!(" neighbor {gateway} password {password}\n")),
            own[1],
        ),
    )
}

fn bird(seat: &Seat) -> Result<Bird> {
    let [v4, v6] = seat.prefixes();
    let own = seat.own_addresses();
    let far = if seat.attachment == Attachment::Gre { "multihop 2;" } else { "direct;" };
    Bird::start(
        &seat.node,
        &format!(
            "router id {};
protocol device {{ }}
protocol static {{ ipv4; route {v4} blackhole; }}
protocol static {{ ipv6; route {v6} blackhole; }}
protocol bgp cloud {{
  local {} as {};
  neighbor {} as {CLOUD};
  {far} local role customer; {}
  hold time 90; connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on; long lived graceful restart on; long lived stale time 3600; enable extended messages on;
  ipv4 {{ import all; export where source = RTS_STATIC; add paths on; extended next hop on; }};
  ipv6 {{ import all; export where source = RTS_STATIC; add paths on; next hop address {}; }};
}}
",
            seat.router_id(),
            seat.own(),
            seat.asn(),
            seat.gateway(),
            seat.signed(|password| format!("password \"{password}\";")),
            own[1],
        ),
    )
}

fn gobgp(seat: &Seat) -> Result<GoBgp> {
    let mut config = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"{}\"\npeer-as = {CLOUD}\n{}\
         [neighbors.transport.config]\nlocal-address = \"{}\"\n\
         [neighbors.timers.config]\nconnect-retry = 1\nhold-time = 90\nkeepalive-interval = 30\n\
         [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120\nnotification-enabled = true\n\
         long-lived-enabled = true\n",
        seat.asn(),
        seat.router_id(),
        seat.gateway(),
        seat.signed(|password| format!("auth-password = \"{password}\"\n")),
        seat.own(),
    );
    for family in ["ipv4", "ipv6"] {
        config += &format!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}-unicast\"\n\
             [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n\
             [neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = 3600\n\
             [neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 4\n"
        );
    }
    let gobgp = GoBgp::start(&seat.node, &config)?;
    let ([v4, v6], own) = (seat.prefixes(), seat.own_addresses());
    gobgp.ctl(&["global", "rib", "add", v4, "nexthop", seat.own()])?;
    gobgp.ctl(&["global", "rib", "add", v6, "nexthop", own[1], "-a", "ipv6"])?;
    Ok(gobgp)
}

fn exabgp(seat: &Seat) -> Result<ExaBgp> {
    let ([v4, v6], own) = (seat.prefixes(), seat.own_addresses());
    let settings = format!(
        " router-id {};\n local-address {};\n local-as {};\n peer-as {CLOUD};\n hold-time 90;\n{}\
         capability {{ asn4 enable; route-refresh enable; graceful-restart 120; add-path send/receive; \
         extended-message enable; nexthop enable; }}\n\
         family {{ ipv4 unicast; ipv6 unicast; }}\n nexthop {{ ipv4 unicast ipv6; }}\n\
         static {{ route {v4} next-hop {}; route {v6} next-hop {}; }}\n",
        seat.router_id(),
        seat.own(),
        seat.asn(),
        seat.signed(|password| format!(" md5-password \"{password}\";\n")),
        seat.own(),
        own[1],
    );
    ExaBgp::start(&seat.node, seat.gateway(), &settings)
}

#[test]
fn frr_over_tunnels_and_vlans() -> Result<()> {
    meet("FRR", &[], frr, |seat, frr| {
        told(seat, |prefix| frr.has(if prefix.contains(':') { "ipv6" } else { "ipv4" }, prefix))
    })
}

#[test]
fn bird_over_tunnels_and_vlans() -> Result<()> {
    meet("BIRD", &["GR-N"], bird, |seat, bird| told(seat, |prefix| bird.has(prefix)))
}

#[test]
fn gobgp_over_tunnels_and_vlans() -> Result<()> {
    meet("GoBGP", &["ENHANCED", "EXTMSG", "ROLE"], gobgp, |seat, gobgp| {
        told(seat, |prefix| gobgp.has(if prefix.contains(':') { "ipv6" } else { "ipv4" }, prefix))
    })
}

#[test]
fn exabgp_over_tunnels_and_vlans() -> Result<()> {
    meet("ExaBGP", &["LLGR", "GR-N", "ROLE"], exabgp, |seat, exabgp| told(seat, |prefix| exabgp.has(prefix)))
}
