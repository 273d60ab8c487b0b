//! What agents ask: a certificate, the plan, to report, to show that they live.

use super::authority::Authority;
use super::response::{self, Content};
use super::router::{self, Head, Refused};
use super::service::{Connect, Enrol, KeyId, Refusal, RefusalKind, Silence};
use super::streams::{self, Event};
use super::{api, roles};
use crate::agent::protocol::{Endpoint, Enrolled, Enrolment, Heartbeat, Hello, PROTOCOL, PlanEvent, Renewal, Report};
use crate::agent::routes::{RouteReport, Told};
use crate::agent::token::Grant;
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Response, StatusCode};

/// Bytes of what an agent says of itself.
const SMALL: usize = 64 << 10;
/// Bytes of one event of a plan.
const PART: usize = 1 << 20;

/// Answers an agent. `rest` is the path behind `/networking/agents/v1`, in small letters.
pub async fn handle(head: &Head<'_>, rest: &[&str], body: Incoming) -> Response<Content> {
    if head.parts.method != Method::POST {
        return router::not_allowed("POST");
    }
    let answered = match rest {
        ["enrol"] => enrol(head, body).await,
        [role, _, what] => match (role_of(role), Endpoint::ALL.into_iter().find(|known| known.as_str() == *what)) {
            (Some(role), Some(endpoint)) => own(head, role, endpoint, body).await,
            _ => Err(nothing().into()),
        },
        _ => Err(nothing().into()),
    };
    answered.unwrap_or_else(|refused| *refused)
}

fn role_of(text: &str) -> Option<Role> {
    [Role::Gateway, Role::Host].into_iter().find(|role| role.as_str() == text)
}

fn nothing() -> Response<Content> {
    response::error(StatusCode::NOT_FOUND, "NotFound", "no agent asks for that")
}

/// A new agent, known by its token.
async fn enrol(head: &Head<'_>, body: Incoming) -> Result<Response<Content>, Refused> {
    let claims = head.claims().map_err(|error| router::untaken(head, error))?;
    let (id, expires, agent) = match claims.map(|claims| (claims.id, claims.expires, claims.grant)) {
        Some((id, expires, Grant::Join(agent))) => (id, expires, agent),
        Some(_) => {
            let message =
                "the token is a client's; an agent joins with one of `gatewayd controller token create --role gateway`";
            return Err(forbidden(head, message).into());
        }
        None => return Err(router::denied(head, &roles::Denied::Anonymous).into()),
    };
    elsewhere(head)?;
    let enrolment: Enrolment = router::read_json(head, body, SMALL).await?;
    check(&enrolment.hello)?;
    let key = requested_key(&enrolment.request)?;
    if head.context.controller.ledger().is_revoked(&key.into()) {
        let message = "the agent's key was revoked; remove agent.key from its --data-dir, so that it makes another one";
        return Err(forbidden(head, message).into());
    }
    let enrol = Enrol { agent: agent.clone(), token: id, token_expires: expires, key, hello: enrolment.hello };
    settle(head, head.context.controller.enrol(enrol).await)?;
    tracing::info!(%agent, from = %head.peer.address, %key, "an agent has joined");
    issue(head, &agent, &enrolment.request)
}

