//! The plan's types. Their serde form is the plan's: the same keys in TOML and in JSON.

use super::bgp::Bgp;
use super::check;
use super::locate::Missing;
use super::report::{PlanErrors, Problems};
use super::seat::{Pool, Seat};
use super::tor::Tor;
use super::values::{Complaint, Dual, Interface, Kbps, Mac, Mtu, Name, PortName, Prefix, Spi, Vlan, Vsid};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

/// Everything one gateway is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Draft")]
pub struct Plan {
    /// The gateway itself.
    pub gateway: Gateway,
    /// The host's interfaces that the gateway takes.
    #[serde(rename = "port", default, skip_serializing_if = "<[_]>::is_empty")]
    pub ports: Box<[Port]>,
    /// The tenants.
    #[serde(rename = "tenant", default, skip_serializing_if = "<[_]>::is_empty")]
    pub tenants: Box<[Tenant]>,
    /// What is sent on to another gateway by a mux's rules.
    #[serde(rename = "steer", default, skip_serializing_if = "<[_]>::is_empty")]
    pub steer: Box<[Steer]>,
    /// The gateway's own BGP with the rack's routers, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<Tor>,
    /// What this gateway holds or may take, in JSON alone.
    #[serde(rename = "seat", default, skip_serializing_if = "<[_]>::is_empty")]
    pub seats: Box<[Seat]>,
    /// The gateways among which seats move, in JSON alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// A plan whose parts are good, each by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Draft {
    #[serde(default)]
    pub gateway: Option<Gateway>,
    #[serde(rename = "port", default)]
    pub ports: Box<[Port]>,
    #[serde(rename = "tenant", default)]
    pub tenants: Box<[Tenant]>,
    #[serde(rename = "steer", default)]
    pub steer: Box<[Steer]>,
    #[serde(default)]
    pub tor: Option<Tor>,
    #[serde(rename = "seat", default)]
    pub seats: Box<[Seat]>,
    #[serde(default)]
    pub pool: Option<Pool>,
}

impl TryFrom<Draft> for Plan {
    type Error = PlanErrors;

    fn try_from(draft: Draft) -> Result<Self, PlanErrors> {
        draft.checked("plan")
    }
}

impl Draft {
    /// The plan, if its parts agree. `name` is what the problems' places are told with.
    pub fn checked(self, name: &str) -> Result<Plan, PlanErrors> {
        let mut problems = Problems::default();
        check::check(&self, &Missing::default(), &mut problems);
        if problems.is_empty() { self.finish() } else { None }.ok_or_else(|| problems.without_text(name))
    }

    /// The plan that nothing is wrong with.
    pub fn finish(self) -> Option<Plan> {
        let Self { gateway, ports, tenants, steer, tor, seats, pool } = self;
        gateway.map(|gateway| Plan { gateway, ports, tenants, steer, tor, seats, pool })
    }
}

impl Plan {
    /// The same with these tenants, each of which is good by itself.
    ///
    /// # Errors
    /// All in which the parts disagree.
    pub fn with_tenants(self, tenants: Box<[Tenant]>) -> Result<Self, PlanErrors> {
        let Self { gateway, ports, tenants: _, steer, tor, seats, pool } = self;
        Draft { gateway: Some(gateway), ports, tenants, steer, tor, seats, pool }.try_into()
    }
}

/// The gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its name.
    pub name: Name,
    /// How packets travel on the fabric.
    pub encapsulation: Encapsulation,
    /// Its own provider addresses: at least one.
    pub pa: Dual,
    /// The largest table of one tenant, in routes.
    #[serde(default = "Gateway::default_routes_per_tenant")]
    pub routes_per_tenant: u32,
    /// Who is told by BMP (RFC 7854) what tenants' BGP routers have learned and chosen.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub bmp: Box<[Station]>,
}

/// A station that is told by BMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Its address, in the network of the gateway itself.
    pub address: IpAddr,
    /// Its port.
    pub port: NonZeroU16,
}

impl Station {
    /// Where it listens.
    pub fn end(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.get())
    }
}

impl Gateway {
    /// What `routes_per_tenant` is when the plan does not say.
    pub const DEFAULT_ROUTES_PER_TENANT: u32 = 1_000_000;

    fn default_routes_per_tenant() -> u32 {
        Self::DEFAULT_ROUTES_PER_TENANT
    }
}

