//! What the gateway's XDP programs and its user space share.
//!
//! - [`tables`]: the keys and values of every eBPF map, word for word as both sides see them
//! - [`reason`]: why a packet was dropped, the one enum that programs return and `gatewayctl` names
//! - [`wire`]: the headers that a packet carries, each with its RFC
//! - [`moment`]: points in time, as protocol code is told them
//! - [`probe`]: what one gateway asks another's program, and claims; [`siphash`]: the tag by which it is believed
//! - [`checksum`], [`ecn`], [`flow`], [`gate`], [`policer`], [`mss`]: packet arithmetic, plain Rust that runs without a kernel
//!
//! No I/O here, and no aya unless the feature `user` asks for its marker trait.
#![no_std]
#![deny(missing_docs)]

pub mod address;
pub mod checksum;
pub mod ecn;
pub mod flow;
pub mod gate;
pub mod ids;
pub mod moment;
pub mod mss;
pub mod policer;
pub mod probe;
pub mod reason;
pub mod siphash;
pub mod tables;
pub mod template;
pub mod trace;
pub mod wire;

pub use address::Address;
pub use ids::{ConnectionId, Epoch, Feasible, HostId, NexthopId, OriginId, PortId, SeatId, TenantId, VlanId, Vni};
pub use reason::DropReason;
