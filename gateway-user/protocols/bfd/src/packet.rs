//! Control packets to and from bytes (RFC 5880, 4.1).

use crate::auth::{self, Section};
use crate::timers::Interval;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use thiserror::Error;

/// Bytes of a packet without authentication.
pub const LENGTH: usize = 24;
/// Bytes of the longest packet that is sent.
pub const MAX_LENGTH: usize = LENGTH + auth::SHA1_LENGTH;

/// Names a session to the system that chose it; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Discriminator(pub NonZeroU32);

impl Discriminator {
    /// From the number as it stands in a packet.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }
}

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A session's state (RFC 5880, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Switched off by somebody: says nothing about the path.
    AdminDown,
    /// Nothing is heard, or just begins to be.
    Down,
    /// The neighbour is heard.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    const fn of(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        })
    }
}

/// Why the sender's session last changed its state: five bits, of which the RFC names nine values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// Nothing to say.
    pub const NONE: Self = Self(0);
    /// Nothing was heard for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The neighbour says that its side is down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// The forwarding plane was reset.
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    /// Somebody switched it off.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);

    const fn of(bits: u8) -> Self {
        Self(bits & 0x1f)
    }

    /// The number in the packet.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            1 => f.write_str("detection time expired"),
            2 => f.write_str("echo function failed"),
            3 => f.write_str("neighbor signaled session down"),
            4 => f.write_str("forwarding plane reset"),
            5 => f.write_str("path down"),
            6 => f.write_str("concatenated path down"),
            7 => f.write_str("administratively down"),
            8 => f.write_str("reverse concatenated path down"),
            other => write!(f, "diagnostic {other}"),
        }
    }
}

/// The part that a packet has in a poll sequence (RFC 5880, 6.5). One cannot both ask and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// None.
    Outside,
    /// P: answer at once.
    Poll,
    /// F: the answer.
    Final,
}

/// Whether the sender's session goes on when its control plane does not (the C bit; RFC 5882, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlPlane {
    /// They share their fate: a session that goes down may mean a control plane that restarts.
    Shared,
    /// The session is a process or hardware of its own: down means that the path is down.
    Independent,
}

/// Whether the sender wants no periodic packets once the session is up (the D bit; RFC 5880, 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It wants them.
    Asynchronous,
    /// It asks when it wants to know.
    Demand,
}

/// What a control packet says, but for its authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's state changed.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P and F.
    pub sequence: Sequence,
    /// C.
    pub control_plane: ControlPlane,
    /// D.
    pub mode: Mode,
    /// How many of the sender's packets in a row have to be missed.
    pub multiplier: NonZeroU8,
    /// The sender's name for the session.
    pub my_discriminator: Discriminator,
    /// The receiver's name for it, where the sender knows it.
    pub your_discriminator: Option<Discriminator>,
    /// How fast the sender would like to send.
    pub desired_min_tx: Interval,
    /// How fast the sender can receive; zero: it wants nothing.
    pub required_min_rx: Interval,
    /// How fast it would take echoes; zero: not at all.
    pub required_min_echo_rx: Interval,
}

