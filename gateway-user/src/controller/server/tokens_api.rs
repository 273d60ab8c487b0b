//! `POST /networking/tokens`: an administrator makes a token.

use super::response::{self, Content};
use super::router::{self, Head, Refused};
use super::{credentials_api, roles, tokens};
use crate::agent::token::Grant;
use crate::controller::core::ledger::Credential;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bytes of a request.
const SMALL: usize = 16 << 10;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// What the token is to be good for.
    pub grant: Grant,
    /// How long; an hour for an agent and thirty days for a client if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
}

#[derive(Serialize)]
struct Made<'a> {
    id: &'a str,
    token: &'a str,
    expires: u64,
}

/// Makes a token.
pub async fn handle(head: &Head<'_>, body: Incoming) -> Response<Content> {
    make(head, body).await.unwrap_or_else(|refused| *refused)
}

async fn make(head: &Head<'_>, body: Incoming) -> Result<Response<Content>, Refused> {
    if head.parts.method != Method::POST {
        return Err(router::not_allowed("POST").into());
    }
    let subject = head.subject().map_err(|error| router::untaken(head, error))?;
    let client = roles::administer(subject.as_ref(), "make tokens: that takes the role admin")
        .map_err(|error| router::denied(head, &error))?;
    let Wish { grant, minutes } = router::read_json(head, body, SMALL).await?;
    tracing::info!(client = client.name, ?grant, "a token is made");
    let lifetime = minutes
        .map_or_else(|| tokens::default_lifetime(&grant), |minutes| Duration::from_secs(60 * u64::from(minutes)));
    // Only what is known can be listed, and the leader knows.
    if let Some(elsewhere) = head.elsewhere() {
        return Err(elsewhere.into());
    }
    let made = head.context.certificate.pinned().and_then(|pinned| {
        let token = head.context.authority.token(grant, pinned, lifetime)?;
        let claims = head.context.authority.claims(&token)?;
        Ok((token, claims.id.parse()?, claims))
    });
    let (token, id, claims) = made.map_err(|error| {
        Refused::new(response::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &format!("{error:#}")))
    })?;
    let known = Credential { grant: Some(claims.grant), expires: Some(claims.expires), revoked: None };
    let said = head.context.controller.know(id, known).await;
    credentials_api::settle(said)?;
    Ok(response::json(StatusCode::CREATED, &Made { id: &claims.id, token: token.expose(), expires: claims.expires }))
}
