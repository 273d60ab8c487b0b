//! The gateway's user space: the daemon (`gatewayd`) and its client (`gatewayctl`) are thin programs over this library.
//!
//! | to change | go to |
//! |---|---|
//! | what a plan file may say, and what a person is told when it is wrong | [`plan`] |
//! | the XDP programs, their maps, and what is written into them | [`dataplane`] |
//! | what the agent does, a tenant's namespace, fragments | [`gateway`] |
//! | a compute host: the edge of virtual machines | [`host`] |
//! | the host's links, routes, neighbours; what a port is fit for | [`net`] |
//! | what `gatewayctl` asks over the control socket, and how the daemon answers | [`api`] |
//! | a command of `gatewayctl` | [`ctl`] |
//! | the network controller | [`controller`] |
//! | the process that keeps BFD sessions | [`bfd`] |
//! | the process that watches the other gateways and holds seats | [`sentinel`] |
//! | what an agent and the controller say to each other | [`agent`] |
#![deny(missing_docs)]

pub mod agent;
pub mod api;
pub mod bfd;
pub mod controller;
pub mod ctl;
pub mod dataplane;
pub mod gateway;
pub mod host;
pub mod net;
pub mod plan;
pub mod sentinel;
