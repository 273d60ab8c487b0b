//! What operators describe of the fabric: credentials, logical networks, addresses, servers.

use super::{CONFIGURATION_STATE, Kind, NAME, Property, Shape, back_references, property, read_only};

const NO_WINRM: &str = "agents connect to the controller by their own certificates; it never logs in to a machine";

pub(super) const CREDENTIAL: &[Property] = &[
    property(
        "type",
        Shape::Choice(&[
            "usernamePassword",
            "X509Certificate",
            "SnmpCommunityString",
            "GroupManagedServiceAccount",
            "X509CertificateSubjectName",
        ]),
    )
    .required()
    .immutable()
    .no_effect(NO_WINRM),
    property("userName", NAME).no_effect(NO_WINRM),
    property("value", Shape::Text(8192)).secret().no_effect(NO_WINRM).doc("The password, thumbprint or community."),
];

pub(super) const LOGICAL_NETWORK: &[Property] = &[
    property("networkVirtualizationEnabled", Shape::Boolean)
        .alias(&["networkVirtualisationEnabled"])
        .doc("Whether provider addresses are out of it: no tenant's connection may have its VLANs."),
    property("subnets", Shape::Children(Kind::LogicalSubnet)),
    back_references("virtualNetworks", Kind::VirtualNetwork, "logicalNetwork"),
];

pub(super) const LOGICAL_SUBNET: &[Property] = &[
    property("addressPrefix", Shape::Prefix).required().doc("Stays as it is while something refers to the subnet."),
    property("vlanID", Shape::Integer(0, 4094))
        .doc("0 or absent is none. Stays as it is while something refers to the subnet."),
    property("racks", Shape::List(&NAME)).ours().doc(
        "The racks whose switches have the VLAN; empty or absent means all. An L3 connection fails over among these.",
    ),
    property("isPublic", Shape::Boolean).doc("Whether public addresses may be drawn from its pools."),
    property("defaultGateways", Shape::List(&Shape::Address))
        .alias(&["gateways"])
        .no_effect("machines on the subnet have their routes from their own operating system"),
    property("dnsServers", Shape::List(&Shape::Address)).no_effect("agents use the resolver of their machine"),
    property("ipPools", Shape::Children(Kind::IpPool)),
    back_references("ipConfigurations", Kind::IpConfiguration, "subnet"),
    back_references("networkInterfaces", Kind::ServerInterface, "logicalNetworkSubnets"),
    back_references("networkConnections", Kind::NetworkConnection, "vlanSubnet"),
    back_references("gatewayPools", Kind::GatewayPool, "greVipSubnets"),
];

pub(super) const IP_POOL: &[Property] = &[
    property("startIpAddress", Shape::Address).required().doc("The first address."),
    property("endIpAddress", Shape::Address).required().doc("The last address."),
    read_only("usage").doc("How many addresses are taken."),
    back_references("loadBalancerManager", Kind::LoadBalancerManager, "vipIpPools"),
];

pub(super) const MAC_POOL: &[Property] = &[
    property("startMacAddress", Shape::Mac).required().doc("The first address."),
    property("endMacAddress", Shape::Mac).required().doc("The last address."),
    read_only("usage").doc("How many addresses are taken."),
];

const DNS_SETTINGS: &[Property] = &[
    property("domainNameLabel", NAME).no_effect("the controller serves no DNS"),
    property("reverseFqdn", NAME).no_effect("the controller serves no DNS"),
    read_only("fqdn"),
];

pub(super) const PUBLIC_IP_ADDRESS: &[Property] = &[
    property("ipAddress", Shape::Address).doc("Needed with Static; with Dynamic it is drawn at creation."),
    property("publicIPAddressVersion", Shape::Choice(&["IPv4", "IPv6"])),
    property("publicIPAllocationMethod", Shape::Choice(&["Static", "Dynamic"])).alias(&["allocationMethod"]),
    property("idleTimeoutInMinutes", Shape::Integer(4, 30))
        .no_effect("packets of a public address are sent on without state, so nothing idles out"),
    property("dnsSettings", Shape::Object(DNS_SETTINGS)),
    back_references("gatewayPools", Kind::GatewayPool, "publicIPAddresses"),
];

const CONNECTION: &[Property] = &[
    property("managementAddresses", Shape::List(&NAME)).no_effect(NO_WINRM),
    property("credential", Shape::Reference(&[Kind::Credential])).no_effect(NO_WINRM),
    property("credentialType", NAME).no_effect(NO_WINRM),
    property("protocol", NAME).no_effect(NO_WINRM),
    property("port", Shape::Integer(1, 65535)).no_effect(NO_WINRM),
];

pub(super) const FAILURE_DOMAIN: &[Property] = &[
    property("host", NAME).ours().doc("The physical host: what stands on it fails together."),
    property("rack", NAME).ours().doc("The rack: what stands in it fails together."),
];

const OPERATING_SYSTEM: &[Property] =
    &[property("name", NAME).no_effect("agents report it"), property("version", NAME).no_effect("agents report it")];

const CERTIFICATE: &str = "an agent's certificate is issued when it joins";

pub(super) const SERVER: &[Property] = &[
    property("connections", Shape::List(&Shape::Object(CONNECTION))),
    property("networkInterfaces", Shape::Children(Kind::ServerInterface)),
    property("failureDomain", Shape::Object(FAILURE_DOMAIN)).ours().doc("Where it stands."),
    property("rackSlot", NAME).no_effect("failureDomain.rack says where it stands"),
    property("vendor", NAME).no_effect("a label of the operator's own"),
    property("model", NAME).no_effect("a label of the operator's own"),
    property("os", Shape::Object(OPERATING_SYSTEM)),
    property("certificate", Shape::Text(16384)).no_effect(CERTIFICATE),
    property("certificateSubjectName", NAME).no_effect(CERTIFICATE),
    property("auditingEnabled", Shape::Any).no_effect("what a host drops is counted with its reason"),
    CONFIGURATION_STATE,
    read_only("statistics").ours().doc("What its VMs sent (inbound) and were sent (outbound), and how much a second."),
    back_references("virtualNetworkInterfaces", Kind::NetworkInterface, "server"),
    back_references("virtualServers", Kind::VirtualServer, "server"),
];

pub(super) const AUDITING_SETTINGS: &[Property] = &[property("outputDirectory", Shape::Text(2048)).no_effect(
    "hosts write no files of their own: what they drop is counted with its reason, and their logs go to the journal",
)];

pub(super) const SERVER_INTERFACE: &[Property] = &[
    property("logicalNetworkSubnets", Shape::List(&Shape::Reference(&[Kind::LogicalSubnet])))
        .alias(&["logicalSubnets"])
        .no_effect("a host's agent reports its provider addresses"),
    property("isBMC", Shape::Boolean).no_effect("the controller drives no BMC"),
    property("isMultitenantStack", Shape::Boolean).no_effect("a host's agent reports its ports"),
    property("portName", NAME).no_effect("a host's agent reports its ports"),
];

pub(super) const VIRTUAL_SERVER: &[Property] = &[
    property("connections", Shape::List(&Shape::Object(CONNECTION))),
    property("vmGuid", NAME).alias(&["vmid"]).no_effect("the controller drives no hypervisor"),
    property("server", Shape::Reference(&[Kind::Server])).ours().doc("The host that it runs on: where it stands."),
    property("certificate", Shape::Text(16384)).no_effect(CERTIFICATE),
    property("certificateSubjectName", NAME).no_effect(CERTIFICATE),
    CONFIGURATION_STATE,
    back_references("gateways", Kind::Gateway, "virtualServer"),
];
