//! What seats, gateways and voters are called.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// As it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    };
}

name!(
    /// A seat.
    SeatName
);
name!(
    /// A gateway of the pool.
    GatewayName
);

/// Who has a vote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voter {
    /// A gateway of the pool.
    Gateway(GatewayName),
    /// All controllers together: their leader speaks for them.
    Controllers,
}

impl Voter {
    /// The gateway, if it is one.
    pub const fn as_gateway(&self) -> Option<&GatewayName> {
        match self {
            Self::Gateway(name) => Some(name),
            Self::Controllers => None,
        }
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(name) => name.fmt(formatter),
            Self::Controllers => formatter.write_str("the controllers"),
        }
    }
}
