//! A whole cloud whose pool has seats: a gateway dies, the standby carries its tenants with all that the dead one knew, and nobody else is told
//! anything.

use anyhow::{Context, Result, anyhow, ensure};
use gateway_user::sentinel::{Holding, Status};
use lab::cloud::{Cloud, LEARNED_DC, LEARNED_HQ, Operated, SiteRouters, Traffic};
use lab::gateway::program;
use lab::node::Node;
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS};
use lab::topology::take_out_of_vlans;
use lab::wait::until;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const POOL: &str = "/gatewayPools/default";

/// So long that a busy machine raises no alarm, as far as that can be had.
fn timers() -> Value {
    json!({ "probeMilliseconds": 100, "misses": 20, "heartbeatMilliseconds": 3000, "restartMilliseconds": 3000,
            "renewalMilliseconds": 500, "leaseMilliseconds": 8000, "patienceMilliseconds": 100 })
}

fn ctl(gateway: &Node, words: &[&str]) -> String {
    let asked = program("gatewayctl").and_then(|program| gateway.run(Command::new(program).args(words)));
    asked.unwrap_or_else(|error| format!("{error:#}"))
}

/// What helps to see why something failed.
fn about(operated: &Operated) -> String {
    let mut text = format!("{:#}\n", operated.get(POOL).unwrap_or_default());
    for gateway in &operated.cloud.gateways {
        for words in [&["seats"][..], &["history"], &["show", "seats"], &["show", "connections"], &["show", "drops"]] {
            text += &format!("--- {} {words:?}\n{}\n", gateway.name(), ctl(gateway, words));
        }
    }
    text + &operated.log()
}

/// Who holds a seat, and under which epoch, as the controller has heard.
fn holder(operated: &Operated, seat: &str) -> Option<(String, u64)> {
    let pool = operated.get(POOL).ok()?;
    let found = pool["properties"]["seats"].as_array()?.iter().find(|it| it["seat"] == seat)?;
    Some((found["holder"].as_str()?.to_owned(), found["epoch"].as_u64()?))
}

/// What a gateway shows of something.
fn shown(gateway: &Node, words: &[&str]) -> Option<Vec<Value>> {
    serde_json::from_str(&ctl(gateway, &[&["show"], words, &["-o", "json"]].concat())).ok()
}

/// The gateways that the seat's holder tells what it knows, once all of them know it: whichever of them is going to take the seat.
fn ready<'a>(operated: &'a Operated, seat: &str, knows: fn(&Node, &str) -> Option<bool>) -> Option<Vec<&'a str>> {
    let mut ready = Vec::new();
    for gateway in &operated.cloud.gateways {
        let seats = shown(gateway, &["seats"])?;
        let log = &seats.iter().find(|it| it["name"] == seat)?["log"];
        if log["part"] == "replica" {
            (log["whole"] == true && knows(gateway, seat)?).then(|| ready.push(gateway.name()))?;
        }
    }
    (!ready.is_empty()).then_some(ready)
}

/// A tenant's name in the part of a gateway that a seat is.
fn instance(seat: &str) -> String {
    format!("{}@{seat}", CONTOSO.name)
}

/// Whether a gateway knows the L3 site's router on its VLAN.
fn knows_router(gateway: &Node, seat: &str) -> Option<bool> {
    let resolved = |it: &Value| it["tenant"] == *instance(seat) && it["name"] == "dc" && it["state"] == "up";
    Some(shown(gateway, &["connections"])?.iter().any(resolved))
}

/// Whether it knows what that one has announced, too.
fn knows_everything(gateway: &Node, seat: &str) -> Option<bool> {
    let routes = shown(gateway, &["routes", "--tenant", &instance(seat), "--prefix", LEARNED_DC.0])?;
    Some(knows_router(gateway, seat)? && routes.iter().any(|it| it["prefix"] == LEARNED_DC.0))
}

/// The routes to the cloud and to the other site that a site's router lacks.
fn lacking(routers: &SiteRouters) -> Vec<(&'static str, &'static str)> {
    let at_hq = [SUBNETS[0].prefixes[0], LEARNED_DC.0].map(|prefix| ("hq", prefix, routers.hq.valid(prefix)));
    let at_dc = [SUBNETS[0].prefixes[0], LEARNED_HQ.0].map(|prefix| ("dc", prefix, routers.dc.valid("ipv4", prefix)));
    let all = at_hq.into_iter().chain(at_dc);
    all.filter(|(.., valid)| !valid).map(|(site, prefix, _)| (site, prefix)).collect()
}

