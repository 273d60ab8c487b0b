//! Controllers as processes: killed, frozen and cut off while clients write and agents follow. Nothing that was answered is lost, nothing is
//! done twice, and who leads no more does not act as if.

#![expect(clippy::unwrap_used, reason = "everything here is a test, which fails by panicking")]

use gateway_user::controller::store::etcd::Options;
use gateway_user::controller::store::{FileStore, Store};
use hyper::Method;
use lab::store::agent::{Agent, describe, furnish, gateway};
use lab::store::clients::{Chain, Client, Watching, Writers};
use lab::store::controllers::{Controllers, Standing, on_a_machine};
use lab::store::etcd::{Cable, Carries, Members, with_members};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What `--store` says of these members.
fn store(members: &[SocketAddr]) -> Option<String> {
    let members: Vec<String> = members.iter().map(SocketAddr::to_string).collect();
    Some(format!("etcd://{}", members.join(",")))
}

/// Whether a chain was written exactly as often as its client was answered, and what follows from it was written with it.
async fn is_written_once(members: &Members, chain: &Chain) {
    let mut raw = members.raw().await;
    let key = |kind: &str| format!("gateway-controller/kv/{kind}/{}", chain.name);
    let tree = raw.get(key("resources/virtualnetworks"), None).await.unwrap();
    let [tree] = tree.kvs() else { panic!("{} is lost", chain.name) };
    assert_eq!(tree.version(), i64::try_from(chain.written).unwrap(), "{} was written otherwise than once", chain.name);
    let allocations = raw.get(key("allocations"), None).await.unwrap();
    let [allocations] = allocations.kvs() else { panic!("the allocations of {} are lost", chain.name) };
    let name = format!("s{}", chain.written);
    assert!(allocations.value_str().unwrap().contains(&name) && tree.value_str().unwrap().contains(&name));
}

/// Waits until every controller shows readers the last write of a chain.
async fn everybody_shows(controllers: &Controllers, numbers: &[usize], chain: &Chain) {
    for &number in numbers {
        let mut client = controllers.client_of(number);
        let path = format!("/virtualNetworks/{}", chain.name);
        controllers
            .until("a controller to show the last write", async || {
                chain.is_shown_by(&client.get(&path).await).then_some(())
            })
            .await;
    }
}

#[test]
fn a_lease_and_an_election_fit_into_five_seconds() {
    let options = Options::parse("etcd://a").unwrap();
    // etcd looks every half second for leases that have ended; contenders look five times a second; then come a few requests.
    let longest = options.lease + Duration::from_millis(500) + Duration::from_millis(200);
    assert!(longest + Duration::from_secs(1) <= Duration::from_secs(5), "{longest:?}");
}

