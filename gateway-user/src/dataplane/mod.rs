//! The gateway's packet path as user space sees it: the XDP programs, their maps, and what is written into them.
//!
//! Packets flow without the daemon: programs and maps are pinned. A daemon that starts adopts what it finds, and only the difference
//! between what is and what should be is ever written.
//!
//! | to change | go to |
//! |---|---|
//! | what user space learns from the host | [`world`] |
//! | what the maps hold for a plan | [`compile`](mod@compile), `routes`; `memory` for what is not done twice |
//! | routes that are learned while the gateway runs | [`learned`] |
//! | the same for a compute host's plan | [`compile_host`](mod@compile_host) |
//! | the numbers that stand for names | [`ids`] |
//! | the raw bpf(2) calls, the only unsafe code | `bpf` |
//! | loading, and what is checked before it | [`object`], `host` |
//! | where things are pinned | [`pins`] |
//! | programs on interfaces | [`attach`] |
//! | in which order the maps are written | [`apply`], `nexthop` |
//! | whether a plan fits into them | `room`, `common` |
//! | what is read from them | [`read`], [`events`] |
//! | all of it together, as the daemon holds it | [`Dataplane`], in `handle` |

pub mod apply;
pub mod attach;
mod bpf;
mod common;
pub mod compile;
pub mod compile_host;
mod compile_seats;
#[cfg(test)]
mod compile_seats_tests;
#[cfg(test)]
mod compile_tests;
pub mod error;
pub mod events;
mod handle;
mod host;
pub mod ids;
pub mod learned;
mod map;
mod maps;
mod memory;
mod nexthop;
pub mod object;
pub mod pins;
pub mod read;
mod room;
mod routes;
pub mod seats;
pub mod sizes;
pub mod tables;
pub mod world;

pub use apply::Tracing;
pub use error::{Error, Result};
pub use handle::{DEFAULT_STATE, Dataplane, Found, Migration, Options, detach};
pub use host::{check_privileges, processors};
pub use world::World;
