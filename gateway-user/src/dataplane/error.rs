//! What can go wrong between user space and the kernel's side of the data plane, told with its remedy.

use std::io;
use std::path::PathBuf;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no object in the executable.
    #[error("this gatewayd was built without its XDP programs; run `cargo xtask build` and start what it built")]
    NotBuilt,
    /// The object is not what it should be.
    #[error("the XDP programs cannot be read: {0}; build them again with `cargo xtask build`")]
    Object(String),
    /// Not root.
    #[error("the gateway may not load XDP programs: it lacks {0}; run it as root")]
    Privileges(String),
    /// No type information.
    #[error(
        "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing); use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are"
    )]
    NoBtf,
    /// No BPF file system.
    #[error("{} is not on a BPF file system; run `mount -t bpf bpf {}`, or name a directory on one with --pins", path.display(), mount.display())]
    NoBpffs {
        /// Where the pins were to go.
        path: PathBuf,
        /// What is to be mounted upon.
        mount: PathBuf,
    },
    /// A file system call failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon has the pins.
    #[error("another gatewayd works with {}; stop it first, or give this one its own --state and --pins", .0.display())]
    Locked(PathBuf),
    /// What is pinned was made by another version or with other sizes.
    #[error(
        "the maps that an earlier gatewayd pinned in {} do not fit this one:\n{}\nStart it with --migrate to move over under traffic (counters start from zero), or run `gatewayctl detach` in a maintenance window; until then the old programs go on forwarding",
        path.display(),
        differences.join("\n")
    )]
    Incompatible {
        /// The pins.
        path: PathBuf,
        /// One line a map.
        differences: Vec<String>,
    },
    /// The kernel did not take the maps or programs.
    #[error("the kernel (release {release}) does not take the XDP programs: {reason}")]
    Load {
        /// The running kernel.
        release: String,
        /// Why, with the end of the verifier's log.
        reason: String,
    },
    /// The object lacks a program.
    #[error("the XDP programs lack `{0}`; build them again with `cargo xtask build`")]
    NoProgram(String),
    /// Somebody else's program is attached.
    #[error(
        "{port}: XDP is in use by another program there; see it with `ip link show dev {port}` or `bpftool net`, and detach it (`ip link set dev {port} xdp off`, or stop its owner)"
    )]
    Busy {
        /// The interface.
        port: String,
    },
    /// The driver has no native XDP.
    #[error(
        "{port}: its driver has no native XDP; use another port, or accept the lower speed with `mode = \"generic\"` in the plan"
    )]
    NoNative {
        /// The interface.
        port: String,
    },
    /// The MTU is too large.
    #[error(
        "{port}: its MTU (for a veth: its peer's too) is larger than the driver takes with XDP; lower it with `ip link set dev {port} mtu …`"
    )]
    MtuTooLarge {
        /// The interface.
        port: String,
    },
    /// The interface is gone.
    #[error("{port}: there is no such interface (any more)")]
    NoInterface {
        /// The interface.
        port: String,
    },
    /// Another error while attaching.
    #[error("{port}: the XDP program cannot be attached: {source}")]
    Attach {
        /// The interface.
        port: String,
        /// Why.
        source: io::Error,
    },
    /// A map call failed.
    #[error("cannot {doing} the map {map}: {source}")]
    Map {
        /// The map.
        map: String,
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A map's key or value has another size than its type here.
    #[error(
        "the map {map} has (key, value) sizes of {found:?} bytes instead of {expected:?}: the XDP programs are of another version; build them again with `cargo xtask build`"
    )]
    Sizes {
        /// The map.
        map: String,
        /// In the kernel.
        found: (usize, usize),
        /// Here.
        expected: (usize, usize),
    },
    /// The plan needs more than a map holds.
    #[error(
        "the plan needs {needed} {what}, and the gateway was started with room for {room}; make it larger with --size {map}={needed} --migrate"
    )]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// The map's name.
        map: &'static str,
        /// How many the plan needs.
        needed: usize,
        /// How many there is room for.
        room: usize,
    },
    /// One tenant has too many routes.
    #[error(
        "tenant number {tenant} has {needed} routes of one IP version, more than `routes_per_tenant` = {room}; raise it in the plan"
    )]
    RoutesFull {
        /// The tenant's number.
        tenant: u32,
        /// How many it has.
        needed: usize,
        /// How many it may have.
        room: usize,
    },
}

impl Error {
    pub(super) fn map(map: &str, doing: &'static str, source: io::Error) -> Self {
        Self::Map { map: map.to_owned(), doing, source }
    }

    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
