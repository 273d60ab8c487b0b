//! `gatewayd controller` as a process, asked by `gatewayctl`.

mod copies;
mod rig;
mod starting;
