//! The command line of what asks a controller.

use crate::agent::address::ControllerAddress;
use clap::{Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Which controller is asked, and as whom. What is not said here a context says.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Controller")]
pub struct Reach {
    /// The context: which controller, and as whom; if absent, the one that `config use-context` chose
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The file with the contexts [env: GATEWAYCTL_CONTEXTS] [default: ~/.config/gatewayctl/contexts.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub contexts: Option<PathBuf>,
    /// A controller; may be given several times. Without --context nothing of a context is used then
    #[arg(long = "controller", global = true, value_name = "https://NAME:PORT")]
    pub controllers: Vec<ControllerAddress>,
    /// The certificate of the authority that the controllers' come from, as PEM
    #[arg(long = "ca", global = true, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    /// The SHA-256 of that certificate instead; a token tells it too
    #[arg(long, global = true, value_name = "HEX")]
    pub fingerprint: Option<String>,
    /// The client's certificate, as PEM
    #[arg(long = "cert", global = true, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key, as PEM
    #[arg(long, global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A file with a client's token, instead of a certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How long to try while no controller leads, or a connection breaks
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,
}

impl Reach {
    /// How long to try.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout))
    }
}

/// A command that may ask a controller. `get` and `apply` have a local sense too and stand with the local commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all there is to say of resources at the controller
    #[command(after_help = "Examples:
  gatewayctl describe gateway/GW1
  gatewayctl describe connection/contoso/hq")]
    Describe {
        /// Resources, written as for `get`
        #[arg(value_name = "KIND/ID", required = true)]
        what: Vec<String>,
    },
    /// Show what `apply -f` would change; exits with 1 if it would change something
    #[command(after_help = "Examples:
  gatewayctl diff -f contoso.yaml
  gatewayctl diff -f fabric/ -o json

Exit code 0: nothing differs; 1: something does, or it went wrong. Secrets cannot be compared: the controller never shows them.")]
    Diff {
        /// Files or directories with resources, JSON or YAML; - reads standard input
        #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Delete resources at the controller
    #[command(after_help = "Examples:
  gatewayctl delete connection/contoso/hq
  gatewayctl delete gateways GW7 GW8
  gatewayctl delete -f contoso.yaml

What others refer to is refused. Files are worked through backwards, so that nothing is deleted before what refers to it.")]
    Delete(DeleteOptions),
    /// Follow what changes at the controller; Ctrl-C ends it
    #[command(after_help = "Examples:
  gatewayctl watch
  gatewayctl watch gateways
  gatewayctl watch tenant/contoso -o json

After a broken connection it goes on where it was.")]
    Watch(WatchOptions),
    /// Say why a connection is where it is: all gateways that could carry it, the best first
    #[command(after_help = "Example:
  gatewayctl explain connection/contoso/hq")]
    Explain {
        /// The connection: connection/TENANT/ID, or connection/ID if only one tenant has it
        #[arg(value_name = "connection/ID")]
        what: String,
    },
    /// Move what a gateway carries to others; without --confirm, say what would move
    #[command(after_help = "Examples:
  gatewayctl cordon gateway/GW1 && gatewayctl drain gateway/GW1
  gatewayctl drain gateway/GW1 --confirm
  gatewayctl drain gateway/GW1 --connections --confirm

In a pool with seats the gateway hands its seats over, no packet is lost, and the gateway is given nothing until it is
uncordoned; --timeout says how long to wait. Otherwise, and with --connections, as before a gateway is removed, its
connections are placed on others: each that moves is interrupted for a moment, and a gateway that is not cordoned goes
on taking new ones.")]
    Drain {
        /// The gateway
        #[arg(value_name = "gateway/ID")]
        gateway: String,
        /// Do it
        #[arg(long)]
        confirm: bool,
        /// Place its connections on other gateways, though it could hand its seats over
        #[arg(long)]
        connections: bool,
    },
    /// Move a connection to another gateway, without a loss; without --confirm, say what would move
    #[command(after_help = "Examples:
  gatewayctl move connection/contoso/hq --to gateway/GW2
  gatewayctl move connection/contoso/hq --to gateway/GW2 --confirm

All GRE connections of a VIP move together. Both gateways forward until everybody sends to the new one; what does not
come up there stays where it is. The pool needs seats. --timeout says how long to wait.")]
    Move {
        /// The connection
        #[arg(value_name = "connection/TENANT/ID")]
        connection: String,
        /// Where it is to go
        #[arg(long, value_name = "gateway/ID")]
        to: String,
        /// Do it
        #[arg(long)]
        confirm: bool,
    },
    /// Even the load of a pool's gateways out, without a loss; without --confirm, say what would move first
    #[command(after_help = "Examples:
  gatewayctl rebalance pool/gre
  gatewayctl rebalance pool/gre --confirm

A VIP with its connections, or an L3 connection, at a time goes from the gateway that has most to the one that has
least, as `gatewayctl move` does it, as long as that is worth five percent of a gateway.")]
    Rebalance {
        /// The pool
        #[arg(value_name = "pool/ID")]
        pool: String,
        /// Do it
        #[arg(long)]
        confirm: bool,
    },
    /// Upgrade a pool's gateways one after the other, each emptied before; without --confirm, say in which order
    #[command(after_help = "Examples:
  gatewayctl upgrade pool/gre
  gatewayctl upgrade pool/gre --run 'ssh root@$GATEWAY apt-get install --yes gatewayd' --confirm
  gatewayctl upgrade pool/gre --to 1.3.0 --confirm

Each gateway hands its seats over, without a loss, is upgraded by the command, and has to be back and well before the
next one is touched: with its version, if --to says which, or else with its agent started anew. Without --run
somebody does it by hand meanwhile. The command runs here, by sh, with GATEWAY and, where the gateway has one, SERVER
(the ids) in its environment. Who holds nothing comes first. It ends at the first that goes wrong; --timeout says how
long to wait for each step.")]
    Upgrade(UpgradeOptions),
    /// Let a gateway keep what it has and take no more
    #[command(after_help = "Example:
  gatewayctl cordon gateway/GW1")]
    Cordon {
        /// The gateway
        #[arg(value_name = "gateway/ID")]
        gateway: String,
    },
    /// Let a cordoned gateway take connections again
    #[command(after_help = "Example:
  gatewayctl uncordon gateway/GW1")]
    Uncordon {
        /// The gateway
        #[arg(value_name = "gateway/ID")]
        gateway: String,
    },
    /// Say where a tenant is: its gateways, VIPs and hosts; or by which connection and gateway an address of its is reached
    #[command(after_help = "Examples:
  gatewayctl where tenant/contoso
  gatewayctl where tenant/contoso 10.2.0.1

Of an address it tells the route that leads there, and whether that is written (Static) or learned by the tenant's router (BGP).")]
    Where {
        /// The tenant: its virtual gateway
        #[arg(value_name = "tenant/ID")]
        tenant: String,
        /// An address that the tenant's machines or sites may ask for
        #[arg(value_name = "ADDRESS")]
        address: Option<IpAddr>,
    },
    /// Say who takes over if a gateway fails, and where its connections would go without a standby
    #[command(after_help = "Example:
  gatewayctl who-takes-over gateway/GW1")]
    WhoTakesOver {
        /// The gateway
        #[arg(value_name = "gateway/ID")]
        gateway: String,
    },
    /// Write the controller's whole configuration to a file
    #[command(after_help = "Examples:
  gatewayctl backup controller.backup
  gatewayctl backup - | zstd > controller.backup.zst

It is consistent at one revision. Secrets stay sealed: keep secrets.key and ca.key of the controller's --data-dir apart from it, since
without them a restored store's secrets do not open and its agents do not come back. A backup that is not complete is never left behind.")]
    Backup {
        /// Where to; - writes to standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a backup in place of what the controller holds
    #[command(after_help = "Examples:
  gatewayctl restore controller.backup
  gatewayctl restore controller.backup --force

The controller has to have the secrets.key, and for its agents the authority (ca.crt, ca.key), that were there when the backup was taken.
Connections keep their gateways and VIPs, and agents come back by themselves. What is wrong with the file or the key is told before anything
is changed; a restore that is interrupted leaves a controller that refuses everything but another restore.")]
    Restore {
        /// The backup; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Delete what the controller holds
        #[arg(long)]
        force: bool,
    },
    /// Show and revoke certificates
    #[command(after_help = "Examples:
  gatewayctl certificate list
  gatewayctl certificate revoke alice/client.crt

A client's certificate is made on the controller's host: `gatewayd controller certificate create`. Agents renew theirs by themselves.")]
    Certificate {
        /// What to do.
        #[command(subcommand)]
        what: Certificate,
    },
    /// Make, show and revoke tokens
    #[command(after_help = "Examples:
  gatewayctl token create gateway/GW1 --write gw1.token
  gatewayctl token list
  gatewayctl token revoke alice.token")]
    Token {
        /// What to do.
        #[command(subcommand)]
        what: Token,
    },
    /// Keep which controllers there are, and as whom to ask them
    #[command(after_help = "Examples:
  gatewayctl config set-context lab --controller https://10.0.0.1:8443 --ca ca.crt --cert me.crt --key me.key
  gatewayctl config use-context lab
  gatewayctl config get-contexts")]
    Config {
        /// What to do.
        #[command(subcommand)]
        what: Config,
    },
    /// Print a shell's completions
    #[command(after_help = "Example:
  gatewayctl completion bash > /etc/bash_completion.d/gatewayctl")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages
    #[command(after_help = "Example:
  gatewayctl man /usr/local/share/man/man1")]
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// What to delete.
#[derive(Debug, clap::Args)]
pub struct DeleteOptions {
    /// Resources, written as for `get`
    #[arg(value_name = "KIND/ID", required_unless_present = "files", conflicts_with = "files")]
    pub what: Vec<String>,
    /// Files or directories with resources, JSON or YAML; - reads standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What is not there is no failure
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// What to upgrade, and how.
#[derive(Debug, clap::Args)]
pub struct UpgradeOptions {
    /// The pool
    #[arg(value_name = "pool/ID")]
    pub pool: String,
    /// Do it
    #[arg(long)]
    pub confirm: bool,
    /// What upgrades a gateway, for sh; GATEWAY and SERVER say which
    #[arg(long, value_name = "COMMAND")]
    pub run: Option<String>,
    /// The version that they are to have; gateways that have it are left alone
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
}

/// What to follow.
#[derive(Debug, clap::Args)]
pub struct WatchOptions {
    /// A collection or a resource, written as for `get`; if absent, everything
    #[arg(value_name = "KIND[/ID]")]
    pub what: Option<String>,
    /// End after so many events
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token that lets an agent in, or a client's
    #[command(after_help = "Examples:
  gatewayctl token create gateway/GW1 > gw1.token
  gatewayctl token create host/HOST1 --minutes 10 --write host1.token
  gatewayctl token create client/grafana --role read-only

The token is a secret: whoever has it may do what it is good for until it expires.")]
    Create(TokenOptions),
    /// Show the tokens that were made or shown at the controller
    List,
    /// Take tokens back: from now on nobody is let in by them
    #[command(after_help = "Examples:
  gatewayctl token revoke 0123456789abcdef0123456789abcdef
  gatewayctl token revoke alice.token

Requests with it are refused at once, and its open connections end.")]
    Revoke {
        /// Their numbers, as `list` shows them, or the files that hold them
        #[arg(value_name = "ID|FILE", required = true)]
        which: Vec<String>,
    },
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum Certificate {
    /// Show the certificates that were shown at the controller, by clients and agents
    List,
    /// Take certificates back: from now on nobody is let in by them
    #[command(after_help = "Examples:
  gatewayctl certificate list
  gatewayctl certificate revoke alice/client.crt

Requests with it are refused at once, and its open connections end. An agent whose certificate was revoked joins again with a token and
another key: remove agent.key from its --data-dir.")]
    Revoke {
        /// Their numbers, as `list` shows them, or the files that hold them (PEM)
        #[arg(value_name = "ID|FILE", required = true)]
        which: Vec<String>,
    },
}

/// The token to make.
#[derive(Debug, clap::Args)]
pub struct TokenOptions {
    /// Whom it is for: gateway/ID, host/ID or client/NAME
    #[arg(value_name = "gateway/ID|host/ID|client/NAME")]
    pub whom: String,
    /// How long it is good; an hour for an agent and thirty days for a client if it is not said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub minutes: Option<u32>,
    /// What a client may do
    #[arg(long, value_enum, value_name = "ROLE")]
    pub role: Option<TokenRole>,
    /// Whose things a client with the role tenant may read and change: resourceMetadata.tenantId
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    /// Write the token to a file that only its owner may read, instead of printing it
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Everything
    Admin,
    /// Read and change what is its tenant's
    Tenant,
    /// Read everything
    ReadOnly,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Make or change a context, of the options --controller, --ca, --fingerprint, --cert, --key, --token-file
    #[command(after_help = "Example:
  gatewayctl config set-context lab --controller https://10.0.0.1:8443 --token-file admin.token

Secrets stay in the files that are named. The first context is used from then on.")]
    SetContext {
        /// Its name
        name: String,
    },
    /// Use a context from now on
    UseContext {
        /// Its name
        name: String,
    },
    /// Show the contexts
    GetContexts,
    /// Forget a context
    DeleteContext {
        /// Its name
        name: String,
    },
}
