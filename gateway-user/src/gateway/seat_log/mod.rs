//! The seat log: what a seat's holder knows and no plan says, told to the gateways that may take the seat, so that whoever takes it has it
//! before it begins. These are the link-layer addresses of stations on tenants' VLANs, and the routes that tenants' routers have learned.
//!
//! It goes from the holder to the replicas directly, over mutual TLS with the certificates by which the controller knows its gateways; a
//! gateway without a controller has none, and no seat log. Every change has a number, which the replica acknowledges. It is soft state,
//! never stored: who connects is told everything, or what it missed, and then what changes. A gateway that takes a seat begins a log of
//! its own, with what it knew; what is of an earlier epoch is refused. Where nobody follows, the holder goes on alone and says so.
//!
//! The agent tells a [`SeatLog`] which seats are held and what their compartments' kernels and routers learn, and puts into the tables of its
//! replicas what comes as [`Heard`].
//!
//! | to change | go to |
//! |---|---|
//! | what is told | [`entries`] |
//! | how it is written on the wire | [`message`] |
//! | what the holder keeps, and whom it tells what | [`holder`] |
//! | what a replica believes, and when it forgets | [`replica`] |
//! | all seats of a gateway together | [`seats`] |
//! | who is believed to be whom | [`tls`] |
//! | sockets | [`driver`] |
//! | what a person is shown of it | [`report`] |

pub mod driver;
pub mod entries;
pub mod holder;
pub mod message;
pub mod replica;
pub mod report;
pub mod seats;
pub mod tls;

#[cfg(test)]
mod tests;

pub use driver::{Credential, Members, PORT, Peer, SeatLog};
pub use entries::{Fact, Name, Record, Room};
pub use report::SeatLogReport;
pub use seats::Heard;
