//! A program on one packet again and again, on several CPUs at once.

use super::{Entry, World, context, cpus, missing, stay_on};
use crate::frame::Stack;
use anyhow::{Context as _, Result};
use aya::maps::PerCpuHashMap;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use gateway_common::DropReason;
use gateway_common::tables::DropKey;
use std::sync::atomic::{AtomicBool, Ordering};

/// Packets between two questions whether it goes on: some hundred microseconds.
const BATCH: u32 = 2000;

/// What is counted while the program runs.
pub struct Load<'w> {
    drops: PerCpuHashMap<&'w aya::maps::MapData, DropKey, u64>,
}

impl Load<'_> {
    /// Packets dropped for a reason so far.
    pub fn dropped(&self, reason: DropReason) -> Result<u64> {
        let mut packets = 0;
        for entry in self.drops.iter() {
            let (key, counts) = entry?;
            if key.reason == reason as u32 {
                packets += counts.iter().sum::<u64>();
            }
        }
        Ok(packets)
    }
}

impl World<'_> {
    /// Runs `entry` on a frame that comes in by interface `name` on two CPUs (on one, twice, where there is no other) as long as `action` takes.
    /// The frame must be one that is dropped, since it is not made anew for every packet.
    pub fn under_load<T>(
        &mut self,
        entry: Entry,
        name: &str,
        frame: &Stack,
        action: impl FnOnce(&Load) -> Result<T>,
    ) -> Result<T> {
        let frame = frame.build();
        let context = context(self.ifindex(name), &frame)?;
        let ebpf = &self.programs.ebpf;
        let program: &Xdp = ebpf.program(entry.name()).context("loaded")?.try_into()?;
        let load = Load { drops: ebpf.map("DROPS").with_context(|| missing("DROPS"))?.try_into()? };
        let cpus = cpus()?;
        let ends = [cpus.first(), cpus.last()].map(|cpu| cpu.copied().unwrap_or_default());
        let ending = AtomicBool::new(false);
        let offer = |cpu| -> Result<()> {
            stay_on(cpu)?;
            while !ending.load(Ordering::Relaxed) {
                program.test_run(TestRunOptions {
                    data_in: Some(&frame),
                    ctx_in: Some(&context),
                    repeat: BATCH,
                    ..TestRunOptions::default()
                })?;
            }
            Ok(())
        };
        let outcome = std::thread::scope(|scope| {
            let threads = ends.map(|cpu| scope.spawn(move || offer(cpu)));
            let outcome = action(&load);
            ending.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            outcome
        });
        self.take_drops();
        outcome
    }
}
