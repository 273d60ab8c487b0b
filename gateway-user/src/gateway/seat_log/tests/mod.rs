//! The log as a whole: what replicas know after everything that may happen, and real connections.

mod convergence;
mod transport;
mod wire;