/// How packets travel on the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 7637.
    Nvgre,
}

/// One of the host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The interface's name.
    pub name: PortName,
    /// What it leads to.
    pub role: PortRole,
    /// How the programs run on it.
    #[serde(default)]
    pub mode: PortMode,
}

/// What a port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// The fabric: VXLAN or NVGRE.
    Fabric,
    /// Sites: tunnels to VIPs, and tenants' VLANs.
    Site,
    /// Both of these.
    Both,
}

impl PortRole {
    /// Whether fabric encapsulation is taken.
    pub const fn is_fabric(self) -> bool {
        matches!(self, Self::Fabric | Self::Both)
    }

    /// Whether tunnels of sites and tenants' VLANs are taken.
    pub const fn is_site(self) -> bool {
        matches!(self, Self::Site | Self::Both)
    }
}

/// How the programs run on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// In the driver.
    #[default]
    Native,
    /// In the kernel's stack: works with any driver, at a fraction of the speed.
    Generic,
    /// Behind the driver and its offloads, by tc: a compute host's, whatever its driver can do.
    #[serde(skip_deserializing)]
    Stack,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// The seat whose connections these are, in JSON alone; without one they are the gateway's own. A tenant with connections on several
    /// seats is there once for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seat: Option<Name>,
    /// How its packets travel on the fabric, if not as the gateway says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<Encapsulation>,
    /// The gateway's own addresses inside the tenant: where ICMP and BGP come from.
    #[serde(default, skip_serializing_if = "Dual::is_empty")]
    pub gateway_addresses: Dual,
    /// The subnet out of which the gateway's own addresses come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_subnet: Option<Prefix>,
    /// The virtual subnets.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub subnets: Box<[Subnet]>,
    /// Where the VMs are.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub vms: Box<[Vm]>,
    /// The virtual subnet by which the tenant's gateways send to each other; present if there are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_vsid: Option<Vsid>,
    /// The tenant's other gateways.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub gateways: Box<[OtherGateway]>,
    /// The tenant's connections to its sites.
    #[serde(rename = "connection", default, skip_serializing_if = "<[_]>::is_empty")]
    pub connections: Box<[Connection]>,
    /// Its BGP router, if it has one here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp>,
}

/// A prefix of a virtual subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The virtual subnet.
    pub vsid: Vsid,
    /// Addresses in it.
    pub prefix: Prefix,
}

/// Where one customer address is on the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// The customer address.
    pub ca: IpAddr,
    /// The VM's MAC address.
    pub mac: Mac,
    /// The virtual subnet that it is in.
    pub vsid: Vsid,
    /// The provider address of its host.
    pub pa: IpAddr,
}

/// Another gateway of the tenant's. What it sends was admitted there, and is never sent on to a third one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherGateway {
    /// Its provider address.
    pub pa: IpAddr,
    /// Its own addresses inside the tenant.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub addresses: Box<[IpAddr]>,
    /// What lies behind it, as far as it is the best way there.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub routes: Box<[GatewayRoute]>,
}

/// A prefix behind another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayRoute {
    /// Where it leads.
    pub destination: Prefix,
    /// Compared with those of the tenant's own connections.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metric: u32,
}

/// One tenant's link to one of its sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConnectionForm", into = "ConnectionForm")]
pub struct Connection {
    /// Its name, unique within the tenant.
    pub name: Name,
    /// How the site is reached.
    pub kind: ConnectionKind,
    /// Whether it carries packets.
    pub enabled: bool,
    /// The limit for what comes from the site.
    pub inbound_kbps: Option<Kbps>,
    /// The limit for what goes to the site.
    pub outbound_kbps: Option<Kbps>,
    /// The largest inner IP packet; if absent it follows from the port's.
    pub mtu: Option<Mtu>,
    /// Which sources are let in.
    pub anti_spoofing: AntiSpoofing,
    /// What it is while it moves from one gateway to another.
    pub passage: Passage,
    /// Addresses at the far end: good sources, and reached by this connection. For L3 they are on the VLAN.
    pub peers: Box<[IpAddr]>,
    /// What lies behind the site.
    pub routes: Box<[Route]>,
}

/// How a site is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// By a GRE tunnel.
    Gre(Gre),
    /// By a VLAN.
    L3(L3),
}

