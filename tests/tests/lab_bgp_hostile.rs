//! What hostile and broken neighbours of one tenant do to the daemon: little, and nothing to another tenant with the same addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::node::Node;
use lab::peers::{Attribute, Bird, ExaBgp, Raw, Update};
use lab::plan::Plan;
use lab::sessions::PATIENCE;
use lab::tenants::{HQ, TENANT_GATEWAY, TENANTS, address};
use lab::topology::World;
use lab::wait::until;

/// What both tenants' sites announce, and a machine there.
const BEHIND_HQ: (&str, &str) = ("10.7.0.0/16", "10.7.0.1");
/// What is announced to show that a session lives.
const SIGN: &str = "10.99.0.0/16";
/// The good sites' AS.
const SITE: u32 = 64513;

/// The AS of the broken peer with a number.
fn asn(number: usize) -> u32 {
    64600 + number as u32
}

/// The address of the broken peer with a number, at the GRE site of the first tenant.
fn broken(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 1, number as u8 + 1)
}

fn gateway() -> IpAddr {
    address(TENANT_GATEWAY[0])
}

/// Routers of both tenants. The first one's has so many broken peers, and one on the VLAN; the second one's has a good peer.
fn start(count: usize, router: &str) -> Result<(Lab, Bird)> {
    let lab = Lab::start_with(World::default(), |plan| {
        let mut text = format!("as_number = 64512\n{router}\n");
        for number in 0..count {
            text += &peer(
                (&format!("broken{number}"), asn(number)),
                broken(number).into(),
                "mode = 'passive'\nconnection = 'hq'",
            );
        }
        text += &peer(("dc", SITE), address(TENANTS[0].vlan_peer[0]), "mode = 'passive'");
        set(plan, 0, &text);
        set(plan, 1, &format!("as_number = 64512\n{}", peer(("hq", SITE), address(HQ[0]), "")));
    })?;
    for number in 0..count {
        lab.world.contoso.hq.ip(&format!("address add {}/32 dev lo\n", broken(number)))?;
    }
    let site = &lab.world.woodgrove;
    site.hq.ip(&format!("address add {}/32 dev lo\n", BEHIND_HQ.1))?;
    let bird = Bird::start(
        &site.hq,
        &format!(
            "router id {own};\nprotocol device {{ }}\nprotocol static {{ ipv4; route {prefix} blackhole; }}\n\
             protocol bgp cloud {{ local {own} as {SITE}; neighbor {gateway} as 64512; multihop 2; hold time 90;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2;\n\
             ipv4 {{ import all; export where source = RTS_STATIC; }}; }}\n",
            own = HQ[0],
            prefix = BEHIND_HQ.0,
            gateway = TENANT_GATEWAY[0],
        ),
    )?;
    lab.gateway.await_path("woodgrove", BEHIND_HQ.0, "hq")?;
    lab.reaches(&site.vms[0], BEHIND_HQ.1)?;
    Ok((lab, bird))
}

fn peer((name, asn): (&str, u32), address: IpAddr, more: &str) -> String {
    format!("[[peer]]\nname = '{name}'\naddress = '{address}'\nas_number = {asn}\nconnect_retry_ms = 1000\n{more}\n")
}

fn set(plan: &mut Plan, tenant: usize, text: &str) {
    let bgp: toml::Table = text.parse().unwrap_or_else(|error| panic!("no TOML: {error}\n{text}"));
    plan.tenant(TENANTS[tenant].name).insert("bgp".into(), bgp.into());
}

/// The other tenant has its session since the beginning, its route, and its packets arrive.
fn other_is_well(lab: &Lab) -> Result<()> {
    let other = lab.gateway.bgp_peer("woodgrove", "hq")?;
    ensure!((other.established, other.lost) == (1, 0), "{other:#?}\n{}", lab.gateway.about_bgp());
    let paths = lab.gateway.bgp_paths("woodgrove", BEHIND_HQ.0)?;
    ensure!(paths.len() == 1 && paths[0].used == "best", "{paths:#?}");
    ensure!(lab.gateway.bgp_paths("woodgrove", SIGN)?.is_empty(), "a route of the other tenant");
    lab.reaches(&lab.world.woodgrove.vms[0], BEHIND_HQ.1)
}

