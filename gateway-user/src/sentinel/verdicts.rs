//! From what is seen of a gateway to what is thought of it as a seat's holder.

use seat::Opinion;
use seat::watch::{Diagnosis, Sign};

/// What is thought of a gateway as the holder of a seat: by what is wrong with it as a whole, and by probes that went through it as the seat's
/// packets do.
pub fn opinion(diagnosis: Diagnosis, through: impl IntoIterator<Item = Sign>) -> Opinion {
    match diagnosis {
        diagnosis if diagnosis.loses_packets() => Opinion::Gone,
        Diagnosis::Unknown => Opinion::Unknown,
        _ if through.into_iter().any(|sign| sign == Sign::Lost) => Opinion::Gone,
        _ => Opinion::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sign::{Good, Lost, Unknown};
    use seat::watch::Side;

    #[test]
    fn a_seat_is_gone_with_its_gateway_or_alone() {
        for (diagnosis, through, expected) in [
            (Diagnosis::Well, [Good, Good], Opinion::Alive),
            (Diagnosis::Well, [Unknown, Unknown], Opinion::Alive),
            (Diagnosis::Well, [Good, Lost], Opinion::Gone),
            (Diagnosis::AgentSilent, [Good, Good], Opinion::Alive),
            (Diagnosis::AgentSilent, [Lost, Lost], Opinion::Gone),
            (Diagnosis::HalfDead(Side::Site), [Unknown, Unknown], Opinion::Gone),
            (Diagnosis::Dead, [Good, Good], Opinion::Gone),
            (Diagnosis::Unknown, [Lost, Lost], Opinion::Unknown),
        ] {
            assert_eq!(opinion(diagnosis, through), expected, "{diagnosis:?} {through:?}");
        }
    }
}
