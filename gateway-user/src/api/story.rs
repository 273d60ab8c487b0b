//! Turns trace records into one packet's run, told stage by stage.
//!
//! The programs make two records a packet: one as it came in, one at its end. [`Joiner`] pairs them, [`tell`] words them.

use super::agent::{TraceKeys, TraceNames};
use super::clock;
use super::dissect::{self, FrameView, Identity, Packet};
use super::protocol::TraceRequest;
use super::report::{CapturedFrame, StageReport, TraceEvent};
use gateway_common::trace::{Stage, Traced};
use gateway_common::{ConnectionId, DropReason, NexthopId};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a packet's second record is waited for.
pub const JOIN_WINDOW: Duration = Duration::from_secs(1);
/// First records that wait at once.
const PENDING: usize = 1024;

/// An XDP program's verdicts.
mod action {
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
    pub const REDIRECT: u32 = 4;
}

/// A packet's run, as far as its records came.
#[derive(Clone, Debug)]
pub struct Run {
    /// The packet as it came in.
    pub arrived: Option<Traced>,
    /// The packet at its end.
    pub ended: Option<Traced>,
}

/// Bytes of the packet that a record holds.
fn captured(record: &Traced) -> &[u8] {
    let length = (record.length as usize).min(record.packet.len());
    &record.packet[..length]
}

/// Whether the frame stands in the record as it came in: the programs change only what goes on.
fn is_untouched(record: &Traced) -> bool {
    record.flags & Traced::ARRIVED != 0 || record.reason != 0
}

/// The frame's headers; the inner packet is where the record says that it started, as long as nothing was changed.
fn view(record: &Traced) -> FrameView<'_> {
    let bytes = captured(record);
    let mut view = dissect::frame(bytes);
    if is_untouched(record)
        && record.inner_offset != 0
        && let Some(inner) = bytes.get(record.inner_offset as usize..).and_then(Packet::read)
    {
        view.outermost = None;
        view.inner = Some(inner);
    }
    view
}

/// Whether a record can be of a packet whose addresses are those that the request asks for. A gateway changes no inner address, so both
/// records of a packet agree; but what left may have been a tunnel of the tenant's own.
pub fn matches(record: &Traced, request: &TraceRequest) -> bool {
    let view = view(record);
    let matches = |packet: &Packet<'_>| request.matches(packet.source, packet.destination);
    !request.by_address()
        || view.inner.as_ref().is_some_and(matches)
        || !is_untouched(record) && view.outermost.as_ref().is_some_and(matches)
}

impl Run {
    /// Whether the packet's addresses are those that the request asks for.
    pub fn matches(&self, request: &TraceRequest) -> bool {
        match self.addresses() {
            Some((source, destination)) => request.matches(source, destination),
            None => !request.by_address(),
        }
    }

    /// The record that says most.
    fn main(&self) -> Option<&Traced> {
        self.ended.as_ref().or(self.arrived.as_ref())
    }

    /// Source and destination of the inner packet, as it came in.
    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let of = |record: &Traced| view(record).inner.map(|inner| (inner.source, inner.destination));
        self.arrived.as_ref().and_then(of).or_else(|| self.ended.as_ref().and_then(of))
    }

    /// Whether the packet came from the connection or goes to it.
    pub fn touches(&self, connection: ConnectionId, out_connection: Option<ConnectionId>) -> bool {
        out_connection == Some(connection)
            || self.main().is_some_and(|record| record.origin.as_connection() == Some(connection))
    }

    /// What the agent needs to find the names.
    pub fn keys(&self) -> TraceKeys {
        let zeroed = bytemuck::Zeroable::zeroed();
        let record = self.main().unwrap_or(&zeroed);
        TraceKeys {
            tenant: record.tenant,
            ifindex: record.ifindex,
            origin: record.origin,
            nexthop: self.ended.map_or(NexthopId::NONE, |record| record.nexthop),
            destination: self.addresses().map(|(_, destination)| destination),
        }
    }
}

/// Pairs the two records of a packet. Records of several processors are interleaved; those of one packet are not far apart.
#[derive(Debug, Default)]
pub struct Joiner {
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    identity: Option<Identity>,
    record: Traced,
}

