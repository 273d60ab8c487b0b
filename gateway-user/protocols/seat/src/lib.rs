//! Who holds a seat: votes, leases, takeover, and the detection of failures, as pure state machines. What others say, what is seen, and the
//! time come in; messages, the gate's state and events come out. Whoever drives it owns sockets, maps and clocks.
//!
//! A [`Charter`] says ahead of time who votes in a pool and which gateway may take which seat under which epoch, so that no store and no
//! controller lies on a takeover's path. A [`Member`] is one voter, which may hold seats itself. All that it does follows from one question,
//! which a holder repeats for as long as it holds its seat, and a successor asks when the holder is gone: *do you stand by me as the holder
//! of this seat under this epoch?*
//!
//! - An epoch of a seat is granted once, to one life of one gateway: two holders never have the same one.
//! - A voter that has said yes to an epoch says no to every lower one. It says yes to a higher one only if the holder is gone as far as it
//!   can see, or yields. One that may have forgotten what it said (its machine was started anew) says nothing for as long as a lease lasts.
//! - A majority of answers is a lease, which ends a fixed time after the question *was asked*. So, when a majority has said yes to a
//!   higher epoch, the former holder's lease ends within one lease's time, whatever is lost or late. Its successor does not wait for that;
//!   whoever sees a higher epoch stops at once.
//! - A gateway that holds a seat takes another one only if both fit into it ([`Share`]); else whose turn is next takes it.
//! - A holder that yields forwards what still reaches it until its successor has taken the seat and nothing comes any more.
//!
//! | to change | go to |
//! |---|---|
//! | who votes, who may take what | [`charter`] |
//! | what is said | [`message`] |
//! | when a voter says yes | [`voter`] |
//! | when a majority has answered, and until when it counts | [`bid`] |
//! | what a member does about its seats | [`member`] |
//! | when a gateway counts as gone, and what of it | [`watch`] |
//! | the timers, and what must hold between them | [`timers`] |
#![deny(missing_docs)]

pub mod bid;
pub mod charter;
pub mod member;
pub mod message;
pub mod names;
pub mod timers;
pub mod voter;
pub mod watch;

pub use charter::{
    Bound, Charter, CharterError, CharterNumber, Electorate, ElectorateNumber, Grant, Incarnation, Share, Succession,
};
pub use gateway_common::Epoch;
pub use gateway_common::moment::Moment;
pub use member::{Event, Hold, Input, Member, Memory, Output};
pub use message::{Answer, Ask, Claim, Message, Verdict};
pub use names::{GatewayName, SeatName, Voter};
pub use timers::{Timers, TimersError};
pub use voter::{Opinion, Promise};
