//! What became of a packet, and what a test says of it.

use crate::frame::{Hex, Stack, decode};
use gateway_common::tables::{Counters, Delivery};
use gateway_common::trace::{PathMtu, Traced};
use gateway_common::{ConnectionId, DropReason, PortId, TenantId};
use std::collections::BTreeMap;

/// An XDP action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The program failed.
    Aborted,
    /// The packet is gone.
    Drop,
    /// To the host's own stack.
    Pass,
    /// Back by the port that it came in by.
    Transmit,
    /// To another interface.
    Redirect,
    /// None of XDP's actions.
    Unknown(u32),
}

impl From<u32> for Verdict {
    fn from(action: u32) -> Self {
        match action {
            0 => Self::Aborted,
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Transmit,
            4 => Self::Redirect,
            other => Self::Unknown(other),
        }
    }
}

/// What a drop is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The port with this interface index.
    Port(u32),
    /// A tenant.
    Tenant(TenantId),
    /// A connection.
    Connection(ConnectionId),
}

/// Packets dropped for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drop {
    /// Counted under.
    pub scope: Scope,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// A record of the ring buffer.
#[derive(Clone, Debug)]
pub enum Event {
    /// A traced packet.
    Traced(Box<Traced>),
    /// A path took less than was thought.
    PathMtu(PathMtu),
}

/// What one packet did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The program's verdict.
    pub verdict: Verdict,
    /// The frame as it went in.
    pub input: Vec<u8>,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// Drops that were counted.
    pub drops: Vec<Drop>,
    /// Connections whose counters moved, and by how much.
    pub connections: BTreeMap<ConnectionId, Counters>,
    /// Tenants whose counters moved, and by how much.
    pub tenants: BTreeMap<TenantId, Counters>,
    /// Ports whose counters moved, and by how much.
    pub ports: BTreeMap<PortId, Counters>,
    /// Records that came out of the ring buffer.
    pub events: Vec<Event>,
}

impl Outcome {
    /// Panics unless the packet left by a redirect, as `expected`, and nothing counts as dropped.
    #[track_caller]
    pub fn sent(&self, expected: &Stack) -> &Self {
        self.is(Verdict::Redirect, expected)
    }

    /// Panics unless the packet went back by its own port, as `expected`, and nothing counts as dropped.
    #[track_caller]
    pub fn returned(&self, expected: &Stack) -> &Self {
        self.is(Verdict::Transmit, expected)
    }

    /// Panics unless `expected`, an ICMP error, left in the packet's stead, and just that drop is counted for the packet.
    #[track_caller]
    pub fn answered(&self, reason: DropReason, expected: &Stack) -> &Self {
        self.leaves(Verdict::Redirect, expected);
        self.counts_one(reason)
    }

    #[track_caller]
    fn is(&self, verdict: Verdict, expected: &Stack) -> &Self {
        self.leaves(verdict, expected);
        assert!(self.drops.is_empty(), "{}", self.story());
        self
    }

    #[track_caller]
    fn leaves(&self, verdict: Verdict, expected: &Stack) {
        assert_eq!(self.verdict, verdict, "{}", self.story());
        let expected = with_entropy_of(&self.frame, expected.build());
        let difference = decode::difference(&expected, &self.frame);
        assert!(difference.is_empty(), "the frame is another one:\n{difference}");
    }

    /// Panics unless the frame goes to the host's stack as `expected`, behind this note for tc.
    #[track_caller]
    pub fn noted(&self, note: Delivery, expected: &Stack) -> &Self {
        assert_eq!(self.verdict, Verdict::Pass, "{}", self.story());
        let Some((actual, frame)) = self.frame.split_at_checked(size_of::<Delivery>()) else {
            panic!("there is no note: {}", self.story())
        };
        assert_eq!(bytemuck::pod_read_unaligned::<Delivery>(actual), note);
        let difference = decode::difference(&expected.build(), frame);
        assert!(difference.is_empty(), "the frame is another one:\n{difference}");
        self
    }

    /// Panics if anything counts as dropped.
    #[track_caller]
    pub fn lost_nothing(&self) -> &Self {
        assert!(self.drops.is_empty(), "{}", self.story());
        self
    }

    /// Panics unless the packet is gone without counting as dropped.
    #[track_caller]
    pub fn taken(&self) -> &Self {
        assert_eq!(self.verdict, Verdict::Drop, "{}", self.story());
        assert!(self.drops.is_empty(), "{}", self.story());
        self
    }

