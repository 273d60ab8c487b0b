//! A new agent joins: it makes its key, knows the controller by the fingerprint in its token, and gets a certificate.

use super::address::ControllerAddress;
use super::backoff::Backoff;
use super::credentials::{Credentials, Key};
use super::http::{self, Connection, HttpError};
use super::protocol::{Enrolled, Enrolment, Hello, enrol_path};
use super::tls;
use super::token::{Grant, Token};
use crate::controller::model::records::AgentId;
use anyhow::{Context, bail};
use hyper::{Method, header};
use std::path::Path;
use std::time::Duration;

/// The agent's credentials: those that it has, or by its token new ones. Asks until a controller answers.
///
/// # Errors
/// The controller refuses, the token is another agent's, or files cannot be written.
pub async fn join(
    directory: &Path,
    agent: &AgentId,
    controllers: &[ControllerAddress],
    token: Option<&Token>,
    hello: &Hello,
) -> anyhow::Result<Credentials> {
    if let Some(credentials) = Credentials::load(directory)? {
        if credentials.agent() != agent {
            bail!(
                "{} holds the certificate of {}, and this is {agent}; give this one its own --state, or remove the files to join anew",
                directory.display(),
                credentials.agent()
            );
        }
        if credentials.not_after() > time::OffsetDateTime::now_utc() {
            return Ok(credentials);
        }
        tracing::warn!(%agent, "the agent's certificate has expired");
    }
    let Some(token) = token else {
        bail!(
            "{agent} has no certificate that is good; make a token with `gatewayd controller token create` and give it with --token-file"
        )
    };
    let claims = token.claims().context("the token is none")?;
    match &claims.grant {
        Grant::Join(whose) if whose == agent => {}
        Grant::Join(whose) => bail!("the token is for {whose}, and this is {agent}; give each agent its own"),
        Grant::Client(_) => bail!(
            "the token is for the REST API; an agent joins with one of `gatewayd controller token create --role {} --id {}`",
            agent.role.as_str(),
            agent.id
        ),
    }
    let enrolment = Enrolment { request: Key::open(directory)?.request()?, hello: hello.clone() };
    let body = serde_json::to_vec(&enrolment)?;
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    let mut queue: Vec<ControllerAddress> = Vec::new();
    loop {
        let address = match queue.pop() {
            Some(address) => address,
            None => {
                queue = controllers.iter().rev().cloned().collect();
                queue.pop().context("no controller's address was given")?
            }
        };
        let (config, pinned) = tls::pinned(claims.authority)?;
        let authorization = format!("Bearer {}", token.expose());
        let asked = async {
            let mut connection = Connection::open(&address, config).await?;
            let headers = [(header::AUTHORIZATION, authorization.as_str())];
            http::whole(connection.ask(Method::POST, &enrol_path(), &headers, body.clone().into()).await?).await
        };
        match asked.await {
            Ok(answer) => {
                let enrolled: Enrolled = serde_json::from_slice(&answer).context("the controller's answer is none")?;
                let authority = pinned.authority().context("the controller showed no authority")?;
                let credentials = Credentials::save(directory, &enrolled.certificate, &authority)?;
                if credentials.agent() != agent {
                    bail!("the controller issued a certificate for {}, and this is {agent}", credentials.agent());
                }
                tracing::info!(%agent, controller = %address, until = %credentials.not_after().date(), "joined");
                return Ok(credentials);
            }
            Err(HttpError::Elsewhere(leader)) => {
                // Its own wait all the same: two controllers may each take the other for the leader.
                queue.push(leader);
                tokio::time::sleep(backoff.wait()).await;
            }
            Err(error) if error.is_final() => {
                return Err(error).with_context(|| format!("{agent} cannot join at {address}"));
            }
            Err(error) => {
                tracing::warn!(%agent, %error, "cannot join yet; trying again");
                tokio::time::sleep(backoff.wait()).await;
            }
        }
    }
}
