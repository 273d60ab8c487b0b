//! What happens to one tenant, and to the fleet, does not happen to another tenant's packets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_user::api::report::{ConnectionReport, TenantReport};
use lab::cloud::{Cloud, Members, Operated, described};
use lab::gateway::program;
use lab::identity::who_is_at;
use lab::node::Node;
use lab::ping::{Ping, Stream};
use lab::tenants::{CONTOSO, DC, HQ, SUBNETS, WOODGROVE, address};
use lab::wait::{SOON, until};
use serde::de::DeserializeOwned;

/// So seldom that no queue of the lab's ever fills: what is lost, somebody dropped.
const INTERVAL: Duration = Duration::from_millis(20);
/// How many more answers there have to be before something else is done.
const MORE: usize = 40;
/// What is sent at a time on the TCP connection: a few segments.
const BLOCK: usize = 8 << 10;

#[test]
fn a_tenant_is_created_changed_and_deleted_and_a_gateway_added_while_another_tenant_notices_nothing() -> Result<()> {
    let mut operated = Operated::start(Cloud::build(|_| {})?)?;
    // Gateways with room for both tenants, so that both are on the same one.
    let fabric = std::fs::read_to_string(described("fabric"))?;
    let roomy = fabric.replace("KiloBitsPerSecond: 1000000\n", "KiloBitsPerSecond: 10000000\n");
    ensure!(roomy != fabric, "the fabric's file is not as this case knows it");
    operated.apply_text(&roomy)?;
    operated.start_agents()?;
    operated.describe_tenant(CONTOSO)?;
    operated.configured("/virtualGateways/contoso")?;
    let _tunnel = operated.dig(members(&operated, "contoso"))?;
    let gateway = carrier(&operated, "contoso")?;

    let traffic = Traffic::start(members(&operated, "contoso"))?;
    let before = Seen::at(&operated, &gateway)?;
    let outcome = disturb(&mut operated, &gateway, &traffic);
    let noticed = traffic.stop();
    outcome.with_context(|| format!("{noticed:?}\n{}", operated.log()))?;
    noticed.with_context(|| operated.log())?;

    // The gateway's own counters say the same.
    let after = Seen::at(&operated, &gateway)?;
    ensure!(after.dropped == before.dropped, "dropped before: {:?}, after: {:?}", before.dropped, after.dropped);
    ensure!(after.to_site >= before.to_site + MORE as u64, "{} and {} packets", before.to_site, after.to_site);
    ensure!(carrier(&operated, "contoso")? == gateway, "the tenant was moved");
    Ok(())
}

/// Does to the other tenant and to the fleet what can be done to them.
fn disturb(operated: &mut Operated, gateway: &str, traffic: &Traffic) -> Result<()> {
    traffic.go_on()?;
    // Created: with the very same addresses, on the same gateway and hosts.
    operated.describe_tenant(WOODGROVE)?;
    operated.configured("/virtualGateways/woodgrove")?;
    ensure!(carrier(operated, "woodgrove")? == gateway, "both tenants should be on {gateway}");
    let tunnel = operated.dig(members(operated, "woodgrove"))?;
    for members in &operated.cloud.tenants {
        finds(operated, &members.vms[0], HQ[0], &members.hq)?;
        finds(operated, &members.vms[0], SUBNETS[1].addresses[0], &members.vms[1])?;
        finds(operated, &members.dc, SUBNETS[1].addresses[0], &members.vms[1])?;
    }
    traffic.go_on()?;
    // Changed: its limits and its routes.
    let described = std::fs::read_to_string(described("woodgrove"))?;
    let changed = described.replace(": 200000", ": 150000").replace("10.3.0.0/16", "10.4.0.0/16");
    operated.apply_text(&changed)?;
    until(SOON * 2, "the changed limit", || {
        let hq =
            connections(operated, gateway).ok()?.into_iter().find(|it| it.tenant == "woodgrove" && it.name == "hq");
        (hq?.outbound_kbps == Some(150_000)).then_some(())
    })
    .with_context(|| operated.log())?;
    let woodgrove = members(operated, "woodgrove");
    finds(operated, &woodgrove.vms[0], HQ[0], &woodgrove.hq)?;
    is_cut_off(&woodgrove.vms[1], DC[0])?;
    traffic.go_on()?;
    // Deleted, with all that it had.
    let file = lab::cloud::described("woodgrove");
    operated.ctl(&["delete", "-f", file.to_str().context("the file's path is no text")?])?;
    let machines = operated.cloud.gateways.iter().chain(&operated.cloud.hosts);
    for machine in machines {
        until(SOON * 2, "the tenant to be gone", || {
            let left: Vec<TenantReport> = show(machine, "tenants").ok()?;
            left.iter().all(|tenant| tenant.name != "woodgrove").then_some(())
        })
        .with_context(|| format!("{} still has it\n{}", machine.name(), operated.log()))?;
    }
    is_cut_off(&woodgrove.vms[0], HQ[0])?;
    drop(tunnel);
    traffic.go_on()?;
    // A gateway more moves nothing.
    let added = operated.add_gateway()?;
    operated.configured(&format!("/gateways/{}", added.name()))?;
    traffic.go_on()
}

