//! The data plane as the daemon holds it: open, apply, attach; and what is left behind when the daemon is gone.

use super::apply::{Applied, Applier, Tracing};
use super::attach::{self, Wanted};
use super::common::common;
use super::compile::recompile;
use super::compile_host::compile_host;
use super::error::{Error, Result};
use super::events::Events;
use super::host;
use super::ids::Ids;
use super::learned::{self, Learned};
use super::maps::{self, Maps};
use super::memory::Memory;
use super::object::{Loaded, Object, Source};
use super::pins::{self, Pins};
use super::read::Reader;
use super::room::Room;
use super::sizes::Sizes;
use super::tables::Tables;
use super::world::World;
use crate::plan::{Gateway, HostPlan, Plan};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the daemon keeps what only has to last until the next boot.
pub const DEFAULT_STATE: &str = "/run/gateway";

/// How to open the data plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin: on a BPF file system.
    pub pins: PathBuf,
    /// Where to keep the numbers that stand for names.
    pub state: PathBuf,
    /// The XDP programs.
    pub source: Source,
    /// The maps' sizes.
    pub sizes: Sizes,
    /// What to do about pinned maps that do not fit.
    pub migration: Migration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pins: pins::DEFAULT.into(),
            state: DEFAULT_STATE.into(),
            source: Source::default(),
            sizes: Sizes::default(),
            migration: Migration::default(),
        }
    }
}

/// What to do about pinned maps that do not fit the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Migration {
    /// Refuse, and leave everything as it is.
    #[default]
    Refuse,
    /// Fill a second set from the plan beside the first, then swap every port's program for one that works on the second: no packet is lost.
    /// Counters and learned path MTUs start anew.
    Migrate,
}

/// How the data plane was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was pinned.
    Nothing,
    /// An earlier daemon's maps, which go on being used.
    Adopted,
    /// An earlier daemon's maps that do not fit: the next [`Dataplane::attach`] moves over to new ones.
    Outdated,
}

/// The loaded programs and their maps. Dropping it changes nothing: packets flow on.
pub struct Dataplane {
    pins: Pins,
    state: PathBuf,
    /// Held for as long as this daemon lives.
    _lock: Flock<File>,
    found: Found,
    loaded: Loaded,
    load_number: u32,
    applier: Applier,
    ids: Ids,
    memory: Memory,
    learned: Learned,
    /// What an earlier daemon had learned is still to be looked for.
    unread: bool,
}

