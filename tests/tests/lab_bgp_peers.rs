//! The product's BGP speaker with other implementations, over a cable: sessions, routes both ways in both families, passwords,
//! restarts of either side, malformed UPDATEs.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bgp::number::{Asn, Family, RouterId};
use bgp::session::{Authentication, Event, FamilyConfig, GracefulRestart, Neighbor, Secret, State};
use bgp::speaker::{Config, NeighborName, Network, Start};
use bgp::wire::{AddPath, Forwarding};
use lab::bgp::Router;
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use lab::peers::{Bird, ExaBgp, Frr, GoBgp};
use lab::wait::{SOON, until};

const OURS: [&str; 2] = ["192.0.2.0/24", "2001:db8:1::/48"];
const THEIRS: [&str; 2] = ["198.51.100.0/24", "2001:db8:2::/48"];

/// Ours at .1, the other one at .2.
fn pair() -> Result<[Arc<Node>; 2]> {
    let processes = Processes::new()?;
    let (ours, theirs) = (Node::new("ours", &processes)?, Node::new("theirs", &processes)?);
    cable(1500, End::new(&ours, "eth0"), End::new(&theirs, "eth0"))?;
    for (node, number) in [(&ours, 1), (&theirs, 2)] {
        node.ip(&format!("address add 10.9.0.{number}/24 dev eth0\naddress add fd09::{number}/64 dev eth0 nodad\n"))?;
    }
    Ok([ours, theirs])
}

fn config(change: impl FnOnce(&mut Neighbor)) -> Config {
    let mut neighbor = Neighbor::new("10.9.0.2".parse().expect("an address"), Asn(65002));
    let both = FamilyConfig { add_path: Some(AddPath::Both), max_prefixes: None };
    neighbor.families = Family::ALL.map(|family| (family, both.clone())).into();
    neighbor.timers.hold = 90;
    neighbor.graceful_restart = Some(GracefulRestart { long_lived: Some(3600), ..GracefulRestart::default() });
    change(&mut neighbor);
    let mut config = Config::new(Asn(65001), RouterId("10.9.0.1".parse().expect("an address")));
    config.networks = OURS.iter().map(|text| Network::from(text.parse::<ipnet::IpNet>().expect("a prefix"))).collect();
    let mut neighbor: bgp::speaker::NeighborConfig = neighbor.into();
    neighbor.routes.next_hop_v6 = Some("fd09::1".parse().expect("an address"));
    config.neighbors.insert("peer".into(), neighbor);
    config
}

fn start(node: &Arc<Node>, change: impl FnOnce(&mut Neighbor)) -> Result<Router> {
    Router::start(node, config(change), Start::Fresh)
}

fn has_both(router: &Router) -> Result<()> {
    let wanted = THEIRS.map(|text| text.parse::<ipnet::IpNet>().expect("a prefix"));
    router
        .routes("the other's routes of both families", |routes| wanted.iter().all(|prefix| routes.contains_key(prefix)))
}

/// One line of the matrix for each family: what was agreed with this implementation.
fn print_matrix(implementation: &str, router: &Router) -> Result<()> {
    let agreed = router
        .ask(|speaker, _| speaker.neighbor(&NeighborName::from("peer")).and_then(|view| view.negotiated.cloned()))?;
    let Some(agreed) = agreed else { anyhow::bail!("the session is not up") };
    let yes = |there: bool| if there { "yes" } else { "-" };
    for family in Family::ALL {
        let of = agreed.family(family);
        let restart = agreed.restart.as_ref();
        println!(
            "{implementation:8} {family:?}: multiprotocol {}, 4-octet AS {}, refresh {}, enhanced refresh {}, extended messages {}, \
             extended next hop {}, add-path send {} receive {}, graceful restart {}, N bit {}, long-lived {}, hold {} s",
            yes(of.is_some()),
            yes(agreed.four_octet),
            yes(agreed.route_refresh),
            yes(agreed.enhanced_refresh),
            yes(agreed.extended_message),
            yes(agreed.extended_next_hop),
            yes(of.is_some_and(|of| of.sends_paths)),
            yes(of.is_some_and(|of| of.receives_paths)),
            yes(restart.is_some_and(|restart| restart.families.iter().any(|(of, _)| *of == family))),
            yes(restart.is_some_and(|restart| restart.notifications)),
            yes(restart.is_some_and(|restart| restart.long_lived.iter().any(|entry| entry.family == family))),
            agreed.hold_time,
        );
    }
    Ok(())
}