/// A GRE tunnel (RFC 2784, RFC 2890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// Our end; of the same family as `remote`.
    pub vip: IpAddr,
    /// The site's end.
    pub remote: IpAddr,
    /// The key. None differs from 0.
    pub key: Option<u32>,
    /// Whether sequence numbers are sent.
    pub sequence: bool,
}

/// A tenant's VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L3 {
    /// A site port.
    pub port: PortName,
    /// The VLAN on it.
    pub vlan: Vlan,
    /// The gateway's own addresses on the VLAN: at least one.
    pub addresses: Box<[Interface]>,
}

/// Which sources are let in from a connection (RFC 8704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AntiSpoofing {
    /// Those that any of the connection's routes or peers covers, best route or not.
    #[default]
    Feasible,
    /// Those to which the best route leads back by the connection.
    Strict,
    /// Any.
    Off,
}

/// What a connection is while it moves from one gateway to another: both forward then, and one after the other speaks for its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    /// Nothing is moving.
    #[default]
    None,
    /// It is on its way here: who asks for its addresses is answered, but nobody is told unasked.
    Arriving,
    /// It is on its way elsewhere: nobody is told where its addresses are, and who asks is not answered; what still comes is forwarded.
    Leaving,
}

/// A static route of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where it leads.
    pub destination: Prefix,
    /// The router on the VLAN; present for L3 and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
    /// The lower one wins among a tenant's routes to the same destination; equal ones share the flows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metric: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One rule of a mux: what a site sends to a VIP goes to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SteerForm", into = "SteerForm")]
pub struct Steer {
    /// The VIP that the packets were sent to; all three addresses are of one family.
    pub vip: IpAddr,
    /// The site that they come from.
    pub source: IpAddr,
    /// Which of its packets.
    pub select: SteerMatch,
    /// The provider address of the gateway that they go to.
    pub gateway: IpAddr,
}

/// Which packets of a site a rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SteerMatch {
    /// UDP to a port.
    Udp {
        /// The VIP's port.
        port: NonZeroU16,
        /// The site's port; any if absent.
        source_port: Option<NonZeroU16>,
    },
    /// TCP to a port.
    Tcp {
        /// The VIP's port.
        port: NonZeroU16,
        /// The site's port; any if absent.
        source_port: Option<NonZeroU16>,
    },
    /// ESP.
    Esp {
        /// The security association; any if absent.
        spi: Option<Spi>,
    },
    /// GRE.
    Gre,
}

/// A connection as its keys are written: flat, with those of the other type absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionForm {
    pub name: Name,
    #[serde(rename = "type")]
    pub kind: KindForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Box<[Interface]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound_kbps: Option<Kbps>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_kbps: Option<Kbps>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_spoofing: Option<AntiSpoofing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage: Option<Passage>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub peers: Box<[IpAddr]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub routes: Box<[Route]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindForm {
    Gre,
    L3,
}

/// A steering rule as its keys are written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SteerForm {
    pub vip: IpAddr,
    pub protocol: ProtocolForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    pub source: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<NonZeroU16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spi: Option<Spi>,
    pub gateway: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ProtocolForm {
    Udp,
    Tcp,
    Esp,
    Gre,
}

/// Refuses a key that another type's has, and asks for one that this type needs.
fn absent<T>(value: &Option<T>, key: &str, of: &str) -> Result<(), Complaint> {
    match value {
        None => Ok(()),
        Some(_) => Err(Complaint::new(format!("`{key}` means nothing for {of}"), format!("remove `{key}`"))),
    }
}

fn needed<T>(value: Option<T>, key: &str, of: &str) -> Result<T, Complaint> {
    value.ok_or_else(|| Complaint::new(format!("{of} needs `{key}`"), format!("add `{key}`")))
}

impl TryFrom<ConnectionForm> for Connection {
    type Error = Complaint;

