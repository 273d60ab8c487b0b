//! Which NOTIFICATION, to the octet, follows from what a neighbour does.

use bgp::Moment;
use bgp::number::{Asn, Family, RouterId};
use bgp::session::{
    Action, Administrative, ConnectionId, FamilyConfig, Local, MaxPrefixes, Neighbor, OwnRestart, RoleConfig, Session,
    State, Strictness,
};
use bgp::wire::{
    self, Capabilities, Forwarding, Framing, Message, Open, RefreshKind, RestartCapability, Role, encode_keepalive,
    encode_open,
};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const ID: ConnectionId = ConnectionId::Incoming(1);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

fn neighbor() -> Neighbor {
    let mut neighbor = Neighbor::new(THEIRS, Asn(65002));
    neighbor.mode = bgp::session::Mode::Passive;
    neighbor
}

fn open() -> Open {
    Open {
        asn: Asn(65002),
        hold_time: 90,
        router_id: RouterId(Ipv4Addr::new(2, 2, 2, 2)),
        capabilities: Capabilities {
            families: Some(vec![Family::Ipv4]),
            four_octet: true,
            route_refresh: true,
            enhanced_refresh: true,
            ..Capabilities::default()
        },
    }
}

struct Rig {
    session: Session,
    now: Moment,
    actions: Vec<Action>,
}

impl Rig {
    /// A session with a connection in OpenSent.
    fn new(neighbor: Neighbor) -> Self {
        let local = Local { asn: Asn(65001), router_id: RouterId(Ipv4Addr::new(1, 1, 1, 1)) };
        let now = Moment(1_000_000_000);
        let mut session = Session::new(local, neighbor, OwnRestart::None, 0, 7, now);
        let mut actions = Vec::new();
        session.accepted(ID, OURS, now, &mut actions);
        Self { session, now, actions }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.session.received(ID, bytes, self.now, &mut self.actions);
    }

    fn confirmed(neighbor: Neighbor, open: &Open) -> Self {
        let mut rig = Self::new(neighbor);
        rig.receive(&encode_open(open));
        assert_eq!(rig.session.state(), State::OpenConfirm);
        rig
    }

    fn established(neighbor: Neighbor, open: &Open) -> Self {
        let mut rig = Self::confirmed(neighbor, open);
        rig.receive(&encode_keepalive());
        assert_eq!(rig.session.state(), State::Established);
        rig.actions.clear();
        rig
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.session.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.session.timeout(self.now, &mut self.actions);
        }
        self.now = end;
    }

    /// The NOTIFICATIONs among what was sent.
    fn said(&self) -> Vec<Said> {
        let mut framing = Framing::default();
        for action in &self.actions {
            if let Action::Send(_, bytes) = action {
                framing.push(bytes);
            }
        }
        std::iter::from_fn(|| framing.next())
            .filter_map(|received| match received.expect("what we send can be read").message {
                Message::Notification(said) => Some((said.code, said.subcode, said.data.to_vec())),
                _ => None,
            })
            .collect()
    }
}

