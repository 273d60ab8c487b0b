//! Lines that a person types, which nothing waits for longer than it wants to.

use std::collections::VecDeque;
use std::io::{IsTerminal, Stdin, stdin};
use std::os::fd::AsFd;
use std::time::Duration;

use super::is_interrupted;
use crate::wait::readable;

/// A terminal's keyboard.
pub struct Keyboard {
    stdin: Stdin,
    lines: VecDeque<String>,
    part: Vec<u8>,
    has_ended: bool,
}

impl Keyboard {
    /// The keyboard, if standard input is one.
    pub fn new() -> Option<Self> {
        let stdin = stdin();
        let new = |stdin| Self { stdin, lines: VecDeque::new(), part: Vec::new(), has_ended: false };
        stdin.is_terminal().then(|| new(stdin))
    }

    /// A line, if one is typed in so long.
    pub fn look(&mut self, patience: Duration) -> Option<String> {
        if self.lines.is_empty() {
            self.read(patience);
        }
        self.lines.pop_front()
    }

    /// The next line; none if there will be none: Ctrl-C, or Ctrl-D.
    pub fn line(&mut self) -> Option<String> {
        while !is_interrupted() && !self.has_ended {
            if let Some(line) = self.look(Duration::from_millis(100)) {
                return Some(line);
            }
        }
        None
    }

    /// Whoever typed has gone.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn read(&mut self, patience: Duration) {
        if self.has_ended {
            std::thread::sleep(patience);
            return;
        }
        if readable([self.stdin.as_fd()], patience) != [true] {
            return;
        }
        let mut buffer = [0; 256];
        // Not by the standard library, which would wait on after an interrupt.
        match nix::unistd::read(&self.stdin, &mut buffer) {
            Ok(0) => self.has_ended = true,
            Ok(length) => self.part.extend(&buffer[..length]),
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(_) => self.has_ended = true,
        }
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.part.drain(..=end).collect();
            self.lines.push_back(String::from_utf8_lossy(&line).trim().to_owned());
        }
    }
}
