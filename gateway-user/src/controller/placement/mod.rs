//! Which gateway carries a connection: pools, the capacity model, best fit.
//!
//! A [`Fleet`] knows the pools, the gateways and what each carries. [`Fleet::place`] finds a connection its gateway, or says in a
//! [`Refusal`] which pool lacks how much; [`Fleet::explain`] tells why. It is a function of what the store holds and of the gateways'
//! health: no clock, no randomness, no order of arrival beside the placements themselves. A fleet that is filled again from the store
//! equals the one that wrote it.
//!
//! A placement costs a few searches in ordered indexes, whatever the number of gateways, tenants and connections. Arithmetic is exact.
//!
//! | to change | go to |
//! |---|---|
//! | what a type of connection takes of a gateway's capacity | `capacity` |
//! | what is told of pools, gateways and connections | `spec` |
//! | in which order gateways are chosen; VIPs | `choose` |
//! | which gateways are active, which are standbys | `pool`, `spread` |
//! | adding, changing and removing pools and gateways | `fleet`, `changes` |
//! | what an answer says | `refusal`, `explain` |
//! | drain, takeover | `moving` |
//! | moves without a gap, and which of them even the load out | `transfer` |
//! | where a tenant's BGP router is | `reflector` |
//! | what a pool is not protected against | `protection` |

mod capacity;
mod changes;
mod choose;
mod explain;
mod fleet;
mod moving;
mod pool;
mod protection;
mod reflector;
mod refusal;
mod spec;
mod spread;
mod transfer;
mod vips;

#[cfg(test)]
mod tests;

pub use capacity::{Bandwidth, MAX_KBPS};
pub use choose::{Class, Decision};
pub use explain::{Candidate, Explanation, Reason, Verdict};
pub use fleet::{Fleet, GatewayStatus};
pub use moving::{Drain, Moved, Piece};
pub use protection::{Domain, Warning};
pub use reflector::{numbers, seated};
pub use refusal::{FleetRefusal, MoveRefusal, Refusal, Refused, Shortage, ShortageCause};
pub use spec::{GatewaySpec, GatewayState, Health, IpsecPath, Link, PoolSpec, Racks, Settings, VipRange, Wanted};
pub use transfer::{Evening, UnderWay};
