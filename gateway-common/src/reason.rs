//! Why a packet was dropped.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet was dropped. Programs return it as their error, count by it, and `gatewayctl` prints [`DropReason::name`] and [`DropReason::meaning`].
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name under which the reason is shown: `snake_case`, stable.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the reason says, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }
    };
}

reasons! {
    /// The frame ends within its Ethernet or VLAN header.
    EthernetTruncated = 1, "ethernet_truncated";
    /// The outer IP header is cut short or longer than the frame.
    OuterTruncated = 2, "outer_truncated";
    /// The outer IP header contradicts itself: version, header length or total length.
    OuterMalformed = 3, "outer_malformed";
    /// The outer IPv4 header's checksum is wrong.
    OuterChecksum = 4, "outer_checksum";
    /// The outer header carries IP options or extension headers that a tunnel has no use for.
    OuterOptions = 5, "outer_options";
    /// An outer fragment could not be reassembled within the bounds.
    OuterFragment = 6, "outer_fragment";
    /// The GRE header is cut short.
    GreTruncated = 7, "gre_truncated";
    /// The GRE header has a version or flags that RFC 2784 and RFC 2890 do not allow, or routing.
    GreMalformed = 8, "gre_malformed";
    /// The GRE checksum is wrong.
    GreChecksum = 9, "gre_checksum";
    /// The GRE payload is neither IPv4 nor IPv6.
    GreProtocol = 10, "gre_protocol";
    /// The VXLAN header is cut short.
    VxlanTruncated = 11, "vxlan_truncated";
    /// The VXLAN header lacks its valid-VNI flag.
    VxlanMalformed = 12, "vxlan_malformed";
    /// The NVGRE header has other flags than its key, or a checksum or sequence number.
    NvgreMalformed = 13, "nvgre_malformed";
    /// The Ethernet frame inside the fabric's encapsulation is cut short.
    InnerEthernetTruncated = 14, "inner_ethernet_truncated";
    /// The Ethernet frame inside the fabric's encapsulation carries neither IPv4 nor IPv6.
    InnerEthertype = 15, "inner_ethertype";
    /// The inner IP header is cut short or longer than its carrier.
    InnerTruncated = 16, "inner_truncated";
    /// The inner IP header contradicts itself: version, header length or total length.
    InnerMalformed = 17, "inner_malformed";
    /// The inner packet asks for source routing, which no gateway follows (RFC 7126, RFC 5095).
    InnerSourceRoute = 18, "inner_source_route";
    /// The inner packet's extension headers go on for longer than the gateway follows.
    InnerExtensions = 19, "inner_extensions";
    /// No connection has this GRE remote and key for the VIP.
    GreUnknown = 20, "gre_unknown";
    /// The frame is for one of our tenants but addressed to another station, as a switch that floods sends them.
    OtherStation = 21, "other_station";
    /// No tenant has this VNI at the seat's provider address.
    VniUnknown = 22, "vni_unknown";
    /// The outer source is no provider address of the tenant's.
    FabricPeerUnknown = 23, "fabric_peer_unknown";
    /// A tunnel arrived on a port of the other kind.
    PortKind = 24, "port_kind";
    /// The connection is administratively disabled.
    ConnectionDisabled = 25, "connection_disabled";
    /// This gateway only replicates the seat.
    SeatNotHeld = 26, "seat_not_held";
    /// The inner source address is not feasible for where the packet came from.
    Spoofed = 27, "spoofed";
    /// The inner source or destination can never be routed: unspecified, loopback, multicast or link-local.
    Martian = 28, "martian";
    /// The connection's inbound rate was exceeded.
    RateInbound = 29, "rate_inbound";
    /// The connection's outbound rate was exceeded.
    RateOutbound = 30, "rate_outbound";
    /// The time to live or hop limit ran out.
    TtlExpired = 31, "ttl_expired";
    /// The tenant has no route to the destination.
    NoRoute = 32, "no_route";
    /// The route says to drop.
    Blackhole = 33, "blackhole";
    /// The next hop's link-layer address is not known (yet).
    NeighbourUnresolved = 34, "neighbour_unresolved";
    /// What came from another gateway would go to one again.
    GatewayLoop = 35, "gateway_loop";
    /// The packet is larger than the path takes, and may not be fragmented.
    TooBig = 36, "too_big";
    /// Congestion was marked on a packet whose transport does not understand it (RFC 6040).
    EcnInvalid = 37, "ecn_invalid";
    /// An ICMP error was due, and the tenant's limit for them is used up.
    IcmpRateLimited = 38, "icmp_rate_limited";
    /// An ICMP error that quotes none of our tunnels.
    IcmpUnmatched = 39, "icmp_unmatched";
    /// An ICMP error for a tunnel was taken in (it lowered the path MTU, or says that the far end is unreachable).
    IcmpConsumed = 40, "icmp_consumed";
    /// The tenant's compartment gets no more packets than this.
    PuntRateLimited = 41, "punt_rate_limited";
    /// The tenant has no compartment on this gateway.
    NoCompartment = 42, "no_compartment";
    /// A compartment sent from an address that is not the tenant's own.
    CompartmentSource = 43, "compartment_source";
    /// The kernel refused to make room for a header.
    NoHeadroom = 44, "no_headroom";
    /// The way out is missing from the device map.
    NoPort = 45, "no_port";
    /// The packet is addressed to one of our addresses in a protocol that is not served there.
    NotServed = 46, "not_served";
    /// A stage of the pipeline is not loaded.
    StageMissing = 47, "stage_missing";
    /// The slow path gets no more packets than this.
    SlowPathLimited = 48, "slow_path_limited";
    /// A packet from the slow path lacks its private header.
    SlowPathMalformed = 49, "slow_path_malformed";
    /// No steering rule matches a packet for the shared VIP.
    SteerUnmatched = 50, "steer_unmatched";
    /// No virtual machine is known behind the interface that the frame came in by.
    VmUnknown = 51, "vm_unknown";
    /// A virtual machine sent from another MAC address than its own.
    SpoofedMac = 52, "spoofed_mac";
    /// No machine of the virtual subnet has this address.
    StationUnknown = 53, "station_unknown";
    /// A broadcast or multicast has more receivers than are served.
    FloodLimited = 54, "flood_limited";
    /// A virtual machine sent a kind of frame that the virtual network does not carry.
    VmFrame = 55, "vm_frame";
    /// A probe's tag is not its observer's, or nobody of the pool sends such probes.
    ProbeForged = 56, "probe_forged";
    /// A probe asks for the way through a seat that this gateway does not hold.
    ProbeUnheld = 57, "probe_unheld";
    /// The connection is moving to another gateway, which speaks for its addresses.
    ConnectionLeaving = 58, "connection_leaving";
}

impl DropReason {
    /// One more than the largest number.
    pub const COUNT: usize = Self::ALL.len() + 1;

    /// The reason with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_differ() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index + 1);
            assert_eq!(DropReason::from_number(*reason as u32), Some(*reason));
            assert!(DropReason::ALL[..index].iter().all(|other| other.name() != reason.name()));
            assert!(reason.meaning().ends_with('.') && !reason.meaning().starts_with(' '));
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        assert_eq!(DropReason::from_number(0), None);
        assert_eq!(DropReason::from_number(DropReason::COUNT as u32), None);
    }
}
