//! The data plane against the kernel: pinned, adopted, swapped, migrated, refused and removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{ArrayOfMaps, Map, MapData};
use gateway_common::tables::Route;
use gateway_common::{ConnectionId, OriginId};
use gateway_user::dataplane::attach::{Change, Entry, Wanted};
use gateway_user::dataplane::pins::Mode;
use gateway_user::dataplane::world::{Hop, PortState};
use gateway_user::dataplane::{Dataplane, Error, Found, Migration, Options, World, detach};
use gateway_user::plan::{Plan, parse};
use lab::link::{End, cable};
use lab::node::{Node, Processes};
use nix::net::if_::if_nametoindex;

const PINS: &str = "/sys/fs/bpf/gateway";

/// A gateway with one cable, to a neighbour.
struct Gateway {
    node: Arc<Node>,
    _neighbour: Arc<Node>,
}

impl Gateway {
    fn new() -> Result<Self> {
        let processes = Processes::new()?;
        let node = Node::new("gateway", &processes)?;
        let neighbour = Node::new("neighbour", &processes)?;
        cable(1500, End::new(&node, "port0"), End::new(&neighbour, "eth0"))?;
        Ok(Self { node, _neighbour: neighbour })
    }

    fn within<T: Send>(&self, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.node.within(action)
    }
}

fn options() -> Options {
    Options { pins: PINS.into(), state: "/run/gateway".into(), ..Options::default() }
}

/// A plan with these GRE connections and what follows them in each.
fn plan(connections: &[(u32, String)]) -> Result<Arc<Plan>> {
    let mut text = String::from(
        r#"
        [gateway]
        name = "gw1"
        encapsulation = "vxlan"
        pa = ["10.10.0.1"]
        routes_per_tenant = 20000
        [[port]]
        name = "port0"
        role = "both"
        [[tenant]]
        name = "contoso"
        gateway_addresses = ["10.1.255.1"]
        subnets = [ { vsid = 5001, prefix = "10.1.0.0/24" } ]
        vms = [ { ca = "10.1.0.5", mac = "02:00:00:00:01:05", vsid = 5001, pa = "10.10.0.11" } ]
        "#,
    );
    for (key, rest) in connections {
        text.push_str(&format!(
            "[[tenant.connection]]\nname = \"c{key}\"\ntype = \"gre\"\nvip = \"198.51.100.10\"\nremote = \"203.0.113.20\"\nkey = {key}\n{rest}\n"
        ));
    }
    parse(&text, "test").map(Arc::new).map_err(|error| anyhow::anyhow!("{error}"))
}

