//! What two gateways tell each other of their seats' logs, on the wire: each message in a frame, its length in front in four bytes.
//!
//! | the replica says | and the holder |
//! |---|---|
//! | `Hello`, `Follow` with what it has | `Hello` |
//! | | `Begin`: a log from its start, or from where the replica is |
//! | | `Records`, any number of times, each with the place before it; `Whole` once all that was there at the begin was told |
//! | `Acknowledged` | |
//! | `Again`: something is missing; `Refused`: it knows of a later epoch | |
//! | | `Ended`: the seat is not held here any more |
//! | `Alive` | `Alive` |
//!
//! Numbers are big-endian; a text has its length in front in one byte.

use super::entries::{Key, LogId, Name, Record, Sequence, Subject, Value, Ways};
use crate::dataplane::learned::{Via, Way};
use bytes::{Buf, BufMut, BytesMut};
use gateway_common::Epoch;
use ipnet::IpNet;
use seat::SeatName;
use std::net::IpAddr;
use std::sync::Arc;

/// The protocol's number: gateways that do not speak the same one say so.
pub const PROTOCOL: u16 = 1;

/// Bytes of a frame without its length.
pub const FRAME_LIMIT: usize = 1 << 20;

/// Bytes of records after which a message is sent.
pub const BATCH: usize = 32 << 10;

/// One message, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first of either side.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u16,
    },
    /// From the replica: all the seats that it is to know.
    Follow(Vec<Following>),
    /// From the holder: a log begins, or goes on.
    Begin {
        /// The seat.
        seat: SeatName,
        /// Its log.
        log: LogId,
        /// After what. From the start, what is not told until [`Self::Whole`] is gone.
        after: Sequence,
    },
    /// From the holder: what changed.
    Records {
        /// The seat.
        seat: SeatName,
        /// Its log.
        log: LogId,
        /// The place before the first.
        after: Sequence,
        /// The place of the last.
        upto: Sequence,
        /// What changed, in its order.
        records: Vec<Record>,
    },
    /// From the holder: everything was told that was there at the begin.
    Whole {
        /// The seat.
        seat: SeatName,
        /// Its log.
        log: LogId,
        /// The place before.
        after: Sequence,
        /// The place that is reached.
        at: Sequence,
    },
    /// From the holder: it holds the seat no more.
    Ended {
        /// The seat.
        seat: SeatName,
        /// Under which epoch it did.
        epoch: Epoch,
    },
    /// From the replica: up to here it has everything.
    Acknowledged {
        /// The seat.
        seat: SeatName,
        /// Its log.
        log: LogId,
        /// The place.
        at: Sequence,
    },
    /// From the replica: something is missing, so the log is to begin anew.
    Again {
        /// The seat.
        seat: SeatName,
        /// Its log.
        log: LogId,
    },
    /// From the replica: the seat is another's under a later epoch.
    Refused {
        /// The seat.
        seat: SeatName,
        /// The later epoch.
        epoch: Epoch,
    },
    /// From either side, where there is nothing else to say.
    Alive,
}

/// A seat that a replica is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The seat.
    pub seat: SeatName,
    /// What the replica has of it.
    pub has: Option<(LogId, Sequence)>,
}

/// Why something is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends before its end.
    #[error("a message ends before its end")]
    Short,
    /// It goes on after its end.
    #[error("a message goes on after its end")]
    Long,
    /// It is larger than any is.
    #[error("a message of {0} bytes is larger than any may be")]
    Large(usize),
    /// Something in it is out of range.
    #[error("a message's {0} is none")]
    Bad(&'static str),
}

const HELLO: u8 = 1;
const FOLLOW: u8 = 2;
const BEGIN: u8 = 3;
const RECORDS: u8 = 4;
const WHOLE: u8 = 5;
const ENDED: u8 = 6;
const ACKNOWLEDGED: u8 = 7;
const AGAIN: u8 = 8;
const REFUSED: u8 = 9;
const ALIVE: u8 = 10;

const COMPLETE: u8 = 1;
const NEIGHBOUR: u8 = 2;
const ROUTE: u8 = 3;

const V4: u8 = 4;
const V6: u8 = 6;

const CONNECTION: u8 = 1;
const GATEWAY: u8 = 2;

