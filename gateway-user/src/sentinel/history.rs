//! What happened: a ring of entries, in memory and in the state directory, with the data plane's own times.

use seat::{GatewayName, SeatName, watch::Diagnosis};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows by one with each.
    pub number: u64,
    /// When, in nanoseconds of this gateway's wall clock.
    pub at: u64,
    /// On which gateway.
    pub gateway: GatewayName,
    /// Of which seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<SeatName>,
    /// What.
    pub what: What,
}

/// What can happen. Epochs are those of the entry's seat; times are nanoseconds of this gateway's wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The sentinel began, and knows what it said before or not.
    Started {
        /// Whether it does.
        remembers: bool,
    },
    /// A gateway is seen to be different.
    Seen {
        /// Which.
        peer: GatewayName,
        /// How it is.
        diagnosis: Diagnosis,
        /// When the last of its answers came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_answer: Option<u64>,
    },
    /// A seat's packets do not pass at its holder, which is well otherwise; or do again.
    SeatSeen {
        /// The holder.
        peer: GatewayName,
        /// Whether they pass.
        passes: bool,
        /// When the last probe of it came back.
        last_answer: u64,
    },
    /// This gateway wants to take the seat.
    Bids {
        /// Under this epoch.
        epoch: u64,
    },
    /// It gave that up.
    BidEnded {
        /// The epoch.
        epoch: u64,
    },
    /// It took the seat.
    Taken(Box<Takeover>),
    /// The first packet passed.
    FirstPacket {
        /// Under this epoch.
        epoch: u64,
        /// When.
        passed: u64,
    },
    /// The first BGP session of the seat's tenants is up, or all are.
    BgpUp {
        /// Under this epoch.
        epoch: u64,
        /// Sessions that are up.
        up: usize,
        /// Sessions that there are to be.
        of: usize,
    },
    /// Another holds the seat: this gateway has stopped.
    Superseded {
        /// Its own epoch.
        epoch: u64,
        /// The other's.
        by: u64,
    },
    /// Its own forwarding plane shut the gate, since a packet told of a later holder.
    Fenced {
        /// The later epoch.
        by: u64,
    },
    /// No majority stood by it until its lease was over.
    LeaseOver {
        /// Its epoch.
        epoch: u64,
    },
    /// It lets another take the seat.
    Yields {
        /// Its own epoch.
        epoch: u64,
        /// The other's.
        to: u64,
    },
    /// The other did not take it in time, and this one goes on.
    YieldFailed {
        /// Its epoch.
        epoch: u64,
    },
    /// It has forwarded the last packet of a seat that it handed over.
    HandedOver {
        /// Its epoch.
        epoch: u64,
    },
    /// It cannot hand over what it does not hold.
    NotHeld,
    /// Nobody was granted what it is to hand over.
    NoSuccessor,
    /// The agent is not heard.
    AgentSilent,
    /// It was given up: what is held is handed over.
    AgentGivenUp,
    /// It is heard again.
    AgentBack,
}

/// How a seat was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// Under this epoch.
    pub epoch: u64,
    /// Who held it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<GatewayName>,
    /// When the last probe passed at that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<u64>,
    /// When it was seen that they pass no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<u64>,
    /// When this gateway asked for votes.
    pub bid: u64,
    /// When a majority had said yes.
    pub decided: u64,
    /// When the gate was open.
    pub activated: u64,
    /// When the first copies of all announcements were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<u64>,
    /// How many.
    pub announcements: usize,
    /// The clocks of the other gateways.
    pub clocks: Vec<Clock>,
}

