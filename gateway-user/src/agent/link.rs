//! The agent's link to the controllers: it joins, follows its plan, reports, shows that it lives, renews its certificate.
//!
//! ```text
//!   file ──► Keeper ──► Offer ──► whoever does plans ──► Reporter
//!              ▲                                            │
//!   controller ┴── plans            heartbeats, reports ◄───┘      each on a connection of its own
//! ```
//!
//! Nothing of it is on the packets' way: without a controller the agent goes on with the plan that it has, also after a restart.
//!
//! All go to one controller. Whoever notices first that it is gone, or leads no more, turns them all to another: a heartbeat that is not
//! answered does that long before a silent stream is given up.

use super::address::ControllerAddress;
use super::backoff::{Backoff, jittered};
use super::ballots::Ballots;
use super::credentials::Credentials;
use super::enrol::join;
use super::events::Decoder;
use super::http::{self, Connection, HttpError};
use super::keeper::{Keeper, Kind, Made, Taken};
use super::preferred::Preferred;
use super::protocol::{self, BootId, Endpoint, Enrolled, Heartbeat, Hello, PlanEvent, Position, Problem, Renewal};
use super::reporter::{Reporter, Told};
use super::routes::{RouteEvent, RouteReporter};
use super::token::Token;
use crate::controller::model::records::AgentId;
use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use rustls::ClientConfig;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Bytes of one event.
const EVENT: usize = 64 << 20;
/// How long a stream may be silent: three of the controller's signs of life.
const SILENCE: Duration = Duration::from_secs(45);
/// How often a controller is reminded of learned routes that do not change: before it closes an idle connection.
const REMINDER: Duration = Duration::from_secs(10);

/// How to reach the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who the agent is.
    pub agent: AgentId,
    /// Where controllers are. Any of them knows which one leads.
    pub controllers: Vec<ControllerAddress>,
    /// What lets a new agent in.
    pub token: Option<Token>,
    /// Where credentials and the last plan are kept.
    pub directory: PathBuf,
    /// What the agent's machine is like.
    pub hello: Hello,
    /// How often things are done.
    pub timers: Timers,
}

/// How often things are done.
#[derive(Clone, Debug)]
pub struct Timers {
    /// From one heartbeat to the next.
    pub heartbeat: Duration,
    /// How long a controller may take to answer one; then another is asked.
    pub patience: Duration,
    /// At least this long from one report to the next.
    pub report: Duration,
    /// The first wait for a controller that is not there.
    pub retry: Duration,
    /// The longest of the first ones: another controller is about to lead.
    pub retry_soon: Duration,
    /// The longest.
    pub retry_bound: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            report: Duration::from_secs(1),
            retry: Duration::from_millis(200),
            retry_soon: Duration::from_secs(1),
            retry_bound: Duration::from_secs(5),
        }
    }
}

