//! The headers of tunnels and transports.

use super::layers::Check;

/// GRE (RFC 2784, RFC 2890).
#[derive(Clone, Debug, Default)]
pub struct Gre {
    pub(super) flags: u16,
    pub(super) protocol: Option<u16>,
    pub(super) check: Option<Check>,
    pub(super) key: Option<u32>,
    pub(super) sequence: Option<u32>,
}

/// A GRE header with no option.
pub fn gre() -> Gre {
    Gre::default()
}

/// NVGRE (RFC 7637): GRE with the VSID and a FlowID as its key; an Ethernet frame follows.
pub fn nvgre(vsid: u32, flow: u8) -> Gre {
    gre().key(vsid << 8 | u32::from(flow))
}

impl Gre {
    /// Adds bits to the first word.
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags |= flags;
        self
    }

    /// Sets the protocol type, whatever follows.
    pub fn protocol(mut self, protocol: u16) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Adds the right checksum.
    pub fn checksum(mut self) -> Self {
        self.check = Some(Check::Right);
        self
    }

    /// Adds this checksum.
    pub fn check(mut self, value: u16) -> Self {
        self.check = Some(Check::Value(value));
        self
    }

    /// Adds a key.
    pub fn key(mut self, key: u32) -> Self {
        self.key = Some(key);
        self
    }

    /// Adds a sequence number.
    pub fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = Some(sequence);
        self
    }
}

/// UDP.
#[derive(Clone, Debug)]
pub struct Udp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) length: Option<u16>,
    pub(super) check: Check,
}

/// A UDP header.
pub fn udp(source: u16, destination: u16) -> Udp {
    Udp { source, destination, length: None, check: Check::Right }
}

impl Udp {
    /// Sets the checksum field to zero: none was computed.
    pub fn no_checksum(self) -> Self {
        self.check(0)
    }

    /// Sets the checksum.
    pub fn check(mut self, value: u16) -> Self {
        self.check = Check::Value(value);
        self
    }

    /// Sets the length, whatever it is.
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }
}

/// VXLAN (RFC 7348).
#[derive(Clone, Debug)]
pub struct Vxlan {
    pub(super) flags: u8,
    pub(super) vni: u32,
}

/// A VXLAN header with a valid VNI.
pub fn vxlan(vni: u32) -> Vxlan {
    Vxlan { flags: 0x08, vni }
}

impl Vxlan {
    /// Sets the flags byte.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }
}

/// TCP (RFC 9293).
#[derive(Clone, Debug)]
pub struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) flags: u8,
    pub(super) options: Vec<u8>,
    pub(super) header_words: Option<u8>,
    pub(super) check: Check,
}

/// A TCP header with ACK set.
pub fn tcp(source: u16, destination: u16) -> Tcp {
    Tcp { source, destination, flags: Tcp::ACK, options: Vec::new(), header_words: None, check: Check::Right }
}

impl Tcp {
    /// The flag of a connection's first segment.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;

    /// Sets the flags byte.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Appends options as they are.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options.extend_from_slice(options);
        self
    }

    /// Appends a maximum segment size and, if nothing else did, makes it a SYN.
    pub fn mss(mut self, value: u16) -> Self {
        self.flags |= Self::SYN;
        let [high, low] = value.to_be_bytes();
        self.options(&[2, 4, high, low])
    }

    /// Sets the header length in words, whatever it is.
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// Sets the checksum.
    pub fn check(mut self, value: u16) -> Self {
        self.check = Check::Value(value);
        self
    }
}

/// ICMP or ICMPv6: type, code and the four bytes after the checksum.
#[derive(Clone, Debug)]
pub struct Icmp {
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) rest: u32,
    pub(super) check: Check,
}

/// An ICMP header (RFC 792).
pub fn icmp4(kind: u8, code: u8, rest: u32) -> Icmp {
    Icmp { version: 4, kind, code, rest, check: Check::Right }
}

/// An ICMPv6 header (RFC 4443).
pub fn icmp6(kind: u8, code: u8, rest: u32) -> Icmp {
    Icmp { version: 6, kind, code, rest, check: Check::Right }
}

impl Icmp {
    /// Sets the checksum.
    pub fn check(mut self, value: u16) -> Self {
        self.check = Check::Value(value);
        self
    }
}

/// ESP's first words (RFC 4303); what follows is opaque.
#[derive(Clone, Debug)]
pub struct Esp {
    pub(super) spi: u32,
    pub(super) sequence: u32,
}

/// An ESP header.
pub fn esp(spi: u32, sequence: u32) -> Esp {
    Esp { spi, sequence }
}
