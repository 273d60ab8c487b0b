//! Bytes to named fields, and where two frames differ.

use super::Hex;
use super::build::{Pseudo, checksum, pseudo_header};
use super::layers::Mac;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One field of a decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// How many layers of the frame are before this one.
    pub depth: usize,
    /// The header's name, in lower case.
    pub layer: &'static str,
    /// The field's name.
    pub name: &'static str,
    /// Its value as text.
    pub value: String,
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}.{} = {}", self.depth, self.layer, self.name, self.value)
    }
}

/// All fields of a frame that starts with Ethernet. What cannot be read shows as a field `cut short`.
pub fn decode(frame: &[u8]) -> Vec<Field> {
    let mut decoder = Decoder { fields: Vec::new(), depth: 0 };
    decoder.ether(frame);
    decoder.fields
}

/// The fields in which `actual` is not `expected`, and both frames' bytes; empty if they are the same.
pub fn difference(expected: &[u8], actual: &[u8]) -> String {
    if expected == actual {
        return String::new();
    }
    let (left, right) = (decode(expected), decode(actual));
    let mut text = String::new();
    for index in 0..left.len().max(right.len()) {
        match (left.get(index), right.get(index)) {
            (Some(left), Some(right)) if left == right => {}
            (Some(left), Some(right)) if (left.layer, left.name) == (right.layer, right.name) => {
                text += &format!("  {left}, but is {}\n", right.value);
            }
            (left, right) => {
                let show = |field: Option<&Field>| field.map_or("nothing".to_owned(), ToString::to_string);
                text += &format!("  {}, but there is {}\n", show(left), show(right));
            }
        }
    }
    format!(
        "{text}expected ({} bytes)\n{}actual ({} bytes)\n{}",
        expected.len(),
        Hex(expected),
        actual.len(),
        Hex(actual)
    )
}

struct Decoder {
    fields: Vec<Field>,
    depth: usize,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn mac(bytes: &[u8]) -> Mac {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[..6]);
    Mac(mac)
}

fn v4(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(long(bytes, at))
}

