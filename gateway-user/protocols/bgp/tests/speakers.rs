//! Several speakers joined by connections: routes go where they should, and stay over restarts.

use bgp::Moment;
use bgp::number::{Asn, Family, RouterId};
use bgp::session::{ConnectionId, Event, FamilyConfig, MaxPrefixes, Neighbor, State};
use bgp::speaker::{
    Close, Config, Input, NeighborConfig, NeighborName, Network, Output, Reflection, Reset, RouteNextHop, Speaker,
    Start, Watch,
};
use bgp::wire::{FirstAs, Forwarding, Framing, Message, Peering, Unreadable, UpdateContext, decode_update};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

fn address(of: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, of as u8 + 1))
}

fn name(of: usize) -> NeighborName {
    format!("n{of}").as_str().into()
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// One machine with a speaker.
struct Host {
    speaker: Option<Speaker>,
    routes: BTreeMap<IpNet, Vec<RouteNextHop>>,
    /// How often a route was told, prefix by prefix: what forwarding has to do.
    told: BTreeMap<IpNet, usize>,
    events: Vec<(NeighborName, Event)>,
    recovered: Vec<Family>,
    /// What who watches was told.
    watched: Vec<(Option<NeighborName>, bytes::Bytes)>,
}

enum Arrival {
    Connected(ConnectionId, SocketAddr),
    Refused(ConnectionId),
    Accepted(ConnectionId, SocketAddr),
    Bytes(ConnectionId, bytes::Bytes),
    Closed(ConnectionId),
}

/// Hosts on one network. Everything takes a millisecond.
struct Fabric {
    now: Moment,
    hosts: Vec<Host>,
    pipes: HashMap<(usize, ConnectionId), (usize, ConnectionId)>,
    queue: VecDeque<(Moment, usize, Arrival)>,
    accepted: u64,
}

impl Fabric {
    fn new(configs: Vec<Config>) -> Self {
        let mut network = Self {
            now: Moment(1_000_000_000),
            hosts: Vec::new(),
            pipes: HashMap::new(),
            queue: VecDeque::new(),
            accepted: 0,
        };
        for _ in &configs {
            network.hosts.push(Host {
                speaker: None,
                routes: BTreeMap::new(),
                told: BTreeMap::new(),
                events: Vec::new(),
                recovered: Vec::new(),
                watched: Vec::new(),
            });
        }
        for (at, config) in configs.into_iter().enumerate() {
            network.start(at, config, Start::Fresh);
        }
        network
    }

    fn start(&mut self, at: usize, config: Config, start: Start) {
        let mut outputs = Vec::new();
        self.hosts[at].speaker = Some(Speaker::new(config, start, at as u64, self.now, &mut outputs));
        self.perform(at, outputs);
    }

    /// The daemon dies: its connections break, its machine goes on forwarding.
    fn kill(&mut self, at: usize) {
        self.hosts[at].speaker = None;
        let broken: Vec<_> =
            self.pipes.iter().filter(|(near, _)| near.0 == at).map(|(near, far)| (*near, *far)).collect();
        for (near, far) in broken {
            self.pipes.remove(&near);
            self.pipes.remove(&far);
            self.post(far.0, Arrival::Closed(far.1));
        }
    }

    fn post(&mut self, to: usize, arrival: Arrival) {
        self.queue.push_back((self.now + Duration::from_millis(1), to, arrival));
    }

    fn tell(&mut self, at: usize, input: Input<'_>) {
        let mut outputs = Vec::new();
        let now = self.now;
        if let Some(speaker) = &mut self.hosts[at].speaker {
            speaker.step(input, now, &mut outputs);
        }
        self.perform(at, outputs);
    }

    fn perform(&mut self, at: usize, outputs: Vec<Output>) {
        let mut sent = Vec::new();
        for output in outputs {
            match output {
                Output::Connect { connection, remote, .. } => {
                    let to = self
                        .hosts
                        .iter()
                        .enumerate()
                        .position(|(index, _)| address(index) == remote.ip())
                        .expect("a host");
                    if self.hosts[to].speaker.is_none() {
                        self.post(at, Arrival::Refused(connection));
                        continue;
                    }
                    self.accepted += 1;
                    let far = ConnectionId::Incoming(self.accepted);
                    self.pipes.insert((at, connection), (to, far));
                    self.pipes.insert((to, far), (at, connection));
                    self.post(to, Arrival::Accepted(far, SocketAddr::new(address(at), 40000)));
                    self.post(at, Arrival::Connected(connection, remote));
                }
                Output::Send { connection, bytes } => {
                    sent.push((connection, bytes.len()));
                    if let Some((to, far)) = self.pipes.get(&(at, connection)).copied() {
                        self.post(to, Arrival::Bytes(far, bytes));
                    }
                }
                Output::Close { connection, how: Close::AfterSending | Close::Abort } => {
                    if let Some(far) = self.pipes.remove(&(at, connection)) {
                        self.pipes.remove(&far);
                        self.post(far.0, Arrival::Closed(far.1));
                    }
                }
                Output::Route { prefix, next_hops } => {
                    let host = &mut self.hosts[at];
                    *host.told.entry(prefix).or_default() += 1;
                    if next_hops.is_empty() {
                        host.routes.remove(&prefix);
                    } else {
                        host.routes.insert(prefix, next_hops);
                    }
                }
                Output::Recovered(family) => self.hosts[at].recovered.push(family),
                Output::Watched { neighbor, update } => self.hosts[at].watched.push((neighbor, update)),
                Output::Event { neighbor, event } => self.hosts[at].events.push((neighbor, event)),
            }
        }
        for (connection, count) in sent {
            self.tell(at, Input::Sent { connection, count });
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for steps in 0.. {
            assert!(steps < 1_000_000, "nothing comes to rest");
            let timers = self
                .hosts
                .iter()
                .enumerate()
                .filter_map(|(at, host)| Some((host.speaker.as_ref()?.next_deadline()?.max(self.now), at)));
            let timer = timers.min().filter(|(when, _)| *when <= end);
            let event = self.queue.front().map(|(when, ..)| *when).filter(|when| *when <= end);
            match (timer, event) {
                (None, None) => break,
                (Some((when, at)), event) if event.is_none_or(|event| when < event) => {
                    self.now = when;
                    self.tell(at, Input::Timer);
                }
                _ => {
                    let Some((when, at, arrival)) = self.queue.pop_front() else { break };
                    self.now = self.now.max(when);
                    let local = SocketAddr::new(address(at), 179);
                    match arrival {
                        Arrival::Connected(connection, remote) => {
                            self.tell(at, Input::Connected { connection, local, remote });
                        }
                        Arrival::Refused(connection) => self.tell(at, Input::ConnectFailed { connection }),
                        Arrival::Accepted(connection, remote) => {
                            self.tell(at, Input::Accepted { connection, local, remote });
                        }
                        Arrival::Bytes(connection, bytes) => {
                            self.tell(at, Input::Received { connection, bytes: &bytes });
                        }
                        Arrival::Closed(connection) => self.tell(at, Input::Closed { connection }),
                    }
                }
            }
        }
        self.now = end;
    }

    fn state(&self, at: usize, of: usize) -> State {
        self.hosts[at].speaker.as_ref().and_then(|speaker| speaker.neighbor(&name(of))).expect("configured").state
    }

    fn via(&self, at: usize, prefix: &str) -> Vec<IpAddr> {
        self.hosts[at]
            .routes
            .get(&net(prefix))
            .map(|hops| hops.iter().map(|hop| hop.address).collect())
            .unwrap_or_default()
    }
}

fn neighbor(of: usize, asn: u32) -> (NeighborName, NeighborConfig) {
    let mut session = Neighbor::new(address(of), Asn(asn));
    session.families = Family::ALL.map(|family| (family, FamilyConfig::default())).into();
    (name(of), session.into())
}

fn config(at: usize, asn: u32, neighbors: &[(usize, u32)], networks: &[&str]) -> Config {
    let mut config = Config::new(Asn(asn), RouterId(Ipv4Addr::new(1, 1, 1, at as u8 + 1)));
    config.neighbors = neighbors.iter().map(|(of, asn)| neighbor(*of, *asn)).collect();
    for neighbor in config.neighbors.values_mut() {
        neighbor.routes.next_hop_v6 = Some(format!("fd09::{}", at + 1).parse().expect("an address"));
    }
    config.networks = networks.iter().map(|text| Network::from(net(text))).collect();
    config
}

/// Two sites and the cloud between them.
fn line() -> Vec<Config> {
    vec![
        config(0, 65001, &[(1, 65000)], &["192.0.2.0/24", "2001:db8:1::/48"]),
        config(1, 65000, &[(0, 65001), (2, 65002)], &["198.51.100.0/24"]),
        config(2, 65002, &[(1, 65000)], &["203.0.113.0/24", "2001:db8:2::/48"]),
    ]
}

#[test]
fn routes_pass_through_the_middle_both_ways_in_both_families() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(10));
    assert_eq!(network.state(1, 0), State::Established);
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(1)]);
    assert_eq!(network.via(0, "203.0.113.0/24"), [address(1)]);
    assert_eq!(network.via(0, "198.51.100.0/24"), [address(1)]);
    let six: IpAddr = "fd09::2".parse().expect("an address");
    assert_eq!(network.via(2, "2001:db8:1::/48"), [six]);
    assert_eq!(network.via(0, "2001:db8:2::/48"), [six]);
    assert!(network.via(1, "198.51.100.0/24").is_empty(), "what we originate is not forwarded to anybody");
    let view = network.hosts[1].speaker.as_ref().and_then(|speaker| speaker.neighbor(&name(0))).expect("configured");
    assert_eq!((view.statistics.ipv4.updates_received, view.statistics.ipv6.updates_received), (1, 1));
    assert_eq!((view.statistics.ipv4.updates_sent, view.statistics.ipv6.updates_sent), (2, 1));
    assert!(view.statistics.open.sent.count >= 1 && view.statistics.keepalive.received.count >= 1);
}

