//! Letters to and from the other gateways, over both sides: what one of them loses the other brings, and a letter counts once.

use super::configuration::{Configuration, Peer};
use super::history::Clock;
use super::letters::{Correspondence, Head, LIMIT, Letter, LetterError, PORT};
use super::ports::{Interfaces, Port, Ports};
use crate::api::clock;
use seat::watch::{Side, Sign};
use seat::{GatewayName, Message, Moment};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Letters that are taken at once.
const TURN: usize = 256;
/// How soon who named a wrong session is greeted again.
const GREETING: Duration = Duration::from_millis(2);
/// For how long a comparison of clocks is preferred to a later one that is less exact: clocks drift.
const CLOCK_LIFE: Duration = Duration::from_secs(60);

/// All that this gateway sends and hears.
#[derive(Debug)]
pub struct Post {
    session: u64,
    ports: Ports,
    peers: BTreeMap<u16, Correspondent>,
}

#[derive(Debug)]
struct Correspondent {
    peer: Peer,
    correspondence: Correspondence,
    /// When its last letter came, and when the last that said that its agent is heard.
    heard: Option<Moment>,
    agent_heard: Option<Moment>,
    /// The last letter of its: when it was sent by its clock, and when it came by ours.
    echo: Option<(u64, Moment)>,
    sent: Moment,
    greeted: Moment,
    clock: Option<(Clock, Moment)>,
}

/// What each letter says of this gateway.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// When.
    pub now: Moment,
    /// Whether its agent is heard.
    pub agent: bool,
}

impl Post {
    /// Without correspondents, in a session with this random number.
    pub fn new(session: u64) -> Self {
        Self { session, ports: Ports::default(), peers: BTreeMap::new() }
    }

    /// Writes to these gateways from here on, from these addresses; gives the sockets that somebody has to wait for.
    pub fn configure(&mut self, configuration: &Configuration, interfaces: &Interfaces) -> Vec<(Side, Rc<Port>)> {
        let mut before = std::mem::take(&mut self.peers);
        for peer in &configuration.peers {
            let same = before.remove(&peer.number).filter(|it| it.peer.key == peer.key && it.peer.name == peer.name);
            let correspondent = match same {
                Some(known) => Correspondent { peer: peer.clone(), ..known },
                None => {
                    let new = Correspondence::new(peer.key.clone(), configuration.number, peer.number, self.session);
                    let Some(correspondence) = new else { continue };
                    Correspondent {
                        peer: peer.clone(),
                        correspondence,
                        heard: None,
                        agent_heard: None,
                        echo: None,
                        sent: Moment(0),
                        greeted: Moment(0),
                        clock: None,
                    }
                }
            };
            self.peers.insert(peer.number, correspondent);
        }
        self.ports.want(configuration.fabric, configuration.site, PORT, interfaces)
    }

    /// Sends a message.
    pub fn send(&mut self, to: &GatewayName, message: Message, of: Own) {
        if let Some(correspondent) = self.peers.values_mut().find(|it| it.peer.name == *to) {
            correspondent.send(&self.ports, Some(message), of);
        }
    }

    /// Says that this gateway is there to whom it has not written for so long.
    pub fn keep_company(&mut self, every: Duration, of: Own) {
        for correspondent in self.peers.values_mut().filter(|it| of.now.since(it.sent) >= every) {
            correspondent.send(&self.ports, None, of);
        }
    }

    /// Takes in what has come on a side.
    pub fn hear(&mut self, side: Side, of: Own, out: &mut Vec<(GatewayName, Message)>) {
        let Some(port) = self.ports.at(side).cloned() else { return };
        let mut buffer = [0; LIMIT];
        for _ in 0..TURN {
            let Some(length) = port.receive(&mut buffer) else { return };
            let Ok(head) = Head::read(&buffer[..length]) else { continue };
            let Some(correspondent) = self.peers.get_mut(&head.sender) else { continue };
            match correspondent.correspondence.open(head, &mut buffer[..length]) {
                Ok(letter) => {
                    let message = correspondent.note(letter, of.now);
                    out.extend(message.map(|message| (correspondent.peer.name.clone(), message)));
                }
                Err(LetterError::OtherSession) if of.now.since(correspondent.greeted) >= GREETING => {
                    correspondent.greeted = of.now;
                    correspondent.send(&self.ports, None, of);
                }
                // The other side's copy of the same letter is the usual case.
                Err(error) => tracing::trace!(%error, peer = %correspondent.peer.name, "a letter does not count"),
            }
        }
    }