impl Joiner {
    /// Takes a record; returns the runs that are complete, or that must be let go.
    pub fn push(&mut self, record: Traced, now: Instant) -> Vec<Run> {
        let view = view(&record);
        let [identity, outermost] = [view.inner, view.outermost].map(|packet| packet.map(|packet| packet.identity()));
        if record.flags & Traced::ARRIVED != 0 {
            self.pending.push_back(Pending { since: now, identity, record });
            return if self.pending.len() > PENDING { self.let_go(1) } else { Vec::new() };
        }
        let place = self.partner(&record, identity).or_else(|| self.partner(&record, Some(outermost?)));
        let arrived = place.and_then(|place| self.pending.remove(place)).map(|pending| pending.record);
        vec![Run { arrived, ended: Some(record) }]
    }

    /// The first record of the same packet: the same run of the program by its time, else the same inner packet.
    fn partner(&self, record: &Traced, identity: Option<Identity>) -> Option<usize> {
        let same_port = |pending: &&Pending| pending.record.ifindex == record.ifindex;
        let by = |matches: &dyn Fn(&Pending) -> bool| {
            self.pending.iter().position(|pending| same_port(&pending) && matches(pending))
        };
        by(&|pending| pending.record.time == record.time && pending.identity == identity)
            .or_else(|| by(&|pending| pending.identity.is_some() && pending.identity == identity))
            .or_else(|| by(&|pending| identity.is_none() && pending.record.time == record.time))
    }

    /// The runs whose end is not waited for any longer.
    pub fn expire(&mut self, now: Instant) -> Vec<Run> {
        let late = self
            .pending
            .iter()
            .take_while(|pending| now.saturating_duration_since(pending.since) > JOIN_WINDOW)
            .count();
        self.let_go(late)
    }

    fn let_go(&mut self, count: usize) -> Vec<Run> {
        self.pending.drain(..count).map(|pending| Run { arrived: Some(pending.record), ended: None }).collect()
    }
}

fn frame(record: &Traced) -> CapturedFrame {
    CapturedFrame { length: record.length, bytes: captured(record).to_vec() }
}

/// Words a run. Never fails, whatever the records hold.
pub fn tell(run: &Run, names: &TraceNames) -> TraceEvent {
    let time_ns = clock::wall(run.arrived.as_ref().or(run.ended.as_ref()).map_or(0, |record| record.time));
    let packet = run
        .arrived
        .as_ref()
        .and_then(|record| view(record).inner.map(|inner| inner.summary()))
        .or_else(|| run.ended.as_ref().and_then(|record| view(record).inner.map(|inner| inner.summary())))
        .unwrap_or_else(|| "no IP packet".to_owned());
    let mut event = TraceEvent {
        time: time_ns as f64 / 1e9,
        time_ns,
        port: names.in_port.clone(),
        packet,
        verdict: "unknown".to_owned(),
        arrived: run.arrived.as_ref().map(frame),
        left: run.ended.as_ref().map(frame),
        ..TraceEvent::default()
    };
    let Some(ended) = &run.ended else {
        event.stages = stages(run, names, Stage::Classify);
        return event;
    };
    event.cached = ended.flags & Traced::CACHED != 0;
    let reason = DropReason::from_number(ended.reason);
    let last = reason.and_then(where_dropped).or_else(|| Stage::from_number(ended.stage));
    event.stages = last.map(|last| stages(run, names, last)).unwrap_or_default();
    let sent = matches!(ended.action, action::TX | action::REDIRECT);
    match reason {
        Some(reason) => {
            event.verdict = "dropped".to_owned();
            event.reason = Some(reason.name().to_owned());
            let detail = format!("dropped: {} ({})", reason.name(), reason.meaning().trim_end_matches('.'));
            match event.stages.last_mut() {
                Some(stage) => stage.detail = detail,
                None => event.stages.push(StageReport { stage: "end".to_owned(), detail }),
            }
        }
        None if ended.reason != 0 => {
            event.verdict = "dropped".to_owned();
            event.reason = Some(format!("reason {}", ended.reason));
        }
        None if sent && last == Some(Stage::Punt) => {
            event.verdict = if to_slow_path(names) { "deferred" } else { "delivered" }.to_owned();
        }
        None if sent => {
            event.verdict = "forwarded".to_owned();
            event.out_port = names.out_port.clone();
        }
        None if ended.action == action::PASS => event.verdict = "passed".to_owned(),
        None => event.verdict = "dropped".to_owned(),
    }
    event
}

