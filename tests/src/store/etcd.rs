//! Real etcd members on the loopback of a machine of the lab, and cables to them that can be cut.

use crate::node::{Node, Processes, Running};
use crate::wait::{SOON, until};
use etcd_client::{Client, GetOptions};
use gateway_user::controller::store::etcd::{EtcdStore, Options};
use gateway_user::controller::store::{Error, Store};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, tcp};
use tokio::sync::watch;

/// Runs something beside `count` etcd members, in a network where nothing else is.
pub fn with_members<F: Future<Output = ()>>(count: usize, run: impl FnOnce(Members) -> F + Send) {
    with_arguments(count, &[], run);
}

/// The same, with more arguments for each member.
pub fn with_arguments<F: Future<Output = ()>>(count: usize, arguments: &[&str], run: impl FnOnce(Members) -> F + Send) {
    let processes = Processes::new().unwrap();
    let node = Node::new("etcd", &processes).unwrap();
    let members = Members::start(&node, count, arguments);
    node.within_network(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            members.store("ready", &members.all()).await;
            run(members).await;
        });
        // Connections of what the test left behind end with their processes.
        runtime.shutdown_background();
    });
}

/// The members of a cluster.
pub struct Members(Vec<Member>);

/// A member, which runs or does not.
pub struct Member {
    number: usize,
    arguments: Vec<String>,
    node: Arc<Node>,
    process: Option<Running>,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl Members {
    /// Starts so many on the loopback of a machine, with more arguments for each.
    pub fn start(node: &Arc<Node>, count: usize, arguments: &[&str]) -> Self {
        let cluster: Vec<String> = (0..count).map(|number| format!("m{number}={}", peer_url(number))).collect();
        let members = (0..count).map(|number| {
            let own = [
                ("name", format!("m{number}")),
                ("data-dir", format!("/run/m{number}")),
                ("listen-client-urls", client_url(number)),
                ("advertise-client-urls", client_url(number)),
                ("listen-peer-urls", peer_url(number)),
                ("initial-advertise-peer-urls", peer_url(number)),
                ("initial-cluster", cluster.join(",")),
            ];
            let own = own.iter().map(|(name, value)| format!("--{name}={value}"));
            let arguments = own.chain(arguments.iter().map(|&argument| argument.into())).collect();
            let mut member = Member { number, arguments, node: node.clone(), process: None };
            member.start();
            member
        });
        Self(members.collect())
    }

    /// Where the members answer.
    pub fn all(&self) -> Vec<SocketAddr> {
        self.0.iter().map(Member::address).collect()
    }

    /// The machine on which they run.
    pub fn node(&self) -> &Arc<Node> {
        &self.0[0].node
    }

    /// One of them.
    pub fn member(&mut self, number: usize) -> &mut Member {
        &mut self.0[number]
    }

    /// A store that reaches the members at these addresses, ready to be used. Its leaders may be silent for a minute.
    pub async fn store(&self, namespace: &str, endpoints: &[SocketAddr]) -> Store {
        self.store_with(namespace, endpoints, |options| options.lease = SOON).await
    }

    /// The same, with options of its own.
    pub async fn store_with(&self, namespace: &str, endpoints: &[SocketAddr], set: impl FnOnce(&mut Options)) -> Store {
        let endpoints: Vec<String> = endpoints.iter().map(SocketAddr::to_string).collect();
        let mut options = Options::parse(&format!("etcd://{}/{namespace}", endpoints.join(","))).unwrap();
        // However slow the machine is, members that live answer in the end.
        options.patience = SOON;
        set(&mut options);
        let store = Store::from(EtcdStore::connect(&options).await.unwrap());
        let answer = store.get("nothing").await;
        assert!(matches!(answer, Ok(None)), "{answer:?}");
        store
    }

    /// The number of the member that leads the others.
    pub fn leader(&self) -> usize {
        until(SOON, "a leader of the etcd members", || self.0.iter().position(Member::leads)).unwrap()
    }

    /// A client that sees all that etcd holds.
    pub async fn raw(&self) -> Client {
        Client::connect(self.0.iter().map(|member| client_url(member.number)).collect::<Vec<_>>(), None).await.unwrap()
    }
}

/// How many keys etcd holds below a prefix.
pub async fn count(raw: &mut Client, prefix: &str) -> i64 {
    raw.get(prefix, Some(GetOptions::new().with_prefix().with_count_only())).await.unwrap().count()
}

impl Member {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], client_port(self.number)))
    }

    /// Starts it, with what it had on its disk.
    pub fn start(&mut self) {
        let mut command = Command::new("etcd");
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(self.node.spawn(&mut command).expect("etcd runs (`cargo xtask setup test` installs it)"));
    }

    /// Kills it, as a failure of its machine does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.child().kill().unwrap();
            process.child().wait().unwrap();
        }
    }

    /// Stops it without closing its connections.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a member that runs").signal(signal).unwrap();
    }

    /// Whether it says that it leads.
    fn leads(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address())?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        self.process.is_some() && ask().is_ok_and(|text| text.lines().any(|line| line == "etcd_server_is_leader 1"))
    }
}

const fn client_port(number: usize) -> u16 {
    23790 + number as u16
}

fn client_url(number: usize) -> String {
    format!("http://127.0.0.1:{}", client_port(number))
}

fn peer_url(number: usize) -> String {
    format!("http://127.0.0.1:{}", 23800 + number)
}

/// How a cable carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// All there is.
    All,
    /// Requests arrive, answers do not.
    RequestsOnly,
    /// Nothing, and nobody is told.
    Nothing,
}

/// A cable to a member.
pub struct Cable {
    address: SocketAddr,
    state: watch::Sender<Carries>,
    /// Counts the times that all connections were torn down.
    cuts: watch::Sender<u64>,
}

impl Cable {
    /// Lays a cable to a member.
    pub async fn to(member: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, cuts) = (watch::Sender::new(Carries::All), watch::Sender::new(0));
        let (carries, cut) = (state.subscribe(), cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (carries, mut cut) = (carries.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(far) = tokio::net::TcpStream::connect(member).await else { return };
                    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near_read, far_write, carries.clone(), |carries| carries != Carries::Nothing) => {}
                        () = carry(far_read, near_write, carries, |carries| carries == Carries::All) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, state, cuts }
    }

    /// Where its near end is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it carries from now on.
    pub fn set(&self, carries: Carries) {
        self.state.send_replace(carries);
    }

    /// Tears down all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Carries>,
    passes: impl Fn(Carries) -> bool,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if state.wait_for(|state| passes(*state)).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// Whether an error says that a store is full, and what to do.
pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Full { .. }) && error.to_string().contains("etcdctl defrag")
}