/// A plan that is to be done.
#[derive(Debug)]
pub struct Offer<P> {
    /// The plan.
    pub plan: P,
    /// How new it is.
    pub position: Position,
    /// Whether it is done: an error leaves the plan of before in force.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// What comes of the link.
#[derive(Debug)]
pub enum News<P> {
    /// A plan.
    Plan(Offer<P>),
    /// What is to be known of tenants' learned routes.
    Routes(RouteEvent),
    /// The agent cannot join, and it is of no use to try on: a person has to do something.
    Failed(anyhow::Error),
}

/// The link. Dropping it ends it.
#[derive(Debug)]
pub struct Link<P> {
    /// What comes of it.
    pub news: mpsc::Receiver<News<P>>,
    /// What is reported.
    pub reporter: Reporter,
    /// What tenants' routers have learned.
    pub routes: RouteReporter,
    /// What is asked about seats.
    pub ballots: Ballots,
    tasks: JoinSet<()>,
}

impl<P> Link<P> {
    /// Whether a task of it has ended, which none does by itself but one that failed.
    pub fn is_over(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }
}

/// What the tasks share.
struct Shared {
    options: Options,
    reporter: Reporter,
    routes: RouteReporter,
    ballots: Ballots,
    /// Which controller is asked.
    preferred: watch::Sender<Preferred>,
    config: watch::Receiver<Arc<ClientConfig>>,
}

/// Starts the link. To be called within a tokio runtime. A plan that was kept is offered at once.
///
/// # Errors
/// The kept plan cannot be read at all, or no controller was named.
pub fn start<K: Kind>(options: Options) -> anyhow::Result<Link<K::Plan>> {
    let first = options.controllers.first().context("no controller's address was given")?.clone();
    super::files::create_private_directory(&options.directory)
        .with_context(|| format!("cannot make {}", options.directory.display()))?;
    let (keeper, kept) = Keeper::<K>::open(&options.directory.join("plan.log"))?;
    let (reporter, routes, ballots) = (Reporter::default(), RouteReporter::default(), Ballots::default());
    let (sender, news) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(run(options, first, (keeper, kept), sender, (reporter.clone(), routes.clone(), ballots.clone())));
    Ok(Link { news, reporter, routes, ballots, tasks })
}

async fn run<K: Kind>(
    options: Options,
    first: ControllerAddress,
    (mut keeper, kept): (Keeper<K>, Option<Made<K::Plan>>),
    news: mpsc::Sender<News<K::Plan>>,
    (reporter, routes, ballots): (Reporter, RouteReporter, Ballots),
) {
    if let Some(kept) = kept {
        tracing::info!(agent = %options.agent, plan = %kept.position, "starting with the plan that was kept");
        offer(kept, &news, &reporter, &mut keeper).await;
    }
    let joined = join(&options.directory, &options.agent, &options.controllers, options.token.as_ref(), &options.hello);
    let credentials = match joined.await.and_then(|credentials| Ok((credentials.config()?, credentials))) {
        Ok(credentials) => credentials,
        Err(error) => {
            let _ = news.send(News::Failed(error)).await;
            return;
        }
    };
    let (config, credentials) = credentials;
    let (renewed, config) = watch::channel(config);
    let preferred = watch::Sender::new(Preferred::new(first));
    let shared = Arc::new(Shared { options, reporter, routes, ballots, preferred, config });
    // Dropped with this task, which ends them.
    let mut tasks = JoinSet::new();
    tasks.spawn(beat(shared.clone()));
    tasks.spawn(report(shared.clone()));
    tasks.spawn(tell_routes(shared.clone()));
    tasks.spawn(ask_for_votes(shared.clone()));
    tasks.spawn(renew(shared.clone(), credentials, renewed));
    follow(&shared, &mut keeper, &news).await;
}

impl Shared {
    fn preferred(&self) -> ControllerAddress {
        self.preferred.borrow().address().clone()
    }

    /// Returns when another controller is to be asked than this one.
    async fn turned_from(&self, address: &ControllerAddress) {
        // The sender lives here: it does not go away.
        let _ = self.preferred.subscribe().wait_for(|preferred| preferred.address() != address).await;
    }

    /// What went wrong leads to another controller: the one that leads, or the next on the list.
    fn turn(&self, from: &ControllerAddress, error: &HttpError) {
        self.preferred.send_if_modified(|preferred| {
            if preferred.address() != from {
                // Another task has turned already.
                return false;
            }
            preferred.turn(&self.options.controllers, error, Instant::now());
            preferred.address() != from
        });
    }

    async fn connect(&self, address: &ControllerAddress) -> Result<Connection, HttpError> {
        let config = self.config.borrow().clone();
        Connection::open(address, config).await
    }

    fn path(&self, endpoint: Endpoint) -> String {
        protocol::path(&self.options.agent, endpoint)
    }

