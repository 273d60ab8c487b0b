//! The certificate authority: the controller's own, made at its first start, or the operator's.
//!
//! It issues the server's certificate and those of agents and clients. A certificate's subject says who it is for:
//!
//! | organization | common name | unit |
//! |---|---|---|
//! | `gateway-agents` | role and id, as in `gateway/GW1` | |
//! | `gateway-admins` | the client's name | |
//! | `gateway-readers` | the client's name | |
//! | `gateway-tenants` | the client's name | the tenant's id |

use super::service::KeyId;
use super::subject::{self, Subject};
use crate::agent::files;
use crate::agent::token::{Client, ClientRole, Fingerprint};
use crate::controller::model::records::AgentId;
use anyhow::{Context, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// How long the authority's own certificate is good.
const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// How long the server's certificate is good. It is renewed in the last third.
pub const SERVER_LIFETIME: Duration = Duration::days(90);
/// How long an agent's certificate is good. Its agent renews it in the second half: so long may a controller be away.
pub const AGENT_LIFETIME: Duration = Duration::days(14);
/// How far clocks may be apart.
const SKEW: Duration = Duration::minutes(5);

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

/// Issues certificates. Its key never leaves it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    secret: ring::hmac::Key,
}

/// A certificate with its chain, and the key that belongs to it.
pub struct Credential {
    /// The certificate first, its authority last.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// A client's certificate and key, as PEM.
pub struct ClientCredential {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({} certificates)", self.chain.len())
    }
}

impl std::fmt::Debug for ClientCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCredential(…)")
    }
}

impl Authority {
    /// The authority in a data directory; made if there is none.
    ///
    /// # Errors
    /// It cannot be read or written, or only half of it is there.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (data.join(CERTIFICATE), data.join(KEY));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::load(&certificate, &key),
            (true, false) => bail!(
                "{} is there without {}; put the key back from a backup, or remove the certificate to begin with a new authority (every agent has to join again)",
                certificate.display(),
                key.display()
            ),
            // The key is written first, so a crash between the two leaves this.
            (false, _) => {
                files::create_private_directory(data).with_context(|| format!("cannot make {}", data.display()))?;
                Self::create(&certificate, &key)
            }
        }
    }

    fn create(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let pair = KeyPair::generate()?;
        let mut params = blank(AUTHORITY_LIFETIME)?;
        params.distinguished_name.push(DnType::CommonName, "gateway controller");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = params.self_signed(&pair)?;
        files::write_private(key, pair.serialize_pem().as_bytes())
            .with_context(|| format!("cannot write {}", key.display()))?;
        files::write_private(certificate, made.pem().as_bytes())
            .with_context(|| format!("cannot write {}", certificate.display()))?;
        Self::new(made.der().clone(), pair)
    }

    /// An operator's own authority.
    ///
    /// # Errors
    /// It cannot be read, is no authority, or certificate and key do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let der = CertificateDer::from_pem_file(certificate)
            .with_context(|| format!("cannot read the authority's certificate from {} (PEM)", certificate.display()))?;
        let text = fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
        let pair = KeyPair::from_pem(&text)
            .with_context(|| format!("{} holds no private key that can be used (PEM, PKCS #8)", key.display()))?;
        Self::new(der, pair).with_context(|| format!("{} and {}", certificate.display(), key.display()))
    }

    fn new(certificate: CertificateDer<'static>, pair: KeyPair) -> anyhow::Result<Self> {
        let facts = subject::facts(&certificate)?;
        ensure!(facts.is_authority, "the certificate is no authority's (CA:TRUE is missing)");
        ensure!(facts.key == key_id(&pair.subject_public_key_info()), "certificate and key do not belong together");
        ensure!(
            facts.not_after > OffsetDateTime::now_utc(),
            "the authority's certificate expired on {}",
            facts.not_after.date()
        );
        if facts.not_after < OffsetDateTime::now_utc() + SERVER_LIFETIME {
            tracing::warn!(until = %facts.not_after.date(), "the authority's certificate expires soon; every agent depends on it");
        }
        // Tokens are signed with a key that follows from the authority's: all controllers that share the one share the other.
        let salt = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"gateway controller tokens 1");
        let secret =
            ring::hmac::Key::new(ring::hmac::HMAC_SHA256, ring::hmac::sign(&salt, pair.serialized_der()).as_ref());
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)?;
        Ok(Self { issuer, certificate, secret })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// What signs tokens.
    pub(super) fn secret(&self) -> &ring::hmac::Key {
        &self.secret
    }

    /// A certificate for the server, with a key of its own.
    ///
    /// # Errors
    /// A name is none.
    pub fn server(&self, names: &[String]) -> anyhow::Result<Credential> {
        let pair = KeyPair::generate()?;
        let mut params = blank(SERVER_LIFETIME)?;
        // Not the authority's own name: OpenSSL takes a certificate whose subject is its issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, "gateway controller server");
        params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<anyhow::Result<_>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&pair, &self.issuer)?;
        Ok(Credential {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
        })
    }

    /// The public key of a signing request, which is signed with it.
    ///
    /// # Errors
    /// It is no good request.
    pub fn requested_key(request: &str) -> anyhow::Result<KeyId> {
        Ok(key_id(&read_request(request)?.public_key.subject_public_key_info()))
    }

    /// A certificate for an agent, as PEM. Of the request only the key counts.
    ///
    /// # Errors
    /// It is no good request.
    pub fn agent(&self, agent: &AgentId, request: &str) -> anyhow::Result<String> {
        let mut request = read_request(request)?;
        request.params = params(&Subject::Agent(agent.clone()), AGENT_LIFETIME)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// A certificate and key for a client of the REST API.
    ///
    /// # Errors
    /// No randomness.
    pub fn client(&self, client: &Client, lifetime: Duration) -> anyhow::Result<ClientCredential> {
        let pair = KeyPair::generate()?;
        let certificate = params(&Subject::Client(client.clone()), lifetime)?.signed_by(&pair, &self.issuer)?;
        Ok(ClientCredential { certificate: certificate.pem(), key: pair.serialize_pem() })
    }
}

fn read_request(pem: &str) -> anyhow::Result<CertificateSigningRequestParams> {
    CertificateSigningRequestParams::from_pem(pem).context("the signing request is none, or its signature is wrong")
}

fn blank(lifetime: Duration) -> anyhow::Result<CertificateParams> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    // Positive, and never shorter than it looks.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + lifetime;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(subject: &Subject, lifetime: Duration) -> anyhow::Result<CertificateParams> {
    let mut params = blank(lifetime)?;
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, subject.organization());
    if let Subject::Client(Client { role: ClientRole::Tenant(tenant), .. }) = subject {
        name.push(DnType::OrganizationalUnitName, tenant.as_str());
    }
    name.push(DnType::CommonName, subject.name());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn alternative(name: &str) -> anyhow::Result<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => {
            Ok(SanType::DnsName(name.try_into().with_context(|| format!("{name} is neither an address nor a name"))?))
        }
    }
}

/// The number of a key that is given as `SubjectPublicKeyInfo`.
pub(super) fn key_id(info: &[u8]) -> KeyId {
    KeyId(Fingerprint::of(info).0)
}
