//! The XDP programs in this process, run on one packet at a time by `BPF_PROG_TEST_RUN`: what goes in, what comes out, what was counted.
//!
//! [`Programs`] loads the object once, unpinned, in a network namespace of its own. A [`World`] is one test's tables: whatever it
//! writes it takes back when it is dropped, so that tests share the programs and nothing else.

mod load;
mod outcome;
mod world;

pub use load::Load;
pub use outcome::{Drop, Event, Outcome, Scope, Verdict};
pub use world::World;
use world::missing;

use anyhow::{Context as _, Result, bail};
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{ArrayOfMaps, DevMap, Map, MapData, ProgramArray};
use aya::programs::{Program, SchedClassifier, TestRun as _, TestRunOptions, Xdp, XdpMode};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, Pod};
use gateway_common::TenantId;
use gateway_common::tables::{FLOW4_PAIRS, FLOW6_PAIRS, Route, stage};
use gateway_user::dataplane::object::InnerMaps;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that a frame may grow by.
const ROOM: usize = 256;
/// Tenants that get route tables: numbered from 0.
pub const TENANTS: u32 = 4;

/// A program that frames enter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A port to the fabric.
    Fabric,
    /// A port to sites.
    Site,
    /// A port to both.
    Both,
    /// The root end of a compartment's veth.
    Compartment,
    /// The root end of the slow path's veth.
    Reentry,
    /// A port of a mux.
    Mux,
    /// A compute host's port to the fabric: tc's.
    Host,
    /// The host's side of a virtual machine's interface: tc's.
    Vm,
}

impl Entry {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Fabric, Self::Site, Self::Both, Self::Compartment, Self::Reentry, Self::Mux, Self::Host, Self::Vm];

    /// The program's name in the object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::Site => "site",
            Self::Both => "both",
            Self::Compartment => "compartment",
            Self::Reentry => "reentry",
            Self::Mux => "mux",
            Self::Host => "host",
            Self::Vm => "vm",
        }
    }
}

/// Whether a stage is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loaded {
    Present,
    Missing,
}

/// A tenant's two route tables.
struct Tries {
    v4: LpmTrie<MapData, [u8; 4], Route>,
    v6: LpmTrie<MapData, [u8; 16], Route>,
}

/// The loaded object, and the interfaces of its namespace.
pub struct Programs {
    ebpf: Ebpf,
    stages: ProgramArray<MapData>,
    tries: BTreeMap<TenantId, Tries>,
    interfaces: BTreeMap<String, u32>,
    generation: u32,
}

/// Where `cargo xtask build` puts the object; `GATEWAY_OBJECT` names another one.
pub fn object_path() -> PathBuf {
    std::env::var_os("GATEWAY_OBJECT")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/gateway.o"))
}

impl Programs {
    /// Moves the calling thread into a new network namespace with an interface for each of `interfaces`, and loads the object there.
    /// The namespace ends with the thread.
    pub fn load(interfaces: &[&str]) -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path)
            .with_context(|| format!("no XDP programs at {}: run `cargo xtask build` first", path.display()))?;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
        let interfaces = make_interfaces(interfaces)?;
        // A small table of drops is emptied faster between packets.
        let processors = nr_cpus().map_err(|(_, error)| error)? as u32;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("DROPS", 1024)
            .map_max_entries("FLOWS4", FLOW4_PAIRS * processors)
            .map_max_entries("FLOWS6", FLOW6_PAIRS * processors)
            .load(&object)
            .context("loading the object")?;
        let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        for name in &names {
            match ebpf.program_mut(name).context("listed")? {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => bail!("program {name} is neither XDP's nor tc's"),
            }
            .with_context(|| format!("loading program {name}"))?;
        }
        anchor(&mut ebpf)?;
        let stages = fill_stages(&mut ebpf)?;
        let tries = make_tries(&mut ebpf, &object)?;
        Ok(Self { ebpf, stages, tries, interfaces, generation: 0 })
    }

    /// The index of an interface made by [`Programs::load`].
    pub fn ifindex(&self, name: &str) -> u32 {
        self.interfaces[name]
    }

    /// Puts interface `name` into slot `slot` of the device map, for good.
    pub fn device(&mut self, slot: u32, name: &str) -> Result<()> {
        let ifindex = self.ifindex(name);
        let mut devices: DevMap<_> = self.ebpf.map_mut("DEVICES").context("no map DEVICES")?.try_into()?;
        devices.set(slot, ifindex, None, 0).with_context(|| format!("slot {slot} of DEVICES"))
    }

    /// Empties a slot of the program array, or fills it again.
    fn stage(&mut self, slot: u32, loaded: Loaded) -> Result<()> {
        match loaded {
            Loaded::Missing => Ok(self.stages.clear_index(&slot)?),
            Loaded::Present => {
                let name = stage::PROGRAMS.iter().find(|(number, _)| *number == slot).context("no such stage")?.1;
                Ok(self.stages.set(slot, self.ebpf.program(name).context("no such program")?.fd()?, 0)?)
            }
        }
    }

    /// Runs `entry` once on `frame`, as if it came in by the interface `ifindex`: the XDP action and the frame afterwards.
    pub fn run(&mut self, entry: Entry, ifindex: u32, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        stay_on_one_cpu()?;
        let program = self.ebpf.program_mut(entry.name()).with_context(|| format!("no program {}", entry.name()))?;
        if let Program::SchedClassifier(program) = program {
            return run_tc(program, ifindex, frame);
        }
        let program: &mut Xdp = program.try_into()?;
        let context = context(ifindex, frame)?;
        let mut out = vec![0; frame.len() + ROOM];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .with_context(|| format!("test run of {} on {} bytes", entry.name(), frame.len()))?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }
}

