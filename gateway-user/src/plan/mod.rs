//! What a gateway is to do: its ports, its tenants, their connections and routes.
//!
//! A [`Plan`] is read from a TOML or JSON file by [`load`], or arrives as JSON through serde. Either way a `Plan` that exists has passed every
//! check: names refer to things that are there, addresses are of the right kind, nothing is claimed twice. Code that takes a `&Plan`
//! need not ask again. All that is wrong with a file is told at once, as [`PlanErrors`].
//!
//! | to change | go to |
//! |---|---|
//! | a key of the plan | `model`, then `read` (TOML) |
//! | a tenant's BGP | [`bgp`] |
//! | BGP with the rack's routers | [`tor`] |
//! | what moves between the gateways of a pool | [`seat`] |
//! | a compute host's plan | [`host`] |
//! | the form or range of one value | `values` |
//! | how tables and lists are read out of TOML | `fields`, `document`, `locate` |
//! | what parts of a plan must agree on | `check` |
//! | how a refusal looks | `report` |

pub mod bgp;
mod check;
mod document;
mod fields;
pub mod host;
mod locate;
mod model;
mod path;
mod read;
mod report;
pub mod seat;
pub mod tor;
mod values;

use std::path::Path;

pub use bgp::{Bgp, BgpPeer};
pub use host::HostPlan;
pub use model::{
    AntiSpoofing, Connection, ConnectionKind, Encapsulation, Gateway, GatewayRoute, Gre, L3, OtherGateway, Passage,
    Plan, Port, PortMode, PortRole, Route, Station, Steer, SteerMatch, Subnet, Tenant, Vm,
};
pub use report::{Place, PlanErrors, Problem};
pub use seat::{Pool, PoolPeer, Seat, SeatMac, SeatNumber};
pub use tor::Tor;
pub use values::{Complaint, Dual, Interface, Kbps, Mac, Mtu, Name, PortName, Prefix, Spi, Vlan, Vsid, unicast};

/// Reads a plan from a file: JSON if it is called so, else TOML.
///
/// # Errors
/// All that is wrong with it, or that it cannot be read.
pub fn load(path: &Path) -> Result<Plan, PlanErrors> {
    read_file(path).and_then(|(text, name)| parse(&text, &name))
}

/// Whether a file of this name has a plan in JSON.
fn is_json(file_name: &str) -> bool {
    Path::new(file_name).extension().is_some_and(|extension| extension == "json")
}

/// Reads a plan from JSON, as a controller writes it.
fn parse_json(text: &str, file_name: &str) -> Result<Plan, PlanErrors> {
    let draft: model::Draft = serde_json::from_str(text).map_err(|error| {
        let remedy = "write it as a controller does: the keys of a plan file, as one JSON object";
        let complaint = Complaint::new(format!("this is not a plan: {error}"), remedy);
        let place = Place::Path(format!("line {}, column {}", error.line(), error.column()));
        PlanErrors::new(file_name, vec![Problem { complaint, place, other: None }], 0)
    })?;
    draft.checked(file_name)
}

/// A plan file's text and its name, as problems are told with it.
fn read_file(path: &Path) -> Result<(String, String), PlanErrors> {
    let file_name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, file_name)),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => "check the path",
                std::io::ErrorKind::InvalidData => "save the plan as UTF-8 text",
                _ => "check that it is a file that you may read",
            };
            let complaint = Complaint::new(format!("the plan cannot be read: {error}"), remedy);
            Err(PlanErrors::new(&file_name, vec![Problem { complaint, place: Place::Whole, other: None }], 0))
        }
    }
}

/// Reads a plan from TOML, or from JSON if the file is called so. `file_name` is what the problems' places are told with, too.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(text: &str, file_name: &str) -> Result<Plan, PlanErrors> {
    if is_json(file_name) {
        return parse_json(text, file_name);
    }
    let document = document::Document::new(text);
    let mut problems = report::Problems::default();
    let (draft, missing) = read::read(&document, &mut problems);
    check::check(&draft, &missing, &mut problems);
    let plan = if problems.is_empty() { draft.finish() } else { None };
    plan.ok_or_else(|| {
        let mut locator = locate::Locator::new(&document, &missing);
        problems.in_text(file_name, text, |path| locator.locate(path))
    })
}

#[cfg(test)]
mod tests;
