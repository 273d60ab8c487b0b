//! What tenants describe of their networks: virtual networks, subnets, interfaces.

use super::{CONFIGURATION_STATE, Kind, NAME, Property, Shape, back_references, property, read_only};

const ENCAPSULATIONS: Shape = Shape::Choice(&["VXLAN", "NVGRE"]);
const NO_ACL: &str = "access control lists are not enforced by this version; leave it out, and filter in the VM";
const NO_ROUTE_TABLE: &str = "route tables are not applied by this version; routes of connections are";
const NO_DHCP: &str = "nothing here answers DHCP; set it in the VM";

pub(super) const VIRTUAL_NETWORK_MANAGER: &[Property] = &[
    property("networkVirtualizationProtocol", ENCAPSULATIONS)
        .doc("How packets of virtual networks that do not say travel on the fabric, from their creation on."),
    property("distributedRouterState", Shape::Choice(&["Enabled", "Disabled"]))
        .no_effect("every host routes between the subnets of a virtual network"),
    CONFIGURATION_STATE,
];

const ADDRESS_SPACE: &[Property] =
    &[property("addressPrefixes", Shape::List(&Shape::Prefix)).required().doc("The networks that subnets are out of.")];

const DHCP_OPTIONS: &[Property] = &[property("dnsServers", Shape::List(&Shape::Address)).no_effect(NO_DHCP)];

pub(super) const VIRTUAL_NETWORK: &[Property] = &[
    property("addressSpace", Shape::Object(ADDRESS_SPACE)).required(),
    property("encapsulation", ENCAPSULATIONS)
        .ours()
        .operators()
        .immutable()
        .doc("How its packets travel on the fabric; if absent, what virtualNetworkManager says, else VXLAN."),
    property("logicalNetwork", Shape::Reference(&[Kind::LogicalNetwork]))
        .operators()
        .no_effect("there is one fabric; it is checked that provider addresses are out of that network"),
    property("dhcpOptions", Shape::Object(DHCP_OPTIONS)),
    property("subnets", Shape::Children(Kind::VirtualSubnet)),
    property("virtualNetworkPeerings", Shape::List(&Shape::Any))
        .refused("virtual networks are not joined by this version"),
    property("unbilledAddressRanges", Shape::Any).no_effect("nothing is billed"),
    property("encryptionCredential", Shape::Any).refused("subnets are not encrypted by this version"),
    CONFIGURATION_STATE,
];

pub(super) const VIRTUAL_SUBNET: &[Property] = &[
    property("addressPrefix", Shape::Prefix).required().doc("Stays as it is while something refers to the subnet."),
    property("sameLinkAs", Shape::OwnReference(Kind::VirtualSubnet)).ours().immutable().doc(
        "The subnet of the other IP version on the same link: both have one id on the fabric, so that an interface can have an address in each.",
    ),
    property("accessControlList", Shape::Any).refused(NO_ACL),
    property("routeTable", Shape::Any).refused(NO_ROUTE_TABLE),
    property("encryptionEnabled", Shape::Any).no_effect("subnets are not encrypted by this version"),
    read_only("virtualSubnetId").ours().doc("Its id on the fabric: the VNI, or the NVGRE key."),
    read_only("gatewayAddress").ours().doc("What VMs take for their router."),
    read_only("serviceInsertions"),
    back_references("ipConfigurations", Kind::IpConfiguration, "subnet"),
    back_references("virtualGateways", Kind::VirtualGateway, "gatewaySubnets"),
];

const DNS_SETTINGS: &[Property] = &[
    property("dnsServers", Shape::List(&Shape::Address)).no_effect(NO_DHCP),
    property("internalDnsNameLabel", NAME).no_effect("the controller serves no DNS"),
    read_only("internalFqdn"),
];

const PORT_SETTINGS: &[Property] = &[
    property("macSpoofingEnabled", Shape::Any).no_effect("a host always checks the MAC of what its VMs send"),
    property("arpGuardEnabled", Shape::Any).no_effect("a host always checks the MAC and CA of what its VMs send"),
    property("dhcpGuardEnabled", Shape::Any).no_effect("DHCP is not carried between VMs"),
    property("stormLimit", Shape::Any).no_effect("replication is limited by the host"),
    property("portFlowLimit", Shape::Any).no_effect("hosts keep no state per flow"),
    property("vmqWeight", Shape::Any).no_effect("the controller drives no hypervisor"),
    property("iovWeight", Shape::Any).no_effect("the controller drives no hypervisor"),
    property("iovInterruptModeration", Shape::Any).no_effect("the controller drives no hypervisor"),
    property("iovQueuePairsRequested", Shape::Any).no_effect("the controller drives no hypervisor"),
    property("qosSettings", Shape::Any).no_effect("bandwidth is limited per connection"),
];

pub(super) const NETWORK_INTERFACE: &[Property] = &[
    property("privateMacAddress", Shape::Mac)
        .doc("Needed with Static; with Dynamic it is drawn from macPools at creation."),
    property("privateMacAllocationMethod", Shape::Choice(&["Static", "Dynamic"])),
    property("server", Shape::Reference(&[Kind::Server])).operators().doc("The host that its VM runs on."),
    property("deviceName", Shape::Text(15)).ours().operators().doc("The tap or veth on that host."),
    property("ipConfigurations", Shape::Children(Kind::IpConfiguration)),
    property("isPrimary", Shape::Boolean).no_effect("a VM's interfaces are alike"),
    property("isMultitenantStack", Shape::Boolean).no_effect("agents report their ports"),
    property("internalDnsNameLabel", NAME).no_effect("the controller serves no DNS"),
    property("dnsSettings", Shape::Object(DNS_SETTINGS)),
    property("enableIPForwarding", Shape::Any).no_effect("a VM sends from its own addresses only"),
    property("portSettings", Shape::Object(PORT_SETTINGS)),
    property("accessControlList", Shape::Any).refused(NO_ACL),
    property("serviceInsertionElements", Shape::Any).refused("traffic is not sent through appliances by this version"),
    property("portId", NAME).no_effect("deviceName names the port"),
    read_only("instanceGuid"),
    CONFIGURATION_STATE,
    back_references("gateways", Kind::Gateway, "externalNetworkInterface"),
];

pub(super) const IP_CONFIGURATION: &[Property] = &[
    property("privateIPAddress", Shape::Address)
        .doc("Needed with Static; with Dynamic it is drawn from the subnet at creation."),
    property("privateIPAllocationMethod", Shape::Choice(&["Static", "Dynamic"])),
    property("privateIPAddressVersion", Shape::Choice(&["IPv4", "IPv6"])).no_effect("the address shows it"),
    property("subnet", Shape::Reference(&[Kind::VirtualSubnet, Kind::LogicalSubnet])).required(),
    property("primary", Shape::Boolean).no_effect("an interface's addresses are alike"),
    property("publicIPAddress", Shape::Any).refused("public addresses of single VMs are not served by this version"),
    property("accessControlList", Shape::Any).refused(NO_ACL),
    property("gateways", Shape::List(&Shape::Address)).no_effect("the subnet's first address is the router"),
    property("dnsServers", Shape::List(&Shape::Address)).no_effect(NO_DHCP),
    read_only("loadBalancerBackendAddressPools"),
    read_only("loadBalancerInboundNatRules"),
];
