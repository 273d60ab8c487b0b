//! `gatewayd controller token` and `certificate`: what lets agents and clients in.

use super::model::Id;
use super::model::records::{AgentId, Role};
use super::server::authority::Authority;
use super::server::{tls, tokens};
use crate::agent::files;
use crate::agent::token::{Client, ClientRole, Fingerprint, Grant};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is made on a controller's host, whether the controller runs or not.
#[derive(Debug, Args)]
pub struct Make {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Make {
    /// Does what was asked; nothing if nothing was.
    ///
    /// # Errors
    /// What went wrong, with the remedy.
    pub fn run(self) -> Option<anyhow::Result<()>> {
        self.command.map(Command::run)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tokens, which let an agent join or a client in
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Certificates for clients
    Certificate {
        #[command(subcommand)]
        command: CertificateCommand,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a token; works on the controller's host, whether the controller runs or not
    #[command(after_help = "\
Examples:
  gatewayd controller token create --role gateway --id GW1 > gw1.token
  gatewayd controller token create --role tenant --tenant contoso --client alice --minutes 1440

An agent's token is good for one agent, once, for an hour. A client's is good for thirty days, or until `gatewayctl token revoke FILE`
takes it back. `gatewayctl token list` knows it once it was shown.")]
    Create {
        #[command(flatten)]
        who: Who,
        /// How long it is good
        #[arg(long)]
        minutes: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// Write a client's certificate and key, and the authority's certificate
    #[command(after_help = "\
Examples:
  gatewayd controller certificate create --role admin --client alice --out alice/
  gatewayd controller certificate create --role admin --client admin --out admin/       the next one, before admin.crt expires

`gatewayctl certificate revoke FILE` takes one back.")]
    Create {
        #[command(flatten)]
        who: Who,
        /// How long it is good
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// Where to write client.crt, client.key and ca.crt
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where the store, the authority and an administrator's certificate are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/gateway-controller")]
    data_dir: PathBuf,
    /// Your own authority's certificate (PEM); several controllers share one [default: one is made in --data-dir]
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// Your own authority's key (PEM)
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Your own certificate for the server, its chain up to and with the authority's (PEM) [default: the authority issues one]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of your own certificate for the server (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl Place {
    fn authority(&self) -> anyhow::Result<Arc<Authority>> {
        let authority = match (&self.ca_cert, &self.ca_key) {
            (Some(certificate), Some(key)) => Authority::load(certificate, key)?,
            _ => Authority::open(&self.data_dir)?,
        };
        Ok(Arc::new(authority))
    }

    /// The certificate by which agents know the server.
    fn pinned(&self, authority: &Arc<Authority>) -> anyhow::Result<Fingerprint> {
        match self.tls_cert.clone().zip(self.tls_key.clone()) {
            Some((certificate, key)) => {
                tls::Certificate::new(tls::Origin::Files { certificate, key }, authority.clone())?.pinned()
            }
            None => Ok(authority.fingerprint()),
        }
    }
}

/// Whom it is for.
#[derive(Debug, Args)]
struct Who {
    /// What it lets its bearer be
    #[arg(long, value_enum)]
    role: RoleName,
    /// The agent: the gateway's or server's resourceId
    #[arg(long, value_name = "ID", required_if_eq_any = [("role", "gateway"), ("role", "host")])]
    id: Option<String>,
    /// The client's name, for the audit trail
    #[arg(long, value_name = "NAME", required_if_eq_any = [("role", "admin"), ("role", "tenant"), ("role", "read-only")])]
    client: Option<String>,
    /// The tenant whose resources the client may see and change (resourceMetadata.tenantId)
    #[arg(long, value_name = "ID", required_if_eq("role", "tenant"))]
    tenant: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// A gateway's agent
    Gateway,
    /// A compute host's agent
    Host,
    /// A client that may do everything
    Admin,
    /// A client that may do what is one tenant's
    Tenant,
    /// A client that may read
    ReadOnly,
}

impl Who {
    fn grant(self) -> anyhow::Result<Grant> {
        let name = |name: Option<String>, option: &str| name.with_context(|| format!("{option} is missing"));
        let agent = |role, id| Ok(Grant::Join(AgentId { role, id: Id::from(name(id, "--id")?) }));
        let client = |role| Ok(Grant::Client(Client { name: name(self.client, "--client")?, role }));
        match self.role {
            RoleName::Gateway => agent(Role::Gateway, self.id),
            RoleName::Host => agent(Role::Host, self.id),
            RoleName::Admin => client(ClientRole::Admin),
            RoleName::ReadOnly => client(ClientRole::ReadOnly),
            RoleName::Tenant => client(ClientRole::Tenant(name(self.tenant, "--tenant")?)),
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Token { command: TokenCommand::Create { who, minutes, place } } => {
                let grant = who.grant()?;
                let lifetime = minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes)));
                let lifetime = lifetime.unwrap_or_else(|| tokens::default_lifetime(&grant));
                let authority = place.authority()?;
                let token = authority.token(grant, place.pinned(&authority)?, lifetime)?;
                // A reader that has gone is told so, unlike with println!.
                writeln!(std::io::stdout(), "{}", token.expose()).context("the token cannot be printed")
            }
            Self::Certificate { command: CertificateCommand::Create { who, days, out, place } } => {
                let Grant::Client(client) = who.grant()? else {
                    bail!("an agent gets its certificate itself, by a token: `gatewayd controller token create`");
                };
                let authority = place.authority()?;
                let made = authority.client(&client, time::Duration::days(days.into()))?;
                let write = |name: &str, text: &str| {
                    let path = out.join(name);
                    files::write_private(&path, text.as_bytes())
                        .with_context(|| format!("cannot write {}", path.display()))
                };
                files::create_private_directory(&out).with_context(|| format!("cannot make {}", out.display()))?;
                write("client.key", &made.key)?;
                write("client.crt", &made.certificate)?;
                write("ca.crt", &crate::agent::credentials::pem(authority.certificate()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn run(words: &[&str]) -> anyhow::Result<()> {
        let cli = Cli::try_parse_from(std::iter::once(&"controller").chain(words))?;
        cli.command.run()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_clients_certificate_is_written_and_an_agents_is_not() {
        let data = tempfile::tempdir().expect("a directory");
        let path = |name: &str| data.path().join(name).display().to_string();
        let (place, out) = (path("data"), path("alice"));
        let create = ["certificate", "create", "--data-dir", &place, "--out", &out, "--role"];
        run(&[&create[..], &["admin", "--client", "alice"]].concat()).expect("written");
        for name in ["client.crt", "client.key", "ca.crt"] {
            assert!(data.path().join("alice").join(name).exists(), "{name}");
        }
        let error = run(&[&create[..], &["gateway", "--id", "GW1"]].concat()).expect_err("no client");
        assert!(error.to_string().contains("token create"), "{error}");
        // What a role needs is asked for.
        for incomplete in [&["admin"][..], &["tenant", "--client", "alice"], &["gateway", "--client", "alice"]] {
            assert!(run(&[&create[..], incomplete].concat()).is_err(), "{incomplete:?}");
        }
    }
}
