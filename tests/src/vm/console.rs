//! Commands by the serial line: a script goes in as one line of base64, its output comes out as it is, then a line with the exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

/// What the first process says when it takes commands.
const READY: &str = "lab: ready";
/// What it says after a command, before the exit code.
const END: &str = "lab: end ";
/// More would overrun the terminal's buffer.
const LONGEST: usize = 4000;

/// Busybox prefers its own programs of these names.
pub const REAL_PROGRAMS: &str = "ip() { /bin/ip \"$@\"; }; ping() { /bin/ping \"$@\"; }\n";

/// The machine's first process, and the shell that takes commands. These must be two: orphans end as children of the first process, and a
/// signal of a child's end makes the shell's `read` begin anew, without what it had read of the line.
pub const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
mkdir /run/netns /run/lock
while read -r module; do
    insmod "/modules/$module" || echo "cannot insert $module"
done < /modules/order
/bin/ip link set lo up
for at in all default; do
    echo 0 > /proc/sys/net/ipv6/conf/$at/accept_dad
    echo 0 > /proc/sys/net/ipv6/conf/$at/accept_ra
done
stty raw -echo
cat > /tmp/commands << 'EOF'
echo "lab: ready"
while read -r line; do
    echo "$line" | base64 -d > /tmp/script
    sh -e /tmp/script < /dev/null > /tmp/output 2>&1
    code=$?
    cat /tmp/output
    printf '\nlab: end %d\n' $code
done
EOF
sh /tmp/commands
poweroff -f
"#;

/// The serial line.
#[derive(Debug)]
pub struct Console {
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Console {
    /// Talks to a machine by these streams; what its emulator complains of is read as if the machine had said it.
    pub fn new(input: ChildStdin, output: ChildStdout, errors: ChildStderr) -> Self {
        let (sender, lines) = channel();
        let follow = |stream: Box<dyn Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = Vec::new();
                while let Ok(1..) = reader.read_until(b'\n', &mut line) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if std::env::var_os("LAB_VERBOSE").is_some() {
                        eprintln!("vm: {text}");
                    }
                    if sender.send(text).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        };
        follow(Box::new(output));
        follow(Box::new(errors));
        Self { input, lines }
    }

    /// Waits until commands are taken.
    pub fn await_ready(&mut self, deadline: Duration) -> Result<()> {
        self.until(deadline, "the machine to take commands", |line| (line == READY).then_some(())).map(drop)
    }

    /// Boots again, and waits until commands are taken.
    pub fn restart(&mut self, deadline: Duration) -> Result<()> {
        self.send("reboot -f")?;
        self.await_ready(deadline)
    }

    fn send(&mut self, script: &str) -> Result<()> {
        let line = base64(format!("{REAL_PROGRAMS}{script}\n").as_bytes());
        ensure!(line.len() <= LONGEST, "the script is too long for the serial line: {script}");
        Ok(writeln!(self.input, "{line}")?)
    }

    /// Runs a script.
    pub fn run(&mut self, deadline: Duration, script: &str) -> Result<String> {
        self.send(script)?;
        let (printed, code) = self.until(deadline, script, |line| line.strip_prefix(END).map(str::to_owned))?;
        ensure!(code == "0", "in the virtual machine, this failed with {code}:\n{script}\nand said:\n{printed}");
        Ok(printed)
    }

    /// Reads lines until one is what is awaited; gives those before it, too.
    fn until<T>(
        &mut self,
        deadline: Duration,
        awaited: &str,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Result<(String, T)> {
        let start = Instant::now();
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    if let Some(it) = found(&line) {
                        return Ok((said, it));
                    }
                    let panicked = line.contains("Kernel panic");
                    said += &line;
                    said.push('\n');
                    ensure!(
                        !panicked,
                        "the virtual machine's kernel panicked; awaited was: {awaited}\nIt said:\n{said}"
                    );
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("waited {} s in vain for: {awaited}\nThe virtual machine said:\n{said}", deadline.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the virtual machine ended; awaited was: {awaited}\nIt said:\n{said}")
                }
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
