//! The terminal while something is shown live in place.

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal, Read, Write};
use tokio::sync::mpsc;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Another screen, and keys as they are pressed. Everything is as before when it is dropped.
pub struct Live {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Live {
    /// Takes the terminal; `None` if there is none that can do this: then lines are appended.
    pub fn enter() -> io::Result<Option<Self>> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let stdin = io::stdin();
        if dumb || !stdin.is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        // Keys at once and unseen; Ctrl-C stays a signal.
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
        let live = Self { before, keys: keys() };
        let mut stdout = io::stdout();
        stdout.write_all(ENTER.as_bytes())?;
        stdout.flush()?;
        Ok(Some(live))
    }

    /// The next key. Never returns if keys have ended.
    pub async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(LEAVE.as_bytes());
        let _ = stdout.flush();
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Reads keys in a thread of its own, which ends with the program.
fn keys() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut key = [0];
        while io::stdin().read_exact(&mut key).is_ok() {
            if sender.blocking_send(key[0]).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Rows and columns of the terminal.
pub fn size() -> (usize, usize) {
    terminal_size::terminal_size()
        .map_or((24, 80), |(terminal_size::Width(width), terminal_size::Height(height))| (height.into(), width.into()))
}

/// A text that takes the screen's place: cut to its size, every line's rest cleared.
pub fn frame(text: &str, rows: usize, columns: usize) -> String {
    let mut frame = String::from("\x1b[H");
    for (index, line) in text.lines().take(rows).enumerate() {
        if index > 0 {
            frame.push_str("\r\n");
        }
        frame.extend(line.chars().take(columns));
        frame.push_str("\x1b[K");
    }
    frame.push_str("\x1b[J");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_cut_to_the_screen_and_clears_what_was_there() {
        assert_eq!(frame("abcdef\ngh\nij\n", 2, 4), "\x1b[Habcd\x1b[K\r\ngh\x1b[K\x1b[J");
    }
}