#[test]
fn a_withdrawn_network_is_gone_everywhere() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(10));
    let mut changed = line().remove(0);
    changed.networks.remove(0);
    network.tell(0, Input::Configure(changed));
    network.run(Duration::from_secs(1));
    assert!(network.via(2, "192.0.2.0/24").is_empty() && network.via(1, "192.0.2.0/24").is_empty());
    assert!(!network.via(2, "2001:db8:1::/48").is_empty(), "the other one stays");
    let lost = |host: &Host| host.events.iter().any(|(_, event)| matches!(event, Event::Lost { .. }));
    assert!(!network.hosts.iter().any(lost), "no session had to end");
}

#[test]
fn a_changed_neighbour_is_the_only_one_that_is_touched() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(10));
    let mut changed = line().remove(1);
    changed.neighbors.get_mut(&name(2)).expect("configured").session.timers.hold = 30;
    network.tell(1, Input::Configure(changed.clone()));
    network.run(Duration::from_secs(10));
    let lost: Vec<_> = network.hosts[1]
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Lost { .. }))
        .map(|(of, _)| of.clone())
        .collect();
    assert_eq!(lost, [name(2)]);
    assert_eq!(network.via(0, "203.0.113.0/24"), [address(1)], "it is back");
    changed.neighbors.remove(&name(2));
    network.tell(1, Input::Configure(changed));
    network.run(Duration::from_secs(5));
    assert!(network.via(0, "203.0.113.0/24").is_empty() && network.via(2, "192.0.2.0/24").is_empty());
}

