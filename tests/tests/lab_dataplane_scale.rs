//! The data plane at its full size. Slow without optimisation: `cargo test --release --test lab_dataplane_scale -- --ignored --nocapture`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gateway_user::dataplane::world::{Hop, PortState};
use gateway_user::dataplane::{Dataplane, Found, Options, World};
use gateway_user::plan::{Complaint, ConnectionKind, Plan, Tenant, parse};
use lab::node::{Node, Processes};
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{UsageWho, getrusage};

const TENANTS: u32 = 10_000;
/// A million routes in all.
const ROUTES: u32 = 100;

/// Every tenant has a VM and a tunnel with the same routes; the first `changed` tunnels have a limit, another metric and one other route.
fn plan(changed: u32) -> Result<Arc<Plan>> {
    let mut text = String::from(
        r#"
        [gateway]
        name = "gw1"
        encapsulation = "vxlan"
        pa = ["10.10.0.1"]
        [[port]]
        name = "port0"
        role = "both"
        "#,
    );
    for (tenant, limit, first) in [("usual", "", 20), ("changed", "inbound_kbps = 100000", 21)] {
        let metric = first;
        let routes: String = (0..ROUTES)
            .map(|route| {
                let first = if route == 0 { first } else { 20 };
                format!("{{ destination = \"{first}.{route}.0.0/16\", metric = {metric} }},")
            })
            .collect();
        text.push_str(&format!(
            r#"
            [[tenant]]
            name = "{tenant}"
            subnets = [ {{ vsid = 50{first}, prefix = "10.1.0.0/24" }} ]
            vms = [ {{ ca = "10.1.0.5", mac = "02:00:00:00:01:05", vsid = 50{first}, pa = "10.10.1.0" }} ]
            [[tenant.connection]]
            name = "hq"
            type = "gre"
            vip = "198.51.100.10"
            remote = "203.0.113.20"
            key = {first}
            {limit}
            routes = [ {routes} ]
            "#
        ));
    }
    let mut plan = parse(&text, "scale").map_err(|error| anyhow::anyhow!("{error}"))?;
    let tenant = |number: u32| -> Result<Tenant> {
        let mut tenant = plan.tenants[usize::from(number < changed)].clone();
        let vsid = i64::from(5000 + number).try_into().map_err(anyhow::Error::msg::<Complaint>)?;
        tenant.name = format!("t{number}").try_into().map_err(anyhow::Error::msg::<Complaint>)?;
        tenant.subnets[0].vsid = vsid;
        tenant.vms[0].vsid = vsid;
        tenant.vms[0].pa = [10, 10, 1, (number % 200) as u8].into();
        if let ConnectionKind::Gre(gre) = &mut tenant.connections[0].kind {
            gre.key = Some(number);
        }
        Ok(tenant)
    };
    plan.tenants = (0..TENANTS).map(tenant).collect::<Result<_>>()?;
    Ok(Arc::new(plan))
}

fn world() -> Result<World> {
    let ifindex = if_nametoindex("port0")?;
    let mac = [2, 0, 0, 0, 0, 1];
    let hop = Hop { ifindex, destination: [2, 0, 0, 0, 0, 9], source: mac, mtu: 1500 };
    let mut hops = HashMap::from([("203.0.113.20".parse()?, hop)]);
    for pa in 0..200u8 {
        hops.insert(std::net::IpAddr::from([10, 10, 1, pa]), hop);
    }
    Ok(World {
        ports: BTreeMap::from([("port0".to_owned(), PortState { ifindex, mac, mtu: 1500 })]),
        hops,
        ..World::default()
    })
}

/// The largest this process ever was, in MiB.
fn peak() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_SELF)?.max_rss() / 1024)
}

fn timed<T>(what: &str, action: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = action()?;
    let took = start.elapsed();
    println!("{what}: {took:?}, at most {} MiB so far", peak()?);
    Ok((result, took))
}

#[test]
#[ignore = "takes a minute without optimisation"]
fn a_thousand_connections_change_among_ten_thousand_tenants_with_a_million_routes() -> Result<()> {
    let processes = Processes::new()?;
    let node = Node::new("gateway", &processes)?;
    node.ip("link add port0 type veth peer name port1\n")?;
    node.within(|| {
        let (first, _) = timed("make the plan", || plan(0))?;
        let (second, _) = timed("make the next", || plan(1000))?;
        let world = world()?;
        let mut dataplane = Dataplane::open(&Options::default())?;
        timed("the first plan", || Ok(dataplane.apply(&first, &world)?))?;
        let (applied, took) = timed("a thousand connections", || Ok(dataplane.apply(&second, &world)?))?;
        println!("{applied:?}");
        ensure!(applied.tenants == 1000, "{applied:?}");
        let (applied, _) = timed("nothing", || Ok(dataplane.apply(&second, &world)?))?;
        ensure!(applied.is_empty());
        drop(dataplane);
        let (mut adopted, _) = timed("open again", || Ok(Dataplane::open(&Options::default())?))?;
        ensure!(adopted.found() == Found::Adopted);
        let (applied, _) = timed("adopt", || Ok(adopted.apply(&second, &world)?))?;
        ensure!(applied.is_empty(), "{applied:?}");
        if !cfg!(debug_assertions) {
            ensure!(took < Duration::from_millis(100), "{took:?}");
        }
        Ok(())
    })
}