impl Message {
    /// Appends it, with its length in front.
    pub fn encode(&self, into: &mut BytesMut) {
        let start = into.len();
        into.put_u32(0);
        self.put(into);
        let length = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Takes the first message off, if it is all there.
    ///
    /// # Errors
    /// The bytes are no message; then nothing after them can be read either.
    pub fn decode(from: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(length) = from.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_LIMIT {
            return Err(WireError::Large(length));
        }
        if from.len() < 4 + length {
            from.reserve(4 + length - from.len());
            return Ok(None);
        }
        let frame = from.split_to(4 + length);
        Self::read(&frame[4..]).map(Some)
    }

    fn put(&self, into: &mut BytesMut) {
        match self {
            Self::Hello { protocol } => {
                into.put_u8(HELLO);
                into.put_u16(*protocol);
            }
            Self::Follow(seats) => {
                into.put_u8(FOLLOW);
                into.put_u16(seats.len() as u16);
                for Following { seat, has } in seats {
                    put_text(into, seat.as_str());
                    into.put_u8(has.is_some().into());
                    if let Some((log, at)) = has {
                        put_log(into, *log);
                        into.put_u64(at.0);
                    }
                }
            }
            Self::Begin { seat, log, after } => {
                put_head(into, BEGIN, seat, *log);
                into.put_u64(after.0);
            }
            Self::Records { seat, log, after, upto, records } => {
                put_head(into, RECORDS, seat, *log);
                into.put_u64(after.0);
                into.put_u64(upto.0);
                into.put_u32(records.len() as u32);
                records.iter().for_each(|record| put_record(into, record));
            }
            Self::Whole { seat, log, after, at } => {
                put_head(into, WHOLE, seat, *log);
                into.put_u64(after.0);
                into.put_u64(at.0);
            }
            Self::Ended { seat, epoch } => {
                into.put_u8(ENDED);
                put_text(into, seat.as_str());
                into.put_u64(epoch.0);
            }
            Self::Acknowledged { seat, log, at } => {
                put_head(into, ACKNOWLEDGED, seat, *log);
                into.put_u64(at.0);
            }
            Self::Again { seat, log } => put_head(into, AGAIN, seat, *log),
            Self::Refused { seat, epoch } => {
                into.put_u8(REFUSED);
                put_text(into, seat.as_str());
                into.put_u64(epoch.0);
            }
            Self::Alive => into.put_u8(ALIVE),
        }
    }

    fn read(frame: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader(frame);
        let message = match from.u8()? {
            HELLO => Self::Hello { protocol: from.u16()? },
            FOLLOW => {
                let count = from.u16()?;
                let following = |_| {
                    let seat = from.seat()?;
                    let has = match from.u8()? {
                        0 => None,
                        1 => Some((from.log()?, from.sequence()?)),
                        _ => return Err(WireError::Bad("flag")),
                    };
                    Ok(Following { seat, has })
                };
                Self::Follow((0..count).map(following).collect::<Result<_, _>>()?)
            }
            BEGIN => Self::Begin { seat: from.seat()?, log: from.log()?, after: from.sequence()? },
            RECORDS => {
                let (seat, log) = (from.seat()?, from.log()?);
                let (after, upto) = (from.sequence()?, from.sequence()?);
                let count = from.u32()?;
                let mut names = Names::default();
                // Not by what a stranger says is the room taken, but by what comes.
                let mut records = Vec::new();
                for _ in 0..count {
                    records.push(from.record(&mut names)?);
                }
                Self::Records { seat, log, after, upto, records }
            }
            WHOLE => {
                Self::Whole { seat: from.seat()?, log: from.log()?, after: from.sequence()?, at: from.sequence()? }
            }
            ENDED => Self::Ended { seat: from.seat()?, epoch: Epoch(from.u64()?) },
            ACKNOWLEDGED => Self::Acknowledged { seat: from.seat()?, log: from.log()?, at: from.sequence()? },
            AGAIN => Self::Again { seat: from.seat()?, log: from.log()? },
            REFUSED => Self::Refused { seat: from.seat()?, epoch: Epoch(from.u64()?) },
            ALIVE => Self::Alive,
            _ => return Err(WireError::Bad("kind")),
        };
        if from.0.is_empty() { Ok(message) } else { Err(WireError::Long) }
    }
}

fn put_head(into: &mut BytesMut, kind: u8, seat: &SeatName, log: LogId) {
    into.put_u8(kind);
    put_text(into, seat.as_str());
    put_log(into, log);
}

fn put_log(into: &mut BytesMut, log: LogId) {
    into.put_u64(log.epoch.0);
    into.put_u64(log.life);
}

/// Names are far shorter than a text may be; a longer one would be cut, and so be nobody's.
fn put_text(into: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u8::MAX))];
    into.put_u8(text.len() as u8);
    into.put_slice(text.as_bytes());
}

fn put_address(into: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            into.put_u8(V4);
            into.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            into.put_u8(V6);
            into.put_slice(&v6.octets());
        }
    }
}

