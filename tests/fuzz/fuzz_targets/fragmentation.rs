//! An inner packet that is cut: its pieces fit the MTU, and hold its payload in order.
#![no_main]

use gateway_user::gateway::fragmentation::fragment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (mtu, packet) = input;
    let mtu = usize::from(mtu);
    let Ok(pieces) = fragment(packet, mtu) else { return };
    let header_len = |packet: &[u8]| usize::from(packet[0] & 0x0f) * 4;
    let mut payload = Vec::new();
    for piece in &pieces {
        assert!(piece.len() <= mtu, "a piece of {} bytes over an MTU of {mtu}", piece.len());
        payload.extend_from_slice(&piece[header_len(piece)..]);
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    assert_eq!(payload, &packet[header_len(packet)..total]);
});
