//! What came of a run, as a table.

use std::time::Duration;

use super::step::Kind;
use crate::live::datagrams::{Oddities, Tally, Way};

/// What a step cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What happened.
    pub kind: Kind,
    /// The longest outage of any way.
    pub outage: Duration,
    /// Packets lost on all ways.
    pub lost: usize,
}

/// The table of the steps, by kind.
pub fn steps(costs: &[Cost]) -> String {
    let columns = |[kind, steps, median, worst, lost]: [&str; 5]| {
        format!("{kind:<22} {steps:>5} {median:>14} {worst:>14} {lost:>7}\n")
    };
    let mut text = columns(["WHAT HAPPENED", "STEPS", "MEDIAN OUTAGE", "WORST OUTAGE", "LOST"]);
    for kind in Kind::ALL {
        let of_kind: Vec<&Cost> = costs.iter().filter(|cost| cost.kind == kind).collect();
        let mut outages: Vec<Duration> = of_kind.iter().map(|cost| cost.outage).collect();
        outages.sort_unstable();
        let shown =
            |outage: Option<&Duration>| outage.map_or_else(|| "-".to_owned(), |it| format!("{} ms", it.as_millis()));
        let median = outages.len().checked_sub(1).and_then(|last| outages.get(last / 2));
        let lost = of_kind.iter().map(|cost| cost.lost).sum::<usize>();
        let (steps, lost) = (of_kind.len().to_string(), lost.to_string());
        text += &columns([kind.name(), &steps, &shown(median), &shown(outages.last()), &lost]);
    }
    text
}

/// What became of all packets.
pub fn packets(ways: &[Way], tallies: &[Tally], oddities: &Oddities) -> String {
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let strangers = oddities.astray.iter().filter(|astray| is_stranger(ways, astray.at, astray.of)).count();
    format!(
        "packets: {} sent, {} lost, {} duplicated, {} reordered; wrong tenant {strangers}, wrong way of the tenant {}\n",
        sum(|tally| tally.sent),
        sum(|tally| tally.lost),
        oddities.duplicates,
        oddities.reordered,
        oddities.astray.len() - strangers,
    )
}

/// Whether a packet that says that it is of one way arrived at another tenant's.
pub fn is_stranger(ways: &[Way], at: usize, of: usize) -> bool {
    ways.get(at).map(|way| way.tenant) != ways.get(of).map(|way| way.tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_a_kind_stands_beside_its_worst() {
        let cost = |ms| Cost { kind: Kind::HostDead, outage: Duration::from_millis(ms), lost: 2 };
        let text = steps(&[cost(30), cost(10), cost(900)]);
        let line = text.lines().find(|line| line.starts_with("host without power")).unwrap_or_default();
        assert_eq!(line.split_whitespace().skip(3).collect::<Vec<_>>(), ["3", "30", "ms", "900", "ms", "6"]);
        assert!(text.contains("agent killed               0              -              -       0"), "{text}");
    }
}
