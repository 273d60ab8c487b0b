//! The gateway's daemon: see [`gateway_user::gateway`].

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use gateway_user::agent::args::LinkArgs;
use gateway_user::agent::life;
use gateway_user::controller::model::records;
use gateway_user::dataplane::object::Source;
use gateway_user::dataplane::sizes::{Size, Sizes};
use gateway_user::dataplane::{self, Migration};
use gateway_user::gateway::PlanOrigin;
use gateway_user::{api, bfd, controller, gateway, net, sentinel};
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
  gatewayd host --controller https://controller:8443 --name HOST1 --token-file host1.token --pa 10.10.0.11 --port fab0=fabric
  kill -HUP $(cat /run/gateway/gatewayd.pid)       read the plan again

When the daemon ends, however it ends, the machines' packets are forwarded all the same; one that is started again takes over.
`gatewayd detach` takes it off the host.")]
    Host(Box<Gateway>),
    /// Place tenants' connections, and tell gateways and hosts what to do
    #[command(after_help = "\
Examples:
  gatewayd controller --data-dir /var/lib/gateway-controller --listen 0.0.0.0:8443 --advertise controller.example
  gatewayd controller --store etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 --advertise 10.0.0.1

At its first start it makes an authority, and in its data directory admin.crt, admin.key and ca.crt for the first administrator:
  gatewayctl config set-context here --controller https://controller.example:8443 --ca DIR/ca.crt --cert DIR/admin.crt --key DIR/admin.key
Several controllers of one etcd need the same authority (--ca-cert, --ca-key) and the same secrets.key: copy them from the first one's directory.")]
    Controller(Box<Controller>),
    /// Keep BFD sessions for an agent, which starts this by itself
    #[command(after_help = "\
It goes on without the agent: sessions stay up while that is restarted. Those that no agent claims for the owner's timeout are switched
off, and without sessions and agents it ends. `gatewayctl bfd` shows the sessions.")]
    Bfd(Bfd),
    /// Watch the other gateways of a pool, and hold seats, for an agent, which starts this by itself
    #[command(after_help = "\
It votes on who holds which seat, opens and shuts the gates of this gateway's, and tells the neighbours. It goes on without the agent; one
that does not come back in time has its seats handed over. What is announced when a seat is taken is sent at once, again after 10, 40, 250
and 1000 ms, and then every 30 s. `gatewayctl seats` and `gatewayctl history` ask it.")]
    Sentinel(Places),
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
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Controller {
    #[command(flatten)]
    make: controller::args::Make,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where it answers; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: Vec<std::net::SocketAddr>,
    /// A name or address by which it is reached, for its certificate; may be given several times. The first is what others are pointed at
    #[arg(long, value_name = "NAME", required_unless_present = "tls_cert")]
    advertise: Vec<String>,
    /// Its own directory: keys, certificates, and the store if that is a file
    #[arg(long, value_name = "DIR", default_value = "/var/lib/gateway-controller")]
    data_dir: PathBuf,
    /// Where the configuration is kept, if not in the data directory: etcd://HOST:PORT,HOST:PORT,…
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Who signed the certificates of etcd's members (PEM); with it they are reached over TLS
    #[arg(long, value_name = "FILE", requires = "store")]
    store_ca: Option<PathBuf>,
    /// The certificate that etcd's members ask for (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["store_ca", "store_key"])]
    store_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    store_key: Option<PathBuf>,
    /// An authority of one's own (PEM), which issues agents' and clients' certificates
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// A server certificate of one's own with its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Up to this use a gateway is filled before a connection goes to one above it
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    soft_watermark: u8,
}

#[derive(Debug, Args)]
struct Bfd {
    /// Where agents find it
    #[arg(long, value_name = "PATH", default_value = "/run/gateway/bfd.sock")]
    socket: PathBuf,
    /// How long sessions are kept for an agent that is not there
    #[arg(long, value_name = "SECONDS", default_value_t = bfd::OWNER_TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    owner_timeout: u64,
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
    if let Err(error) = keep_memory_private() {
        tracing::warn!(%error, "a crash of this process might write its memory to a file");
    }
    let result = match cli.role {
        Role::Gateway(options) => options.options(records::Role::Gateway).and_then(gateway::run),
        Role::Host(options) => options.options(records::Role::Host).and_then(gateway::run),
        Role::Controller(options) => match options.make.run() {
            Some(made) => made,
            None => controller::daemon::run(options.serve.into()),
        },
        Role::Bfd(options) => bfd::run(&bfd::Options {
            socket: options.socket,
            owner_timeout: std::time::Duration::from_secs(options.owner_timeout),
        }),
        Role::Sentinel(places) => sentinel::run(&sentinel::Options { state: places.state, pins: places.pins }),
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

/// Keys and secrets are in this process's memory: no core dump is made of it, and only root may look into it.
fn keep_memory_private() -> nix::Result<()> {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    // Where a program takes the dumps (`kernel.core_pattern`), the limit alone does not count.
    nix::sys::prctl::set_dumpable(false)
}

impl Gateway {
    fn options(self, role: records::Role) -> anyhow::Result<gateway::Options> {
        let mut sizes = Sizes::default();
        for size in &self.sizes {
            sizes.set(&size.map, size.entries);
        }
        let site = self.link.site_address();
        let plan = match (self.plan, self.link.options(role)?) {
            (_, Some(mut link)) => {
                if role == records::Role::Gateway {
                    let state = &self.places.state;
                    let life = life::life(state, site).with_context(|| {
                        format!("cannot keep in {} which life of the machine this is", state.display())
                    })?;
                    link.hello.life = Some(life);
                }
                PlanOrigin::Controller(Box::new(link))
            }
            (Some(path), None) => PlanOrigin::File(path),
            (None, None) => anyhow::bail!("--plan or --controller is missing"),
        };
        let role = match role {
            records::Role::Gateway => gateway::Role::Gateway,
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

impl From<Serve> for controller::daemon::Options {
    fn from(options: Serve) -> Self {
        Self {
            listen: options.listen,
            advertise: options.advertise,
            data: options.data_dir,
            store: options.store,
            store_tls: options
                .store_ca
                .map(|ca| controller::store::Tls { ca, identity: options.store_cert.zip(options.store_key) }),
            authority: options.ca_cert.zip(options.ca_key),
            certificate: options.tls_cert.zip(options.tls_key),
            soft_watermark_percent: options.soft_watermark,
        }
    }
}