#[test]
fn a_speaker_that_restarts_costs_nobody_a_route() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(60));
    let told = network.hosts[2].told.clone();
    let kept = network.hosts[1].routes.clone();
    network.kill(1);
    network.run(Duration::from_secs(5));
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(1)], "it stays while the middle is away");
    let config = line().remove(1);
    network.start(1, config, Start::Restart(Forwarding::Preserved));
    network.run(Duration::from_secs(10));
    assert_eq!(network.hosts[2].told, told, "forwarding had nothing to do");
    assert_eq!(network.hosts[1].recovered, Family::ALL);
    assert_eq!(network.hosts[1].routes, kept);
    assert!(!network.hosts[1].speaker.as_ref().expect("it runs").is_recovering());
    let again = |host: &Host| host.events.iter().any(|(_, event)| matches!(event, Event::StaleGone(_)));
    assert!(!network.hosts.iter().any(again));
}

#[test]
fn a_speaker_that_restarts_with_less_takes_the_rest_back() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(60));
    network.kill(0);
    let mut less = line().remove(0);
    less.networks.truncate(1);
    network.start(0, less, Start::Restart(Forwarding::Preserved));
    network.run(Duration::from_secs(10));
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(1)]);
    assert!(network.via(2, "2001:db8:1::/48").is_empty(), "it was not sent again");
}