/// Appends a record.
fn put_record(into: &mut BytesMut, record: &Record) {
    let Record { key: Key { tenant, subject }, value } = record;
    match subject {
        Subject::Complete => {
            into.put_u8(COMPLETE);
            put_text(into, tenant);
            into.put_u8(value.is_some().into());
        }
        Subject::Neighbour { connection, address } => {
            into.put_u8(NEIGHBOUR);
            put_text(into, tenant);
            put_text(into, connection);
            put_address(into, *address);
            match value {
                Some(Value::Neighbour(mac)) => {
                    into.put_u8(1);
                    into.put_slice(mac);
                }
                _ => into.put_u8(0),
            }
        }
        Subject::Route(prefix) => {
            into.put_u8(ROUTE);
            put_text(into, tenant);
            put_address(into, prefix.addr());
            into.put_u8(prefix.prefix_len());
            let ways = match value {
                Some(Value::Route(ways)) => &ways[..ways.len().min(usize::from(u8::MAX))],
                _ => &[],
            };
            into.put_u8(ways.len() as u8);
            for Way { via, next_hop } in ways {
                match via {
                    Via::Connection(name) => {
                        into.put_u8(CONNECTION);
                        put_text(into, name);
                    }
                    Via::Gateway(pa) => {
                        into.put_u8(GATEWAY);
                        put_address(into, *pa);
                    }
                }
                put_address(into, *next_hop);
            }
        }
    }
}

/// The names and ways that were read last, so that records that follow one another share them.
#[derive(Default)]
struct Names {
    tenant: Option<Name>,
    connection: Option<Name>,
    ways: Option<Ways>,
}

fn shared(last: &mut Option<Name>, text: &str) -> Name {
    match last {
        Some(name) if **name == *text => Arc::clone(name),
        _ => Arc::clone(last.insert(text.into())),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Short)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.0.try_get_u16().map_err(|_| WireError::Short)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| WireError::Short)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64().map_err(|_| WireError::Short)
    }

    fn sequence(&mut self) -> Result<Sequence, WireError> {
        self.u64().map(Sequence)
    }

    fn log(&mut self) -> Result<LogId, WireError> {
        Ok(LogId { epoch: Epoch(self.u64()?), life: self.u64()? })
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        let length = self.u8()?;
        std::str::from_utf8(self.take(length.into())?).map_err(|_| WireError::Bad("name"))
    }

    fn seat(&mut self) -> Result<SeatName, WireError> {
        self.text().map(SeatName::from)
    }

    fn address(&mut self) -> Result<IpAddr, WireError> {
        match self.u8()? {
            V4 => Ok(IpAddr::from(self.array::<4>()?)),
            V6 => Ok(IpAddr::from(self.array::<16>()?)),
            _ => Err(WireError::Bad("address")),
        }
    }

    fn record(&mut self, names: &mut Names) -> Result<Record, WireError> {
        let kind = self.u8()?;
        let tenant = shared(&mut names.tenant, self.text()?);
        match kind {
            COMPLETE => match self.u8()? {
                0 => Ok(Record::gone(Key { tenant, subject: Subject::Complete })),
                1 => Ok(Record::complete(tenant)),
                _ => Err(WireError::Bad("flag")),
            },
            NEIGHBOUR => {
                let connection = shared(&mut names.connection, self.text()?);
                let address = self.address()?;
                let mac = match self.u8()? {
                    0 => None,
                    1 => Some(self.array()?),
                    _ => return Err(WireError::Bad("flag")),
                };
                Ok(Record::neighbour(tenant, connection, address, mac))
            }
            ROUTE => {
                let address = self.address()?;
                let prefix = IpNet::new(address, self.u8()?).map_err(|_| WireError::Bad("prefix"))?;
                let count = self.u8()?;
                let ways: Vec<Way> = (0..count).map(|_| self.way()).collect::<Result<_, _>>()?;
                let ways = match &names.ways {
                    Some(last) if **last == *ways => Arc::clone(last),
                    _ => Arc::clone(names.ways.insert(ways.into())),
                };
                Ok(Record::route(tenant, prefix, ways))
            }
            _ => Err(WireError::Bad("kind of record")),
        }
    }

    fn way(&mut self) -> Result<Way, WireError> {
        let via = match self.u8()? {
            CONNECTION => Via::Connection(self.text()?.into()),
            GATEWAY => Via::Gateway(self.address()?),
            _ => return Err(WireError::Bad("way")),
        };
        Ok(Way { via, next_hop: self.address()? })
    }
}

/// Bytes of a record on the wire, about.
pub(super) fn weight(key: &Key, value: Option<&Value>) -> usize {
    let subject = match &key.subject {
        Subject::Complete => 1,
        Subject::Neighbour { connection, .. } => connection.len() + 26,
        Subject::Route(_) => 20,
    };
    let value = match value {
        Some(Value::Route(ways)) => {
            let way = |way: &Way| match &way.via {
                Via::Connection(name) => name.len() + 19,
                Via::Gateway(_) => 35,
            };
            ways.iter().map(way).sum()
        }
        _ => 0,
    };
    key.tenant.len() + subject + value + 2
}

/// For fuzzing: what is read can be written and is read again as it was, and a stream may be cut anywhere.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match Message::decode(&mut buffer) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return messages,
                }
            }
        }
        messages
    };
    let messages = read(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(&[first, second]), messages);
    for message in messages {
        let mut written = BytesMut::new();
        message.encode(&mut written);
        assert_eq!(Message::decode(&mut written), Ok(Some(message)));
        assert!(written.is_empty());
    }
}
