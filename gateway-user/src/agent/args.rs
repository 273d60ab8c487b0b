//! What an agent's command line says of its controller.

use super::address::ControllerAddress;
use super::link::{self, Timers};
use super::protocol::{Hello, PROTOCOL};
use super::token::Token;
use super::{Options, files};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::plan::{Dual, PortName, PortRole};
use anyhow::Context;
use clap::Args;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an agent keeps its certificate and its last plan unless told otherwise.
pub const DEFAULT_DATA: &str = "/var/lib/gateway";

/// How an agent finds its controller.
#[derive(Clone, Debug, Args)]
pub struct LinkArgs {
    /// Take plans from a controller; may be given several times
    #[arg(long = "controller", value_name = "https://NAME:PORT", requires = "name")]
    pub controllers: Vec<ControllerAddress>,
    /// This agent's resourceId there: the gateway's, or the server's of a host
    #[arg(long, value_name = "ID", requires = "controllers")]
    name: Option<String>,
    /// What lets a new agent in; other users of this host may see it, so better use --token-file
    #[arg(long, value_name = "TOKEN", requires = "controllers", conflicts_with = "token_file")]
    token: Option<Unread>,
    /// A file with what lets a new agent in; not needed once it has joined
    #[arg(long, value_name = "FILE", requires = "controllers")]
    token_file: Option<PathBuf>,
    /// A provider address of this agent; one of each family
    #[arg(long = "pa", value_name = "ADDRESS", requires = "controllers")]
    pa: Vec<IpAddr>,
    /// A gateway's own address where the sites are, which no seat has: others of its pool probe it there
    #[arg(long, value_name = "ADDRESS", requires = "controllers")]
    site_address: Option<IpAddr>,
    /// A port and what it leads to (fabric, site or both), such as fab0=fabric; may be given several times
    #[arg(long = "port", value_name = "NAME=ROLE", requires = "controllers")]
    ports: Vec<PortArg>,
    /// Where the agent's certificate and its last plan are kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data_dir: PathBuf,
}

/// A token as it was given. Errors and `Debug` do not show it.
#[derive(Clone)]
struct Unread(String);

impl FromStr for Unread {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Clone, Debug)]
struct PortArg(PortName, PortRole);

impl FromStr for PortArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, role) = text.split_once('=').ok_or("write it as NAME=ROLE, such as fab0=fabric")?;
        let role = match role {
            "fabric" => PortRole::Fabric,
            "site" => PortRole::Site,
            "both" => PortRole::Both,
            other => return Err(format!("a port leads to fabric, site or both, not to {other:?}")),
        };
        Ok(Self(name.parse().map_err(|complaint: crate::plan::Complaint| complaint.to_string())?, role))
    }
}

impl LinkArgs {
    /// A gateway's own address where the sites are.
    pub fn site_address(&self) -> Option<IpAddr> {
        self.site_address
    }

    /// What was said; nothing if no controller was named.
    ///
    /// # Errors
    /// The token cannot be read, or an address is none's.
    pub fn options(self, role: Role) -> anyhow::Result<Option<Options>> {
        if self.controllers.is_empty() {
            return Ok(None);
        }
        let name = self.name.context("--name is missing")?;
        let token = match (self.token, self.token_file) {
            (Some(Unread(text)), _) => Some(text.parse::<Token>().context("--token")?),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text.parse::<Token>().with_context(|| path.display().to_string())?),
                // It is not needed for ever, and a unit's file goes on naming it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            },
            (None, None) => None,
        };
        let pa = Dual::try_from(self.pa).context("--pa")?;
        let directory = self.data_dir.join(role.as_str());
        files::create_private_directory(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Some(Options {
            agent: AgentId { role, id: Id::from(name) },
            controllers: self.controllers,
            token,
            directory,
            hello: Hello {
                protocol: PROTOCOL,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                boot: link::boot(),
                pa,
                ports: self.ports.into_iter().map(|PortArg(name, role)| (name, role)).collect(),
                life: None,
                resume: None,
            },
            timers: Timers::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        link: LinkArgs,
    }

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"agent").chain(words))
    }

    #[test]
    fn what_is_said_of_the_controller_is_understood() {
        let data = tempfile::tempdir().expect("a directory");
        let directory = data.path().to_str().expect("UTF-8");
        let mut words = vec!["--controller", "https://a", "--controller", "https://b:1", "--name", "GW1"];
        words.extend(["--pa", "10.10.0.1", "--pa", "fd00::1", "--port", "fab0=fabric", "--port", "tor0=site"]);
        words.extend(["--data-dir", directory, "--token-file", "/nonexistent/token"]);
        let options = parse(&words).expect("good").link.options(Role::Gateway).expect("good").expect("controlled");
        assert_eq!((options.agent.to_string(), options.controllers.len()), ("gateway/GW1".to_owned(), 2));
        assert_eq!((options.hello.ports.len(), options.hello.pa.iter().count()), (2, 2));
        assert!(options.token.is_none() && options.directory.ends_with("gateway"));
        assert!(parse(&[]).expect("good").link.options(Role::Host).expect("good").is_none());
        assert!(parse(&["--controller", "https://a"]).is_err(), "who is it?");
        assert!(parse(&["--name", "GW1"]).is_err(), "whose?");
        assert!(parse(&["--controller", "https://a", "--name", "GW1", "--port", "fab0=moon"]).is_err());
    }

    #[test]
    fn a_token_is_not_shown_not_even_a_wrong_one() {
        let words = ["--controller", "https://a", "--name", "GW1", "--token", "gwt_secret"];
        let cli = parse(&words).expect("good so far");
        assert!(!format!("{cli:?}").contains("secret"));
        let error = cli.link.options(Role::Gateway).expect_err("no token");
        assert!(!format!("{error:#} {error:?}").contains("secret"));
    }
}
