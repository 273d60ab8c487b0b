//! From what is seen of a gateway to what is wrong with it.
//!
//! | fabric probe | site probe | agent | diagnosis | then |
//! |---|---|---|---|---|
//! | back | back | heard | [`Diagnosis::Well`] | nothing |
//! | back | back | silent | [`Diagnosis::AgentSilent`] | packets flow: the agent is started anew, then the seats are handed over |
//! | lost | back | any | [`Diagnosis::HalfDead`] | its seats are taken |
//! | back | lost | any | [`Diagnosis::HalfDead`] | its seats are taken |
//! | lost | lost | heard | [`Diagnosis::ForwardingDead`] | its seats are taken |
//! | lost | lost | silent | [`Diagnosis::Dead`] | its seats are taken |
//!
//! A path that is not probed is left out. Beyond that, a seat whose through-probe is lost while the gateway is well is taken alone. An
//! observer that sees nobody is itself cut off, and sees nothing; one that sees nobody on one side is cut off there, and goes by the other.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What one question about a gateway has as its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sign {
    /// It is not asked, or nothing has come yet.
    #[default]
    Unknown,
    /// Answers come.
    Good,
    /// They do not come any more.
    Lost,
}

impl From<Option<bool>> for Sign {
    fn from(is_alive: Option<bool>) -> Self {
        match is_alive {
            None => Self::Unknown,
            Some(true) => Self::Good,
            Some(false) => Self::Lost,
        }
    }
}

/// What is seen of a gateway from one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signs {
    /// Probes that its program at the fabric returns.
    pub fabric: Sign,
    /// Probes that its program at the sites returns.
    pub site: Sign,
    /// Its agent's heartbeat.
    pub agent: Sign,
}

impl Signs {
    /// The probes that its program at one side returns.
    pub const fn at(&self, side: Side) -> Sign {
        match side {
            Side::Fabric => self.fabric,
            Side::Site => self.site,
        }
    }
}

/// A side of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where the hosts are.
    Fabric,
    /// Where the sites are.
    Site,
}

/// What is wrong with a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Diagnosis {
    /// Nothing that is seen from here.
    Well,
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// Its agent does not speak, and its packets flow.
    AgentSilent,
    /// It forwards on one side only.
    HalfDead(Side),
    /// It does not forward, and its agent speaks.
    ForwardingDead,
    /// Nothing comes from it.
    Dead,
}

impl Diagnosis {
    /// Whether its seats are better off elsewhere at once: what they are sent is lost.
    pub const fn loses_packets(self) -> bool {
        matches!(self, Self::HalfDead(_) | Self::ForwardingDead | Self::Dead)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Well => "is well",
            Self::Unknown => "is not seen",
            Self::AgentSilent => "forwards, and its agent is silent",
            Self::HalfDead(Side::Fabric) => "does not forward at the fabric",
            Self::HalfDead(Side::Site) => "does not forward at the sites",
            Self::ForwardingDead => "does not forward, and its agent speaks",
            Self::Dead => "is dead",
        })
    }
}

/// What is wrong with each of the gateways that are watched from one place.
///
/// If none of several shows any sign of life, it is the observer that is cut off: it knows nothing of them. The same holds for one side.
pub fn diagnose(watched: &[Signs]) -> Vec<Diagnosis> {
    let is_cut_off_at = |side: Side| {
        let mut signs = watched.iter().map(|signs| signs.at(side)).filter(|sign| *sign != Sign::Unknown).peekable();
        watched.len() > 1 && signs.peek().is_some() && signs.all(|sign| sign == Sign::Lost)
    };
    let (fabric, site) = (is_cut_off_at(Side::Fabric), is_cut_off_at(Side::Site));
    let is_lost = |signs: &Signs| {
        let all = [signs.fabric, signs.site, signs.agent];
        all.contains(&Sign::Lost) && !all.contains(&Sign::Good)
    };
    let is_cut_off = watched.len() > 1 && watched.iter().all(is_lost);
    let of_what_counts = |signs: &Signs| {
        let mut signs = *signs;
        if fabric && !site {
            signs.fabric = Sign::Unknown;
        }
        if site && !fabric {
            signs.site = Sign::Unknown;
        }
        of(signs)
    };
    let is_cut_off = is_cut_off || fabric && site;
    watched.iter().map(|signs| if is_cut_off { Diagnosis::Unknown } else { of_what_counts(signs) }).collect()
}

