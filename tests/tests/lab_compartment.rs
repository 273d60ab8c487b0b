//! A tenant's compartment as the pipeline sees it: frames at the host ends of its veths, no XDP program in sight.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_common::tables::GATEWAY_MAC;
use gateway_user::dataplane::World;
use gateway_user::dataplane::world::{ConnectionName, Neighbour, PortState};
use gateway_user::gateway::compartment::{self, Compartments, PREFIX};
use gateway_user::gateway::standing::Standing;
use gateway_user::net::netlink::Netlink;
use gateway_user::net::netns::{self, Netns};
use gateway_user::plan::{self, Plan};
use lab::frame_socket::FrameSocket;
use lab::node::{Node, Processes};
use lab::tenants::address;
use lab::wait::{SOON, until};

mod common;
use common::on;

const PORT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x55];

const TENANT: &str = r#"
    [[tenant]]
    name = "contoso"
    gateway_addresses = ["10.1.255.1", "fd01:255::1"]
"#;

const VLAN: &str = r#"
    [[tenant.connection]]
    name = "dc"
    type = "l3"
    port = "tor0"
    vlan = 1001
    addresses = ["10.127.134.50/24", "fd00:127::50/64"]
    peers = ["10.127.134.55"]
    routes = [ { destination = "10.3.0.0/16", next_hop = "10.127.134.56" } ]
"#;

fn plan(tenants: &str) -> Result<Plan> {
    let head = r#"
        [gateway]
        name = "gw1"
        encapsulation = "vxlan"
        pa = ["10.10.0.1"]
        [[port]]
        name = "fab0"
        role = "fabric"
        [[port]]
        name = "tor0"
        role = "site"
    "#;
    Ok(plan::parse(&format!("{head}{tenants}"), "plan.toml")?)
}

fn ports() -> BTreeMap<String, PortState> {
    BTreeMap::from([("tor0".to_owned(), PortState { ifindex: 77, mac: PORT_MAC, mtu: 1500 })])
}

struct Gateway {
    netlink: Netlink,
    compartments: Compartments,
    known: BTreeSet<String>,
}

impl Gateway {
    fn new(directory: &Path) -> Result<Self> {
        Ok(Self { netlink: Netlink::new()?, compartments: Compartments::new(directory), known: BTreeSet::new() })
    }

    /// As one whose record knows of contoso's compartment.
    fn restarted(directory: &Path) -> Result<Self> {
        Ok(Self { known: BTreeSet::from(["contoso".to_owned()]), ..Self::new(directory)? })
    }

    fn make(&mut self, tenants: &str) -> Result<World> {
        let wanted = compartment::wanted(&plan(tenants)?, &ports(), &Standing::default());
        self.compartments.refuse_others(&mut self.netlink, &wanted, &self.known)?;
        let names: BTreeSet<String> = wanted.keys().cloned().collect();
        if let Some((tenant, error)) = self.compartments.reconcile(&mut self.netlink, wanted, &self.known).pop() {
            return Err(error.context(tenant));
        }
        self.known = names;
        let mut world = World::default();
        self.compartments.tell(&mut world);
        Ok(world)
    }
}

fn with_gateway<T: Send>(action: impl FnOnce(&Node, &Path) -> Result<T> + Send) -> Result<T> {
    let node = Node::new("gateway", &Processes::new()?)?;
    on(&node, || {
        let directory = tempfile::tempdir()?;
        let result = action(&node, directory.path());
        for (_, path) in netns::list(directory.path(), PREFIX)? {
            netns::remove(&path)?;
        }
        let _ = nix::mount::umount2(directory.path(), nix::mount::MntFlags::MNT_DETACH);
        result
    })
}

fn dc() -> ConnectionName {
    ConnectionName { tenant: "contoso".to_owned(), connection: "dc".to_owned() }
}

fn name_of(ifindex: u32) -> Result<String> {
    let links = Netlink::new()?.all_links()?;
    Ok(links.into_iter().find(|link| link.index == ifindex).with_context(|| format!("no interface {ifindex}"))?.name)
}

