//! Sites of a tenant reach each other through the cloud, whatever BGP they speak and however they are built: their own routers are BIRD and
//! FRR, whose kernels know no way out of the site but what BGP tells. Where packets go is read from the gateway's counters.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::link::{End, cable};
use lab::node::Node;
use lab::peers::{Bird, Frr};
use lab::ping::Ping;
use lab::plan::Plan;
use lab::sessions::PATIENCE;
use lab::tenants::{CONTOSO, HQ, TENANT_GATEWAY, address};
use lab::topology::{Members, World};
use lab::wait::until;

/// The tenants' routers in the cloud.
const CLOUD: u32 = 64512;
/// What lies behind the GRE site, and a machine there.
const BEHIND_HQ: [&str; 2] = ["10.7.0.0/16", "fd07::/48"];
const AT_HQ: [&str; 2] = ["10.7.0.1", "fd07::1"];
/// The same of the L3 site.
const BEHIND_DC: [&str; 2] = ["10.8.0.0/16", "fd08::/48"];
const AT_DC: [&str; 2] = ["10.8.0.1", "fd08::1"];

/// What every BIRD of these sites has: what it learns by BGP goes to the kernel, what it announces is `announced4` and `announced6`.
fn bird(id: &str, announced: Option<[&str; 2]>, sessions: &str) -> String {
    let announced = announced.map_or_else(String::new, |[v4, v6]| {
        format!(
            "protocol static announced4 {{ ipv4; route {v4} unreachable; }}
             protocol static announced6 {{ ipv6; route {v6} unreachable; }}\n"
        )
    });
    format!(
        r#"router id {id};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
{announced}
template bgp peer {{
  hold time 30;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
}}
{sessions}"#
    )
}

/// The session of the GRE site's BIRD with the cloud, and the way to the cloud's router.
fn bird_to_cloud(asn: u32, exports: &str) -> String {
    let exported = |family: u8| exports.replace('*', &family.to_string());
    format!(
        r#"protocol static {{ ipv4; route {own4}/32 via "gre0"; }}
protocol static {{ ipv6; route {own6}/128 via "gre0"; }}
protocol bgp cloud from peer {{
  local {hq4} as {asn};
  neighbor {own4} as {CLOUD};
  multihop 2;
  ipv4 {{ import all; export where {}; }};
  ipv6 {{ import all; export where {}; next hop address {hq6}; }};
}}
"#,
        exported(4),
        exported(6),
        own4 = TENANT_GATEWAY[0],
        own6 = TENANT_GATEWAY[1],
        hq4 = HQ[0],
        hq6 = HQ[1],
    )
}

/// A neighbour of FRR's: its address, its AS, our next hop for its IPv6 routes, and more.
struct Neighbor<'a> {
    address: &'a str,
    asn: u32,
    next_hop: &'a str,
    more: &'a str,
}

/// What every FRR of these sites has.
fn frr(asn: u32, id: &str, announced: Option<[&str; 2]>, neighbors: &[Neighbor<'_>]) -> String {
    let all = |line: &dyn Fn(usize, &Neighbor<'_>) -> String| -> String {
        neighbors.iter().enumerate().map(|(index, neighbor)| line(index, neighbor)).collect()
    };
    let network = |family: usize| announced.map_or_else(String::new, |all| format!("  network {}\n", all[family]));
    format!(
        "router bgp {asn}
 bgp router-id {id}
 no bgp ebgp-requires-policy
 no bgp network import-check
{} address-family ipv4 unicast
{}{} exit-address-family
 address-family ipv6 unicast
{}{} exit-address-family
{}",
        all(&|_, Neighbor { address, asn, .. }| format!(
            " neighbor {address} remote-as {asn}\n neighbor {address} timers 10 30\n neighbor {address} timers connect 1\n"
        )),
        network(0),
        all(&|_, Neighbor { address, more, .. }| if more.is_empty() {
            String::new()
        } else {
            format!("  neighbor {address} {more}\n")
        }),
        network(1),
        all(&|index, Neighbor { address, .. }| format!(
            "  neighbor {address} activate\n  neighbor {address} route-map out{index} out\n"
        )),
        all(&|index, Neighbor { next_hop, .. }| format!(
            "route-map out{index} permit 10\n set ipv6 next-hop global {next_hop}\n"
        )),
    )
}

/// The session of the L3 site's FRR with the cloud.
fn to_cloud() -> Neighbor<'static> {
    Neighbor { address: CONTOSO.vlan_gateway[0], asn: CLOUD, next_hop: CONTOSO.vlan_peer[1], more: "" }
}

