//! `gatewayctl token list` and `revoke`, `gatewayctl certificate list` and `revoke`: who is let in, and who is not any more.

use super::client::Client;
use super::error::Usage;
use crate::agent::token::Token;
use crate::controller::core::ledger::{CredentialId, CredentialKind};
use crate::controller::core::observed;
use crate::controller::server::subject;
use crate::ctl::args::Format;
use crate::ctl::output::Output;
use crate::ctl::table::{Align, Row, Table, clean};
use anyhow::Context;
use bytes::Bytes;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs;
use std::time::SystemTime;

const PATH: &str = "/networking/credentials";

/// Shows those of a kind.
pub async fn list(client: &mut Client, kind: CredentialKind, output: &mut Output) -> anyhow::Result<()> {
    let answer = client.get(PATH).await?;
    let word = json!(kind);
    let listed: Vec<&Value> =
        answer["value"].as_array().into_iter().flatten().filter(|one| one["kind"] == word).collect();
    if output.format() == Format::Json {
        return Ok(output.document(&json!({ "value": listed }))?);
    }
    use Align::Left;
    let mut table = Table::new(
        "none is known",
        &[("WHOM", Left), ("ROLE", Left), ("STATE", Left), ("EXPIRES", Left), ("ID", Left)],
    );
    // Times of one form are in the order of their texts.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = observed::time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    for one in listed {
        let text = |name: &str| clean(one[name].as_str().unwrap_or("-").to_owned());
        let role = match one["tenant"].as_str() {
            Some(tenant) => clean(format!("tenant {tenant}")),
            None => text("role"),
        };
        let state = match one["expires"].as_str() {
            _ if one["revoked"].is_string() => "revoked",
            Some(expires) if expires < now.as_str() => "expired",
            _ => "good",
        };
        table.push(Row::new().cell(text("whom")).cell(role).cell(state).cell(text("expires")).cell(text("id")));
    }
    Ok(output.table(&table)?)
}

/// Takes some of a kind back.
pub async fn revoke(
    client: &mut Client,
    kind: CredentialKind,
    which: &[String],
    output: &mut Output,
) -> anyhow::Result<()> {
    let ids = which.iter().map(|which| named(kind, which)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut revoked = Vec::new();
    for id in ids {
        let answer = client.ask(Method::DELETE, &format!("{PATH}/{id}"), &[], Bytes::new()).await?.body;
        if output.format() == Format::Table {
            let whom = answer["whom"].as_str().unwrap_or("nobody has shown it yet");
            output.line(&clean(format!("{id} is revoked ({whom})")))?;
        }
        revoked.push(answer);
    }
    if output.format() == Format::Json {
        output.document(&json!({ "value": revoked }))?;
    }
    Ok(())
}

/// What is meant by an id, or by a file that holds the credential itself.
fn named(kind: CredentialKind, which: &str) -> anyhow::Result<CredentialId> {
    if let Ok(id) = which.parse::<CredentialId>() {
        if id.kind() != kind {
            let other = match kind {
                CredentialKind::Token => "that is a certificate's: `gatewayctl certificate revoke`",
                CredentialKind::Certificate => "that is a token's: `gatewayctl token revoke`",
            };
            return Err(Usage(other.to_owned()).into());
        }
        return Ok(id);
    }
    match kind {
        CredentialKind::Token => {
            let text =
                fs::read_to_string(which).with_context(|| format!("{which} is neither a token's number nor a file"))?;
            let token: Token = text.parse().with_context(|| which.to_owned())?;
            let claims = token.claims().with_context(|| format!("{which} holds no token"))?;
            Ok(claims.id.parse()?)
        }
        CredentialKind::Certificate => {
            let certificate = CertificateDer::from_pem_file(which)
                .with_context(|| format!("{which} is neither a certificate's number nor a file with one (PEM)"))?;
            Ok(subject::facts(&certificate)?.key.into())
        }
    }
}
