//! Frames built layer by layer, as a test reads best: `ether(HOST, GATEWAY) / ipv4("10.0.0.1", "10.0.0.2") / gre().key(100) / …`.
//!
//! Lengths, next-protocol fields and checksums are right unless a layer is told otherwise. Nothing here shares code with the
//! gateway's own header templates and arithmetic, so that a frame built here is an independent opinion of what is right.
//!
//! - [`layers`], [`transport`]: the headers, each a small builder
//! - [`Stack`]: layers on each other; [`Stack::build`] gives the bytes
//! - [`decode`]: bytes back to named fields, and the field-by-field [`decode::difference`] of two frames

mod build;
pub mod decode;
pub mod layers;
pub mod transport;

pub use layers::*;
pub use transport::*;

use std::fmt;
use std::ops::Div;

/// Layers on each other, the outermost first, and bytes behind the frame that no length counts.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    layers: Vec<Layer>,
    trailer: Vec<u8>,
}

impl Stack {
    /// The frame's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = build::emit(&self.layers, None);
        bytes.extend_from_slice(&self.trailer);
        bytes
    }

    /// Appends `len` bytes behind the frame that no header counts: Ethernet's padding.
    pub fn trailer(mut self, len: usize) -> Self {
        self.trailer = vec![0xee; len];
        self
    }

    /// The layers, outermost first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The same stack with every layer passed through `change`.
    pub fn map(mut self, change: impl FnMut(&mut Layer)) -> Self {
        self.layers.iter_mut().for_each(change);
        self
    }

    /// The same packet after one more router: its first IP header's time to live is one less.
    pub fn hop(self) -> Self {
        self.first_ip(|layer| match layer {
            Layer::Ipv4(v4) => v4.ttl -= 1,
            Layer::Ipv6(v6) => v6.hops -= 1,
            _ => {}
        })
    }

    /// The same packet with another traffic class in its first IP header.
    pub fn with_class(self, class: u8) -> Self {
        self.first_ip(|layer| match layer {
            Layer::Ipv4(v4) => v4.class = class,
            Layer::Ipv6(v6) => v6.class = class,
            _ => {}
        })
    }

    /// The same packet with another time to live or hop limit in its first IP header.
    pub fn with_ttl(self, ttl: u8) -> Self {
        self.first_ip(|layer| match layer {
            Layer::Ipv4(v4) => v4.ttl = ttl,
            Layer::Ipv6(v6) => v6.hops = ttl,
            _ => {}
        })
    }

    /// The traffic class of the first IP header; 0 without one.
    pub fn class(&self) -> u8 {
        let class = |layer: &Layer| match layer {
            Layer::Ipv4(v4) => Some(v4.class),
            Layer::Ipv6(v6) => Some(v6.class),
            _ => None,
        };
        self.layers.iter().find_map(class).unwrap_or(0)
    }

    /// The first `len` bytes, to be quoted.
    pub fn quote(&self, len: usize) -> Payload {
        let mut bytes = self.build();
        bytes.truncate(len);
        Payload(bytes)
    }

    fn first_ip(mut self, change: impl FnOnce(&mut Layer)) -> Self {
        if let Some(layer) = self.layers.iter_mut().find(|layer| matches!(layer, Layer::Ipv4(_) | Layer::Ipv6(_))) {
            change(layer);
        }
        self
    }

    /// Where each layer starts in the built frame, and where the last one ends.
    pub fn boundaries(&self) -> Vec<usize> {
        let whole = self.build().len() - self.trailer.len();
        let mut starts: Vec<usize> =
            (0..self.layers.len()).map(|index| whole - build::emit(&self.layers[index..], None).len()).collect();
        starts.push(whole);
        starts
    }
}

impl<T: Into<Layer>> From<T> for Stack {
    fn from(layer: T) -> Self {
        Self { layers: vec![layer.into()], trailer: Vec::new() }
    }
}

impl<T: Into<Stack>> Div<T> for Stack {
    type Output = Stack;

    fn div(mut self, above: T) -> Stack {
        let above = above.into();
        self.layers.extend(above.layers);
        self.trailer.extend(above.trailer);
        self
    }
}

/// Sixteen bytes a line, as hexdump shows them.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, bytes) in self.0.chunks(16).enumerate() {
            write!(out, "{:04x} ", line * 16)?;
            for byte in bytes {
                write!(out, " {byte:02x}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn a_well_known_header_is_built_bit_for_bit() {
        // The usual worked example of the IPv4 header checksum.
        let expected: &[u8] = &[
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 64, 17, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0, 199, // IPv4
        ];
        let frame = ether(B, A) / ipv4("192.168.0.1", "192.168.0.199").protocol(17).total_length(0x73);
        assert_eq!(frame.build(), expected, "{}", decode::difference(expected, &frame.build()));
    }

    #[test]
    fn every_layer_decodes_with_right_checksums() {
        for frame in [
            ether(B, A)
                / vlan(1001)
                / ipv4("10.0.0.1", "10.0.0.2").options(&[7, 7, 4, 0, 0, 0, 0, 0])
                / udp(1, 2)
                / pattern(31),
            ether(B, A) / ipv6("fd00::1", "fd00::2") / extension(60, &[0; 7]) / tcp(80, 81).mss(1460) / pattern(9),
            ether(B, A)
                / ipv4("10.0.0.1", "10.0.0.2")
                / gre().key(7).sequence(9).checksum()
                / ipv6("fd00::1", "fd00::2")
                / icmp6(128, 0, 1)
                / pattern(3),
            ether(B, A)
                / ipv4("10.0.0.1", "10.0.0.2")
                / gre().key(0x50_0000)
                / ether(A, B)
                / ipv4("1.1.1.1", "2.2.2.2")
                / udp(9, 9)
                / pattern(5),
            ether(B, A)
                / ipv6("fd00::1", "fd00::2")
                / udp(50_000, 4789).no_checksum()
                / vxlan(5001)
                / ether(A, B)
                / ipv4("1.1.1.1", "2.2.2.2")
                / tcp(1, 2),
            ether(B, A) / arp_request(A, "10.0.0.1", "10.0.0.2"),
        ] {
            let fields = decode::decode(&frame.build());
            let text: Vec<String> = fields.iter().map(ToString::to_string).collect();
            assert!(!text.iter().any(|line| line.contains("wrong")), "{text:#?}");
            assert!(!text.iter().any(|line| line.contains("cut short")), "{text:#?}");
        }
    }

    #[test]
    fn boundaries_are_where_the_layers_start() {
        let frame = ether(B, A)
            / ipv4("10.0.0.1", "10.0.0.2")
            / gre().key(7)
            / ipv6("fd00::1", "fd00::2")
            / udp(1, 2)
            / pattern(4);
        assert_eq!(frame.boundaries(), [0, 14, 34, 42, 82, 90, 94]);
        assert_eq!(frame.trailer(6).boundaries(), [0, 14, 34, 42, 82, 90, 94]);
    }

    #[test]
    fn a_difference_names_the_field() {
        let one = (ether(B, A) / ipv4("10.0.0.1", "10.0.0.2").ttl(64) / udp(1, 2)).build();
        let two = (ether(B, A) / ipv4("10.0.0.1", "10.0.0.2").ttl(63) / udp(1, 2)).build();
        let text = decode::difference(&one, &two);
        assert!(text.contains("ipv4.ttl") && !text.contains("udp.source"), "{text}");
        assert!(decode::difference(&one, &one).is_empty());
    }
}
