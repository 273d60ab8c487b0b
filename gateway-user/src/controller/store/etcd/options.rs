//! What `--store etcd://…` says.

use super::super::error::at;
use super::super::{Error, Tls};
use etcd_client::{Certificate, Identity, TlsOptions};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const NAMESPACE: &str = "gateway-controller";
const PORT: u16 = 2379;

/// Which cluster, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The members, `host:port`.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub namespace: String,
    /// How the members are known and how they know us; plain HTTP without.
    pub tls: Option<Tls>,
    /// After how long without a sign of life a leader is replaced.
    pub lease: Duration,
    /// How long the members together may take for an answer, elections among them included.
    pub patience: Duration,
    /// How long a change is kept in etcd's history; the leader compacts it. Never, if another does.
    pub history: Option<Duration>,
}

impl Options {
    /// Reads `etcd://host:port,host:port,…` with an optional `/NAMESPACE`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::Invalid(format!(
                "{text:?}: {why}; it is written as etcd://HOST:PORT,HOST:PORT,… or etcd://…/NAMESPACE"
            ))
        };
        let rest = text.strip_prefix("etcd://").ok_or_else(|| wrong("this is no address of an etcd cluster"))?;
        let (members, namespace) = rest.split_once('/').unwrap_or((rest, NAMESPACE));
        let namespace = namespace.trim_end_matches('/');
        if namespace.is_empty() || namespace.contains(char::is_whitespace) {
            return Err(wrong("the namespace is empty or has spaces"));
        }
        let endpoints = members
            .split(',')
            .map(|member| endpoint(member).ok_or_else(|| wrong("a member has no host or a wrong port")));
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            namespace: namespace.into(),
            tls: None,
            lease: Duration::from_secs(3),
            patience: Duration::from_secs(8),
            history: Some(Duration::from_secs(300)),
        })
    }

    /// Whether the files of certificates and keys can be read.
    pub(in crate::controller::store) fn check_files(&self) -> Result<(), Error> {
        let Some(files) = &self.tls else { return Ok(()) };
        let identity = files.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        for path in [&files.ca].into_iter().chain(identity) {
            let text = fs::read_to_string(path).map_err(at(path))?;
            if !text.contains("-----BEGIN ") {
                let remedy = "give certificates and keys as PEM: --store-ca, --store-cert, --store-key";
                return Err(Error::refused(path, "this file holds no certificate or key", remedy));
            }
        }
        Ok(())
    }

    pub(super) fn tls(&self) -> Result<Option<TlsOptions>, Error> {
        let Some(files) = &self.tls else { return Ok(None) };
        let read = |path: &PathBuf| fs::read(path).map_err(at(path));
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&files.ca)?));
        if let Some((certificate, key)) = &files.identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(Some(tls))
    }
}

/// `host`, `host:port`, `[address]` or `[address]:port`, with its port.
fn endpoint(member: &str) -> Option<String> {
    let (host, port) = match member.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (member, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let sound = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    (sound && port != 0).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_a_namespace_are_read() {
        let options = Options::parse("etcd://a,b.example:2380,[fd00::1],[fd00::2]:99/mine").unwrap();
        assert_eq!(options.endpoints, ["a:2379", "b.example:2380", "[fd00::1]:2379", "[fd00::2]:99"]);
        assert_eq!(options.namespace, "mine");
        assert_eq!(Options::parse("etcd://a").unwrap().namespace, NAMESPACE);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_right_form() {
        for text in [
            "",
            "http://a",
            "etcd://",
            "etcd://a,,b",
            "etcd://a:x",
            "etcd://a:0",
            "etcd://a/",
            "etcd://[x]",
            "etcd://a b",
        ] {
            let told = Options::parse(text).unwrap_err().to_string();
            assert!(told.contains("etcd://HOST:PORT"), "{told}");
        }
    }
}