/// A packet that is no valid control packet, whichever session it is for (RFC 5880, 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There is no whole packet.
    #[error("{0} bytes are no whole packet")]
    Truncated(usize),
    /// The version is not 1.
    #[error("version {0} is not understood")]
    Version(u8),
    /// The length is below the minimum, or beyond the payload.
    #[error("its length {0} cannot be true")]
    Length(u8),
    /// A detection multiplier of 0.
    #[error("its detection multiplier is 0")]
    Multiplier,
    /// The multipoint bit, which is reserved.
    #[error("its multipoint bit is set")]
    Multipoint,
    /// A discriminator of 0.
    #[error("its own discriminator is 0")]
    Discriminator,
    /// It names no session of ours, though its sender must know one in this state.
    #[error("it names no session of ours, and its state is {0}")]
    Anonymous(State),
    /// It asks and answers at once (6.5).
    #[error("it polls and answers a poll at once")]
    PollAndFinal,
    /// The authentication section is cut short or has an impossible length.
    #[error("its authentication section is malformed")]
    Authentication,
}

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// What it says.
    pub packet: Packet,
    /// How it proves who sent it.
    pub section: Option<Section<'a>>,
    /// What is authenticated.
    pub bytes: &'a [u8],
}

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl<'a> Received<'a> {
    /// Reads a UDP payload; what follows the packet is ignored.
    ///
    /// # Errors
    /// It must be discarded.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, _) = payload.split_first_chunk::<LENGTH>().ok_or(DecodeError::Truncated(payload.len()))?;
        let [first, second, multiplier, length, ..] = *header;
        if first >> 5 != 1 {
            return Err(DecodeError::Version(first >> 5));
        }
        let bytes = payload.get(..usize::from(length)).ok_or(DecodeError::Length(length))?;
        let has_section = second & AUTHENTICATED != 0;
        if bytes.len() < LENGTH + if has_section { 2 } else { 0 } {
            return Err(DecodeError::Length(length));
        }
        let multiplier = NonZeroU8::new(multiplier).ok_or(DecodeError::Multiplier)?;
        if second & MULTIPOINT != 0 {
            return Err(DecodeError::Multipoint);
        }
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let my_discriminator = Discriminator::new(word(4)).ok_or(DecodeError::Discriminator)?;
        let your_discriminator = Discriminator::new(word(8));
        let state = State::of(second >> 6);
        if your_discriminator.is_none() && !matches!(state, State::Down | State::AdminDown) {
            return Err(DecodeError::Anonymous(state));
        }
        let sequence = match (second & POLL != 0, second & FINAL != 0) {
            (false, false) => Sequence::Outside,
            (true, false) => Sequence::Poll,
            (false, true) => Sequence::Final,
            (true, true) => return Err(DecodeError::PollAndFinal),
        };
        let section = has_section.then(|| Section::decode(&bytes[LENGTH..])).transpose()?;
        let packet = Packet {
            diagnostic: Diagnostic::of(first),
            state,
            sequence,
            control_plane: if second & INDEPENDENT == 0 { ControlPlane::Shared } else { ControlPlane::Independent },
            mode: if second & DEMAND == 0 { Mode::Asynchronous } else { Mode::Demand },
            multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: Interval(word(12)),
            required_min_rx: Interval(word(16)),
            required_min_echo_rx: Interval(word(20)),
        };
        Ok(Self { packet, section, bytes })
    }
}

impl Packet {
    /// The packet as bytes, without authentication.
    pub fn encode(&self) -> Encoded {
        let mut bytes = [0; MAX_LENGTH];
        let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        put(4, self.my_discriminator.0.get());
        put(8, self.your_discriminator.map_or(0, |it| it.0.get()));
        put(12, self.desired_min_tx.0);
        put(16, self.required_min_rx.0);
        put(20, self.required_min_echo_rx.0);
        let sequence = match self.sequence {
            Sequence::Outside => 0,
            Sequence::Poll => POLL,
            Sequence::Final => FINAL,
        };
        let independent = if self.control_plane == ControlPlane::Independent { INDEPENDENT } else { 0 };
        let demand = if self.mode == Mode::Demand { DEMAND } else { 0 };
        bytes[0] = 1 << 5 | self.diagnostic.0;
        bytes[1] = self.state.bits() << 6 | sequence | independent | demand;
        bytes[2] = self.multiplier.get();
        bytes[3] = LENGTH as u8;
        Encoded { bytes, length: LENGTH }
    }
}