impl Dataplane {
    /// Whether all of these interfaces run a program of this gateway's.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn runs(&self, wanted: &[Wanted]) -> Result<bool> {
        for want in wanted {
            if !super::attach::runs(&self.pins, want.ifindex, want.mode)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Loads the programs over the maps that are pinned, or over new ones. Attaches nothing; what is attached goes on as it is.
    ///
    /// # Errors
    /// What is missing, with its remedy; then nothing was changed.
    pub fn open(options: &Options) -> Result<Self> {
        host::check_privileges()?;
        host::check_btf()?;
        let object = Object::read(&options.source, &options.sizes)?;
        host::prepare_pins(&options.pins)?;
        fs::create_dir_all(&options.state).map_err(Error::io(&options.state))?;
        let lock = lock(&options.state)?;
        let pins = Pins::new(&options.pins);
        let mut differences = object.differences(&pins.maps())?;
        if !differences.is_empty() && !pins.forward()? {
            tracing::info!(
                path = %options.pins.display(),
                "maps of another version or size are pinned, but no interface runs a program on them: they are removed"
            );
            pins.remove()?;
            differences.clear();
        }
        let found = match (pins::is_empty(&pins.maps())?, differences.is_empty(), options.migration) {
            (true, ..) => Found::Nothing,
            (false, true, _) => Found::Adopted,
            (false, false, Migration::Migrate) => Found::Outdated,
            (false, false, Migration::Refuse) => {
                return Err(Error::Incompatible { path: options.pins.clone(), differences });
            }
        };
        pins.create()?;
        // Left by a migration that did not come to its end.
        pins::remove_directory(&pins.next())?;
        let load_number = pins.loads()?.into_iter().max().map_or(1, |last| last.wrapping_add(1));
        let directory = match found {
            Found::Outdated => pins.next(),
            Found::Nothing | Found::Adopted => pins.maps(),
        };
        fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
        let opened = object.load(&directory, &pins.stages(load_number)).and_then(|loaded| {
            let mut applier = Applier::adopt(Maps::open(&directory)?)?;
            let mut ids = Ids::load(&ids_path(&options.state))?;
            ids.found(maps::in_use(applier.current()?));
            Ok((loaded, applier, ids))
        });
        let (loaded, applier, ids) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                undo(&pins, found, load_number)?;
                return Err(error);
            }
        };
        Ok(Self {
            pins,
            state: options.state.clone(),
            _lock: lock,
            found,
            loaded,
            load_number,
            applier,
            ids,
            memory: Memory::default(),
            learned: Learned::default(),
            unread: found == Found::Adopted,
        })
    }

    /// How it was found.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Makes the maps hold what the plan says, by writing the difference only.
    ///
    /// # Errors
    /// The plan does not fit, and nothing was written; or the kernel refused something, and the next call makes up for it.
    pub fn apply(&mut self, plan: &Arc<Plan>, world: &World) -> Result<Applied> {
        let before = self.memory.plan();
        let found = if std::mem::take(&mut self.unread) { Some(self.applier.current()?) } else { None };
        let tables = recompile(plan, world, &mut self.ids, &mut self.memory, (&mut self.learned, found));
        let routes = plan.gateway.routes_per_tenant;
        let (full, before) = match (self.applier.room(&tables, routes), before) {
            (Ok(Room::Beside), _) => return self.write(tables, routes),
            (Ok(Room::AfterRemoving(full)), before) => (full, before),
            (Err(full), _) => (full, None),
        };
        // Nothing was written: the numbers are those of the plan before, and what was chosen with others is forgotten.
        self.ids.take_back();
        self.memory = Memory::default();
        let Some(before) = before else { return Err(full) };
        tracing::info!("there is no room for the plan beside the one before: what goes is removed first");
        let kept = Arc::new(common(&before, plan));
        let tables = recompile(&kept, world, &mut self.ids, &mut self.memory, (&mut self.learned, None));
        let removed = self.write(tables, kept.gateway.routes_per_tenant)?;
        let tables = recompile(plan, world, &mut self.ids, &mut self.memory, (&mut self.learned, None));
        Ok(removed + self.write(tables, routes)?)
    }

    /// The same for a compute host's plan.
    ///
    /// # Errors
    /// As for [`Dataplane::apply`].
    pub fn apply_host(&mut self, plan: &HostPlan, world: &World) -> Result<Applied> {
        let found = if std::mem::take(&mut self.unread) { Some(self.applier.current()?) } else { None };
        let tables = compile_host(plan, world, &mut self.ids, (&mut self.learned, found));
        match self.applier.room(&tables, Gateway::DEFAULT_ROUTES_PER_TENANT) {
            Ok(Room::Beside) => self.write(tables, Gateway::DEFAULT_ROUTES_PER_TENANT),
            Ok(Room::AfterRemoving(full)) | Err(full) => {
                self.ids.take_back();
                Err(full)
            }
        }
    }

    /// Writes what was just compiled.
    fn write(&mut self, tables: Tables, routes_per_tenant: u32) -> Result<Applied> {
        // Before they are used: a daemon that dies here must not give them to others.
        self.ids.save(&ids_path(&self.state))?;
        let applied = self.applier.apply(&self.loaded, tables, routes_per_tenant, &self.learned);
        self.note(applied.is_ok());
        let applied = applied?;
        self.ids.settle();
        Ok(applied)
    }

    /// What was learned is in the maps, or nobody knows.
    fn note(&mut self, written: bool) {
        if written {
            self.learned.settled();
        } else {
            self.learned.unsettle();
        }
    }

    /// Takes in what a tenant's router has learned, and writes it. Changes for a tenant without a router are passed over.
    ///
    /// # Errors
    /// The kernel refused something; the next change or application makes up for it.
    pub fn learn(&mut self, tenant: &str, changes: impl IntoIterator<Item = learned::Change>) -> Result<Applied> {
        let Some(id) = self.ids.tenant_id(tenant) else { return Ok(Applied::default()) };
        // A compute host's plan says nothing of it.
        let room = self.memory.plan().map_or(Gateway::DEFAULT_ROUTES_PER_TENANT, |plan| plan.gateway.routes_per_tenant);
        let planned = self.applier.current()?.routes.get(&id);
        let planned = planned.map_or(0, |routes| routes.v4.len().max(routes.v6.len()));
        let most = (room as usize).saturating_sub(planned);
        let (needs, refused) = self.learned.learn(id, changes, most, &mut self.ids);
        if refused > 0 {
            tracing::warn!(tenant, refused, most, "the tenant's table is full: learned routes are left out");
        }
        self.ids.save(&ids_path(&self.state))?;
        let applied = self.applier.learn(&self.loaded, needs, room, &self.learned);
        self.note(applied.is_ok());
        applied
    }

    /// A tenant's router begins anew: what was learned stays until it is learned again or given up.
    pub fn age(&mut self, tenant: &str) {
        if let Some(id) = self.ids.tenant_id(tenant) {
            self.learned.age(id);
        }
    }

    /// Gives up what an earlier daemon had learned for a tenant and this one has not. How many routes that were.
    ///
    /// # Errors
    /// As for [`Dataplane::learn`].
    pub fn sweep(&mut self, tenant: &str) -> Result<usize> {
        let Some(id) = self.ids.tenant_id(tenant) else { return Ok(0) };
        let swept = self.learned.sweep(id);
        if swept > 0 {
            self.learn(tenant, [])?;
        }
        Ok(swept)
    }

    /// Makes the interfaces run exactly the wanted programs: attaches, swaps without a gap, detaches. To be called after [`Dataplane::apply`],
    /// so that the programs find their maps filled.
    pub fn attach(&mut self, wanted: &[Wanted]) -> Result<attach::Change> {
        let change = attach::reconcile(&self.pins, &self.loaded, wanted)?;
        if self.found == Found::Outdated {
            self.pins.finish_migration()?;
            self.found = Found::Adopted;
        }
        for number in self.pins.loads()? {
            if number != self.load_number {
                pins::remove_pin(&self.pins.stages(number))?;
            }
        }
        if change.swapped > 0 {
            // What the earlier programs decided may not be what these would.
            self.applier.touch_all()?;
        }
        Ok(change)
    }

    /// Turns tracing of a tenant's packets on or off; no error if there is no such tenant.
    pub fn trace(&mut self, tenant: &str, tracing: Tracing) -> Result<()> {
        match self.ids.tenant_id(tenant) {
            Some(tenant) => self.applier.trace(tenant, tracing),
            None => Ok(()),
        }
    }

    /// The numbers that stand for names.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// What the maps hold by the plan and beyond it, and the numbers that stand for names in it.
    pub fn known(&mut self) -> Result<(&Tables, &Learned, &Ids)> {
        Ok((self.applier.current()?, &self.learned, &self.ids))
    }

    /// What reads counters and state. Works on its own from here on.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(&self.directory())
    }

    /// The programs' notices. There is to be one reader of them.
    pub fn events(&self) -> Result<Events> {
        Events::open(&self.directory())
    }

    /// The loaded programs.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Where everything is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    fn directory(&self) -> PathBuf {
        if self.found == Found::Outdated { self.pins.next() } else { self.pins.maps() }
    }
}