/// What the pool would not survive.
fn losses(operated: &Operated) -> Result<Vec<String>> {
    let pool = operated.get(POOL)?;
    let details = pool["properties"]["configurationState"]["detailedInfo"].as_array().cloned().unwrap_or_default();
    let messages = details.iter().filter_map(|detail| detail["message"].as_str());
    Ok(messages.filter(|message| message.contains("would leave seats empty")).map(str::to_owned).collect())
}

/// Has the switches know a gateway, or know it no more, of which its links, its processes and its TCP tell nothing.
fn wire(operated: &Operated, gateway: &str, to: &str) -> Result<()> {
    for switch in [&operated.cloud.fabric, &operated.cloud.tor] {
        switch.ip(&format!("link set {gateway} {to}\n"))?;
    }
    Ok(())
}

/// Starts a cloud whose pool has seats, with one tenant on the seat that is returned.
fn start() -> Result<(Operated, String)> {
    start_in(Cloud::build(|_| {})?)
}

fn start_in(cloud: Cloud) -> Result<(Operated, String)> {
    let mut operated = Operated::start(cloud)?;
    operated.describe_fabric()?;
    operated.apply_text(
        "{ kind: logicalNetwork, resourceId: fabric, properties: { networkVirtualizationEnabled: true, subnets: [
           { resourceId: seats, properties: { addressPrefix: 10.10.0.0/24, ipPools: [
             { resourceId: pool, properties: { startIpAddress: 10.10.0.201, endIpAddress: 10.10.0.209 } } ] } } ] } }",
    )?;
    operated.put(
        POOL,
        &json!({ "type": "All", "redundantGatewayCount": 1, "gatewayCapacityKiloBitsPerSecond": 1_000_000,
                 "seatFabricSubnet": { "resourceRef": "/logicalNetworks/fabric/subnets/seats" },
                 "failoverTimers": timers(),
                 "ipConfiguration": { "greVipSubnets": [{ "resourceRef": "/logicalNetworks/vips/subnets/gre" }] } }),
    )?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    operated.configured(&format!("/virtualGateways/{}", CONTOSO.name))?;
    let seat = operated.carrier(CONTOSO.name)?;
    Ok((operated, seat))
}

#[test]
fn a_gateway_dies_in_silence_and_the_standby_carries_its_tenants_whose_routers_lose_no_route() -> Result<()> {
    let (operated, seat) = start()?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let [vm1, _] = &contoso.vms;
    let reach = || -> Result<()> {
        operated.finds(vm1, HQ[0], &contoso.hq)?;
        operated.finds(vm1, DC[0], &contoso.dc)?;
        operated.finds(&contoso.hq, SUBNETS[0].addresses[0], vm1)?;
        operated.finds(&contoso.dc, SUBNETS[0].addresses[0], vm1)
    };
    reach().with_context(|| about(&operated))?;
    // At home as a rule; on a busy machine the standby may have been faster.
    let held = || holder(&operated, &seat);
    let routers = contoso.start_routers()?;
    let routed = || lacking(&routers).is_empty().then_some(());
    until(PATIENCE, "the sites' routers to learn from each other", routed).with_context(|| about(&operated))?;
    let (first, epoch) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;

    wire(&operated, &first, "nomaster")?;
    let taken = || holder(&operated, &seat).filter(|(gateway, _)| *gateway != first);
    let up_again = || {
        let missing = lacking(&routers);
        if !missing.is_empty() {
            return Some(Err(anyhow!("missing meanwhile: {missing:?}")));
        }
        let (successor, later) = taken()?;
        let history = ctl(operated.cloud.gateway(&successor), &["history"]);
        history.contains("BGP up").then_some(Ok((successor, later)))
    };
    let up_again = until(PATIENCE, "another gateway to hold the seat, and its BGP sessions to be up", up_again);
    let (successor, later) = up_again.and_then(|outcome| outcome).with_context(|| about(&operated))?;
    ensure!(later > epoch, "{successor} holds it under {later}, after {epoch}\n{}", about(&operated));
    reach().with_context(|| about(&operated))?;
    ensure!(operated.carrier(CONTOSO.name)? == seat, "placements were changed\n{}", about(&operated));

    // Who comes back is a replica, and takes nothing back by itself.
    wire(&operated, &first, "master switch")?;
    let fenced = || {
        let printed = ctl(operated.cloud.gateway(&first), &["show", "seats", "-o", "json"]);
        let seats: Value = serde_json::from_str(&printed).ok()?;
        let own = seats.as_array()?.iter().find(|it| it["name"] == *seat || it["seat"] == *seat)?;
        (own["state"] == "replica" || own["epoch"].as_u64()? > later).then_some(())
    };
    until(PATIENCE, "the former holder to give way", fenced).with_context(|| about(&operated))?;
    reach().with_context(|| about(&operated))?;
    let last = holder(&operated, &seat);
    ensure!(last.is_some_and(|(_, now)| now >= later), "an older epoch holds the seat\n{}", about(&operated));
    Ok(())
}

