//! What travels over the control socket, one JSON document a line.

use super::bgp::{BgpDumpQuery, BgpPolicyTest, BgpPolicyTestReport, BgpRoutesQuery};
use super::report::{
    BgpExplanationReport, BgpNeighborReport, BgpRouteReport, ConnectionReport, DropReport, NexthopReport,
    PathMtuReport, PortReport, RouteReport, SeatReport, StatusReport, TenantReport, TraceEvent,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The protocol's number. It rises when a client of before would misunderstand; new fields and new requests do not raise it.
pub const PROTOCOL: u32 = 1;

/// The first line from either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// The sender's version, for a person to read.
    pub version: String,
}

impl Hello {
    /// This program's own.
    pub fn own() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Something to be shown.
    Show(Query),
    /// A plan to be applied as a difference to what runs.
    Apply(PlanSource),
    /// Packets to be traced. Frames with [`Answer::Traced`] follow until the count is reached or the client sends a line or closes.
    Trace(TraceRequest),
}

/// Something to be shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    /// The gateway as a whole.
    Status,
    /// Every connection with its counters.
    Connections,
    /// Every tenant with its counters.
    Tenants,
    /// Every port with its counters.
    Ports,
    /// Every drop counter that is not zero.
    Drops,
    /// A tenant's routes.
    Routes {
        /// The tenant's name.
        tenant: String,
        /// Only routes that contain this prefix or lie within it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<IpNet>,
    },
    /// Next hops and whether they are resolved.
    Nexthops,
    /// The seats.
    Seats,
    /// Path MTUs learned for tunnels.
    PathMtus,
    /// BGP peers.
    BgpNeighbors {
        /// Only this tenant's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<String>,
    },
    /// Paths that a tenant's router knows, in no order.
    BgpRoutes(BgpRoutesQuery),
    /// What would become of a route.
    BgpPolicyTest(Box<BgpPolicyTest>),
    /// All paths that a tenant's router knows, as an MRT file (RFC 6396).
    BgpDump(BgpDumpQuery),
    /// Why a prefix is forwarded as it is, and who knows.
    BgpExplain {
        /// The tenant's name.
        tenant: String,
        /// The prefix.
        prefix: IpNet,
    },
}

/// Where the text of a plan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// In a file that the daemon reads; absolute.
    Path(PathBuf),
    /// Here.
    Text {
        /// What to call it in errors.
        name: String,
        /// The plan.
        text: String,
    },
}

/// Which packets to trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// The tenant's name.
    pub tenant: String,
    /// Only packets whose inner source lies here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<IpNet>,
    /// Only packets whose inner destination lies here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst: Option<IpNet>,
    /// Only packets that came from or go to this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// End after so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Further frames of the same answer follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// The answer, or a part of it.
    pub answer: Answer,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It could not be done.
    Failure(Failure),
    /// To [`Query::Status`].
    Status(Box<StatusReport>),
    /// To [`Query::Connections`].
    Connections(Vec<ConnectionReport>),
    /// To [`Query::Tenants`].
    Tenants(Vec<TenantReport>),
    /// To [`Query::Ports`].
    Ports(Vec<PortReport>),
    /// To [`Query::Drops`].
    Drops(Vec<DropReport>),
    /// To [`Query::Routes`].
    Routes(Vec<RouteReport>),
    /// To [`Query::Nexthops`].
    Nexthops(Vec<NexthopReport>),
    /// To [`Query::Seats`].
    Seats(Vec<SeatReport>),
    /// To [`Query::PathMtus`].
    PathMtus(Vec<PathMtuReport>),
    /// To [`Query::BgpNeighbors`].
    BgpNeighbors(Vec<BgpNeighborReport>),
    /// To [`Query::BgpRoutes`].
    BgpRoutes(Vec<BgpRouteReport>),
    /// To [`Query::BgpExplain`].
    BgpExplanation(Box<BgpExplanationReport>),
    /// To [`Query::BgpPolicyTest`].
    BgpPolicyTest(Box<BgpPolicyTestReport>),
    /// To [`Query::BgpDump`]: the file in parts, each in Base64.
    BgpDump(Vec<String>),
    /// To [`Request::Apply`].
    Applied(Applied),
    /// Tracing has begun: the flag is set and matching packets will be told.
    TraceStarted,
    /// One packet.
    Traced(Box<TraceEvent>),
    /// Tracing has ended.
    TraceEnded {
        /// Records that came faster than they could be handed on.
        lost: u64,
    },
}

impl Query {
    /// Whether the tenants' BGP routers answer it.
    pub fn is_about_bgp(&self) -> bool {
        matches!(
            self,
            Self::BgpNeighbors { .. }
                | Self::BgpRoutes(_)
                | Self::BgpPolicyTest(_)
                | Self::BgpDump(_)
                | Self::BgpExplain { .. }
        )
    }
}

