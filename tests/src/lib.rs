//! The lab: machines made of namespaces, cables between them, real peers around the gateway.
//!
//! - [`node`]: a machine; [`link`]: a cable; [`switch`](mod@switch): a switch of XDP programs; [`topology`]: who is connected to whom, with the addresses of [`tenants`]
//! - [`cloud`]: the same with a controller, three gateways and our own compute hosts
//! - [`tunnel`], [`vlan`]: GRE, NVGRE and 802.1Q spoken in user space, for kernels without them
//! - [`Lab`]: the world with a gateway that runs; [`gateway`]: its daemon; [`plan`]: what it runs by
//! - [`ping`], [`identity`], [`throughput`]: what the tests ask with; [`flows`]: echo requests that are counted; [`numbered`]: frames that the kernel sends and counts; [`frame_socket`]: whole frames, sent and seen
//! - [`limit`]: whether a limit lets through what it should; [`meter`]: a running gateway's, looked at
//! - [`live`], [`enter`]: what `lab run` and `lab enter` do
//! - [`chaos`]: what `lab chaos` does: gateways fail at random, and it is watched that nobody is the worse for it
//! - [`compute`]: the lab with compute hosts of ours
//! - [`frame`]: frames built layer by layer; [`program`]: the XDP programs run on one of them at a time
//! - [`bench`]: what `lab bench` does
//! - [`bgp`]: a router with the product's BGP speaker; [`bfd_owner`]: an agent as far as BFD goes; [`peers`]: routing daemons that we did not write; [`sessions`]: the running
//!   gateway's sessions with them
//! - [`store`]: what every engine of the controller's store has to do
//! - [`sim`]: the controller under a simulator
//! - [`vm`]: another Linux kernel, in a virtual machine
//! - [`precedence`]: which threads run first; [`wait`]: waiting for a condition with a deadline

pub mod bench;
pub mod bfd_owner;
pub mod bgp;
pub mod chaos;
pub mod cloud;
pub mod compute;
pub mod enter;
pub mod flows;
pub mod frame;
pub mod frame_socket;
pub mod gateway;
pub mod identity;
mod lab;
pub mod limit;
pub mod link;
pub mod live;
pub mod meter;
pub mod node;
pub mod numbered;
pub mod peers;
pub mod ping;
pub mod plan;
pub mod precedence;
pub mod program;
pub mod sessions;
pub mod sim;
pub mod store;
pub mod switch;
pub mod tap;
pub mod tenants;
pub mod throughput;
pub mod topology;
pub mod tunnel;
pub mod vlan;
pub mod vm;
pub mod wait;

pub use lab::Lab;
