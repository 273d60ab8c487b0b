//! A tenant's gateway: connections, BGP routers and peers, policy maps.

use super::{CONFIGURATION_STATE, Kind, NAME, Property, Shape, property, read_only};

const KBPS: Shape = Shape::Integer(1, u32::MAX as i64);
const SECONDS: Shape = Shape::Integer(0, u32::MAX as i64);
const NO_P2S: &str = "clients of single users (point-to-site) are not served by this version";

const POINT_TO_SITE: &[Property] = &[
    property("IPv4AddressPrefixes", Shape::Any).no_effect(NO_P2S),
    property("IPv6AddressPrefixes", Shape::Any).no_effect(NO_P2S),
    property("capacity", Shape::Any).no_effect(NO_P2S),
    property("Realm", Shape::Any).no_effect(NO_P2S),
    property("routes", Shape::Any).no_effect(NO_P2S),
];

pub(super) const VIRTUAL_GATEWAY: &[Property] = &[
    property("gatewayPools", Shape::List(&Shape::Reference(&[Kind::GatewayPool])))
        .alias(&["gatewayPool"])
        .operators()
        .doc("The pools that may carry its connections; if absent, the default pool. A pool of type All stands alone."),
    property("gatewaySubnets", Shape::List(&Shape::Reference(&[Kind::VirtualSubnet])))
        .required()
        .doc("The subnets out of which the gateway's own addresses come; all of one virtual network."),
    property("routingType", Shape::Choice(&["Dynamic"])).no_effect("there is one value"),
    property("networkConnections", Shape::Children(Kind::NetworkConnection)),
    property("bgpRouters", Shape::Children(Kind::BgpRouter)),
    property("policyMaps", Shape::Children(Kind::PolicyMap)),
    property("vpnConfiguration", Shape::Object(POINT_TO_SITE)),
    property("vpnClientAddressSpace", Shape::Any).no_effect(NO_P2S),
    CONFIGURATION_STATE,
];

pub(super) const QUICK_MODE: &[Property] = &[
    property(
        "perfectForwardSecrecy",
        Shape::Choice(&["None", "PFS1", "PFS2", "PFS2048", "PFS14", "ECP256", "ECP384", "PFSMM", "PFS24"]),
    ),
    property(
        "cipherTransformationConstant",
        Shape::Choice(&[
            "None",
            "DES",
            "CBCDES",
            "DES3",
            "CBCDES3",
            "AES128",
            "AES192",
            "AES256",
            "CBCAES128",
            "CBCAES192",
            "CBCAES256",
            "GCMAES128",
            "GCMAES192",
            "GCMAES256",
        ]),
    ),
    property(
        "authenticationTransformationConstant",
        Shape::Choice(&["None", "MD596", "SHA196", "SHA256128", "SHA256", "GCMAES128", "GCMAES192", "GCMAES256"]),
    ),
    property("saLifeTimeSeconds", SECONDS),
    property("saLifeTimeKiloBytes", SECONDS),
    property("idleDisconnectSeconds", SECONDS),
];

pub(super) const MAIN_MODE: &[Property] = &[
    property(
        "diffieHellmanGroup",
        Shape::Choice(&["Group1", "Group2", "Group14", "ECP256", "ECP258", "ECP384", "Group24"]),
    ),
    property("integrityAlgorithm", Shape::Choice(&["MD5", "SHA1", "SHA196", "SHA256", "SHA384"])),
    property("encryptionAlgorithm", Shape::Choice(&["DES", "DES3", "AES128", "AES192", "AES256"])),
    property("saLifeTimeSeconds", SECONDS),
    property("saLifeTimeKiloBytes", SECONDS).no_effect("an IKE SA's lifetime is a time only"),
];

const TRAFFIC_SELECTOR: &[Property] = &[
    property("type", Shape::Choice(&["IPv4", "IPv6"])),
    property("protocolId", Shape::Integer(0, 255)),
    property("portStart", Shape::Integer(0, 65535)),
    property("portEnd", Shape::Integer(0, 65535)),
    property("ipAddressStart", Shape::Address),
    property("ipAddressEnd", Shape::Address),
    property("tsPayloadId", Shape::Integer(0, u32::MAX as i64)).no_effect("selectors are told apart by their content"),
];

const IPSEC: &[Property] = &[
    property("authenticationMethod", Shape::Choice(&["PSK", "Certificates"])).required(),
    property("sharedSecret", Shape::Text(1024)).secret().doc("Needed with PSK."),
    property("quickMode", Shape::Object(QUICK_MODE)),
    property("mainMode", Shape::Object(MAIN_MODE)),
    property("localVpnTrafficSelector", Shape::List(&Shape::Object(TRAFFIC_SELECTOR))),
    property("remoteVpnTrafficSelector", Shape::List(&Shape::Object(TRAFFIC_SELECTOR))),
];

const GRE: &[Property] =
    &[property("greKey", Shape::GreKey).doc("Tells apart several tunnels between the same ends; absent is no key.")];

const L3: &[Property] = &[property("vlanSubnet", Shape::Reference(&[Kind::LogicalSubnet]))
    .doc("The logical subnet with the VLAN; one connection's alone.")];