#[test]
fn killed_leaders_lose_no_write_and_make_none_twice() {
    with_members(3, async |members| {
        let all = [0, 1, 2];
        let mut controllers = Controllers::start(members.node(), &all.map(|_| store(&members.all()))).await;
        let (first, epoch) = controllers.leader(&all).await;
        let chains = (0..4).map(|number| Chain::new(number, &controllers)).collect();
        let writers = Writers::start(chains);
        writers.more(5, &controllers).await;
        let mut before = epoch;
        let mut killed = first;
        for _ in 0..2 {
            controllers.kill(killed);
            writers.more(5, &controllers).await;
            controllers.launch(killed);
            let (leader, epoch) = controllers.leader(&all).await;
            assert!(epoch > before, "{epoch} after {before}");
            (killed, before) = (leader, epoch);
        }
        println!("a killed leader was replaced, and writers were answered, within {:?}", writers.longest_silence());
        let chains = writers.finish().await;
        for chain in &chains {
            is_written_once(&members, chain).await;
            everybody_shows(&controllers, &all, chain).await;
            // What a client polls it finds, at whomever it asks.
            for number in all {
                let operation = chain.operation.as_ref().unwrap();
                let mut client = controllers.client_of(number);
                controllers
                    .until("an operation to be known", async || {
                        let answered = client.ask(Method::GET, operation, &[], &Value::Null).await;
                        (answered.body["status"] == "Succeeded").then_some(())
                    })
                    .await;
            }
        }
    });
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_followers_point_writers_at_the_next() {
    with_members(3, async |members| {
        let both = [0, 1];
        let mut controllers = Controllers::start(members.node(), &both.map(|_| store(&members.all()))).await;
        let [ca, certificate, key] = controllers.files();
        let shown =
            ["--cacert", &ca, "--cert", &certificate, "--key", &key, "--silent", "--show-error", "--max-time", "60"];
        let put = ["-X", "PUT", "-d", r#"{"properties":{}}"#, "--write-out", "%{http_code}", "--output", "/dev/null"];
        let curl = |controllers: &Controllers, number: usize, options: &[&str]| {
            let url = format!("{}/networking/v1/virtualServers/by-curl", controllers.address(number));
            controllers.run_other("curl", &[&shown, options, &put, &[url.as_str()]].concat()).unwrap()
        };
        // A follower points writers at the leader, and curl goes there.
        let follower = controllers
            .until("a follower to point at the leader", async || {
                let follower = 1 - controllers.leader(&both).await.0;
                (curl(&controllers, follower, &[]) == "307").then_some(follower)
            })
            .await;
        controllers
            .until("curl to be answered by the leader", async || {
                curl(&controllers, follower, &["--location"]).starts_with("20").then_some(())
            })
            .await;
        // gatewayctl goes there too, past a controller that is not there.
        let at = controllers.address(follower).to_string();
        let reach = [
            "--controller",
            "https://127.0.0.1:1",
            "--controller",
            &at,
            "--ca",
            &ca,
            "--cert",
            &certificate,
            "--key",
            &key,
        ];
        let gatewayctl = |arguments: &[&str]| controllers.run("gatewayctl", &[&reach, arguments].concat()).unwrap();
        let file = controllers.data(0).join("server.json");
        std::fs::write(&file, r#"{"kind":"virtualServer","resourceId":"by-gatewayctl","properties":{}}"#).unwrap();
        gatewayctl(&["apply", "-f", file.to_str().unwrap()]);
        controllers
            .until("the follower to show both", async || {
                let listed = gatewayctl(&["get", "virtualservers", "-o", "name"]);
                (listed == "virtualServers/by-curl\nvirtualServers/by-gatewayctl\n").then_some(())
            })
            .await;
        // Stopped in order, it leaves its place at once, and not when its lease ends.
        let (leader, epoch) = controllers.leader(&both).await;
        let stopped = Instant::now();
        controllers.stop(leader).await;
        let (next, later) = controllers.leader(&[1 - leader]).await;
        println!("a stopped leader was replaced within {:?}", stopped.elapsed());
        assert!(later > epoch);
        assert_eq!(curl(&controllers, next, &["--location"]), "200");
    });
}

/// A controller that reaches the members by cables of its own.
async fn cables(members: &Members) -> (Vec<Cable>, Option<String>) {
    let mut cables = Vec::new();
    for member in members.all() {
        cables.push(Cable::to(member).await);
    }
    let addresses: Vec<SocketAddr> = cables.iter().map(Cable::address).collect();
    (cables, store(&addresses))
}

#[test]
fn leaders_that_are_frozen_or_cut_off_lead_no_more_and_agents_follow_the_next() {
    with_members(3, async |members| {
        let both = [0, 1];
        let [(zero, of_zero), (one, of_one)] = [cables(&members).await, cables(&members).await];
        let cables = [zero, one];
        let controllers = Controllers::start(members.node(), &[of_zero, of_one]).await;
        furnish(&controllers).await;
        let mut agent = Agent::join(&controllers, controllers.addresses());
        describe(&controllers, "contoso", 1).await;
        agent.until("the first tenant", |agent| agent.has(1)).await;

        // Frozen: what was sent to it before it wakes is not answered as if it led.
        let (frozen, epoch) = controllers.leader(&both).await;
        let other = 1 - frozen;
        let mut client = controllers.client_of(frozen);
        client.connect().await.unwrap();
        controllers.signal(frozen, Signal::SIGSTOP);
        let late = tokio::spawn(async move {
            let body = json!({ "properties": {} });
            client.once(&Method::PUT, "/networking/v1/virtualServers/late", &[], &body).await
        });
        let (_, next) = controllers.leader(&[other]).await;
        assert!(next > epoch);
        let mut at_next = controllers.client_of(other);
        at_next
            .put(
                "/virtualNetworks/woodgrove",
                &json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] },
            "subnets": [{ "resourceId": "gateway", "properties": { "addressPrefix": "10.1.255.0/28" } }] }),
            )
            .await;
        at_next.put("/virtualGateways/woodgrove", &gateway("woodgrove", 2)).await;
        agent.until("the next leader's plan", |agent| agent.has(2) && agent.position.epoch >= next).await;
        // It resumed with what differed: the plan was sent whole but once.
        assert_eq!(agent.kept().iter().filter(|event| event.since.is_none()).count(), 1);
        controllers.signal(frozen, Signal::SIGCONT);
        let late = late.await.unwrap();
        controllers
            .until("the thawed controller to know that its leadership is over", async || {
                match controllers.standing(frozen).await {
                    Standing::Follower(_) => Some(()),
                    Standing::Leader(now) if now > next => Some(()),
                    _ => None,
                }
            })
            .await;
        if controllers.leader(&both).await.1 == next {
            assert!(late.as_ref().is_none_or(|answered| matches!(answered.status, 307 | 503)), "{late:?}");
            assert_eq!(at_next.get("/virtualServers/late").await.status, 404);
        }

        // Cut off from etcd: it ends its leadership by its own clock, and knows what happened when it is back.
        let (cut, epoch) = controllers.leader(&both).await;
        let other = 1 - cut;
        cables[cut].iter().for_each(|cable| cable.set(Carries::Nothing));
        let (_, next) = controllers.leader(&[other]).await;
        assert!(next > epoch);
        controllers
            .until("the controller that was cut off to let go", async || {
                (!matches!(controllers.standing(cut).await, Standing::Leader(_))).then_some(())
            })
            .await;
        let mut at_cut = controllers.client_of(cut);
        let put =
            at_cut.once(&Method::PUT, "/networking/v1/virtualServers/late", &[], &json!({ "properties": {} })).await;
        assert!(put.as_ref().is_none_or(|answered| matches!(answered.status, 307 | 503)), "{put:?}");
        let mut at_next = controllers.client_of(other);
        let path = "/networking/v1/virtualGateways/contoso";
        assert_eq!(at_next.ask(Method::DELETE, path, &[], &Value::Null).await.status, 202);
        agent.until("the plan after that", |agent| agent.has(1) && agent.position.epoch >= next).await;
        for cable in &cables[cut] {
            cable.set(Carries::All);
            cable.cut();
        }
        let mut at_cut = controllers.client_of(cut);
        controllers
            .until("the controller that is back to know", async || {
                (at_cut.get("/virtualGateways/contoso").await.status == 404).then_some(())
            })
            .await;
    });
}

