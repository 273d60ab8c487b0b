//! Gateways' agents over loopback, with certificates as a controller issues them.

use super::super::driver::{Credential, Members, Peer, SeatLog};
use super::super::entries::{Record, Room};
use super::super::report::{Following, Part};
use super::super::seats::Heard;
use super::super::tls::{Identity, Tls};
use crate::agent::credentials::{Credentials, Key};
use crate::controller::model::records::{AgentId, Role};
use crate::controller::server::authority::Authority;
use gateway_common::Epoch;
use seat::SeatName;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

const MINUTE: Duration = Duration::from_secs(60);
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A controller's authority.
struct Controller {
    authority: Authority,
    _directory: TempDir,
}

impl Controller {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { authority: Authority::open(directory.path()).expect("an authority"), _directory: directory }
    }

    fn issue(&self, role: Role, name: &str) -> (TempDir, Credentials) {
        let directory = tempfile::tempdir().expect("a directory");
        let request = Key::open(directory.path()).expect("a key").request().expect("a request");
        let agent = AgentId { role, id: name.into() };
        let certificate = self.authority.agent(&agent, &request).expect("a certificate");
        let saved = Credentials::save(directory.path(), &certificate, self.authority.certificate()).expect("saved");
        (directory, saved)
    }

    fn tls(&self, role: Role, name: &str) -> Tls {
        Tls::new(self.issue(role, name).1.identity()).expect("an identity")
    }
}

struct Gateway {
    log: SeatLog,
    heard: mpsc::Receiver<Heard>,
    name: &'static str,
    address: SocketAddr,
}

impl Gateway {
    async fn start(name: &'static str, credential: Credential) -> Self {
        let (log, heard) = SeatLog::start(credential, Room::default());
        log.configure(Members { listen: ANYWHERE, peers: Vec::new(), seats: [seat()].into() });
        let mut listening = log.listening();
        let listens = tokio::time::timeout(MINUTE, listening.wait_for(Option::is_some));
        let address = listens.await.expect("soon").expect("it lives").expect("an address");
        Self { log, heard, name, address }
    }

    /// Knows these as the gateways of this name and address.
    fn know(&self, peers: &[(&str, SocketAddr)]) {
        let peer = |(name, address): &(&str, SocketAddr)| Peer { name: (*name).into(), address: *address };
        let peers = peers.iter().map(peer).collect();
        self.log.configure(Members { listen: ANYWHERE, peers, seats: [seat()].into() });
    }

    async fn hears(&mut self) -> Vec<Record> {
        tokio::time::timeout(MINUTE, self.heard.recv()).await.expect("soon").expect("it lives").changes
    }

