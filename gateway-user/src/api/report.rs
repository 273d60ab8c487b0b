//! The rows that the daemon reports. Field names are stable: scripts read them by `gatewayctl -o json`.

use crate::gateway::seat_log::report::Part;
use gateway_common::tables::Counters;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The gateway as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReport {
    /// Its name in the plan.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Whether the daemon took over programs and tables that were already there.
    pub adopted: bool,
    /// Where the plan that runs came from.
    pub plan: String,
    /// Plans applied since the daemon started.
    pub plans_applied: u64,
    /// `vxlan` or `nvgre`.
    pub encapsulation: String,
    /// The gateway's provider addresses.
    pub pa: Vec<IpAddr>,
    /// How many ports there are.
    pub ports: u64,
    /// How many tenants there are.
    pub tenants: u64,
    /// How many connections there are.
    pub connections: u64,
    /// How many routes there are, all tenants together.
    pub routes: u64,
    /// How many next hops there are.
    pub nexthops: u64,
    /// How many of them are not resolved.
    pub nexthops_unresolved: u64,
    /// How many compartments there are.
    pub compartments: u64,
    /// What the slow path did since the daemon started.
    pub slow_path: SlowPathReport,
    /// Names of tenants that are being traced.
    pub traced: Vec<String>,
    /// What a person should look at.
    pub warnings: Vec<String>,
}

/// Fragments, outer and inner, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowPathReport {
    /// Outer datagrams put together.
    pub reassembled: u64,
    /// Outer datagrams of which a fragment never came.
    pub timed_out: u64,
    /// Inner packets cut into pieces.
    pub fragmented: u64,
    /// What was refused: malformed, overlapping, beyond a bound.
    pub refused: u64,
}

/// Packets and bytes both ways, and what was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Packets that came from it.
    pub in_packets: u64,
    /// Bytes that came from it.
    pub in_bytes: u64,
    /// Packets that went to it.
    pub out_packets: u64,
    /// Bytes that went to it.
    pub out_bytes: u64,
    /// Packets dropped, all reasons together.
    pub dropped_packets: u64,
    /// By reason, those that are not zero.
    pub drops: Vec<DropCount>,
}

impl Traffic {
    /// From the counters of all CPUs together and the drops by reason.
    pub fn new(counters: Counters, drops: Vec<DropCount>) -> Self {
        Self {
            in_packets: counters.in_packets,
            in_bytes: counters.in_bytes,
            out_packets: counters.out_packets,
            out_bytes: counters.out_bytes,
            dropped_packets: drops.iter().map(|drop| drop.packets).sum(),
            drops,
        }
    }

    /// Packets dropped for a reason.
    pub fn dropped_for(&self, reason: gateway_common::DropReason) -> u64 {
        self.drops.iter().filter(|drop| drop.reason == reason.name()).map(|drop| drop.packets).sum()
    }
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The reason's name.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionReport {
    /// The tenant's name.
    pub tenant: String,
    /// The connection's name.
    pub name: String,
    /// `gre` or `l3`; on a compute host `vm`.
    pub r#type: String,
    /// Whether it carries packets: `up`, `disabled` or `unresolved` (no next hop has a link-layer address).
    pub state: String,
    /// Where it ends, for a person: `198.51.100.10 - 203.0.113.20 key 100`, `tor0 vlan 1001`; a virtual machine's addresses.
    pub endpoint: String,
    /// GRE: our end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// GRE: the site's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// GRE: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// L3: the port. A virtual machine's: its interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// L3: the VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The limit of what comes from the site, in kbit/s; absent if unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_kbps: Option<u64>,
    /// The limit of what goes to the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_kbps: Option<u64>,
    /// Packets over the inbound limit.
    pub rate_limited_in: u64,
    /// Packets over the outbound limit.
    pub rate_limited_out: u64,
    /// What it carried.
    pub traffic: Traffic,
}

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantReport {
    /// Its name.
    pub name: String,
    /// Its number in the tables.
    pub id: u32,
    /// How many connections it has.
    pub connections: u64,
    /// How many virtual machines it has.
    pub vms: u64,
    /// How many routes it has.
    pub routes: u64,
    /// The gateway's own addresses within it.
    pub gateway_addresses: Vec<IpAddr>,
    /// The network namespace that is its compartment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compartment: Option<String>,
    /// What its fabric side carried.
    pub traffic: Traffic,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortReport {
    /// The interface's name.
    pub name: String,
    /// The interface's number.
    pub ifindex: u32,
    /// `fabric`, `site` or `both`.
    pub role: String,
    /// `native` or `generic`.
    pub mode: String,
    /// `up`, `down` or `gone`.
    pub state: String,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU.
    pub mtu: u32,
    /// What it carried, as whole frames.
    pub traffic: Traffic,
}

/// A drop counter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropReport {
    /// `port`, `tenant` or `connection`.
    pub scope: String,
    /// The tenant's name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The name of the port, tenant or connection.
    pub name: String,
    /// The reason's name.
    pub reason: String,
    /// How many packets.
    pub packets: u64,
    /// What the reason says.
    pub meaning: String,
}

/// A route of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// The prefix.
    pub prefix: IpNet,
    /// Where it leads, for a person: `connection hq`, `vm at 10.10.0.11`, `2 equal-cost next hops`, `none (source only)`.
    pub leads_to: String,
    /// The next hop's number; absent if the prefix is known only as a feasible source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop: Option<u32>,
    /// Who may use its addresses as a source.
    pub feasible: Vec<String>,
}

