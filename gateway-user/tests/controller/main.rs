//! `gatewayd controller` as a process, asked by `gatewayctl`.

mod copies;
mod credentials;
mod rig;
mod starting;
