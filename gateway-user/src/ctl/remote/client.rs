//! Asks controllers: goes to the leader, to the next one if one is not there, and again if nobody leads yet.

use super::context::Context;
use super::error::Refused;
use crate::agent::address::ControllerAddress;
use crate::agent::http::{Connection, HttpError};
use crate::agent::tls::{self, Shown};
use crate::agent::token::{Fingerprint, Token};
use crate::controller::server::subject;
use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::{Method, Response, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// What all resources' paths begin with.
pub const BASE: &str = "/networking/v1";
/// Leaders that are followed: each may have been deposed by the next.
const MAX_HOPS: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause that a controller may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of an answer: a collection of everything comes in one.
const ANSWER_BYTES: usize = 1 << 30;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Somebody who asks controllers.
pub struct Client {
    addresses: Vec<ControllerAddress>,
    /// Which of them is asked.
    at: usize,
    /// Who leads, as far as a controller said.
    leader: Option<ControllerAddress>,
    config: Arc<ClientConfig>,
    token: Option<Token>,
    open: Option<Connection>,
    patience: Duration,
}

/// A good answer.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// The resource's tag.
    pub etag: Option<String>,
    /// Where to look how it goes on: a path.
    pub location: Option<String>,
    /// What was answered; null if nothing was.
    pub body: Value,
}

