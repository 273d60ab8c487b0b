//! The agent's side of TLS: which controller it believes, and what it shows.

use super::token::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, OnceLock};

/// How a client shows who it is.
pub enum Shown {
    /// By a certificate.
    Certificate(CertificateDer<'static>, PrivateKeyDer<'static>),
    /// Not at all.
    Nothing,
}

/// Believes the controllers whose certificates come from this authority.
///
/// # Errors
/// The authority, certificate or key is none.
pub fn config(authority: &CertificateDer<'static>, shown: Shown) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match shown {
        Shown::Certificate(certificate, key) => builder.with_client_auth_cert(vec![certificate], key)?,
        Shown::Nothing => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Believes a controller in whose chain this certificate stands, which is how a token names it.
///
/// # Errors
/// None that could be met.
pub fn pinned(fingerprint: Fingerprint) -> Result<(Arc<ClientConfig>, Arc<Pinned>), rustls::Error> {
    let pinned = Arc::new(Pinned { fingerprint, provider: provider(), authority: OnceLock::new() });
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    Ok((Arc::new(config), pinned))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Looks for one certificate in the controller's chain, and takes it for the authority.
#[derive(Debug)]
pub struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
    authority: OnceLock<CertificateDer<'static>>,
}

impl Pinned {
    /// The authority, once a controller was believed.
    pub fn authority(&self) -> Option<CertificateDer<'static>> {
        self.authority.get().cloned()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|candidate| Fingerprint::of(candidate) == self.fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        // Everything else is as ever: signatures, dates, the name that was asked for.
        let verified = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        let _ = self.authority.set(authority.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a controller could not be spoken to, for a person.
pub fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "the controller's certificate is not from the authority that this agent joined; is it another controller?"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the controller's certificate is not for this name; give the controller the name with --advertise"
            .to_owned(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the controller's certificate has expired, or this host's clock is wrong".to_owned(),
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired)) => {
            "this agent's certificate has expired; let it join again with a token".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the controller refused this agent's certificate ({alert:?})")
        }
        _ => error.to_string(),
    }
}
