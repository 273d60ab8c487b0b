//! A machine of the lab: a network namespace with mounts of its own, and the process namespace that ends with the lab.
//!
//! Nothing here has a name outside the process that owns the lab: namespaces live by the descriptors that the owner holds and by the
//! processes inside them, and those processes live in one process namespace whose first process ends when the owner's end of a pipe
//! closes. So a lab is gone when its owner returns, panics, is interrupted or is killed; there is nothing for a later run to tidy up.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The process namespace of one lab.
#[derive(Debug)]
pub struct Processes {
    namespace: File,
    first: Child,
    life: Option<ChildStdin>,
}

impl Processes {
    /// Starts the namespace's first process.
    pub fn new() -> Result<Arc<Self>> {
        let mut command = Command::new("sh");
        command.args(["-c", "read _", "lab"]).stdin(Stdio::piped());
        // The shell's own group: an interrupt from the terminal goes to the owner, who ends the lab in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut first = in_thread(move || -> Result<Child> {
            unshare(CloneFlags::CLONE_NEWPID).context("cannot make a process namespace (the lab needs root)")?;
            command.spawn().context("cannot start sh")
        })?;
        let life = first.stdin.take();
        let namespace = File::open(format!("/proc/{}/ns/pid", first.id()))?;
        Ok(Arc::new(Self { namespace, first, life }))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        drop(self.life.take());
        // Returns once every process of the namespace is gone. A failure leaves nothing that could be done about it.
        let _ = self.first.wait();
    }
}

/// A machine of the lab.
#[derive(Debug)]
pub struct Node {
    name: String,
    network: File,
    mounts: File,
    processes: Arc<Processes>,
}

impl Node {
    /// Makes a machine with a loopback interface, and with /proc, /sys, /sys/fs/bpf, /run and /tmp of its own.
    pub fn new(name: &str, processes: &Arc<Processes>) -> Result<Arc<Self>> {
        let (network, mounts) = in_thread(|| -> Result<(File, File)> {
            setns(&processes.namespace, CloneFlags::CLONE_NEWPID)?;
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)
                .context("cannot make namespaces (the lab needs root)")?;
            let mut setup = Command::new("sh");
            setup.args([
                "-ec",
                "mount --make-rprivate /; mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t bpf bpf /sys/fs/bpf; mount -t tmpfs tmpfs /run
                 mkdir /run/netns /run/lock
                 ip link set lo up
                 cd /proc/sys/net; for at in all default; do echo 0 > ipv6/conf/$at/accept_dad; echo 0 > ipv6/conf/$at/accept_ra; done",
            ]);
            // Read before the setup, whose /proc knows the process namespace of the lab and not this thread.
            let (network, mounts) = (File::open("/proc/thread-self/ns/net")?, File::open("/proc/thread-self/ns/mnt")?);
            output(&mut setup)?;
            Ok((network, mounts))
        })
        .with_context(|| format!("cannot make the lab's machine {name}"))?;
        Ok(Arc::new(Self { name: name.to_owned(), network, mounts, processes: Arc::clone(processes) }))
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs something as if on this machine: its network, its mounts, and processes that end with the lab. Sockets opened inside stay there.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            self.enter().unwrap_or_else(|error| panic!("cannot enter the lab's machine {}: {error:#}", self.name));
            action()
        })
    }

    fn enter(&self) -> Result<()> {
        setns(&self.network, CloneFlags::CLONE_NEWNET)?;
        setns(&self.processes.namespace, CloneFlags::CLONE_NEWPID)?;
        unshare(CloneFlags::CLONE_FS)?;
        setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
        Ok(())
    }

    /// Runs something in this machine's network alone, with the mounts and processes of the caller.
    pub(crate) fn within_network<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            setns(&self.network, CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("cannot enter the network of {}: {error}", self.name));
            action()
        })
    }

    /// Where another process finds this machine's network and mounts while the lab lives.
    pub fn namespaces(&self) -> Namespaces {
        let path = |file: &File| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Namespaces { network: path(&self.network), mounts: path(&self.mounts) }
    }

    /// Runs a command to its end and gives what it printed; its failure is an error that holds what it said.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        self.within(|| output(command)).with_context(|| format!("on {}", self.name))
    }

    /// Runs a script of the shell.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.run(Command::new("sh").args(["-ec", script]))
    }

    /// Runs commands of `ip`, one a line.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.within_network(|| ip(batch)).with_context(|| format!("on {}", self.name))
    }

    /// Starts a command that runs until it is dropped.
    pub fn spawn(&self, command: &mut Command) -> Result<Running> {
        let child =
            self.within(|| command.spawn()).with_context(|| format!("on {}: cannot start {command:?}", self.name))?;
        Ok(Running { child, _processes: Arc::clone(&self.processes) })
    }

    /// The processes of this machine that a program of that name runs, as the lab's owner sees them.
    pub fn running(&self, program: &str) -> Result<Vec<Pid>> {
        let inode = |file: &std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(file);
        let own = inode(&self.mounts.metadata()?);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            // Whoever has ended meanwhile is not here any more.
            let Ok(mounts) = std::fs::metadata(entry.path().join("ns/mnt")) else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let first = line.split(|byte| *byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default();
            if inode(&mounts) == own && first.rsplit('/').next() == Some(program) {
                found.push(Pid::from_raw(pid));
            }
        }
        Ok(found)
    }

    /// Sends a signal to all of these.
    pub fn signal_all(&self, program: &str, signal: Signal) -> Result<()> {
        for process in self.running(program)? {
            match kill(process, signal) {
                // It has ended meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes a file as this machine sees the path (below /run, that is).
    pub fn write(&self, path: impl AsRef<Path> + Sync, content: &str) -> Result<()> {
        self.within(|| std::fs::write(path.as_ref(), content))
            .with_context(|| format!("on {}: cannot write {}", self.name, path.as_ref().display()))
    }
}

/// Paths by which `nsenter` finds a machine of the lab.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// For `nsenter --net=`.
    pub network: PathBuf,
    /// For `nsenter --mount=`.
    pub mounts: PathBuf,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    // The namespace ends only when all its processes have been waited for, so it must outlive this.
    _processes: Arc<Processes>,
}

impl Running {
    /// Its id, as the lab's owner sees it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The standard streams and the exit status.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = Pid::from_raw(i32::try_from(self.child.id())?);
        Ok(kill(process, signal)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs something in a thread of its own, whose namespaces may be changed.
fn in_thread<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(action).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn ip(batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    child.stdin.take().context("ip has no input")?.write_all(batch.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip failed: {}\nof these commands:\n{batch}", said.trim());
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}{printed}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(printed)
}