impl Client {
    /// Somebody who asks these controllers, for so long. It is not seen yet whether one is there.
    ///
    /// # Errors
    /// Certificates or tokens cannot be read, or nothing says which controller to believe.
    pub async fn new(context: &Context, patience: Duration) -> anyhow::Result<Self> {
        let addresses: Vec<ControllerAddress> =
            context.controllers.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let token = context.token_file.as_deref().map(read_token).transpose()?;
        let shown = match (&context.certificate, &context.key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| anyhow!("cannot read the key {}: {error}", key.display()))?;
                let shown = read_certificate(certificate)?;
                remind(certificate, &shown);
                Shown::Certificate(shown, key)
            }
            _ => Shown::Nothing,
        };
        let authority = match &context.authority {
            Some(path) => Some(read_certificate(path)?),
            None => None,
        };
        let fingerprint = match &context.fingerprint {
            Some(text) => {
                let plain = text.replace(':', "").to_ascii_lowercase();
                let fingerprint = Fingerprint::try_from(plain);
                Some(fingerprint.map_err(|_| anyhow!("{text} is no fingerprint: write 64 hexadecimal digits"))?)
            }
            // A token knows whom its bearer may believe.
            None => token.as_ref().and_then(Token::claims).map(|claims| claims.authority),
        };
        let config = match (authority, fingerprint) {
            (Some(authority), _) => tls::config(&authority, shown)?,
            (None, Some(fingerprint)) => match shown {
                Shown::Nothing => tls::pinned(fingerprint)?.0,
                shown => tls::config(&learn(&addresses, fingerprint).await?, shown)?,
            },
            (None, None) => bail!(
                "nothing says which controller to believe: give the authority's certificate with --ca, or its --fingerprint"
            ),
        };
        Ok(Self { addresses, at: 0, leader: None, config, token, open: None, patience })
    }

    /// Reads something.
    ///
    /// # Errors
    /// It is refused, or no controller is there.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        Ok(self.ask(Method::GET, path, &[], Bytes::new()).await?.body)
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// It is refused, or no controller is there.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answered> {
        let response = self.send(method, path, headers, body).await?;
        let status = response.status();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (etag, location) = (text(header::ETAG), text(header::LOCATION));
        let bytes = read(response, self.patience).await?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .context("the controller's answer is no JSON; is something else listening there?")?
        };
        Ok(Answered { status, etag, location: location.map(|location| path_of(&location)), body })
    }

    /// Asks, and gives back the beginning of a good answer.
    ///
    /// # Errors
    /// It is refused, or no controller is there.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        // The same one every time: what was done already is not done again.
        let id = request_id()?;
        let until = Instant::now() + self.patience;
        let mut hops = 0;
        loop {
            let asked = self.exchange(&method, path, headers, &id, body.clone()).await;
            let response = match asked {
                Ok(response) => response,
                // It heard us, and did not like what we showed: the same again will not be liked better.
                Err(Failed::Broken(error)) if error.to_string().contains("received fatal alert") => {
                    return Err(anyhow!(error).context("the controller does not take this certificate"));
                }
                Err(Failed::Broken(error)) => {
                    self.move_on();
                    // A POST is not known to be repeatable.
                    if method == Method::POST || Instant::now() >= until {
                        return Err(error.into());
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(Failed::Nowhere(error)) => return Err(error),
            };
            let status = response.status();
            match status {
                status if status.is_success() || status == StatusCode::NOT_MODIFIED => return Ok(response),
                StatusCode::TEMPORARY_REDIRECT if hops < MAX_HOPS => {
                    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                    let leader = location.and_then(leader).context("the controller names a leader that is none")?;
                    hops += 1;
                    self.open = None;
                    self.leader = Some(leader);
                }
                StatusCode::SERVICE_UNAVAILABLE if Instant::now() < until => {
                    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                    let wish = seconds.and_then(|text| text.parse().ok()).map_or(PAUSE, Duration::from_secs);
                    let pause = wish.clamp(PAUSE, MAX_PAUSE).min(until.saturating_duration_since(Instant::now()));
                    self.move_on();
                    tokio::time::sleep(pause).await;
                }
                _ => {
                    let body = read(response, self.patience).await.unwrap_or_default();
                    return Err(Refused::new(method, path.strip_prefix(BASE).unwrap_or(path), status, &body).into());
                }
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        id: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failed> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
        let mut all = vec![(CLIENT_REQUEST_ID, id)];
        all.extend(headers.iter().cloned());
        all.extend(bearer.iter().map(|bearer| (header::AUTHORIZATION, bearer.as_str())));
        let connection = match self.open.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(Failed::Nowhere)?,
        };
        let connection = self.open.insert(connection);
        connection.exchange(method.clone(), path, &all, body).await.map_err(Failed::Broken)
    }

    /// Opens a connection: to the leader, or to the first controller that is there.
    async fn connect(&mut self) -> anyhow::Result<Connection> {
        if let Some(leader) = self.leader.take()
            && let Ok(connection) = Connection::open(&leader, self.config.clone()).await
        {
            self.leader = Some(leader);
            return Ok(connection);
        }
        let mut errors = Vec::new();
        for _ in 0..self.addresses.len() {
            match Connection::open(&self.addresses[self.at], self.config.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => errors.push(error.to_string()),
            }
            self.at = (self.at + 1) % self.addresses.len();
        }
        bail!("no controller is to be reached: {}", errors.join("; "))
    }

    /// How long to try.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks another controller the next time, by another connection.
    pub fn move_on(&mut self) {
        if self.leader.take().is_none() {
            self.at = (self.at + 1) % self.addresses.len();
        }
        self.open = None;
    }
}

enum Failed {
    /// The connection broke.
    Broken(HttpError),
    /// There is none.
    Nowhere(anyhow::Error),
}

/// Looks which authority has this fingerprint.
async fn learn(addresses: &[ControllerAddress], fingerprint: Fingerprint) -> anyhow::Result<CertificateDer<'static>> {
    let (config, pinned) = tls::pinned(fingerprint)?;
    let mut errors = Vec::new();
    for address in addresses {
        match Connection::open(address, config.clone()).await {
            Ok(_) => {
                if let Some(authority) = pinned.authority() {
                    return Ok(authority);
                }
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    bail!("no controller with this fingerprint is to be reached: {}", errors.join("; "))
}

/// Says that a certificate is near its end, while there is time to make another one with it.
fn remind(path: &Path, certificate: &CertificateDer<'_>) {
    use std::io::Write;
    let Ok(facts) = subject::facts(certificate) else { return };
    let now = OffsetDateTime::now_utc();
    if facts.is_near_its_end(now) {
        let when = if facts.not_after < now { "expired" } else { "expires" };
        let _ = writeln!(
            std::io::stderr(),
            "gatewayctl: {} {when} on {}; on the controller's host, `gatewayd controller certificate create` makes the next one",
            path.display(),
            facts.not_after.date()
        );
    }
}

fn read_certificate(path: &Path) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path)
        .map_err(|error| anyhow!("cannot read the certificate {}: {error}", path.display()))
}

fn read_token(path: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the token {}", path.display()))?;
    text.parse().with_context(|| path.display().to_string())
}

async fn read(response: Response<Incoming>, patience: Duration) -> anyhow::Result<Bytes> {
    let reading = Limited::new(response.into_body(), ANSWER_BYTES).collect();
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(anyhow!("the controller's answer broke off: {error}; repeat the command")),
        Err(_) => bail!("the controller's answer does not end; repeat the command with a longer --timeout"),
    }
}

/// The controller in a `Location`.
fn leader(location: &str) -> Option<ControllerAddress> {
    let authority = location.strip_prefix("https://")?.split('/').next()?;
    format!("https://{authority}").parse().ok()
}

/// A URL's path.
fn path_of(url: &str) -> String {
    match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or_else(|| "/".to_owned(), |slash| rest[slash..].to_owned()),
        None => url.to_owned(),
    }
}

/// A random GUID.
fn request_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the kernel gives no random bytes"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