    fn backoff(&self) -> Backoff {
        let Timers { retry, retry_soon, retry_bound, .. } = self.options.timers;
        Backoff::new(retry, retry_bound).at_first(retry_soon)
    }
}

/// Gives a plan to whoever does it, and keeps it once it is done.
async fn offer<K: Kind>(
    made: Made<K::Plan>,
    news: &mpsc::Sender<News<K::Plan>>,
    reporter: &Reporter,
    keeper: &mut Keeper<K>,
) {
    let Made { plan, position, problems } = made;
    for problem in problems.values() {
        tracing::error!(plan = %position, "{}: {}; what it was before stays in force", problem.about, problem.message);
    }
    let (reply, done) = oneshot::channel();
    if news.send(News::Plan(Offer { plan, position, reply })).await.is_err() {
        return;
    }
    match done.await {
        Ok(Ok(())) => {
            reporter.in_force(position, problems);
            if let Err(error) = keeper.commit() {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the plan is in force, but would not be after a restart without a controller"
                );
            }
        }
        Ok(Err(message)) => {
            tracing::error!(plan = %position, "the plan is refused: {message}; the one of before stays in force");
            reporter.not_in_force(Problem { about: format!("plan {position}"), message });
        }
        // Whoever does plans has ended.
        Err(_) => {}
    }
}

/// Follows the plan, from one controller to the next.
async fn follow<K: Kind>(shared: &Shared, keeper: &mut Keeper<K>, news: &mpsc::Sender<News<K::Plan>>) {
    let mut backoff = shared.backoff();
    loop {
        let address = shared.preferred();
        let error = stream(shared, &address, keeper, news, &mut backoff).await;
        keeper.interrupted();
        if news.is_closed() {
            return;
        }
        shared.turn(&address, &error);
        let mut wait = match &error {
            HttpError::Elsewhere(leader) if *leader == shared.preferred() => jittered(shared.options.timers.retry),
            _ => backoff.wait(),
        };
        if error.is_final() {
            // An operator has to do something first; meanwhile packets flow as they did.
            wait = wait.max(jittered(shared.options.timers.retry_bound));
        }
        tracing::warn!(controller = %address, %error, milliseconds = wait.as_millis() as u64, "no plans come from the controller; trying again");
        tokio::time::sleep(wait).await;
    }
}

/// Follows the plan at one controller until that ends.
async fn stream<K: Kind>(
    shared: &Shared,
    address: &ControllerAddress,
    keeper: &mut Keeper<K>,
    news: &mpsc::Sender<News<K::Plan>>,
    backoff: &mut Backoff,
) -> HttpError {
    match events(shared, address, keeper, news, backoff).await {
        Ok(()) => HttpError::Broken("the controller ended the stream".to_owned()),
        Err(error) => error,
    }
}

async fn events<K: Kind>(
    shared: &Shared,
    address: &ControllerAddress,
    keeper: &mut Keeper<K>,
    news: &mpsc::Sender<News<K::Plan>>,
    backoff: &mut Backoff,
) -> Result<(), HttpError> {
    let broken = |error: &dyn std::fmt::Display| HttpError::Broken(error.to_string());
    let hello = Hello { resume: keeper.resume(), ..shared.options.hello.clone() };
    let body = serde_json::to_vec(&hello).map_err(|error| broken(&error))?;
    let path = shared.path(Endpoint::Plan);
    let silent = || HttpError::Silent(address.clone());
    // What is being done is done to its end, whoever is followed then.
    let mut turned = pin!(shared.turned_from(address));
    let asking = async {
        let mut connection = shared.connect(address).await?;
        let response = connection.ask(Method::POST, &path, &[], body.into()).await?;
        Ok((connection, response.into_body()))
    };
    let (_connection, mut body) = tokio::select! {
        asked = asking => asked?,
        () = &mut turned => return Err(silent()),
    };
    tracing::info!(controller = %address, "following the plan");
    let mut decoder = Decoder::new(EVENT);
    loop {
        let frame = tokio::select! {
            frame = tokio::time::timeout(SILENCE, body.frame()) => frame.map_err(|_| silent())?,
            () = &mut turned => return Err(silent()),
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| broken(&error))?;
        let Some(bytes) = frame.data_ref() else { continue };
        decoder.push(bytes).map_err(|error| broken(&error))?;
        while let Some(event) = decoder.event().map_err(|error| broken(&error))? {
            if event.kind == "routes" {
                let event: RouteEvent = serde_json::from_slice(&event.data).map_err(|error| broken(&error))?;
                let known = shared.reporter.position();
                // One that leads no more does not know it.
                if known.is_none_or(|known| event.epoch >= known.epoch) && news.send(News::Routes(event)).await.is_err()
                {
                    return Ok(());
                }
                continue;
            }
            if event.kind != "plan" {
                continue;
            }
            let event: PlanEvent = serde_json::from_slice(&event.data).map_err(|error| broken(&error))?;
            match keeper.take(event).map_err(|error| broken(&error))? {
                Taken::Incomplete => {}
                Taken::Made(made) => offer(made, news, &shared.reporter, keeper).await,
                Taken::Refused(problem) => {
                    tracing::error!("{}: {}; the plan of before stays in force", problem.about, problem.message);
                    shared.reporter.not_in_force(problem);
                }
            }
            if news.is_closed() {
                return Ok(());
            }
            // Only who says something of use is a controller that is there.
            backoff.reset();
        }
    }
}