/// What a broken neighbour does, and what it comes to.
struct Case {
    name: &'static str,
    /// After a session is there, or instead of one.
    does: fn(&mut Raw) -> Result<()>,
    begins: Begins,
    comes_to: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    WithASession,
    WithTheConnection,
}

#[derive(Clone, Copy)]
enum Outcome {
    /// The session stays; the log has these words.
    Stays(&'static str),
    /// It ends with this code and subcode.
    Ends(u8, u8),
}

const CASES: [Case; 14] = [
    Case {
        name: "an ORIGIN that there is not (RFC 7606, 7.1)",
        does: |raw| with(raw, |all| all[0].2 = vec![9]),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 1 "),
    },
    Case {
        name: "an AS_PATH whose segment is cut off (7.2)",
        does: |raw| with(raw, |all| all[1].2 = vec![2, 3, 0, 0]),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 2 "),
    },
    Case {
        name: "a NEXT_HOP of three octets (7.3)",
        does: |raw| with(raw, |all| all[2].2.truncate(3)),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 3 "),
    },
    Case {
        name: "no NEXT_HOP at all (3 d)",
        does: |raw| with(raw, |all| all.truncate(2)),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 3 "),
    },
    Case {
        name: "a MED of five octets (7.4)",
        does: |raw| with(raw, |all| all.push((0x80, 4, vec![0; 5]))),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 4 "),
    },
    Case {
        name: "communities of five octets (7.8)",
        does: |raw| with(raw, |all| all.push((0xc0, 8, vec![0; 5]))),
        begins: Begins::WithASession,
        comes_to: Outcome::Stays("attribute 8 "),
    },
    Case {
        name: "MP_REACH_NLRI twice (3 g)",
        does: |raw| {
            with(raw, |all| {
                let reach = (0x80, 14, [&[0, 1, 1, 4, 10, 2, 0, 1, 0][..], &[16, 10, 7]].concat());
                all.extend([reach.clone(), reach]);
            })
        },
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(3, 1),
    },
    Case {
        name: "a prefix of 33 bits (5.3)",
        does: |raw| {
            let attributes = raw.attributes();
            raw.update(&Update { attributes, prefixes: vec![33, 10, 7, 0, 0, 0], ..Update::default() })
        },
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(3, 10),
    },
    Case {
        name: "withdrawn routes that are longer than the message",
        does: |raw| raw.send(2, &[0xff, 0xff, 0, 0]),
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(3, 1),
    },
    Case {
        name: "a marker that is none",
        does: |raw| raw.bytes(&[&[0; 16][..], &[0, 19, 4]].concat()),
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(1, 1),
    },
    Case {
        name: "a message shorter than its header",
        does: |raw| raw.bytes(&[&[0xff; 16][..], &[0, 18, 4]].concat()),
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(1, 2),
    },
    Case {
        name: "a message of a type that there is not",
        does: |raw| raw.send(77, &[]),
        begins: Begins::WithASession,
        comes_to: Outcome::Ends(1, 3),
    },
    Case {
        name: "a version that there is not",
        does: |raw| raw.open_as(5, asn(12), 90),
        begins: Begins::WithTheConnection,
        comes_to: Outcome::Ends(2, 1),
    },
    Case {
        name: "somebody else's AS",
        does: |raw| raw.open_as(4, 64999, 90),
        begins: Begins::WithTheConnection,
        comes_to: Outcome::Ends(2, 2),
    },
];

/// An UPDATE about what the other tenant's site announces, too, with attributes that are not good any more.
fn with(raw: &mut Raw, spoil: impl FnOnce(&mut Vec<Attribute>)) -> Result<()> {
    let mut attributes = raw.attributes();
    spoil(&mut attributes);
    raw.update(&Update { attributes, prefixes: Update::prefix(Ipv4Addr::new(10, 7, 0, 0), 16), ..Update::default() })
}

#[test]
fn what_is_malformed_costs_what_the_rfc_says_and_nothing_to_anybody_else() -> Result<()> {
    let (lab, _bird) = start(CASES.len(), "")?;
    let contoso = &lab.world.contoso;
    // On the VLAN, by a daemon: malformed ones between good ones.
    let bad =
        ["0x08 0xc0 0x000001", "0x20 0xc0 0x00000001", "0x10 0xc0 0x00000001", "0x63 0x40 0x01", "0x23 0xc0 0x0001"];
    let [own, vlan] = [contoso.tenant.vlan_peer[0], contoso.tenant.vlan_gateway[0]];
    let mut routes = format!("route 203.0.113.200/32 next-hop {own};\n");
    for (number, attribute) in bad.iter().enumerate() {
        routes += &format!("route 203.0.113.{number}/32 next-hop {own} attribute [ {attribute} ];\n");
    }
    routes += &format!("route 203.0.113.201/32 next-hop {own};\n");
    let _exabgp = ExaBgp::start(
        &contoso.dc,
        vlan,
        &format!(
            " router-id {own};\n local-address {own};\n local-as {SITE};\n peer-as 64512;\n hold-time 90;\n\
             family {{ ipv4 unicast; }}\n static {{ {routes} }}\n"
        ),
    )?;
    let mut kept = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let name = format!("broken{number}");
        let raw = meet(&lab, &contoso.hq, number, case).with_context(|| format!("{}: {name}", case.name))?;
        kept.extend(raw.map(|raw| (name, raw)));
    }
    for prefix in ["203.0.113.200/32", "203.0.113.201/32"] {
        lab.gateway.await_path("contoso", prefix, "dc")?;
    }
    for kind in [8, 32, 16, 99, 35] {
        let words = format!("a faulty UPDATE: attribute {kind} ");
        await_words(&lab, "dc", &words)?;
    }
    let shown = lab.gateway.bgp_peer("contoso", "dc")?;
    ensure!((shown.lost, shown.prefixes_received) == (0, 2), "{shown:#?}");
    // Nothing of what was malformed is in use.
    ensure!(lab.gateway.bgp_paths("contoso", BEHIND_HQ.0)?.is_empty(), "{}", lab.gateway.about_bgp());
    for (name, _) in &kept {
        let shown = lab.gateway.bgp_peer("contoso", name)?;
        ensure!((shown.state.as_str(), shown.lost) == ("established", 0), "{shown:#?}");
    }
    other_is_well(&lab)
}

