//! What has to hold.

use super::TENANTS;
use super::agents::Agent;
use super::clients::{Client, Task};
use gateway_user::controller::core::event::{Event, Moment};
use gateway_user::controller::core::message::Method;
use gateway_user::controller::core::state::State;
use gateway_user::controller::core::{Core, Settings};
use gateway_user::controller::model::Id;
use gateway_user::controller::model::records::Placements;
use gateway_user::controller::resources::{Kind, Path};
use gateway_user::controller::store::{MemoryStore, Snapshot};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn key(path: &str) -> String {
    format!("resources{}", path.to_ascii_lowercase())
}

fn held(store: &MemoryStore, path: &str) -> Option<String> {
    store.get(&key(path)).map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

/// What a client was told is in the store.
pub fn answered(task: &Task, status: u16, store: &MemoryStore) -> Result<(), String> {
    if task.stale {
        return Err(format!("{:?} {} is answered {status}, and its condition does not hold", task.method, task.path));
    }
    match (task.method, held(store, &task.path)) {
        (Method::Delete, Some(_)) => Err(format!("DELETE {} is answered {status}, and the store has it", task.path)),
        (Method::Put, None) => Err(format!("PUT {} is answered {status}, and the store has it not", task.path)),
        (Method::Put, Some(text)) if !text.contains(&task.mark) => {
            Err(format!("PUT {} is answered {status}, and the store has something else", task.path))
        }
        _ => Ok(()),
    }
}

/// A client's tree is as the last definite answer said.
pub fn client(client: &Client, store: &MemoryStore) -> Result<(), String> {
    if !(1..=TENANTS).contains(&client.number) {
        return Ok(());
    }
    let path = format!("/virtualGateways/t{}", client.number);
    match (&client.holds, held(store, &path)) {
        (None, None) => Ok(()),
        (Some(mark), Some(text)) if text.contains(mark) => Ok(()),
        (wanted, found) => Err(format!("{path} should hold {wanted:?}, and the store has {found:?}")),
    }
}

/// Everything has come to rest.
pub fn at_rest(leader: &Core, snapshot: &Snapshot, agents: &[Agent], settings: Settings) -> Result<(), String> {
    let text = |value: &[u8]| str::from_utf8(value).ok().map(Arc::<str>::from);
    let entries: Vec<(String, Option<Arc<str>>)> =
        snapshot.entries.iter().filter_map(|entry| Some((entry.key.clone(), Some(text(&entry.value)?)))).collect();
    let state = State::load(&entries, settings.placement).map_err(|error| error.to_string())?;
    if state.fleet != leader.state().fleet {
        return Err(format!(
            "what the leader counts differs from what the store holds: {:#?} {:#?}",
            leader.state().fleet,
            state.fleet
        ));
    }
    for kind in Kind::children_of(None) {
        let stored: BTreeMap<&Id, &Arc<str>> = state.forest.trees(kind).collect();
        let known: BTreeMap<&Id, &Arc<str>> = leader.state().forest.trees(kind).collect();
        if stored != known {
            return Err(format!("the leader's {kind:?} trees are not the store's"));
        }
    }
    capacity(&state)?;
    tunnels(&state)?;
    for agent in agents {
        let registration =
            |state: &State| state.agents.get(&agent.id).map(|known| serde_json::to_string(&known.registration).ok());
        if registration(&state) != registration(leader.state()) {
            return Err(format!("the leader and the store know {} differently", agent.id));
        }
    }
    let next = successor(entries, snapshot.revision.0, settings);
    for agent in agents {
        let follows = |core: &Core| core.plan(&agent.id).map(|plan| plan.set);
        if follows(&next) != follows(leader) {
            return Err(format!("who leads next has another plan for {} than the leader", agent.id));
        }
        let plan = leader.plan(&agent.id).ok_or_else(|| format!("{} is not known to the leader", agent.id))?;
        if plan.set != agent.tenants || plan.base != agent.base {
            let (has, should) = (agent.tenants.keys().collect::<Vec<_>>(), plan.set.keys().collect::<Vec<_>>());
            return Err(format!(
                "{} has a plan for {has:?}, and should have one for {should:?}, or another one",
                agent.id
            ));
        }
    }
    Ok(())
}

/// Who would lead next, with nothing but what is in the store.
fn successor(entries: Vec<(String, Option<Arc<str>>)>, revision: u64, settings: Settings) -> Core {
    let moment = Moment { unix_milliseconds: 0, seed: 0 };
    let (mut core, mut ignored) = (Core::new(settings), Vec::new());
    core.step(Event::Written { revision, entries }, moment, &mut ignored);
    core.step(Event::Elected { epoch: u64::MAX, revision }, moment, &mut ignored);
    core
}

fn capacity(state: &State) -> Result<(), String> {
    for (id, _) in state.forest.trees(Kind::Gateway) {
        let status = state.fleet.status(id).ok_or_else(|| format!("gateway {id} is not counted"))?;
        if status.over_capacity > 0 {
            return Err(format!("gateway {id} carries {} kbit/s too much", status.over_capacity));
        }
    }
    Ok(())
}

/// Every connection has a place, no two tunnels are the same, a VIP is on one gateway, and a reflector on one of its tenant's.
fn tunnels(state: &State) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    let mut carriers = BTreeMap::new();
    for (tenant, text) in state.forest.trees(Kind::VirtualGateway) {
        let tree: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let placements = state.placements(tenant);
        for connection in tree["properties"]["networkConnections"].as_array().into_iter().flatten() {
            let id = Id::from(connection["resourceId"].as_str().unwrap_or_default());
            let at =
                placements.connections.get(&id).ok_or_else(|| format!("connection {id} of {tenant} has no place"))?;
            if state.forest.text(&Path::root(Kind::Gateway, at.gateway.clone())).is_none() {
                return Err(format!("connection {id} of {tenant} is on {}, which is not there", at.gateway));
            }
            let carrier = carriers.entry(at.vip).or_insert_with(|| at.gateway.clone());
            if at.vip.is_some() && *carrier != at.gateway {
                return Err(format!("VIP {:?} is on {carrier} and on {}", at.vip, at.gateway));
            }
            let properties = &connection["properties"];
            let tunnel = (
                at.vip,
                properties["destinationIPAddress"].to_string(),
                properties["greConfiguration"]["greKey"].to_string(),
            );
            if let Some(other) = seen.insert(tunnel.clone(), (tenant.clone(), id.clone())) {
                return Err(format!("{tenant}/{id} and {other:?} are the same tunnel: {tunnel:?}"));
            }
        }
        if placements.connections.len() != tree["properties"]["networkConnections"].as_array().map_or(0, Vec::len) {
            return Err(format!("{tenant} has places for connections that are not there"));
        }
        reflector(tenant, &tree, &placements)?;
    }
    Ok(())
}

/// A tenant's reflector is on one of its gateways, and the others have a number each.
fn reflector(tenant: &Id, tree: &Value, placements: &Placements) -> Result<(), String> {
    let connections = tree["properties"]["networkConnections"].as_array().into_iter().flatten();
    let routed = connections.filter(|connection| connection["properties"]["connectionType"] != "IPSec");
    let ids = routed.map(|connection| Id::from(connection["resourceId"].as_str().unwrap_or_default()));
    let carriers: BTreeSet<Id> =
        ids.filter_map(|id| placements.connections.get(&id)).map(|at| at.gateway.clone()).collect();
    let (reflector, numbers) = (&placements.reflector, &placements.numbers);
    let others: BTreeSet<Id> = carriers.iter().filter(|id| reflector.as_ref() != Some(id)).cloned().collect();
    let agree = carriers.len() == others.len() + usize::from(reflector.is_some()) && numbers.keys().eq(&others);
    let distinct = numbers.values().collect::<BTreeSet<_>>().len() == numbers.len();
    if !agree || !distinct || reflector.is_none() != carriers.is_empty() {
        return Err(format!(
            "{tenant} is carried by {carriers:?}, its reflector is {reflector:?}, the others {numbers:?}"
        ));
    }
    Ok(())
}
