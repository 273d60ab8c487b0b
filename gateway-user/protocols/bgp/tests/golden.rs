//! Recorded runs of one session: what happens stands behind `>`, what the session does about it behind `<`, and both must
//! agree, line by line. With UPDATE_GOLDEN=1 the answers are written anew; read what changed.

use bgp::Moment;
use bgp::number::{Asn, Family, RouterId};
use bgp::session::{
    Action, Administrative, Close, ConnectionId, FamilyConfig, GracefulRestart, Local, Mode, Neighbor, Offer,
    OwnRestart, Session,
};
use bgp::wire::{
    self, Capabilities, Forwarding, Framing, LongLivedCapability, Message, Notification, Open, RefreshKind,
    RestartCapability,
};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));

/// One run.
struct Run {
    session: Session,
    now: Moment,
    actions: Vec<Action>,
}

/// `key=value` among the words.
fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number<T: std::str::FromStr>(words: &[&str], key: &str) -> Option<T> {
    value(words, key).map(|text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no number")))
}

fn families(words: &[&str]) -> Vec<Family> {
    value(words, "families").unwrap_or("ipv4").split(',').map(family).collect()
}

fn family(text: &str) -> Family {
    match text {
        "ipv4" => Family::Ipv4,
        "ipv6" => Family::Ipv6,
        other => panic!("{other} is no family"),
    }
}

fn forwarding(text: &str) -> Forwarding {
    Forwarding::from(text == "kept")
}

fn connection(text: &str) -> ConnectionId {
    let number = text[1..].parse().expect("a connection is o or i and a number");
    if text.starts_with('o') { ConnectionId::Outgoing(number) } else { ConnectionId::Incoming(number) }
}

fn shown(id: ConnectionId) -> String {
    match id {
        ConnectionId::Outgoing(number) => format!("o{number}"),
        ConnectionId::Incoming(number) => format!("i{number}"),
    }
}

fn neighbor(words: &[&str]) -> Neighbor {
    let address = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
    let mut neighbor = Neighbor::new(address, Asn(number(words, "as").unwrap_or(65002)));
    neighbor.mode = match value(words, "mode") {
        None | Some("mixed") => Mode::Mixed,
        Some("active") => Mode::Active,
        Some("passive") => Mode::Passive,
        Some(other) => panic!("{other} is no mode"),
    };
    neighbor.families = families(words).into_iter().map(|family| (family, FamilyConfig::default())).collect();
    neighbor.timers.hold = number(words, "hold").unwrap_or(90);
    neighbor.timers.delay_open = Duration::from_millis(number(words, "delay").unwrap_or(0));
    if let Some(words) = value(words, "down") {
        neighbor.administrative = Administrative::Down(words.into());
    }
    neighbor.graceful_restart = (value(words, "restart") != Some("no")).then(|| GracefulRestart {
        notifications: if value(words, "keeps") == Some("no") { Offer::Withheld } else { Offer::Made },
        long_lived: number(words, "long"),
        ..GracefulRestart::default()
    });
    neighbor
}

/// What the neighbour sends.
fn message(words: &[&str]) -> Vec<u8> {
    match words[0] {
        "OPEN" => wire::encode_open(&Open {
            asn: Asn(number(words, "as").unwrap_or(65002)),
            hold_time: number(words, "hold").unwrap_or(90),
            router_id: RouterId(value(words, "id").unwrap_or("2.2.2.2").parse().expect("an identifier")),
            capabilities: Capabilities {
                families: Some(families(words)),
                four_octet: true,
                route_refresh: true,
                enhanced_refresh: true,
                graceful_restart: value(words, "restart").map(|kept| RestartCapability {
                    restarted: value(words, "R").is_some(),
                    notifications: value(words, "N").is_some(),
                    time: number(words, "time").unwrap_or(120),
                    families: families(words).into_iter().map(|family| (family, forwarding(kept))).collect(),
                }),
                long_lived: number(words, "long")
                    .map(|seconds| {
                        let each = |family| LongLivedCapability { family, forwarding: Forwarding::Preserved, seconds };
                        families(words).into_iter().map(each).collect()
                    })
                    .unwrap_or_default(),
                ..Capabilities::default()
            },
        })
        .to_vec(),
        "KEEPALIVE" => wire::encode_keepalive().to_vec(),
        "NOTIFICATION" => {
            let (code, subcode) = words[1].split_once('/').expect("code/subcode");
            let number = |text: &str| text.parse().expect("a number");
            wire::encode_notification(&Notification::new(number(code), number(subcode), Vec::new())).to_vec()
        }
        "REFRESH" => {
            let kind = match words[2] {
                "request" => RefreshKind::Request,
                "begin" => RefreshKind::Begin,
                "end" => RefreshKind::End,
                other => panic!("{other} is no refresh"),
            };
            wire::encode_refresh(family(words[1]), kind).to_vec()
        }
        "UPDATE" => {
            let body: Vec<u8> = words[1..]
                .concat()
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hexadecimal"))
                .collect();
            let length = u16::try_from(19 + body.len()).expect("short");
            [&[0xff; 16][..], &length.to_be_bytes(), &[2], &body].concat()
        }
        other => panic!("{other} is no message"),
    }
}

/// What was sent, for people.
fn describe(bytes: &[u8]) -> Vec<String> {
    let mut framing = Framing::default();
    framing.push(bytes);
    std::iter::from_fn(|| framing.next())
        .map(|received| match received.expect("what we send can be read").message {
            Message::Open(open) => {
                let mut text = format!("OPEN as={} hold={} id={}", open.asn, open.hold_time, open.router_id);
                if let Some(restart) = &open.capabilities.graceful_restart {
                    let kept = restart.families.iter().all(|(_, forwarding)| *forwarding == Forwarding::Preserved);
                    let _ = write!(text, " restart={}", if kept { "kept" } else { "lost" });
                    text.push_str(if restart.restarted { " R" } else { "" });
                    text.push_str(if restart.notifications { " N" } else { "" });
                }
                text
            }
            Message::Notification(said) => format!("NOTIFICATION {said:?}"),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_uppercase(),
        })
        .collect()
}

fn lines(action: &Action) -> Vec<String> {
    match action {
        Action::Connect(id) => vec![format!("connect {}", shown(*id))],
        Action::Close(id, Close::AfterSending) => vec![format!("close {}", shown(*id))],
        Action::Close(id, Close::Abort) => vec![format!("abort {}", shown(*id))],
        Action::Send(id, bytes) => {
            describe(bytes).into_iter().map(|text| format!("send {} {text}", shown(*id))).collect()
        }
        Action::Established(agreed) => {
            let families: Vec<_> = agreed.families.iter().map(|agreed| agreed.family).collect();
            vec![format!("established hold={} {families:?}", agreed.hold_time)]
        }
        Action::Down { retained } => vec![format!("down retained {retained:?}")],
        Action::Update(update) => vec![format!(
            "update +{} -{}",
            update.announced.iter().map(|announcement| announcement.prefixes.len()).sum::<usize>(),
            update.withdrawn.iter().map(bgp::wire::Nlri::len).sum::<usize>()
        )],
        // What people are told is what is done, in other words.
        Action::Event(_) => Vec::new(),
        other => vec![format!("{other:?}")],
    }
}

impl Run {
    fn new(words: &[&str]) -> Self {
        let local = Local { asn: Asn(65001), router_id: RouterId(Ipv4Addr::new(1, 1, 1, 1)) };
        let restart = match value(words, "recovering") {
            None => OwnRestart::None,
            Some(kept) => OwnRestart::Recovering(forwarding(kept)),
        };
        let session = Session::new(local, neighbor(words), restart, 0, 1, Moment(0));
        Self { session, now: Moment(0), actions: Vec::new() }
    }

    fn apply(&mut self, words: &[&str]) {
        let (session, now, out) = (&mut self.session, self.now, &mut self.actions);
        match words[0] {
            "until" => {
                let end = Moment(words[1].parse::<u64>().expect("milliseconds") * 1_000_000);
                while let Some(deadline) = session.next_deadline().filter(|deadline| *deadline <= end) {
                    self.now = self.now.max(deadline);
                    session.timeout(self.now, out);
                }
                self.now = end;
            }
            "connected" => session.connected(connection(words[1]), OURS, now, out),
            "refused" => session.connect_failed(connection(words[1]), now, out),
            "accepted" => session.accepted(connection(words[1]), OURS, now, out),
            "closed" => session.closed(connection(words[1]), now, out),
            "received" => session.received(connection(words[1]), &message(&words[2..]), now, out),
            "configure" => {
                let local = Local { asn: Asn(65001), router_id: RouterId(Ipv4Addr::new(1, 1, 1, 1)) };
                session.configure(local, neighbor(&words[1..]), now, out);
            }
            "bfd" => session.bfd_down(forwarding(words[1]), now, out),
            "reset" => session.reset("", now, out),
            other => panic!("{other} is nothing that happens"),
        }
        // Everything that is sent leaves at once.
        let sent: Vec<_> = self
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Send(id, bytes) => Some((*id, bytes.len())),
                _ => None,
            })
            .collect();
        for (id, octets) in sent {
            self.session.sent(id, octets, self.now);
        }
    }
}

/// The file's lines with the answers that the session gives.
fn replay(text: &str) -> String {
    let mut run: Option<Run> = None;
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('<')) {
        let _ = writeln!(out, "{line}");
        let words: Vec<&str> = match line.strip_prefix('>') {
            Some(rest) => rest.split_whitespace().collect(),
            None => continue,
        };
        if words[0] == "session" {
            run = Some(Run::new(&words[1..]));
            continue;
        }
        let run = run.as_mut().expect("the first line that begins with > is a session");
        run.apply(&words);
        for line in run.actions.drain(..).flat_map(|action| lines(&action)) {
            let _ = writeln!(out, "< {line}");
        }
        let _ = writeln!(out, "< ({})", run.session.state());
    }
    out
}

#[test]
fn recorded_runs_go_as_they_went() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the recordings are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "recordings are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a recording");
        let replayed = replay(&text);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, replayed).expect("it can be written");
        } else {
            assert_eq!(replayed, text, "{}", file.display());
        }
    }
}
