//! The gateway's daemon (`gatewayd`) and client (`gatewayctl`).
//!
//! - [`dataplane`]: the XDP programs, their maps, and what is written into them
#![deny(missing_docs)]

pub mod dataplane;