/// A tenant's traffic along every kind of way.
struct Traffic {
    streams: Vec<(String, Stream)>,
    dialogue: Dialogue,
}

impl Traffic {
    /// Starts once packets flow.
    fn start(members: &Members) -> Result<Self> {
        let [vm1, vm2] = &members.vms;
        let ways = [(vm1, SUBNETS[1].addresses[0]), (vm1, HQ[0]), (&members.hq, SUBNETS[0].addresses[0]), (vm2, DC[0])];
        let mut streams = Vec::new();
        for (from, to) in ways {
            let ping = Ping::to(address(to));
            let answer = ping.until_reply(from, SOON * 2)?;
            ensure!(answer.is_reply(), "{} to {to}: {answer:?}", from.name());
            streams.push((format!("{} to {to}", from.name()), ping.stream(from, INTERVAL)?));
        }
        Ok(Self { streams, dialogue: Dialogue::start(vm2, &members.hq, HQ[0])? })
    }

    /// Waits until more was answered on every way.
    fn go_on(&self) -> Result<()> {
        for (way, stream) in &self.streams {
            stream.go_on(MORE).with_context(|| way.clone())?;
        }
        self.dialogue.go_on()
    }

    /// Ends it, and fails if anything was lost.
    fn stop(self) -> Result<()> {
        let tallies = self.streams.into_iter().map(|(way, stream)| (way, stream.stop()));
        let tallies: Vec<_> = tallies.filter(|(_, tally)| !tally.lost.is_empty()).collect();
        self.dialogue
            .stop()
            .with_context(|| format!("the TCP connection was disturbed, and these lost: {tallies:?}"))?;
        ensure!(tallies.is_empty(), "echo requests were lost: {tallies:?}");
        Ok(())
    }
}

/// A TCP connection on which one end sends blocks and the other sends them back.
struct Dialogue {
    ending: Arc<AtomicBool>,
    exchanged: Arc<AtomicUsize>,
    ends: [JoinHandle<Result<()>>; 2],
}