#[test]
fn a_seat_moves_though_no_controller_lives_and_its_successor_was_cut_off_from_it_before() -> Result<()> {
    let (mut operated, seat) = start()?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let held = || holder(&operated, &seat);
    let (first, _) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let ready = || ready(&operated, &seat, knows_router);
    until(PATIENCE, "the replicas to know the site's router", ready).with_context(|| about(&operated))?;

    for gateway in operated.cloud.gateways.iter().filter(|gateway| gateway.name() != first) {
        operated.cloud.management.ip(&format!("link set {} nomaster\n", gateway.name()))?;
    }
    operated.crash(operated.leader()?);
    wire(&operated, &first, "nomaster")?;
    let holds = |gateway: &Node| {
        let status: Status = serde_json::from_str(&ctl(gateway, &["seats", "-o", "json"])).ok()?;
        let own = status.seats.into_iter().find(|it| it.report.seat.as_str() == seat)?;
        (own.report.holding == Holding::Held).then_some(())
    };
    let taken = || operated.cloud.gateways.iter().any(|it| it.name() != first && holds(it).is_some()).then_some(());
    let story = || operated.cloud.gateways.iter().map(|it| ctl(it, &["history"])).collect::<String>();
    until(PATIENCE, "another gateway to hold the seat", taken).with_context(story)?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let [vm1, _] = &contoso.vms;
    operated.finds(vm1, HQ[0], &contoso.hq).with_context(story)?;
    operated.finds(&contoso.dc, SUBNETS[0].addresses[0], vm1).with_context(story)
}

#[test]
fn of_a_pool_of_two_the_one_that_is_left_carries_all_since_the_controllers_vote() -> Result<()> {
    let (operated, seat) = start_in(Cloud::with_gateways(2, |_| {})?)?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let held = || holder(&operated, &seat);
    let (first, epoch) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let ready = || ready(&operated, &seat, knows_router);
    until(PATIENCE, "the replica to know the site's router", ready).with_context(|| about(&operated))?;

    wire(&operated, &first, "nomaster")?;
    let taken = || holder(&operated, &seat).filter(|(gateway, _)| *gateway != first);
    let (_, later) = until(PATIENCE, "the other gateway to hold the seat", taken).with_context(|| about(&operated))?;
    ensure!(later > epoch, "it is held under {later}, after {epoch}\n{}", about(&operated));
    let [vm1, _] = &contoso.vms;
    operated.finds(vm1, HQ[0], &contoso.hq).with_context(|| about(&operated))?;
    operated.finds(&contoso.dc, SUBNETS[0].addresses[0], vm1).with_context(|| about(&operated))?;

    // The one of before has nobody on its side any more, and stops.
    let stopped = || {
        let status: Status =
            serde_json::from_str(&ctl(operated.cloud.gateway(&first), &["seats", "-o", "json"])).ok()?;
        let own = status.seats.into_iter().find(|it| it.report.seat.as_str() == seat)?;
        (own.report.holding != Holding::Held).then_some(())
    };
    until(PATIENCE, "the former holder to stop", stopped).with_context(|| about(&operated))
}

