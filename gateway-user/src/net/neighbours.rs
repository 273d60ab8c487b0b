//! Link-layer addresses of next hops, kept fresh by the kernel.
//!
//! The kernel owns the entries: it probes them, follows what they announce, and tells of every change. Ours are *managed*
//! (`NTF_EXT_MANAGED`): resolved and kept so without any packet of the kernel's own. Entries that an administrator made
//! (permanent, noarp) are used as they are and never touched.

use super::links::Mac;
use super::netlink::{Change, Mode, Netlink, NetlinkError, Presence};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// An address on a link: the interface index and the address.
pub type OnLink = (u32, IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Nothing while it is being resolved, or could not be.
    mac: Option<Mac>,
    keeper: Keeper,
}

/// Who keeps an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    /// The kernel, at our wish.
    Managed,
    /// An administrator.
    Administrator,
    /// Nobody: it will grow old and go.
    Nobody,
}

/// The neighbours of some links of one network namespace.
#[derive(Debug, Default)]
pub struct Neighbours {
    links: HashSet<u32>,
    entries: HashMap<OnLink, Entry>,
    wanted: HashSet<OnLink>,
}

impl Neighbours {
    /// Which links are watched, and which addresses on them are kept resolved. [`Self::read`] and [`Self::manage`] follow.
    pub fn want(&mut self, links: HashSet<u32>, wanted: HashSet<OnLink>) {
        self.entries.retain(|(link, _), _| links.contains(link));
        self.links = links;
        self.wanted = wanted;
    }

    /// Reads all entries from the kernel, at the start and after notifications were lost.
    pub fn read(&mut self, netlink: &mut Netlink) -> Result<(), NetlinkError> {
        let dump = netlink.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))?;
        self.entries.clear();
        for message in dump {
            if let RouteNetlinkMessage::NewNeighbour(message) = message {
                self.take(&message, Presence::Present);
            }
        }
        Ok(())
    }

    /// Has the kernel resolve and keep what is wanted, and let go of what was.
    pub fn manage(&mut self, netlink: &mut Netlink) {
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        for &key in &self.wanted {
            if !matches!(self.entries.get(&key), Some(Entry { keeper: Keeper::Managed | Keeper::Administrator, .. })) {
                requests.push((RouteNetlinkMessage::NewNeighbour(managed(key)), Mode::Replace));
                asked.push(key);
            }
        }
        for (&key, entry) in &self.entries {
            if entry.keeper == Keeper::Managed && !self.wanted.contains(&key) {
                requests.push((RouteNetlinkMessage::DelNeighbour(plain(key)), Mode::Change));
            }
        }
        let answers = netlink.batch(requests);
        for ((link, address), answer) in asked.into_iter().zip(answers) {
            if let Err(error) = answer {
                tracing::warn!(%address, link, %error, "a next hop cannot be resolved");
            }
        }
    }

    /// Has the kernel know link-layer addresses that somebody else knew a moment ago. It goes by them; those that are wanted it asks once
    /// they are [managed](Self::manage). Others grow old. [`Self::read`] follows.
    pub fn adopt(
        &self,
        netlink: &mut Netlink,
        known: impl IntoIterator<Item = (OnLink, Mac)>,
    ) -> Result<(), NetlinkError> {
        let is_own = |key: &OnLink| matches!(self.entries.get(key), Some(Entry { keeper: Keeper::Administrator, .. }));
        let adopted = known.into_iter().filter(|(key, _)| !is_own(key));
        // Only what is released again may be exempt from the kernel's limit; see `managed`.
        let flags =
            |key: &OnLink| if self.wanted.contains(key) { NeighbourFlags::ExtLearned } else { NeighbourFlags::empty() };
        let request = |(key, mac)| (RouteNetlinkMessage::NewNeighbour(stale(key, mac, flags(&key))), Mode::Replace);
        let answers = netlink.batch(adopted.map(request).collect());
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Lets go of all that is kept, as when the gateway is taken off the host.
    pub fn release(&mut self, netlink: &mut Netlink) {
        self.wanted.clear();
        self.manage(netlink);
    }

    /// Takes a notification. Whether a link-layer address changed by it.
    pub fn heard(&mut self, message: &NeighbourMessage, presence: Presence) -> Heard {
        let Some(key) = key(message).filter(|(link, _)| self.links.contains(link)) else {
            return Heard::Nothing;
        };
        let before = self.mac(key);
        self.take(message, presence);
        if presence == Presence::Gone && self.wanted.contains(&key) {
            Heard::Lost
        } else if self.mac(key) != before {
            Heard::Moved
        } else {
            Heard::Nothing
        }
    }

    /// Takes the notification if it is about a neighbour.
    pub fn heard_change(&mut self, change: &Change) -> Heard {
        match change {
            Change::Neighbour { message, gone } => self.heard(message, *gone),
            _ => Heard::Nothing,
        }
    }

    /// The link-layer address of a neighbour, if it is known and believed.
    pub fn mac(&self, key: OnLink) -> Option<Mac> {
        self.entries.get(&key)?.mac
    }

    /// All neighbours with a link-layer address.
    pub fn resolved(&self) -> impl Iterator<Item = (OnLink, Mac)> {
        self.entries.iter().filter_map(|(&key, entry)| Some((key, entry.mac?)))
    }

    /// Whether something wanted is not resolved (yet).
    pub fn awaits(&self) -> bool {
        self.wanted.iter().any(|&key| self.mac(key).is_none())
    }

    /// Whether something wanted is kept by nobody: the kernel is too old for managed entries, and wants to be asked again.
    pub fn needs_refresh(&self) -> bool {
        self.wanted.iter().any(|key| matches!(self.entries.get(key), None | Some(Entry { keeper: Keeper::Nobody, .. })))
    }

    fn take(&mut self, message: &NeighbourMessage, presence: Presence) {
        use NeighbourState as S;
        let Some(key) = key(message).filter(|(link, _)| self.links.contains(link)) else {
            return;
        };
        if presence == Presence::Gone {
            self.entries.remove(&key);
            return;
        }
        let (mut mac, mut keeper) = (None, Keeper::Nobody);
        for attribute in &message.attributes {
            match attribute {
                // The kernel keeps entries for groups and broadcast too: nobody to send a tenant's packets to.
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = Mac::try_from(bytes.as_slice()).ok().filter(|mac| mac[0] & 1 == 0)
                }
                NeighbourAttribute::ExtFlags(flags) if flags.contains(NeighbourExtFlags::Managed) => {
                    keeper = Keeper::Managed
                }
                _ => {}
            }
        }
        match message.header.state {
            S::Permanent | S::Noarp => keeper = Keeper::Administrator,
            S::Reachable | S::Stale | S::Delay | S::Probe => {}
            _ => mac = None,
        }
        self.entries.insert(key, Entry { mac, keeper });
    }
}