#[test]
fn an_agent_that_was_cut_off_is_told_what_it_missed_and_no_more() {
    on_a_machine(async |node| {
        let mut controllers = Controllers::start(&node, &[None]).await;
        let direct = controllers.address(0);
        let cable = Cable::to(SocketAddr::from(([127, 0, 0, 1], direct.port()))).await;
        furnish(&controllers).await;
        let through = format!("https://{}", cable.address()).parse().unwrap();
        let mut agent = Agent::join(&controllers, vec![through]);
        describe(&controllers, "contoso", 1).await;
        agent.until("the first tenant", |agent| agent.has(1)).await;
        cable.set(Carries::Nothing);
        describe(&controllers, "woodgrove", 2).await;
        cable.set(Carries::All);
        cable.cut();
        agent.until("what it missed", |agent| agent.has(2)).await;
        // The same after its controller was away.
        controllers.kill(0);
        controllers.launch(0);
        controllers.answers(0).await;
        let mut client = controllers.client();
        let path = "/networking/v1/virtualGateways/contoso";
        assert_eq!(client.ask(Method::DELETE, path, &[], &Value::Null).await.status, 202);
        agent.until("the next leadership's plan", |agent| agent.has(1) && agent.position.epoch >= 2).await;
        let kept = agent.kept();
        assert_eq!(kept.iter().filter(|event| event.since.is_none()).count(), 1, "{kept:?}");
        let sent: usize = kept.iter().map(|event| event.set.len()).sum();
        assert_eq!(sent, 2, "each tenant was sent once: {kept:?}");
    });
}

#[test]
fn a_killed_controller_keeps_all_that_it_answered() {
    on_a_machine(async |node| {
        let mut controllers = Controllers::start(&node, &[None]).await;
        let chains = (0..8).map(|number| Chain::new(number, &controllers)).collect();
        let writers = Writers::start(chains);
        for round in 0..6 {
            // At another place every time.
            writers.more(2 + round % 3, &controllers).await;
            controllers.kill(0);
            controllers.launch(0);
        }
        writers.more(1, &controllers).await;
        let chains = writers.finish().await;
        let mut client = controllers.client();
        for chain in &chains {
            let answered = client.get(&format!("/virtualNetworks/{}", chain.name)).await;
            assert!(chain.is_shown_by(&answered), "{answered:?}");
        }
        controllers.kill(0);
        let store = Store::from(FileStore::open(&controllers.data(0)).unwrap());
        for chain in &chains {
            for kind in ["resources/virtualnetworks", "allocations"] {
                let entry = store.get(&format!("{kind}/{}", chain.name)).await.unwrap().unwrap();
                let text = str::from_utf8(&entry.value).unwrap();
                assert!(text.contains(&format!("s{}", chain.written)), "{kind} of {} is of another write", chain.name);
            }
        }
    });
}

/// Somebody who follows all virtual servers, and comes again with what they have.
struct Follower {
    has: Option<String>,
    known: BTreeMap<String, Value>,
    watching: Option<Watching>,
    told_anew: u32,
}

impl Follower {
    fn new() -> Self {
        Self { has: None, known: BTreeMap::new(), watching: None, told_anew: 0 }
    }

