//! Who a certificate is for, read out of its subject.

use super::authority::key_id;
use super::service::KeyId;
use crate::agent::token::{Client, ClientRole};
use crate::controller::model::Id;
use crate::controller::model::records::{AgentId, Role};
use anyhow::{Context, anyhow};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

const AGENTS: &str = "gateway-agents";
const ADMINS: &str = "gateway-admins";
const READERS: &str = "gateway-readers";
const TENANTS: &str = "gateway-tenants";

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An agent.
    Agent(AgentId),
    /// A client of the REST API.
    Client(Client),
}

impl Subject {
    /// The organization in the certificate.
    pub(super) fn organization(&self) -> &'static str {
        match self {
            Self::Agent(_) => AGENTS,
            Self::Client(client) => match client.role {
                ClientRole::Admin => ADMINS,
                ClientRole::ReadOnly => READERS,
                ClientRole::Tenant(_) => TENANTS,
            },
        }
    }

    /// The common name in the certificate.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Agent(agent) => agent.to_string(),
            Self::Client(client) => client.name.clone(),
        }
    }
}

/// What matters of a certificate.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its key.
    pub key: KeyId,
    /// From when on it is good.
    pub not_before: OffsetDateTime,
    /// Until when it is good.
    pub not_after: OffsetDateTime,
    /// Whether it may issue others.
    pub is_authority: bool,
    /// Who it is for; absent if its subject names nobody that we know.
    pub subject: Option<Subject>,
}

impl Facts {
    /// Whether it is time to make the next one: a month before the end, or the last tenth of a short life.
    pub fn is_near_its_end(&self, now: OffsetDateTime) -> bool {
        let life = self.not_after - self.not_before;
        self.not_after - now < time::Duration::days(30).min(life / 10)
    }
}

/// Reads a certificate. Whether it is genuine is not looked at.
///
/// # Errors
/// It is none.
pub fn facts(certificate: &CertificateDer<'_>) -> anyhow::Result<Facts> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| anyhow!("this is no X.509 certificate"))?;
    let moment =
        |time: i64| OffsetDateTime::from_unix_timestamp(time).context("the certificate's dates are out of range");
    Ok(Facts {
        key: key_id(parsed.public_key().raw),
        not_before: moment(parsed.validity().not_before.timestamp())?,
        not_after: moment(parsed.validity().not_after.timestamp())?,
        is_authority: parsed.is_ca(),
        subject: read(&parsed),
    })
}

fn read(certificate: &X509Certificate<'_>) -> Option<Subject> {
    let subject = certificate.subject();
    // One of each and no more: who reads another one than we do must not see somebody else.
    fn only<'a>(mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<&'a str> {
        let value = values.next()?.as_str().ok()?;
        values.next().is_none().then_some(value)
    }
    let name = only(subject.iter_common_name())?;
    let client = |role| Some(Subject::Client(Client { name: name.to_owned(), role }));
    match only(subject.iter_organization())? {
        AGENTS => {
            let (role, id) = name.split_once('/')?;
            let role = [Role::Gateway, Role::Host].into_iter().find(|known| known.as_str() == role)?;
            Some(Subject::Agent(AgentId { role, id: Id::from(id) }))
        }
        ADMINS => client(ClientRole::Admin),
        READERS => client(ClientRole::ReadOnly),
        TENANTS => client(ClientRole::Tenant(only(subject.iter_organizational_unit())?.to_owned())),
        _ => None,
    }
}
