//! What is said when a request is refused: `{"error":{code,message,target,innerError,details}}`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of refusal, each with its HTTP status.
///
/// The names are those of the northbound interface where it has one, spelled as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// The body is no JSON, or no JSON object.
    InvalidRequestContent,
    /// A value is of the wrong type, out of range, or contradicts another one.
    InvalidParameterValue,
    /// There is no such property.
    UnknownProperty,
    /// A property that the kind cannot do without is absent.
    RequiredPropertyMissing,
    /// The property exists elsewhere, and would have no effect here that is safe to leave out.
    PropertyNotSupported,
    /// The property cannot change after creation.
    PropertyImmutable,
    /// A reference names what cannot stand there.
    InvalidResourceReference,
    /// A reference names what does not exist, or what the caller may not know of.
    ReferencedResourceNotFound,
    /// An address lies outside the network that it has to be in.
    AddressOutsideNetwork,
    /// Two ranges of addresses share some.
    OverlappingSubnets,
    /// Another connection has the VLAN.
    DuplicateVlan,
    /// Another interface of that network has the MAC address.
    DuplicateMacAddress,
    /// Another interface of that network has the address.
    DuplicateIPAddress,
    /// Another public address resource has the address.
    PublicIPAddressInUse,
    /// A virtual network has a gateway already. (The spelling is the interface's.)
    MultipleGatwaysUseSameVnet,
    /// A pool of type All is the only one that its virtual gateway may use.
    VirtualGatewayPoolsConflict,
    /// There is no address left.
    AddressPoolExhausted,
    /// Others refer to it.
    ResourceInUse,
    /// No gateway has room.
    InsufficientCapacity,
    /// Another operation on the same resources runs.
    AnotherOperationInProgress,
    /// The request id stood on a different request before.
    RequestIdReused,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed,
    /// The path leads nowhere.
    ResourceNotFound,
    /// The method means nothing there.
    MethodNotAllowed,
    /// Who asks is not known.
    Unauthorized,
    /// Who asks may not.
    Forbidden,
    /// The body is too long.
    RequestTooLarge,
    /// Not now: the same request may be sent again.
    RetryableError,
    /// A mistake of ours.
    InternalError,
}

impl Code {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequestContent
            | Self::InvalidParameterValue
            | Self::UnknownProperty
            | Self::RequiredPropertyMissing
            | Self::PropertyNotSupported
            | Self::PropertyImmutable
            | Self::InvalidResourceReference
            | Self::ReferencedResourceNotFound
            | Self::AddressOutsideNetwork
            | Self::OverlappingSubnets
            | Self::VirtualGatewayPoolsConflict => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::ResourceNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::DuplicateVlan
            | Self::DuplicateMacAddress
            | Self::DuplicateIPAddress
            | Self::PublicIPAddressInUse
            | Self::MultipleGatwaysUseSameVnet
            | Self::AddressPoolExhausted
            | Self::ResourceInUse
            | Self::InsufficientCapacity
            | Self::AnotherOperationInProgress
            | Self::RequestIdReused => 409,
            Self::PreconditionFailed => 412,
            Self::RequestTooLarge => 413,
            Self::InternalError => 500,
            Self::RetryableError => 503,
        }
    }
}

/// A refusal. It never holds a secret, nor another tenant's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Error {
    /// What kind of refusal.
    pub code: Code,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// Where: a property's path in the body, or a resource's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What lies behind it.
    #[serde(rename = "innerError", default)]
    pub inner_error: Option<String>,
    /// Every single fault, where there are several.
    #[serde(default)]
    pub details: Vec<Error>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "{target}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error {
    /// Most faults that one answer tells.
    pub const MAX_DETAILS: usize = 20;

    /// A refusal of the request as a whole.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), target: None, inner_error: None, details: Vec::new() }
    }

    /// A refusal because of what stands at `target`.
    pub fn at(code: Code, target: impl Into<String>, message: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..Self::new(code, message) }
    }

    /// One refusal for all of `faults`: the first one's code and words, all of them as details. None if there is no fault.
    pub fn all(mut faults: Vec<Self>) -> Option<Self> {
        faults.truncate(Self::MAX_DETAILS);
        let first = faults.first()?.clone();
        Some(if faults.len() == 1 { first } else { Self { details: faults, ..first } })
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.code.status()
    }

    /// The answer's body.
    pub fn body(&self) -> serde_json::Value {
        serde_json::json!({ "error": self })
    }
}
