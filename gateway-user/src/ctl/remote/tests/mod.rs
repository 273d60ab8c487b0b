//! Whole commands, over TLS, before a controller that answers by a script.

mod changing;
mod reaching;
mod rig;
mod seeing;