#[test]
fn a_gateway_that_is_drained_hands_its_seats_over_and_nobody_notices() -> Result<()> {
    let (operated, seat) = start()?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let held = || holder(&operated, &seat);
    let (first, _) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let ready = || ready(&operated, &seat, knows_router);
    until(PATIENCE, "the replicas to know the site's router", ready).with_context(|| about(&operated))?;
    let gateway = format!("gateway/{first}");
    let planned = operated.ctl(&["drain", &gateway])?;
    ensure!(planned.contains(&seat) && planned.contains("nothing was moved"), "{planned}");

    let traffic = Traffic::start(contoso)?;
    traffic.go_on()?;
    let drained = operated.ctl(&["drain", &gateway, "--confirm"]).with_context(|| about(&operated))?;
    traffic.go_on()?;
    let noticed = traffic.stop().with_context(|| about(&operated))?;
    println!("{drained}{noticed:?}");
    ensure!(drained.contains("holds no seat"), "{drained}");
    let (successor, _) = held().context("nobody holds the seat")?;
    ensure!(successor != first, "{first} still holds it\n{}", about(&operated));
    operated.ctl(&["uncordon", &gateway]).map(drop)
}

#[test]
fn connections_move_to_another_gateway_one_at_a_time_and_nobody_notices() -> Result<()> {
    let (operated, seat) = start()?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let held = |seat: &str| holder(&operated, seat);
    let (holder_of_it, _) = until(PATIENCE, "the seat to be held", || held(&seat)).with_context(|| about(&operated))?;
    let pool = operated.get(POOL)?;
    let seats = pool["properties"]["seats"].as_array().context("no seats")?.iter();
    let other = seats.filter_map(|it| it["seat"].as_str()).find(|name| *name != seat).context("one seat alone")?;
    let apart = || {
        let (gateway, _) = held(other)?;
        if gateway == holder_of_it {
            // Whoever was first at the start has taken both.
            ctl(operated.cloud.gateway(&gateway), &["failover", other]);
        }
        (gateway != holder_of_it).then_some(())
    };
    until(PATIENCE, "the other seat to be held by another", apart).with_context(|| about(&operated))?;
    let at = |connection: &str| -> Result<Value> {
        let path = format!("/virtualGateways/{}/networkConnections/{connection}", CONTOSO.name);
        Ok(operated.get(&path)?["properties"]["gateway"]["resourceRef"].clone())
    };

    let traffic = Traffic::start(contoso)?;
    traffic.go_on()?;
    for connection in ["dc", "hq"] {
        let name = format!("connection/{}/{connection}", CONTOSO.name);
        let look = operated.ctl(&["move", &name, "--to", other])?;
        ensure!(look.contains("nothing was moved"), "{look}");
        let moved = operated.ctl(&["move", &name, "--to", other, "--confirm"]).with_context(|| about(&operated))?;
        print!("{moved}");
        ensure!(at(connection)? == format!("/gateways/{other}"), "{moved}\n{}", about(&operated));
        traffic.go_on()?;
    }
    let noticed = traffic.stop().with_context(|| about(&operated))?;
    println!("{noticed:?}");
    Ok(())
}

