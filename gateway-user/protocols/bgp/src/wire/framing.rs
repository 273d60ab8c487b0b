//! Messages out of a stream of bytes (RFC 4271 4.1, 6.1; RFC 8654).

use super::codec::{self, HEADER, LONGEST, LONGEST_EXTENDED};
use super::{Message, Notification, kind};
use bytes::{Buf, Bytes, BytesMut};

/// Cuts what a neighbour sends into messages. Holds at most one message that is not complete, and what was pushed last.
#[derive(Debug, Default)]
pub struct Framing {
    bytes: BytesMut,
    extended: bool,
}

impl Framing {
    /// From the next message on, up to 65535 octets: both sides said so.
    pub fn extend(&mut self) {
        self.extended = true;
    }

    /// The longest message that is taken.
    pub fn limit(&self) -> u16 {
        if self.extended { LONGEST_EXTENDED } else { LONGEST }
    }

    /// Bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until there is one. After an error nothing more can be read.
    #[allow(clippy::should_implement_trait, reason = "an iterator would have to end at None")]
    pub fn next(&mut self) -> Option<Result<Received, Notification>> {
        if self.bytes.len() < HEADER {
            return None;
        }
        let length = match length(&self.bytes, self.limit()) {
            Ok(length) => usize::from(length),
            Err(notification) => return Some(Err(notification)),
        };
        if self.bytes.len() < length {
            return None;
        }
        let bytes = self.bytes.split_to(length).freeze();
        Some(codec::decode(bytes.clone(), self.limit()).map(|message| Received { message, bytes }))
    }

    /// Forgets what is left.
    pub fn clear(&mut self) {
        self.bytes.advance(self.bytes.len());
    }
}

/// A message with its bytes, which monitoring protocols pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub message: Message,
    /// As it came, header included.
    pub bytes: Bytes,
}

/// The header's length field, checked as RFC 4271 6.1 asks: each type has a least length.
fn length(header: &[u8], limit: u16) -> Result<u16, Notification> {
    if header[..16].iter().any(|byte| *byte != 0xff) {
        return Err(Notification::not_synchronized());
    }
    let length = u16::from_be_bytes([header[16], header[17]]);
    let (least, most) = match header[18] {
        kind::OPEN => (29, LONGEST),
        kind::UPDATE => (23, limit),
        kind::NOTIFICATION => (21, limit),
        kind::KEEPALIVE => (19, 19),
        kind::REFRESH => (19, limit),
        _ => (19, limit),
    };
    if !(least..=most).contains(&length) {
        return Err(Notification::bad_length(length));
    }
    match header[18] {
        kind::OPEN..=kind::REFRESH => Ok(length),
        other => Err(Notification::bad_type(other)),
    }
}
