//! Stations that are told by BMP what routers have learned and chosen. One that does not read in time loses its connection and begins anew; it
//! costs a bounded amount of memory, and nobody's session waits for it.

use super::stream::RouterKey;
use crate::plan::Station;
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// Octets that may wait for a station.
const ROOM: usize = 16 << 20;
/// Tables are told on while fewer than these wait: the rest is for what changes meanwhile.
const BEFORE_MORE: usize = ROOM / 8;
/// How long a connection may take to open, and a station to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first pause before another attempt; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a station's task says.
pub(super) enum News {
    /// It is connected, and wants everything.
    Connected(SocketAddr, Queue),
    /// All that it was given is sent.
    Emptied,
    /// It is connected no more.
    Gone(SocketAddr),
}

/// What waits for a station.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    /// False where there is no room, or nobody any more.
    fn push(&self, bytes: Bytes) -> bool {
        let before = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        before < ROOM && self.sender.send(bytes).is_ok()
    }
}

/// One station.
#[derive(Debug)]
struct Known {
    task: AbortHandle,
    /// While it is connected.
    queue: Option<Queue>,
    /// The routers whose changes it is told.
    begun: HashSet<RouterKey>,
    /// Those whose tables it is still to be told, each with where to go on.
    todo: VecDeque<(RouterKey, u32)>,
}

/// All stations.
#[derive(Debug)]
pub(super) struct Stations {
    known: HashMap<SocketAddr, Known>,
    teller: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
}

impl Default for Stations {
    fn default() -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        Self { known: HashMap::new(), teller, news }
    }
}

impl Stations {
    /// Makes the stations what a plan says.
    pub(super) fn configure(&mut self, wanted: &[Station]) {
        let wanted: HashSet<SocketAddr> = wanted.iter().map(Station::end).collect();
        self.known.retain(|address, station| {
            let stays = wanted.contains(address);
            if !stays {
                station.end();
            }
            stays
        });
        for address in wanted {
            let teller = &self.teller;
            self.known.entry(address).or_insert_with(|| Known {
                task: tokio::spawn(serve(address, teller.clone())).abort_handle(),
                queue: None,
                begun: HashSet::new(),
                todo: VecDeque::new(),
            });
        }
    }

    /// The next thing that a station's task says; never ends.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            // The other end is here.
            None => std::future::pending().await,
        }
    }

    /// Whether any is connected.
    pub(super) fn any(&self) -> bool {
        self.known.values().any(|station| station.queue.is_some())
    }

    /// A station is connected: it is told `first`, and then these routers' tables.
    pub(super) fn begin(
        &mut self,
        at: SocketAddr,
        queue: Queue,
        first: Bytes,
        routers: impl Iterator<Item = RouterKey>,
    ) {
        let Some(station) = self.known.get_mut(&at) else { return };
        queue.push(first);
        station.queue = Some(queue);
        station.begun.clear();
        station.todo = routers.map(|key| (key, 0)).collect();
    }

    /// A station is connected no more.
    pub(super) fn gone(&mut self, at: SocketAddr) {
        if let Some(station) = self.known.get_mut(&at) {
            station.forget();
        }
    }

    /// Every connected station is to be told a router's table, from its beginning.
    pub(super) fn tell_anew(&mut self, key: RouterKey) {
        for station in self.known.values_mut().filter(|station| station.queue.is_some()) {
            station.begun.remove(&key);
            station.todo.retain(|(other, _)| *other != key);
            station.todo.push_back((key, 0));
        }
    }

    /// The stations that are connected and have tables to be told.
    pub(super) fn unfinished(&self) -> Vec<SocketAddr> {
        let unfinished = |station: &Known| station.queue.is_some() && !station.todo.is_empty();
        self.known.iter().filter(|(_, station)| unfinished(station)).map(|(address, _)| *address).collect()
    }

    /// What a station is to be told next, if it has room: of which router's table, and from where.
    pub(super) fn due(&mut self, at: SocketAddr) -> Option<(RouterKey, u32)> {
        let station = self.known.get_mut(&at)?;
        let waiting = station.queue.as_ref()?.waiting.load(Ordering::Relaxed);
        let next = *station.todo.front()?;
        (waiting < BEFORE_MORE).then(|| {
            station.begun.insert(next.0);
            next
        })
    }

    /// A part of a table, and where it goes on.
    pub(super) fn part(&mut self, at: SocketAddr, bytes: Bytes, next: Option<u32>) {
        let Some(station) = self.known.get_mut(&at) else { return };
        match (next, station.todo.front_mut()) {
            (Some(from), Some(first)) => first.1 = from,
            _ => drop(station.todo.pop_front()),
        }
        station.push(at, bytes);
    }

    /// A router's changes, to every station that knows the router.
    pub(super) fn tell(&mut self, key: RouterKey, bytes: &Bytes) {
        for (at, station) in &mut self.known {
            if station.begun.contains(&key) {
                station.push(*at, bytes.clone());
            }
        }
    }

    /// A router is gone; `last` is said of it.
    pub(super) fn forget(&mut self, key: RouterKey, last: &Bytes) {
        self.tell(key, last);
        for station in self.known.values_mut() {
            station.begun.remove(&key);
            station.todo.retain(|(other, _)| *other != key);
        }
    }
}

impl Drop for Stations {
    fn drop(&mut self) {
        self.known.values().for_each(|station| station.task.abort());
    }
}

impl Known {
    fn push(&mut self, at: SocketAddr, bytes: Bytes) {
        let Some(queue) = &self.queue else { return };
        if !bytes.is_empty() && !queue.push(bytes) {
            tracing::warn!(station = %at, "the BMP station does not keep up: it is to begin anew");
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.queue = None;
        self.begun.clear();
        self.todo.clear();
    }

    /// It is not wanted any more.
    fn end(&mut self) {
        let mut last = Vec::new();
        bgp::bmp::termination(&mut last);
        if let Some(queue) = self.queue.take() {
            // Its task ends the connection when all is sent, and finds nobody to tell of another.
            queue.push(last.into());
            let task = self.task.clone();
            tokio::spawn(async move {
                sleep(FIRST_PAUSE).await;
                task.abort();
            });
        } else {
            self.task.abort();
        }
    }
}

/// Keeps a connection to a station.
async fn serve(address: SocketAddr, teller: mpsc::UnboundedSender<News>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let why = match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                tracing::info!(station = %address, "the BMP station is connected");
                let why = feed(stream, address, &teller).await;
                let _ = teller.send(News::Gone(address));
                why
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        tracing::info!(station = %address, "no connection to the BMP station: {why}");
        pause = if begun.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { pause };
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Sends what comes; why it ended.
async fn feed(stream: TcpStream, address: SocketAddr, teller: &mpsc::UnboundedSender<News>) -> String {
    let (sender, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let waiting = Arc::new(AtomicUsize::new(0));
    let mine = Queue { sender, waiting: Arc::clone(&waiting) };
    if teller.send(News::Connected(address, mine)).is_err() {
        return "the gateway ends".to_owned();
    }
    let (mut from, mut to) = stream.into_split();
    let mut said = [0; 256];
    loop {
        tokio::select! {
            // Stations have nothing to say (RFC 7854, 3.2) but that they are gone.
            read = from.read(&mut said) => match read {
                Ok(0) => return "it has closed the connection".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            },
            bytes = queue.recv() => {
                let Some(bytes) = bytes else { return "the connection was given up".to_owned() };
                match timeout(PATIENCE, to.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return "it does not read what it is sent".to_owned(),
                }
                let before = waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                if before == bytes.len() {
                    let _ = teller.send(News::Emptied);
                }
            }
        }
    }
}