/// A message with a good marker.
fn message(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn update(body: &[u8]) -> Vec<u8> {
    message(19 + body.len() as u16, 2, body)
}

/// An OPEN of these bytes behind its header.
fn raw_open(body: &[u8]) -> Vec<u8> {
    message(19 + body.len() as u16, 1, body)
}

/// Code, subcode, data.
type Said = (u8, u8, Vec<u8>);

fn check(table: Vec<(&str, Rig, Said)>) {
    for (why, rig, said) in table {
        assert_eq!(rig.said(), [said], "{why}");
        assert!(!rig.session.has(ID), "{why}: the connection has to go");
        assert!(rig.actions.iter().any(|action| matches!(action, Action::Close(ID, _))), "{why}");
    }
}

#[test]
fn headers() {
    let after = |bytes: &[u8]| {
        let mut rig = Rig::established(neighbor(), &open());
        rig.receive(bytes);
        rig
    };
    let mut no_marker = message(19, 4, &[]);
    no_marker[3] = 0;
    check(vec![
        ("marker", after(&no_marker), (1, 1, vec![])),
        ("shorter than a header", after(&message(18, 4, &[])), (1, 2, vec![0, 18])),
        ("longer than 4096", after(&message(4097, 2, &[])), (1, 2, vec![0x10, 1])),
        ("KEEPALIVE with a body", after(&message(20, 4, &[0])), (1, 2, vec![0, 20])),
        ("OPEN shorter than 29", after(&message(28, 1, &[0; 9])), (1, 2, vec![0, 28])),
        ("UPDATE shorter than 23", after(&message(22, 2, &[0; 3])), (1, 2, vec![0, 22])),
        ("NOTIFICATION shorter than 21", after(&message(20, 3, &[6])), (1, 2, vec![0, 20])),
        ("type 0", after(&message(19, 0, &[])), (1, 3, vec![0])),
        ("type 6", after(&message(19, 6, &[])), (1, 3, vec![6])),
        (
            "ROUTE-REFRESH of 5 octets",
            after(&message(24, 5, &[0, 1, 1, 1, 0])),
            (7, 1, message(24, 5, &[0, 1, 1, 1, 0])),
        ),
        ("ROUTE-REFRESH of 3 octets", after(&message(22, 5, &[0, 1, 1])), (7, 1, message(22, 5, &[0, 1, 1]))),
    ]);
}

#[test]
fn opens() {
    let of = |neighbor: Neighbor, change: &dyn Fn(&mut Open)| {
        let mut rig = Rig::new(neighbor);
        let mut open = open();
        change(&mut open);
        rig.receive(&encode_open(&open));
        rig
    };
    let raw = |body: &[u8]| {
        let mut rig = Rig::new(neighbor());
        rig.receive(&raw_open(body));
        rig
    };
    let internal = Neighbor { asn: Asn(65001), ..neighbor() };
    let slow = Neighbor { timers: bgp::session::Timers { least_hold: 10, ..Default::default() }, ..neighbor() };
    let six = Neighbor { families: [(Family::Ipv6, FamilyConfig::default())].into(), ..neighbor() };
    let role = |strictness| Neighbor { role: Some(RoleConfig { role: Role::Customer, strictness }), ..neighbor() };
    let strict = || role(Strictness::Strict);
    check(vec![
        ("version 3", raw(&[3, 0xfd, 0xea, 0, 90, 2, 2, 2, 2, 0]), (2, 1, vec![0, 4])),
        ("another AS", of(neighbor(), &|open| open.asn = Asn(65003)), (2, 2, vec![])),
        ("identifier 0", of(neighbor(), &|open| open.router_id = RouterId(Ipv4Addr::UNSPECIFIED)), (2, 3, vec![])),
        (
            "our own identifier in our AS",
            of(internal, &|open| {
                open.asn = Asn(65001);
                open.router_id = RouterId(Ipv4Addr::new(1, 1, 1, 1));
            }),
            (2, 3, vec![]),
        ),
        ("parameter 1", raw(&[4, 0xfd, 0xea, 0, 90, 2, 2, 2, 2, 2, 1, 0]), (2, 4, vec![])),
        ("parameters that overrun", raw(&[4, 0xfd, 0xea, 0, 90, 2, 2, 2, 2, 4, 2, 9, 1, 4]), (2, 0, vec![])),
        ("hold time of a second", of(neighbor(), &|open| open.hold_time = 1), (2, 6, vec![])),
        ("hold time of two seconds", of(neighbor(), &|open| open.hold_time = 2), (2, 6, vec![])),
        ("hold time below ours", of(slow, &|open| open.hold_time = 9), (2, 6, vec![])),
        ("no family in common", of(six, &|_| ()), (2, 7, vec![1, 4, 0, 2, 0, 1])),
        ("the same role", of(strict(), &|open| open.capabilities.roles = vec![3]), (2, 11, vec![])),
        ("no role where it is wanted", of(strict(), &|_| ()), (2, 11, vec![])),
        ("two roles", of(role(Strictness::Lenient), &|open| open.capabilities.roles = vec![0, 3]), (2, 11, vec![])),
        (
            "a role without meaning",
            of(role(Strictness::Lenient), &|open| open.capabilities.roles = vec![9]),
            (2, 11, vec![]),
        ),
    ]);
}

#[test]
fn messages_out_of_turn() {
    let sent = |bytes: &[u8]| {
        let mut rig = Rig::new(neighbor());
        rig.receive(bytes);
        rig
    };
    let confirmed = |bytes: &[u8]| {
        let mut rig = Rig::confirmed(neighbor(), &open());
        rig.receive(bytes);
        rig
    };
    let established = |bytes: &[u8]| {
        let mut rig = Rig::established(neighbor(), &open());
        rig.receive(bytes);
        rig
    };
    let end_of_rib = update(&[0, 0, 0, 0]);
    check(vec![
        ("KEEPALIVE in OpenSent", sent(&encode_keepalive()), (5, 1, vec![4])),
        ("UPDATE in OpenSent", sent(&end_of_rib), (5, 1, vec![2])),
        ("UPDATE in OpenConfirm", confirmed(&end_of_rib), (5, 2, vec![2])),
        ("OPEN in OpenConfirm", confirmed(&encode_open(&open())), (5, 2, vec![1])),
        ("OPEN in Established", established(&encode_open(&open())), (5, 3, vec![1])),
    ]);
}

#[test]
fn updates() {
    let of = |body: &[u8]| {
        let mut rig = Rig::established(neighbor(), &open());
        rig.receive(&update(body));
        rig
    };
    // MP_REACH_NLRI for IPv4, which was negotiated: next hop of 4 octets, then a prefix of 33 bits.
    let reach = [0x80, 14, 14, 0, 1, 1, 4, 10, 9, 0, 2, 0, 33, 1, 2, 3, 4];
    let unreach = [0x80, 15, 5, 0, 1, 1, 33, 1];
    let twice = [[0x80, 15, 3, 0, 1, 1], [0x80, 15, 3, 0, 1, 1]].concat();
    let with = |attributes: &[u8]| of(&[&[0, 0, 0, attributes.len() as u8], attributes].concat());
    check(vec![
        ("withdrawn routes that overrun", of(&[0, 9, 0, 0]), (3, 1, vec![])),
        ("attributes that overrun", of(&[0, 0, 0, 9]), (3, 1, vec![])),
        ("a withdrawn prefix of 33 bits", of(&[0, 2, 33, 1, 0, 0]), (3, 10, vec![])),
        ("an announced prefix that overruns", of(&[0, 0, 0, 0, 24, 10, 1]), (3, 10, vec![])),
        ("MP_REACH_NLRI that cannot be read", with(&reach), (3, 9, reach.to_vec())),
        ("MP_UNREACH_NLRI that cannot be read", with(&unreach), (3, 9, unreach.to_vec())),
        ("MP_UNREACH_NLRI twice", with(&twice), (3, 1, vec![])),
        ("a fault where nothing can be withdrawn", with(&[0x40, 1, 1, 9]), (3, 1, vec![])),
    ]);
}

#[test]
fn timers() {
    let mut hold = Rig::established(neighbor(), &open());
    hold.wait(Duration::from_secs(91));
    hold.actions.retain(|action| !matches!(action, Action::Connect(_)));
    let mut silent = Rig::new(neighbor());
    silent.wait(Duration::from_secs(61));
    check(vec![("hold time", hold, (4, 0, vec![])), ("no OPEN", silent, (4, 0, vec![]))]);
}

#[test]
fn a_neighbour_that_does_not_read_loses_its_connection() {
    let patient = Neighbor {
        timers: bgp::session::Timers { send_hold: Duration::from_secs(10), ..Default::default() },
        ..neighbor()
    };
    let mut rig = Rig::established(patient, &Open { hold_time: 0, ..open() });
    // The OPEN and the KEEPALIVE of the beginning never leave.
    rig.wait(Duration::from_secs(11));
    assert_eq!(rig.said(), []);
    assert!(rig.actions.contains(&Action::Close(ID, bgp::session::Close::Abort)));
}

#[test]
fn a_hold_time_of_zero_needs_no_keepalives() {
    let mut rig = Rig::established(neighbor(), &Open { hold_time: 0, ..open() });
    rig.session.sent(ID, usize::MAX, rig.now);
    rig.wait(Duration::from_secs(100_000));
    assert_eq!(rig.session.state(), State::Established);
    assert_eq!(rig.actions, []);
}

#[test]
fn ceases() {
    let rig = || Rig::established(neighbor(), &open());
    let then = |act: &dyn Fn(&mut Rig)| {
        let mut rig = rig();
        act(&mut rig);
        rig
    };
    let limit = MaxPrefixes { limit: 1000, warning_percent: 80, restart: None };
    let configured = |change: &dyn Fn(&mut Neighbor)| {
        then(&|rig: &mut Rig| {
            let mut changed = neighbor();
            change(&mut changed);
            let local = Local { asn: Asn(65001), router_id: RouterId(Ipv4Addr::new(1, 1, 1, 1)) };
            rig.session.configure(local, changed, rig.now, &mut rig.actions);
        })
    };
    let words = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    check(vec![
        (
            "too many prefixes",
            then(&|rig| rig.session.too_many_prefixes(Family::Ipv4, limit, rig.now, &mut rig.actions)),
            (6, 1, vec![0, 1, 1, 0, 0, 3, 0xe8]),
        ),
        (
            "shut down, with words",
            configured(&|it| it.administrative = Administrative::Down("moving house".into())),
            (6, 2, words("moving house")),
        ),
        ("shut down", configured(&|it| it.administrative = Administrative::Down(String::new())), (6, 2, vec![])),
        ("removed", then(&|rig| rig.session.remove(rig.now, &mut rig.actions)), (6, 3, vec![])),
        ("reset", then(&|rig| rig.session.reset("again", rig.now, &mut rig.actions)), (6, 4, words("again"))),
        ("another AS", configured(&|it| it.asn = Asn(65009)), (6, 6, vec![])),
        ("another hold time", configured(&|it| it.timers.hold = 30), (6, 6, vec![])),
        (
            "BFD",
            then(&|rig| rig.session.bfd_down(Forwarding::NotPreserved, rig.now, &mut rig.actions)),
            (6, 10, vec![]),
        ),
    ]);
}

#[test]
fn a_setting_that_no_session_depends_on_leaves_it_alone() {
    let mut rig = Rig::established(neighbor(), &open());
    let mut changed = neighbor();
    changed.first_as = wire::FirstAs::Any;
    changed.timers.connect_retry = Duration::from_secs(9);
    changed.families.insert(
        Family::Ipv4,
        FamilyConfig {
            max_prefixes: Some(MaxPrefixes { limit: 1, warning_percent: 50, restart: None }),
            add_path: None,
        },
    );
    let local = Local { asn: Asn(65001), router_id: RouterId(Ipv4Addr::new(1, 1, 1, 1)) };
    rig.session.configure(local, changed, rig.now, &mut rig.actions);
    assert_eq!(rig.session.state(), State::Established);
    assert_eq!(rig.actions, []);
}

/// RFC 8538: what must not be survived is said so that it is not.
#[test]
fn a_neighbour_that_keeps_routes_over_notifications_is_reset_hard() {
    let mut keeps = open();
    keeps.capabilities.graceful_restart = Some(RestartCapability {
        restarted: false,
        notifications: true,
        time: 120,
        families: vec![(Family::Ipv4, Forwarding::NotPreserved)],
    });
    let mut rig = Rig::established(neighbor(), &keeps);
    rig.session.reset("x", rig.now, &mut rig.actions);
    assert_eq!(rig.said(), [(6, 9, vec![6, 4, 1, b'x'])]);
    assert!(rig.actions.contains(&Action::Down { retained: vec![] }));

    let mut rig = Rig::established(neighbor(), &keeps);
    rig.wait(Duration::from_secs(91));
    assert_eq!(rig.said(), [(4, 0, vec![])]);
    assert!(rig.actions.contains(&Action::Down { retained: vec![Family::Ipv4] }));
}

#[test]
fn a_connection_that_nobody_wants_is_rejected() {
    let down = Neighbor { administrative: Administrative::Down(String::new()), ..neighbor() };
    check(vec![
        ("administratively down", Rig::new(down), (6, 5, vec![])),
        ("we connect", Rig::new(Neighbor { mode: bgp::session::Mode::Active, ..neighbor() }), (6, 5, vec![])),
    ]);
}

#[test]
fn refreshes_are_answered_and_marked() {
    let mut rig = Rig::established(neighbor(), &open());
    rig.receive(&wire::encode_refresh(Family::Ipv4, RefreshKind::Request));
    assert_eq!(rig.actions, [Action::RefreshWanted(Family::Ipv4)]);
    rig.actions.clear();
    rig.receive(&wire::encode_refresh(Family::Ipv6, RefreshKind::Request));
    rig.receive(&wire::encode_refresh(Family::Ipv4, RefreshKind::Unknown(9)));
    assert_eq!(rig.actions, [], "neither a family that was not agreed nor an unknown kind is an error");
    rig.receive(&wire::encode_refresh(Family::Ipv4, RefreshKind::Begin));
    rig.receive(&wire::encode_refresh(Family::Ipv4, RefreshKind::End));
    assert_eq!(rig.actions, [Action::Stale(Family::Ipv4), Action::StaleGone(Family::Ipv4)]);
}