/// An agent, known by its certificate.
async fn own(head: &Head<'_>, role: Role, endpoint: Endpoint, body: Incoming) -> Result<Response<Content>, Refused> {
    // With its own spelling: the path's segments are networking, agents, v1, role, id, endpoint.
    let id = head.path.split('/').nth(5).map(Id::from).ok_or_else(nothing)?;
    let asked = AgentId { role, id };
    let subject = head.subject().map_err(|error| router::untaken(head, error))?;
    roles::agent(subject.as_ref(), &asked).map_err(|error| router::denied(head, &error))?;
    let Some((super::subject::Subject::Agent(agent), key)) = &head.peer.certified else { return Err(nothing().into()) };
    elsewhere(head)?;
    let controller = &head.context.controller;
    match endpoint {
        Endpoint::Renew => renew(head, agent, *key, body).await,
        Endpoint::Plan => plan(head, agent, *key, body).await,
        Endpoint::Report => {
            let report: Report = router::read_json(head, body, head.context.limits.report_bytes).await?;
            settle(head, controller.report(agent.clone(), report).await)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        Endpoint::Routes => {
            let report: RouteReport = router::read_json(head, body, head.context.limits.report_bytes).await?;
            settle(head, controller.routes(agent.clone(), report).await)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        Endpoint::Vote => {
            let ask: seat::Ask = router::read_json(head, body, SMALL).await?;
            let answer = controller.vote(agent.clone(), ask).await.map_err(router::silence)?;
            Ok(response::of_answer(answer, &head.origin()))
        }
        Endpoint::Heartbeat => {
            let heartbeat: Heartbeat = router::read_json(head, body, SMALL).await?;
            controller.heartbeat(agent.clone(), heartbeat).map_err(router::silence)?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
    }
}

async fn renew(head: &Head<'_>, agent: &AgentId, key: KeyId, body: Incoming) -> Result<Response<Content>, Refused> {
    let renewal: Renewal = router::read_json(head, body, SMALL).await?;
    if requested_key(&renewal.request)? != key {
        let message = "a renewal keeps the agent's key; for another key it joins again with a token";
        return Err(forbidden(head, message).into());
    }
    tracing::info!(%agent, "an agent's certificate is renewed");
    issue(head, agent, &renewal.request)
}

async fn plan(head: &Head<'_>, agent: &AgentId, key: KeyId, body: Incoming) -> Result<Response<Content>, Refused> {
    let hello: Hello = router::read_json(head, body, head.context.limits.report_bytes).await?;
    check(&hello)?;
    let context = head.context;
    let counted =
        context.streams.one_more(&agent.to_string(), context.limits.streams).ok_or_else(api::too_many_streams)?;
    tracing::info!(%agent, from = %head.peer.address, has = hello.resume.as_ref().map(|plan| plan.position.to_string()), "an agent asks for its plan");
    let connect = Connect { agent: agent.clone(), key, hello };
    let stream = settle(head, context.controller.connect(connect).await)?;
    let event = |told: Told| {
        let plan = match told {
            Told::Plan(plan) => plan,
            Told::Routes(routes) => {
                let data = serde_json::to_vec(&*routes).unwrap_or_default().into();
                return vec![Event { id: routes.position().to_string(), kind: "routes", data }];
            }
        };
        let part = |part: &PlanEvent| {
            let data = serde_json::to_vec(part).unwrap_or_default().into();
            Event { id: part.position().to_string(), kind: "plan", data }
        };
        plan.split(PART).iter().map(part).collect()
    };
    Ok(streams::answer(stream, event, context.limits.keep_alive, counted, context.stopping.clone()))
}

fn issue(head: &Head<'_>, agent: &AgentId, request: &str) -> Result<Response<Content>, Refused> {
    let certificate = head.context.authority.agent(agent, request).map_err(|error| {
        tracing::error!(%agent, error = format!("{error:#}"), "no certificate could be issued");
        response::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "no certificate could be issued")
    })?;
    Ok(response::json(StatusCode::OK, &Enrolled { certificate }))
}

fn requested_key(request: &str) -> Result<KeyId, Refused> {
    Authority::requested_key(request)
        .map_err(|error| response::error(StatusCode::BAD_REQUEST, "InvalidRequestBody", &format!("{error:#}")).into())
}

fn check(hello: &Hello) -> Result<(), Refused> {
    if hello.protocol == PROTOCOL {
        return Ok(());
    }
    let message = format!(
        "the agent (version {}) speaks protocol {}, this controller speaks {PROTOCOL}; upgrade the older of the two",
        hello.version, hello.protocol
    );
    Err(response::error(StatusCode::BAD_REQUEST, "ProtocolMismatch", &message).into())
}

fn elsewhere(head: &Head<'_>) -> Result<(), Refused> {
    head.elsewhere().map_or(Ok(()), |answer| Err(answer.into()))
}

fn forbidden(head: &Head<'_>, message: &str) -> Response<Content> {
    tracing::warn!(id = head.id, from = %head.peer.address, path = head.path, "refused: {message}");
    response::error(StatusCode::FORBIDDEN, "Forbidden", message)
}

/// What the core said, or the answer that says why not.
fn settle<T>(head: &Head<'_>, said: Result<Result<T, Refusal>, Silence>) -> Result<T, Refused> {
    let refusal = match said {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(refusal)) => refusal,
        Err(silence) => return Err(router::silence(silence).into()),
    };
    let answer = match refusal.kind {
        RefusalKind::Forbidden => forbidden(head, &refusal.message),
        RefusalKind::Malformed => response::error(StatusCode::BAD_REQUEST, "InvalidRequestBody", &refusal.message),
        RefusalKind::Unavailable => {
            let mut answer = response::error(StatusCode::SERVICE_UNAVAILABLE, "RetryableError", &refusal.message);
            response::set(&mut answer, header::RETRY_AFTER, "1");
            answer
        }
    };
    Err(answer.into())
}