#[test]
#[ignore = "takes a minute, since every gateway's agent is started anew: by --all"]
fn a_pool_is_upgraded_gateway_by_gateway_and_nobody_notices() -> Result<()> {
    const STEP: &str =
        "mkdir -p /run/upgrade; touch /run/upgrade/$GATEWAY; while [ -e /run/upgrade/$GATEWAY ]; do sleep 0.1; done";
    let (mut operated, seat) = start()?;
    let tunnel = operated.dig(operated.cloud.members(CONTOSO.name))?;
    let held = || holder(&operated, &seat);
    until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let ready = || ready(&operated, &seat, knows_router);
    until(PATIENCE, "the replicas to know the site's router", ready).with_context(|| about(&operated))?;
    let planned = operated.ctl(&["upgrade", "pool/default"])?;
    ensure!(planned.contains("nothing was"), "{planned}");

    let traffic = Traffic::start(operated.cloud.members(CONTOSO.name))?;
    traffic.go_on()?;
    let mut command = operated.ctl_command(&["upgrade", "pool/default", "--run", STEP, "--confirm"])?;
    let controller = Arc::clone(&operated.cloud.controller);
    let upgrade = std::thread::spawn(move || controller.run(&mut command));
    let mut restarted = Vec::new();
    while !upgrade.is_finished() {
        let asked = operated.cloud.controller.sh("ls /run/upgrade 2>/dev/null || true")?;
        for gateway in asked.split_whitespace() {
            // What is installed anew is started anew.
            operated.kill(gateway);
            operated.resume_gateway(gateway)?;
            restarted.push(gateway.to_owned());
            operated.cloud.controller.sh(&format!("rm /run/upgrade/{gateway}"))?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = upgrade.join().map_err(|_| anyhow!("the upgrade panicked"))?.with_context(|| about(&operated))?;
    traffic.go_on()?;
    let noticed = traffic.stop().with_context(|| about(&operated))?;
    println!("{told}{noticed:?}");
    restarted.sort();
    let names: Vec<&str> = operated.cloud.gateways.iter().map(|gateway| gateway.name()).collect();
    ensure!(restarted == names, "{restarted:?}\n{told}");
    drop(tunnel);
    Ok(())
}

#[test]
fn who_takes_a_seat_knows_stations_and_learned_routes_before() -> Result<()> {
    let (operated, seat) = start()?;
    let contoso = operated.cloud.members(CONTOSO.name);
    let _tunnel = operated.dig(contoso)?;
    let routers = contoso.start_routers()?;
    let [vm1, _] = &contoso.vms;
    let reach = || -> Result<()> {
        operated.finds(vm1, DC[0], &contoso.dc)?;
        operated.finds(vm1, LEARNED_DC.1[0], &contoso.dc)
    };
    reach().with_context(|| about(&operated))?;
    let held = || holder(&operated, &seat);
    let (first, _) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let ready = until(PATIENCE, "the replicas to know everything", || ready(&operated, &seat, knows_everything));
    let ready = ready.with_context(|| about(&operated))?;

    // From here on the site's router announces nothing, and answers nobody who asks for its link-layer address.
    wire(&operated, &first, "nomaster")?;
    drop(routers.dc);
    contoso.dc.sh(&format!(
        "device=vlan{}; gateway={}
         mac=$(ip neighbour show $gateway dev $device | sed -n 's/.* lladdr \\([^ ]*\\).*/\\1/p')
         ip neighbour replace $gateway lladdr $mac dev $device nud permanent
         echo 8 > /proc/sys/net/ipv4/conf/all/arp_ignore",
        CONTOSO.vlan, CONTOSO.vlan_gateway[0]
    ))?;
    reach().with_context(|| about(&operated))?;
    let taken = || holder(&operated, &seat).filter(|(gateway, _)| *gateway != first);
    let (successor, _) =
        until(PATIENCE, "another gateway to hold the seat", taken).with_context(|| about(&operated))?;
    ensure!(ready.contains(&successor.as_str()), "{successor} took the seat\n{}", about(&operated));
    Ok(())
}

#[test]
fn a_vlan_that_does_not_come_to_the_standbys_is_told_before_it_is_needed() -> Result<()> {
    let (operated, seat) = start()?;
    let held = || holder(&operated, &seat);
    let (first, _) = until(PATIENCE, "the seat to be held", held).with_context(|| about(&operated))?;
    let others = || operated.cloud.gateways.iter().filter(|gateway| gateway.name() != first);
    let ready = || ready(&operated, &seat, knows_router);
    until(PATIENCE, "the replicas to know the site's router", ready).with_context(|| about(&operated))?;
    ensure!(losses(&operated)?.is_empty(), "{}", about(&operated));

    let out = |gateway: &Arc<Node>| take_out_of_vlans(&operated.cloud.tor, gateway.name());
    let cut = others().map(out).collect::<Result<Vec<_>>>()?;
    let told = |gateway: &Node| {
        let status = ctl(gateway, &["status"]);
        status.contains(&format!("VLAN of dc of {}", instance(&seat))).then_some(())
    };
    for gateway in others() {
        until(PATIENCE, "a standby to find the VLAN missing", || told(gateway)).with_context(|| about(&operated))?;
    }
    let degraded = || losses(&operated).ok()?.iter().any(|loss| loss.contains("seats' VLANs")).then_some(());
    until(PATIENCE, "the pool to say so", degraded).with_context(|| about(&operated))?;

    ensure!(about(&operated).contains("\"lacks\": \"vlan\""), "{}", about(&operated));
    drop(cut);
    let well = || losses(&operated).ok()?.is_empty().then_some(());
    until(PATIENCE, "the pool to be well again", well).with_context(|| about(&operated))
}