const ADDRESS: &[Property] =
    &[property("ipAddress", Shape::Address).required(), property("prefixLength", Shape::Integer(0, 128)).required()];

const ROUTE: &[Property] = &[
    property("destinationPrefix", Shape::Prefix).required(),
    property("nextHop", Shape::Address).doc("The router on the VLAN; 0.0.0.0 or absent means the peer. For L3 only."),
    property("metric", Shape::Integer(0, u32::MAX as i64)).doc("The lower one wins."),
    property("protocol", Shape::Choice(&["Static", "BGP"]))
        .no_effect("an entry that says BGP was learned: it is left out when it is sent back"),
];

pub(super) const NETWORK_CONNECTION: &[Property] = &[
    property("connectionType", Shape::Choice(&["IPSec", "GRE", "L3"])).required().immutable(),
    property("outboundKiloBitsPerSecond", KBPS).required().doc("The limit to the site."),
    property("inboundKiloBitsPerSecond", KBPS).required().doc("The limit from the site."),
    property("ipSecConfiguration", Shape::Object(IPSEC)).doc("For IPSec only.").no_effect(
        "kept and checked; no gateway does IPsec in this version, and the connection's configurationState says so",
    ),
    property("greConfiguration", Shape::Object(GRE)).doc("For GRE only."),
    property("l3Configuration", Shape::Object(L3)).doc("For L3 only."),
    property("ipAddresses", Shape::List(&Shape::Object(ADDRESS))).doc("The gateway's addresses on the VLAN; for L3."),
    property("peerIPAddresses", Shape::List(&Shape::Address)).doc("The site's routers on the VLAN; for L3."),
    property("routes", Shape::List(&Shape::Object(ROUTE)))
        .doc("What lies behind the site; learned routes are shown too."),
    property("connectionStatus", Shape::Choice(&["Enabled", "Disabled"])),
    property("destinationIPAddress", Shape::Address).doc("The site's end of the tunnel; for IPSec and GRE."),
    read_only("sourceIPAddress").doc("Our end: the VIP that the site sends to."),
    read_only("connectionState").doc("Connected or Disconnected."),
    read_only("connectionUpTime"),
    read_only("connectionErrorReason"),
    read_only("unreachabilityReason"),
    read_only("statistics"),
    read_only("outboundBytes"),
    read_only("inboundBytes"),
    read_only("outboundDroppedPackets"),
    read_only("inboundDroppedPackets"),
    read_only("gateway").doc("Where it is placed."),
    read_only("seatHolder").ours().doc("The gateway that holds that one's seat, in a pool with seats."),
    CONFIGURATION_STATE,
];

pub(super) const BGP_ROUTER: &[Property] = &[
    property("isEnabled", Shape::Boolean).no_effect("reserved by the interface"),
    property("requireIGPSync", Shape::Boolean).no_effect("there is no IGP to wait for"),
    property("extAsNumber", Shape::AsnDot).alias(&["asNumber"]).required(),
    property("routerId", Shape::Address),
    property("routerIP", Shape::List(&Shape::Address)),
    property("bgpPeers", Shape::Children(Kind::BgpPeer)),
    read_only("isGenerated"),
    CONFIGURATION_STATE,
];

pub(super) const BGP_PEER: &[Property] = &[
    property("peerIpAddress", Shape::Address).required(),
    property("extAsNumber", Shape::AsnDot).doc("This or asNumber is needed."),
    property("asNumber", Shape::AsnPlain).alias(&["peerAsNumber"]),
    property("addressFamily", NAME).no_effect("the address shows it"),
    property("policyMapIn", Shape::OwnReference(Kind::PolicyMap)),
    property("policyMapOut", Shape::OwnReference(Kind::PolicyMap)),
    read_only("connectionState"),
    read_only("statistics"),
    read_only("isGenerated"),
    CONFIGURATION_STATE,
];

const MATCH: &[Property] = &[
    property("property", Shape::Choice(&["MatchPrefix", "NextHop", "IgnorePrefix", "AsnRange", "Community"]))
        .required(),
    property("value", Shape::Texts).required(),
];

const SET: &[Property] = &[
    property(
        "property",
        Shape::Choice(&[
            "As-Path",
            "Add-Community",
            "Remove-Community",
            "Remove-All-Community",
            "MED",
            "Clear-MED",
            "Weight",
            "Local-Pref",
            "Next-Hop",
        ]),
    )
    .required(),
    property("value", Shape::Texts),
];

const POLICY: &[Property] = &[
    property("policyName", NAME),
    property("action", Shape::Choice(&["Deny", "Allow", "Permit", "ModifyAttribute"])).required(),
    property("matchCriteria", Shape::List(&Shape::Object(MATCH))),
    property("setActions", Shape::List(&Shape::Object(SET))),
];

pub(super) const POLICY_MAP: &[Property] = &[
    property("policyMapEntryList", Shape::List(&Shape::Object(POLICY)))
        .required()
        .doc("In their order: the first that matches a route decides. A route that none matches passes."),
    super::back_references("bgpPeersWithPolicyMapIn", Kind::BgpPeer, "policyMapIn"),
    super::back_references("bgpPeersWithPolicyMapOut", Kind::BgpPeer, "policyMapOut"),
];
