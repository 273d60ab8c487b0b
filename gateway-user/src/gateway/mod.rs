//! The gateway's agent: it makes the host and the data plane what the plan says, and keeps them so.
//!
//! | to change | go to |
//! |---|---|
//! | fragments, outer and inner | [`slowpath`], [`reassembly`], [`fragmentation`] |
//! | a tenant's network namespace | [`compartment`] |

pub mod compartment;
pub mod fragmentation;
mod inside;
pub mod reassembly;
pub mod slowpath;