/// Sends until there is the answer: what a veth sends in the first milliseconds of its life, before its queue is ready, is lost.
fn insist(socket: &FrameSocket, question: &[u8], mut is_answer: impl FnMut(&[u8]) -> bool) -> Result<Vec<u8>> {
    until(SOON, "an answer", || {
        socket.send(question).ok()?;
        socket.expect(Duration::from_millis(200), &mut is_answer).ok()?
    })
}

fn arp_request(from: [u8; 6], source: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &from, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    frame.extend(from);
    frame.extend(source);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

fn is_arp_reply(frame: &[u8], mac: [u8; 6], address: [u8; 4]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06])
        && frame.get(20..22) == Some(&[0, 2])
        && frame.get(22..28) == Some(&mac)
        && frame.get(28..32) == Some(&address)
}

/// A TCP SYN to a port where nobody listens, as the pipeline delivers it.
fn syn(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut tcp = vec![0x30, 0x39, 0, 99, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
    let pseudo = [&source[..], &destination, &[0, 6, 0, 20], &tcp].concat();
    let check = lab::tunnel::internet_checksum(&pseudo);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    let mut ip = [&[0x45, 0, 0, 40, 0, 1, 0, 0, 63, 6, 0, 0][..], &source, &destination].concat();
    let check = lab::tunnel::internet_checksum(&ip);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    [&compartment::MAC[..], &GATEWAY_MAC, &[0x08, 0x00], &ip, &tcp].concat()
}

#[test]
fn the_kernel_inside_answers_for_the_tenants_address_without_asking_for_anybody() -> Result<()> {
    with_gateway(|node, directory| {
        let world = Gateway::new(directory)?.make(TENANT)?;
        let state = world.compartments.get("contoso").context("no compartment")?;
        let socket = FrameSocket::open(node, &name_of(state.ifindex)?)?;
        let (site, own) = ([10, 2, 0, 1], [10, 1, 255, 1]);
        let mut asked = false;
        let reset = insist(&socket, &syn(site, own), |frame| {
            asked |= frame.get(12..14) == Some(&[0x08, 0x06]);
            frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&6)
        })?;
        assert!(!asked, "ARP towards the pipeline");
        assert_eq!(reset[..12], [GATEWAY_MAC, compartment::MAC].concat());
        assert_eq!((&reset[26..30], &reset[30..34]), (&own[..], &site[..]));
        // Computed, not left to hardware that is not there.
        let length = u16::from_be_bytes([reset[16], reset[17]]) - 20;
        let tcp = &reset[34..34 + usize::from(length)];
        let pseudo = [&own[..], &site, &[0, 6], &length.to_be_bytes(), tcp].concat();
        assert_eq!(lab::tunnel::internet_checksum(&pseudo), 0);
        Ok(())
    })
}

#[test]
fn arp_is_answered_on_a_vlan_for_its_addresses_only_and_from_the_ports_mac() -> Result<()> {
    with_gateway(|node, directory| {
        let world = Gateway::new(directory)?.make(&format!("{TENANT}{VLAN}"))?;
        let root = *world.attachments.get(&dc()).context("no attachment")?;
        let socket = FrameSocket::open(node, &name_of(root)?)?;
        let peer = [10, 127, 134, 55];
        // The tenant's own address first: were it answered, that would be heard before the answer to the second question.
        let questions = [[10, 1, 255, 1], [10, 127, 134, 50]].map(|address| arp_request(PEER_MAC, peer, address));
        let mut leaked = false;
        socket.send(&questions[0])?;
        insist(&socket, &questions[1], |frame| {
            leaked |= is_arp_reply(frame, PORT_MAC, [10, 1, 255, 1]);
            is_arp_reply(frame, PORT_MAC, [10, 127, 134, 50])
        })?;
        assert!(!leaked, "an address of another link was answered for");
        Ok(())
    })
}