/// A packet's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl Encoded {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Makes room for an authentication section that fills the packet up, and says in the header that it is there.
    pub(crate) fn extended(&mut self) -> &mut [u8; MAX_LENGTH] {
        self.length = MAX_LENGTH;
        self.bytes[1] |= AUTHENTICATED;
        self.bytes[3] = MAX_LENGTH as u8;
        &mut self.bytes
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

/// For fuzzing: what is read can be written and is read again as it was.
#[doc(hidden)]
pub fn exercise(payload: &[u8]) {
    if let Ok(received) = Received::decode(payload) {
        let written = received.packet.encode();
        let again = Received::decode(written.bytes()).map(|again| again.packet);
        assert_eq!(again, Ok(received.packet));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Up, C bit, multiplier 3, 300 ms both ways, no echo.
    pub(crate) const GOLDEN: [u8; 24] =
        [0x20, 0xc8, 3, 24, 0, 0, 0, 7, 0, 0, 0, 9, 0, 4, 0x93, 0xe0, 0, 4, 0x93, 0xe0, 0, 0, 0, 0];

    fn golden() -> Packet {
        Packet {
            diagnostic: Diagnostic::NONE,
            state: State::Up,
            sequence: Sequence::Outside,
            control_plane: ControlPlane::Independent,
            mode: Mode::Asynchronous,
            multiplier: NonZeroU8::new(3).unwrap(),
            my_discriminator: Discriminator::new(7).unwrap(),
            your_discriminator: Discriminator::new(9),
            desired_min_tx: Interval::from_millis(300),
            required_min_rx: Interval::from_millis(300),
            required_min_echo_rx: Interval::ZERO,
        }
    }

    fn changed(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] = byte;
        bytes
    }

    #[test]
    fn a_packet_stands_on_the_wire_as_the_rfc_draws_it() {
        assert_eq!(golden().encode().bytes(), GOLDEN);
        assert_eq!(Received::decode(&GOLDEN).unwrap().packet, golden());
        let poll = Packet { sequence: Sequence::Poll, mode: Mode::Demand, ..golden() };
        assert_eq!(poll.encode().bytes()[1], 0xc0 | 0x20 | 0x08 | 0x02);
        let last = Packet { sequence: Sequence::Final, diagnostic: Diagnostic::ADMINISTRATIVELY_DOWN, ..golden() };
        assert_eq!(last.encode().bytes()[..2], [0x27, 0xd8]);
    }

    #[test]
    fn rfc_5880_6_8_6_discards_what_cannot_be_valid() {
        let cases = [
            (changed(0, 0x00), DecodeError::Version(0)),
            (changed(0, 0x40), DecodeError::Version(2)),
            (changed(3, 23), DecodeError::Length(23)),
            (changed(3, 25), DecodeError::Length(25)),
            (changed(2, 0), DecodeError::Multiplier),
            (changed(1, 0xc9), DecodeError::Multipoint),
            (changed(7, 0), DecodeError::Discriminator),
            (changed(11, 0), DecodeError::Anonymous(State::Up)),
            (changed(1, 0xf8), DecodeError::PollAndFinal),
            // The A bit asks for two bytes more.
            (changed(1, 0xcc), DecodeError::Length(24)),
            (GOLDEN[..23].to_vec(), DecodeError::Truncated(23)),
            (Vec::new(), DecodeError::Truncated(0)),
        ];
        for (bytes, error) in cases {
            assert_eq!(Received::decode(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn only_down_and_admin_down_may_come_without_our_discriminator() {
        for (bits, taken) in [(0x00, true), (0x40, true), (0x80, false), (0xc0, false)] {
            let mut bytes = changed(11, 0);
            bytes[1] = bits;
            assert_eq!(Received::decode(&bytes).is_ok(), taken, "{bits:#x}");
        }
    }

    #[test]
    fn what_follows_the_packet_is_ignored() {
        let longer = [&GOLDEN[..], &[1, 2, 3]].concat();
        let received = Received::decode(&longer).unwrap();
        assert_eq!((received.packet, received.bytes), (golden(), &GOLDEN[..]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            exercise(&bytes);
        }

        #[test]
        fn nearly_valid_bytes_are_read_or_refused(at in 0..GOLDEN.len(), byte: u8, more in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = changed(at, byte);
            bytes.extend(more);
            exercise(&bytes);
        }
    }
}