fn frr_config(neighbor: &str) -> String {
    format!(
        "router bgp 65002\n bgp router-id 10.9.0.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp long-lived-graceful-restart stale-time 3600\n \
         neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 timers 30 90\n neighbor 10.9.0.1 timers connect 1\n \
         neighbor 10.9.0.1 capability extended-nexthop\n{neighbor} \
         address-family ipv4 unicast\n  network 198.51.100.0/24\n  neighbor 10.9.0.1 activate\n  \
         neighbor 10.9.0.1 addpath-tx-all-paths\n exit-address-family\n \
         address-family ipv6 unicast\n  network 2001:db8:2::/48\n  neighbor 10.9.0.1 activate\n  \
         neighbor 10.9.0.1 route-map out out\n exit-address-family\n\
         route-map out permit 10\n set ipv6 next-hop global fd09::2\n"
    )
}

fn gobgp_config(neighbor: &str) -> String {
    format!(
        "[global.config]\nas = 65002\nrouter-id = \"10.9.0.2\"\n[[neighbors]]\n[neighbors.config]\n\
         neighbor-address = \"10.9.0.1\"\npeer-as = 65001\n{neighbor}\n\
         [neighbors.timers.config]\nconnect-retry = 1\nhold-time = 90\nkeepalive-interval = 30\n\
         [neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 120\nnotification-enabled = true\n\
         long-lived-enabled = true\n"
    ) + &["ipv4", "ipv6"]
        .map(|family| {
            format!(
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}-unicast\"\n\
                 [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n\
                 [neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = 3600\n\
                 [neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 4\n"
            )
        })
        .concat()
}

#[test]
fn frr() -> Result<()> {
    let [ours, theirs] = pair()?;
    let frr = Frr::bgpd(&theirs, &frr_config(""))?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    frr.has("ipv4", OURS[0])?;
    frr.has("ipv6", OURS[1])?;
    print_matrix("FRR", &router)
}

#[test]
fn gobgp() -> Result<()> {
    let [ours, theirs] = pair()?;
    let gobgp = GoBgp::start(&theirs, &gobgp_config(""))?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    gobgp.ctl(&["global", "rib", "add", THEIRS[0], "nexthop", "10.9.0.2", "community", "65002:100"])?;
    gobgp.ctl(&["global", "rib", "add", THEIRS[1], "nexthop", "fd09::2", "-a", "ipv6"])?;
    has_both(&router)?;
    gobgp.has("ipv4", OURS[0])?;
    gobgp.has("ipv6", OURS[1])?;
    print_matrix("GoBGP", &router)
}

#[test]
fn exabgp() -> Result<()> {
    let [ours, theirs] = pair()?;
    let exabgp = ExaBgp::start(
        &theirs,
        "10.9.0.1",
        &exabgp_config(&format!(
            "route {} next-hop 10.9.0.2 community [65002:100];\n route {} next-hop fd09::2;",
            THEIRS[0], THEIRS[1]
        )),
    )?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    exabgp.has(OURS[0])?;
    exabgp.has(OURS[1])?;
    print_matrix("ExaBGP", &router)
}

fn exabgp_config(routes: &str) -> String {
    format!(
        " router-id 10.9.0.2;\n local-address 10.9.0.2;\n local-as 65002;\n peer-as 65001;\n hold-time 90;\n\
         capability {{ asn4 enable; route-refresh enable; graceful-restart 120; add-path send/receive; extended-message enable; }}\n\
         family {{ ipv4 unicast; ipv6 unicast; }}\n static {{ {routes} }}\n"
    )
}

