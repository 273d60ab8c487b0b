//! What gateway and host agents share towards the controller.
//!
//! | to change | go to |
//! |---|---|
//! | what is said between agent and controller | [`protocol`] |
//! | how an agent becomes known: token, key, certificate | [`token`], [`enrol`], [`credentials`] |
//! | which controller is believed | [`tls`] |
//! | one connection to a controller | [`http`], [`address`] |
//! | files with secrets | [`files`] |

pub mod address;
pub mod backoff;
pub mod credentials;
pub mod enrol;
pub mod files;
pub mod http;
pub mod protocol;
pub mod tls;
pub mod token;
