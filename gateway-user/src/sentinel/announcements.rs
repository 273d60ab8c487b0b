//! What neighbours are told when a seat is taken: gratuitous ARP as requests (RFC 5227, 3), and unsolicited neighbour advertisements with
//! the override flag (RFC 4861, 7.2.6), built beforehand.
//!
//! They are sent at once, all of them; then again after each of [`AGAIN`], since a frame may be lost; and every [`REFRESH`] for as long as
//! the seat is held, so that no switch forgets where its MAC address is.

use super::configuration::Announcement;
use crate::net::frame_sender::FrameSender;
use crate::net::link_frames;
use seat::Moment;
use std::collections::BTreeMap;
use std::time::Duration;

/// After what time all are sent again: four more copies.
pub const AGAIN: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(250), Duration::from_millis(1000)];
/// How often a holder says it again.
pub const REFRESH: Duration = Duration::from_secs(30);

/// One seat's frames, by port, and when they are to be sent.
#[derive(Debug, Default)]
pub struct Announcements {
    frames: BTreeMap<u32, Vec<Vec<u8>>>,
    /// When the next copy is due, and how many there were.
    due: Option<(Moment, usize)>,
}

impl Announcements {
    /// Frames for these.
    pub fn new(announcements: &[Announcement]) -> Self {
        let mut frames: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for announcement in announcements {
            let Announcement { ifindex, vlan, address, mac } = announcement;
            frames.entry(*ifindex).or_default().push(link_frames::announcement(mac.octets(), *vlan, *address));
        }
        Self { frames, due: None }
    }

    /// Takes the times over from those that were before.
    pub fn take_over(&mut self, before: &Self, now: Moment) {
        self.due = before.due;
        // What is new among them is not waited for until the next round.
        if before.due.is_some() && before.frames != self.frames {
            self.due = Some((now, 1));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.frames.values().map(Vec::len).sum()
    }

    /// Sends the first copies, and has the others follow.
    pub fn announce(&mut self, sender: &FrameSender, now: Moment) {
        self.send(sender);
        self.due = Some((now + AGAIN[0], 1));
    }

    /// Sends no more.
    pub fn stop(&mut self) {
        self.due = None;
    }

    /// When [`Self::look`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        self.due.map(|(due, _)| due)
    }

    /// Sends another copy if it is time to.
    pub fn look(&mut self, sender: &FrameSender, now: Moment) {
        let Some((due, copies)) = self.due else { return };
        if now >= due {
            self.send(sender);
            self.due = Some((now + AGAIN.get(copies).copied().unwrap_or(REFRESH), copies + 1));
        }
    }

    fn send(&self, sender: &FrameSender) {
        for (ifindex, frames) in &self.frames {
            sender.send(*ifindex, frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(address: &str, vlan: Option<u16>) -> Announcement {
        let (address, mac) = (address.parse().unwrap(), "02:00:00:00:00:07".parse().unwrap());
        Announcement { ifindex: 3, vlan, address, mac }
    }

    #[test]
    fn copies_follow_and_then_refreshments_until_it_is_stopped() {
        let mut announcements = Announcements::new(&[announcement("192.0.2.1", None)]);
        let sender = FrameSender::default();
        let mut now = Moment(0);
        assert_eq!((announcements.count(), announcements.deadline()), (1, None));
        announcements.announce(&sender, now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = announcements.deadline().unwrap();
            waits.push(due.since(now));
            now = due;
            announcements.look(&sender, now);
        }
        assert_eq!(waits, [AGAIN.as_slice(), &[REFRESH; 2]].concat());
        announcements.stop();
        assert_eq!(announcements.deadline(), None);
    }
}
