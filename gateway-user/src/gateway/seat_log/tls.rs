//! Who is at the other end: gateways show each other the certificates by which the controller knows them.
//!
//! An agent's certificate is for an agent and for nothing else, so it is checked the same way at either end: issued by the authority that
//! this gateway joined, for showing who one is, and in the name of a gateway. Which one that is, is compared with the plan.

use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::server::subject::{self, Subject};
use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use seat::GatewayName;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What a gateway shows of itself, and whom it believes.
pub struct Identity {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The key of it.
    pub key: PrivateKeyDer<'static>,
    /// The authority that issued it, and those of the other gateways.
    pub authority: CertificateDer<'static>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Both ends of connections between gateways.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    identity: Arc<Identity>,
    server: Arc<ServerConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// By an identity.
    ///
    /// # Errors
    /// Its parts do not belong together, or are none.
    pub fn new(identity: Identity) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(identity.authority.clone()).context("the authority's certificate is none")?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
        // A resumed session would not show the certificate again.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { provider, verifier, identity: Arc::new(identity), server: Arc::new(server) })
    }

    /// Takes a connection: by whom it is.
    ///
    /// # Errors
    /// It is by no gateway that joined the same controllers, or broke.
    pub async fn accept(&self, stream: TcpStream) -> anyhow::Result<(server::TlsStream<TcpStream>, Id)> {
        let stream = TlsAcceptor::from(self.server.clone()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let gateway = shown.and_then(gateway_of).context("its certificate is no gateway's")?;
        Ok((stream, gateway))
    }

    /// Makes a connection to a gateway, which has to be the one of this name.
    ///
    /// # Errors
    /// It is another, or the connection broke.
    pub async fn connect(
        &self,
        stream: TcpStream,
        gateway: &GatewayName,
        address: IpAddr,
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        let expected = Id::from(gateway.as_str());
        let verifier = Arc::new(OneGateway { expected, verifier: self.verifier.clone() });
        let other = std::io::Error::other;
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.identity.certificate.clone()], self.identity.key.clone_key())
            .map_err(other)?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(address.into()), stream).await
    }
}

/// The gateway that a certificate is for.
fn gateway_of(certificate: &CertificateDer<'_>) -> Option<Id> {
    match subject::facts(certificate).ok()?.subject? {
        Subject::Agent(AgentId { role: Role::Gateway, id }) => Some(id),
        _ => None,
    }
}

/// Believes one gateway, by whatever address it is reached.
#[derive(Debug)]
struct OneGateway {
    expected: Id,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ServerCertVerifier for OneGateway {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_client_cert(certificate, intermediates, now)?;
        if gateway_of(certificate).as_ref() == Some(&self.expected) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Why another gateway could not be spoken to, for a person.
pub fn reason(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)) => {
            "another gateway than the plan says answers at its address; are the gateways' fabric addresses right?"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is not from the authority that this gateway joined; is it another controller's gateway?"
                .to_owned()
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired, or this host's clock is wrong".to_owned(),
        Some(rustls::Error::AlertReceived(alert)) => format!("it refused this gateway's certificate ({alert:?})"),
        _ => error.to_string(),
    }
}
