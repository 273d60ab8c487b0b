//! The lab: machines made of namespaces, cables between them, real peers around the gateway.
//!
//! - [`node`]: a machine; [`link`]: a cable; [`topology`]: who is connected to whom, with the addresses of [`tenants`]
//! - [`tunnel`], [`vlan`]: GRE, NVGRE and 802.1Q spoken in user space, for kernels without them
//! - [`ping`], [`identity`]: what the tests ask with; [`frame_socket`]: whole frames, sent and seen
//! - [`wait`]: waiting for a condition with a deadline

pub mod frame_socket;
pub mod identity;
pub mod link;
pub mod node;
pub mod ping;
pub mod tap;
pub mod tenants;
pub mod topology;
pub mod tunnel;
pub mod vlan;
pub mod wait;
