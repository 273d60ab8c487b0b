//! The server's side of TLS: its certificate, which is renewed under way, and whose certificates it takes.

use super::authority::{Authority, Credential, SERVER_LIFETIME};
use super::subject;
use crate::agent::token::Fingerprint;
use anyhow::{Context, ensure};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use time::OffsetDateTime;

/// How often the server's certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Where the server's certificate comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The authority issues it, for these names and addresses, and again before it expires.
    Issued(Vec<String>),
    /// The operator's files (PEM), read again when they change. The chain ends with its authority's certificate.
    Files {
        /// The certificate and its chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// The server's certificate at present.
#[derive(Debug)]
pub struct Certificate {
    origin: Origin,
    authority: Arc<Authority>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// The first one.
    ///
    /// # Errors
    /// It cannot be issued or read.
    pub fn new(origin: Origin, authority: Arc<Authority>) -> anyhow::Result<Arc<Self>> {
        let current = RwLock::new(Arc::new(obtain(&origin, &authority)?));
        Ok(Arc::new(Self { origin, authority, current }))
    }

    /// The certificate by which agents know this server: the last one of its chain.
    pub fn pinned(&self) -> anyhow::Result<Fingerprint> {
        let current = self.current();
        Ok(Fingerprint::of(current.cert.last().context("the server's certificate has no chain")?))
    }

    /// Takes another one when it is time. To be spawned.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self.renew(OffsetDateTime::now_utc()) {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the server's certificate could not be renewed; trying again"
                );
            }
        }
    }

    fn renew(&self, now: OffsetDateTime) -> anyhow::Result<()> {
        let current = self.current();
        let until = subject::facts(current.end_entity_cert()?)?.not_after;
        if matches!(self.origin, Origin::Issued(_)) && until - now > SERVER_LIFETIME / 3 {
            return Ok(());
        }
        let next = Arc::new(obtain(&self.origin, &self.authority)?);
        if next.cert != current.cert {
            tracing::info!(until = %subject::facts(next.end_entity_cert()?)?.not_after.date(), "the server has another certificate");
            *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = next;
        }
        Ok(())
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn obtain(origin: &Origin, authority: &Authority) -> anyhow::Result<CertifiedKey> {
    let Credential { chain, key } = match origin {
        Origin::Issued(names) => authority.server(names)?,
        Origin::Files { certificate, key } => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("cannot read certificates from {} (PEM)", certificate.display()))?;
            let last = chain.last().with_context(|| format!("{} holds no certificate", certificate.display()))?;
            ensure!(
                subject::facts(last)?.is_authority,
                "{}: the chain does not end with an authority's certificate, by which agents know the server; append it",
                certificate.display()
            );
            let until = subject::facts(&chain[0])?.not_after;
            ensure!(
                until > OffsetDateTime::now_utc(),
                "{}: the certificate expired on {}",
                certificate.display(),
                until.date()
            );
            let key = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("cannot read a private key from {} (PEM)", key.display()))?;
            Credential { chain, key }
        }
    };
    CertifiedKey::from_der(chain, key, &provider()).context("the server's certificate and key do not belong together")
}

/// The cryptography that is used.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How the server speaks TLS: a client shows a good certificate of the authority's, or none and then a token.
///
/// # Errors
/// The authority's certificate is no trust anchor.
pub fn server_config(authority: &Authority, certificate: Arc<Certificate>) -> anyhow::Result<Arc<ServerConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Known(verifier)))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not look at the client's certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Whose certificates are taken: the authority's, and of these only such as say who they are for. A server's is nobody's who asks.
#[derive(Debug)]
struct Known(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Known {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(certificate, intermediates, now)?;
        let known = subject::facts(certificate).is_ok_and(|facts| facts.subject.is_some());
        if known { Ok(verified) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Why a handshake failed, for a person.
pub fn reason(error: &std::io::Error) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return format!("the connection broke during the handshake: {error}");
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the client's certificate has expired".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the client's certificate is not valid yet; compare the clocks".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the client's certificate is not from this controller's authority".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "the client's certificate does not say who it is for".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("the client's certificate is not good: {other}"),
        rustls::Error::AlertReceived(alert) => format!("the client does not trust this server or gave up ({alert:?})"),
        rustls::Error::PeerIncompatible(_) => "the client speaks no TLS that is taken here (1.2 or 1.3)".to_owned(),
        rustls::Error::InvalidMessage(_) => "the client does not speak TLS".to_owned(),
        other => other.to_string(),
    }
}
