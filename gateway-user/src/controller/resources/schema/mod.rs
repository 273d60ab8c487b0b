//! The resources' schema: one table a kind. It serves the reading of requests, their validation, the answers, the documentation and OpenAPI.
//!
//! | to change | go to |
//! |---|---|
//! | a property of what operators describe | [`fabric`], [`gateways`], [`balancer`] |
//! | a property of what tenants describe | [`networks`], [`connections`] |
//! | how a value is read | [`values`] |
//! | how a body becomes canonical | [`normalise`] |
//! | what is generated from the tables | [`document`] |

pub mod balancer;
pub mod connections;
pub mod document;
pub mod fabric;
pub mod gateways;
pub mod networks;
pub mod normalise;
pub mod values;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named as its collection, which its KindInfo describes")]
#[repr(u8)]
pub enum Kind {
    Credential,
    LogicalNetwork,
    LogicalSubnet,
    IpPool,
    MacPool,
    PublicIpAddress,
    Server,
    ServerInterface,
    VirtualServer,
    VirtualNetworkManager,
    VirtualNetwork,
    VirtualSubnet,
    NetworkInterface,
    IpConfiguration,
    GatewayPool,
    Gateway,
    VirtualGateway,
    NetworkConnection,
    BgpRouter,
    BgpPeer,
    PolicyMap,
    LoadBalancerManager,
    LoadBalancerMux,
    AuditingSettings,
}

/// What is common to all resources of a kind.
#[derive(Debug)]
pub struct KindInfo {
    /// The kind.
    pub kind: Kind,
    /// Its collection's name in paths; for a child also the name of the property of its parent that holds it.
    pub collection: &'static str,
    /// The kind that it is embedded in.
    pub parent: Option<Kind>,
    /// The id of the only one.
    pub singleton: Option<&'static str>,
    /// Whether ids are names of agents or in plans, and so of a narrower form.
    pub ids_are_names: bool,
    /// Whether a tenant may write its own.
    pub tenants_write: bool,
    /// The properties.
    pub properties: &'static [Property],
    /// What it is.
    pub doc: &'static str,
}

impl KindInfo {
    const fn new(
        kind: Kind,
        collection: &'static str,
        parent: Option<Kind>,
        properties: &'static [Property],
        doc: &'static str,
    ) -> Self {
        Self { kind, collection, parent, singleton: None, ids_are_names: false, tenants_write: false, properties, doc }
    }

    const fn singleton(mut self, id: &'static str) -> Self {
        self.singleton = Some(id);
        self
    }

    const fn names(mut self) -> Self {
        self.ids_are_names = true;
        self
    }

    const fn tenants(mut self) -> Self {
        self.tenants_write = true;
        self
    }
}

