//! HTTPS for clients and agents.
//!
//! | to change | go to |
//! |---|---|
//! | what the server asks of the core | [`service`] |

pub mod service;
