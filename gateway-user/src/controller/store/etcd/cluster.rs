//! The members of a cluster: one is asked until it fails, then the next.
//!
//! A request that a member does not answer in time is given to another, so whatever is asked through [`Cluster::ask`] must do no
//! harm when it is done twice.

use super::super::Error;
use super::Options;
use etcd_client::{Client, ConnectOptions, KvClient};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long one member may take for an answer.
const ONE_ANSWER: Duration = Duration::from_secs(2);
/// Before all members are asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// Members that hang are noticed by pings; etcd bears one every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_ANSWER: Duration = Duration::from_secs(3);

/// The members, and which one is asked.
#[derive(Debug)]
pub struct Cluster {
    pub options: Options,
    members: Vec<Member>,
    current: AtomicUsize,
}

#[derive(Clone)]
pub struct Member {
    pub client: Client,
    /// For keys and values, without a limit on the size of answers.
    pub kv: KvClient,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Member")
    }
}

/// What an error of a member means.
#[derive(Debug)]
pub enum Failure {
    /// Another member, or the same one later, may do better.
    Passing(String),
    /// The revision that was asked for is gone; this is the oldest that is there.
    Compacted,
    /// Nobody will do it.
    Lasting(Error),
}

impl Cluster {
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let mut connect = ConnectOptions::new()
            .with_keep_alive(PING_EVERY, PING_ANSWER)
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(ONE_ANSWER)
            // A member that is cut off from the others says so instead of falling silent.
            .with_require_leader(true);
        let scheme = if let Some(tls) = options.tls()? {
            connect = connect.with_tls(tls);
            "https"
        } else {
            "http"
        };
        let mut members = Vec::new();
        for endpoint in &options.endpoints {
            let client = Client::connect([format!("{scheme}://{endpoint}")], Some(connect.clone()))
                .await
                .map_err(|error| Error::Invalid(format!("etcd://{endpoint}: {error}")))?;
            let kv = client.kv_client().max_decoding_message_size(usize::MAX);
            members.push(Member { client, kv });
        }
        Ok(Self { options: options.clone(), members, current: AtomicUsize::new(0) })
    }

    /// A key below the namespace.
    pub fn key(&self, kind: &str, name: &str) -> String {
        format!("{}/{kind}/{name}", self.options.namespace)
    }

    /// The member that is asked, and its number.
    pub fn member(&self) -> (usize, Member) {
        let number = self.current.load(Ordering::Relaxed) % self.members.len();
        (number, self.members[number].clone())
    }

    /// From now on another member is asked than this one.
    pub fn leave(&self, number: usize) {
        let next = (number + 1) % self.members.len();
        let _ = self.current.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks one member after the other until one answers, patience ends, or the answer is an error that lasts.
    pub async fn ask<T, A>(&self, question: impl Fn(Member) -> A) -> Result<T, Failure>
    where
        A: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.ask_until(Instant::now() + self.options.patience, question).await
    }

    pub async fn ask_until<T, A>(&self, deadline: Instant, question: impl Fn(Member) -> A) -> Result<T, Failure>
    where
        A: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut asked = 0;
        loop {
            let (number, member) = self.member();
            let left = deadline.saturating_duration_since(Instant::now());
            let why = match timeout(ONE_ANSWER.min(left), question(member)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => match self.meaning(&error) {
                    Failure::Passing(why) => why,
                    lasting => return Err(lasting),
                },
                Err(_) => "it does not answer".to_owned(),
            };
            tracing::debug!(member = %self.options.endpoints[number], %why, "an etcd member failed");
            self.leave(number);
            asked += 1;
            if Instant::now() >= deadline {
                return Err(Failure::Passing(why));
            }
            if asked % self.members.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// What an error means.
    pub fn meaning(&self, error: &etcd_client::Error) -> Failure {
        use etcd_client::Error as E;
        let E::GRpcStatus(status) = error else {
            return match error {
                E::InvalidArgs(_) | E::InvalidUri(_) | E::InvalidMetadataValue(_) => {
                    Failure::Lasting(Error::Invalid(error.to_string()))
                }
                _ => Failure::Passing(error.to_string()),
            };
        };
        let message = status.message();
        if message.contains("database space exceeded") {
            return Failure::Lasting(Error::Full {
                what: self.place(),
                remedy: "run `etcdctl compact` and `etcdctl defrag`, raise --quota-backend-bytes of the members if that is not \
                         enough, then run `etcdctl alarm disarm`"
                    .into(),
            });
        }
        if message.contains("has been compacted") {
            return Failure::Compacted;
        }
        const INVALID_ARGUMENT: i32 = 3;
        const PERMISSION_DENIED: i32 = 7;
        const UNAUTHENTICATED: i32 = 16;
        match i32::from(status.code()) {
            INVALID_ARGUMENT => Failure::Lasting(Error::Invalid(format!("etcd refuses the request: {message}"))),
            PERMISSION_DENIED | UNAUTHENTICATED => Failure::Lasting(Error::Refused {
                place: self.place(),
                why: format!("etcd does not let this controller in ({message})"),
                remedy: format!("give it a certificate that may read and write below {}/", self.options.namespace),
            }),
            _ => Failure::Passing(message.to_owned()),
        }
    }

    /// How a person calls it.
    pub fn place(&self) -> String {
        format!("etcd://{}", self.options.endpoints.join(","))
    }

    pub fn unavailable(&self, why: impl Into<String>) -> Error {
        Error::Unavailable { at: self.place(), why: why.into() }
    }

    /// What a failure is to whoever called the store.
    pub fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Passing(why) => self.unavailable(why),
            Failure::Compacted => self.unavailable("what was being read was compacted"),
            Failure::Lasting(error) => error,
        }
    }
}