/// Of the neighbours, only one has routes of IPv6 to give; the other one's End-of-RIB might have come too early.
#[test]
fn a_restart_doubts_an_end_before_any_route() {
    let mut configs = line();
    configs[2].networks.truncate(1);
    let middle = configs[1].clone();
    let mut network = Fabric::new(configs);
    network.run(Duration::from_secs(60));
    network.kill(1);
    network.start(1, middle, Start::Restart(Forwarding::Preserved));
    network.run(Duration::from_secs(4));
    assert_eq!(network.state(1, 2), State::Established);
    assert!(network.hosts[1].speaker.as_ref().expect("it runs").is_recovering());
    network.run(Duration::from_secs(2));
    assert_eq!(network.hosts[1].recovered, Family::ALL);
}

#[test]
fn a_restart_waits_for_the_neighbours_and_no_longer_than_it_may() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(60));
    network.kill(1);
    network.kill(2);
    network.start(1, line().remove(1), Start::Restart(Forwarding::Preserved));
    network.run(Duration::from_secs(100));
    assert!(network.hosts[1].speaker.as_ref().expect("it runs").is_recovering(), "the other neighbour is still away");
    network.run(Duration::from_secs(30));
    assert_eq!(network.hosts[1].recovered, Family::ALL);
}

#[test]
fn a_forwarding_plane_that_was_lost_is_said_to_be() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(60));
    network.kill(1);
    network.start(1, line().remove(1), Start::Restart(Forwarding::NotPreserved));
    network.run(Duration::from_secs(10));
    assert!(network.hosts[2].told[&net("192.0.2.0/24")] > 1, "the route went and came");
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(1)]);
}

#[test]
fn too_many_prefixes_end_the_session_and_only_that_one() {
    let mut configs = line();
    let limit = MaxPrefixes { limit: 10, warning_percent: 50, restart: Some(Duration::from_secs(60)) };
    let limited = &mut configs[1].neighbors.get_mut(&name(0)).expect("configured").session.families;
    limited.insert(Family::Ipv4, FamilyConfig { max_prefixes: Some(limit), add_path: None });
    let mut network = Fabric::new(configs);
    network.run(Duration::from_secs(5));
    let many = |count: u32| {
        let mut config = line().remove(0);
        config.networks = (0..count)
            .map(|number| {
                Network::from(IpNet::new(Ipv4Addr::from(0x0b00_0000 + (number << 8)).into(), 24).expect("24"))
            })
            .collect();
        config
    };
    network.tell(0, Input::Configure(many(7)));
    network.run(Duration::from_secs(1));
    assert!(network.hosts[1].events.iter().any(|(_, event)| matches!(event, Event::PrefixWarning { limit: 10, .. })));
    network.tell(0, Input::Configure(many(11)));
    network.run(Duration::from_secs(1));
    assert_ne!(network.state(1, 0), State::Established);
    assert_eq!(network.state(1, 2), State::Established);
    assert!(network.via(2, "11.0.0.0/24").is_empty(), "its routes are gone");
    network.tell(0, Input::Configure(many(3)));
    network.run(Duration::from_secs(130));
    assert_eq!(network.state(1, 0), State::Established);
    assert_eq!(network.via(2, "11.0.0.0/24"), [address(1)]);
}

/// A tenant's reflector with two gateways that are its clients.
#[test]
fn a_reflector_passes_routes_between_its_clients() {
    let mut configs = vec![
        config(0, 65000, &[(1, 65000)], &["192.0.2.0/24"]),
        config(1, 65000, &[(0, 65000), (2, 65000)], &[]),
        config(2, 65000, &[(1, 65000)], &[]),
    ];
    for neighbor in configs[1].neighbors.values_mut() {
        neighbor.routes.reflection = Reflection::Client;
    }
    let mut network = Fabric::new(configs);
    network.run(Duration::from_secs(10));
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(0)], "the next hop stays");
}

#[test]
fn routes_may_be_asked_for_and_sent_again() {
    let mut network = Fabric::new(line());
    network.run(Duration::from_secs(60));
    let told = network.hosts[1].told.clone();
    for how in [Reset::In, Reset::Out] {
        network.tell(1, Input::Reset { neighbor: name(0), how });
        network.run(Duration::from_secs(1));
    }
    let view = network.hosts[1].speaker.as_ref().and_then(|speaker| speaker.neighbor(&name(0))).expect("configured");
    // The wish, and the marks around what was sent again.
    assert!(view.statistics.refresh.sent.count >= 3, "{:?}", view.statistics.refresh);
    assert_eq!(view.statistics.refresh.received.count, 4, "marks around two families");
    assert_eq!(network.hosts[1].told, told, "nothing changed for forwarding");
}