/// Runs a program of tc's once. Its action is told as XDP's that comes to the same.
fn run_tc(program: &SchedClassifier, ifindex: u32, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
    // Of linux/pkt_cls.h and linux/bpf.h.
    const TC_ACT_OK: i32 = 0;
    const TC_ACT_SHOT: i32 = 2;
    const TC_ACT_STOLEN: i32 = 4;
    const TC_ACT_REDIRECT: i32 = 7;
    const XDP_DROP: u32 = 1;
    const XDP_PASS: u32 = 2;
    const XDP_REDIRECT: u32 = 4;
    // struct __sk_buff up to its field `ifindex`.
    let context: Vec<u8> = [0u32; 10].into_iter().chain([ifindex]).flat_map(u32::to_ne_bytes).collect();
    let mut out = vec![0; frame.len() + ROOM];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        })
        .with_context(|| format!("test run of a tc program on {} bytes", frame.len()))?;
    out.truncate(result.data_size_out as usize);
    let action = match result.return_value.cast_signed() {
        TC_ACT_OK => XDP_PASS,
        TC_ACT_SHOT | TC_ACT_STOLEN => XDP_DROP,
        TC_ACT_REDIRECT => XDP_REDIRECT,
        other => bail!("the tc program returned {other}"),
    };
    Ok((action, out))
}

/// A frame's `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(ifindex: u32, frame: &[u8]) -> Result<Vec<u8>> {
    let words = [0, u32::try_from(frame.len())?, 0, ifindex, 0, 0];
    Ok(words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect())
}

/// Keeps this thread on the first CPU that it may use: each CPU has a flow cache of its own, and a test that expects a hit must find the
/// one that it filled.
fn stay_on_one_cpu() -> Result<()> {
    stay_on(*cpus()?.first().context("there is no CPU")?)
}

/// The CPUs that this process may use, whatever this thread keeps to.
fn cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::this())?;
    Ok((0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect())
}

/// Keeps this thread on a CPU.
fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// One veth a name; its peer has the name with `~` behind. They stay down: no packet is to come but the tests'.
fn make_interfaces(names: &[&str]) -> Result<BTreeMap<String, u32>> {
    let mut interfaces = BTreeMap::new();
    for name in names {
        ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("{name}~")])?;
        interfaces.insert((*name).to_owned(), nix::net::if_::if_nametoindex(*name)?);
    }
    Ok(interfaces)
}

/// Attaches every entry program to a veth that is down: to one that is nowhere attached each test run costs the kernel a grace period.
fn anchor(ebpf: &mut Ebpf) -> Result<()> {
    for entry in Entry::ALL.into_iter().filter(|entry| !matches!(entry, Entry::Host | Entry::Vm)) {
        let name = format!("{}!", entry.name());
        make_interfaces(&[&name])?;
        let program: &mut Xdp = ebpf.program_mut(entry.name()).context("loaded")?.try_into()?;
        program.attach(&name, XdpMode::Driver).with_context(|| format!("attaching {} to {name}", entry.name()))?;
    }
    Ok(())
}

/// Puts every stage into its slot. The array must live as long as the programs: the kernel empties it with its last descriptor.
fn fill_stages(ebpf: &mut Ebpf) -> Result<ProgramArray<MapData>> {
    let mut stages: ProgramArray<MapData> = ebpf.take_map("STAGES").context("no map STAGES")?.try_into()?;
    for (slot, name) in stage::PROGRAMS {
        let program = ebpf.program(name).with_context(|| format!("no program {name}"))?;
        stages.set(*slot, program.fd()?, 0).with_context(|| format!("stage {name}"))?;
    }
    Ok(stages)
}

fn make_tries(ebpf: &mut Ebpf, object: &[u8]) -> Result<BTreeMap<TenantId, Tries>> {
    const ROUTES: u32 = 1024;
    let (_, program) = ebpf.programs().next().context("the object has no program")?;
    let maps = aya_obj::Object::parse(object)?.maps.into_iter().collect();
    let inner = InnerMaps::of(&maps, program.info()?.btf_id())?;
    let make = |outer| -> Result<MapData> { Ok(inner.make(outer, ROUTES)?) };
    let mut tries = BTreeMap::new();
    for tenant in 0..TENANTS {
        let pair =
            Tries { v4: Map::LpmTrie(make("ROUTES4")?).try_into()?, v6: Map::LpmTrie(make("ROUTES6")?).try_into()? };
        set_inner(ebpf, "ROUTES4", tenant, &pair.v4)?;
        set_inner(ebpf, "ROUTES6", tenant, &pair.v6)?;
        tries.insert(TenantId(tenant), pair);
    }
    Ok(tries)
}

fn set_inner<K: Pod>(ebpf: &mut Ebpf, map: &str, slot: u32, trie: &LpmTrie<MapData, K, Route>) -> Result<()> {
    let mut outer: ArrayOfMaps<_, LpmTrie<MapData, K, Route>> =
        ebpf.map_mut(map).with_context(|| format!("no map {map}"))?.try_into()?;
    outer.set(slot, trie, 0).with_context(|| format!("slot {slot} of {map}"))
}