    /// Whether a gateway's agent is heard.
    pub fn agent(&self, gateway: &GatewayName, heartbeat: Duration, now: Moment) -> Sign {
        let heard = self.peers.values().find(|it| it.peer.name == *gateway).and_then(|it| it.agent_heard);
        heard.map_or(Sign::Unknown, |heard| if now.since(heard) < heartbeat { Sign::Good } else { Sign::Lost })
    }

    /// This gateway did not run for so long: what was not heard meanwhile says nothing.
    pub fn discount(&mut self, late: Duration, now: Moment) {
        for correspondent in self.peers.values_mut() {
            for heard in [&mut correspondent.heard, &mut correspondent.agent_heard].into_iter().flatten() {
                *heard = now.min(*heard + late);
            }
        }
    }

    /// How the others' clocks differ.
    pub fn clocks(&self) -> Vec<Clock> {
        self.peers.values().filter_map(|it| it.clock.as_ref().map(|(clock, _)| clock.clone())).collect()
    }
}

impl Correspondent {
    fn send(&mut self, ports: &Ports, message: Option<Message>, of: Own) {
        let letter = Letter {
            sent: of.now.0,
            wall: clock::wall(of.now.0),
            echo: self.echo.map(|(sent, came)| (sent, clock::monotonic().saturating_sub(came.0))),
            agent: of.agent,
            message,
        };
        let Some(datagram) = self.correspondence.seal(&letter) else { return };
        self.sent = of.now;
        for (side, address) in [(Side::Fabric, Some(self.peer.fabric)), (Side::Site, self.peer.site)] {
            if let (Some(port), Some(address)) = (ports.at(side), address) {
                port.send(&datagram, SocketAddr::new(address, PORT));
            }
        }
    }

    /// Takes in a letter that counts.
    fn note(&mut self, letter: Letter, now: Moment) -> Option<Message> {
        self.heard = Some(now);
        if letter.agent {
            self.agent_heard = Some(now);
        }
        self.echo = Some((letter.sent, now));
        if let Some(compared) = compare(&letter, now, clock::wall(now.0)) {
            let is_better = self
                .clock
                .as_ref()
                .is_none_or(|(clock, at)| compared.1 <= clock.error_us || now.since(*at) >= CLOCK_LIFE);
            if is_better {
                let (ahead_us, error_us) = compared;
                self.clock = Some((Clock { gateway: self.peer.name.clone(), ahead_us, error_us }, now));
            }
        }
        letter.message
    }
}

/// By how much the sender's clock is ahead, and by how much that is wrong at most, in microseconds. What comes back to us left us `echo`,
/// waited there, and came: its clock was read within the round trip.
fn compare(letter: &Letter, now: Moment, wall: u64) -> Option<(i64, u64)> {
    let (sent, waited) = letter.echo?;
    let round_trip = now.0.checked_sub(sent)?.checked_sub(waited)?;
    let there = wall.saturating_sub(round_trip / 2);
    let ahead = i64::try_from(i128::from(letter.wall) - i128::from(there)).ok()?;
    Some((ahead / 1000, (round_trip / 2).div_ceil(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_within_half_a_round_trip() {
        let letter = |wall, echo| Letter { sent: 0, wall, echo, agent: true, message: None };
        // Sent at 1,000 us, waited there for 500, and is back at 1,900: a round trip of 400.
        let echo = Some((1_000_000, 500_000));
        let now = Moment(1_900_000);
        assert_eq!(compare(&letter(71_700_000, echo), now, 1_900_000), Some((70_000, 200)));
        assert_eq!(compare(&letter(700_000, echo), now, 1_900_000), Some((-1_000, 200)));
        assert_eq!(compare(&letter(0, Some((2_000_000, 0))), now, 0), None, "of what was never sent");
        assert_eq!(compare(&letter(0, None), now, 0), None);
    }
}
