//! Prefixes, exact or with a range of lengths.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Prefixes inside a network whose length is in a range: `10.0.0.0/8 ge 16 le 24`; without a range the network itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixPattern {
    network: IpNet,
    shortest: u8,
    longest: u8,
}

/// A pattern that no prefix, or not what was meant, would match.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadPattern {
    /// No prefix stands at its start.
    #[error("{0:?} is no prefix: write 10.0.0.0/8, or 10.0.0.0/8 ge 16 le 24")]
    NoPrefix(String),
    /// Bits are set behind the prefix's length.
    #[error("{0} has bits set behind its length; the prefix is {1}")]
    HostBits(IpNet, IpNet),
    /// The lengths are no range from the prefix's own to the family's longest.
    #[error("{network} ge {shortest} le {longest} matches nothing: the lengths must rise from {own} to at most {max}")]
    Lengths {
        /// The network.
        network: IpNet,
        /// What `ge` said.
        shortest: u8,
        /// What `le` said.
        longest: u8,
        /// The network's own length.
        own: u8,
        /// The family's longest.
        max: u8,
    },
}

impl PrefixPattern {
    /// The network itself and nothing else.
    pub fn exact(network: IpNet) -> Result<Self, BadPattern> {
        Self::new(network, network.prefix_len(), network.prefix_len())
    }

    /// The prefixes inside the network with these lengths.
    pub fn new(network: IpNet, shortest: u8, longest: u8) -> Result<Self, BadPattern> {
        if network.trunc() != network {
            return Err(BadPattern::HostBits(network, network.trunc()));
        }
        let (own, max) = (network.prefix_len(), network.max_prefix_len());
        if own <= shortest && shortest <= longest && longest <= max {
            Ok(Self { network, shortest, longest })
        } else {
            Err(BadPattern::Lengths { network, shortest, longest, own, max })
        }
    }
}

impl FromStr for PrefixPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let wrong = || BadPattern::NoPrefix(text.to_owned());
        let mut words = text.split_whitespace();
        let network: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let (mut shortest, mut longest) = (None, None);
        while let Some(word) = words.next() {
            let place = match word {
                "ge" if shortest.is_none() => &mut shortest,
                "le" if longest.is_none() => &mut longest,
                _ => return Err(wrong()),
            };
            *place = Some(words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?);
        }
        let (own, max) = (network.prefix_len(), network.max_prefix_len());
        match (shortest, longest) {
            (None, None) => Self::exact(network),
            (Some(shortest), None) => Self::new(network, shortest, max),
            (None, Some(longest)) => Self::new(network, own, longest),
            (Some(shortest), Some(longest)) => Self::new(network, shortest, longest),
        }
    }
}

impl fmt::Display for PrefixPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.network.prefix_len();
        self.network.fmt(f)?;
        if self.shortest == self.longest && self.shortest == own {
            return Ok(());
        }
        if self.shortest > own {
            write!(f, " ge {}", self.shortest)?;
        }
        if self.longest < self.network.max_prefix_len() || self.shortest == own {
            write!(f, " le {}", self.longest)
        } else {
            Ok(())
        }
    }
}

/// Any of several patterns. Looking a prefix up takes as many steps as there are lengths, not patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    by_network: BTreeMap<IpNet, Vec<(u8, u8)>>,
    lengths: Vec<u8>,
}

impl PrefixList {
    /// The list of these patterns.
    pub fn new(patterns: impl IntoIterator<Item = PrefixPattern>) -> Self {
        let mut by_network: BTreeMap<IpNet, Vec<(u8, u8)>> = BTreeMap::new();
        for pattern in patterns {
            by_network.entry(pattern.network).or_default().push((pattern.shortest, pattern.longest));
        }
        let mut lengths: Vec<u8> = by_network.keys().map(IpNet::prefix_len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { by_network, lengths }
    }

    /// Whether it has no pattern.
    pub fn is_empty(&self) -> bool {
        self.by_network.is_empty()
    }

    /// Its patterns, by network.
    pub fn patterns(&self) -> impl Iterator<Item = PrefixPattern> + '_ {
        self.by_network.iter().flat_map(|(network, ranges)| {
            ranges.iter().map(|(shortest, longest)| PrefixPattern {
                network: *network,
                shortest: *shortest,
                longest: *longest,
            })
        })
    }

    /// Whether a pattern matches the prefix.
    pub fn matches(&self, prefix: IpNet) -> bool {
        let length = prefix.prefix_len();
        self.lengths.iter().take_while(|own| **own <= length).any(|own| {
            let network = IpNet::new(prefix.addr(), *own).map(|network| network.trunc());
            let ranges = network.ok().and_then(|network| self.by_network.get(&network));
            ranges.is_some_and(|ranges| ranges.iter().any(|(short, long)| (*short..=*long).contains(&length)))
        })
    }
}

impl fmt::Display for PrefixList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pattern) in self.patterns().enumerate() {
            if position == 4 {
                return f.write_str(", …");
            }
            write!(f, "{}{pattern}", if position > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
