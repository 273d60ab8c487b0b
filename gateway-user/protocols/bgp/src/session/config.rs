//! What is configured of one neighbour.

use crate::number::{Asn, Family, RouterId};
use crate::wire::{AddPath, FirstAs, Peering, Role, Unreadable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What all of a speaker's sessions say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The AS.
    pub asn: Asn,
    /// The BGP identifier.
    pub router_id: RouterId,
}

/// One neighbour. Equal values mean that nothing has to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Where it is.
    pub address: IpAddr,
    /// Our address towards it, where it is not the system's to choose.
    pub local_address: Option<IpAddr>,
    /// The port that it listens on.
    pub port: u16,
    /// Its AS.
    pub asn: Asn,
    /// Our AS towards it, where it is another than the speaker's.
    pub local_asn: Option<Asn>,
    /// Who opens the connection.
    pub mode: Mode,
    /// Whether there is to be a session.
    pub administrative: Administrative,
    /// Whose routes are exchanged, and how.
    pub families: BTreeMap<Family, FamilyConfig>,
    /// Times.
    pub timers: Timers,
    /// Graceful restart, where it is offered.
    pub graceful_restart: Option<GracefulRestart>,
    /// Our role towards it (RFC 9234).
    pub role: Option<RoleConfig>,
    /// Messages of up to 65535 octets are offered (RFC 8654).
    pub extended_messages: Offer,
    /// IPv4 prefixes with IPv6 next hops are offered (RFC 8950).
    pub extended_next_hop: Offer,
    /// Whether paths must begin with its AS.
    pub first_as: FirstAs,
    /// What prefixes cost that cannot be read.
    pub unreadable: Unreadable,
    /// How its segments prove where they come from. The owner of the sockets sees to it.
    pub authentication: Authentication,
    /// How far away it may be. The owner of the sockets sees to it.
    pub distance: Distance,
}

impl Neighbor {
    /// A neighbour with the usual settings: both sides open, IPv4 alone.
    pub fn new(address: IpAddr, asn: Asn) -> Self {
        Self {
            address,
            local_address: None,
            port: 179,
            asn,
            local_asn: None,
            mode: Mode::Mixed,
            administrative: Administrative::Up,
            families: BTreeMap::from([(Family::Ipv4, FamilyConfig::default())]),
            timers: Timers::default(),
            graceful_restart: Some(GracefulRestart::default()),
            role: None,
            extended_messages: Offer::Made,
            extended_next_hop: Offer::Made,
            first_as: FirstAs::Enforced,
            unreadable: Unreadable::ResetSession,
            authentication: Authentication::None,
            distance: Distance::SingleHop,
        }
    }

    /// Our AS towards it.
    pub fn local_asn(&self, local: &Local) -> Asn {
        self.local_asn.unwrap_or(local.asn)
    }

    /// Whether it is in our AS.
    pub fn peering(&self, local: &Local) -> Peering {
        if self.local_asn(local) == self.asn { Peering::Internal } else { Peering::External }
    }
}

/// Who opens the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// We do, and take none.
    Active,
    /// The neighbour does.
    Passive,
    /// Both try; one connection is left over.
    #[default]
    Mixed,
}

impl Mode {
    /// Whether we open connections.
    pub const fn connects(self) -> bool {
        matches!(self, Self::Active | Self::Mixed)
    }

    /// Whether we take connections.
    pub const fn accepts(self) -> bool {
        matches!(self, Self::Passive | Self::Mixed)
    }
}

/// Whether there is to be a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Administrative {
    /// There is.
    #[default]
    Up,
    /// There is not; the neighbour is told these words (RFC 9003).
    Down(String),
}

/// Whether a capability is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offer {
    /// It is.
    #[default]
    Made,
    /// It is not.
    Withheld,
}

impl Offer {
    /// Whether it is.
    pub const fn is_made(self) -> bool {
        matches!(self, Self::Made)
    }
}

