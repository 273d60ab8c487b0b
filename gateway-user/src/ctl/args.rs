//! The command line.

use super::remote::args::{Command as Remote, Reach};
use crate::api::DEFAULT_SOCKET;
use crate::api::bgp::{BgpDirection, BgpMatching, BgpOrigin};
use crate::dataplane;
use clap::{Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// Ask a running gateway or a network controller: see, trace, check and change what they do.
#[derive(Debug, Parser)]
#[command(
    name = "gatewayctl",
    version,
    propagate_version = true,
    after_help = "Examples:
  gatewayctl status
  gatewayctl show connections
  gatewayctl show routes --tenant contoso --prefix 10.2.0.0/16
  gatewayctl top
  gatewayctl trace --tenant contoso --dst 10.1.0.5 --count 3
  gatewayctl check plan.toml && gatewayctl apply plan.toml
  gatewayctl show drops -o json
  gatewayctl bgp neighbors

  gatewayctl config set-context lab --controller https://10.0.0.1:8443 --ca ca.crt --cert me.crt --key me.key
  gatewayctl get gateways -o wide
  gatewayctl get tenant/contoso/connections
  gatewayctl apply -f contoso.yaml
  gatewayctl where tenant/contoso

status, show, bgp, bfd, seats, history, failover, top, trace, check, apply PLAN and detach speak of the gateway on this host; everything else asks a network controller.

Exit codes: 0 it went well, 1 it did not (diff: or something differs), 2 it was called wrongly."
)]
pub struct Args {
    /// The gateway's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to print
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Form::Table)]
    pub output: Form,
    /// Which controller is asked.
    #[command(flatten)]
    pub reach: Reach,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Table,
    /// For people, with more columns; what a controller knows only
    Wide,
    /// For programs; field names are stable
    Json,
    /// The same as YAML; what a controller knows only
    Yaml,
    /// The resources' names alone; what a controller knows only
    Name,
}

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the gateway as a whole
    Status,
    /// Show connections, tenants, ports, drops, routes and more
    #[command(after_help = "Examples:
  gatewayctl show connections --tenant contoso
  gatewayctl show drops --explain
  gatewayctl show nexthops -o json")]
    Show {
        /// What to show.
        #[command(subcommand)]
        what: Show,
    },
    /// Show resources of the controller, or, like `show`, what this host's gateway does
    #[command(
        subcommand_negates_reqs = true,
        disable_help_subcommand = true,
        after_help = "Examples:
  gatewayctl get gateways
  gatewayctl get gateways GW1 GW2 -o yaml
  gatewayctl get virtualGateways/contoso/networkConnections
  gatewayctl get networkConnections -o wide
  gatewayctl get connection/contoso/hq -o json
  gatewayctl get connections

A kind has the name of its collection, the singular or a short one (gw, pool, tenant, nic), in any case. The words that stand under
Commands are the exception: alone they mean this host's gateway, as with `show`. With an id or below another resource they mean the
controller's."
    )]
    Get(GetOptions),
    /// Watch the connections' rates, live; q quits. With a word, what the controller knows of all gateways, connections or hosts
    #[command(after_help = "Examples:
  gatewayctl top
  gatewayctl top --interval 5 --tenant contoso
  gatewayctl top --count 2 | cat
  gatewayctl top gateways
  gatewayctl top connections --once -o json

Without a word it is the gateway of this host. What the controller knows comes from the agents' reports, once a second; where the output
is no terminal it is shown once.")]
    Top(TopOptions),
    /// Print the stages that a tenant's packets pass, with verdict and reason; Ctrl-C ends it
    #[command(after_help = "Examples:
  gatewayctl trace --tenant contoso --dst 10.1.0.0/24
  gatewayctl trace --tenant contoso --connection hq --count 10 -w hq.pcapng
  gatewayctl trace --tenant contoso -w - | tshark -r -