    async fn until(&self, what: impl Fn(&Part) -> bool) {
        let wait = async {
            while !what(&self.log.report()[0].part) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(MINUTE, wait).await.expect("it comes to that");
    }

    /// Waits until it has something to complain of that says this.
    async fn complains(&self, of: &str) {
        let wait = async {
            while !self.log.problems().values().any(|problem| problem.contains(of)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(MINUTE, wait).await;
        waited.unwrap_or_else(|_| panic!("{of}: {:?}", self.log.problems()));
    }

    fn has_followers(&self) -> bool {
        matches!(&self.log.report()[0].part, Part::Holder { followers, .. } if !followers.is_empty())
    }
}

fn seat() -> SeatName {
    "GW1".into()
}

fn station(number: u8, mac: Option<u8>) -> Record {
    let mac = mac.map(|mac| [2, 0, 0, 0, 0, mac]);
    Record::neighbour("contoso".into(), "vlan".into(), [10, 0, 0, number].into(), mac)
}

fn is_protected(part: &Part) -> bool {
    matches!(part, Part::Holder { protected: true, followers, .. }
        if followers.iter().all(|follower| follower.following == Following::Live && follower.changes == 0))
}

async fn pair(controller: &Controller) -> (Gateway, Gateway) {
    let one = Gateway::start("GW1", Credential::Given(controller.tls(Role::Gateway, "GW1"))).await;
    // Ids are compared without regard to case, wherever they are written.
    let other = Gateway::start("GW2", Credential::Given(controller.tls(Role::Gateway, "gw2"))).await;
    one.know(&[(other.name, other.address)]);
    other.know(&[(one.name, one.address)]);
    (one, other)
}

#[tokio::test]
async fn a_standby_knows_what_the_holder_knows_and_goes_on_from_there() {
    let controller = Controller::new();
    let (mut one, mut other) = pair(&controller).await;
    one.log.hold(&seat(), Epoch(1));
    assert!(!is_protected(&one.log.report()[0].part), "nobody has anything yet");
    one.log.put(&seat(), [station(1, Some(1))]);
    assert_eq!(other.hears().await, [station(1, Some(1))]);
    one.until(is_protected).await;
    one.log.put(&seat(), [station(2, Some(2))]);
    assert_eq!(other.hears().await, [station(2, Some(2))]);
    one.until(is_protected).await;
    // The other one takes it: it knows what there was, and tells the one that held it before of what is different.
    other.log.hold(&seat(), Epoch(2));
    assert_eq!(other.log.known(&seat()), [station(1, Some(1)), station(2, Some(2))]);
    one.log.release(&seat());
    other.log.put(&seat(), [station(1, None)]);
    assert_eq!(one.hears().await, [station(1, None)]);
    other.until(is_protected).await;
    assert_eq!(one.log.known(&seat()), [station(2, Some(2))]);
}

#[tokio::test]
async fn a_holder_whose_standby_is_gone_goes_on_alone_and_says_so() {
    let controller = Controller::new();
    let (one, other) = pair(&controller).await;
    one.log.hold(&seat(), Epoch(1));
    one.until(is_protected).await;
    drop(other);
    one.until(|part| matches!(part, Part::Holder { protected: false, .. })).await;
    one.log.put(&seat(), [station(1, Some(1))]);
    // It comes again, with nothing, somewhere else.
    let mut other = Gateway::start("GW2", Credential::Given(controller.tls(Role::Gateway, "GW2"))).await;
    one.know(&[(other.name, other.address)]);
    other.know(&[(one.name, one.address)]);
    assert_eq!(other.hears().await, [station(1, Some(1))]);
    one.until(is_protected).await;
}

#[tokio::test]
async fn much_comes_through_whole() {
    let controller = Controller::new();
    let (one, mut other) = pair(&controller).await;
    let all = |mac| (0..=255u8).flat_map(move |high| (0..16u8).map(move |low| (high, low, mac)));
    let record = |(high, low, mac): (u8, u8, u8)| {
        Record::neighbour("contoso".into(), "vlan".into(), [10, 0, high, low].into(), Some([2, 0, 0, 0, 0, mac]))
    };
    one.log.hold(&seat(), Epoch(1));
    one.log.put(&seat(), all(1).map(record));
    one.log.put(&seat(), all(2).map(record));
    let heard = tokio::spawn(async move {
        let mut last = 0;
        while last < 4096 {
            let changes = other.hears().await;
            last += changes.iter().filter(|change| **change == record_of(change, 2)).count();
        }
        other
    });
    let other = tokio::time::timeout(MINUTE, heard).await.expect("soon").expect("no panic");
    one.until(is_protected).await;
    assert_eq!(other.log.known(&seat()), one.log.known(&seat()));
}

/// The same station with this address.
fn record_of(change: &Record, mac: u8) -> Record {
    match change.fact() {
        super::super::entries::Fact::Neighbour { connection, address, .. } => {
            Record::neighbour(change.tenant().clone(), connection.clone(), address, Some([2, 0, 0, 0, 0, mac]))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_gateway_at_the_address_is_not_believed() {
    let controller = Controller::new();
    let (one, third) = pair(&controller).await;
    // It has a good certificate, but the plan says that GW3 is there.
    one.know(&[("GW3", third.address)]);
    one.complains("another gateway than the plan says").await;
}

#[tokio::test]
async fn who_is_no_gateway_of_the_pool_is_told_nothing() {
    let controller = Controller::new();
    let (one, stranger) = pair(&controller).await;
    one.log.hold(&seat(), Epoch(1));
    one.until(is_protected).await;
    one.know(&[]);
    one.until(|part| matches!(part, Part::Holder { followers, .. } if followers.is_empty())).await;
    stranger.complains("closed").await;
    assert!(!one.has_followers());
}

#[tokio::test]
async fn another_authority_or_another_kind_of_agent_is_refused_both_ways() {
    let (controller, another) = (Controller::new(), Controller::new());
    let one = Gateway::start("GW1", Credential::Given(controller.tls(Role::Gateway, "GW1"))).await;
    let foreign = Gateway::start("GW2", Credential::Given(another.tls(Role::Gateway, "GW2"))).await;
    one.log.hold(&seat(), Epoch(1));
    one.know(&[(foreign.name, foreign.address)]);
    one.complains("is not from the authority").await;
    // Who shows its certificate first is who is asked; the one that asks may believe it.
    let believes = Identity { authority: controller.authority.certificate().clone(), ..identity(&another, "GW2") };
    let forger = Gateway::start("GW2", Credential::Given(Tls::new(believes).expect("an identity"))).await;
    forger.know(&[(one.name, one.address)]);
    forger.complains("refused this gateway's certificate").await;
    let host = Gateway::start("GW2", Credential::Given(controller.tls(Role::Host, "GW2"))).await;
    host.know(&[(one.name, one.address)]);
    host.complains("closed").await;
    one.know(&[(host.name, host.address)]);
    one.complains("another gateway than the plan says").await;
    assert!(!one.has_followers());
}

fn identity(controller: &Controller, name: &str) -> Identity {
    controller.issue(Role::Gateway, name).1.identity()
}

#[tokio::test]
async fn a_controllers_own_certificate_is_no_gateways() {
    let controller = Controller::new();
    let one = Gateway::start("GW1", Credential::Given(controller.tls(Role::Gateway, "GW1"))).await;
    let server = controller.authority.server(&["127.0.0.1".to_owned()]).expect("a certificate");
    let certificate = server.chain[0].clone();
    let believes = Identity { certificate, key: server.key, authority: controller.authority.certificate().clone() };
    let forger = Gateway::start("GW2", Credential::Given(Tls::new(believes).expect("an identity"))).await;
    one.know(&[("GW2", forger.address)]);
    forger.know(&[(one.name, one.address)]);
    one.complains("what it knows of its seats does not come").await;
    forger.complains("refused this gateway's certificate").await;
}