/// Sends heartbeats, whatever else goes on.
async fn beat(shared: Arc<Shared>) {
    let (mut sequence, mut backoff) = (0, shared.backoff());
    let boot = &shared.options.hello.boot;
    let path = shared.path(Endpoint::Heartbeat);
    loop {
        let address = shared.preferred();
        let asked: Result<(), HttpError> = async {
            let mut connection = shared.connect(&address).await?;
            let mut ticks = tokio::time::interval(shared.options.timers.heartbeat);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if shared.preferred() != address {
                    return Ok(());
                }
                sequence += 1;
                let heartbeat = Heartbeat { boot: boot.clone(), sequence, position: shared.reporter.position() };
                let sending =
                    tokio::time::timeout(shared.options.timers.patience, send(&mut connection, &path, &heartbeat));
                sending.await.map_err(|_| HttpError::Silent(address.clone()))??;
                backoff.reset();
            }
        }
        .await;
        if let Err(error) = asked {
            tracing::debug!(controller = %address, %error, "no heartbeat was taken");
            // A controller that breaks off or refuses is the plan's stream's to judge.
            if matches!(error, HttpError::Silent(_) | HttpError::Unreachable { .. } | HttpError::Elsewhere(_)) {
                shared.turn(&address, &error);
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

/// Reports what is different, at most so often.
async fn report(shared: Arc<Shared>) {
    let (mut sequence, mut backoff) = (0, shared.backoff());
    let path = shared.path(Endpoint::Report);
    loop {
        let address = shared.preferred();
        let asked: Result<(), HttpError> = async {
            let mut connection = shared.connect(&address).await?;
            let mut told = Told::default();
            loop {
                sequence += 1;
                let (report, after) = told.next(&shared.reporter, &shared.options.hello.boot, sequence);
                send(&mut connection, &path, &report).await?;
                told = after;
                backoff.reset();
                // An idle connection is closed by the controller; what is new then goes by another, and whole.
                shared.reporter.changed().await;
                tokio::time::sleep(shared.options.timers.report).await;
                if shared.preferred() != address {
                    return Ok(());
                }
            }
        }
        .await;
        if let Err(error) = asked {
            tracing::debug!(controller = %address, %error, "no report was taken");
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

/// Tells what tenants' routers have learned as soon as they have. What comes while a controller takes in a slice goes with the next.
async fn tell_routes(shared: Arc<Shared>) {
    let (mut sequence, mut backoff) = (0, shared.backoff());
    let path = shared.path(Endpoint::Routes);
    loop {
        let address = shared.preferred();
        // Most agents have nothing to tell.
        let asked: Result<(), HttpError> = async {
            shared.routes.begin();
            let mut connection = None;
            loop {
                sequence += 1;
                let Some(report) = shared.routes.next(&shared.options.hello.boot, sequence) else {
                    tokio::select! {
                        () = shared.routes.changed() => {}
                        () = shared.turned_from(&address) => return Ok(()),
                        () = tokio::time::sleep(REMINDER) => if let Some(connection) = &mut connection {
                            let reminder = shared.routes.reminder(&shared.options.hello.boot, sequence);
                            send(connection, &path, &reminder).await?;
                        }
                    }
                    continue;
                };
                let connection = match &mut connection {
                    Some(connection) => connection,
                    None => connection.insert(shared.connect(&address).await?),
                };
                send(connection, &path, &report).await?;
                backoff.reset();
            }
        }
        .await;
        if let Err(error) = asked {
            tracing::debug!(controller = %address, %error, "no learned routes were taken");
            tokio::time::sleep(backoff.wait()).await;
        }
    }
}

/// Asks the controllers what the gateway asks them about its seats. A question that is not answered is put again by whoever asks.
async fn ask_for_votes(shared: Arc<Shared>) {
    let path = shared.path(Endpoint::Vote);
    let mut kept: Option<(ControllerAddress, Connection)> = None;
    loop {
        let ask = shared.ballots.next().await;
        let address = shared.preferred();
        let asked = async {
            let mut connection = match kept.take().filter(|(at, _)| *at == address) {
                Some((_, connection)) => connection,
                None => shared.connect(&address).await?,
            };
            let answer = send(&mut connection, &path, &ask).await?;
            Ok::<_, HttpError>((connection, answer))
        };
        match tokio::time::timeout(shared.options.timers.patience, asked).await {
            Ok(Ok((connection, answer))) => {
                kept = Some((address, connection));
                match serde_json::from_slice(&answer) {
                    Ok(answer) => shared.ballots.answered(answer),
                    Err(error) => tracing::debug!(%error, "the controller's vote is not understood"),
                }
            }
            Ok(Err(error)) => tracing::debug!(controller = %address, %error, "the controllers have not voted"),
            Err(_) => tracing::debug!(controller = %address, "the controllers have not voted in time"),
        }
    }
}

async fn send(connection: &mut Connection, path: &str, message: &impl serde::Serialize) -> Result<Bytes, HttpError> {
    let body = serde_json::to_vec(message).map_err(|error| HttpError::Broken(error.to_string()))?;
    http::whole(connection.ask(Method::POST, path, &[], body.into()).await?).await
}

/// Renews the certificate in the second half of its life.
async fn renew(shared: Arc<Shared>, mut credentials: Credentials, renewed: watch::Sender<Arc<ClientConfig>>) {
    loop {
        let left = credentials.renewal() - OffsetDateTime::now_utc();
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        tokio::time::sleep(left).await;
        match renew_once(&shared, &credentials).await {
            Ok(next) => {
                tracing::info!(until = %next.not_after().date(), "the agent's certificate was renewed");
                if let Ok(config) = next.config() {
                    renewed.send_replace(config);
                }
                credentials = next;
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), until = %credentials.not_after(), "the agent's certificate is not renewed yet");
                tokio::time::sleep(jittered(Duration::from_secs(60))).await;
            }
        }
    }
}

async fn renew_once(shared: &Shared, credentials: &Credentials) -> anyhow::Result<Credentials> {
    let renewal = Renewal { request: credentials.key().request()? };
    let mut connection = shared.connect(&shared.preferred()).await?;
    let answer = send(&mut connection, &shared.path(Endpoint::Renew), &renewal).await?;
    let enrolled: Enrolled = serde_json::from_slice(&answer)?;
    credentials.renewed(&enrolled.certificate)
}

/// A name for this run of the agent.
pub fn boot() -> BootId {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        bytes = now.to_ne_bytes();
    }
    BootId(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