    /// Follows at these controllers until all is known that is wanted. Nothing comes twice.
    async fn until_known(&mut self, controllers: &Controllers, client: &mut Client, wanted: &[&str]) {
        while self.has.is_none() || self.known.keys().ne(wanted) {
            let Some(watching) = &mut self.watching else {
                if self.has.is_none() {
                    self.known.clear();
                }
                let opened = controllers
                    .until("a watch to begin", async || {
                        match client.watch("/virtualServers", self.has.as_deref()).await? {
                            Err(503) => None,
                            other => Some(other),
                        }
                    })
                    .await;
                match opened {
                    Ok(watching) => self.watching = Some(watching),
                    Err(410) => {
                        self.told_anew += 1;
                        (self.has, self.known) = (None, BTreeMap::new());
                    }
                    Err(status) => panic!("a watch is refused: {status}"),
                }
                continue;
            };
            let Some(event) = watching.next().await else {
                self.watching = None;
                continue;
            };
            if !event.id.is_empty() {
                self.has = Some(event.id.clone());
            }
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            if event.kind == "BOOKMARK" {
                continue;
            }
            let name = data["resourceRef"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            match event.kind.as_str() {
                "ADDED" => assert!(self.known.insert(name, data).is_none(), "{event:?} came twice"),
                "MODIFIED" => assert!(self.known.insert(name, data).is_some(), "{event:?} was not there"),
                "DELETED" => assert!(self.known.remove(&name).is_some(), "{event:?} came twice"),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn watches_go_on_at_other_controllers_and_are_told_what_is_forgotten() {
    with_members(3, async |members| {
        let both = [0, 1];
        let [(zero, of_zero), (one, of_one)] = [cables(&members).await, cables(&members).await];
        let cables = [zero, one];
        let mut controllers = Controllers::start(members.node(), &[of_zero, of_one]).await;
        let (leader, epoch) = controllers.leader(&both).await;
        let behind = 1 - leader;
        let (mut at_leader, mut at_behind) = (controllers.client_of(leader), controllers.client_of(behind));
        let mut writer = controllers.client();
        let properties = json!({});
        writer.put("/virtualServers/a", &properties).await;
        let mut follower = Follower::new();
        follower.until_known(&controllers, &mut at_behind, &["a"]).await;
        writer.put("/virtualServers/b", &properties).await;
        follower.until_known(&controllers, &mut at_behind, &["a", "b"]).await;
        // It goes on at the other controller where it was.
        follower.watching = None;
        writer.put("/virtualServers/c", &properties).await;
        follower.until_known(&controllers, &mut at_leader, &["a", "b", "c"]).await;
        if controllers.leader(&both).await.1 == epoch {
            assert_eq!(follower.told_anew, 0);
        }
        // It has seen what the other controller has not yet, and is not told that again when that one catches up.
        cables[behind].iter().for_each(|cable| cable.set(Carries::Nothing));
        assert_eq!(writer.ask(Method::DELETE, "/networking/v1/virtualServers/a", &[], &Value::Null).await.status, 202);
        follower.until_known(&controllers, &mut at_leader, &["b", "c"]).await;
        follower.watching = None;
        // Meanwhile etcd forgets what that one has not read.
        writer.put("/virtualServers/d", &properties).await;
        let mut raw = members.raw().await;
        let now = raw.get("x", None).await.unwrap().header().unwrap().revision();
        raw.compact(now, None).await.unwrap();
        for cable in &cables[behind] {
            cable.set(Carries::All);
            cable.cut();
        }
        follower.until_known(&controllers, &mut at_behind, &["b", "c", "d"]).await;
        // Who has what nobody remembers is told so, at once.
        let refused = controllers
            .until("an answer", async || {
                at_behind.watch("/virtualServers", Some("1")).await?.err().filter(|&status| status != 503)
            })
            .await;
        assert_eq!(refused, 410);
        // The leader dies: whoever followed there goes on at the next one.
        let (leader, epoch) = controllers.leader(&both).await;
        let next = 1 - leader;
        let (mut at_leader, mut at_next) = (controllers.client_of(leader), controllers.client_of(next));
        controllers
            .until("the next one to follow", async || {
                matches!(controllers.standing(next).await, Standing::Follower(Some(_))).then_some(())
            })
            .await;
        follower.watching = None;
        writer.put("/virtualServers/e", &properties).await;
        follower.until_known(&controllers, &mut at_leader, &["b", "c", "d", "e"]).await;
        let before = follower.told_anew;
        controllers.kill(leader);
        writer.put("/virtualServers/f", &properties).await;
        follower.until_known(&controllers, &mut at_next, &["b", "c", "d", "e", "f"]).await;
        if controllers.leader(&[next]).await.1 == epoch + 1 {
            assert_eq!(follower.told_anew, before, "the next one had read all that the dead one told");
        }
    });
}
