//! What an agent shows to be known by: its key, its certificate, and the authority that it believes. Kept in files of mode 0600.

use super::files;
use super::tls::{self, Shown};
use super::token::Fingerprint;
use crate::controller::model::records::AgentId;
use crate::controller::server::subject::{self, Subject};
use crate::gateway::seat_log::tls::Identity;
use anyhow::{Context, bail, ensure};
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;

const KEY: &str = "agent.key";
const CERTIFICATE: &str = "agent.crt";
const AUTHORITY: &str = "authority.crt";

/// An agent's key, made before it has a certificate and kept for as long as the agent lives.
pub struct Key(KeyPair);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// The key in a directory; made if there is none.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(KEY);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let pair = KeyPair::from_pem(&text).with_context(|| {
                    format!("{} is damaged; remove it and let the agent join again with a token", path.display())
                })?;
                Ok(Self(pair))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = KeyPair::generate()?;
                files::create_private_directory(directory)
                    .and_then(|()| files::write_private(&path, pair.serialize_pem().as_bytes()))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(Self(pair))
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Asks for a certificate, as PEM.
    ///
    /// # Errors
    /// None that could be met.
    pub fn request(&self) -> anyhow::Result<String> {
        Ok(CertificateParams::default().serialize_request(&self.0)?.pem()?)
    }
}

/// All that an agent is known by.
#[derive(Debug)]
pub struct Credentials {
    directory: PathBuf,
    key: Key,
    agent: AgentId,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Credentials {
    /// Those in a directory; none if the agent has not joined yet.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn load(directory: &Path) -> anyhow::Result<Option<Self>> {
        let (certificate, authority) = (directory.join(CERTIFICATE), directory.join(AUTHORITY));
        if !certificate.exists() || !authority.exists() {
            return Ok(None);
        }
        let read = |path: &Path| {
            CertificateDer::from_pem_file(path).with_context(|| {
                format!("{} is damaged; remove it and let the agent join again with a token", path.display())
            })
        };
        Self::new(directory, Key::open(directory)?, read(&certificate)?, read(&authority)?).map(Some)
    }

    fn new(
        directory: &Path,
        key: Key,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> anyhow::Result<Self> {
        use rcgen::PublicKeyData;
        let facts = subject::facts(&certificate)?;
        let Some(Subject::Agent(agent)) = facts.subject else { bail!("the certificate is no agent's") };
        ensure!(
            facts.key.0 == Fingerprint::of(&key.0.subject_public_key_info()).0,
            "the certificate is not for the key in {}; let the agent join again with a token",
            directory.display()
        );
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        Ok(Self { directory: directory.to_owned(), key, agent, certificate, authority, not_before, not_after })
    }

    /// Keeps what the controller issued.
    ///
    /// # Errors
    /// It is not for this key, or cannot be written.
    pub fn save(directory: &Path, certificate: &str, authority: &CertificateDer<'static>) -> anyhow::Result<Self> {
        let certificate_der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).context("the controller sent no certificate")?;
        let made = Self::new(directory, Key::open(directory)?, certificate_der, authority.clone())?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            files::write_private(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
        };
        // The certificate last: with it the agent counts as joined.
        write(AUTHORITY, &pem(authority))?;
        write(CERTIFICATE, certificate)?;
        Ok(made)
    }

    /// Keeps the next certificate.
    ///
    /// # Errors
    /// It is not for this key, or cannot be written.
    pub fn renewed(&self, certificate: &str) -> anyhow::Result<Self> {
        Self::save(&self.directory, certificate, &self.authority)
    }

    /// Who the agent is.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When its certificate expires.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// When to ask for the next certificate: in the middle of this one's life.
    pub fn renewal(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) / 2
    }

    /// How to show other gateways who this one is.
    pub fn identity(&self) -> Identity {
        Identity {
            certificate: self.certificate.clone(),
            key: PrivatePkcs8KeyDer::from(self.key.0.serialize_der()).into(),
            authority: self.authority.clone(),
        }
    }

    /// How to speak to controllers.
    ///
    /// # Errors
    /// None that could be met.
    pub fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = PrivatePkcs8KeyDer::from(self.key.0.serialize_der()).into();
        tls::config(&self.authority, Shown::Certificate(self.certificate.clone(), key))
    }
}

/// A certificate as PEM.
pub fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
