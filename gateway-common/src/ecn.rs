//! DSCP and ECN between inner and outer headers: RFC 6040 in its normal mode, DSCP by the uniform model (RFC 2983).

/// The two ECN bits of a traffic class (RFC 3168 section 5).
const ECN_MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// The traffic class of the outer header: the inner one's, DSCP and ECN both (RFC 6040 section 4.1).
#[inline(always)]
pub const fn encapsulate(inner: u8) -> u8 {
    inner
}

/// The inner traffic class after decapsulation (RFC 6040 section 4.2), or `None` where the packet must be dropped:
/// congestion was marked on a packet whose transport does not understand it. The inner DSCP stays.
#[inline(always)]
pub const fn decapsulate(inner: u8, outer: u8) -> Option<u8> {
    let dscp = inner & !ECN_MASK;
    match (inner & ECN_MASK, outer & ECN_MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(inner),
        (_, CE) => Some(dscp | CE),
        (CE, _) => Some(inner),
        (_, ECT_1) => Some(dscp | ECT_1),
        _ => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decapsulation_follows_the_table_of_rfc_6040() {
        const ECT_0: u8 = 0b10;
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE. Columns: outer the same. Figure 4 of the RFC.
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                let inner_class = 0b1011_1000 | inner;
                let outer_class = 0b0000_0100 | outer;
                assert_eq!(
                    decapsulate(inner_class, outer_class),
                    expected.map(|ecn| 0b1011_1000 | ecn),
                    "inner {inner:02b}, outer {outer:02b}"
                );
            }
        }
    }

    #[test]
    fn the_outer_class_is_the_inner_one() {
        assert_eq!(encapsulate(0b1011_1011), 0b1011_1011);
    }
}
