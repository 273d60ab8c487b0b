//! What gateway and host agents share towards the controller.
//!
//! | to change | go to |
//! |---|---|
//! | what is said between agent and controller | [`protocol`] |

pub mod protocol;
