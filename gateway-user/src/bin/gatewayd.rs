//! The gateway's daemon: see [`gateway_user::gateway`].

use clap::{Args, Parser, Subcommand};
use gateway_user::agent::args::LinkArgs;
use gateway_user::controller::model::records;
use gateway_user::dataplane::object::Source;
use gateway_user::dataplane::sizes::{Size, Sizes};
use gateway_user::dataplane::{self, Migration};
use gateway_user::gateway::PlanOrigin;
use gateway_user::{api, gateway, net};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The daemon of a multitenant edge gateway.
#[derive(Debug, Parser)]
#[command(
    name = "gatewayd",
    version,
    after_help = "Logs go to stderr; RUST_LOG chooses them (default: info), as in RUST_LOG=debug."
)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Forward tenants' packets as a plan says
    #[command(after_help = "\
Examples:
  gatewayd gateway --plan /etc/gateway/plan.toml
  gatewayd gateway --controller https://controller:8443 --name GW1 --token-file gw1.token \\
      --pa 10.10.0.1 --port fab0=fabric --port tor0=site
  kill -HUP $(cat /run/gateway/gatewayd.pid)       read the plan again

When the daemon ends, however it ends, packets are forwarded all the same; one that is started again takes over.
`gatewayd detach` takes the gateway off the host.")]
    Gateway(Box<Gateway>),
    /// Be the edge of virtual machines on a compute host, as a plan says
    #[command(after_help = "\
Examples:
  gatewayd host --plan /etc/gateway/host.toml
  kill -HUP $(cat /run/gateway/gatewayd.pid)       read the plan again

When the daemon ends, however it ends, the machines' packets are forwarded all the same; one that is started again takes over.
`gatewayd detach` takes it off the host.")]
    Host(Box<Gateway>),
    /// Take the gateway off the host: programs, tables, compartments, and what was switched on ports
    Detach(Places),
}

#[derive(Debug, Args)]
struct Gateway {
    /// The plan (TOML), instead of a controller
    #[arg(long, value_name = "FILE", required_unless_present = "controllers", conflicts_with = "controllers")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    link: LinkArgs,
    /// Where gatewayctl reaches the daemon
    #[arg(long, value_name = "PATH", default_value = api::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where the tenants' network namespaces are named
    #[arg(long, value_name = "DIR", default_value = net::netns::DIRECTORY)]
    netns: PathBuf,
    /// Room in a map, such as CONNECTIONS=100000; may be given several times
    #[arg(long = "size", value_name = "MAP=ENTRIES")]
    sizes: Vec<Size>,
    /// Move over to maps of another version or size, under traffic; counters start anew
    #[arg(long)]
    migrate: bool,
    /// XDP programs from an object file, instead of those built in
    #[arg(long, value_name = "FILE")]
    programs: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Args)]
struct Places {
    /// Where programs and tables are pinned: on a BPF file system
    #[arg(long, value_name = "DIR", default_value = dataplane::pins::DEFAULT)]
    pins: PathBuf,
    /// Where the daemon keeps what it needs after a restart
    #[arg(long, value_name = "DIR", default_value = dataplane::DEFAULT_STATE)]
    state: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,aya=warn,aya_obj=warn"));
    let stderr = std::io::stderr();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr.is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let result = match cli.role {
        Role::Gateway(options) => options.options(records::Role::Gateway).and_then(gateway::run),
        Role::Host(options) => options.options(records::Role::Host).and_then(gateway::run),
        Role::Detach(places) => gateway::detach(&places.pins, &places.state),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gatewayd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Gateway {
    fn options(self, role: records::Role) -> anyhow::Result<gateway::Options> {
        let mut sizes = Sizes::default();
        for size in &self.sizes {
            sizes.set(&size.map, size.entries);
        }
        let plan = match (self.plan, self.link.options(role)?) {
            (_, Some(link)) => PlanOrigin::Controller(Box::new(link)),
            (Some(path), None) => PlanOrigin::File(path),
            (None, None) => anyhow::bail!("--plan or --controller is missing"),
        };
        let role = match role {
            records::Role::Gateway => gateway::Role::Gateway,
            records::Role::Host if matches!(plan, PlanOrigin::Controller(_)) => {
                anyhow::bail!("a compute host takes its plan from a file only: give it --plan")
            }
            records::Role::Host => gateway::Role::Host,
        };
        Ok(gateway::Options {
            role,
            plan,
            socket: self.socket,
            netns: self.netns,
            dataplane: dataplane::Options {
                pins: self.places.pins,
                state: self.places.state,
                source: self.programs.map_or(Source::Embedded, Source::File),
                sizes,
                migration: if self.migrate { Migration::Migrate } else { Migration::Refuse },
            },
        })
    }
}
