//! Refusals, told in words with their remedy.

use crate::ctl::table::clean;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// The command was called wrongly, in a way that its options alone do not show.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The controller said no.
#[derive(Debug)]
pub struct Refused {
    /// What was asked.
    pub method: Method,
    /// Of what.
    pub path: String,
    /// The status.
    pub status: StatusCode,
    /// Why.
    pub told: Box<Told>,
}

/// What the controller says of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// What kind of refusal.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub target: Option<String>,
    /// What lies behind it.
    pub inner_error: Value,
    /// Every single fault.
    pub details: Vec<Told>,
}

impl Refused {
    /// Out of an answer's body.
    pub fn new(method: Method, path: &str, status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Told,
        }
        let told = serde_json::from_slice::<Body>(body).map(|body| body.error).unwrap_or_default();
        Self { method, path: path.to_owned(), status, told: Box::new(told) }
    }

    /// Every single fault, a line each.
    pub fn details(&self) -> Vec<String> {
        self.told.details.iter().map(|detail| format!("  {}", sentence(detail))).collect()
    }

    /// What to do.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self.told.code.as_str() {
            "Unauthorized" => {
                "name a client certificate (--cert, --key) or a token (--token-file), or put them into a context: `gatewayctl config set-context`"
            }
            "Forbidden" => "ask as somebody whose role may: `gatewayctl config get-contexts` shows as whom you do",
            "ResourceNotFound" | "NotFound" => "`gatewayctl get KIND` lists what is there",
            "ReferencedResourceNotFound" => {
                "create what is referred to first, or put both into one `gatewayctl apply -f`, which finds the order"
            }
            "ResourceInUse" => "delete or change first what refers to it",
            "PreconditionFailed" => "somebody changed it in the meantime: get it again and repeat the change",
            "InsufficientCapacity" => {
                "`gatewayctl get gateways` shows where there is room; add gateways to the pool, or ask for less bandwidth"
            }
            "UnknownProperty"
            | "RequiredPropertyMissing"
            | "InvalidParameterValue"
            | "PropertyNotSupported"
            | "InvalidRequestContent" => {
                "correct the file; docs/rest-resources.md and /networking of the controller describe the properties"
            }
            "PropertyImmutable" => "delete the resource and create it again, or leave the property as it is",
            "InsufficientStorage" => "readers are answered meanwhile; repeat the command when there is room",
            // What they say says what to do.
            "InvalidBackup" | "StoreNotEmpty" | "OtherKey" | "OwnCredential" => return None,
            "AnotherOperationInProgress" => "wait for the other operation and repeat the command",
            "TooManyStreams" => "end another `gatewayctl watch` first",
            "RetryableError" => {
                "no controller leads, or it is busy; repeat the command, with a longer --timeout if need be"
            }
            _ if self.status.is_server_error() => "see the controller's log; the same command may be repeated",
            _ => return None,
        })
    }
}

fn sentence(told: &Told) -> String {
    let message = if told.message.is_empty() { &told.code } else { &told.message };
    let text = match told.target.as_deref().filter(|target| !target.is_empty()) {
        Some(target) => format!("{target}: {message}"),
        None => message.clone(),
    };
    clean(text)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.method, self.path)?;
        if self.told.code.is_empty() {
            return write!(f, "the controller answers {}", self.status);
        }
        write!(f, "{} ({}, {})", sentence(&self.told), clean(self.told.code.clone()), self.status.as_u16())
    }
}

impl std::error::Error for Refused {}

/// Whether the controller said that something is not there.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_where_and_what_to_do() {
        let body = br#"{"error":{"code":"UnknownProperty","message":"there is no `colour`","target":"properties.colour","innerError":null,
            "details":[{"code":"UnknownProperty","message":"there is no `colour`","target":"properties.colour"},
                       {"code":"InvalidParameterValue","message":"4095 is no VLAN","target":"properties.vlanID"}]}}"#;
        let refused = Refused::new(Method::PUT, "/gateways/GW1", StatusCode::BAD_REQUEST, body);
        assert_eq!(
            refused.to_string(),
            "PUT /gateways/GW1: properties.colour: there is no `colour` (UnknownProperty, 400)"
        );
        assert_eq!(
            refused.details(),
            ["  properties.colour: there is no `colour`", "  properties.vlanID: 4095 is no VLAN"]
        );
        assert!(refused.remedy().is_some_and(|remedy| remedy.contains("correct the file")));
    }

    #[test]
    fn an_answer_without_words_is_told_as_well() {
        let refused = Refused::new(Method::GET, "/gateways", StatusCode::BAD_GATEWAY, b"<html>\x1b[31m");
        assert_eq!(refused.to_string(), "GET /gateways: the controller answers 502 Bad Gateway");
        assert!(refused.remedy().is_some());
    }

    #[test]
    fn a_refusal_cannot_command_the_terminal() {
        let body = br#"{"error":{"code":"X","message":"a\u001b[31mb","target":""}}"#;
        let refused = Refused::new(Method::GET, "/x", StatusCode::CONFLICT, body);
        assert_eq!(refused.to_string(), "GET /x: a?[31mb (X, 409)");
    }
}