/// A peer of a tenant's router.
fn peer(name: &str, address: &str, asn: u32, more: &str) -> String {
    format!(
        "[[peer]]
         name = '{name}'
         address = '{address}'
         as_number = {asn}
         families = ['ipv4', 'ipv6']
         hold_time_ms = 30000
         connect_retry_ms = 1000
         {more}
         "
    )
}

/// Gives a tenant a router.
fn with_bgp(plan: &mut Plan, tenant: &str, peers: &str) {
    let bgp = format!("as_number = {CLOUD}\n{peers}");
    let bgp: toml::Table = bgp.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{bgp}"));
    plan.tenant(tenant).insert("bgp".into(), bgp.into());
}

/// Leaves a tenant's sites without any way out but those to the cloud's router, and gives them the machines behind them.
fn close(site: &Members) -> Result<()> {
    site.hq.ip(&format!(
        "route del 0.0.0.0/0 dev gre0\nroute del ::/0 dev gre0\nroute add {}/32 dev gre0\nroute add {}/128 dev gre0\n",
        TENANT_GATEWAY[0], TENANT_GATEWAY[1]
    ))?;
    site.dc.ip("route del default\nroute del ::/0\n")?;
    for edge in [&site.hq, &site.dc] {
        edge.sh("cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding")?;
    }
    Ok(())
}

fn has_addresses(node: &Node, addresses: [&str; 2]) -> Result<()> {
    node.ip(&format!("address add {}/32 dev lo\naddress add {}/128 dev lo nodad\n", addresses[0], addresses[1]))
}

/// Where packets between the sites go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Cloud,
    Direct,
}

/// Packets between the sites of which the course is told: more than sessions send meanwhile.
const SAMPLE: u64 = 30;

/// Sends packets from site to site of the first tenant; which course they took, if all were answered.
fn course(lab: &Lab, from: &Node, ping: Ping) -> Result<Option<Course>> {
    let carried = || -> Result<u64> {
        let [hq, dc] = ["hq", "dc"].map(|name| lab.gateway.connection(CONTOSO.name, name));
        Ok(hq?.traffic.in_packets.min(dc?.traffic.out_packets))
    };
    let before = carried()?;
    for _ in 0..SAMPLE {
        if !ping.send(from, Duration::from_secs(1))?.is_reply() {
            return Ok(None);
        }
    }
    Ok(Some(if carried()? - before >= SAMPLE { Course::Cloud } else { Course::Direct }))
}

/// Waits until packets from site to site go that way.
fn await_course(lab: &Lab, (from, ping): (&Node, Ping), wanted: Course) -> Result<()> {
    until(PATIENCE, &format!("packets to {} to go that way: {wanted:?}", ping.to), || {
        course(lab, from, ping).is_ok_and(|course| course == Some(wanted)).then_some(())
    })
    .with_context(|| {
        let routes = from.sh("ip route; ip -6 route").unwrap_or_default();
        format!("{routes}\n{}\n{}", lab.circumstances(), lab.gateway.about_bgp())
    })
}

/// Echo requests from the GRE site to the L3 site, in each family.
fn between_sites() -> [Ping; 2] {
    [0, 1].map(|family| Ping::to(address(AT_DC[family])).from(address(AT_HQ[family])))
}

#[test]
fn sites_reach_each_other_through_the_cloud_be_they_inside_its_autonomous_system_or_outside() -> Result<()> {
    let mut lab = Lab::start()?;
    close(&lab.world.contoso)?;
    let (hq, dc) = (Arc::clone(&lab.world.contoso.hq), Arc::clone(&lab.world.contoso.dc));
    has_addresses(&hq, AT_HQ)?;
    has_addresses(&dc, AT_DC)?;
    for [inner, outer] in [[CLOUD, CLOUD], [CLOUD, 64514], [64513, 64514]] {
        // A reflector leaves next hops alone (RFC 4456), so sites inside would have to know those of each other.
        let client = |asn, policy: &str| match asn {
            CLOUD => format!("reflection = 'client'\npolicy_out = '{policy}'"),
            _ => String::new(),
        };
        let policy = |name: &str, next_hops: [&str; 2]| {
            let [v4, v6] = next_hops;
            format!(
                "[[policy]]
                 name = '{name}'
                 statements = [
                     {{ match = {{ prefixes = ['0.0.0.0/0 le 32'] }}, set = {{ next_hop = '{v4}' }} }},
                     {{ match = {{ prefixes = ['::/0 le 128'] }}, set = {{ next_hop = '{v6}' }} }},
                 ]
                 "
            )
        };
        let peers = [
            peer("hq", HQ[0], inner, &client(inner, "to-hq")),
            peer("dc", CONTOSO.vlan_peer[0], outer, &client(outer, "to-dc")),
            policy("to-hq", TENANT_GATEWAY),
            policy("to-dc", CONTOSO.vlan_gateway),
        ];
        let mut plan = lab.plan.clone();
        with_bgp(&mut plan, CONTOSO.name, &peers.concat());
        lab.gateway.reload(&plan)?;
        let bird = bird("10.2.0.1", Some(BEHIND_HQ), &bird_to_cloud(inner, "proto = \"announced*\""));
        let bird = Bird::start(&hq, &bird)?;
        let frr = Frr::start(&dc, &["zebra", "bgpd"], &frr(outer, "10.3.0.1", Some(BEHIND_DC), &[to_cloud()]))?;
        for ping in between_sites() {
            await_course(&lab, (&hq, ping), Course::Cloud)
                .with_context(|| format!("AS {inner} and AS {outer}: {:?}", bird.ask("show route all")))?;
        }
        lab.reaches(&lab.world.contoso.vms[0], AT_HQ[0])?;
        lab.reaches(&lab.world.contoso.vms[0], AT_DC[0])?;
        // What a daemon has told its kernel stays when it is killed.
        drop((bird, frr));
        hq.sh("ip route flush proto bird; ip -6 route flush proto bird")?;
        dc.sh("ip nexthop flush")?;
        let between = between_sites()[0];
        let answer = between.send(&hq, Duration::from_millis(100));
        ensure!(!answer.is_ok_and(|answer| answer.is_reply()), "a way is left");
    }
    Ok(())
}