/// Waits until the log has a line about one of the first tenant's peers.
fn await_words(lab: &Lab, peer: &str, words: &str) -> Result<()> {
    let about = format!("tenant=\"contoso\" peer={peer}");
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_digit());
    let said = || {
        let log = lab.gateway.log();
        log.lines().any(|line| line.contains(words) && line.split_once(&about).is_some_and(|(_, rest)| ends(rest)))
    };
    until(PATIENCE, &format!("the log to have \"{words}\" of {peer}"), || said().then_some(()))
        .with_context(|| lab.gateway.log())
}

/// Has a neighbour do something; it is returned if its session stays.
fn meet(lab: &Lab, site: &Arc<Node>, number: usize, case: &Case) -> Result<Option<Raw>> {
    let own = IpAddr::V4(broken(number));
    let name = format!("broken{number}");
    let mut raw = match case.begins {
        Begins::WithASession => Raw::establish(site, own, gateway(), asn(number))?,
        Begins::WithTheConnection => Raw::connect(site, own, gateway(), asn(number))?,
    };
    (case.does)(&mut raw)?;
    match case.comes_to {
        Outcome::Stays(words) => {
            // What comes after it is taken.
            raw.announce(Ipv4Addr::new(10, 99, 0, 0), 16)?;
            lab.gateway.await_paths(("contoso", SIGN), &name, |paths| paths.iter().any(|path| path.peer == name))?;
            await_words(lab, &name, words)?;
            Ok(Some(raw))
        }
        Outcome::Ends(code, subcode) => {
            let said = raw.notification()?;
            ensure!(said == (code, subcode), "it was told {said:?} and not {:?}", (code, subcode));
            await_words(lab, &name, &format!("({code}/{subcode})"))?;
            Ok(None)
        }
    }
}

