//! What a follower makes of what the leader writes: the same state, so that it answers readers alike and can lead at once.

use super::Core;
use super::change::Entries;
use super::event::Sink;
use super::message::WatchKind;
use super::plans::Documents;
use super::seats::SEATS;
use super::state::{PLACEMENTS, RESOURCES, State, Unreadable, pools_of};
use crate::controller::model::Id;
use crate::controller::model::fabric::{Gateway, GatewayPool};
use crate::controller::model::tenant::VirtualGateway;
use crate::controller::placement::Settings;
use crate::controller::resources::{Kind, Path};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A tree that is otherwise than it was.
struct Told {
    kind: WatchKind,
    root: Path,
    /// Whose it was before.
    owner: Option<Arc<str>>,
}

impl Core {
    /// Takes what one transaction of the leader changed: all of it, before anybody is told of any.
    pub(super) fn follow(&mut self, revision: u64, entries: &Entries, actions: &mut dyn Sink) {
        self.revision = revision;
        if entries.iter().any(|(key, _)| key.starts_with(RESOURCES) || key.starts_with(PLACEMENTS)) {
            self.state.overtaken();
        }
        let mut told = Vec::new();
        let mut moved = BTreeSet::new();
        let mut reseated: BTreeSet<Id> = BTreeSet::new();
        for (key, value) in entries {
            let taken = if key.starts_with(RESOURCES) {
                self.take_tree(key, value.as_ref()).map(|tree| told.push(tree))
            } else {
                moved.extend(key.strip_prefix(PLACEMENTS).map(Id::from));
                reseated.extend(key.strip_prefix(SEATS).map(Id::from));
                self.state.record(key, value.as_deref())
            };
            if let Err(error) = taken {
                self.unreadable = Some(error);
            }
        }
        for tree in &told {
            self.state.regroup(&tree.root, self.settings.placement);
            if tree.root.kind() == Kind::VirtualGateway {
                moved.insert(tree.root.id().clone());
            }
        }
        for tenant in moved {
            self.state.relocate(&tenant);
            // Its connections were moved, which its tree does not say.
            if told.is_empty()
                && let Some(gateway) = self.state.read::<VirtualGateway>(Kind::VirtualGateway, &tenant)
            {
                let root = Path::root(Kind::VirtualGateway, gateway.resource_id);
                told.push(Told { kind: WatchKind::Modified, root, owner: None });
            }
        }
        if told.is_empty() {
            let pools =
                reseated.into_iter().filter_map(|pool| self.state.read::<GatewayPool>(Kind::GatewayPool, &pool));
            let roots = pools.map(|pool| Path::root(Kind::GatewayPool, pool.resource_id));
            told.extend(roots.map(|root| Told { kind: WatchKind::Modified, root, owner: None }).collect::<Vec<_>>());
        }
        for Told { kind, root, owner } in told {
            let news = self.news(kind, &root, owner, None, &Documents::new());
            self.tell(revision, news, actions);
        }
    }

    fn take_tree(&mut self, key: &str, value: Option<&Arc<str>>) -> Result<Told, Unreadable> {
        let before = Path::from_store_key(key).ok().filter(|root| self.state.forest.text(root).is_some());
        let owner = before.as_ref().and_then(|root| self.state.forest.tenant(root)).map(Arc::from);
        let root = self
            .state
            .forest
            .replace(key, value)
            .map_err(|corrupt| Unreadable { key: corrupt.key, what: corrupt.what })?;
        let kind = match (before, value) {
            (_, None) => WatchKind::Deleted,
            (Some(_), Some(_)) => WatchKind::Modified,
            (None, Some(_)) => WatchKind::Added,
        };
        Ok(Told { kind, root, owner })
    }
}

impl State {
    /// Counts a tenant's connections in where they are.
    fn relocate(&mut self, tenant: &Id) {
        self.fleet.forget(tenant);
        let Some(gateway) = self.read::<VirtualGateway>(Kind::VirtualGateway, tenant) else { return };
        let (pools, placements) = (pools_of(&gateway.properties), self.placements(tenant));
        for wanted in self.wanted(&gateway.properties) {
            let Some(at) = placements.connections.get(&wanted.connection).cloned() else { continue };
            if let Err(error) = self.fleet.restore(tenant, &pools, wanted, at) {
                tracing::warn!(%tenant, %error, "a connection's gateway is gone");
            }
        }
    }

    /// Makes the fleet what a tree of the fabric, as it is here, says of it. The leader has let it in, so nothing is refused; where something
    /// is, the fleet is made anew of all there is.
    fn regroup(&mut self, root: &Path, settings: Settings) {
        let id = root.id();
        let taken = match root.kind() {
            Kind::GatewayPool => match self.read::<GatewayPool>(Kind::GatewayPool, id) {
                Some(pool) => self.fleet.set_pool(self.pool_spec_of(&pool, None)),
                None => self.fleet.remove_pool(id),
            },
            Kind::Gateway => match self.read::<Gateway>(Kind::Gateway, id) {
                Some(gateway) => self.fleet.set_gateway(self.gateway_spec_of(&gateway, None)),
                None => self.fleet.remove_gateway(id),
            },
            // Pools draw addresses from networks, and gateways stand where servers do.
            Kind::LogicalNetwork | Kind::Server | Kind::VirtualServer => return self.muster(settings),
            _ => return,
        };
        if taken.is_err() {
            self.muster(settings);
        }
    }
}
