//! Who may do what.
//!
//! A resource is a tenant's if its root's `resourceMetadata.tenantId` says so; an operator sets it, or the tenant's own creation does. A tenant
//! reads what is its own, and writes its own virtual networks, interfaces and virtual gateways. What belongs to another one does not exist for
//! it: not in answers, not in references, not by name in refusals.

use super::error::{Code, Error};
use super::path::{Collection, Location, Path};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read everything.
    ReadOnly,
    /// Read and write what is this tenant's.
    Tenant(Box<str>),
}

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// As the audit trail names it.
    pub name: Box<str>,
    /// What it may do.
    pub role: Role,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, HEAD, and watching.
    Read,
    /// PUT, PATCH, POST.
    Write,
    /// DELETE.
    Delete,
}

impl Principal {
    /// An operator.
    pub fn admin(name: &str) -> Self {
        Self { name: name.into(), role: Role::Admin }
    }

    /// A tenant's user.
    pub fn tenant(name: &str, tenant: &str) -> Self {
        Self { name: name.into(), role: Role::Tenant(tenant.into()) }
    }

    /// Whether it writes what is the operator's.
    pub const fn is_operator(&self) -> bool {
        matches!(self.role, Role::Admin)
    }

    /// Whether every resource exists for it.
    pub const fn sees_all(&self) -> bool {
        matches!(self.role, Role::Admin | Role::ReadOnly)
    }

    /// Whether resources of `tenant` exist for it.
    pub fn sees(&self, tenant: Option<&str>) -> bool {
        match &self.role {
            Role::Admin | Role::ReadOnly => true,
            Role::Tenant(own) => tenant.is_some_and(|tenant| tenant.eq_ignore_ascii_case(own)),
        }
    }

    /// Whether it may ask for this at all. What a single resource holds is looked at later, by [`Forest`](super::Forest).
    ///
    /// # Errors
    /// It may not: 403, in words that say why.
    pub fn may(&self, method: Method, location: &Location) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::new(Code::Forbidden, why));
        match (&self.role, method) {
            (Role::Admin, _) => Ok(()),
            (Role::ReadOnly, Method::Read) => Ok(()),
            (Role::ReadOnly, _) => refuse(format!("{} may only read", self.name)),
            (Role::Tenant(_), Method::Read) => match location {
                Location::Statistics => {
                    refuse(format!("{} is a tenant's user: figures of the whole are operators'", self.name))
                }
                _ => Ok(()),
            },
            (Role::Tenant(_), _) => {
                let kind = match location {
                    Location::Resource(path) => path.tree().kind(),
                    Location::Collection(Collection { parent, kind }) => {
                        parent.as_ref().map_or(*kind, |path: &Path| path.tree().kind())
                    }
                    _ => return refuse(format!("{} is a tenant's user and may not write there", self.name)),
                };
                if kind.info().tenants_write {
                    return Ok(());
                }
                refuse(format!("{} is a tenant's user; {} are operators'", self.name, kind.info().collection))
            }
        }
    }

    /// Sees to it that a root that a tenant writes is the tenant's.
    ///
    /// # Errors
    /// A tenant would give the resource to another one.
    pub(super) fn own(&self, body: &mut Map<String, Value>, owner: Option<&str>) -> Result<(), Error> {
        let Role::Tenant(own) = &self.role else {
            // An operator that leaves the owner out does not take the resource away.
            if let (Some(owner), Some(Value::Object(metadata))) = (owner, body.get_mut("resourceMetadata")) {
                metadata.entry("tenantId").or_insert_with(|| json!(owner));
            }
            return Ok(());
        };
        let owner = owner.unwrap_or(own);
        let metadata = body.entry("resourceMetadata").or_insert_with(|| json!({}));
        match metadata.get("tenantId").and_then(Value::as_str) {
            Some(given) if !given.eq_ignore_ascii_case(own) => {
                let message = "a tenant's resources stay its own; leave `tenantId` out";
                return Err(Error::at(Code::Forbidden, "resourceMetadata.tenantId", message));
            }
            _ => {
                if let Value::Object(metadata) = metadata {
                    metadata.insert("tenantId".to_owned(), json!(owner));
                }
            }
        }
        Ok(())
    }
}
