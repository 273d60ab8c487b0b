//! Bytes from a BGP neighbour: what is taken from an UPDATE has attributes in their canonical form, and can be said again.
#![no_main]

use bgp::attributes::Attributes;
use bgp::number::{Asn, Family};
use bgp::wire::{Encoder, FirstAs, Framing, Message, Peering, Unreadable, UpdateContext, decode_update};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let flag = |bit: u8| how & (1 << bit) != 0;
    let context = UpdateContext {
        peering: if flag(0) { Peering::Internal } else { Peering::External },
        peer_asn: Asn(65002),
        first_as: FirstAs::Any,
        four_octet: flag(1),
        families: Family::ALL.to_vec(),
        add_path: if flag(2) { Family::ALL.to_vec() } else { Vec::new() },
        extended_next_hop: flag(3),
        role: None,
        own: Vec::new(),
        unreadable: if flag(4) { Unreadable::DisableFamily } else { Unreadable::ResetSession },
    };
    let mut framing = Framing::default();
    if flag(5) {
        framing.extend();
    }
    framing.push(bytes);
    while let Some(Ok(received)) = framing.next() {
        let Message::Update(fields) = received.message else { continue };
        let Ok(update) = decode_update(&fields, &context) else { continue };
        for announcement in &update.announced {
            let attributes = Attributes::decode(&announcement.attributes).expect("canonical bytes can be read");
            let mut again = Vec::new();
            attributes.encode(&mut again);
            assert_eq!(&announcement.attributes[..], &again[..]);
            let encoder = Encoder { limit: framing.limit(), four_octet: true, add_path: context.add_path.clone() };
            let mut written = BytesMut::new();
            let mut list = announcement.prefixes.iter().peekable();
            while list.peek().is_some() {
                if encoder.announce(announcement.prefixes.family(), &again, &mut list, &mut written).is_err() {
                    break;
                }
            }
        }
    }
});
