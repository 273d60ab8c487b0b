//! MRT records (RFC 6396, RFC 8050): a table or a session's messages as files that other programs read.
//!
//! A [`TableDump`] begins with the peers, then each prefix is a record of its own. [`MessageLog`] writes messages and changes of state as they
//! happen, to the microsecond.

mod messages;
mod table;

pub use messages::{Conversation, MessageLog};
pub use table::{DumpEntry, DumpPeer, TableDump};

use std::net::IpAddr;
use std::time::Duration;

/// The types of records.
mod kind {
    pub const TABLE_DUMP_V2: u16 = 13;
    pub const BGP4MP_ET: u16 = 17;
}

/// Writes a record: a header, and what `body` writes. `micros` stand between them where the type has them.
fn record(at: Duration, (kind, subtype): (u16, u16), into: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    into.extend_from_slice(&seconds.to_be_bytes());
    into.extend_from_slice(&kind.to_be_bytes());
    into.extend_from_slice(&subtype.to_be_bytes());
    let length_at = into.len();
    into.extend_from_slice(&[0; 4]);
    if kind == kind::BGP4MP_ET {
        into.extend_from_slice(&at.subsec_micros().to_be_bytes());
    }
    body(into);
    let length = u32::try_from(into.len() - length_at - 4).unwrap_or(u32::MAX);
    into[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_address(address: IpAddr, into: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => into.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => into.extend_from_slice(&address.octets()),
    }
}