/// All kinds, in the order of [`Kind`].
pub static KINDS: [KindInfo; 24] = {
    use Kind as K;
    [
        KindInfo::new(
            K::Credential,
            "credentials",
            None,
            fabric::CREDENTIAL,
            "A secret that other resources refer to.",
        ),
        KindInfo::new(K::LogicalNetwork, "logicalNetworks", None, fabric::LOGICAL_NETWORK, "A network of the fabric."),
        KindInfo::new(
            K::LogicalSubnet,
            "subnets",
            Some(K::LogicalNetwork),
            fabric::LOGICAL_SUBNET,
            "A subnet of a logical network, with its VLAN.",
        ),
        KindInfo::new(
            K::IpPool,
            "ipPools",
            Some(K::LogicalSubnet),
            fabric::IP_POOL,
            "Addresses that may be given away.",
        ),
        KindInfo::new(K::MacPool, "macPools", None, fabric::MAC_POOL, "MAC addresses that may be given away."),
        KindInfo::new(
            K::PublicIpAddress,
            "publicIPAddresses",
            None,
            fabric::PUBLIC_IP_ADDRESS,
            "An address that the internet reaches.",
        ),
        KindInfo::new(K::Server, "servers", None, fabric::SERVER, "A compute host.").names(),
        KindInfo::new(
            K::ServerInterface,
            "networkInterfaces",
            Some(K::Server),
            fabric::SERVER_INTERFACE,
            "A compute host's interface on the fabric.",
        ),
        KindInfo::new(
            K::VirtualServer,
            "virtualServers",
            None,
            fabric::VIRTUAL_SERVER,
            "A machine that a gateway or a load balancer runs on.",
        ),
        KindInfo::new(
            K::VirtualNetworkManager,
            "virtualNetworkManager",
            None,
            networks::VIRTUAL_NETWORK_MANAGER,
            "What is common to all virtual networks.",
        )
        .singleton("configuration"),
        KindInfo::new(K::VirtualNetwork, "virtualNetworks", None, networks::VIRTUAL_NETWORK, "A tenant's network.")
            .names()
            .tenants(),
        KindInfo::new(
            K::VirtualSubnet,
            "subnets",
            Some(K::VirtualNetwork),
            networks::VIRTUAL_SUBNET,
            "A subnet of a tenant's network.",
        ),
        KindInfo::new(
            K::NetworkInterface,
            "networkInterfaces",
            None,
            networks::NETWORK_INTERFACE,
            "An interface of a tenant's VM, or of a gateway's machine.",
        )
        .tenants(),
        KindInfo::new(
            K::IpConfiguration,
            "ipConfigurations",
            Some(K::NetworkInterface),
            networks::IP_CONFIGURATION,
            "An address of an interface.",
        ),
        KindInfo::new(
            K::GatewayPool,
            "gatewayPools",
            None,
            gateways::GATEWAY_POOL,
            "Gateways of one type and capacity, N of them redundant.",
        ),
        KindInfo::new(K::Gateway, "gateways", None, gateways::GATEWAY, "A gateway.").names(),
        KindInfo::new(
            K::VirtualGateway,
            "virtualGateways",
            None,
            connections::VIRTUAL_GATEWAY,
            "A tenant's gateway, which runs on several gateways.",
        )
        .names()
        .tenants(),
        KindInfo::new(
            K::NetworkConnection,
            "networkConnections",
            Some(K::VirtualGateway),
            connections::NETWORK_CONNECTION,
            "A connection to a site: IPsec, GRE or L3.",
        )
        .names(),
        KindInfo::new(
            K::BgpRouter,
            "bgpRouters",
            Some(K::VirtualGateway),
            connections::BGP_ROUTER,
            "A tenant's BGP router.",
        ),
        KindInfo::new(K::BgpPeer, "bgpPeers", Some(K::BgpRouter), connections::BGP_PEER, "A BGP peer of a tenant."),
        KindInfo::new(
            K::PolicyMap,
            "policyMaps",
            Some(K::VirtualGateway),
            connections::POLICY_MAP,
            "What is let through and changed between BGP peers.",
        ),
        KindInfo::new(
            K::LoadBalancerManager,
            "loadBalancerManager",
            None,
            balancer::LOAD_BALANCER_MANAGER,
            "What is common to all load balancers.",
        )
        .singleton("config"),
        KindInfo::new(
            K::LoadBalancerMux,
            "loadBalancerMuxes",
            None,
            balancer::LOAD_BALANCER_MUX,
            "A machine that owns public addresses.",
        ),
        KindInfo::new(
            K::AuditingSettings,
            "auditingSettings",
            None,
            fabric::AUDITING_SETTINGS,
            "Where hosts write what their firewalls audit.",
        )
        .singleton("configuration"),
    ]
};

impl Kind {
    /// What is common to all resources of the kind.
    pub fn info(self) -> &'static KindInfo {
        &KINDS[self as usize]
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|info| info.kind)
    }

    /// The kinds embedded in one, or the roots.
    pub fn children_of(parent: Option<Self>) -> impl Iterator<Item = Self> {
        KINDS.iter().filter(move |info| info.parent == parent).map(|info| info.kind)
    }

    /// The kind that a collection's name stands for.
    pub fn in_collection(parent: Option<Self>, name: &str) -> Option<Self> {
        Self::children_of(parent).find(|kind| kind.info().collection.eq_ignore_ascii_case(name))
    }
}