impl Dialogue {
    fn start(from: &Node, to: &Node, at: &str) -> Result<Self> {
        let listener = to.within(|| TcpListener::bind(SocketAddr::new(address(at), 0)))?;
        let listening = listener.local_addr()?;
        let mut caller = from.within(|| TcpStream::connect_timeout(&listening, SOON))?;
        let mut called = listener.accept()?.0;
        caller.set_read_timeout(Some(SOON))?;
        let (ending, exchanged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (until, count) = (Arc::clone(&ending), Arc::clone(&exchanged));
        let calling = std::thread::spawn(move || {
            let mut back = vec![0u8; BLOCK];
            while !until.load(Ordering::Relaxed) {
                let block = vec![count.load(Ordering::Relaxed) as u8; BLOCK];
                caller.write_all(&block).context("cannot send")?;
                caller.read_exact(&mut back).context("nothing comes back")?;
                ensure!(block == back, "something else comes back");
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(INTERVAL);
            }
            Ok(())
        });
        let answering = std::thread::spawn(move || {
            let mut buffer = vec![0u8; BLOCK];
            loop {
                match called.read(&mut buffer).context("cannot receive")? {
                    0 => return Ok(()),
                    length => called.write_all(&buffer[..length]).context("cannot send back")?,
                }
            }
        });
        Ok(Self { ending, exchanged, ends: [calling, answering] })
    }

    fn go_on(&self) -> Result<()> {
        let wanted = self.exchanged.load(Ordering::Relaxed) + MORE;
        until(SOON, "the TCP connection to go on", || {
            let ended = self.ends.iter().any(JoinHandle::is_finished);
            (ended || self.exchanged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
    }

    fn stop(self) -> Result<()> {
        let ended = self.ends.iter().any(JoinHandle::is_finished);
        self.ending.store(true, Ordering::Relaxed);
        for end in self.ends {
            end.join().map_err(|_| anyhow::anyhow!("an end of the connection panicked"))??;
        }
        ensure!(!ended, "the connection ended by itself");
        Ok(())
    }
}

/// What the gateway counts of the first tenant's connections.
#[derive(Debug)]
struct Seen {
    to_site: u64,
    dropped: Vec<(String, String, u64)>,
}

impl Seen {
    fn at(operated: &Operated, gateway: &str) -> Result<Self> {
        let ours: Vec<_> =
            connections(operated, gateway)?.into_iter().filter(|connection| connection.tenant == "contoso").collect();
        ensure!(ours.len() == 2, "{gateway} has {ours:?}");
        let hq = ours.iter().find(|connection| connection.name == "hq").context("no hq")?;
        let to_site = hq.traffic.out_packets;
        // A site's kernel sends multicasts of itself, which go nowhere.
        let dropped = ours.iter().flat_map(|connection| {
            let drops = connection.traffic.drops.iter().filter(|drop| drop.reason != "martian");
            drops.map(|drop| (connection.name.clone(), drop.reason.clone(), drop.packets))
        });
        Ok(Self { to_site, dropped: dropped.collect() })
    }
}

fn members<'a>(operated: &'a Operated, tenant: &str) -> &'a Members {
    let found = operated.cloud.tenants.iter().find(|members| members.tenant.name == tenant);
    found.unwrap_or_else(|| panic!("the cloud has no tenant {tenant}"))
}

/// The gateway that carries all connections of a tenant.
fn carrier(operated: &Operated, tenant: &str) -> Result<String> {
    let resource = operated.get(&format!("/virtualGateways/{tenant}"))?;
    let connections = resource["properties"]["networkConnections"].as_array().context("no connections")?;
    let mut on = connections.iter().map(|it| it["properties"]["gateway"]["resourceRef"].as_str().unwrap_or_default());
    let first = on.next().context("no connections")?;
    ensure!(on.all(|other| other == first), "{tenant} is on several gateways: {resource}");
    Ok(first.trim_start_matches("/gateways/").to_owned())
}

fn show<T: DeserializeOwned>(machine: &Node, what: &str) -> Result<T> {
    let printed = machine.run(Command::new(program("gatewayctl")?).args(["show", what, "-o", "json"]))?;
    Ok(serde_json::from_str(&printed)?)
}

fn connections(operated: &Operated, gateway: &str) -> Result<Vec<ConnectionReport>> {
    let machine = operated.cloud.gateways.iter().find(|machine| machine.name() == gateway);
    show(machine.with_context(|| format!("there is no gateway {gateway}"))?, "connections")
}

fn finds(operated: &Operated, from: &Node, to: &str, who: &Node) -> Result<()> {
    let found = until(SOON * 2, "an answer", || {
        let heard = who_is_at(from, None, address(to), Duration::from_secs(1)).ok()??;
        Some(heard.name)
    });
    let name = found.with_context(|| format!("{} at {to}\n{}", from.name(), operated.log()))?;
    ensure!(name == who.name(), "{} finds {name} at {to}", from.name());
    Ok(())
}

fn is_cut_off(from: &Node, to: &str) -> Result<()> {
    until(SOON * 2, "nobody to answer", || {
        who_is_at(from, None, address(to), Duration::from_millis(300)).ok()?.is_none().then_some(())
    })
    .with_context(|| format!("{} still reaches {to}", from.name()))
}
