//! Another Linux kernel in a virtual machine: a real far end for the gateway, and other kernels for its programs.
//!
//! The machine has Debian's kernel, busybox and a few programs of this host in a file system that is only memory; `cargo xtask setup vm`
//! fetches the kernels. Its network cards end in TAP devices on machines of the lab, and commands go in and out by its serial line.
//! It is emulated, never virtualised (hosts offer a KVM that does not work, and fail late), so it takes some seconds to boot.

mod console;
mod image;
mod kernel;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::node::{Node, Processes, Running};
use crate::tap::{Carries, Tap};
use console::Console;
use image::Image;
pub use kernel::Kernel;

/// How long a boot may take: some ten seconds emulated on an idle machine.
const BOOT: Duration = Duration::from_secs(240);
/// How long an ordinary command may take.
const COMMAND: Duration = Duration::from_secs(240);

/// Programs of this host that every machine has.
const PROGRAMS: [&str; 4] = ["ip", "ping", "iperf3", "ethtool"];

/// What a network card does with a packet before the machine sees it, and lets the machine leave undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Nothing: every frame is as on a wire.
    None,
    /// Checksums and merging, as hypervisors have it, until the machine asks for frames as on a wire.
    Switchable,
    /// The same, and the machine cannot ask.
    Fixed,
}

/// What a machine is made of.
#[derive(Debug)]
pub struct Machine {
    kernel: Kernel,
    cards: Vec<(Tap, Offloads)>,
    processors: u32,
    image: Image,
}

impl Machine {
    /// A machine with this kernel and no network card.
    pub fn new(kernel: Kernel) -> Result<Self> {
        let mut image = Image::new(&kernel.modules()?)?;
        for name in PROGRAMS {
            image.program(name, &kernel::found(name)?)?;
        }
        Ok(Self { kernel, cards: Vec::new(), processors: 1, image })
    }

    /// The same with so many processors.
    pub fn processors(self, processors: u32) -> Self {
        Self { processors, ..self }
    }

    /// Adds a network card (`eth0`, `eth1`, … inside) whose cable ends in a new interface of `node`, which is set up.
    pub fn card(self, node: &Arc<Node>, interface: &str, mtu: u32) -> Result<Self> {
        self.card_with(Offloads::None, node, interface, mtu)
    }

    /// The same with offloads.
    pub fn card_with(mut self, offloads: Offloads, node: &Arc<Node>, interface: &str, mtu: u32) -> Result<Self> {
        let carries = if offloads == Offloads::None { Carries::Frames } else { Carries::Offloaded };
        let tap = Tap::new(node, interface, carries)?;
        node.ip(&format!("link set {interface} mtu {mtu} up\n"))?;
        self.cards.push((tap, offloads));
        Ok(self)
    }

    /// Adds a program with its shared libraries, as `/bin/NAME`.
    pub fn program(mut self, name: &str, from: &Path) -> Result<Self> {
        self.image.program(name, from)?;
        Ok(self)
    }

    /// Adds a program of the workspace, without what only a debugger reads of it.
    pub fn own_program(mut self, name: &str) -> Result<Self> {
        let stripped = tempfile::NamedTempFile::new()?;
        let mut strip = Command::new(kernel::found("strip")?);
        strip.arg("-o").arg(stripped.path()).arg(crate::gateway::program(name)?);
        let output = strip.output().context("cannot start strip")?;
        anyhow::ensure!(output.status.success(), "strip failed: {}", String::from_utf8_lossy(&output.stderr));
        self.image.program(name, stripped.path())?;
        Ok(self)
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, content: Vec<u8>) -> Self {
        self.image.file(path, content);
        self
    }

    /// Boots it; it ends with what is returned, or with the lab.
    pub fn boot(self, processes: &Arc<Processes>) -> Result<Vm> {
        // Unlinked once QEMU is gone.
        let mut initramfs = tempfile::NamedTempFile::new()?;
        self.image.write(&mut initramfs)?;
        let mut command = Command::new(kernel::found("qemu-system-x86_64")?);
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults"])
            .args(["-no-user-config", "-display", "none", "-serial", "stdio"])
            // After a panic it stands still: the console tells of it.
            // On a busy machine the emulated timer's interrupts come late, which the kernel would take for a broken board and panic.
            .args(["-append", "console=ttyS0 quiet panic=0 mitigations=off no_timer_check"])
            .args(["-smp", &self.processors.to_string()])
            .arg("-kernel")
            .arg(self.kernel.image()?)
            .arg("-initrd")
            .arg(initramfs.path());
        let descriptors: Vec<i32> = self.cards.iter().map(|(card, _)| card.as_fd().as_raw_fd()).collect();
        for (index, (descriptor, (_, offloads))) in descriptors.iter().zip(&self.cards).enumerate() {
            let properties = if *offloads == Offloads::Fixed { ",ctrl_guest_offloads=off" } else { "" };
            command.arg("-netdev").arg(format!("tap,id=card{index},fd={descriptor}"));
            command.arg("-device").arg(format!(
                "virtio-net-pci,netdev=card{index},romfile=,mac=02:00:00:4c:{:02x}:{index:02x}{properties}",
                std::process::id() & 0xff
            ));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: fcntl may be called between fork and exec; the descriptors stay open in the parent until the machine ends.
        unsafe {
            command.pre_exec(move || {
                descriptors.iter().try_for_each(|descriptor| match libc::fcntl(*descriptor, libc::F_SETFD, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                })
            })
        };
        let host = Node::new("vm", processes)?;
        let mut qemu = host.spawn(&mut command)?;
        let child = qemu.child();
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            anyhow::bail!("QEMU has no streams")
        };
        let mut console = Console::new(input, output, errors);
        console.await_ready(BOOT).with_context(|| format!("{:?} does not boot", self.kernel))?;
        let cards = self.cards.into_iter().map(|(card, _)| card).collect();
        Ok(Vm { console, _qemu: qemu, _cards: cards, _initramfs: initramfs })
    }
}

/// A machine that runs.
#[derive(Debug)]
pub struct Vm {
    console: Console,
    _qemu: Running,
    _cards: Vec<Tap>,
    _initramfs: tempfile::NamedTempFile,
}

impl Vm {
    /// Runs a script of the shell to its end and gives what it printed; its failure is an error that holds what it said.
    pub fn sh(&mut self, script: &str) -> Result<String> {
        self.sh_for(COMMAND, script)
    }

    /// The same for a script that may take longer.
    pub fn sh_for(&mut self, deadline: Duration, script: &str) -> Result<String> {
        self.console.run(deadline, script)
    }

    /// Boots it again, as the power switch would: without a word to its programs.
    pub fn reboot(&mut self) -> Result<()> {
        self.console.restart(BOOT)
    }

    /// Runs a script in a network namespace that the machine has.
    pub fn within(&mut self, namespace: &str, script: &str) -> Result<String> {
        anyhow::ensure!(!script.contains('\''), "the script is quoted once more: {script}");
        self.sh(&format!("ip netns exec {namespace} sh -ec '{}{script}'", console::REAL_PROGRAMS))
            .with_context(|| format!("in {namespace}"))
    }
}