/// What a property holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text, of at most so many bytes.
    Text(usize),
    /// A number, both ends included. A string of digits is read as one: PowerShell clients send those.
    Integer(i64, i64),
    /// A truth value. `"true"` and `"false"` are read as well.
    Boolean,
    /// An IPv4 or IPv6 address.
    Address,
    /// A network: no bit set behind its length.
    Prefix,
    /// A station's MAC address.
    Mac,
    /// The number of an autonomous system: "65001", 65001 or "0.65001"; canonical is the last.
    AsnDot,
    /// The same, canonical in the first form.
    AsnPlain,
    /// A GRE key: "1234" or 1234; canonical is the first. "" is none.
    GreKey,
    /// One of these, in any case.
    Choice(&'static [&'static str]),
    /// `{"resourceRef": …}` to one of these kinds.
    Reference(&'static [Kind]),
    /// `{"resourceRef": …}` to this kind in the same tree.
    OwnReference(Kind),
    /// An object with these properties.
    Object(&'static [Property]),
    /// An array. A lone reference is read as an array of one.
    List(&'static Self),
    /// Embedded resources of this kind.
    Children(Kind),
    /// Who refers to this, of that kind, by that property. Computed.
    BackReferences(Kind, &'static str),
    /// Text, or texts.
    Texts,
    /// Any JSON.
    Any,
}

/// What may be done with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Written and read.
    Optional,
    /// Written and read, and must be there.
    Required,
    /// Read. On input it is ignored, since clients PUT back what they got.
    ReadOnly,
    /// Written, sealed, never read. Absent means unchanged.
    Secret,
}

/// What a property does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its name says.
    Acts,
    /// It is kept and shown, and changes nothing, for this reason.
    None(&'static str),
    /// It is refused, for this reason: to ignore it would be dangerous.
    Refused(&'static str),
}

/// A property of a resource, or of an object in one.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its canonical name.
    pub name: &'static str,
    /// Other names that are read.
    pub aliases: &'static [&'static str],
    /// What it holds.
    pub shape: Shape,
    /// What may be done with it.
    pub access: Access,
    /// What it does.
    pub effect: Effect,
    /// Whether it stays as it was at creation.
    pub immutable: bool,
    /// Whether it is the operator's even in a tenant's resource.
    pub operators: bool,
    /// Whether it is ours alone, not the northbound interface's.
    pub ours: bool,
    /// What it is.
    pub doc: &'static str,
}

/// A property with the commonest traits.
pub const fn property(name: &'static str, shape: Shape) -> Property {
    Property {
        name,
        aliases: &[],
        shape,
        access: Access::Optional,
        effect: Effect::Acts,
        immutable: false,
        operators: false,
        ours: false,
        doc: "",
    }
}

/// A property that is only read.
pub const fn read_only(name: &'static str) -> Property {
    let mut property = property(name, Shape::Any);
    property.access = Access::ReadOnly;
    property
}

/// Who refers to the resource.
pub const fn back_references(name: &'static str, kind: Kind, by: &'static str) -> Property {
    let mut property = property(name, Shape::BackReferences(kind, by));
    property.access = Access::ReadOnly;
    property
}

impl Property {
    /// It must be there.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.access = Access::Required;
        self
    }

    /// It is written, and never read.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.access = Access::Secret;
        self
    }

    /// It stays as it was at creation.
    #[must_use]
    pub const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Only operators write it.
    #[must_use]
    pub const fn operators(mut self) -> Self {
        self.operators = true;
        self
    }

    /// It is ours alone.
    #[must_use]
    pub const fn ours(mut self) -> Self {
        self.ours = true;
        self
    }

    /// Other names that are read.
    #[must_use]
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// It changes nothing, for this reason.
    #[must_use]
    pub const fn no_effect(mut self, reason: &'static str) -> Self {
        self.effect = Effect::None(reason);
        self
    }

    /// It is refused, for this reason.
    #[must_use]
    pub const fn refused(mut self, reason: &'static str) -> Self {
        self.effect = Effect::Refused(reason);
        self
    }

    /// What it is.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// Whether a name of the input stands for it.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

const NAME: Shape = Shape::Text(256);

/// `configurationState`, as every resource that is configured somewhere has it.
const CONFIGURATION_STATE: Property =
    read_only("configurationState").doc("What has been reached: status, detailedInfo, lastUpdatedTime.");

/// The metadata that any resource may carry.
pub const RESOURCE_METADATA: &[Property] = &[
    property("client", NAME).no_effect("a label of the client's own"),
    property("tenantId", NAME).operators().doc("Whose the resource is: a tenant sees and changes its own only."),
    property("groupId", NAME).no_effect("a label of the client's own"),
    property("resourceName", NAME).no_effect("a label of the client's own; the id is the name"),
    property("originalHref", Shape::Text(2048)).no_effect("a label of the client's own"),
];