    /// Panics unless the frame goes to the host's stack as it came, and nothing counts as dropped.
    #[track_caller]
    pub fn passed(&self) -> &Self {
        assert_eq!(self.verdict, Verdict::Pass, "{}", self.story());
        let difference = decode::difference(&self.input, &self.frame);
        assert!(difference.is_empty(), "passed, but touched:\n{difference}");
        assert!(self.drops.is_empty(), "{}", self.story());
        self
    }

    /// Panics unless the packet was dropped for `reason`, and just that is counted.
    #[track_caller]
    pub fn dropped(&self, reason: DropReason) -> &Self {
        assert_eq!(self.verdict, Verdict::Drop, "{}", self.story());
        self.counts_one(reason)
    }

    #[track_caller]
    fn counts_one(&self, reason: DropReason) -> &Self {
        match self.drops.as_slice() {
            [drop] if drop.reason == reason && drop.packets == 1 => self,
            _ => panic!("not just one drop for {}: {}", reason.name(), self.story()),
        }
    }

    /// Panics unless the one drop is counted under `scope`.
    #[track_caller]
    pub fn under(&self, scope: Scope) -> &Self {
        match self.drops.as_slice() {
            [drop] if drop.scope == scope => self,
            _ => panic!("not counted under {scope:?}: {}", self.story()),
        }
    }

    /// Panics unless the connection's counters moved by exactly this.
    #[track_caller]
    pub fn connection(&self, id: ConnectionId, expected: Counters) -> &Self {
        let actual = self.connections.get(&id).copied().unwrap_or_default();
        assert_eq!(actual, expected, "counters of {id:?}");
        self
    }

    /// Panics unless the counters of the tenant's fabric side moved by exactly this.
    #[track_caller]
    pub fn tenant(&self, id: TenantId, expected: Counters) -> &Self {
        let actual = self.tenants.get(&id).copied().unwrap_or_default();
        assert_eq!(actual, expected, "counters of {id:?}");
        self
    }

    /// Panics unless the port's counters moved by exactly this.
    #[track_caller]
    pub fn port(&self, id: PortId, expected: Counters) -> &Self {
        let actual = self.ports.get(&id).copied().unwrap_or_default();
        assert_eq!(actual, expected, "counters of {id:?}");
        self
    }

    /// Verdict, drops and both frames, for a failure's message.
    pub fn story(&self) -> String {
        let drops: Vec<String> = self
            .drops
            .iter()
            .map(|drop| format!("{} x {} under {:?}", drop.packets, drop.reason.name(), drop.scope))
            .collect();
        let fields: String = decode::decode(&self.frame).iter().map(|field| format!("  {field}\n")).collect();
        format!(
            "verdict {:?}, drops [{}]\nfrom\n{}to\n{}{fields}",
            self.verdict,
            drops.join(", "),
            Hex(&self.input),
            Hex(&self.frame)
        )
    }
}

/// `expected` with the fields that only spread load taken from `actual`, where they are in their range: VXLAN's UDP source port
/// (RFC 7348 section 5) and the outer flow label (RFC 6438). That they depend on the flow alone has tests of its own.
fn with_entropy_of(actual: &[u8], mut expected: Vec<u8>) -> Vec<u8> {
    let same = |range: std::ops::Range<usize>| actual.get(range.clone()) == expected.get(range);
    if !same(12..14) {
        return expected;
    }
    let (protocol, udp) = match expected.get(12..14) {
        Some([0x08, 0x00]) => (expected.get(23).copied(), 34),
        Some([0x86, 0xdd]) => (expected.get(20).copied(), 54),
        _ => return expected,
    };
    let vxlan = protocol == Some(17) && expected.get(udp + 2..udp + 4) == Some(&4789u16.to_be_bytes());
    let tunnel = vxlan || protocol == Some(47);
    if udp == 54 && tunnel && actual.len() >= 18 {
        expected[15] = expected[15] & 0xf0 | actual[15] & 0x0f;
        expected[16..18].copy_from_slice(&actual[16..18]);
    }
    if vxlan && actual.len() >= udp + 2 && actual[udp] >= 0xc0 {
        expected[udp..udp + 2].copy_from_slice(&actual[udp..udp + 2]);
    }
    expected
}
