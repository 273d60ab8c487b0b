//! The rig: a generator, forwarders, and a sink.
//!
//! ```text
//!            ┌ end0 ═ in0 [forwarder 0] out0 ═ far0 ┐
//! generator ─┤                                      ├─ sink
//!            └ end1 ═ in0 [forwarder 1] out0 ═ far1 ┘
//! ```
//!
//! Every forwarder is a machine of its own between two cables. The generator runs in the kernel, on one CPU, which then also does what the
//! forwarder and the sink do: a rate here is that of one core for all of it. Runs of different forwarders alternate, so that what else the
//! machine does meets all of them alike.
//!
//! Nothing else may speak on the cables: a frame that a stack sends from another CPU takes an interface's NAPI context there, where it stays
//! as long as frames keep coming. Then that CPU forwards what the generator's makes, slower than it is made, and the ring overflows.

#[path = "../../ebpf/src/traffic.rs"]
pub mod traffic;

use super::frames::Traffic;
use super::scenario::{HOST_MAC, PORT_MAC, mac_text};
use crate::link::{End, cable};
use crate::node::{Node, Processes};
use anyhow::{Context, Result, ensure};
use aya::maps::{Array, DevMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::path::Path;
use std::sync::Arc;
use traffic::{Flow, Job, Seen};

// SAFETY: plain data without padding, every bit pattern valid.
unsafe impl aya::Pod for Job {}
// SAFETY: as above.
unsafe impl aya::Pod for Flow {}
// SAFETY: as above.
unsafe impl aya::Pod for Seen {}

/// Frames that the kernel makes at once; veth's ring has room for four times as many.
const BATCH: u32 = 64;
/// The cables' MTU: what 1400 bytes take with all headers around them.
const MTU: u32 = 1600;
/// The slot of the device that the program `redirect` sends by.
const REDIRECT_SLOT: u32 = 15;

/// How what leaves a forwarder is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// By an XDP program: the least that a redirected frame costs.
    Xdp,
    /// By the interface, where the stack drops it: the least that a packet of the stack costs, which XDP would have to copy.
    Stack,
}

/// A forwarder's place in the rig.
#[derive(Debug)]
pub struct Track {
    /// The forwarder's machine, with interfaces `in0` and `out0`.
    pub node: Arc<Node>,
    slot: u32,
    sink: Sink,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that arrived, as long as expected.
    pub arrived: u64,
    /// Frames that arrived and are of another length.
    pub wrong: u64,
    /// For how long they were sent.
    pub seconds: f64,
}

impl Outcome {
    /// Millions of frames a second that arrived.
    pub fn rate(&self) -> f64 {
        self.arrived as f64 / self.seconds / 1e6
    }

    /// Whether all but a few in a thousand arrived as they should. The machines themselves say something now and then.
    pub fn is_lossless(&self) -> bool {
        self.wrong * 1000 <= self.sent && self.arrived * 1000 >= self.sent * 997
    }
}

/// The rig.
pub struct Rig {
    processes: Arc<Processes>,
    ends: Arc<Node>,
    programs: Ebpf,
    job: Array<MapData, Job>,
    flows: Array<MapData, Flow>,
    seen: PerCpuArray<MapData, Seen>,
    devices: DevMap<MapData>,
    tracks: u32,
    /// What the generator has in its maps, by address: traffic outlives its runs.
    loaded: Option<*const Traffic>,
    cpu: usize,
}

// SAFETY: the pointer is compared, never followed.
unsafe impl Send for Rig {}

impl Rig {
    /// An empty rig.
    pub fn new() -> Result<Self> {
        let processes = Processes::new()?;
        let ends = silent_node("ends", &processes)?;
        let mut programs = lab_programs()?;
        for name in ["gre", "vxlan", "vlan", "plain", "redirect", "sink", "nothing"] {
            program(&mut programs, name)?.load().with_context(|| format!("cannot load the bench's program {name}"))?;
        }
        let mut take = |name: &str| programs.take_map(name).with_context(|| format!("no map {name}"));
        let (job, flows) = (take("JOB")?.try_into()?, take("FLOWS")?.try_into()?);
        let (seen, devices) = (take("SEEN")?.try_into()?, take("DEVICES")?.try_into()?);
        let cpu = last_cpu()?;
        Ok(Self { processes, ends, programs, job, flows, seen, devices, tracks: 0, loaded: None, cpu })
    }

    /// A machine between two cables. What forwards there is the caller's.
    pub fn track(&mut self, name: &str, sink: Sink) -> Result<Track> {
        let slot = self.tracks;
        ensure!(slot < REDIRECT_SLOT, "the rig is full");
        self.tracks += 1;
        let node = silent_node(name, &self.processes)?;
        let (end, far) = (format!("end{slot}"), format!("far{slot}"));
        let (ours, theirs) = (mac_text(PORT_MAC), mac_text(HOST_MAC));
        for (outside, inside) in [(&end, "in0"), (&far, "out0")] {
            let outside = End::new(&self.ends, outside).mac(&theirs).from_gateway();
            cable(MTU, outside, End::new(&node, inside).mac(&ours).from_gateway())?;
        }
        let (ends, devices, programs) = (&self.ends, &mut self.devices, &mut self.programs);
        ends.within_network(|| -> Result<()> {
            devices.set(slot, if_nametoindex(end.as_str())?, None, 0)?;
            if sink == Sink::Xdp {
                program(programs, "sink")?.attach(&far, XdpMode::Driver)?;
            }
            Ok(())
        })?;
        Ok(Track { node, slot, sink })
    }