#[test]
fn twenty_thousand_routes_pass_within_the_window() {
    let mut configs = line();
    configs[0].networks = (0..20_000_u32)
        .map(|number| Network::from(IpNet::new(Ipv4Addr::from(0x0b00_0000 + (number << 8)).into(), 24).expect("24")))
        .collect();
    let mut network = Fabric::new(configs);
    network.run(Duration::from_secs(60));
    assert_eq!(network.hosts[2].routes.len(), 20_001);
    network.kill(0);
    network.run(Duration::from_secs(150));
    assert_eq!(network.hosts[2].routes.len(), 1, "after the restart time");
}

/// What a watcher makes of UPDATEs: each table's prefixes with their attributes.
fn seen(
    updates: &[(Option<NeighborName>, bytes::Bytes)],
) -> BTreeMap<(Option<NeighborName>, IpNet), Option<bytes::Bytes>> {
    let context = UpdateContext {
        peering: Peering::External,
        peer_asn: Asn(0),
        first_as: FirstAs::Any,
        four_octet: true,
        families: Family::ALL.to_vec(),
        add_path: Vec::new(),
        extended_next_hop: true,
        role: None,
        own: Vec::new(),
        unreadable: Unreadable::ResetSession,
    };
    let mut all = BTreeMap::new();
    for (of, bytes) in updates {
        let mut framing = Framing::default();
        framing.push(bytes);
        let received = framing.next().expect("a whole message").expect("a good one");
        let Message::Update(fields) = received.message else { panic!("{received:?}") };
        let update = decode_update(&fields, &context).expect("an UPDATE");
        for one in update.withdrawn.iter().flat_map(|list| list.iter()) {
            all.insert((of.clone(), one.prefix), None);
        }
        for announcement in &update.announced {
            for one in announcement.prefixes.iter() {
                all.insert((of.clone(), one.prefix), Some(announcement.attributes.clone()));
            }
        }
    }
    all
}

#[test]
fn who_watches_from_the_start_and_who_comes_later_see_the_same_tables() {
    let mut network = Fabric::new(line());
    let speaker = |network: &mut Fabric| network.hosts[1].speaker.as_mut().map(|one| one.watch(Watch::On));
    speaker(&mut network).expect("it runs");
    network.run(Duration::from_secs(10));
    let mut changed = line().remove(0);
    changed.networks.remove(0);
    network.tell(0, Input::Configure(changed));
    network.run(Duration::from_secs(1));
    let told = seen(&network.hosts[1].watched);
    let gone = |of: Option<NeighborName>| told.get(&(of, net("192.0.2.0/24")));
    assert_eq!((gone(None), gone(Some(name(0)))), (Some(&None), Some(&None)), "a withdrawal is told");
    // What starts here has no next hop, and no neighbour could say it so.
    let own = (None, net("198.51.100.0/24"));
    let kept: BTreeMap<_, _> = told.iter().filter(|(_, attributes)| attributes.is_some()).collect();
    let watched = network.hosts[1].speaker.as_ref().expect("it runs");
    let (mut late, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let piece = watched.piece(from, 1);
        late.extend(piece.updates);
        next = piece.next;
    }
    let late = seen(&late);
    assert!(late.contains_key(&own));
    assert_eq!(kept, late.iter().filter(|(_, attributes)| attributes.is_some()).collect());
    assert!(late.keys().any(|(of, _)| *of == Some(name(2))) && late.keys().any(|(of, _)| of.is_none()));
    let (_, ours, theirs) = watched.opens(&name(0)).expect("the session is up");
    assert!(ours.len() > 29 && theirs.len() > 29 && ours[18] == 1 && theirs[18] == 1, "both are OPENs");

    network.hosts[1].watched.clear();
    network.hosts[1].speaker.as_mut().expect("it runs").watch(Watch::Off);
    network.tell(0, Input::Configure(line().remove(0)));
    network.run(Duration::from_secs(1));
    assert_eq!(network.via(2, "192.0.2.0/24"), [address(1)]);
    assert!(network.hosts[1].watched.is_empty(), "nobody watches any more");
}
