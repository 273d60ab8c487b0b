//! Reads server-sent events off a connection, within bounds.

use bytes::{Buf, Bytes, BytesMut};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What to come again with after it: the last id that the stream told; empty if it told none.
    pub id: String,
    /// Its kind; empty if it has none.
    pub kind: String,
    /// Its data, lines joined.
    pub data: Vec<u8>,
}

/// The stream is none, or an event is larger than anything that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub struct TooLarge(pub usize);

/// Puts events together from pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: BytesMut,
    /// Up to here there is no line's end.
    searched: usize,
    id: String,
    kind: String,
    data: Vec<u8>,
}

impl Decoder {
    /// Takes events of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), searched: 0, id: String::new(), kind: String::new(), data: Vec::new() }
    }

    /// More of the stream.
    ///
    /// # Errors
    /// An event is too large.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.buffer.len() + self.data.len() + bytes.len() > 2 * self.limit {
            return Err(TooLarge(self.limit));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event, if there is one.
    ///
    /// # Errors
    /// It is too large.
    pub fn event(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some(line) = self.line() {
            let line: &[u8] = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                if self.data.is_empty() {
                    self.kind.clear();
                    continue;
                }
                let mut data = std::mem::take(&mut self.data);
                data.pop();
                return Ok(Some(Event { id: self.id.clone(), kind: std::mem::take(&mut self.kind), data }));
            }
            // A line that begins with a colon is a comment: that the stream lives.
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"id" => self.id = String::from_utf8_lossy(value).into_owned(),
                b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
                b"data" => {
                    self.data.extend_from_slice(value);
                    self.data.push(b'\n');
                }
                _ => {}
            }
            if self.data.len() > self.limit {
                return Err(TooLarge(self.limit));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Option<Bytes> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b": alive\n\nid: 1.2\nevent: plan\ndata: {\ndata: }\n\ndata:x\r\n\r\nevent: left\n\n: alive\n\ndata: unfinished\n";

    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(100);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece).expect("small");
            while let Some(event) = decoder.event().expect("small") {
                events.push(event);
            }
        }
        events
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_same_events(cuts in proptest::collection::vec(0..STREAM.len(), 0..10)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &STREAM[cut[0]..cut[1]]).collect();
            let event = |kind: &str, data: &str| Event { id: "1.2".to_owned(), kind: kind.to_owned(), data: data.into() };
            prop_assert_eq!(events(&pieces), [event("plan", "{\n}"), event("", "x")]);
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_collected_for_ever() {
        let mut decoder = Decoder::new(10);
        decoder.push(b"data: 12345\n").expect("small");
        assert_eq!(decoder.event(), Ok(None));
        decoder.push(b"data: 67890\n").expect("small");
        assert_eq!(decoder.event(), Err(TooLarge(10)));
        let mut decoder = Decoder::new(10);
        assert_eq!(decoder.push(&[b'x'; 21]), Err(TooLarge(10)));
    }
}