/// RFC 7606: the session stays, the good route is there, the bad one is not.
#[test]
fn malformed_updates_leave_the_session_up() -> Result<()> {
    let [ours, theirs] = pair()?;
    // Community of 3 octets, large community of 4, extended of 4, unknown well-known, Only-to-Customer of 2.
    let bad =
        ["0x08 0xc0 0x000001", "0x20 0xc0 0x00000001", "0x10 0xc0 0x00000001", "0x63 0x40 0x01", "0x23 0xc0 0x0001"];
    let mut routes = String::new();
    for (number, attribute) in bad.iter().enumerate() {
        routes += &format!("route 203.0.113.{}/32 next-hop 10.9.0.2 attribute [ {attribute} ];\n", number + 1);
    }
    // An aggregator of 3 octets is ignored; the route stays (RFC 7606, 7.7).
    routes += "route 203.0.113.100/32 next-hop 10.9.0.2 attribute [ 0x07 0xc0 0x000001 ];\n";
    routes += "route 203.0.113.200/32 next-hop 10.9.0.2;\n";
    let _exabgp = ExaBgp::start(&theirs, "10.9.0.1", &exabgp_config(&routes))?;
    let router = start(&ours, |neighbor| {
        for family in neighbor.families.values_mut() {
            family.add_path = None;
        }
    })?;
    let wanted = ["203.0.113.100/32", "203.0.113.200/32"].map(|text| text.parse::<ipnet::IpNet>().expect("a prefix"));
    router.routes("the two good routes", |routes| wanted.iter().all(|prefix| routes.contains_key(prefix)))?;
    until(SOON, "all malformed updates", || {
        let faults =
            router.ask(|_, seen| seen.events.iter().filter(|(_, event)| matches!(event, Event::Faulty(_))).count());
        (faults.ok()? > bad.len()).then_some(())
    })
    .map_err(|error| error.context(router.told()))?;
    let routes = router.ask(|_, seen| seen.routes.len())?;
    ensure!(routes == 2, "{routes} routes: {}", router.told());
    router.reaches("peer", State::Established)?;
    let lost = router.ask(|_, seen| seen.events.iter().any(|(_, event)| matches!(event, Event::Lost { .. })))?;
    ensure!(!lost, "the session was lost: {}", router.told());
    Ok(())
}

/// How many segments a machine has thrown away for their signature.
fn wrongly_signed(node: &Node) -> Result<u64> {
    let text = node.sh("grep ^TcpExt /proc/net/netstat")?;
    let mut lines = text.lines().map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { anyhow::bail!("no counters: {text}") };
    let mut counters = names.zip(values);
    Ok(counters.find(|(name, _)| *name == "TCPMD5Failure").map_or(Ok(0), |(_, count)| count.parse())?)
}

#[test]
fn a_password_lets_in_who_has_it() -> Result<()> {
    let [ours, theirs] = pair()?;
    let frr = Frr::bgpd(&theirs, &frr_config(" neighbor 10.9.0.1 password correct-horse\n"))?;
    let with = |password: &'static str| {
        move |neighbor: &mut Neighbor| neighbor.authentication = Authentication::Md5(Secret::new(password))
    };
    let wrong = start(&ours, with("battery-staple"))?;
    // Both sides try; both kernels throw away what is signed wrongly.
    for node in [&ours, &theirs] {
        until(SOON, "segments with a wrong signature", || (wrongly_signed(node).ok()? > 0).then_some(()))?;
    }
    let events = wrong.ask(|_, seen| seen.events.iter().any(|(_, event)| matches!(event, Event::Established(_))))?;
    ensure!(!events, "a wrong password was taken");
    drop(wrong);
    let right = start(&ours, with("correct-horse"))?;
    right.reaches("peer", State::Established)?;
    has_both(&right)?;
    frr.has("ipv4", OURS[0])
}

/// Our daemon is killed and comes back: FRR keeps our routes all the while.
#[test]
fn our_restart_costs_frr_no_route() -> Result<()> {
    let [ours, theirs] = pair()?;
    let frr = Frr::bgpd(&theirs, &frr_config(""))?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    frr.has("ipv4", OURS[0])?;
    frr.has("ipv6", OURS[1])?;
    has_both(&router)?;
    drop(router);
    until(SOON, "stale routes at FRR", || {
        let state = frr.show("show bgp neighbors 10.9.0.1 json").ok()?;
        (state["10.9.0.1"]["bgpState"] != "Established").then_some(())
    })?;
    ensure!(frr.valid("ipv4", OURS[0]) && frr.valid("ipv6", OURS[1]), "FRR has dropped our routes");
    let router = Router::start(&ours, config(|_| ()), Start::Restart(Forwarding::Preserved))?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    for _ in 0..20 {
        ensure!(
            frr.valid("ipv4", OURS[0]) && frr.valid("ipv6", OURS[1]),
            "FRR has dropped our routes: {}",
            router.told()
        );
    }
    Ok(())
}

