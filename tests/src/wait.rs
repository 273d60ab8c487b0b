//! Waiting for a condition, with a deadline.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long the lab waits for what should happen soon. Generous: a busy machine is slow, and a passing test never waits it out.
pub const SOON: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; fails, naming what was awaited, when the deadline passes.
pub fn until<T>(deadline: Duration, awaited: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() >= deadline {
            bail!("waited {} ms in vain for {awaited}", deadline.as_millis());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until one of the descriptors can be read, or the time is up; says which can be.
pub(crate) fn readable<const N: usize>(descriptors: [BorrowedFd<'_>; N], timeout: Duration) -> [bool; N] {
    let mut asked =
        descriptors.map(|descriptor| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the array holds N entries and lives through the call, and no signal mask is given.
    unsafe { libc::ppoll(asked.as_mut_ptr(), N as libc::nfds_t, &timeout, std::ptr::null()) };
    asked.map(|entry| entry.revents != 0)
}