/// How routes of one family are exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyConfig {
    /// Several paths to a prefix (RFC 7911).
    pub add_path: Option<AddPath>,
    /// How many prefixes it may send.
    pub max_prefixes: Option<MaxPrefixes>,
}

/// How many prefixes a neighbour may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPrefixes {
    /// The session ends where there are more.
    pub limit: u32,
    /// A warning is given at this many percent of it.
    pub warning_percent: u8,
    /// After this time the session is tried again; without, an operator has to see to it.
    pub restart: Option<Duration>,
}

/// Times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// The hold time that is proposed, in seconds: 0, or 3 and more.
    pub hold: u16,
    /// The least hold time of the neighbour's that is accepted, in seconds; 0 accepts all that the RFC allows.
    pub least_hold: u16,
    /// From one attempt to connect to the next.
    pub connect_retry: Duration,
    /// The same for as long as [`Timers::eager_for`] says after the start or the loss of a session that was up.
    pub eager_retry: Duration,
    /// How long attempts are made at [`Timers::eager_retry`].
    pub eager_for: Duration,
    /// How long we wait with our OPEN for the neighbour's (RFC 4271, 8.1.1, DelayOpen).
    pub delay_open: Duration,
    /// The first pause after a session that failed; it doubles with each failure in a row.
    pub idle_hold: Duration,
    /// The longest pause.
    pub longest_idle_hold: Duration,
    /// How long the neighbour may take for its OPEN.
    pub open_hold: Duration,
    /// How long the neighbour may leave what we send unread (RFC 9687); zero: forever.
    pub send_hold: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            hold: 90,
            least_hold: 0,
            connect_retry: Duration::from_secs(5),
            eager_retry: Duration::from_millis(50),
            eager_for: Duration::from_secs(3),
            delay_open: Duration::ZERO,
            idle_hold: Duration::from_millis(500),
            longest_idle_hold: Duration::from_secs(60),
            open_hold: Duration::from_secs(60),
            send_hold: Duration::from_secs(480),
        }
    }
}

/// What is offered of graceful restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the neighbour is asked to wait for us, in seconds: at most 4095.
    pub time: u16,
    /// How long we keep its routes after it is back, until it has sent them all.
    pub stale: Duration,
    /// Routes stay over notifications too (RFC 8538).
    pub notifications: Offer,
    /// How long routes stay after that, in seconds: at most 24 bits (RFC 9494).
    pub long_lived: Option<u32>,
}

impl Default for GracefulRestart {
    fn default() -> Self {
        Self { time: 120, stale: Duration::from_secs(360), notifications: Offer::Made, long_lived: None }
    }
}

/// Our role towards a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleConfig {
    /// The role.
    pub role: Role,
    /// Whether a neighbour that says nothing of roles is refused.
    pub strictness: Strictness,
}

/// What a missing capability means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// Nothing.
    #[default]
    Lenient,
    /// No session.
    Strict,
}

/// How a neighbour's segments prove where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// They do not.
    #[default]
    None,
    /// By TCP's MD5 option (RFC 2385).
    Md5(Secret),
    /// By TCP's authentication option (RFC 5925), where the kernel has it.
    Ao(AoKey),
}

/// A key of TCP-AO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// The identifier that we send.
    pub send_id: u8,
    /// The identifier that the neighbour sends.
    pub receive_id: u8,
    /// The kernel's name of the algorithm, such as `hmac(sha1)`.
    pub algorithm: String,
    /// The key.
    pub secret: Secret,
}

/// How far away a neighbour may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// On the link: what we send has a TTL of 1.
    #[default]
    SingleHop,
    /// Up to this many hops away.
    MultiHop(u8),
    /// At most this many hops away, proved by the TTL with which its packets come: 255 less the hops before the last (RFC 5082).
    Security(u8),
}

/// Something that nobody may read: it is compared, copied and handed to the kernel.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes it in.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// For the kernel alone.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
