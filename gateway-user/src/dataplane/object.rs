//! The XDP programs: from the executable into the kernel, over the maps that are pinned or new ones.

use super::bpf;
use super::error::{Error, Result};
use super::host;
use super::sizes::{EACH_PROCESSORS, Sizes};
use aya::maps::{MapData, MapType};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_map_info;
use gateway_common::tables::stage;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Raise it when what the maps' contents mean changes while their sizes do not.
const SCHEMA: u32 = 2;
/// The map that records it.
const SCHEMA_MAP: &str = "SCHEMA";

static EMBEDDED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway.o"));

/// Where the XDP programs come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Those built into this executable.
    #[default]
    Embedded,
    /// Those in a file.
    File(PathBuf),
}

/// An object file with its maps' definitions.
pub struct Object {
    bytes: Bytes,
    maps: BTreeMap<String, aya_obj::Map>,
}

enum Bytes {
    Embedded(&'static [u8]),
    Read(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Embedded(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Object {
    /// Reads the object and gives its maps the sizes that are asked for.
    pub fn read(source: &Source, sizes: &Sizes) -> Result<Self> {
        let bytes = match source {
            Source::Embedded if EMBEDDED.is_empty() => return Err(Error::NotBuilt),
            Source::Embedded => Bytes::Embedded(EMBEDDED),
            Source::File(path) => Bytes::Read(fs::read(path).map_err(Error::io(path))?),
        };
        let object = aya_obj::Object::parse(bytes.get()).map_err(|error| Error::Object(error.to_string()))?;
        let processors = aya::util::nr_cpus().map_err(|(path, source)| Error::Io { path: path.into(), source })? as u32;
        let mut maps: BTreeMap<_, _> = object.maps.into_iter().filter(|(name, _)| is_kept(name)).collect();
        for (name, map) in &mut maps {
            if let Some(entries) = sizes.get(name) {
                map.set_max_entries(entries);
            }
            if EACH_PROCESSORS.contains(&name.as_str()) {
                map.set_max_entries(map.max_entries() * processors);
            }
        }
        Ok(Self { bytes, maps })
    }

    /// How the maps pinned in a directory differ from what this object needs, a line each. A map that is not pinned there does not differ.
    pub fn differences(&self, directory: &Path) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        let mut found = false;
        for (name, map) in self.maps.iter().filter(|(name, _)| *name != STAGES) {
            let Some(info) = pinned_info(&directory.join(name))? else { continue };
            found = true;
            let wanted = [
                ("type", info.type_, map.map_type()),
                ("key size", info.key_size, map.key_size()),
                ("value size", info.value_size, map.value_size()),
                ("entries", info.max_entries, map.max_entries()),
                ("flags", info.map_flags & !KERNELS_FLAGS, map.map_flags() & !KERNELS_FLAGS),
            ];
            let is_ring = info.type_ == MapType::RingBuf as u32;
            for (what, pinned, needed) in wanted {
                // The kernel wants whole pages there, and aya rounds up.
                if pinned != needed && !(is_ring && what == "entries") {
                    differences.push(format!("  {name}: {what} {pinned}, this gatewayd needs {needed}"));
                }
            }
        }
        let schema = schema(directory)?;
        if found && schema != Some(SCHEMA) {
            let pinned = schema.map_or_else(|| "not recorded".into(), |number| number.to_string());
            differences.push(format!("  schema {pinned}, this gatewayd needs {SCHEMA}"));
        }
        Ok(differences)
    }

    /// Loads every program over the maps pinned in `directory`; those that are missing are made and pinned there.
    /// The tail-called programs are pinned at `stages`, so that earlier programs keep their own.
    pub fn load(&self, directory: &Path, stages: &Path) -> Result<Loaded> {
        record_schema(directory)?;
        let mut loader = EbpfLoader::new();
        for (name, map) in &self.maps {
            loader.map_max_entries(name, map.max_entries());
            loader.map_pin_path(name, if name == STAGES { stages.to_owned() } else { directory.join(name) });
        }
        let mut ebpf = loader.load(self.bytes.get()).map_err(|error| load_error(&error))?;
        let mut inner = None;
        for (name, program) in ebpf.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => return Err(Error::Object(format!("`{name}` is a program neither of XDP nor of tc"))),
            }
            .map_err(|error| program_error(name, &error))?;
            if inner.is_none() {
                let info = program.info().map_err(|error| program_error(name, &error))?;
                inner = Some(InnerMaps::of(&self.maps, info.btf_id())?);
            }
        }
        let inner = inner.ok_or_else(|| Error::Object("it has no program".into()))?;
        let loaded = Loaded { ebpf, inner };
        loaded.fill_stages(stages)?;
        Ok(loaded)
    }
}

/// The map of tail-called programs.
const STAGES: &str = "STAGES";

/// Flags that the kernel adds by itself: BPF_F_RDONLY_PROG for device maps.
const KERNELS_FLAGS: u32 = 1 << 7;

/// What one stage leaves for the next within a packet.
const SCRATCH: [&str; 2] = ["RUN", "SCRATCH"];

/// Whether a map outlives its programs: their constants, their scratch space and the log's ring belong to one load.
fn is_kept(name: &str) -> bool {
    !name.starts_with('.') && !name.starts_with("AYA_LOG") && !SCRATCH.contains(&name)
}

fn pinned_info(path: &Path) -> Result<Option<bpf_map_info>> {
    match bpf::open_pin(path) {
        Ok(fd) => bpf::map_info(fd.as_fd()).map(Some).map_err(Error::io(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

fn schema(directory: &Path) -> Result<Option<u32>> {
    match bpf::open_pin(&directory.join(SCHEMA_MAP)) {
        Ok(fd) => super::map::Table::<u32, u32>::new(fd, SCHEMA_MAP)?.get(&0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: directory.join(SCHEMA_MAP), source }),
    }
}

fn record_schema(directory: &Path) -> Result<()> {
    if schema(directory)?.is_some() {
        return Ok(());
    }
    let map = aya::maps::Array::<MapData, u32>::create(1, 0).and_then(|mut map| {
        map.set(0, SCHEMA, 0)?;
        Ok(map)
    });
    let map = map.map_err(|error| Error::Load { release: host::release(), reason: error.to_string() })?;
    map.pin(directory.join(SCHEMA_MAP))
        .map_err(|error| Error::Load { release: host::release(), reason: error.to_string() })
}

/// The programs in the kernel.
pub struct Loaded {
    ebpf: Ebpf,
    inner: InnerMaps,
}

impl Loaded {
    /// A program's descriptor.
    pub fn program(&self, name: &str) -> Result<BorrowedFd<'_>> {
        match self.ebpf.program(name) {
            Some(Program::Xdp(program)) => program.fd(),
            Some(Program::SchedClassifier(program)) => program.fd(),
            _ => return Err(Error::NoProgram(name.to_owned())),
        }
        .map(|fd| fd.as_fd())
        .map_err(|error| program_error(name, &error))
    }

    /// A program's number in the kernel.
    pub fn program_id(&self, name: &str) -> Result<u32> {
        match self.ebpf.program(name) {
            Some(program) => program.info().map(|info| info.id()).map_err(|error| program_error(name, &error)),
            None => Err(Error::NoProgram(name.to_owned())),
        }
    }

    /// The maps that the programs' diagnostics go through.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Makes an inner map for the array of maps `outer`, for up to `entries`.
    pub fn inner_map(&self, outer: &str, entries: u32) -> Result<MapData> {
        self.inner.make(outer, entries)
    }

    fn fill_stages(&self, pin: &Path) -> Result<()> {
        let fd = match bpf::open_pin(pin) {
            Ok(fd) => fd,
            // An object without tail calls.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Io { path: pin.into(), source }),
        };
        let stages = super::map::Table::<u32, u32>::new(fd, STAGES)?;
        for (slot, name) in stage::PROGRAMS {
            stages.set(slot, &self.program(name)?.as_raw_fd().cast_unsigned())?;
        }
        Ok(())
    }
}

/// What it takes to make maps for an array of maps.
pub struct InnerMaps {
    /// The programs' own type information, without which kernels before 6.2 refuse inner maps.
    btf: Option<OwnedFd>,
    tries: BTreeMap<String, aya_obj::Map>,
}

impl InnerMaps {
    /// For the maps of an object, one of whose programs in the kernel has the type information of this number.
    pub fn of(maps: &BTreeMap<String, aya_obj::Map>, btf: Option<u32>) -> Result<Self> {
        let btf = btf.map(bpf::btf_by_id).transpose().map_err(|source| Error::map("BTF", "open", source))?;
        Ok(Self { btf, tries: maps.iter().filter_map(|(name, map)| Some((name.clone(), map.inner()?))).collect() })
    }

    /// Makes an inner map for the array of maps `outer`, for up to `entries`.
    pub fn make(&self, outer: &str, entries: u32) -> Result<MapData> {
        let mut definition =
            self.tries.get(outer).cloned().ok_or_else(|| Error::Object(format!("`{outer}` is no array of maps")))?;
        definition.set_max_entries(entries);
        MapData::create(definition, "fib", self.btf.as_ref().map(AsFd::as_fd))
            .map_err(|error| Error::map(outer, "make an inner map for", io::Error::other(error)))
    }
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn load_error(error: &aya::EbpfError) -> Error {
    Error::Load { release: host::release(), reason: chain(error) }
}

fn program_error(name: &str, error: &ProgramError) -> Error {
    /// Lines of the verifier's log that say what it is about.
    const TAIL: usize = 20;
    let reason = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            format!("program `{name}`: {io_error}\n{tail}")
        }
        error => format!("program `{name}`: {}", chain(error)),
    };
    Error::Load { release: host::release(), reason }
}