/// FRR is killed and comes back: its routes stay all the while, and nothing is told to forwarding.
#[test]
fn the_restart_of_frr_costs_us_no_route() -> Result<()> {
    let [ours, theirs] = pair()?;
    let mut frr = Frr::bgpd(&theirs, &frr_config(""))?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    let ends = |router: &Router| {
        router.ask(|_, seen| seen.events.iter().filter(|(_, event)| matches!(event, Event::EndOfRib(_))).count())
    };
    until(SOON, "FRR's End-of-RIBs", || (ends(&router).ok()? >= 2).then_some(()))?;
    frr.kill("bgpd");
    until(SOON, "the loss of the session", || {
        let lost = router.ask(|_, seen| {
            seen.events.iter().any(|(_, event)| matches!(event, Event::Lost { retained, .. } if retained.len() == 2))
        });
        lost.ok()?.then_some(())
    })
    .map_err(|error| error.context(router.told()))?;
    has_both(&router)?;
    frr.launch("bgpd")?;
    router.reaches("peer", State::Established)?;
    until(SOON, "FRR's End-of-RIBs once more", || (ends(&router).ok()? >= 4).then_some(()))
        .map_err(|error| error.context(router.told()))?;
    has_both(&router)?;
    // FRR sends the End-of-RIB of IPv6 before its IPv6 routes; not even then anything changes.
    let (changes, events) = router.ask(|_, seen| (seen.changes.clone(), seen.events.clone()))?;
    let lost = events.iter().position(|(_, event)| matches!(event, Event::Lost { .. })).unwrap_or_default();
    let between: Vec<_> = changes.iter().filter(|change| change.after > lost).collect();
    ensure!(between.is_empty(), "forwarding was told {between:?}: {}", router.told());
    Ok(())
}

const BIRD: &str = "router id 10.9.0.2;\nprotocol device { }\nprotocol static { ipv4; route 198.51.100.0/24 blackhole; }\n\
             protocol static { ipv6; route 2001:db8:2::/48 blackhole; }\n\
             protocol bgp ours {\n local 10.9.0.2 as 65002; neighbor 10.9.0.1 as 65001; hold time 90; connect delay time 1;\n\
             error wait time 1, 2; connect retry time 1; graceful restart on; long lived graceful restart on;\n\
             long lived stale time 3600; enable extended messages on;\n\
             ipv4 { import all; export all; add paths on; };\n\
             ipv6 { import all; export all; add paths on; next hop address fd09::2; };\n}\n";

#[test]
fn bird() -> Result<()> {
    let [ours, theirs] = pair()?;
    let bird = Bird::start(&theirs, BIRD)?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    bird.has(OURS[0])?;
    bird.has(OURS[1])?;
    print_matrix("BIRD", &router)
}

/// Our daemon is killed and comes back: BIRD keeps our routes all the while.
#[test]
fn our_restart_costs_bird_no_route() -> Result<()> {
    let [ours, theirs] = pair()?;
    let bird = Bird::start(&theirs, BIRD)?;
    let router = start(&ours, |_| ())?;
    router.reaches("peer", State::Established)?;
    bird.has(OURS[0])?;
    bird.has(OURS[1])?;
    has_both(&router)?;
    drop(router);
    until(SOON, "BIRD waiting for us", || {
        let state = bird.ask("show protocols all ours").ok()?;
        (!state.contains("Established")).then_some(())
    })?;
    ensure!(bird.valid(OURS[0]) && bird.valid(OURS[1]), "BIRD has dropped our routes");
    let router = Router::start(&ours, config(|_| ()), Start::Restart(Forwarding::Preserved))?;
    router.reaches("peer", State::Established)?;
    has_both(&router)?;
    for _ in 0..20 {
        ensure!(bird.valid(OURS[0]) && bird.valid(OURS[1]), "BIRD has dropped our routes: {}", router.told());
    }
    Ok(())
}