fn v6(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// A checksum field's value, with whether it is right: `rest` is the sum with the field in place, so 0 if it is.
fn judged(value: u16, rest: u16) -> String {
    if rest == 0 { format!("{value:#06x}") } else { format!("{value:#06x} (wrong by {rest:#06x})") }
}

impl Decoder {
    fn field(&mut self, layer: &'static str, name: &'static str, value: impl fmt::Display) {
        self.fields.push(Field { depth: self.depth, layer, name, value: value.to_string() });
    }

    /// Whether `bytes` holds `len`; if not, that is said, and what is there is shown.
    fn holds(&mut self, layer: &'static str, bytes: &[u8], len: usize) -> bool {
        if bytes.len() < len {
            self.field(layer, "cut short", format!("{bytes:02x?}"));
        }
        bytes.len() >= len
    }

    fn payload(&mut self, bytes: &[u8]) {
        self.field("payload", "length", bytes.len());
        if !bytes.is_empty() {
            let shown: String = bytes.iter().take(48).map(|byte| format!("{byte:02x}")).collect();
            self.field("payload", "bytes", shown);
        }
    }

    fn ether(&mut self, bytes: &[u8]) {
        if !self.holds("ether", bytes, 14) {
            return;
        }
        self.field("ether", "destination", format!("{:?}", mac(bytes)));
        self.field("ether", "source", format!("{:?}", mac(&bytes[6..])));
        self.field("ether", "type", format!("{:#06x}", word(bytes, 12)));
        self.depth += 1;
        self.by_ethertype(word(bytes, 12), &bytes[14..]);
    }

    fn by_ethertype(&mut self, ethertype: u16, bytes: &[u8]) {
        match ethertype {
            0x8100 => {
                if self.holds("vlan", bytes, 4) {
                    self.field("vlan", "priority", word(bytes, 0) >> 12);
                    self.field("vlan", "id", word(bytes, 0) & 0xfff);
                    self.field("vlan", "type", format!("{:#06x}", word(bytes, 2)));
                    self.depth += 1;
                    self.by_ethertype(word(bytes, 2), &bytes[4..]);
                }
            }
            0x0806 => self.arp(bytes),
            0x0800 => self.ipv4(bytes),
            0x86dd => self.ipv6(bytes),
            0x6558 => self.ether(bytes),
            _ => self.payload(bytes),
        }
    }

    fn arp(&mut self, bytes: &[u8]) {
        if !self.holds("arp", bytes, 28) {
            return;
        }
        self.field("arp", "kind", format!("{:02x?}", &bytes[..6]));
        self.field("arp", "operation", word(bytes, 6));
        self.field("arp", "sender mac", format!("{:?}", mac(&bytes[8..])));
        self.field("arp", "sender", v4(bytes, 14));
        self.field("arp", "target mac", format!("{:?}", mac(&bytes[18..])));
        self.field("arp", "target", v4(bytes, 24));
        self.depth += 1;
        self.payload(&bytes[28..]);
    }

    fn ipv4(&mut self, bytes: &[u8]) {
        if !self.holds("ipv4", bytes, 20) {
            return;
        }
        let len = usize::from(bytes[0] & 15) * 4;
        self.field("ipv4", "version", bytes[0] >> 4);
        self.field("ipv4", "header length", len);
        self.field("ipv4", "class", format!("{:#04x}", bytes[1]));
        self.field("ipv4", "total length", word(bytes, 2));
        self.field("ipv4", "id", format!("{:#06x}", word(bytes, 4)));
        self.field("ipv4", "fragment", format!("{:#06x}", word(bytes, 6)));
        self.field("ipv4", "ttl", bytes[8]);
        self.field("ipv4", "protocol", bytes[9]);
        if len < 20 || !self.holds("ipv4", bytes, len) {
            return;
        }
        self.field("ipv4", "checksum", judged(word(bytes, 10), checksum(&[&bytes[..len]])));
        self.field("ipv4", "source", v4(bytes, 12));
        self.field("ipv4", "destination", v4(bytes, 16));
        if len > 20 {
            self.field("ipv4", "options", format!("{:02x?}", &bytes[20..len]));
        }
        let end = usize::from(word(bytes, 2));
        let (body, trailer) = match end {
            end if end >= len && end <= bytes.len() => (&bytes[len..end], &bytes[end..]),
            _ => (&bytes[len..], &[][..]),
        };
        let pseudo = Pseudo::V4(v4(bytes, 12), v4(bytes, 16));
        self.depth += 1;
        if word(bytes, 6) & 0x1fff != 0 {
            self.payload(body);
        } else {
            self.by_protocol(bytes[9], body, pseudo, word(bytes, 6) & 0x2000 == 0);
        }
        self.trailer(trailer);
    }

    fn ipv6(&mut self, bytes: &[u8]) {
        if !self.holds("ipv6", bytes, 40) {
            return;
        }
        let first = long(bytes, 0);
        self.field("ipv6", "version", first >> 28);
        self.field("ipv6", "class", format!("{:#04x}", first >> 20 & 0xff));
        self.field("ipv6", "flow", format!("{:#07x}", first & 0xf_ffff));
        self.field("ipv6", "payload length", word(bytes, 4));
        self.field("ipv6", "next", bytes[6]);
        self.field("ipv6", "hops", bytes[7]);
        self.field("ipv6", "source", v6(bytes, 8));
        self.field("ipv6", "destination", v6(bytes, 24));
        let end = 40 + usize::from(word(bytes, 4));
        let (body, trailer) =
            if end <= bytes.len() { (&bytes[40..end], &bytes[end..]) } else { (&bytes[40..], &[][..]) };
        self.depth += 1;
        self.by_protocol(bytes[6], body, Pseudo::V6(v6(bytes, 8), v6(bytes, 24)), true);
        self.trailer(trailer);
    }

    fn trailer(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.field("trailer", "bytes", format!("{bytes:02x?}"));
        }
    }

    /// `whole`: the transport's checksum can be judged, since this is no fragment.
    fn by_protocol(&mut self, protocol: u8, bytes: &[u8], pseudo: Pseudo, whole: bool) {
        let rest = |bytes: &[u8]| {
            if whole { checksum(&[&pseudo_header(pseudo, protocol, bytes.len()), bytes]) } else { 0 }
        };
        match protocol {
            4 => self.ipv4(bytes),
            41 => self.ipv6(bytes),
            47 => self.gre(bytes),
            17 if self.holds("udp", bytes, 8) => {
                self.field("udp", "source", word(bytes, 0));
                self.field("udp", "destination", word(bytes, 2));
                self.field("udp", "length", word(bytes, 4));
                let check = word(bytes, 6);
                self.field("udp", "checksum", if check == 0 { "none".to_owned() } else { judged(check, rest(bytes)) });
                self.depth += 1;
                if word(bytes, 2) == 4789 { self.vxlan(&bytes[8..]) } else { self.payload(&bytes[8..]) }
            }
            6 if self.holds("tcp", bytes, 20) => {
                let len = usize::from(bytes[12] >> 4) * 4;
                self.field("tcp", "source", word(bytes, 0));
                self.field("tcp", "destination", word(bytes, 2));
                self.field("tcp", "numbers", format!("{:02x?}", &bytes[4..12]));
                self.field("tcp", "header length", len);
                self.field("tcp", "flags", format!("{:#04x}", bytes[13]));
                self.field("tcp", "window", word(bytes, 14));
                self.field("tcp", "checksum", judged(word(bytes, 16), rest(bytes)));
                self.field("tcp", "urgent", word(bytes, 18));
                let len = len.clamp(20, bytes.len());
                self.field("tcp", "options", format!("{:02x?}", &bytes[20..len]));
                self.depth += 1;
                self.payload(&bytes[len..]);
            }
            1 | 58 if self.holds("icmp", bytes, 8) => {
                let rest = if protocol == 58 {
                    rest(bytes)
                } else if whole {
                    checksum(&[bytes])
                } else {
                    0
                };
                self.field("icmp", "type", bytes[0]);
                self.field("icmp", "code", bytes[1]);
                self.field("icmp", "checksum", judged(word(bytes, 2), rest));
                self.field("icmp", "rest", format!("{:#010x}", long(bytes, 4)));
                self.depth += 1;
                self.payload(&bytes[8..]);
            }
            0 | 43 | 60 if self.holds("extension", bytes, 8) => {
                let len = (usize::from(bytes[1]) + 1) * 8;
                if self.holds("extension", bytes, len) {
                    self.field("extension", "bytes", format!("{:02x?}", &bytes[..len]));
                    self.depth += 1;
                    self.by_protocol(bytes[0], &bytes[len..], pseudo, whole);
                }
            }
            44 if self.holds("fragment", bytes, 8) => {
                self.field("fragment", "bytes", format!("{:02x?}", &bytes[..8]));
                self.depth += 1;
                if word(bytes, 2) & !7 == 0 {
                    self.by_protocol(bytes[0], &bytes[8..], pseudo, false);
                } else {
                    self.payload(&bytes[8..]);
                }
            }
            0 | 1 | 6 | 17 | 43 | 44 | 58 | 60 => {}
            _ => self.payload(bytes),
        }
    }

    fn vxlan(&mut self, bytes: &[u8]) {
        if self.holds("vxlan", bytes, 8) {
            self.field("vxlan", "flags", format!("{:#010x}", long(bytes, 0)));
            self.field("vxlan", "vni", long(bytes, 4) >> 8);
            self.field("vxlan", "reserved", bytes[7]);
            self.depth += 1;
            self.ether(&bytes[8..]);
        }
    }

    fn gre(&mut self, bytes: &[u8]) {
        if !self.holds("gre", bytes, 4) {
            return;
        }
        let flags = word(bytes, 0);
        self.field("gre", "flags", format!("{flags:#06x}"));
        self.field("gre", "protocol", format!("{:#06x}", word(bytes, 2)));
        let mut at = 4;
        for (bit, name) in [(0x8000, "checksum"), (0x2000, "key"), (0x1000, "sequence")] {
            if flags & bit == 0 {
                continue;
            }
            if !self.holds("gre", bytes, at + 4) {
                return;
            }
            let value = match name {
                "checksum" => judged(word(bytes, at), checksum(&[bytes])),
                _ => format!("{:#010x}", long(bytes, at)),
            };
            self.field("gre", name, value);
            at += 4;
        }
        self.depth += 1;
        self.by_ethertype(word(bytes, 2), &bytes[at..]);
    }
}
