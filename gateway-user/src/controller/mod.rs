//! The network controller: it takes the operators' and tenants' resources, places connections on gateways, and tells every agent what to do.
//!
//! ```text
//!   clients ──► server ──► core ──► store            agents ◄── server ◄── core
//!               HTTPS      step     redb, etcd       plans                 planning
//! ```
//!
//! What decides is pure: [`core`] is a state machine, `step(event, now)`, over [`resources`], [`placement`] and [`planning`]. It reads no clock,
//! no socket and no file, so a simulator can run it through thousands of schedules. What it decides is let out only when it is durable.
//!
//! | to change | go to |
//! |---|---|
//! | what the northbound interface's JSON may say, ETags, references, errors | [`resources`] |
//! | what the controller reads of that JSON | [`model`] |
//! | which gateway carries a connection, pools, capacity | [`placement`] |
//! | which gateway holds a pool's seat, and which may take it | [`seats`] |
//! | what an agent is told | [`planning`] |
//! | the order of things: a request, its write, its answer | [`core`] |
//! | where it is kept, who leads | [`store`] |
//! | HTTPS, certificates, roles, event streams | [`server`] |
//! | how the store, the clock and the calls reach the core | [`driver`] |
//! | what becomes of what the core decides: writes, answers, streams | `outbox` |
//! | what is done at the start | [`daemon`] |
//! | work that all processors share | `parallel` |
//! | `gatewayd controller token`, `certificate` | [`args`] |

pub mod args;
pub mod core;
pub mod daemon;
pub mod driver;
pub mod model;
mod outbox;
mod parallel;
pub mod placement;
pub mod planning;
pub mod resources;
pub mod seats;
pub mod server;
pub mod store;
