//! Takes the gateway off the host.

use super::args::DetachOptions;
use super::output::Output;
use crate::api::Client;
use crate::api::client::ClientError;
use std::path::Path;

/// Removes programs, tables and compartments, if no daemon is there to put them back.
pub async fn run(socket: &Path, options: &DetachOptions, _output: &mut Output) -> anyhow::Result<()> {
    match Client::connect(socket).await {
        Err(ClientError::NoDaemon(_)) => {}
        Ok(_) => anyhow::bail!("a gateway is running (it listens on {}); stop it first, then detach", socket.display()),
        Err(error) => return Err(error.into()),
    }
    crate::gateway::detach(&options.pins, &options.state)
}
