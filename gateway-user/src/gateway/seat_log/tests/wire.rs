//! Messages on the wire.

use super::super::entries::{LogId, Name, Record, Sequence, Ways};
use super::super::message::{FRAME_LIMIT, Following, Message, WireError, exercise};
use crate::dataplane::learned::{Via, Way};
use bytes::{BufMut, BytesMut};
use gateway_common::Epoch;
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]{1,8}".prop_map(Name::from)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), 0u8..=128).prop_map(|(address, length)| {
        IpNet::new(address, if address.is_ipv4() { length % 33 } else { length }).expect("in range").trunc()
    })
}

fn way() -> impl Strategy<Value = Way> {
    let via = prop_oneof![name().prop_map(|name| Via::Connection((*name).into())), address().prop_map(Via::Gateway)];
    (via, address()).prop_map(|(via, next_hop)| Way { via, next_hop })
}

fn ways() -> impl Strategy<Value = Ways> {
    proptest::collection::vec(way(), 0..4).prop_map(Ways::from)
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (name(), name(), address(), any::<Option<[u8; 6]>>())
            .prop_map(|(tenant, connection, address, mac)| Record::neighbour(tenant, connection, address, mac)),
        (name(), prefix(), ways()).prop_map(|(tenant, prefix, ways)| Record::route(tenant, prefix, ways)),
        name().prop_map(Record::complete),
        name().prop_map(|tenant| Record::gone(Record::complete(tenant).key)),
    ]
}

fn log() -> impl Strategy<Value = LogId> {
    any::<(u64, u64)>().prop_map(|(epoch, life)| LogId { epoch: Epoch(epoch), life })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    any::<u64>().prop_map(Sequence)
}

fn message() -> impl Strategy<Value = Message> {
    let seat = || name().prop_map(|name| seat::SeatName::from(&*name));
    let following = (seat(), proptest::option::of((log(), sequence())));
    let following = following.prop_map(|(seat, has)| Following { seat, has });
    prop_oneof![
        any::<u16>().prop_map(|protocol| Message::Hello { protocol }),
        proptest::collection::vec(following, 0..4).prop_map(Message::Follow),
        (seat(), log(), sequence()).prop_map(|(seat, log, after)| Message::Begin { seat, log, after }),
        (seat(), log(), sequence(), sequence(), proptest::collection::vec(record(), 0..8))
            .prop_map(|(seat, log, after, upto, records)| Message::Records { seat, log, after, upto, records }),
        (seat(), log(), sequence(), sequence()).prop_map(|(seat, log, after, at)| Message::Whole {
            seat,
            log,
            after,
            at
        }),
        (seat(), any::<u64>()).prop_map(|(seat, epoch)| Message::Ended { seat, epoch: Epoch(epoch) }),
        (seat(), log(), sequence()).prop_map(|(seat, log, at)| Message::Acknowledged { seat, log, at }),
        (seat(), log()).prop_map(|(seat, log)| Message::Again { seat, log }),
        (seat(), any::<u64>()).prop_map(|(seat, epoch)| Message::Refused { seat, epoch: Epoch(epoch) }),
        Just(Message::Alive),
    ]
}

proptest! {
    #[test]
    fn messages_are_read_as_they_were_written(messages in proptest::collection::vec(message(), 1..6)) {
        let mut bytes = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut bytes));
        exercise(&bytes);
        for message in messages {
            prop_assert_eq!(Message::decode(&mut bytes), Ok(Some(message)));
        }
        prop_assert_eq!(Message::decode(&mut bytes), Ok(None));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
        // With a length that fits, more of them are looked at.
        let mut framed = BytesMut::new();
        framed.put_u32(bytes.len() as u32);
        framed.extend_from_slice(&bytes);
        exercise(&framed);
    }
}

#[test]
fn what_is_too_large_too_short_or_too_long_is_refused() {
    let decode = |bytes: &[u8]| Message::decode(&mut BytesMut::from(bytes));
    assert_eq!(decode(&((FRAME_LIMIT + 1) as u32).to_be_bytes()), Err(WireError::Large(FRAME_LIMIT + 1)));
    assert_eq!(decode(&[0, 0, 0, 0]), Err(WireError::Short));
    assert_eq!(decode(&[0, 0, 0, 2, 1, 0]), Err(WireError::Short));
    assert_eq!(decode(&[0, 0, 0, 4, 1, 0, 1, 0]), Err(WireError::Long));
    assert_eq!(decode(&[0, 0, 0, 1, 99]), Err(WireError::Bad("kind")));
}

#[test]
fn seeds_of_the_fuzz_target_are_messages() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/seat_log");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("the corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a seed");
        let mut buffer = BytesMut::from(&bytes[..]);
        while !buffer.is_empty() {
            Message::decode(&mut buffer).expect("a good message").expect("a whole message");
            seen += 1;
        }
    }
    assert!(seen > 0);
}