/// A next hop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NexthopReport {
    /// Its number.
    pub id: u32,
    /// `resolved`, `unresolved`, `group`, `local` or `blackhole`.
    pub state: String,
    /// The tenant, where it is one's alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it is, for a person: `connection hq`, `vm at 10.10.0.11`.
    pub leads_to: String,
    /// The form in which packets leave: `vxlan4`, `gre4_key` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<String>,
    /// The port to leave by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The link-layer address that packets are sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The largest inner packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Members of a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<u32>,
}

/// A seat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeatReport {
    /// Its slot here.
    pub id: u32,
    /// Its name; absent for what is the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `held`, `replica` or `yielding`.
    pub state: String,
    /// The holdership's number.
    pub epoch: u64,
    /// Seconds until the lease runs out; absent without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<f64>,
    /// How what it knows beyond the plan is told to others, or by another; absent for the gateway's own, and without a controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Part>,
}

/// A path MTU that was learned for a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathMtuReport {
    /// The tenant, for a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The connection; absent for a fabric peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The far end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// The largest outer packet.
    pub mtu: u32,
    /// Seconds until it is forgotten.
    pub expires_seconds: u64,
}

/// One packet's run through the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceEvent {
    /// Seconds of the wall clock, with nanoseconds as fraction.
    pub time: f64,
    /// The same in nanoseconds, exact.
    pub time_ns: u64,
    /// Where it came in.
    pub port: String,
    /// The inner packet in short: `10.2.0.5 > 10.1.0.5 ICMP echo request`.
    pub packet: String,
    /// What each stage did, in order.
    pub stages: Vec<StageReport>,
    /// `forwarded`, `dropped`, `delivered` (to the compartment), `deferred` (to the slow path, to be fragmented), `passed` (to the host's stack) or `unknown` (its end was not told).
    pub verdict: String,
    /// Why it was dropped: the reason's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The port that it left by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_port: Option<String>,
    /// Whether the decision came from the flow cache.
    pub cached: bool,
    /// The frame as it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<CapturedFrame>,
    /// The frame as it stood at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<CapturedFrame>,
}

/// One stage of a packet's run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageReport {
    /// The stage's name.
    pub stage: String,
    /// What it found or did.
    pub detail: String,
}

/// The start of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// How long it was.
    pub length: u32,
    /// Its first bytes.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

/// Bytes as a string of hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Write;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
            _ => Err(D::Error::custom("not pairs of hexadecimal digits")),
        }
    }
}

/// A BGP peer of a tenant's router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BgpNeighborReport {
    /// The tenant.
    pub tenant: String,
    /// The peer's name in the plan.
    pub name: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Our end.
    pub local_address: Option<IpAddr>,
    /// Its autonomous system.
    pub as_number: u32,
    /// The connection by which it is reached.
    pub connection: String,
    /// The session's (RFC 4271): `established`, `active`, `idle` and so on.
    pub state: String,
    /// For how long.
    pub since_seconds: Option<u64>,
    /// Its BGP identifier.
    pub router_id: Option<String>,
    /// What was agreed on.
    pub hold_time_seconds: Option<u16>,
    /// Whose routes are exchanged.
    pub families: Vec<String>,
    /// What both sides can do, such as `route-refresh` and `add-path-send ipv4`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How often a session came up.
    pub established: u64,
    /// How often one was lost.
    pub lost: u64,
    /// Prefixes that it has told, those that its policy keeps out included.
    pub prefixes_received: u64,
    /// Of them, those that its policy keeps out.
    pub prefixes_rejected: u64,
    /// Prefixes that it was sent.
    pub prefixes_sent: u64,
    /// Messages that came.
    pub messages_received: u64,
    /// Messages that were sent.
    pub messages_sent: u64,
    /// How the BFD session is that watches it: `up`, `init`, `down`, `admin-down`, `unknown`; nothing if none is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
    /// Why there is no session.
    pub last_error: Option<String>,
}

/// A path to a prefix that a tenant's router knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpRouteReport {
    /// The prefix.
    pub prefix: IpNet,
    /// The peer that told it; `local` for what the router announces itself.
    pub peer: String,
    /// `best`, `multipath`, `no`, `unusable` or `rejected`.
    pub used: String,
    /// Where it leads; none for what the router announces itself.
    #[serde(default)]
    pub next_hop: Option<IpAddr>,
    /// The autonomous systems on the way.
    pub as_path: String,
    /// ORIGIN.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    #[serde(default)]
    pub med: Option<u32>,
    /// LOCAL_PREF.
    #[serde(default)]
    pub local_preference: Option<u32>,
    /// What it is worth to this router alone.
    #[serde(default)]
    pub weight: u32,
    /// Communities of every kind.
    #[serde(default)]
    pub communities: Vec<String>,
    /// Whether it is kept over its peer's restart.
    #[serde(default)]
    pub stale: bool,
    /// For how long it has been as it is.
    #[serde(default)]
    pub age_seconds: u64,
}

/// Why a prefix is forwarded as it is, and who knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpExplanationReport {
    /// The prefix.
    pub prefix: IpNet,
    /// Its paths, the best first.
    pub paths: Vec<BgpPathReport>,
    /// Every peer, and whether it was sent the prefix.
    pub sent_to: Vec<BgpSentReport>,
}

/// A path and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPathReport {
    /// The path.
    #[serde(flatten)]
    pub route: BgpRouteReport,
    /// Why it is used or not, in words.
    pub why: String,
}

/// Whether a peer was sent a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpSentReport {
    /// The peer.
    pub peer: String,
    /// Whether it has it.
    pub sent: bool,
    /// With this.
    #[serde(default)]
    pub attributes: Option<super::bgp::BgpAttributesReport>,
    /// Why it has not.
    #[serde(default)]
    pub why_not: Option<String>,
}
