//! Where a controller is.

use std::fmt;
use std::str::FromStr;

/// The port where a controller listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 8443;

/// A controller's address: `https://host`, with a port if it is not [`DEFAULT_PORT`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControllerAddress {
    host: Box<str>,
    port: u16,
}

/// This is no controller's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no controller's address; write it as https://NAME:PORT or https://ADDRESS:PORT, without a path")]
pub struct AddressError(String);

impl ControllerAddress {
    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ControllerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let rest = text.strip_prefix("https://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?)
            }
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || !host.chars().all(good) {
            return Err(wrong());
        }
        let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().map_err(|_| wrong())? };
        Ok(Self { host: host.into(), port })
    }
}

impl fmt::Display for ControllerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        for (text, shown) in [
            ("https://controller", "https://controller:8443"),
            ("https://10.0.0.1:443/", "https://10.0.0.1:443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:8443"),
            ("https://[2001:db8::1]:1", "https://[2001:db8::1]:1"),
        ] {
            let address: ControllerAddress = text.parse().expect("good");
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for bad in [
            "",
            "controller",
            "http://a",
            "https://",
            "https://a:b",
            "https://a/b",
            "https://[::1",
            "https://[a]",
            "https://[::1]x",
        ] {
            assert!(bad.parse::<ControllerAddress>().is_err(), "{bad}");
        }
    }
}
