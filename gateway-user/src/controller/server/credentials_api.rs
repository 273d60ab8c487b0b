//! `GET /networking/credentials`: which tokens and certificates let somebody in. `DELETE /networking/credentials/ID`: takes one back.

use super::response::{self, Content};
use super::roles;
use super::router::{self, Head, Refused};
use super::service::{Refusal, RefusalKind, Standing};
use crate::agent::token::{ClientRole, Grant};
use crate::controller::core::ledger::{Credential, CredentialId, CredentialKind};
use crate::controller::core::observed;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;

/// A credential as it is listed.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    id: &'a str,
    kind: CredentialKind,
    /// `client/NAME`, `gateway/ID` or `host/ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    whom: Option<String>,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

impl<'a> Listed<'a> {
    fn new(id: &'a CredentialId, known: &'a Credential) -> Self {
        let (whom, role, tenant) = match &known.grant {
            None => (None, "unknown", None),
            Some(Grant::Join(agent)) => (Some(agent.to_string()), "join", None),
            Some(Grant::Client(client)) => {
                let (role, tenant) = match &client.role {
                    ClientRole::Admin => ("admin", None),
                    ClientRole::ReadOnly => ("read-only", None),
                    ClientRole::Tenant(tenant) => ("tenant", Some(tenant.as_str())),
                };
                (Some(format!("client/{}", client.name)), role, tenant)
            }
        };
        let time = |seconds: Option<u64>| seconds.map(|seconds| observed::time(seconds.saturating_mul(1000)));
        Self {
            id: id.as_str(),
            kind: id.kind(),
            whom,
            role,
            tenant,
            expires: time(known.expires),
            revoked: time(known.revoked),
        }
    }
}

/// Answers what is asked of credentials. `rest` is the path behind `/networking/credentials`.
pub async fn handle(head: &Head<'_>, rest: &[&str]) -> Response<Content> {
    let answered = match (rest, &head.parts.method) {
        ([], &Method::GET) => list(head),
        ([id], &Method::DELETE) => revoke(head, id).await,
        ([], _) => Err(router::not_allowed("GET").into()),
        ([_], _) => Err(router::not_allowed("DELETE").into()),
        _ => Err(response::error(StatusCode::NOT_FOUND, "NotFound", "credentials have nothing below them").into()),
    };
    answered.unwrap_or_else(|refused| *refused)
}

fn administrator(head: &Head<'_>) -> Result<String, Refused> {
    let subject = head.subject().map_err(|error| router::untaken(head, error))?;
    let what = "see or take back credentials: that takes the role admin";
    let client = roles::administer(subject.as_ref(), what).map_err(|error| router::denied(head, &error))?;
    note(head);
    Ok(client.name.clone())
}

fn list(head: &Head<'_>) -> Result<Response<Content>, Refused> {
    administrator(head)?;
    let ledger = head.context.controller.ledger();
    let mut listed: Vec<Listed<'_>> = ledger.credentials().map(|(id, known)| Listed::new(id, known)).collect();
    for (agent, key) in ledger.keys().filter(|(_, key)| ledger.get(key).is_none()) {
        listed.push(Listed {
            id: key.as_str(),
            kind: CredentialKind::Certificate,
            whom: Some(agent.to_string()),
            role: "agent",
            tenant: None,
            expires: None,
            revoked: None,
        });
    }
    Ok(response::json(StatusCode::OK, &serde_json::json!({ "value": listed })))
}

async fn revoke(head: &Head<'_>, id: &str) -> Result<Response<Content>, Refused> {
    let client = administrator(head)?;
    let id: CredentialId = id.parse().map_err(|error: crate::controller::core::ledger::NoCredential| {
        response::error(StatusCode::BAD_REQUEST, "InvalidParameterValue", &error.to_string())
    })?;
    if head.credential().is_some_and(|(own, _)| own == id) {
        let message =
            "this is what you ask with: ask with another credential, or make one first (`gatewayctl token create`)";
        return Err(response::error(StatusCode::CONFLICT, "OwnCredential", message).into());
    }
    if let Some(elsewhere) = head.elsewhere() {
        return Err(elsewhere.into());
    }
    let known = head.context.controller.ledger().get(&id).and_then(|known| known.grant.clone());
    settle(head.context.controller.revoke(id.clone()).await)?;
    tracing::warn!(client, %id, ?known, "a credential is taken back");
    let known = Credential { grant: known, ..Credential::default() };
    Ok(response::json(StatusCode::OK, &Listed::new(&id, &known)))
}

/// What the core said of a credential.
pub fn settle(said: Result<Result<(), Refusal>, super::service::Silence>) -> Result<(), Refused> {
    said.map_err(router::silence)?.map_err(|refusal| {
        let status = match refusal.kind {
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
        };
        response::error(status, "RetryableError", &refusal.message).into()
    })
}

/// Lets the leader remember a credential that was shown to it for the first time.
pub fn note(head: &Head<'_>) {
    let controller = &head.context.controller;
    let Standing::Leader { .. } = controller.standing() else { return };
    let Some((id, credential)) = head.credential() else { return };
    if controller.ledger().get(&id).is_none() {
        let controller = controller.clone();
        // Nobody waits for it: whoever shows it again is remembered then.
        tokio::spawn(async move { controller.know(id, credential).await });
    }
}
