//! What gateway and host agents share towards the controller.
//!
//! | to change | go to |
//! |---|---|
//! | what is said between agent and controller | [`protocol`] |
//! | how an agent becomes known: token, key, certificate | [`token`], [`enrol`], [`credentials`] |
//! | which controller is believed | [`tls`] |
//! | which controller is asked, and when again | `preferred`, [`backoff`] |
//! | one connection to a controller | [`http`], [`address`], [`events`] |
//! | what goes on all the time: plans, heartbeats, reports, renewals | [`link`], [`reporter`] |
//! | what a gateway asks about its seats | [`ballots`] |
//! | what tells a machine's lives apart | [`life`] |
//! | how a plan is made of its documents, and kept | [`keeper`], [`journal`] |
//! | the command line | [`args`] |
//! | files with secrets | [`files`] |

pub mod address;
pub mod args;
pub mod backoff;
pub mod ballots;
pub mod credentials;
pub mod enrol;
pub mod events;
pub mod files;
pub mod http;
pub mod journal;
pub mod keeper;
pub mod life;
pub mod link;
mod preferred;
pub mod protocol;
pub mod reporter;
pub mod routes;
pub mod tls;
pub mod token;

#[cfg(test)]
mod tests;

pub use ballots::Ballots;
pub use keeper::Kind;
pub use link::{Link, News, Offer, Options, start};
pub use reporter::Reporter;
pub use routes::RouteReporter;
