//! Who may ask for what, by role alone. What of it is a tenant's own the core tells.

use super::service::{Method, Principal, Role};
use super::subject::Subject;
use crate::agent::token::{Client, ClientRole};
use crate::controller::model::records::AgentId;

/// Why somebody may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows who they are.
    #[error(
        "show a client certificate of this controller's authority, or a token in an Authorization header (`Bearer gwt_…`)"
    )]
    Anonymous,
    /// They may do other things.
    #[error("{who} may not {what}")]
    Forbidden {
        /// Who they are.
        who: String,
        /// What they asked for.
        what: &'static str,
    },
}

/// Whether somebody may use the REST API with this method, and as whom.
///
/// # Errors
/// They may not.
pub fn api(subject: Option<&Subject>, method: Method) -> Result<Principal, Denied> {
    let client = match subject.ok_or(Denied::Anonymous)? {
        Subject::Client(client) => client,
        Subject::Agent(agent) => {
            let what = "use the REST API: it is for operators and tenants";
            return Err(Denied::Forbidden { who: agent.to_string(), what });
        }
    };
    let role = match &client.role {
        ClientRole::Admin => Role::Admin,
        ClientRole::Tenant(tenant) => Role::Tenant(tenant.as_str().into()),
        ClientRole::ReadOnly if method == Method::Get => Role::ReadOnly,
        ClientRole::ReadOnly => {
            let what = "change anything: the role is read-only";
            return Err(Denied::Forbidden { who: client.name.clone(), what });
        }
    };
    Ok(Principal { name: client.name.as_str().into(), role })
}

/// Whether somebody may do what administrators do: `what`, with its reason.
///
/// # Errors
/// They may not.
pub fn administer<'s>(subject: Option<&'s Subject>, what: &'static str) -> Result<&'s Client, Denied> {
    match subject.ok_or(Denied::Anonymous)? {
        Subject::Client(client) if client.role == ClientRole::Admin => Ok(client),
        other => Err(Denied::Forbidden { who: other.name(), what }),
    }
}

/// Whether somebody may ask for an agent's things: that agent and nobody else.
///
/// # Errors
/// They may not.
pub fn agent(subject: Option<&Subject>, asked: &AgentId) -> Result<(), Denied> {
    match subject.ok_or(Denied::Anonymous)? {
        Subject::Agent(agent) if agent == asked => Ok(()),
        other => Err(Denied::Forbidden { who: other.name(), what: "speak for another agent" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::model::Id;
    use crate::controller::model::records::Role as AgentRole;

    fn agent_id(role: AgentRole, id: &str) -> AgentId {
        AgentId { role, id: Id::from(id) }
    }

    fn client(role: ClientRole) -> Subject {
        Subject::Client(Client { name: "alice".to_owned(), role })
    }

    #[test]
    fn each_role_may_what_it_is_for() {
        let gateway = Subject::Agent(agent_id(AgentRole::Gateway, "GW1"));
        let (admin, reader) = (client(ClientRole::Admin), client(ClientRole::ReadOnly));
        let tenant = client(ClientRole::Tenant("contoso".to_owned()));
        for method in [Method::Get, Method::Put, Method::Patch, Method::Post, Method::Delete] {
            let role = |subject: &Subject| api(Some(subject), method).map(|principal| principal.role);
            assert_eq!(role(&admin), Ok(Role::Admin));
            assert_eq!(role(&tenant), Ok(Role::Tenant("contoso".into())));
            assert_eq!(role(&reader).is_ok(), method == Method::Get);
            assert!(role(&gateway).is_err());
            assert_eq!(api(None, method), Err(Denied::Anonymous));
        }
        assert!(administer(Some(&admin), "").is_ok());
        for other in [Some(&reader), Some(&tenant), Some(&gateway), None] {
            assert!(administer(other, "").is_err());
        }
    }

    #[test]
    fn an_agent_speaks_for_itself_only() {
        let asked = agent_id(AgentRole::Gateway, "GW1");
        for (subject, may) in [
            (Some(Subject::Agent(agent_id(AgentRole::Gateway, "gw1"))), true),
            (Some(Subject::Agent(agent_id(AgentRole::Gateway, "GW2"))), false),
            (Some(Subject::Agent(agent_id(AgentRole::Host, "GW1"))), false),
            (Some(client(ClientRole::Admin)), false),
            (None, false),
        ] {
            assert_eq!(agent(subject.as_ref(), &asked).is_ok(), may, "{subject:?}");
        }
    }
}