/// How another gateway's clock differs from ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whose.
    pub gateway: GatewayName,
    /// How much it is ahead, in microseconds.
    pub ahead_us: i64,
    /// By how much that is wrong at most: half of a round trip.
    pub error_us: u64,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { remembers: true } => f.write_str("the sentinel was started anew and knows what it said"),
            Self::Started { remembers: false } => {
                f.write_str("the sentinel was started; it may have said things before, and abstains for one lease")
            }
            Self::Seen { peer, diagnosis, .. } => write!(f, "{peer} {diagnosis}"),
            Self::SeatSeen { peer, passes: true, .. } => write!(f, "its packets pass at {peer} again"),
            Self::SeatSeen { peer, passes: false, .. } => write!(f, "its packets do not pass at {peer}"),
            Self::Bids { epoch } => write!(f, "bids for it under epoch {epoch}"),
            Self::BidEnded { epoch } => write!(f, "gave up its bid under epoch {epoch}"),
            Self::Taken(takeover) => match &takeover.from {
                Some(from) => write!(f, "took it from {from} under epoch {}", takeover.epoch),
                None => write!(f, "took it under epoch {}", takeover.epoch),
            },
            Self::FirstPacket { epoch, .. } => write!(f, "the first packet passed under epoch {epoch}"),
            Self::BgpUp { epoch, up, of } => write!(f, "{up} of {of} BGP sessions are up under epoch {epoch}"),
            Self::Superseded { epoch, by } => write!(f, "stopped: epoch {by} is held, after its own {epoch}"),
            Self::Fenced { by } => write!(f, "its gate was shut by a packet of epoch {by}"),
            Self::LeaseOver { epoch } => write!(f, "no majority stood by epoch {epoch} until its lease was over"),
            Self::Yields { epoch, to } => write!(f, "lets it be taken under epoch {to}, after its own {epoch}"),
            Self::YieldFailed { epoch } => write!(f, "nobody took it in time: goes on under epoch {epoch}"),
            Self::HandedOver { epoch } => write!(f, "handed it over: the last packet of epoch {epoch} has passed"),
            Self::NotHeld => f.write_str("was to hand it over and does not hold it"),
            Self::NoSuccessor => f.write_str("was to hand it over, and nobody was granted it"),
            Self::AgentSilent => f.write_str("its agent is not heard"),
            Self::AgentGivenUp => f.write_str("its agent was given up; its seats are handed over"),
            Self::AgentBack => f.write_str("its agent is heard again"),
        }
    }
}

/// Entries that are kept.
const KEPT: usize = 1000;

/// The ring.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    entries: VecDeque<Entry>,
    /// Lines in the file.
    written: usize,
    next: u64,
}

impl History {
    /// What is kept in this directory.
    pub fn open(state: &Path) -> Self {
        let path = state.join("sentinel.history");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let written = text.lines().count();
        // A line that a crash cut off is no entry.
        let mut entries: VecDeque<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        entries.drain(..entries.len().saturating_sub(KEPT));
        let next = entries.back().map_or(1, |last| last.number + 1);
        Self { path, entries, written, next }
    }

    /// Notes what happened.
    pub fn note(&mut self, at: u64, gateway: GatewayName, seat: Option<SeatName>, what: What) {
        let entry = Entry { number: self.next, at, gateway, seat, what };
        tracing::info!(seat = entry.seat.as_ref().map(SeatName::as_str), "{}", entry.what);
        self.next += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        if let Err(error) = self.write() {
            tracing::warn!(%error, path = %self.path.display(), "what happened is not written down");
        }
    }

    /// All entries from this number on, oldest first.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.number >= number)
    }

    /// The number of the next entry.
    pub const fn next(&self) -> u64 {
        self.next
    }

    fn write(&mut self) -> io::Result<()> {
        if self.written >= 2 * KEPT || self.written == 0 {
            let fresh = self.path.with_extension("history.new");
            let mut file = BufWriter::new(private(&fresh)?);
            for entry in &self.entries {
                line(&mut file, entry)?;
            }
            file.flush()?;
            fs::rename(&fresh, &self.path)?;
            self.written = self.entries.len();
        } else if let Some(last) = self.entries.back() {
            let mut text = Vec::new();
            line(&mut text, last)?;
            fs::OpenOptions::new().append(true).open(&self.path)?.write_all(&text)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn line(to: &mut impl Write, entry: &Entry) -> io::Result<()> {
    serde_json::to_writer(&mut *to, entry)?;
    to.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_known_after_a_restart_and_the_oldest_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let note = |history: &mut History, epoch| {
            history.note(epoch, "a".into(), Some("s".into()), What::Bids { epoch });
        };
        let mut history = History::open(directory.path());
        for epoch in 0..=u64::try_from(KEPT).unwrap() {
            note(&mut history, epoch);
        }
        drop(history);
        let mut again = History::open(directory.path());
        assert_eq!(again.since(0).count(), KEPT);
        assert_eq!(again.since(0).next().unwrap().number, 2);
        note(&mut again, 5);
        let last = again.next() - 1;
        assert_eq!(again.since(last).map(|entry| entry.at).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_file_is_bounded_and_a_line_that_was_cut_off_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sentinel.history");
        let mut history = History::open(directory.path());
        for epoch in 0..5 * KEPT as u64 {
            history.note(0, "a".into(), None, What::BidEnded { epoch });
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= 2 * KEPT);
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        let again = History::open(directory.path());
        assert_eq!(again.since(0).count(), KEPT);
        assert_eq!(again.next(), history.next() - 1);
    }
}
