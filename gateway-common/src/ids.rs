//! The dense numbers by which programs know things. Names live in user space only.

use bytemuck::{Pod, Zeroable};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
        pub struct $name(pub $inner);
    };
}

id!(
    /// A tenant's slot in the tenant tables.
    TenantId(u32)
);
id!(
    /// A connection's slot in the connection tables.
    ConnectionId(u32)
);
id!(
    /// A seat's slot in the seat table.
    SeatId(u32)
);
id!(
    /// A fabric host's number: one a provider address.
    HostId(u32)
);
id!(
    /// A slot in the next-hop table. Slot 0 means "no route".
    NexthopId(u32)
);
id!(
    /// A port's slot in the device map and the port counters.
    PortId(u32)
);
id!(
    /// A virtual network identifier: NVGRE's VSID, VXLAN's VNI (24 bits).
    Vni(u32)
);
id!(
    /// An 802.1Q VLAN identifier (12 bits).
    VlanId(u16)
);
id!(
    /// The number of a seat's holdership; the higher one wins.
    Epoch(u64)
);

impl ConnectionId {
    /// "No connection": what goes to or comes from the fabric or a compartment.
    pub const NONE: Self = Self(u32::MAX);
}

impl NexthopId {
    /// "No route": the prefix is known only as a feasible source.
    pub const NONE: Self = Self(0);
    /// In a cached decision: a GRE keepalive, to be returned to its sender.
    pub const KEEPALIVE: Self = Self(u32::MAX);
}

/// Where a packet entered the tenant's network: a connection, a fabric host, another gateway or the tenant's own compartment.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct OriginId(pub u32);

impl OriginId {
    const HOST: u32 = 0x8000_0000;
    /// The tenant's own compartment on this gateway.
    pub const COMPARTMENT: Self = Self(0xffff_fffe);
    /// Another gateway of the tenant, whose own admission is trusted.
    pub const GATEWAY: Self = Self(0xffff_ffff);
    /// The same, where it speaks itself: the packet comes from one of its own addresses in the tenant.
    pub const GATEWAY_ITSELF: Self = Self(0xffff_fffc);

    /// The origin that a connection is. Connections are numbered below 2^30.
    pub const fn connection(id: ConnectionId) -> Self {
        Self(id.0)
    }

    /// The origin that a fabric host is. Hosts are numbered below 2^30.
    pub const fn host(id: HostId) -> Self {
        Self(Self::HOST | id.0)
    }

    /// Whether it is another gateway.
    pub const fn is_gateway(self) -> bool {
        self.0 == Self::GATEWAY.0 || self.0 == Self::GATEWAY_ITSELF.0
    }

    /// The connection, if the origin is one.
    pub const fn as_connection(self) -> Option<ConnectionId> {
        if self.0 & Self::HOST == 0 { Some(ConnectionId(self.0)) } else { None }
    }
}

/// Which origins may use addresses of a prefix as their source: one origin, or a numbered set of them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Feasible(pub u32);

impl Feasible {
    const SET: u32 = 0x4000_0000;
    /// Nobody may, and no shorter prefix allows it: the addresses of a virtual subnet are not a site's because it has the default route.
    pub const NOBODY: Self = Self(0xffff_fffd);

    /// Exactly this origin may.
    pub const fn only(origin: OriginId) -> Self {
        Self(origin.0)
    }

    /// The members of set `number` may (numbers below 2^30).
    pub const fn set(number: u32) -> Self {
        Self(Self::SET | number)
    }

    /// The set's number, if this names a set.
    pub const fn as_set(self) -> Option<u32> {
        if self.0 & (OriginId::HOST | Self::SET) == Self::SET { Some(self.0 & !Self::SET) } else { None }
    }

    /// Whether this names just `origin`.
    pub const fn is_only(self, origin: OriginId) -> bool {
        self.0 == origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_connection_only_below_the_host_bit() {
        assert_eq!(OriginId::connection(ConnectionId(7)).as_connection(), Some(ConnectionId(7)));
        assert_eq!(OriginId::host(HostId(7)).as_connection(), None);
        assert_eq!(OriginId::COMPARTMENT.as_connection(), None);
        assert_eq!(OriginId::GATEWAY_ITSELF.as_connection(), None);
        assert_ne!(OriginId::host(HostId(7)), OriginId::connection(ConnectionId(7)));
    }

    #[test]
    fn a_feasible_set_is_told_apart_from_every_single_origin() {
        assert_eq!(Feasible::set(9).as_set(), Some(9));
        for origin in [
            OriginId::connection(ConnectionId(9)),
            OriginId::host(HostId(9)),
            OriginId::COMPARTMENT,
            OriginId::GATEWAY,
            OriginId::GATEWAY_ITSELF,
        ] {
            assert_eq!(Feasible::only(origin).as_set(), None);
            assert!(Feasible::only(origin).is_only(origin));
            assert!(!Feasible::NOBODY.is_only(origin));
        }
        assert_eq!(Feasible::NOBODY.as_set(), None);
    }
}