Tracing costs the traced tenant's packets some speed and ends with this command.")]
    Trace(TraceOptions),
    /// Validate a plan and the fitness of its ports, without touching the host
    #[command(after_help = "Examples:
  gatewayctl check plan.toml
  gatewayctl check - < plan.toml

Exit code 0: the plan can be applied here; 1: it cannot.")]
    Check {
        /// The plan's file; - reads standard input
        plan: PathBuf,
        /// Where a gateway that runs here has pinned its programs, which may be on the ports
        #[arg(long, value_name = "DIR", default_value = dataplane::pins::DEFAULT)]
        pins: PathBuf,
    },
    /// Apply a plan to the running gateway, as a difference; with -f, create and change resources at the controller
    #[command(after_help = "Examples:
  gatewayctl apply plan.toml
  gatewayctl apply - < plan.toml
  gatewayctl apply -f contoso.yaml
  gatewayctl apply -f fabric/ -f tenants/

A plan: connections that do not change lose no packet. A plan with an error changes nothing.
When it starts, and on SIGHUP, the daemon reads the file again that it was started with.

Resources: each has its `resourceRef`, or `kind`, `resourceId` and, if it stands in another one, `parent`. Their order does not matter.
One that is refused does not keep the others back.")]
    Apply {
        /// The plan's file; - reads standard input
        #[arg(required_unless_present = "files", conflicts_with = "files")]
        plan: Option<PathBuf>,
        /// Files or directories with resources for the controller, JSON or YAML; - reads standard input
        #[arg(short = 'f', long = "filename", value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show the BFD sessions of this host's gateway, also while its daemon does not run
    #[command(after_help = "Examples:
  gatewayctl bfd
  gatewayctl bfd -o json")]
    Bfd(BfdOptions),
    /// Show the seats that this host's gateway holds or may take, and the other gateways of its pool as they are seen from here
    #[command(after_help = "Examples:
  gatewayctl seats
  gatewayctl seats -o json

LEASE is what is left of it; it is renewed all the time. NEXT are those who may take the seat after its holder, with their epochs.
The gaps are the longest times without an answer of a gateway's forwarding plane; discounted, without the time in which this one was late itself.")]
    Seats(SentinelOptions),
    /// Show what happened to seats, with the times of each failover
    #[command(after_help = "Examples:
  gatewayctl history
  gatewayctl history -o json

Times are UTC by this host's clock. Of the other gateways' clocks it is said by how much they are ahead, and by how much that may be wrong.")]
    History(SentinelOptions),
    /// Have another gateway take a seat that this one holds, without losing a packet
    #[command(after_help = "Examples:
  gatewayctl failover GW1
  gatewayctl failover GW1 --to GW3
  gatewayctl failover --all && systemctl stop gatewayd")]
    Failover(FailoverOptions),
    /// Take the gateway's programs, tables and compartments off this host
    #[command(after_help = "Example:
  systemctl stop gatewayd; gatewayctl detach

Packets are no longer forwarded afterwards. It refuses while the daemon is running.")]
    Detach(DetachOptions),
    /// Show what tenants' BGP routers do
    #[command(after_help = "Examples:
  gatewayctl bgp neighbors
  gatewayctl bgp neighbors --tenant contoso -o json
  gatewayctl bgp routes --tenant contoso --prefix 10.2.0.0/16
  gatewayctl bgp routes --tenant contoso --peer hq --community 64513:50
  gatewayctl bgp explain 10.2.0.0/16 --tenant contoso
  gatewayctl bgp policy-test 10.2.0.0/16 --tenant contoso --peer hq --direction in
  gatewayctl bgp dump --tenant contoso --mrt contoso.mrt")]
    Bgp {
        /// What to show.
        #[command(subcommand)]
        what: Bgp,
    },
    /// Say what a drop reason means; without a reason, all of them
    #[command(after_help = "Example:
  gatewayctl explain-drop spoofed")]
    ExplainDrop {
        /// The reason's name or number
        reason: Option<String>,
    },
    /// What asks a controller.
    #[command(flatten)]
    Remote(Remote),
}

