//! A VLAN interface in user space: a TAP device whose frames leave an interface with a tag, on kernels without 802.1Q.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::frame_socket::FrameSocket;
use crate::node::Node;
use crate::precedence::run_first;
use crate::tap::{Carries, Tap};
use crate::wait::readable;

/// A VLAN interface. The device disappears when this is dropped.
#[derive(Debug)]
pub struct Vlan {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Vlan {
    /// Makes a device on a machine for one VLAN of an interface. The device is down, and has no address.
    pub fn new(node: &Node, device: &str, interface: &str, id: u16) -> Result<Self> {
        let tap = Tap::new(node, device, Carries::Frames)?;
        let wire = FrameSocket::open(node, interface)?;
        let ending = Arc::<AtomicBool>::default();
        let until = Arc::clone(&ending);
        let thread = std::thread::Builder::new().name(device.to_owned()).spawn(move || {
            run_first();
            while !until.load(Ordering::Relaxed) {
                readable([tap.as_fd(), wire.as_fd()], Duration::from_millis(50));
                pump(&tap, &wire, id);
            }
        })?;
        Ok(Self { ending, thread: Some(thread) })
    }
}

fn pump(tap: &Tap, wire: &FrameSocket, id: u16) {
    let mut buffer = vec![0u8; 65_600];
    for _ in 0..64 {
        let Ok(Some(frame)) = tap.receive(&mut buffer) else { break };
        if let Some((addresses, rest)) = frame.split_at_checked(12) {
            // What the wire does not take is lost, as on a wire.
            let _ = wire.send(&[addresses, &[0x81, 0x00], &id.to_be_bytes(), rest].concat());
        }
    }
    for _ in 0..64 {
        let Ok(Some(frame)) = wire.receive() else { break };
        let tagged = frame.get(12..14) == Some(&[0x81, 0x00]);
        let of = frame.get(14..16).map(|tag| u16::from_be_bytes([tag[0], tag[1]]) & 0xfff);
        if tagged && of == Some(id) {
            tap.send(&[&frame[..12], &frame[16..]].concat());
        }
    }
}

impl Drop for Vlan {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}