#[test]
fn peers_and_next_hops_on_a_vlan_are_asked_for_and_told() -> Result<()> {
    with_gateway(|node, directory| {
        let mut gateway = Gateway::new(directory)?;
        let world = gateway.make(&format!("{TENANT}{VLAN}"))?;
        let root = *world.attachments.get(&dc()).context("no attachment")?;
        assert!(world.neighbours.is_empty());
        let socket = FrameSocket::open(node, &name_of(root)?)?;
        let mut silent = BTreeSet::from([[10, 127, 134, 55], [10, 127, 134, 56]]);
        let all = socket.expect(SOON, |frame| {
            if let Some(asked) = frame.get(38..42).filter(|_| frame.get(12..14) == Some(&[0x08, 0x06])) {
                silent.retain(|peer| peer != asked);
            }
            silent.is_empty()
        })?;
        assert!(all.is_some(), "{silent:?} were not asked for");
        // It speaks first, which is as good as an answer.
        socket.send(&arp_request(PEER_MAC, [10, 127, 134, 55], [10, 127, 134, 50]))?;
        let neighbour = Neighbour { connection: dc(), address: address("10.127.134.55") };
        until(SOON, "the peer's MAC address", || {
            let mut world = World::default();
            // A fresh look, as after lost notifications.
            gateway.compartments.heard("contoso", &gateway_user::net::netlink::Change::Overrun).ok()?;
            gateway.compartments.tell(&mut world);
            (world.neighbours.get(&neighbour) == Some(&PEER_MAC)).then_some(())
        })
    })
}

#[test]
fn a_restarted_daemon_takes_over_and_mends_what_is_half_made() -> Result<()> {
    with_gateway(|_, directory| {
        let tenants = format!("{TENANT}{VLAN}");
        let first = Gateway::new(directory)?.make(&tenants)?;
        let again = Gateway::restarted(directory)?.make(&tenants)?;
        assert_eq!((&first.compartments, &first.attachments), (&again.compartments, &again.attachments));
        let namespace = Netns::open(&directory.join("gw-contoso"))?;
        namespace.run(|| -> Result<()> {
            let mut netlink = Netlink::new()?;
            let vlan =
                netlink.all_links()?.into_iter().find(|link| link.name.starts_with("vlan")).context("no VLAN")?;
            Ok(netlink.delete_link(&vlan.name)?)
        })??;
        let mended = Gateway::restarted(directory)?.make(&tenants)?;
        assert_eq!(first.compartments, mended.compartments, "what was whole is left alone");
        assert_ne!(first.attachments, mended.attachments);
        assert!(mended.attachments.contains_key(&dc()));
        Ok(())
    })
}

#[test]
fn what_the_plan_names_no_more_goes() -> Result<()> {
    with_gateway(|_, directory| {
        let mut gateway = Gateway::new(directory)?;
        let other = TENANT.replace("contoso", "woodgrove");
        gateway.make(&format!("{TENANT}{VLAN}{other}"))?;
        assert_eq!(netns::list(directory, PREFIX)?.len(), 2);
        let world = gateway.make(TENANT)?;
        assert!(world.attachments.is_empty());
        assert_eq!(netns::list(directory, PREFIX)?.len(), 1);
        gateway.make("")?;
        assert_eq!(netns::list(directory, PREFIX)?, []);
        let left: Vec<_> = Netlink::new()?.all_links()?.into_iter().filter(|link| !link.loopback).collect();
        assert_eq!(left, []);
        Ok(())
    })
}

#[test]
fn a_namespace_of_somebody_elses_is_refused() -> Result<()> {
    with_gateway(|_, directory| {
        netns::prepare_directory(directory)?;
        Netns::create(&directory.join("gw-contoso"))?;
        let error = Gateway::new(directory)?.make(TENANT).expect_err("it is not ours");
        assert!(format!("{error:#}").contains("not as a compartment of this gateway"), "{error:#}");
        Ok(())
    })
}

#[test]
fn tenants_with_the_same_addresses_do_not_meet() -> Result<()> {
    with_gateway(|_, directory| {
        let other = TENANT.replace("contoso", "woodgrove");
        let world = Gateway::new(directory)?.make(&format!("{TENANT}{other}"))?;
        let [one, two] = ["contoso", "woodgrove"].map(|name| world.compartments.get(name).map(|state| state.ifindex));
        assert!(one.is_some() && two.is_some() && one != two);
        Ok(())
    })
}