/// What to get.
#[derive(Debug, clap::Args)]
pub struct GetOptions {
    /// What this host's gateway does.
    #[command(subcommand)]
    pub local: Option<Show>,
    /// Kinds and resources: KIND, KIND/ID, KIND ID…, KIND/ID/CHILDREN
    #[arg(value_name = "KIND[/ID]", required = true)]
    pub what: Vec<String>,
}

impl Command {
    /// Whether this host's gateway is asked, which knows tables and JSON alone.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Get(GetOptions { local, .. }) => local.is_some(),
            Self::Apply { plan, .. } => plan.is_some(),
            Self::Top(options) => options.what.is_none(),
            Self::Remote(_) => false,
            _ => true,
        }
    }
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum Show {
    /// The gateway as a whole
    Status,
    /// Connections with their counters
    #[command(visible_alias = "connection")]
    Connections {
        /// Only this tenant's
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Tenants with the counters of their fabric side
    #[command(visible_alias = "tenant")]
    Tenants,
    /// Ports with their counters
    #[command(visible_alias = "port")]
    Ports,
    /// Drop counters, the largest first
    #[command(visible_alias = "drop")]
    Drops {
        /// Only this tenant's
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Say what each reason means
        #[arg(long)]
        explain: bool,
    },
    /// A tenant's routes
    #[command(visible_alias = "route")]
    Routes {
        /// The tenant
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// Only routes that hold this prefix or address, or lie within it
        #[arg(long, value_name = "PREFIX", value_parser = prefix)]
        prefix: Option<IpNet>,
    },
    /// Next hops, and whether they are resolved
    #[command(visible_aliases = ["nexthop", "neighbours", "neighbors"])]
    Nexthops,
    /// Seats
    #[command(visible_alias = "seat")]
    Seats,
    /// Path MTUs learned for tunnels
    #[command(visible_alias = "path-mtu")]
    PathMtus,
}

/// What to show of BGP.
#[derive(Debug, Subcommand)]
pub enum Bgp {
    /// Peers, their sessions, and why there is none
    #[command(visible_aliases = ["neighbor", "neighbours", "peers"])]
    Neighbors {
        /// Only this tenant's
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Paths that a tenant's router knows, and which are used
    #[command(visible_alias = "route")]
    Routes {
        /// The tenant
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// Only paths to prefixes that belong to this prefix or address; see --match
        #[arg(long, value_name = "PREFIX", value_parser = prefix)]
        prefix: Option<IpNet>,
        /// How prefixes and the one of --prefix belong together
        #[arg(long = "match", value_enum, value_name = "HOW", default_value = "related", requires = "prefix")]
        matching: BgpMatching,
        /// Only paths that this peer has told; local for what the router announces itself
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
        /// Only paths with this community
        #[arg(long, value_name = "COMMUNITY")]
        community: Option<String>,
    },
    /// Say what would become of a route on its way from or to a peer, or through a policy
    #[command(after_help = "Examples:
  gatewayctl bgp policy-test 10.2.0.0/16 --tenant contoso --peer hq --direction in --community 64513:50
  gatewayctl bgp policy-test 10.2.0.0/16 --tenant contoso --peer dc --direction out --known
  gatewayctl bgp policy-test 10.2.0.0/16 --tenant contoso --policy from-sites --plan plan.toml")]
    PolicyTest(PolicyTestOptions),
    /// Write all paths that a tenant's router knows to a file that other programs read
    Dump {
        /// The tenant
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// The file, in the format MRT (RFC 6396); - is standard output
        #[arg(long, value_name = "FILE")]
        mrt: PathBuf,
    },
    /// Why a prefix is forwarded as it is, and which peers were told
    Explain {
        /// The prefix
        #[arg(value_name = "PREFIX", value_parser = prefix)]
        prefix: IpNet,
        /// The tenant
        #[arg(long, value_name = "NAME")]
        tenant: String,
    },
}

/// Options of `bgp policy-test`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("through").required(true).args(["peer", "policy"])))]
pub struct PolicyTestOptions {
    /// The route's prefix
    #[arg(value_name = "PREFIX", value_parser = prefix)]
    pub prefix: IpNet,
    /// The tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: String,
    /// The peer that the route comes from or goes to
    #[arg(long, value_name = "NAME", requires = "direction")]
    pub peer: Option<String>,
    /// Whether it comes from there or goes there
    #[arg(long, value_enum, value_name = "WAY", requires = "peer")]
    pub direction: Option<BgpDirection>,
    /// A policy alone, without the rules of a peer
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// The peer that has told the route, on its way to another one; without, the router announces it itself
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,
    /// A path that the router has, with its attributes
    #[arg(long, conflicts_with_all = ["as_path", "next_hop", "origin", "med", "local_preference", "community", "plan"])]
    pub known: bool,
    /// The autonomous systems on the way, the nearest first, such as \"64513 1.10\"; if absent, that of the peer which has told it
    #[arg(long, value_name = "ASNS", value_parser = asns)]
    pub as_path: Option<AsPath>,
    /// Where the route leads; if absent, to the peer which has told it
    #[arg(long, value_name = "ADDRESS")]
    pub next_hop: Option<IpAddr>,
    /// Where it came into BGP
    #[arg(long, value_enum, value_name = "ORIGIN")]
    pub origin: Option<BgpOrigin>,
    /// MULTI_EXIT_DISC
    #[arg(long, value_name = "NUMBER")]
    pub med: Option<u32>,
    /// LOCAL_PREF
    #[arg(long, value_name = "NUMBER")]
    pub local_preference: Option<u32>,
    /// A community of any kind; may be given several times
    #[arg(long, value_name = "COMMUNITY")]
    pub community: Vec<String>,
    /// Ask this plan instead of the gateway that runs
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

/// Numbers of autonomous systems.
#[derive(Clone, Debug)]
pub struct AsPath(pub Vec<u32>);

fn asns(text: &str) -> Result<AsPath, String> {
    let number = |word: &str| word.parse::<bgp::number::Asn>().map(|asn| asn.0);
    let numbers: Result<Vec<u32>, _> = text.split_ascii_whitespace().map(number).collect();
    numbers.map(AsPath).map_err(|_| format!("\"{text}\" is no list of AS numbers such as \"64513 1.10\""))
}

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct TopOptions {
    /// What the controller is asked for
    #[arg(value_enum, value_name = "WHAT")]
    pub what: Option<Subject>,
    /// Show it once
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: f64,
    /// End after so many looks
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Only this tenant's
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

/// What `top` asks the controller for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Gateways: what is used of their capacity, what they carry
    Gateways,
    /// Connections, the busiest first
    Connections,
    /// Compute hosts
    Hosts,
}

/// Options of `trace`.
#[derive(Debug, clap::Args)]
pub struct TraceOptions {
    /// The tenant whose packets are traced
    #[arg(long, value_name = "NAME")]
    pub tenant: String,
    /// Only packets to addresses in this prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub dst: Option<IpNet>,
    /// Only packets from addresses in this prefix
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub src: Option<IpNet>,
    /// Only packets from or to this connection
    #[arg(long, value_name = "NAME")]
    pub connection: Option<String>,
    /// End after so many packets
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Write the packets to a pcapng file too, each with its stages as comment; - writes to standard output instead of printing
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Options of `bfd`.
#[derive(Debug, clap::Args)]
pub struct BfdOptions {
    /// Where the daemon keeps what it needs after a restart
    #[arg(long, value_name = "DIR", default_value = dataplane::DEFAULT_STATE)]
    pub state: PathBuf,
}

/// Options of what asks the sentinel.
#[derive(Debug, clap::Args)]
pub struct SentinelOptions {
    /// Where the daemon keeps what it needs after a restart
    #[arg(long, value_name = "DIR", default_value = dataplane::DEFAULT_STATE)]
    pub state: PathBuf,
}

/// Options of `failover`.
#[derive(Debug, clap::Args)]
pub struct FailoverOptions {
    /// The seat
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub seat: Option<String>,
    /// All seats that this gateway holds
    #[arg(long)]
    pub all: bool,
    /// Who is to take it; if absent, whose turn it is
    #[arg(long, value_name = "GATEWAY")]
    pub to: Option<String>,
    /// Where the sentinel is found.
    #[command(flatten)]
    pub place: SentinelOptions,
}

/// Options of `detach`.
#[derive(Debug, clap::Args)]
pub struct DetachOptions {
    /// Where programs and tables are pinned
    #[arg(long, value_name = "DIR", default_value = dataplane::pins::DEFAULT)]
    pub pins: PathBuf,
    /// Where the daemon keeps what it needs after a restart
    #[arg(long, value_name = "DIR", default_value = dataplane::DEFAULT_STATE)]
    pub state: PathBuf,
}

/// A prefix, or an address as the prefix of itself alone. Host bits are forgiven: this only chooses.
fn prefix(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .map(|prefix| prefix.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("\"{text}\" is neither a prefix such as 10.1.0.0/24 nor an address such as 10.1.0.5"))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.1 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_prefix_may_be_an_address_and_have_host_bits() {
        for (text, expected) in
            [("10.1.0.5", "10.1.0.5/32"), ("10.1.0.5/24", "10.1.0.0/24"), ("fd00::1", "fd00::1/128"), ("::/0", "::/0")]
        {
            assert_eq!(prefix(text).map(|prefix| prefix.to_string()), Ok(expected.to_owned()));
        }
        assert!(prefix("10.1.0.0/33").is_err() && prefix("hq").is_err());
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for line in [
            "gatewayctl -o json --socket /s show connections",
            "gatewayctl show connections -o json --socket /s",
            "gatewayctl get connections --socket=/s --output=json",
        ] {
            let args = Args::try_parse_from(line.split(' ')).expect("a good line");
            assert_eq!((args.output, args.socket), (Form::Json, PathBuf::from("/s")));
        }
    }

    #[test]
    fn get_means_the_gateway_of_this_host_or_the_controllers_resources() {
        let get = |line: &str| match Args::try_parse_from(line.split(' ')).expect("a good line").command {
            Command::Get(options) => options,
            other => panic!("{other:?}"),
        };
        for line in ["gatewayctl get connections", "gatewayctl get -o json routes --tenant t", "gatewayctl get tenants"]
        {
            assert!(get(line).local.is_some(), "{line}");
        }
        for line in [
            "gatewayctl get gateways",
            "gatewayctl get gw GW1 GW2 -o yaml",
            "gatewayctl get tenant/contoso",
            "gatewayctl get -o name connection/hq",
        ] {
            let options = get(line);
            assert!(options.local.is_none() && !options.what.is_empty(), "{line}");
        }
    }

    #[test]
    fn wrong_calls_exit_with_2() {
        for line in [
            "gatewayctl",
            "gatewayctl shw",
            "gatewayctl show routes",
            "gatewayctl trace --tenant t -c 0",
            "gatewayctl get",
            "gatewayctl apply",
            "gatewayctl apply plan.toml -f x.yaml",
            "gatewayctl delete",
            "gatewayctl diff",
            "gatewayctl bgp routes --tenant t --match exact",
            "gatewayctl bgp policy-test 10.0.0.0/8 --tenant t",
            "gatewayctl bgp policy-test 10.0.0.0/8 --tenant t --peer p",
            "gatewayctl bgp policy-test 10.0.0.0/8 --tenant t --policy p --known --med 1",
        ] {
            let error = Args::try_parse_from(line.split(' ')).expect_err("a wrong line");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