/// The ends of the link between the two sites.
const DIRECT: [[&str; 2]; 2] = [["192.168.0.1", "fdff::1"], ["192.168.0.2", "fdff::2"]];

#[test]
fn traffic_goes_through_the_cloud_while_the_direct_link_of_two_sites_is_down() -> Result<()> {
    let lab = Lab::start_with(World::default(), |plan| {
        let peers = [peer("hq", HQ[0], 64513, ""), peer("dc", CONTOSO.vlan_peer[0], 64514, "")];
        with_bgp(plan, CONTOSO.name, &peers.concat());
    })?;
    close(&lab.world.contoso)?;
    let (hq, dc) = (&lab.world.contoso.hq, &lab.world.contoso.dc);
    has_addresses(hq, AT_HQ)?;
    has_addresses(dc, AT_DC)?;
    cable(1500, End::new(hq, "direct"), End::new(dc, "direct"))?;
    for (node, [v4, v6]) in [(hq, DIRECT[0]), (dc, DIRECT[1])] {
        // An address of IPv6 would go with the link.
        node.sh("echo 1 > /proc/sys/net/ipv6/conf/direct/keep_addr_on_down")?;
        node.ip(&format!("address add {v4}/24 dev direct\naddress add {v6}/64 dev direct nodad\n"))?;
    }
    let direct = format!(
        "protocol bgp beside from peer {{
           local {} as 64513;
           neighbor {} as 64514;
           check link on;
           ipv4 {{ import all; export where proto = \"announced4\"; }};
           ipv6 {{ import all; export where proto = \"announced6\"; next hop address {}; }};
         }}\n",
        DIRECT[0][0], DIRECT[1][0], DIRECT[0][1]
    );
    let sessions = bird_to_cloud(64513, "proto = \"announced*\"") + &direct;
    let bird = Bird::start(hq, &bird("10.2.0.1", Some(BEHIND_HQ), &sessions))?;
    let to_hq = Neighbor { address: DIRECT[0][0], asn: 64513, next_hop: DIRECT[1][1], more: "" };
    let _frr = Frr::start(dc, &["zebra", "bgpd"], &frr(64514, "10.3.0.1", Some(BEHIND_DC), &[to_cloud(), to_hq]))?;
    let all_go = |course| {
        between_sites().into_iter().try_for_each(|ping| {
            await_course(&lab, (hq, ping), course).with_context(|| format!("{:?}", bird.ask("show route all")))
        })
    };
    all_go(Course::Direct)?;
    dc.ip("link set direct down\n")?;
    all_go(Course::Cloud)?;
    dc.ip("link set direct up\n")?;
    all_go(Course::Direct)
}

/// A router inside a site, on a network with the site's edge.
fn core(lab: &Lab, site: &Arc<Node>, net: &str, at: [&str; 2]) -> Result<Arc<Node>> {
    let node = lab.world.machine(&format!("{}-core", site.name()))?;
    cable(1500, End::new(site, "lan"), End::new(&node, "eth0"))?;
    site.ip(&format!("address add {net}.1/24 dev lan\n"))?;
    node.ip(&format!("address add {net}.2/24 dev eth0\n"))?;
    has_addresses(&node, at)?;
    Ok(node)
}

/// The networks between an edge and its router inside.
const LAN: [&str; 2] = ["10.7.255", "10.8.255"];

#[test]
fn routers_inside_of_sites_are_met_through_the_sites_edges_and_where_the_tunnel_ends_elsewhere() -> Result<()> {
    let inside = |site: usize| format!("{}.2", LAN[site]);
    let lab = Lab::start_with(World::default(), |plan| {
        let peers = [peer("hq", HQ[0], 64513, ""), peer("dc", CONTOSO.vlan_peer[0], 64514, "")];
        with_bgp(plan, "contoso", &peers.concat());
        let far = peer("hq", &inside(0), 64513, "connection = 'hq'\nmultihop = 3");
        with_bgp(plan, "woodgrove", &far);
    })?;
    let (contoso, woodgrove) = (&lab.world.contoso, &lab.world.woodgrove);
    close(contoso)?;
    close(woodgrove)?;

    // The GRE site's edge is BIRD, which speaks iBGP with FRR inside; the L3 site's the other way round.
    let core_hq = core(&lab, &contoso.hq, LAN[0], AT_HQ)?;
    let core_dc = core(&lab, &contoso.dc, LAN[1], AT_DC)?;
    let edge = format!(
        "protocol bgp inside from peer {{
           local {lan}.1 as 64513;
           neighbor {lan}.2 as 64513;
           direct;
           ipv4 {{ import all; export where source = RTS_BGP; next hop self; }};
         }}\n",
        lan = LAN[0]
    );
    let edge = bird_to_cloud(64513, "source = RTS_BGP") + &edge;
    let _bird = Bird::start(&contoso.hq, &bird("10.2.0.1", None, &edge))?;
    let to_edge = Neighbor { address: "10.7.255.1", asn: 64513, next_hop: "fd07::1", more: "" };
    let _frr = Frr::start(&core_hq, &["zebra", "bgpd"], &frr(64513, "10.7.0.1", Some(BEHIND_HQ), &[to_edge]))?;
    let to_core = Neighbor { address: "10.8.255.2", asn: 64514, next_hop: "fd08::2", more: "next-hop-self" };
    let _edge = Frr::start(&contoso.dc, &["zebra", "bgpd"], &frr(64514, "10.3.0.1", None, &[to_cloud(), to_core]))?;
    let to_edge = format!(
        "protocol bgp edge from peer {{
           local {lan}.2 as 64514;
           neighbor {lan}.1 as 64514;
           direct;
           ipv4 {{ import all; export where proto = \"announced4\"; }};
         }}\n",
        lan = LAN[1]
    );
    let _core = Bird::start(&core_dc, &bird("10.8.0.1", Some(BEHIND_DC), &to_edge))?;

    // The other tenant's tunnel ends at a machine that knows nothing of BGP; the router is behind it.
    let far = core(&lab, &woodgrove.hq, LAN[0], AT_HQ)?;
    woodgrove.hq.ip(&format!("route add {} via {}\nroute add 10.1.0.0/16 dev gre0\n", BEHIND_HQ[0], inside(0)))?;
    far.ip(&format!("route add {}/32 via {}.1\n", TENANT_GATEWAY[0], LAN[0]))?;
    let session = format!(
        "protocol static {{ ipv4; route {cloud}/32 via {lan}.1; }}
         protocol bgp cloud from peer {{
           local {lan}.2 as 64513;
           neighbor {cloud} as {CLOUD};
           multihop 3;
           ipv4 {{ import all; export where proto = \"announced4\"; }};
         }}\n",
        cloud = TENANT_GATEWAY[0],
        lan = LAN[0],
    );
    let _far = Bird::start(&far, &bird("10.7.0.1", Some(BEHIND_HQ), &session))?;

    lab.gateway.await_path("contoso", BEHIND_HQ[0], "hq")?;
    lab.gateway.await_path("contoso", BEHIND_DC[0], "dc")?;
    lab.gateway.await_path("woodgrove", BEHIND_HQ[0], "hq")?;
    await_course(&lab, (&core_hq, between_sites()[0]), Course::Cloud)?;
    for (members, to) in [(contoso, AT_HQ[0]), (contoso, AT_DC[0]), (woodgrove, AT_HQ[0])] {
        lab.reaches(&members.vms[0], to)?;
    }
    // Each tenant's packets come out at its own site, though both have the same addresses.
    let arrived = |node: &Node| node.sh("awk '/^Icmp: [0-9]/ { print $9 }' /proc/net/snmp");
    let before = arrived(&core_hq)?;
    lab.reaches(&woodgrove.vms[0], AT_HQ[0])?;
    ensure!(arrived(&core_hq)? == before, "the other tenant's echo requests come here");
    Ok(())
}