fn of(Signs { fabric, site, agent }: Signs) -> Diagnosis {
    match (fabric, site, agent) {
        (Sign::Lost, Sign::Good, _) => Diagnosis::HalfDead(Side::Fabric),
        (Sign::Good, Sign::Lost, _) => Diagnosis::HalfDead(Side::Site),
        (Sign::Lost, _, Sign::Good) | (_, Sign::Lost, Sign::Good) => Diagnosis::ForwardingDead,
        (Sign::Lost, _, _) | (_, Sign::Lost, _) => Diagnosis::Dead,
        (Sign::Good, _, Sign::Lost) | (_, Sign::Good, Sign::Lost) => Diagnosis::AgentSilent,
        // Nothing but its agent is watched, which says nothing of its packets.
        (Sign::Unknown, Sign::Unknown, Sign::Lost) => Diagnosis::AgentSilent,
        (Sign::Unknown, Sign::Unknown, Sign::Unknown) => Diagnosis::Unknown,
        _ => Diagnosis::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sign::{Good, Lost, Unknown};

    fn signs(fabric: Sign, site: Sign, agent: Sign) -> Signs {
        Signs { fabric, site, agent }
    }

    #[test]
    fn each_kind_of_failure_is_told_from_the_others() {
        let well = signs(Good, Good, Good);
        for (seen, diagnosis, is_urgent) in [
            (well, Diagnosis::Well, false),
            (signs(Good, Good, Lost), Diagnosis::AgentSilent, false),
            (signs(Good, Unknown, Lost), Diagnosis::AgentSilent, false),
            (signs(Unknown, Unknown, Lost), Diagnosis::AgentSilent, false),
            (signs(Lost, Good, Good), Diagnosis::HalfDead(Side::Fabric), true),
            (signs(Good, Lost, Lost), Diagnosis::HalfDead(Side::Site), true),
            (signs(Lost, Lost, Good), Diagnosis::ForwardingDead, true),
            (signs(Lost, Unknown, Good), Diagnosis::ForwardingDead, true),
            (signs(Lost, Lost, Lost), Diagnosis::Dead, true),
            (signs(Lost, Unknown, Unknown), Diagnosis::Dead, true),
            (Signs::default(), Diagnosis::Unknown, false),
            (signs(Unknown, Unknown, Good), Diagnosis::Well, false),
        ] {
            assert_eq!(diagnose(&[seen, well])[0], diagnosis, "{seen:?}");
            assert_eq!(diagnosis.loses_packets(), is_urgent, "{seen:?}");
        }
    }

    #[test]
    fn who_sees_nobody_is_cut_off_itself() {
        let gone = signs(Lost, Lost, Lost);
        assert_eq!(diagnose(&[gone, signs(Lost, Unknown, Unknown)]), [Diagnosis::Unknown; 2]);
        assert_eq!(diagnose(&[gone, signs(Good, Good, Good)]), [Diagnosis::Dead, Diagnosis::Well]);
        assert_eq!(diagnose(&[gone]), [Diagnosis::Dead], "the only one there is to see");
    }

    #[test]
    fn who_sees_nobody_on_one_side_is_cut_off_there() {
        let half = signs(Lost, Good, Good);
        assert_eq!(diagnose(&[half, half]), [Diagnosis::Well; 2], "it is the observer's own port");
        assert_eq!(diagnose(&[half, signs(Good, Good, Good)]), [Diagnosis::HalfDead(Side::Fabric), Diagnosis::Well]);
        assert_eq!(
            diagnose(&[half, signs(Lost, Lost, Lost)]),
            [Diagnosis::Well, Diagnosis::Dead],
            "by the sites alone"
        );
        assert_eq!(diagnose(&[half]), [Diagnosis::HalfDead(Side::Fabric)], "the only one there is to see");
        let unanswered = signs(Lost, Lost, Good);
        assert_eq!(diagnose(&[unanswered, unanswered]), [Diagnosis::Unknown; 2], "no port of the observer's works");
    }
}
