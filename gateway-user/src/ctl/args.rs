//! The command line.

use crate::api::DEFAULT_SOCKET;
use crate::dataplane;
use clap::{Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// Ask a running gateway, trace packets through it, check and apply plans.
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

Exit codes: 0 it went well, 1 it did not, 2 it was called wrongly."
)]
pub struct Args {
    /// The gateway's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How to print
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs; field names are stable
    Json,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the gateway as a whole
    Status,
    /// Show connections, tenants, ports, drops, routes and more
    #[command(
        visible_alias = "get",
        after_help = "Examples:
  gatewayctl show connections --tenant contoso
  gatewayctl show drops --explain
  gatewayctl get nexthops -o json"
    )]
    Show {
        /// What to show.
        #[command(subcommand)]
        what: Show,
    },
    /// Watch the connections' rates, live; q quits
    #[command(after_help = "Examples:
  gatewayctl top
  gatewayctl top --interval 5 --tenant contoso
  gatewayctl top --count 2 | cat")]
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
    /// Apply a plan to the running gateway, as a difference
    #[command(after_help = "Examples:
  gatewayctl apply plan.toml
  gatewayctl apply - < plan.toml

Connections that do not change lose no packet. A plan with an error changes nothing.
When it starts, and on SIGHUP, the daemon reads the file again that it was started with.")]
    Apply {
        /// The plan's file; - reads standard input
        plan: PathBuf,
    },
    /// Take the gateway's programs, tables and compartments off this host
    #[command(after_help = "Example:
  systemctl stop gatewayd; gatewayctl detach

Packets are no longer forwarded afterwards. It refuses while the daemon is running.")]
    Detach(DetachOptions),
    /// Say what a drop reason means; without a reason, all of them
    #[command(after_help = "Example:
  gatewayctl explain-drop spoofed")]
    ExplainDrop {
        /// The reason's name or number
        reason: Option<String>,
    },
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

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct TopOptions {
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
            assert_eq!((args.output, args.socket), (Format::Json, PathBuf::from("/s")));
        }
    }

    #[test]
    fn wrong_calls_exit_with_2() {
        for line in ["gatewayctl", "gatewayctl shw", "gatewayctl show routes", "gatewayctl trace --tenant t -c 0"] {
            let error = Args::try_parse_from(line.split(' ')).expect_err("a wrong line");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
