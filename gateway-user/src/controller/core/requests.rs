//! Clients' requests.

use super::change::json;
use super::event::{Action, Moment, Sink, StreamId};
use super::message::{Answer, Method, Principal, Request, WatchEvent, WatchKind};
use super::observed::Beside;
use super::plans::Documents;
use super::repeats::Mark;
use super::watchers::{Interest, News, event};
use super::{Core, Out};
use crate::controller::model::Id;
use crate::controller::model::tenant::VirtualGateway;
use crate::controller::placement::Moved;
use crate::controller::resources::operations::Operation;
use crate::controller::resources::tree::Put;
use crate::controller::resources::{
    self, Change, Code, Collection, Conditions, Error, Kind, Location, Outcome, Path, Stamp, View,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a request comes to.
type Answered = Result<Answer, Error>;
/// The same of one that may have changed something.
type CarriedOut = Result<(Answer, Option<Made>), Error>;

/// A change that was made, of which others than whoever asked for it are to be told.
#[derive(Debug)]
pub(super) struct Made {
    kind: WatchKind,
    root: Path,
    /// Whose it was, which what is gone does not say any more.
    owner: Option<Arc<str>>,
    /// The stream of the agent that has nothing to do any more.
    left: Option<StreamId>,
    before: Documents,
    after: Documents,
    /// The pools whose seats are to be settled anew.
    pools: BTreeSet<Id>,
}

impl Core {
    /// Answers a request; what it changes is changed already, and is on its way to the store.
    pub(super) fn request(&mut self, request: &Request, now: Moment, actions: &mut dyn Sink) -> (Answer, Option<Made>) {
        let carried_out = self.dispatch(request, now, actions);
        carried_out.unwrap_or_else(|error| (refusal(&error), None))
    }

    /// Tells agents and watchers of a change.
    pub(super) fn tell_of(&mut self, made: Made, now: Moment, actions: &mut dyn Sink) {
        let Made { kind, root, owner, left, before, after, pools } = made;
        self.tell_agents(&before, &after, actions);
        if root.kind() == Kind::Gateway && kind == WatchKind::Modified {
            self.tell_base(root.id(), actions);
        }
        let news = self.news(kind, &root, owner, Some(now), &after);
        self.let_out(Out::News(news), actions);
        if let Some(stream) = left.filter(|_| kind == WatchKind::Deleted) {
            self.let_out(Out::Action(Action::Close(stream)), actions);
        }
        self.settle_seats(pools, now, actions);
    }

    fn dispatch(&mut self, request: &Request, now: Moment, actions: &mut dyn Sink) -> CarriedOut {
        if let Some(unreadable) = &self.unreadable {
            return Err(Error::new(Code::InternalError, unreadable.to_string()));
        }
        let (path, verb) = match verb(&request.path) {
            Some((path, verb)) if request.method == Method::Post => (path, Some(verb)),
            _ => (request.path.as_str(), None),
        };
        let location = Location::parse(path)?;
        let access = match request.method {
            Method::Get => resources::roles::Method::Read,
            Method::Put | Method::Patch | Method::Post => resources::roles::Method::Write,
            Method::Delete => resources::roles::Method::Delete,
        };
        request.principal.may(access, &location)?;
        match request.method {
            Method::Get => self.get(request, &location, now).map(alone),
            Method::Patch => Err(Error::new(Code::MethodNotAllowed, "PATCH is not taken; PUT the whole resource")),
            _ if self.epoch().is_none() => {
                Err(Error::new(Code::RetryableError, "this controller does not lead; ask the one that does"))
            }
            Method::Put | Method::Delete => match &location {
                Location::Resource(path) => self.write_once(request, path, now, actions),
                _ => Err(Error::new(
                    Code::MethodNotAllowed,
                    "only a single resource can be put or deleted; name it in the path",
                )),
            },
            Method::Post => match (&location, verb) {
                (Location::Resource(path), Some("drain")) if path.kind() == Kind::Gateway && path.depth() == 0 => {
                    self.drain(path, request, now, actions).map(alone)
                }
                (Location::Resource(path), Some("rebalance")) if path.kind() == Kind::GatewayPool => {
                    self.rebalance(path, request, now, actions).map(alone)
                }
                (Location::Resource(path), Some("move")) if path.kind() == Kind::NetworkConnection => {
                    // Where something is carried is no tenant's business.
                    let pools = Location::Collection(Collection { parent: None, kind: Kind::GatewayPool });
                    request.principal.may(access, &pools)?;
                    self.move_connection(path, request, now, actions).map(alone)
                }
                _ => {
                    let message =
                        "there is no such operation; gateways have `/drain`, pools `/rebalance`, connections `/move`";
                    Err(Error::new(Code::MethodNotAllowed, message))
                }
            },
        }
    }

    fn get(&mut self, request: &Request, location: &Location, now: Moment) -> Answered {
        let beside = Beside::new(&self.state, now);
        let view = View { principal: &request.principal, observed: &beside };
        match location {
            Location::Discovery => Ok(body(200, &resources::discovery())),
            Location::Operation(id) => Ok(body(200, &self.operation(id, &request.principal)?.body())),
            Location::OperationResult(id) => {
                let status = self.operation(id, &request.principal)?.result_status();
                Ok(Answer { status, ..Answer::default() })
            }
            Location::Statistics => Ok(body(200, &beside.statistics())),
            Location::Instances => Ok(body(200, &self.state.forest.instances(&request.principal)?)),
            Location::Instance(id) => Ok(body(200, &self.state.forest.instance(id, &request.principal)?)),
            Location::Collection(collection) => Ok(body(200, &self.state.forest.list_all(collection, &view)?)),
            Location::Resource(path) if request.query("explain").is_some() => self.explain(request, path),
            Location::Resource(path) => {
                let (value, etag) = self.state.forest.get(path, &view)?;
                let conditions = Conditions::new(None, request.if_none_match.as_deref());
                let answer = match conditions.not_modified(&etag) {
                    true => Answer { status: 304, ..Answer::default() },
                    false => body(200, &value),
                };
                Ok(Answer { etag: Some(etag), ..answer })
            }
        }
    }

    /// What became of an operation, for whom it is.
    fn operation(&self, id: &Id, principal: &Principal) -> Result<&Operation, Error> {
        let known = self.state.operations.get(id.as_str()).filter(|operation| *operation.principal == *principal.name);
        let message =
            "there is no such operation, or it was too long ago; the resource's provisioningState tells how it is";
        known.ok_or_else(|| Error::new(Code::ResourceNotFound, message))
    }

    /// Why a connection is where it is, who would take over a gateway, or where an address of a tenant's is.
    fn explain(&self, request: &Request, path: &Path) -> Answered {
        let seen = request.principal.sees(self.state.forest.tenant(path)) && self.state.forest.contains(path);
        let not_found = || Error::at(Code::ResourceNotFound, path.to_string(), format!("there is no {path}"));
        if !seen {
            return Err(not_found());
        }
        match (path.kind(), path.parent()) {
            (Kind::NetworkConnection, Some(tenant)) => {
                let explained = self.state.fleet.explain_placed(tenant.id(), path.id()).ok_or_else(not_found)?;
                let explained = explained
                    .map_err(|refusal| Error::at(Code::InsufficientCapacity, path.to_string(), refusal.to_string()))?;
                let at = self.state.fleet.placement(tenant.id(), path.id());
                let mut answer = json!({ "resourceRef": path.to_string(), "placement": at, "explanation": explained });
                if let Some(at) = at
                    && let Some((_, seats)) = self.state.seats_around(&at.gateway)
                {
                    answer["seat"] = self.state.shown_seat(seats, &at.gateway);
                }
                Ok(body(200, &answer))
            }
            (Kind::Gateway, _) => {
                let drain = self.state.fleet.drain(path.id()).ok_or_else(not_found)?;
                let successor = match self.state.seats_around(path.id()) {
                    Some((_, seats)) => seats.candidates(path.id()).next().cloned(),
                    None => self.state.fleet.successor(path.id()),
                };
                Ok(body(200, &json!({ "resourceRef": path.to_string(), "successor": successor, "drain": drain })))
            }
            (Kind::VirtualGateway, _) => {
                let address = request.query("explain").unwrap_or_default();
                let address = address.parse().map_err(|_| {
                    let message = format!("{address:?} is no IP address; write which one is meant: ?explain=10.1.2.3");
                    Error::at(Code::InvalidParameterValue, path.to_string(), message)
                })?;
                Ok(body(200, &json!({ "resourceRef": path.to_string(), "ways": self.state.ways(path.id(), address) })))
            }
            _ => Err(Error::at(
                Code::MethodNotAllowed,
                path.to_string(),
                "connections and gateways can be explained, and addresses of virtual gateways",
            )),
        }
    }

    /// Carries a request out, or answers it again if it was carried out before.
    fn write_once(&mut self, request: &Request, path: &Path, now: Moment, actions: &mut dyn Sink) -> CarriedOut {
        let value = match request.method {
            Method::Delete => Value::Null,
            _ => resources::parse_body(&request.body)?,
        };
        let mark = Mark::of(request, path, &value)?;
        if let Some(mark) = &mark
            && let Some(before) = self.state.repeats.before(mark)?
        {
            let before = before.clone();
            return match before.error {
                Some(error) => Err(error),
                None => {
                    let operation = before.operation.as_deref().unwrap_or_default();
                    self.answer(request, path, before.status, operation, &Beside::new(&self.state, now)).map(alone)
                }
            };
        }
        let answered = self.write_now(request, path, &value, mark.as_ref(), now, actions);
        if let (Err(error), Some(mark)) = (&answered, &mark)
            && error.code != Code::RetryableError
        {
            let entries = self.state.repeats.keep_refusal(mark, error);
            self.write(entries, actions);
        }
        answered
    }

    fn write_now(
        &mut self,
        request: &Request,
        path: &Path,
        value: &Value,
        mark: Option<&Mark>,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> CarriedOut {
        let change = match request.method {
            Method::Delete => self.delete(request, path, now)?,
            _ => Some(self.put(request, path, value, now)?),
        };
        match change {
            Some(change) => self.carry_out(request, &change, mark, now, actions),
            None => {
                if let Some(mark) = mark {
                    let entries = self.state.repeats.keep(mark, 204, "");
                    self.write(entries, actions);
                }
                Ok(alone(Answer { status: 204, ..Answer::default() }))
            }
        }
    }

    fn put(&self, request: &Request, path: &Path, value: &Value, now: Moment) -> Result<Change, Error> {
        self.state.forest.put(&Put {
            path,
            body: value,
            conditions: &Conditions::new(request.if_match.as_deref(), request.if_none_match.as_deref()),
            principal: &request.principal,
            stamp: Stamp(now.seed),
            seal: self.settings.seal.as_ref(),
        })
    }

    fn delete(&self, request: &Request, path: &Path, now: Moment) -> Result<Option<Change>, Error> {
        let conditions = Conditions::new(request.if_match.as_deref(), request.if_none_match.as_deref());
        self.state.forest.delete(path, &conditions, &request.principal, Stamp(now.seed))
    }

    fn carry_out(
        &mut self,
        request: &Request,
        change: &Change,
        mark: Option<&Mark>,
        now: Moment,
        actions: &mut dyn Sink,
    ) -> CarriedOut {
        let before = self.documents(&self.concerned(change));
        let owner = self.state.forest.tenant(&change.root).map(Arc::from);
        let left = self.stream_of(&change.root);
        let mut entries = match change.outcome {
            Outcome::Unchanged => Vec::new(),
            _ => self.state.make(change)?,
        };
        let operation = Stamp(now.seed).guid(u64::MAX);
        let succeeded = Operation::succeeded(&request.principal.name, &change.path);
        entries.extend(self.state.operations.keep(&operation, succeeded));
        let status = match change.outcome {
            Outcome::Created => 201,
            Outcome::Replaced | Outcome::Unchanged => 200,
            Outcome::Deleted => 202,
        };
        entries.extend(mark.into_iter().flat_map(|mark| self.state.repeats.keep(mark, status, &operation)));
        // The store is at work while all else is made ready that waits for it.
        if !entries.is_empty() {
            self.write(entries, actions);
        }
        // The plans are made once: for the agents, for the answer and for those who watch.
        let after = match change.outcome {
            Outcome::Unchanged => before.clone(),
            _ => self.documents(before.keys()),
        };
        let beside = Beside::knowing(&self.state, now, after.clone());
        let answer = self.answer(request, &change.path, status, &operation, &beside);
        let made = (change.outcome != Outcome::Unchanged).then(|| Made {
            kind: match (change.old.is_some(), change.new.is_some()) {
                (false, _) => WatchKind::Added,
                (true, true) => WatchKind::Modified,
                (true, false) => WatchKind::Deleted,
            },
            root: change.root.clone(),
            owner,
            left,
            before,
            after,
            pools: match change.root.kind() {
                Kind::VirtualGateway => self.state.pools_without_seat(change.root.id()),
                _ => self.state.pools_concerned(change),
            },
        });
        Ok((answer.unwrap_or_else(|error| refusal(&error)), made))
    }

    /// The open plan stream of a gateway's or server's agent.
    fn stream_of(&self, root: &Path) -> Option<StreamId> {
        let agent = match root.kind() {
            Kind::Gateway => super::gateway(root.id()),
            Kind::Server => super::host(root.id()),
            _ => return None,
        };
        self.state.agents.get(&agent)?.stream
    }

    /// The virtual networks that a change says something of, by what was there and by what is to be.
    fn concerned(&self, change: &Change) -> BTreeSet<Id> {
        let texts = [&change.old, &change.new].into_iter().flatten();
        texts.flat_map(|text| self.state.networks(&change.root, text)).collect()
    }

    fn answer(&self, request: &Request, path: &Path, status: u16, operation: &str, beside: &Beside<'_>) -> Answered {
        if status == 204 {
            return Ok(Answer { status, ..Answer::default() });
        }
        if status == 202 {
            return Ok(Answer {
                status,
                location: Some(format!("/networking/v1/operationResults/{operation}")),
                retry_after: Some(1),
                ..Answer::default()
            });
        }
        let view = View { principal: &request.principal, observed: beside };
        let (value, etag) = self.state.forest.get(path, &view)?;
        let operation = Some(format!("/networking/v1/operations/{operation}"));
        Ok(Answer { etag: Some(etag), operation, ..body(status, &value) })
    }

    /// Moves what a gateway carries to others. Moves interrupt connections for a moment, so they want to be confirmed.
    fn drain(&mut self, path: &Path, request: &Request, now: Moment, actions: &mut dyn Sink) -> Answered {
        let not_found = || Error::at(Code::ResourceNotFound, path.to_string(), format!("there is no {path}"));
        let drain = self.state.fleet.drain(path.id()).ok_or_else(not_found)?;
        if !is_confirmed(request) {
            let mut answer = json!({ "resourceRef": path.to_string(), "confirmed": false, "drain": drain });
            if let Some((_, seats)) = self.state.seats_around(path.id()) {
                let held = seats.carried(path.id()).map(|name| self.state.shown_seat(seats, name));
                answer["seats"] = held.collect();
            }
            return Ok(body(200, &answer));
        }
        let networks: BTreeSet<Id> = self.state.networks_of(&super::gateway(path.id()));
        let before = self.documents(&networks);
        let moved = self.state.fleet.evacuate(path.id()).map_err(|drain| {
            let message = format!("not everything that it carries has a place elsewhere, so nothing was moved; `gatewayctl who-takes-over gateway/{}` tells what has none", path.id());
            Error { inner_error: serde_json::to_string(&drain).ok(), ..Error::at(Code::InsufficientCapacity, path.to_string(), message) }
        })?;
        let after = self.keep_moved(&moved, Some(now), &before, actions)?;
        self.tell_agents(&before, &after, actions);
        let pools: BTreeSet<Id> = moved.iter().map(|moved| moved.placement.pool.clone()).collect();
        self.settle_seats(
            pools.into_iter().filter(|pool| self.state.seats_of(pool).is_some()).collect::<Vec<_>>(),
            now,
            actions,
        );
        Ok(body(
            200,
            &json!({ "resourceRef": path.to_string(), "confirmed": true, "moved": moved.iter().map(shown).collect::<Vec<_>>() }),
        ))
    }

    /// Writes where connections are that were moved. Each tenant is written by itself: a transaction has its limits, and watchers hear of one
    /// change a revision. Where a leader dies in between, the next one brings together what belongs together. Gives what follows now for the
    /// networks of which it is said what followed before.
    pub(super) fn keep_moved(
        &mut self,
        moved: &[Moved],
        now: Option<Moment>,
        before: &Documents,
        actions: &mut dyn Sink,
    ) -> Result<Documents, Error> {
        let tenants: BTreeSet<Id> = moved.iter().map(|moved| moved.tenant.clone()).collect();
        let entries = tenants.iter().map(|tenant| self.state.replace(tenant)).collect::<Result<Vec<_>, _>>()?;
        let after = self.documents(before.keys());
        for (tenant, entry) in tenants.iter().zip(entries) {
            self.write(vec![entry], actions);
            let root = Path::root(Kind::VirtualGateway, tenant.clone());
            let news = self.news(WatchKind::Modified, &root, None, now, &after);
            self.let_out(Out::News(news), actions);
        }
        Ok(after)
    }

    /// What watchers are told of a tree. `owner` is whose it was, which what is gone does not say any more.
    pub(super) fn news(
        &self,
        kind: WatchKind,
        root: &Path,
        owner: Option<Arc<str>>,
        now: Option<Moment>,
        planned: &Documents,
    ) -> News {
        let now = now.unwrap_or(Moment { unix_milliseconds: 0, seed: 0 });
        let beside = Beside::knowing(&self.state, now, planned.clone());
        // Who may see it is decided when it is told.
        let operator = Principal::admin("watch");
        let object = self.state.forest.get(root, &View { principal: &operator, observed: &beside }).ok();
        News {
            kind,
            path: root.to_string(),
            tenant: self.state.forest.tenant(root).map(Arc::from).or(owner),
            object: object.map(|(value, _)| Arc::from(value.to_string())),
        }
    }

    /// What is there of what somebody follows, as events.
    pub(super) fn present(&self, interest: &Interest, principal: &Principal) -> Vec<Arc<WatchEvent>> {
        let beside = Beside::new(&self.state, Moment { unix_milliseconds: 0, seed: 0 });
        let view = View { principal, observed: &beside };
        let mut events = Vec::new();
        for kind in Kind::children_of(None) {
            for (id, _) in self.state.forest.trees(kind) {
                let root = Path::root(kind, id.clone());
                if !interest.covers(&root.to_string(), self.state.forest.tenant(&root)) {
                    continue;
                }
                if let Ok((value, _)) = self.state.forest.get(&root, &view) {
                    let news = News {
                        kind: WatchKind::Added,
                        path: root.to_string(),
                        tenant: None,
                        object: Some(Arc::from(value.to_string())),
                    };
                    events.push(Arc::new(event(None, &news)));
                }
            }
        }
        events
    }
}

impl super::state::State {
    /// A tenant's placements as the fleet has them now, to be written.
    fn replace(&mut self, tenant: &Id) -> Result<(String, Option<Arc<str>>), Error> {
        let connections = self.fleet.placements(tenant).map(|(id, at)| (id.clone(), at.clone())).collect();
        let gateway = self.read::<VirtualGateway>(Kind::VirtualGateway, tenant);
        let gateway = gateway.map(|gateway| gateway.properties).unwrap_or_default();
        let placements = self.seated(tenant, &gateway, connections);
        let record = json(&placements)?;
        self.set_placements(tenant, Some(placements));
        Ok((super::change::placements_key(tenant), Some(record)))
    }
}

/// A connection that was moved, as it is told.
fn shown(moved: &Moved) -> Value {
    json!({
        "resourceRef": format!("/virtualGateways/{}/networkConnections/{}", moved.tenant, moved.connection),
        "from": moved.from,
        "to": moved.placement.gateway,
    })
}

/// An operation at a path's end: `/networking/v1/gateways/GW1/drain`.
fn verb(path: &str) -> Option<(&str, &str)> {
    let (resource, verb) = path.trim_end_matches('/').rsplit_once('/')?;
    ["drain", "rebalance", "move"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(verb))
        .map(|verb| (resource, verb))
}

/// An answer to what changed nothing, or has told of it already.
const fn alone(answer: Answer) -> (Answer, Option<Made>) {
    (answer, None)
}

/// Whether what interrupts or moves something is to be done, and not only told.
pub(super) fn is_confirmed(request: &Request) -> bool {
    request.query("confirm").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

pub(super) fn body(status: u16, value: &Value) -> Answer {
    Answer::json(status, value.to_string())
}

fn refusal(error: &Error) -> Answer {
    let retry_after = (error.code == Code::RetryableError).then_some(1);
    Answer { retry_after, ..body(error.status(), &error.body()) }
}