    fn try_from(form: ConnectionForm) -> Result<Self, Complaint> {
        let kind = match form.kind {
            KindForm::Gre => {
                let of = "a connection of type \"gre\"";
                absent(&form.port, "port", of)?;
                absent(&form.vlan, "vlan", of)?;
                absent(&form.addresses, "addresses", of)?;
                ConnectionKind::Gre(Gre {
                    vip: needed(form.vip, "vip", of)?,
                    remote: needed(form.remote, "remote", of)?,
                    key: form.key,
                    sequence: form.sequence.unwrap_or_default(),
                })
            }
            KindForm::L3 => {
                let of = "a connection of type \"l3\"";
                absent(&form.vip, "vip", of)?;
                absent(&form.remote, "remote", of)?;
                absent(&form.key, "key", of)?;
                absent(&form.sequence, "sequence", of)?;
                ConnectionKind::L3(L3 {
                    port: needed(form.port, "port", of)?,
                    vlan: needed(form.vlan, "vlan", of)?,
                    addresses: needed(form.addresses, "addresses", of)?,
                })
            }
        };
        Ok(Self {
            name: form.name,
            kind,
            enabled: form.enabled.unwrap_or(true),
            inbound_kbps: form.inbound_kbps,
            outbound_kbps: form.outbound_kbps,
            mtu: form.mtu,
            anti_spoofing: form.anti_spoofing.unwrap_or_default(),
            passage: form.passage.unwrap_or_default(),
            peers: form.peers,
            routes: form.routes,
        })
    }
}

impl From<Connection> for ConnectionForm {
    fn from(connection: Connection) -> Self {
        let mut form = Self {
            name: connection.name,
            kind: KindForm::Gre,
            vip: None,
            remote: None,
            key: None,
            sequence: None,
            port: None,
            vlan: None,
            addresses: None,
            enabled: (!connection.enabled).then_some(false),
            inbound_kbps: connection.inbound_kbps,
            outbound_kbps: connection.outbound_kbps,
            mtu: connection.mtu,
            anti_spoofing: Some(connection.anti_spoofing).filter(|&choice| choice != AntiSpoofing::default()),
            passage: Some(connection.passage).filter(|&passage| passage != Passage::default()),
            peers: connection.peers,
            routes: connection.routes,
        };
        match connection.kind {
            ConnectionKind::Gre(gre) => {
                form.vip = Some(gre.vip);
                form.remote = Some(gre.remote);
                form.key = gre.key;
                form.sequence = gre.sequence.then_some(true);
            }
            ConnectionKind::L3(l3) => {
                form.kind = KindForm::L3;
                form.port = Some(l3.port);
                form.vlan = Some(l3.vlan);
                form.addresses = Some(l3.addresses);
            }
        }
        form
    }
}

impl TryFrom<SteerForm> for Steer {
    type Error = Complaint;

    fn try_from(form: SteerForm) -> Result<Self, Complaint> {
        let of = match form.protocol {
            ProtocolForm::Udp => "protocol \"udp\"",
            ProtocolForm::Tcp => "protocol \"tcp\"",
            ProtocolForm::Esp => "protocol \"esp\"",
            ProtocolForm::Gre => "protocol \"gre\"",
        };
        if form.protocol != ProtocolForm::Esp {
            absent(&form.spi, "spi", of)?;
        }
        if matches!(form.protocol, ProtocolForm::Esp | ProtocolForm::Gre) {
            absent(&form.port, "port", of)?;
            absent(&form.source_port, "source_port", of)?;
        }
        let select = match form.protocol {
            ProtocolForm::Udp => {
                SteerMatch::Udp { port: needed(form.port, "port", of)?, source_port: form.source_port }
            }
            ProtocolForm::Tcp => {
                SteerMatch::Tcp { port: needed(form.port, "port", of)?, source_port: form.source_port }
            }
            ProtocolForm::Esp => SteerMatch::Esp { spi: form.spi },
            ProtocolForm::Gre => SteerMatch::Gre,
        };
        Ok(Self { vip: form.vip, source: form.source, select, gateway: form.gateway })
    }
}

impl From<Steer> for SteerForm {
    fn from(steer: Steer) -> Self {
        let (protocol, port, source_port, spi) = match steer.select {
            SteerMatch::Udp { port, source_port } => (ProtocolForm::Udp, Some(port), source_port, None),
            SteerMatch::Tcp { port, source_port } => (ProtocolForm::Tcp, Some(port), source_port, None),
            SteerMatch::Esp { spi } => (ProtocolForm::Esp, None, None, spi),
            SteerMatch::Gre => (ProtocolForm::Gre, None, None, None),
        };
        Self { vip: steer.vip, protocol, port, source: steer.source, source_port, spi, gateway: steer.gateway }
    }
}