/// Whether a punted packet goes to user space: its next hop leads on, but not as the packet is.
fn to_slow_path(names: &TraceNames) -> bool {
    names.mtu.is_some()
}

/// The stage at which packets are dropped for a reason; `None` where that is not always the same one.
fn where_dropped(reason: DropReason) -> Option<Stage> {
    use DropReason as Reason;
    Some(match reason {
        Reason::EthernetTruncated
        | Reason::OuterTruncated
        | Reason::OuterMalformed
        | Reason::OuterChecksum
        | Reason::OuterOptions
        | Reason::OuterFragment
        | Reason::GreTruncated
        | Reason::GreMalformed
        | Reason::GreChecksum
        | Reason::GreProtocol
        | Reason::VxlanTruncated
        | Reason::VxlanMalformed
        | Reason::NvgreMalformed => Stage::Parse,
        Reason::GreUnknown
        | Reason::OtherStation
        | Reason::VniUnknown
        | Reason::FabricPeerUnknown
        | Reason::PortKind
        | Reason::ConnectionDisabled
        | Reason::ConnectionLeaving => Stage::Classify,
        Reason::InnerEthernetTruncated
        | Reason::InnerEthertype
        | Reason::InnerTruncated
        | Reason::InnerMalformed
        | Reason::InnerSourceRoute
        | Reason::InnerExtensions
        | Reason::EcnInvalid => Stage::Decapsulate,
        Reason::Spoofed | Reason::Martian | Reason::RateInbound | Reason::TtlExpired | Reason::CompartmentSource => {
            Stage::Admit
        }
        Reason::NoRoute | Reason::Blackhole | Reason::NeighbourUnresolved | Reason::GatewayLoop => Stage::Route,
        Reason::RateOutbound | Reason::TooBig => Stage::Adapt,
        Reason::NoPort => Stage::Emit,
        Reason::PuntRateLimited | Reason::NoCompartment | Reason::SlowPathLimited => Stage::Punt,
        _ => return None,
    })
}

/// The stages up to the last one that the packet reached.
fn stages(run: &Run, names: &TraceNames, last: Stage) -> Vec<StageReport> {
    let unrouted = run.ended.is_some_and(|record| record.nexthop == NexthopId::NONE);
    let passed = |stage: &Stage| match last {
        // Instead of what makes it fit and sends it.
        Stage::Punt => *stage <= Stage::Route || *stage == Stage::Punt,
        // A compartment's frame for its VLAN is put on the wire as it is.
        Stage::Emit if unrouted => matches!(stage, Stage::Parse | Stage::Classify | Stage::Encapsulate | Stage::Emit),
        last => *stage <= last,
    };
    Stage::ALL
        .iter()
        .copied()
        .filter(passed)
        .map(|stage| StageReport { stage: stage.name().to_owned(), detail: detail(stage, run, names) })
        .collect()
}

