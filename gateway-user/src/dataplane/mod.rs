//! The gateway's packet path as user space sees it: the XDP programs, their maps, and what is written into them.
//!
//! | to change | go to |
//! |---|---|
//! | what user space learns from the host | [`world`] |

pub mod world;

pub use world::World;
