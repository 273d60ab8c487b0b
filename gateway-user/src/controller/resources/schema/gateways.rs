//! Gateway pools and gateways.

use super::fabric::FAILURE_DOMAIN;
use super::{CONFIGURATION_STATE, Kind, NAME, Property, Shape, back_references, property, read_only};

const KBPS_TOTAL: Shape = Shape::Integer(1, 1_000_000_000_000);
const NO_P2S: &str = "clients of single users (point-to-site) are not served by this version";

const POOL_ADDRESSES: &[Property] = &[
    property("greVipSubnets", Shape::List(&Shape::Reference(&[Kind::LogicalSubnet])))
        .doc("Out of whose pools GRE VIPs are drawn. Needed for s2sGre and All."),
    property("publicIPAddresses", Shape::List(&Shape::Reference(&[Kind::PublicIpAddress])))
        .doc("Public addresses; pools may share them.")
        .no_effect("sites reach a shared public address by IPsec, which no gateway does in this version"),
];

const TIME: Shape = Shape::Integer(1, 600_000);

const FAILOVER_TIMERS: &[Property] = &[
    property("probeMilliseconds", TIME).doc("Between two probes of a gateway's forwarding plane (5)."),
    property("misses", Shape::Integer(1, 1000)).doc("Probes in a row without an answer that mean an end (3)."),
    property("heartbeatMilliseconds", TIME).doc("Without a word from an agent, until it counts as dead (300)."),
    property("restartMilliseconds", TIME).doc("What a dead agent is given to come back (2000)."),
    property("renewalMilliseconds", TIME).doc("Between two rounds in which a holder has its lease renewed (500)."),
    property("leaseMilliseconds", TIME).doc("How long a majority's answer lets a holder forward (4000)."),
    property("patienceMilliseconds", TIME).doc("Until an unanswered question is asked again (50)."),
];

pub(super) const GATEWAY_POOL: &[Property] = &[
    property("type", Shape::Choice(&["s2sIPsec", "s2sGre", "forwarding", "All"]))
        .required()
        .doc("What its gateways carry. Stays as it is while something refers to the pool."),
    property("redundantGatewayCount", Shape::Integer(0, 1000))
        .required()
        .doc("N: how many gateways stand by. At most the number of active ones."),
    property("gatewayCapacityKiloBitsPerSecond", KBPS_TOTAL).required().doc("What each of its gateways can carry."),
    property("capacityRule", Shape::Choice(&["2016", "2019"])).ours().doc(
        "How a connection's share of a gateway is counted: by the ratios of 2016, or the maxima of 2019 (default).",
    ),
    property("ipConfiguration", Shape::Object(POOL_ADDRESSES)),
    property("seatFabricSubnet", Shape::Reference(&[Kind::LogicalSubnet])).ours().doc(
        "Out of whose pools each active gateway's seat draws its address on the fabric: hosts and other gateways know that address \
         alone, so that another gateway of the pool can take the seat over. Without it the pool has no seats.",
    ),
    property("seatRackSubnet", Shape::Reference(&[Kind::LogicalSubnet]))
        .ours()
        .doc("The same on the side of the racks' routers: the BGP next hop of VIPs. Optional."),
    property("failoverTimers", Shape::Object(FAILOVER_TIMERS))
        .ours()
        .doc("When a gateway counts as gone; what is left out is as usual."),
    property("RadiusServer", NAME).secret().no_effect(NO_P2S),
    property("RadiusSecret", NAME).secret().no_effect(NO_P2S),
    back_references("gateways", Kind::Gateway, "pool"),
    back_references("virtualGateways", Kind::VirtualGateway, "gatewayPools"),
    read_only("seats").ours().doc("Its seats: addresses, who holds each one and under which epoch, who may take it next."),
    read_only("seatHistory").ours().doc("The latest moves of seats, the last one at the end."),
    CONFIGURATION_STATE,
];

const GATEWAY_INTERFACES: &[Property] = &[
    property("externalNetworkInterface", Shape::Reference(&[Kind::NetworkInterface]))
        .required()
        .no_effect("a gateway's agent reports its ports")
        .doc("With exactly one address, out of a logical network."),
    property("internalNetworkInterface", Shape::Reference(&[Kind::NetworkInterface]))
        .required()
        .no_effect("a gateway's agent reports its ports")
        .doc("Without an address."),
];

const TOR_PEER: &[Property] = &[
    property("peerIP", Shape::Address).alias(&["peerIpAddress"]).required().doc("The router's address."),
    property("peerExtAsNumber", Shape::AsnDot).alias(&["peerAsNumber"]).required().doc("Its autonomous system."),
];

const TOR_BGP: &[Property] = &[
    property("extASNumber", Shape::AsnDot).doc("The gateway's autonomous system. Needed where there are peers."),
    property("bgpPeer", Shape::List(&Shape::Object(TOR_PEER)))
        .doc("The rack's routers, which are told where VIPs are."),
];

pub(super) const GATEWAY: &[Property] = &[
    property("pool", Shape::Reference(&[Kind::GatewayPool])).required(),
    property("types", Shape::List(&Shape::Choice(&["s2sipsec", "s2sgre", "forwarding", "vpn"])))
        .doc("What it can carry: if given, at least what its pool's type says."),
    property("virtualServer", Shape::Reference(&[Kind::VirtualServer])).doc("The machine that it runs on."),
    property("networkInterfaces", Shape::Object(GATEWAY_INTERFACES)).immutable(),
    property("bgpConfig", Shape::Object(TOR_BGP))
        .doc("Its BGP with the rack's routers; without, VIPs are answered for by ARP and ND alone."),
    property("failureDomain", Shape::Object(FAILURE_DOMAIN))
        .ours()
        .doc("Where it stands; if absent, where its machine's server does."),
    property("scheduling", Shape::Choice(&["Enabled", "Cordoned", "Drained"])).ours().doc(
        "Cordoned: it keeps what it has and is given no more. Drained: it also hands over the seats that it holds.",
    ),
    property("certificate", Shape::Text(16384)).no_effect("an agent's certificate is issued when it joins"),
    read_only("type").doc("The pool's."),
    read_only("state").doc("Active or Redundant."),
    read_only("healthState").doc("What its agent last said."),
    read_only("agent").ours().doc("Its agent: version, and run, another one each time that it is started."),
    read_only("totalCapacity").doc("In kbit/s."),
    read_only("availableCapacity").doc("In kbit/s: the total less what is placed, by the pool's capacityRule."),
    read_only("virtualGateways").doc("Whose connections it carries."),
    read_only("connections"),
    read_only("bgpPeerStates")
        .doc("How its sessions with the routers of bgpConfig are: connectionState, and why there is none."),
    read_only("seats").ours().doc("The seats that it holds, and those that it may take, of a pool with seats."),
    read_only("externalIPAddress").doc("The addresses of its external port."),
    CONFIGURATION_STATE,
];