/// What the daemon takes of memory: at present, and at most so far, in KiB.
fn memory(lab: &Lab) -> Result<[u64; 2]> {
    let pid = lab.gateway.pid().context("no daemon runs")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |key: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok([of("VmRSS:")?, of("VmHWM:")?])
}

fn descriptors(lab: &Lab) -> Result<usize> {
    let pid = lab.gateway.pid().context("no daemon runs")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

#[test]
fn floods_deaf_ears_and_slammed_doors_cost_little_and_nothing_to_anybody_else() -> Result<()> {
    /// Prefixes that the router takes, and rounds in which the peer sends as many with other attributes.
    const MOST: u32 = 1000;
    const ROUNDS: u8 = 8;
    /// KiB that the daemon may grow by: a fraction of what was sent to it, and of what it could have queued.
    const ROOM: u64 = 30 << 10;
    let (lab, _bird) = start(2, &format!("max_routes = {MOST}"))?;
    let contoso = &lab.world.contoso;
    let [before, _] = memory(&lab)?;
    // It never reads what it is sent: all that the other one announces.
    let deaf = Raw::establish(&contoso.hq, IpAddr::V4(broken(1)), gateway(), asn(1))?;
    let mut flood = Raw::establish(&contoso.hq, IpAddr::V4(broken(0)), gateway(), asn(0))?;
    for round in 0..ROUNDS {
        for number in 0..2 * MOST {
            let mut attributes = flood.attributes();
            // 3 KiB of communities that no other route has.
            let mut communities = vec![round; 3072];
            communities[..4].copy_from_slice(&number.to_be_bytes());
            attributes.push((0xc0, 8, communities));
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + (number << 8));
            flood.update(&Update { attributes, prefixes: Update::prefix(address, 24), ..Update::default() })?;
        }
        other_is_well(&lab)?;
    }
    // All was read when this comes to pass.
    lab.gateway.await_bgp_peer(("contoso", "broken0"), "all it sends", |peer| {
        peer.messages_received >= u64::from(ROUNDS) * 2 * u64::from(MOST)
    })?;
    let [after, most] = memory(&lab)?;
    println!("the daemon had {before} KiB, then {after} KiB, at most {most} KiB");
    ensure!(most < before + ROOM, "the daemon had {before} KiB, then {after} KiB, at most {most} KiB");
    let shown = lab.gateway.bgp_peer("contoso", "broken0")?;
    ensure!(shown.prefixes_received <= u64::from(MOST), "{shown:#?}");
    let sent = lab.gateway.bgp_peer("contoso", "broken1")?.prefixes_sent;
    ensure!(sent > 0, "nothing was for the peer that does not read: {}", lab.gateway.about_bgp());
    other_is_well(&lab)?;
    drop((flood, deaf));

    // Connections that are opened and closed, with and without a word.
    let open = descriptors(&lab)?;
    for number in 0..300 {
        let Ok(mut raw) = Raw::connect(&contoso.hq, IpAddr::V4(broken(0)), gateway(), asn(0)) else { continue };
        if number % 2 == 0 {
            // The gateway may have closed it before.
            let _ = raw.open(90);
        }
    }
    until(PATIENCE, "the connections to be closed", || (descriptors(&lab).ok()? <= open + 4).then_some(()))?;
    let [after, most] = memory(&lab)?;
    ensure!(most < before + ROOM, "the daemon had {before} KiB, then {after} KiB, at most {most} KiB");
    other_is_well(&lab)
}
