//! `gatewayd controller`: opens the store, serves, and drives the core until it is told to stop.

use super::core::Settings;
use super::driver;
use super::placement;
use super::resources::Seal;
use super::server::authority::Authority;
use super::server::{self, Documents, Limits, Server, service, subject, tls};
use super::store::seal::{Keys, Sealed};
use super::store::{self, Location, Secret};
use crate::agent::files;
use crate::agent::token::{Client, ClientRole};
use anyhow::Context;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

/// How long the first administrator's certificate is good.
const ADMIN_LIFETIME: time::Duration = time::Duration::days(365);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it answers.
    pub listen: Vec<SocketAddr>,
    /// Names and addresses by which it is reached, for its certificate. The first is what others are pointed at.
    pub advertise: Vec<String>,
    /// Its own directory: keys, certificates, and the store if that is a file.
    pub data: PathBuf,
    /// The store, if it is not in that directory.
    pub store: Option<String>,
    /// Certificates and keys for it.
    pub store_tls: Option<store::Tls>,
    /// The operator's own authority: certificate and key (PEM).
    pub authority: Option<(PathBuf, PathBuf)>,
    /// The operator's own certificate for the server, with its chain, and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Up to this use, in percent, a gateway is filled before one above it is considered.
    pub soft_watermark_percent: u8,
}

/// Runs the controller until it is told to stop. Agents go on with the plans that they have.
///
/// # Errors
/// What keeps it from starting, with the remedy.
pub fn run(options: Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // What was mistyped is told before anything is made.
    let location = Location::parse(options.store.as_deref(), options.store_tls, &options.data)?;
    files::create_private_directory(&options.data)
        .with_context(|| format!("cannot make {}; choose another directory with --data-dir", options.data.display()))?;
    let authority = Arc::new(match &options.authority {
        Some((certificate, key)) => Authority::load(certificate, key)?,
        None => Authority::open(&options.data)?,
    });
    let keys = Arc::new(Keys::open_or_create(&options.data.join("secrets.key"))?);
    let store = location.open().await?;
    if let Err(error @ store::Error::Refused { .. }) = keys.agree(&store).await {
        return Err(error.into());
    }
    introduce(&authority, &options.data)?;
    let port = options.listen.first().map_or(443, SocketAddr::port);
    let (controller, calls) = service::channel();
    let certificate = match options.certificate {
        Some((certificate, key)) => tls::Origin::Files { certificate, key },
        None => tls::Origin::Issued(options.advertise.clone()),
    };
    let settings = server::Options {
        listen: options.listen,
        certificate,
        documents: Documents::default(),
        limits: Limits::default(),
    };
    let server = Server::bind(settings, controller, authority).await?;
    let listening = server.addresses()?;
    let port = listening.first().map_or(port, SocketAddr::port);
    let address = match options.advertise.first() {
        Some(name) if name.contains(':') => format!("https://[{name}]:{port}"),
        Some(name) => format!("https://{name}:{port}"),
        None => format!("https://localhost:{port}"),
    };
    let settings = Settings {
        placement: placement::Settings { soft_watermark_percent: options.soft_watermark_percent },
        seal: Arc::new(Sealer(keys.clone())),
    };
    tracing::info!(?listening, address, "ready");
    crate::gateway::notify("READY=1");
    let reminding = tokio::spawn(remind(options.data.join("admin.crt")));
    let mut driving = tokio::spawn(driver::run(store, calls, address, settings, keys));
    let mut driven = None;
    server
        .serve(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                ended = &mut driving => driven = Some(ended),
            }
        })
        .await;
    crate::gateway::notify("STOPPING=1");
    // The server's end is gone, so the driver ends by itself, and with it its leadership.
    reminding.abort();
    let ended = match driven {
        Some(ended) => ended,
        None => driving.await,
    };
    ended.context("the controller failed")??;
    tracing::info!("stopped; gateways and hosts go on with the plans that they have");
    Ok(())
}

/// Warns every day while the first administrator's certificate is near its end.
async fn remind(certificate: PathBuf) {
    loop {
        if let Ok(der) = CertificateDer::from_pem_file(&certificate)
            && let Ok(facts) = subject::facts(&der)
            && facts.is_near_its_end(OffsetDateTime::now_utc())
        {
            tracing::warn!(
                certificate = %certificate.display(),
                until = %facts.not_after.date(),
                "the administrator's certificate is near its end or past it; make the next one: `gatewayd controller certificate create --role admin --client admin --out DIR`"
            );
        }
        tokio::time::sleep(DAY).await;
    }
}

/// At the first start, what the first administrator needs: the authority's certificate, and one of their own.
fn introduce(authority: &Authority, data: &Path) -> anyhow::Result<()> {
    let (certificate, key, ca) = (data.join("admin.crt"), data.join("admin.key"), data.join("ca.crt"));
    let write = |path: &Path, text: &str| {
        files::write_private(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    };
    if !ca.exists() {
        write(&ca, &pem(authority.certificate()))?;
    }
    if certificate.exists() {
        return Ok(());
    }
    let admin = authority.client(&Client { name: "admin".to_owned(), role: ClientRole::Admin }, ADMIN_LIFETIME)?;
    write(&key, &admin.key)?;
    write(&certificate, &admin.certificate)?;
    tracing::info!(certificate = %certificate.display(), key = %key.display(), "an administrator's certificate is made");
    Ok(())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Seals secrets with the keys of the key file.
struct Sealer(Arc<Keys>);

impl Seal for Sealer {
    fn seal(&self, place: &str, secret: &str) -> String {
        match self.0.seal(place, &Secret::new(secret)) {
            Ok(sealed) => sealed.as_str().to_owned(),
            Err(error) => {
                // What is stored does not open, so whoever needs the secret says that it has to be set again.
                tracing::error!(%error, place, "a secret could not be sealed, and was dropped; set it again");
                "sealed:".to_owned()
            }
        }
    }

    fn draw(&self, place: &str) -> Option<String> {
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *secret).ok()?;
        let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.seal(place, &Zeroizing::new(digits)))
    }

    fn open(&self, place: &str, sealed: &str) -> Option<Secret> {
        let opened = self.0.open(place, &Sealed::from_text(sealed));
        opened.inspect_err(|error| tracing::error!(%error, place, "a secret cannot be opened")).ok()
    }
}
