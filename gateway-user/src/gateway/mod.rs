//! The gateway's agent: it makes the host and the data plane what the plan says, and keeps them so.
//!
//! Packets do not need it: programs, maps, compartments and neighbours stay when it goes, and the next one takes them over.
//!
//! | to change | go to |
//! |---|---|
//! | what is done at the start, and for a plan | `agent` |
//! | what differs for a compute host | `assignment`, and [`crate::host`] |
//! | what is waited for, and what a change of the host's leads to | `watch` |
//! | what clients are answered | `requests`, `show` |
//! | tenants' BGP | [`bgp`] |
//! | a tenant's network namespace | [`compartment`], `inside` |
//! | fragments, outer and inner | [`slowpath`], [`reassembly`], [`fragmentation`] |
//! | what is told of seats to the gateways that may take them | [`seat_log`] |
//! | what of it comes from the agent, and what becomes of it there | `replicas` |
//! | plans that come from a controller, and what it is told | [`controlled`] |
//! | which seats are held here | [`standing`], `seats` |
//! | what is undone by `detach` | [`record`] |

mod agent;
mod assignment;
pub mod bgp;
pub mod changes;
pub mod compartment;
pub mod controlled;
pub mod fragmentation;
mod heard_routes;
mod inside;
mod meter;
pub mod path_mtu;
mod ports;
mod reach;
pub mod reassembly;
pub mod record;
mod replicas;
mod requests;
pub mod seat_log;
mod seats;
mod sessions;
mod show;
pub mod slowpath;
pub mod standing;
mod watch;

use crate::dataplane;
use crate::net::netlink::Netlink;
use crate::net::netns;
use crate::net::next_hops::{Exit, NextHops};
use anyhow::Context;
use compartment::Compartments;
use record::{Lock, Record};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use assignment::{Assignment, Role};

/// How long neighbours may take to be told that their BFD sessions are off.
const BFD_PATIENCE: Duration = Duration::from_secs(15);

/// How long a sentinel may take to end.
const SENTINEL_PATIENCE: Duration = Duration::from_secs(15);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// As what.
    pub role: Role,
    /// Where plans come from.
    pub plan: PlanOrigin,
    /// Where the control socket is.
    pub socket: PathBuf,
    /// Where the compartments are named.
    pub netns: PathBuf,
    /// The data plane: pins, state, sizes.
    pub dataplane: dataplane::Options,
}

/// Where plans come from.
#[derive(Clone, Debug)]
pub enum PlanOrigin {
    /// A file, read at the start and upon SIGHUP; clients may apply another.
    File(PathBuf),
    /// A controller.
    Controller(Box<crate::agent::Options>),
}

/// Runs the agent until it is told to stop. Packets flow on afterwards.
///
/// # Errors
/// What keeps it from starting, with the remedy; then nothing was changed on the host.
pub fn run(options: Options) -> anyhow::Result<()> {
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (first, link) = match &options.plan {
            PlanOrigin::File(path) => (agent::First::read(options.role, path)?, None),
            PlanOrigin::Controller(link) => match controlled::first(options.role, (**link).clone()).await? {
                Some((first, link)) => (first, Some(link)),
                None => return Ok(()),
            },
        };
        let (agent, sources) = agent::Agent::start(options, first, link)?;
        agent.serve(sources).await
    })
}

/// Takes the gateway off the host: programs, maps, compartments, and what was switched on ports. Works twice.
///
/// # Errors
/// A daemon is running, or something cannot be undone.
pub fn detach(pins: &Path, state: &Path) -> anyhow::Result<()> {
    dataplane::check_privileges()?;
    let lock = Lock::take(state)?;
    crate::bfd::client::end(&crate::bfd::socket_in(state), BFD_PATIENCE);
    crate::sentinel::client::end(&crate::sentinel::socket_in(state), SENTINEL_PATIENCE);
    undo(pins, state)?;
    lock.remove()?;
    // Only if nobody else keeps anything there.
    let _ = std::fs::remove_dir(state);
    Ok(())
}

/// Undoes all that the record in `state` tells of. The lock is held.
fn undo(pins: &Path, state: &Path) -> anyhow::Result<()> {
    let mut record = Record::load(state)?;
    dataplane::detach(pins, state).context("cannot remove the programs and maps")?;
    let mut netlink = Netlink::new()?;
    let mut compartments = Compartments::new(&record.netns);
    if let Some((tenant, error)) = compartments.remove(&mut netlink, &record.compartments).pop() {
        return Err(error.context(format!("the compartment of {tenant} cannot be removed")));
    }
    if record.slow_path == slowpath::Ownership::Ours {
        slowpath::remove_link(&mut netlink)?;
    }
    if record.overlay == slowpath::Ownership::Ours {
        crate::host::overlay::remove(&mut netlink)?;
    }
    netns::release_directory(&record.netns)?;
    let links = netlink.links(record.ports.iter().map(String::as_str))?;
    let exits: BTreeMap<u32, Exit> = links
        .into_iter()
        .flatten()
        .map(|link| (link.index, Exit { name: link.name, mac: link.mac, mtu: link.mtu }))
        .collect();
    // Without remotes all that is managed on the ports is let go.
    NextHops::default().want(&mut netlink, exits, HashMap::new())?;
    crate::net::fitness::restore(&mut record.switched, &mut netlink);
    path_mtu::PathMtus::remove(state)?;
    Record::remove(state)
}

/// A descriptor or two for each tenant with VLANs, and maps: the usual limit of 1024 is for programs that use select(2).
pub(crate) fn raise_open_files_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Tells the service manager, if there is one (sd_notify(3)).
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = || -> std::io::Result<()> {
        let bytes = path.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
            None => std::os::unix::net::SocketAddr::from_pathname(&path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    };
    if let Err(error) = sent() {
        tracing::debug!(%error, "the service manager was not told");
    }
}