/// Removes every trace of the data plane: programs, maps and the numbers. Works without a daemon, and twice.
///
/// # Errors
/// A daemon is still there, or a pin cannot be removed.
pub fn detach(pins: &Path, state: &Path) -> Result<usize> {
    let lock = if state.is_dir() { Some(lock(state)?) } else { None };
    let removed = Pins::new(pins).remove()?;
    for path in [ids_path(state), lock_path(state)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { path, source: error });
            }
            _ => {}
        }
    }
    drop(lock);
    // Only if nobody else keeps anything there.
    let _ = fs::remove_dir(state);
    Ok(removed)
}

fn ids_path(state: &Path) -> PathBuf {
    state.join("ids.json")
}

fn lock_path(state: &Path) -> PathBuf {
    state.join("dataplane.lock")
}

fn lock(state: &Path) -> Result<Flock<File>> {
    let path = lock_path(state);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => Error::Locked(state.into()),
        error => Error::Io { path, source: error.into() },
    })
}

/// Takes back what a failed opening has pinned.
fn undo(pins: &Pins, found: Found, load_number: u32) -> Result<()> {
    match found {
        Found::Nothing => pins.remove().map(drop),
        Found::Adopted => pins::remove_pin(&pins.stages(load_number)),
        Found::Outdated => {
            pins::remove_directory(&pins.next())?;
            pins::remove_pin(&pins.stages(load_number))
        }
    }
}
