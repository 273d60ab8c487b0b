//! Detection: when a gateway counts as gone, by what is seen of it from here.
//!
//! A [`Prober`] asks one question of one gateway again and again: "does a packet come back?" [`Signs`] are the answers to all questions that
//! are asked of a gateway, and a [`Diagnosis`] is what they amount to.

mod diagnosis;
mod prober;

pub use diagnosis::{Diagnosis, Side, Sign, Signs, diagnose};
pub use prober::{Gaps, Nonce, Prober};