    /// Frees the place of the last track that was laid.
    pub fn take_up(&mut self, track: Track) {
        if track.slot + 1 == self.tracks {
            self.tracks -= 1;
        }
        let removed = self.ends.ip(&format!("link del end{0}\nlink del far{0}\n", track.slot));
        if let Err(error) = removed {
            eprintln!("bench: {error:#}");
        }
    }

    /// A CPU that the generator leaves alone, if there is one.
    pub fn other_cpu(&self) -> Result<Option<usize>> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        Ok((0..self.cpu).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true)))
    }

    /// Makes a track's machine redirect every frame from `in0` to `out0`: the floor.
    pub fn floor(&mut self) -> Result<Track> {
        let track = self.track("floor", Sink::Xdp)?;
        let (devices, programs) = (&mut self.devices, &mut self.programs);
        track.node.within_network(|| -> Result<()> {
            devices.set(REDIRECT_SLOT, if_nametoindex("out0")?, None, 0)?;
            program(programs, "redirect")?.attach("in0", XdpMode::Driver)?;
            Ok(())
        })?;
        Ok(track)
    }

    /// Sends `packets` frames through a track. `expected` is how long they are at its end.
    pub fn send(&mut self, traffic: &Traffic, track: &Track, expected: usize, packets: u32) -> Result<Outcome> {
        self.load(traffic, track)?;
        let far = format!("far{}", track.slot);
        self.expect(expected)?;
        let before = self.count(&far, track.sink)?;
        let (generator, cpu) = (program(&mut self.programs, traffic.form.program())?, self.cpu);
        let result = self.ends.within_network(|| -> Result<_> {
            alone_on(cpu)?;
            let options = TestRunOptions {
                data_in: Some(&traffic.frame),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            };
            generator.test_run(options).context("the kernel does not run the generator")
        })?;
        let after = self.count(&far, track.sink)?;
        Ok(Outcome {
            sent: packets.into(),
            arrived: after.0 - before.0,
            wrong: after.1,
            // The kernel gives the mean of a frame, without what setting up and tearing down take.
            seconds: result.duration.as_secs_f64() * f64::from(packets),
        })
    }

    fn load(&mut self, traffic: &Traffic, track: &Track) -> Result<()> {
        let at = std::ptr::from_ref(traffic);
        if self.loaded != Some(at) {
            ensure!(traffic.flows.len() <= traffic::FLOWS_MAX as usize, "too many flows for the generator");
            for (number, flow) in (0u32..).zip(&traffic.flows) {
                self.flows.set(number, flow, 0)?;
            }
            self.loaded = Some(at);
        }
        let flows = u32::try_from(traffic.flows.len())?;
        let job = Job { template: traffic.template(), flows, next: 0, slot: track.slot, reserved: 0 };
        Ok(self.job.set(0, job, 0)?)
    }

    /// Forgets which frames the generator has, before another [`Traffic`] may stand where they stood.
    pub fn forget(&mut self) {
        self.loaded = None;
    }

    fn expect(&mut self, length: usize) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let seen = Seen { right: 0, wrong: 0, expected: length as u64 };
        Ok(self.seen.set(0, PerCpuValues::try_from(vec![seen; cpus])?, 0)?)
    }

    /// Frames that have arrived: right ones, and, of the program, wrong ones.
    fn count(&self, far: &str, sink: Sink) -> Result<(u64, u64)> {
        if sink == Sink::Xdp {
            let seen = self.seen.get(&0, 0)?;
            return Ok(seen.iter().fold((0, 0), |sum, seen| (sum.0 + seen.right, sum.1 + seen.wrong)));
        }
        let path = format!("/sys/class/net/{far}/statistics/rx_packets");
        let text =
            self.ends.within(|| std::fs::read_to_string(&path)).with_context(|| format!("cannot read {path}"))?;
        Ok((text.trim().parse()?, 0))
    }
}

/// The benches' own programs and their maps.
pub fn lab_programs() -> Result<Ebpf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/lab.o");
    let object =
        std::fs::read(&path).with_context(|| format!("cannot read {}; run `cargo xtask build`", path.display()))?;
    EbpfLoader::new().load(&object).context("cannot load the bench's programs")
}

/// A machine whose interfaces have no IPv6, which announces its groups (MLD) after they come up.
fn silent_node(name: &str, processes: &Arc<Processes>) -> Result<Arc<Node>> {
    let node = Node::new(name, processes)?;
    node.sh("for at in all default; do echo 1 > /proc/sys/net/ipv6/conf/$at/disable_ipv6; done")?;
    Ok(node)
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(programs.program_mut(name).with_context(|| format!("the bench has no program {name}"))?.try_into()?)
}

/// The last CPU that this process may use: others are busier with interrupts.
fn last_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true)).context("there is no CPU")
}

/// Binds this thread to a CPU and puts it before all that is not urgent there: a run takes a fraction of a second.
fn alone_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters live through the call. Where it is refused, other programs only disturb more.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    Ok(())
}
