//! A pool's seats: who holds what, who may take it and under which epoch, and who decides that. Settled ahead of time, so that a takeover needs
//! no controller: all that is left to this one is to hear of it, and to settle anew.
//!
//! ```text
//!   pool, gateways, lives ──► settle ──► Seats, the record in the store ──► charter and addresses, to the pool's gateways
//!                                          ▲
//!   "GW3 holds seat GW1 under epoch 7" ──► follow
//! ```
//!
//! A seat is named after its home gateway, and connections are placed on it; which gateway holds it is no part of a placement. An epoch is
//! granted once: one counter serves all seats of a pool, and a pool's begins beyond all others'. Nothing here reads a clock, a store or a
//! socket.
//!
//! | to change | go to |
//! |---|---|
//! | what is stored | [`record`] |
//! | when there is a seat, who votes, who is granted what | `settle` |
//! | in which order gateways without a seat may take one | `order` |
//! | who may take a second one | `survivors` |
//! | when a seat is handed over | `relief` |
//! | when a seat counts as held by nobody | [`sight`] |
//! | what a pool does not survive | [`survival`] |
//! | what gateways are told | [`told`] |

mod order;
pub mod record;
mod relief;
mod settle;
pub mod sight;
pub mod survival;
mod survivors;
pub mod told;
pub mod vote;

#[cfg(test)]
mod tests;

pub use record::{Followed, Grant, Holder, Move, Occupancy, Relief, Seat, Seats, Subnets};
pub use settle::{Duty, Floor, Heard, Member, Pool, Readiness, Standing};
