//! `gatewayctl token create`: lets agents and clients in.

use super::args::{TokenOptions, TokenRole};
use super::client::Client;
use super::error::Usage;
use super::kinds;
use crate::agent::files;
use crate::agent::token::{Client as Named, ClientRole, Grant};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use crate::controller::resources::Kind;
use crate::controller::server::Wish;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use anyhow::Context;
use hyper::Method;

/// Makes a token.
pub async fn create(client: &mut Client, options: &TokenOptions, output: &mut Output) -> anyhow::Result<()> {
    let wish = Wish { grant: grant(options)?, minutes: options.minutes };
    let body = serde_json::to_vec(&wish)?;
    let answer = client.ask(Method::POST, "/networking/tokens", &[], body.into()).await?.body;
    let token = answer["token"].as_str().context("the controller's answer holds no token")?;
    if let Some(path) = &options.write {
        let path = std::path::absolute(path)?;
        files::write_private(&path, format!("{token}\n").as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        match output.format() {
            Format::Json => output.document(&serde_json::json!({ "file": path, "expires": answer["expires"] }))?,
            Format::Table => output.line(&format!("the token is in {}", path.display()))?,
        }
        return Ok(());
    }
    match output.format() {
        Format::Json => output.document(&answer)?,
        // It alone, so that it can be redirected into a file.
        Format::Table => output.line(token)?,
    }
    Ok(())
}

fn grant(options: &TokenOptions) -> Result<Grant, Usage> {
    let wrong = || Usage(format!("{:?} is nobody: write gateway/ID, host/ID or client/NAME", options.whom));
    let (kind, id) = options.whom.split_once('/').ok_or_else(wrong)?;
    let is_client = kind.eq_ignore_ascii_case("client");
    if !is_client && (options.role.is_some() || options.tenant.is_some()) {
        return Err(Usage("--role and --tenant are for client/NAME".to_owned()));
    }
    if is_client {
        let role = match (options.role, &options.tenant) {
            (Some(TokenRole::Admin), None) => ClientRole::Admin,
            (Some(TokenRole::ReadOnly), None) => ClientRole::ReadOnly,
            (Some(TokenRole::Tenant), Some(tenant)) => ClientRole::Tenant(tenant.clone()),
            (Some(TokenRole::Tenant), None) => return Err(Usage("say whose client it is: --tenant ID".to_owned())),
            (None, _) => return Err(Usage("say what the client may do: --role admin, tenant or read-only".to_owned())),
            (Some(_), Some(_)) => return Err(Usage("--tenant goes with --role tenant".to_owned())),
        };
        if id.is_empty() {
            return Err(wrong());
        }
        return Ok(Grant::Client(Named { name: id.to_owned(), role }));
    }
    let (role, kind) = match kinds::named(kind) {
        Some(Kind::Gateway) => (Role::Gateway, Kind::Gateway),
        Some(Kind::Server) => (Role::Host, Kind::Server),
        _ => return Err(wrong()),
    };
    let id: Id = kind.id(id).map_err(|error| Usage(error.to_string()))?;
    Ok(Grant::Join(AgentId { role, id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(whom: &str) -> TokenOptions {
        TokenOptions { whom: whom.to_owned(), minutes: None, role: None, tenant: None, write: None }
    }

    #[test]
    fn it_is_said_whom_a_token_is_for() {
        let join = |role, id: &str| Ok(Grant::Join(AgentId { role, id: Id::from(id) }));
        assert_eq!(grant(&options("gateway/GW1")), join(Role::Gateway, "GW1"));
        assert_eq!(grant(&options("host/H1")), join(Role::Host, "H1"));
        assert_eq!(grant(&options("server/H1")), join(Role::Host, "H1"));
        for wrong in ["GW1", "pool/p", "gateway/", "gateway/a b", "client/", "client/alice"] {
            assert!(grant(&options(wrong)).is_err(), "{wrong}");
        }
        let tenant = TokenOptions {
            role: Some(TokenRole::Tenant),
            tenant: Some("contoso".to_owned()),
            ..options("client/alice")
        };
        let role = ClientRole::Tenant("contoso".to_owned());
        assert_eq!(grant(&tenant), Ok(Grant::Client(Named { name: "alice".to_owned(), role })));
        assert!(grant(&TokenOptions { tenant: None, ..tenant }).is_err());
        assert!(grant(&TokenOptions { role: Some(TokenRole::Admin), ..options("gateway/GW1") }).is_err());
    }
}