/// What a notification meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// Nothing that matters.
    Nothing,
    /// A link-layer address is known, known no more, or another one.
    Moved,
    /// An entry that is wanted was removed: it is to be managed again.
    Lost,
}

/// An entry that the administrator or the daemon itself sets: for ever.
pub fn permanent(key: OnLink, mac: Mac) -> NeighbourMessage {
    let mut message = plain(key);
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

/// An entry that is believed until the kernel has asked.
fn stale(key: OnLink, mac: Mac, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = plain(key);
    message.header.state = NeighbourState::Stale;
    message.header.flags = flags;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

fn managed(key: OnLink) -> NeighbourMessage {
    let mut message = plain(key);
    // Externally learned entries are not counted against the limit of the garbage collector (1024 by default).
    // "Use" has a kernel that does not know managed entries resolve it this once at least.
    message.header.flags = NeighbourFlags::ExtLearned | NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message
}

fn plain((link, address): OnLink) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = link;
    let (family, destination) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn key(message: &NeighbourMessage) -> Option<OnLink> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some((message.header.ifindex, IpAddr::V4(*v4))),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some((message.header.ifindex, IpAddr::V6(*v6))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: OnLink = (7, IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn told(state: NeighbourState, mac: Mac, flags: NeighbourExtFlags) -> NeighbourMessage {
        let mut message = permanent(KEY, mac);
        message.header.state = state;
        message.attributes.push(NeighbourAttribute::ExtFlags(flags));
        message
    }

    fn watching() -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.want(HashSet::from([7]), HashSet::from([KEY]));
        neighbours
    }

    #[test]
    fn a_neighbour_is_believed_until_the_kernel_gives_it_up() {
        let mut neighbours = watching();
        let managed = NeighbourExtFlags::Managed;
        let mut hear =
            |state, last: u8| neighbours.heard(&told(state, [2, 0, 0, 0, 0, last], managed), Presence::Present);
        assert_eq!(hear(NeighbourState::Incomplete, 1), Heard::Nothing);
        assert_eq!(hear(NeighbourState::Reachable, 1), Heard::Moved);
        assert_eq!(hear(NeighbourState::Stale, 1), Heard::Nothing);
        assert_eq!(hear(NeighbourState::Probe, 1), Heard::Nothing);
        assert_eq!(hear(NeighbourState::Reachable, 2), Heard::Moved);
        assert_eq!(hear(NeighbourState::Failed, 2), Heard::Moved);
        assert_eq!(neighbours.mac(KEY), None);
    }

    #[test]
    fn a_group_is_no_neighbour() {
        let mut neighbours = watching();
        let group = told(NeighbourState::Noarp, [0x33, 0x33, 0, 0, 0, 0x16], NeighbourExtFlags::empty());
        assert_eq!(neighbours.heard(&group, Presence::Present), Heard::Nothing);
        assert_eq!(neighbours.mac(KEY), None);
    }

    #[test]
    fn a_wanted_entry_that_goes_is_asked_for_again() {
        let mut neighbours = watching();
        let message = told(NeighbourState::Reachable, [2, 0, 0, 0, 0, 1], NeighbourExtFlags::Managed);
        assert!(neighbours.needs_refresh());
        neighbours.heard(&message, Presence::Present);
        assert!(!neighbours.needs_refresh());
        assert_eq!(neighbours.heard(&message, Presence::Gone), Heard::Lost);
        assert!(neighbours.needs_refresh());
    }

    #[test]
    fn neighbours_on_other_links_are_none_of_ours() {
        let mut neighbours = watching();
        let mut message = told(NeighbourState::Reachable, [2, 0, 0, 0, 0, 1], NeighbourExtFlags::empty());
        message.header.ifindex = 8;
        assert_eq!(neighbours.heard(&message, Presence::Present), Heard::Nothing);
        assert_eq!(neighbours.resolved().count(), 0);
    }
}