impl Answer {
    /// Splits a long list into answers of at most `rows` rows each; the last one ends the answer. Never empty.
    pub fn split(self, rows: usize) -> Vec<Self> {
        fn chunks<T>(list: Vec<T>, rows: usize, wrap: fn(Vec<T>) -> Answer) -> Vec<Answer> {
            if list.len() <= rows {
                return vec![wrap(list)];
            }
            let mut list = list.into_iter();
            let mut parts = Vec::new();
            loop {
                let part: Vec<T> = list.by_ref().take(rows).collect();
                if part.is_empty() {
                    return parts;
                }
                parts.push(wrap(part));
            }
        }
        let rows = rows.max(1);
        match self {
            Self::Connections(list) => chunks(list, rows, Self::Connections),
            Self::Tenants(list) => chunks(list, rows, Self::Tenants),
            Self::Ports(list) => chunks(list, rows, Self::Ports),
            Self::Drops(list) => chunks(list, rows, Self::Drops),
            Self::Routes(list) => chunks(list, rows, Self::Routes),
            Self::Nexthops(list) => chunks(list, rows, Self::Nexthops),
            Self::Seats(list) => chunks(list, rows, Self::Seats),
            Self::PathMtus(list) => chunks(list, rows, Self::PathMtus),
            Self::BgpNeighbors(list) => chunks(list, rows, Self::BgpNeighbors),
            Self::BgpRoutes(list) => chunks(list, rows, Self::BgpRoutes),
            whole => vec![whole],
        }
    }

    /// Whether it is a part of a long list with nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::BgpRoutes(list) => list.is_empty(),
            Self::BgpDump(list) => list.is_empty(),
            _ => false,
        }
    }

    /// Appends the next part of the same list; what is of another kind is handed back.
    pub fn append(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (Self::Connections(list), Self::Connections(part)) => list.extend(part),
            (Self::Tenants(list), Self::Tenants(part)) => list.extend(part),
            (Self::Ports(list), Self::Ports(part)) => list.extend(part),
            (Self::Drops(list), Self::Drops(part)) => list.extend(part),
            (Self::Routes(list), Self::Routes(part)) => list.extend(part),
            (Self::Nexthops(list), Self::Nexthops(part)) => list.extend(part),
            (Self::Seats(list), Self::Seats(part)) => list.extend(part),
            (Self::PathMtus(list), Self::PathMtus(part)) => list.extend(part),
            (Self::BgpNeighbors(list), Self::BgpNeighbors(part)) => list.extend(part),
            (Self::BgpRoutes(list), Self::BgpRoutes(part)) => list.extend(part),
            (Self::BgpDump(list), Self::BgpDump(part)) => list.extend(part),
            (_, other) => return Err(other),
        }
        Ok(())
    }
}

/// What an applied plan changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Things that are new, such as `connection contoso/hq`.
    pub added: Vec<String>,
    /// Things that are different now.
    pub changed: Vec<String>,
    /// Things that are gone.
    pub removed: Vec<String>,
    /// Entries of tables that were written or deleted.
    pub table_writes: u64,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// What a person should know though the plan was applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// What is wrong and where, for people.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// One entry an error, where there are several (those of a plan).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// Client and daemon speak different protocols.
    Version,
    /// The request makes no sense.
    BadRequest,
    /// No such tenant, connection or the like.
    NotFound,
    /// The plan is refused; nothing was changed.
    PlanInvalid,
    /// Not now.
    Busy,
    /// Something failed that should not have.
    Internal,
    /// Known to a newer client only.
    #[serde(other)]
    Unknown,
}

impl Failure {
    /// A failure with neither remedy nor details.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None, details: Vec::new() }
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the single errors.
    pub fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// No such thing: `kind` is `tenant`, `connection` and the like.
    pub fn not_found(kind: &str, name: &str) -> Self {
        Self::new(FailureCode::NotFound, format!("there is no {kind} \"{name}\" on this gateway"))
            .remedy(format!("`gatewayctl show {kind}s` lists them"))
    }

    /// Something failed inside the daemon.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(FailureCode::Internal, error.to_string())
    }
}

/// Whether a packet's addresses are those that a trace asks for.
impl TraceRequest {
    /// `src` and `dst` are the inner addresses.
    pub fn matches(&self, src: IpAddr, dst: IpAddr) -> bool {
        self.src.is_none_or(|prefix| prefix.contains(&src)) && self.dst.is_none_or(|prefix| prefix.contains(&dst))
    }

    /// Whether packets are chosen by their addresses.
    pub fn by_address(&self) -> bool {
        self.src.is_some() || self.dst.is_some()
    }
}
