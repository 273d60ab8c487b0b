//! One HTTP connection to a controller.

use super::address::ControllerAddress;
use super::tls;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// How long a controller may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a controller may take to begin an answer: a write waits for its store.
const ANSWER: Duration = Duration::from_secs(40);
/// Bytes of an answer that is read whole.
const ANSWER_BYTES: usize = 4 << 20;

/// Why a controller was not heard.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It is not to be reached.
    #[error("{address} is not reached: {reason}")]
    Unreachable {
        /// Where.
        address: ControllerAddress,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("{0} does not answer")]
    Silent(ControllerAddress),
    /// The connection broke.
    #[error("the connection to the controller broke: {0}")]
    Broken(String),
    /// Another controller leads.
    #[error("another controller leads: {0}")]
    Elsewhere(ControllerAddress),
    /// It said no.
    #[error("the controller answers {status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        message: String,
    },
}

impl HttpError {
    /// Whether it is of no use to ask again before a person did something.
    pub fn is_final(&self) -> bool {
        let worth_another =
            |status: StatusCode| matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        matches!(self, Self::Refused { status, .. } if status.is_client_error() && !worth_another(*status))
    }
}

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    address: ControllerAddress,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// It is not to be reached, or one of the two does not believe the other.
    pub async fn open(address: &ControllerAddress, config: Arc<ClientConfig>) -> Result<Self, HttpError> {
        let unreachable = |reason: String| HttpError::Unreachable { address: address.clone(), reason };
        let name = ServerName::try_from(address.host().to_owned()).map_err(|error| unreachable(error.to_string()))?;
        let connecting = async {
            let stream = TcpStream::connect((address.host(), address.port()))
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let _ = stream.set_nodelay(true);
            keep_alive(&stream);
            let stream = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|error| unreachable(tls::reason(&error)))?;
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(describe(&error)))
        };
        let (sender, connection) =
            tokio::time::timeout(CONNECT, connecting).await.map_err(|_| HttpError::Silent(address.clone()))??;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the controller ended");
            }
        });
        Ok(Self { address: address.clone(), sender, driver: driver.abort_handle() })
    }

    /// Asks, and gives back the answer's beginning if that is a good one.
    ///
    /// # Errors
    /// The connection broke, or the answer is a refusal.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        let response = self.exchange(method, path, headers, body).await?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Asks, and gives back the answer's beginning, whatever it is.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        let broken = |error: &dyn std::error::Error| HttpError::Broken(describe(error));
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address.authority());
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|error| broken(&error))?;
            value.set_sensitive(*name == header::AUTHORIZATION);
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        let asking = async {
            self.sender.ready().await.map_err(|error| broken(&error))?;
            self.sender.send_request(request).await.map_err(|error| broken(&error))
        };
        tokio::time::timeout(ANSWER, asking).await.map_err(|_| HttpError::Silent(self.address.clone()))?
    }
}

/// Reads an answer whole.
///
/// # Errors
/// It is too large, too slow, or the connection broke.
pub async fn whole(response: Response<Incoming>) -> Result<Bytes, HttpError> {
    let reading = Limited::new(response.into_body(), ANSWER_BYTES).collect();
    match tokio::time::timeout(ANSWER, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(HttpError::Broken("the answer is too large".to_owned()))
        }
        Ok(Err(error)) => Err(HttpError::Broken(error.to_string())),
        Err(_) => Err(HttpError::Broken("the answer does not end".to_owned())),
    }
}

/// What an answer that is no success says.
async fn refusal(response: Response<Incoming>) -> HttpError {
    #[derive(Deserialize)]
    struct Body {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        message: String,
    }
    let status = response.status();
    if status == StatusCode::TEMPORARY_REDIRECT
        && let Some(leader) =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).and_then(leader)
    {
        return HttpError::Elsewhere(leader);
    }
    let body = whole(response).await.unwrap_or_default();
    let message = serde_json::from_slice::<Body>(&body).map(|body| body.error.message);
    HttpError::Refused { status, message: message.unwrap_or_else(|_| "without a reason".to_owned()) }
}

/// The controller in a `Location`.
fn leader(location: &str) -> Option<ControllerAddress> {
    let rest = location.strip_prefix("https://")?;
    let authority = rest.split('/').next()?;
    format!("https://{authority}").parse().ok()
}

/// An error with its causes: hyper's own say little.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A controller whose host has gone says nothing: the kernel finds out.
fn keep_alive(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let settings = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let _ = socket.set_tcp_keepalive(&settings);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(30)));
}