fn usual_plan() -> Result<Arc<Plan>> {
    plan(&[(100, r#"routes = [ { destination = "10.2.0.0/16" } ]"#.into())])
}

fn world() -> Result<World> {
    let ifindex = if_nametoindex("port0")?;
    let mac = [2, 0, 0, 0, 0, 1];
    let hop = Hop { ifindex, destination: [2, 0, 0, 0, 0, 9], source: mac, mtu: 1500 };
    Ok(World {
        ports: BTreeMap::from([("port0".to_owned(), PortState { ifindex, mac, mtu: 1500 })]),
        hops: HashMap::from([("203.0.113.20".parse()?, hop), ("10.10.0.11".parse()?, hop)]),
        ..World::default()
    })
}

fn wanted(mode: Mode) -> Result<Vec<Wanted>> {
    Ok(vec![Wanted { name: "port0".into(), ifindex: if_nametoindex("port0")?, entry: Entry::Both, mode }])
}

fn attached() -> Result<bool> {
    let output = std::process::Command::new("ip").args(["-d", "link", "show", "dev", "port0"]).output()?;
    Ok(String::from_utf8(output.stdout)?.contains("prog/xdp"))
}

fn pinned(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_second_daemon_finds_everything_as_it_should_be() -> Result<()> {
    Gateway::new()?.within(|| {
        let (plan, world) = (usual_plan()?, world()?);
        let mut first = Dataplane::open(&options())?;
        ensure!(first.found() == Found::Nothing);
        ensure!(!first.apply(&plan, &world)?.is_empty());
        ensure!(first.attach(&wanted(Mode::Native)?)? == Change { attached: 1, ..Change::default() });
        ensure!(first.apply(&plan, &world)?.is_empty());
        ensure!(first.attach(&wanted(Mode::Native)?)? == Change::default());
        let connection = first.ids().connection_id("contoso", "c100");
        drop(first);
        ensure!(attached()?, "the program stays without a daemon");

        let mut second = Dataplane::open(&options())?;
        ensure!(second.found() == Found::Adopted);
        let applied = second.apply(&plan, &world)?;
        ensure!(applied.is_empty(), "a restart changed {applied:?}");
        ensure!(second.attach(&wanted(Mode::Native)?)? == Change { swapped: 1, ..Change::default() });
        ensure!(second.ids().connection_id("contoso", "c100") == connection);
        ensure!(pinned(Path::new(PINS).join("stages")).len() == 1, "the earlier stages are gone");
        Ok(())
    })
}

#[test]
fn a_large_table_is_read_back_whole() -> Result<()> {
    Gateway::new()?.within(|| {
        let mut random = Random(11);
        let (mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..9000 {
            let len = 17 + random.below(16);
            v4.insert((0xac10_0000 | random.below(1 << 20) & (u32::MAX << (32 - len)), len));
            let len = 40 + random.below(25);
            let site = u128::from(random.below(1 << 31)) << 64 & (u128::MAX << (128 - len));
            v6.insert((0xfd02 << 112 | site, len));
        }
        let v4 = v4.iter().map(|(address, len)| format!("{}/{len}", Ipv4Addr::from(*address)));
        let v6 = v6.iter().map(|(address, len)| format!("{}/{len}", Ipv6Addr::from(*address)));
        let routes: String = v4.chain(v6).map(|prefix| format!("{{ destination = \"{prefix}\" }}, ")).collect();
        let (plan, world) = (plan(&[(100, format!("routes = [ {routes} ]"))])?, world()?);
        let mut first = Dataplane::open(&options())?;
        ensure!(first.apply(&plan, &world)?.written > 15_000);
        drop(first);
        let applied = Dataplane::open(&options())?.apply(&plan, &world)?;
        ensure!(applied.is_empty(), "{applied:?}");
        Ok(())
    })
}

#[test]
fn a_daemon_that_lost_its_numbers_still_reconciles() -> Result<()> {
    Gateway::new()?.within(|| {
        let (plan, world) = (usual_plan()?, world()?);
        let mut first = Dataplane::open(&options())?;
        first.apply(&plan, &world)?;
        let before = first.ids().connection_id("contoso", "c100");
        drop(first);
        std::fs::remove_file("/run/gateway/ids.json")?;

        let mut second = Dataplane::open(&options())?;
        ensure!(!second.apply(&plan, &world)?.is_empty());
        ensure!(second.ids().connection_id("contoso", "c100") != before, "a number in use was given out again");
        ensure!(second.apply(&plan, &world)?.is_empty());
        Ok(())
    })
}

#[test]
fn detach_leaves_nothing_and_may_be_said_twice() -> Result<()> {
    Gateway::new()?.within(|| {
        let mut dataplane = Dataplane::open(&options())?;
        dataplane.apply(&usual_plan()?, &world()?)?;
        dataplane.attach(&wanted(Mode::Native)?)?;
        ensure!(attached()?);
        let refused = detach(Path::new(PINS), Path::new("/run/gateway"));
        ensure!(matches!(refused, Err(Error::Locked(_))), "detached under a running daemon: {refused:?}");
        drop(dataplane);
        ensure!(detach(Path::new(PINS), Path::new("/run/gateway"))? > 20);
        ensure!(!attached()?);
        ensure!(!Path::new(PINS).exists() && !Path::new("/run/gateway").exists());
        ensure!(detach(Path::new(PINS), Path::new("/run/gateway"))? == 0);
        Ok(())
    })
}

#[test]
fn pins_that_do_not_fit_are_refused_untouched_and_migrated_on_demand() -> Result<()> {
    Gateway::new()?.within(|| {
        let (plan, world) = (usual_plan()?, world()?);
        let mut first = Dataplane::open(&options())?;
        first.apply(&plan, &world)?;
        first.attach(&wanted(Mode::Native)?)?;
        drop(first);

        let mut larger = options();
        larger.sizes.set("CONNECTIONS", 1 << 17);
        let Err(error) = Dataplane::open(&larger) else { anyhow::bail!("loaded over maps of another size") };
        let text = error.to_string();
        ensure!(text.contains("CONNECTIONS: entries 65536, this gatewayd needs 131072"), "{text}");
        ensure!(text.contains("--migrate") && text.contains("gatewayctl detach"), "{text}");
        ensure!(attached()?);
        ensure!(pinned(Path::new(PINS).join("stages")).len() == 1);

        larger.migration = Migration::Migrate;
        let mut second = Dataplane::open(&larger)?;
        ensure!(second.found() == Found::Outdated);
        ensure!(!second.apply(&plan, &world)?.is_empty());
        ensure!(second.attach(&wanted(Mode::Native)?)? == Change { swapped: 1, ..Change::default() });
        drop(second);
        ensure!(!Path::new(PINS).join("next").exists());

        larger.migration = Migration::Refuse;
        let mut third = Dataplane::open(&larger)?;
        ensure!(third.found() == Found::Adopted);
        ensure!(third.apply(&plan, &world)?.is_empty());
        Ok(())
    })
}

/// Connections with these keys, each of a prefix of its own.
fn connections(keys: impl IntoIterator<Item = u32>) -> Result<Arc<Plan>> {
    let connections =
        keys.into_iter().map(|key| (key, format!("routes = [ {{ destination = \"10.{key}.0.0/16\" }} ]")));
    plan(&connections.collect::<Vec<_>>())
}

#[test]
fn what_there_is_room_for_alone_may_replace_what_was_there() -> Result<()> {
    Gateway::new()?.within(|| {
        let world = world()?;
        let mut small = options();
        // The first one is nobody's.
        small.sizes.set("CONNECTIONS", 9);
        let mut dataplane = Dataplane::open(&small)?;
        dataplane.apply(&connections(2..8)?, &world)?;
        let kept =
            |dataplane: &Dataplane| [6, 7].map(|key| dataplane.ids().connection_id("contoso", &format!("c{key}")));
        let before = kept(&dataplane);
        let next = connections(6..14)?;
        ensure!(!dataplane.apply(&next, &world)?.is_empty());
        ensure!(kept(&dataplane) == before && before[0].is_some(), "what stays has another number");
        ensure!(dataplane.apply(&next, &world)?.is_empty());
        let tenant = dataplane.ids().tenant_id("contoso").context("the tenant has a number")?;
        let maps = Path::new(PINS).join("maps");
        for (octet, there) in [(2, false), (5, false), (6, true), (13, true)] {
            let route = kernel_lookup(&maps, tenant.0, Ipv4Addr::new(10, octet, 0, 1))?;
            ensure!(route.is_some() == there, "10.{octet}.0.1: {route:?}");
        }

        let refused = dataplane.apply(&connections(20..29)?, &world);
        ensure!(matches!(refused, Err(Error::Full { map: "CONNECTIONS", .. })), "{refused:?}");
        let applied = dataplane.apply(&next, &world)?;
        ensure!(applied.is_empty(), "a refused plan cost {applied:?}");
        ensure!(kept(&dataplane) == before);
        Ok(())
    })
}

#[test]
fn what_a_daemon_left_that_died_before_it_attached_anything_stands_in_nobodys_way() -> Result<()> {
    Gateway::new()?.within(|| {
        drop(Dataplane::open(&options())?);
        ensure!(pinned(Path::new(PINS).join("maps")).len() > 20, "nothing is pinned");
        let mut larger = options();
        larger.sizes.set("CONNECTIONS", 1 << 17);
        let mut second = Dataplane::open(&larger)?;
        ensure!(second.found() == Found::Nothing);
        second.apply(&usual_plan()?, &world()?)?;
        second.attach(&wanted(Mode::Native)?)?;
        ensure!(pinned(Path::new(PINS).join("stages")).len() == 1);
        Ok(())
    })
}

#[test]
fn a_port_with_somebody_elses_program_is_refused_and_left_alone() -> Result<()> {
    Gateway::new()?.within(|| {
        let elsewhere = Options { pins: "/sys/fs/bpf/other".into(), state: "/run/other".into(), ..options() };
        let mut other = Dataplane::open(&elsewhere)?;
        other.attach(&wanted(Mode::Native)?)?;
        let mut ours = Dataplane::open(&options())?;
        let Err(error) = ours.attach(&wanted(Mode::Native)?) else { anyhow::bail!("attached over another's program") };
        ensure!(matches!(&error, Error::Busy { port } if port == "port0"), "{error}");
        drop((ours, other));
        detach(Path::new(PINS), Path::new("/run/gateway"))?;
        ensure!(attached()?, "the other's program is still there");
        Ok(())
    })
}

#[test]
fn a_port_changes_its_mode_and_its_program_goes_with_the_plan() -> Result<()> {
    Gateway::new()?.within(|| {
        let mut dataplane = Dataplane::open(&options())?;
        dataplane.attach(&wanted(Mode::Generic)?)?;
        let change = dataplane.attach(&wanted(Mode::Native)?)?;
        ensure!(change == Change { attached: 1, detached: 1, swapped: 0 }, "{change:?}");
        let change = dataplane.attach(&[])?;
        ensure!(change == Change { detached: 1, ..Change::default() }, "{change:?}");
        ensure!(!attached()?);
        Ok(())
    })
}

/// What the kernel's trie of the one tenant holds for an address.
fn kernel_lookup(maps: &Path, tenant: u32, address: Ipv4Addr) -> Result<Option<Route>> {
    let outer = Map::from_map_data(MapData::from_pin(maps.join("ROUTES4"))?)?;
    let outer: ArrayOfMaps<MapData, LpmTrie<MapData, [u8; 4], Route>> = outer.try_into()?;
    let trie = outer.get(&tenant, 0)?;
    match trie.get(&Key::new(32, address.octets()), 0) {
        Ok(route) => Ok(Some(route)),
        Err(aya::maps::MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A small generator: the same run after run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

#[test]
fn after_any_changes_the_kernels_tries_say_what_the_plan_says() -> Result<()> {
    Gateway::new()?.within(|| {
        let mut random = Random(7);
        let mut dataplane = Dataplane::open(&options())?;
        let maps = PathBuf::from(PINS).join("maps");
        let world = world()?;
        for round in 0..25 {
            // Routes of up to 6 connections, all within 172.16.0.0/16 so that they nest and meet.
            let mut routes: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for _ in 0..random.below(60) {
                let len = 16 + random.below(17);
                let address = 0xac10_0000 | random.below(1 << 16) & (u32::MAX << (32 - len)) & 0xffff;
                routes.insert((address, len), 1 + random.below(6));
            }
            let mut text: BTreeMap<u32, String> = BTreeMap::new();
            for ((address, len), connection) in &routes {
                let line = format!("{{ destination = \"{}/{len}\" }}, ", Ipv4Addr::from(*address));
                text.entry(*connection).or_default().push_str(&line);
            }
            let connections: Vec<_> =
                text.into_iter().map(|(key, routes)| (key, format!("routes = [ {routes} ]"))).collect();
            dataplane.apply(&plan(&connections)?, &world)?;
            let tenant = dataplane.ids().tenant_id("contoso").context("the tenant has a number")?;
            for _ in 0..200 {
                let address = 0xac10_0000 | random.below(1 << 16);
                let best = routes
                    .iter()
                    .filter(|((prefix, len), _)| (address ^ prefix) >> (32 - len) == 0)
                    .max_by_key(|((_, len), _)| *len);
                let found = kernel_lookup(&maps, tenant.0, address.into())?;
                let expected = best.map(|((_, len), connection)| {
                    let id = dataplane.ids().connection_id("contoso", &format!("c{connection}"));
                    (*len, id)
                });
                let found = found.map(|route| {
                    let origin = |id: &ConnectionId| route.feasible.is_only(OriginId::connection(*id));
                    let mut ids =
                        (1..=6).filter_map(|key| dataplane.ids().connection_id("contoso", &format!("c{key}")));
                    (route.prefix_len, ids.find(origin))
                });
                ensure!(found == expected, "round {round}, {}: {found:?} is not {expected:?}", Ipv4Addr::from(address));
            }
        }
        Ok(())
    })
}