/// What a stage found or did.
fn detail(stage: Stage, run: &Run, names: &TraceNames) -> String {
    // What is dropped early was not changed until then.
    let untouched = || run.ended.as_ref().filter(|record| record.reason != 0);
    let came = run.arrived.as_ref().or_else(untouched).map(|record| (view(record), record.length));
    let left = run.ended.as_ref().map(view);
    let inner = came.as_ref().and_then(|(view, _)| view.inner.as_ref());
    match stage {
        Stage::Parse => match &came {
            Some((view, length)) => format!("{}, {length} bytes on {}", view.outer, names.in_port),
            None => format!("on {}", names.in_port),
        },
        Stage::Classify => {
            let seat = run.main().map_or(0, |record| record.seat.0);
            format!("tenant {}, {}, seat {seat}", names.tenant, names.origin)
        }
        Stage::Decapsulate => match inner.or(left.as_ref().and_then(|view| view.inner.as_ref())) {
            Some(inner) => format!("{}, {} bytes, ttl {}", inner.summary(), inner.length, inner.ttl),
            None => "no IP packet inside".to_owned(),
        },
        Stage::Admit => "source, rate and ttl allow it".to_owned(),
        Stage::Route => {
            let prefix = names.prefix.as_deref().unwrap_or("no prefix");
            let leads_to = names.leads_to.as_deref().unwrap_or("nowhere");
            let cached = run.ended.is_some_and(|record| record.flags & Traced::CACHED != 0);
            format!("{prefix} -> {leads_to}{}", if cached { " (from the flow cache)" } else { "" })
        }
        Stage::Adapt => match (names.mtu, inner.or(left.as_ref().and_then(|view| view.inner.as_ref()))) {
            (Some(mtu), Some(inner)) => format!("{} bytes within mtu {mtu}", inner.length),
            (Some(mtu), None) => format!("within mtu {mtu}"),
            (None, _) => "as it is".to_owned(),
        },
        Stage::Encapsulate => left.map_or_else(|| "done".to_owned(), |view| view.outer),
        Stage::Emit => names.out_port.clone().unwrap_or_else(|| "sent".to_owned()),
        Stage::Punt => match run.ended.map(|record| record.action) {
            Some(action::PASS) => "to the host's stack".to_owned(),
            _ if to_slow_path(names) => "to the slow path, to be fragmented".to_owned(),
            _ => "to the tenant's compartment".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use gateway_common::{OriginId, SeatId, TenantId};
    use proptest::prelude::*;

    fn echo(sequence: u16, ttl: u8) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 28, 0, 7, 0, 0, ttl, 1, 0, 0, 10, 2, 0, 5, 10, 1, 0, 5, 8, 0, 0, 0, 0, 9];
        bytes.extend(sequence.to_be_bytes());
        bytes
    }

    fn gre(inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        bytes.extend([0x45, 0, 0, 56, 0, 0, 0x40, 0, 64, 47, 0, 0, 203, 0, 113, 20, 198, 51, 100, 10]);
        bytes.extend([0x20, 0, 0x08, 0, 0, 0, 0, 100]);
        bytes.extend(inner);
        bytes
    }

    fn vxlan(inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        bytes.extend([0x45, 0, 0, 78, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 10, 0, 1, 10, 10, 0, 11]);
        bytes.extend([0xc0, 1, 0x12, 0xb5, 0, 58, 0, 0, 8, 0, 0, 0, 0, 0x13, 0x89, 0]);
        bytes.extend([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 0x08, 0x00]);
        bytes.extend(inner);
        bytes
    }

    fn record(frame: &[u8], inner_offset: u32, flags: u32) -> Traced {
        let mut record = Traced {
            kind: Traced::KIND,
            ifindex: 4,
            time: 1000,
            tenant: TenantId(1),
            origin: OriginId::connection(ConnectionId(2)),
            seat: SeatId(0),
            flags,
            length: frame.len() as u32,
            inner_offset,
            ..Traced::zeroed()
        };
        record.packet[..frame.len()].copy_from_slice(frame);
        record
    }

    fn arrived(sequence: u16) -> Traced {
        record(&gre(&echo(sequence, 64)), 42, Traced::ARRIVED)
    }

    fn names() -> TraceNames {
        TraceNames {
            tenant: "contoso".to_owned(),
            in_port: "tor0".to_owned(),
            origin: "connection hq".to_owned(),
            prefix: Some("10.1.0.5/32".to_owned()),
            leads_to: Some("vm at 10.10.0.11".to_owned()),
            out_connection: None,
            out_port: Some("fab0".to_owned()),
            mtu: Some(1450),
        }
    }

    fn lines(event: &TraceEvent) -> Vec<String> {
        event.stages.iter().map(|stage| format!("{}: {}", stage.stage, stage.detail)).collect()
    }

    #[test]
    fn a_forwarded_packet_is_told_through_all_stages() {
        let mut joiner = Joiner::default();
        assert!(joiner.push(arrived(3), Instant::now()).is_empty());
        let ended = Traced {
            stage: Stage::Emit as u32,
            action: action::REDIRECT,
            nexthop: NexthopId(9),
            flags: Traced::CACHED,
            ..record(&vxlan(&echo(3, 63)), 64, 0)
        };
        let runs = joiner.push(ended, Instant::now());
        assert_eq!(runs.len(), 1);
        let event = tell(&runs[0], &names());
        assert_eq!(
            lines(&event),
            [
                "parse: GRE key 100 203.0.113.20 > 198.51.100.10, 70 bytes on tor0",
                "classify: tenant contoso, connection hq, seat 0",
                "decapsulate: 10.2.0.5 > 10.1.0.5 ICMP echo request id 9 seq 3, 28 bytes, ttl 64",
                "admit: source, rate and ttl allow it",
                "route: 10.1.0.5/32 -> vm at 10.10.0.11 (from the flow cache)",
                "adapt: 28 bytes within mtu 1450",
                "encapsulate: VXLAN vni 5001 10.10.0.1 > 10.10.0.11",
                "emit: fab0",
            ]
        );
        assert_eq!((event.verdict.as_str(), event.out_port.as_deref()), ("forwarded", Some("fab0")));
        assert!(event.cached && event.reason.is_none());
        assert_eq!(event.arrived.map(|frame| frame.bytes.len()), Some(70));
    }

    #[test]
    fn a_dropped_packet_ends_at_its_stage_with_the_reason() {
        let ended = Traced {
            stage: Stage::Admit as u32,
            action: 1,
            reason: DropReason::Spoofed as u32,
            ..record(&gre(&echo(3, 64)), 42, 0)
        };
        let event = tell(&Run { arrived: Some(arrived(3)), ended: Some(ended) }, &names());
        assert_eq!(event.stages.len(), 4);
        assert_eq!(
            lines(&event)[3],
            "admit: dropped: spoofed (The inner source address is not feasible for where the packet came from)"
        );
        assert_eq!((event.verdict.as_str(), event.reason.as_deref()), ("dropped", Some("spoofed")));
    }

    #[test]
    fn a_punted_packet_skips_what_it_does_not_pass() {
        let ended = Traced { stage: Stage::Punt as u32, action: action::REDIRECT, ..record(&gre(&echo(3, 64)), 42, 0) };
        let to_compartment = TraceNames { mtu: None, leads_to: Some("compartment".to_owned()), ..names() };
        let event = tell(&Run { arrived: Some(arrived(3)), ended: Some(ended) }, &to_compartment);
        let stages: Vec<_> = event.stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(stages, ["parse", "classify", "decapsulate", "admit", "route", "punt"]);
        assert_eq!(event.verdict, "delivered");
    }

    #[test]
    fn what_is_dropped_before_its_arrival_was_told_is_told_all_the_same() {
        let ended = Traced {
            stage: Stage::Classify as u32,
            action: 1,
            reason: DropReason::NoRoute as u32,
            ..record(&gre(&echo(3, 64)), 42, 0)
        };
        let mut joiner = Joiner::default();
        let runs = joiner.push(ended, Instant::now());
        let event = tell(&runs[0], &names());
        let lines = lines(&event);
        assert_eq!(lines[0], "parse: GRE key 100 203.0.113.20 > 198.51.100.10, 70 bytes on tor0");
        assert_eq!(lines[4], "route: dropped: no_route (The tenant has no route to the destination)");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn an_answer_does_not_take_the_arrival_of_another_packet() {
        let mut joiner = Joiner::default();
        joiner.push(arrived(1), Instant::now());
        let runs = joiner.push(record(&vxlan(&echo(9, 63)), 64, 0), Instant::now());
        assert!(runs[0].arrived.is_none());
        assert_eq!(joiner.pending.len(), 1);
    }

    #[test]
    fn a_fragment_to_be_is_deferred_and_a_compartments_frame_goes_as_it_is() {
        let ended = Traced { stage: Stage::Punt as u32, action: action::REDIRECT, ..record(&gre(&echo(3, 64)), 42, 0) };
        let event = tell(&Run { arrived: Some(arrived(3)), ended: Some(ended) }, &names());
        assert_eq!(event.verdict, "deferred");
        let ended = Traced { stage: Stage::Emit as u32, ..ended };
        let event = tell(&Run { arrived: Some(arrived(3)), ended: Some(ended) }, &names());
        let stages: Vec<_> = event.stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(stages, ["parse", "classify", "encapsulate", "emit"]);
    }

    #[test]
    fn interleaved_packets_find_their_own_ends() {
        let mut joiner = Joiner::default();
        for sequence in 1..=3 {
            assert!(joiner.push(arrived(sequence), Instant::now()).is_empty());
        }
        for sequence in [2u16, 3, 1] {
            let runs = joiner.push(record(&vxlan(&echo(sequence, 63)), 64, 0), Instant::now());
            let event = tell(&runs[0], &names());
            assert!(
                runs[0].arrived.is_some() && event.packet.ends_with(&format!("seq {sequence}")),
                "{}",
                event.packet
            );
        }
    }

    #[test]
    fn a_packet_whose_end_is_not_told_is_let_go() {
        let mut joiner = Joiner::default();
        let now = Instant::now();
        joiner.push(arrived(1), now);
        assert!(joiner.expire(now).is_empty());
        let runs = joiner.expire(now + JOIN_WINDOW * 2);
        assert_eq!(runs.len(), 1);
        assert_eq!(tell(&runs[0], &names()).verdict, "unknown");
    }

    #[test]
    fn a_flood_of_first_records_is_bounded() {
        let mut joiner = Joiner::default();
        let let_go: usize = (0..2 * PENDING).map(|_| joiner.push(arrived(1), Instant::now()).len()).sum();
        assert_eq!((let_go, joiner.pending.len()), (PENDING, PENDING));
    }

    #[test]
    fn a_tenants_own_tunnel_is_one_packet() {
        // A site behind a VLAN sends GRE of its own to a VM.
        let frame = gre(&echo(3, 64));
        let mut joiner = Joiner::default();
        joiner.push(record(&frame, 14, Traced::ARRIVED), Instant::now());
        let runs = joiner.push(Traced { time: 2000, ..record(&frame, 14, 0) }, Instant::now());
        assert!(runs[0].arrived.is_some());
        let event = tell(&runs[0], &names());
        assert_eq!(event.packet, "203.0.113.20 > 198.51.100.10 GRE");
    }

    #[test]
    fn an_offset_of_the_frame_that_came_says_nothing_of_the_one_that_left() {
        // At 64 of the GRE frame there is no header, but what looks like one.
        let mut frame = gre(&echo(3, 63));
        frame.extend([0x45; 60]);
        let mut joiner = Joiner::default();
        joiner.push(record(&vxlan(&echo(3, 64)), 64, Traced::ARRIVED), Instant::now());
        let runs = joiner.push(record(&frame, 64, 0), Instant::now());
        assert!(runs[0].arrived.is_some());
    }

    #[test]
    fn filters_look_at_the_inner_addresses() {
        let record = arrived(1);
        let run = Run { arrived: Some(record), ended: None };
        assert!(run.matches(&TraceRequest::default()));
        let request = |src: Option<&str>, dst: Option<&str>| TraceRequest {
            src: src.map(|prefix| prefix.parse().expect("a prefix")),
            dst: dst.map(|prefix| prefix.parse().expect("a prefix")),
            ..TraceRequest::default()
        };
        assert!(matches(&record, &request(None, None)));
        assert!(matches(&record, &request(Some("10.2.0.0/16"), Some("10.1.0.5/32"))));
        assert!(!matches(&record, &request(Some("203.0.113.0/24"), None)));
        assert!(!matches(&record, &request(None, Some("fd00::/8"))));
        assert!(run.touches(ConnectionId(2), None) && run.touches(ConnectionId(5), Some(ConnectionId(5))));
        assert!(!run.touches(ConnectionId(5), None));
    }

    proptest! {
        #[test]
        fn arbitrary_records_are_told_somehow(bytes in proptest::collection::vec(any::<u8>(), size_of::<Traced>())) {
            let record: Traced = bytemuck::pod_read_unaligned(&bytes);
            let mut joiner = Joiner::default();
            for run in joiner.push(record, Instant::now()) {
                let _ = (tell(&run, &TraceNames::default()), run.keys());
            }
            let everything = TraceRequest { src: "0.0.0.0/0".parse().ok(), ..TraceRequest::default() };
            let _ = matches(&record, &everything);
            let run = Run { arrived: Some(record), ended: Some(record) };
            let event = tell(&run, &TraceNames::default());
            prop_assert!(!event.verdict.is_empty());
        }
    }
}
