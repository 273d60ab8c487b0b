//! The load balancer that owns public addresses.

use super::{CONFIGURATION_STATE, Kind, NAME, Property, Shape, property, read_only};

const NO_MUX: &str = "kept and checked; a mux that the controller drives comes later";

pub(super) const LOAD_BALANCER_MANAGER: &[Property] = &[
    property("loadBalancerManagerIPAddress", Shape::Address).no_effect(NO_MUX).doc("Out of vipIpPools."),
    property("outboundNatIPExemptions", Shape::List(&Shape::Prefix)).no_effect(NO_MUX),
    property("vipIpPools", Shape::List(&Shape::Reference(&[Kind::IpPool])))
        .doc("The pools that public addresses with the method Dynamic are drawn from."),
    property("loadBalancerMuxMode", Shape::Choice(&["BgpPeering", "L2Forwarding"])).no_effect(NO_MUX),
    CONFIGURATION_STATE,
];

const PEER_ROUTER: &[Property] = &[
    property("routerName", NAME).no_effect(NO_MUX),
    property("routerIPAddress", Shape::Address).no_effect(NO_MUX),
    property("peerASN", Shape::Integer(0, 65535)).no_effect(NO_MUX),
    property("peerASN4", Shape::AsnDot).no_effect(NO_MUX),
    property("localIPAddress", Shape::Address).no_effect(NO_MUX),
];

const ROUTER: &[Property] = &[
    property("localASN", Shape::Integer(0, 65535)).no_effect(NO_MUX),
    property("localASN4", Shape::AsnDot).no_effect(NO_MUX),
    property("peerRouterConfigurations", Shape::List(&Shape::Object(PEER_ROUTER))).no_effect(NO_MUX),
];

pub(super) const LOAD_BALANCER_MUX: &[Property] = &[
    property("virtualServer", Shape::Reference(&[Kind::VirtualServer])).required().no_effect(NO_MUX),
    property("routerConfiguration", Shape::Object(ROUTER)).no_effect(NO_MUX),
    read_only("activityState").doc("NA, Active or Standby."),
    read_only("connectionStatus"),
    CONFIGURATION_STATE,
];
