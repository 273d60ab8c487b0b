//! The programs on the interfaces: attached by pinned links, swapped by them, detached for good.

use super::bpf;
use super::error::{Error, Result};
use super::object::Loaded;
use super::pins::{self, LinkPin, Mode, Pins};
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

/// The programs that stand at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// A compute host's port to the fabric. For tc.
    Host,
    /// The host's side of a virtual machine's interface. For tc.
    Vm,
    /// The kernel's VXLAN device of a compute host. For tc.
    Overlay,
    /// Where answers to virtual machines come by. For tc.
    Deliver,
    /// Lets everything through: for the far end of a veth that is sent to.
    Pass,
}

impl Entry {
    /// Its name in the object.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::Site => "site",
            Self::Both => "both",
            Self::Compartment => "compartment",
            Self::Reentry => "reentry",
            Self::Mux => "mux",
            Self::Host => "host",
            Self::Vm => "vm",
            Self::Overlay => "overlay",
            Self::Deliver => "deliver",
            Self::Pass => "pass",
        }
    }
}

/// A program that an interface should have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The interface's name, for messages.
    pub name: String,
    /// Its index in the network namespace of the calling thread.
    pub ifindex: u32,
    /// The program.
    pub entry: Entry,
    /// Where it runs.
    pub mode: Mode,
}

/// What [`reconcile`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Interfaces that had no program of ours.
    pub attached: usize,
    /// Interfaces whose program was swapped.
    pub swapped: usize,
    /// Interfaces that lost it, those that are gone included.
    pub detached: usize,
}

/// Makes the interfaces run exactly the wanted programs of this load. An interface that has a program of ours gets the new one
/// in its place: no packet goes without.
pub fn reconcile(pins: &Pins, loaded: &Loaded, wanted: &[Wanted]) -> Result<Change> {
    let mut change = Change::default();
    let keep: HashSet<LinkPin> = wanted.iter().map(|want| LinkPin { ifindex: want.ifindex, mode: want.mode }).collect();
    for pin in pins.links()? {
        if !keep.contains(&pin) {
            pins.detach(pin)?;
            change.detached += 1;
        }
    }
    for want in wanted {
        attach(pins, loaded, want, &mut change)?;
    }
    Ok(change)
}

/// Whether an interface runs a program of ours.
pub fn runs(pins: &Pins, ifindex: u32, mode: Mode) -> Result<bool> {
    let link = pins::link_at(&pins.link(LinkPin { ifindex, mode }))?;
    Ok(link.is_some_and(|(_, link)| link.ifindex == ifindex))
}

fn attach(pins: &Pins, loaded: &Loaded, want: &Wanted, change: &mut Change) -> Result<()> {
    let program = loaded.program(want.entry.program())?;
    let path = pins.link(LinkPin { ifindex: want.ifindex, mode: want.mode });
    let failed = |source: io::Error| attach_error(&want.name, source);
    if let Some((fd, link)) = pins::link_at(&path)? {
        if link.ifindex == want.ifindex {
            if link.program != loaded.program_id(want.entry.program())? {
                bpf::link_update(fd.as_fd(), program).map_err(failed)?;
                change.swapped += 1;
            }
            return Ok(());
        }
        // The interface that the link was made for is gone, and its index was given to another.
        pins::remove_pin(&path)?;
        change.detached += 1;
    }
    let link = match want.mode {
        Mode::Tc => bpf::link_tc(program, want.ifindex),
        Mode::Native | Mode::Generic => bpf::link_xdp(program, want.ifindex, want.mode.flags()),
    };
    let link = link.map_err(failed)?;
    bpf::pin(link.as_fd(), &path).map_err(Error::io(path))?;
    change.attached += 1;
    Ok(())
}

fn attach_error(port: &str, source: io::Error) -> Error {
    let port = port.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => Error::Busy { port },
        Some(libc::EOPNOTSUPP | 524) => Error::NoNative { port },
        Some(libc::ERANGE) => Error::MtuTooLarge { port },
        Some(libc::ENODEV) => Error::NoInterface { port },
        _ => Error::Attach { port, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_told_with_a_remedy() {
        for (code, remedy) in [
            (libc::EBUSY, "xdp off"),
            (libc::EOPNOTSUPP, "mode = \"generic\""),
            (libc::ERANGE, "mtu"),
            (libc::ENODEV, "no such interface"),
            (libc::EPERM, "cannot be attached"),
        ] {
            let error = attach_error("eth0", io::Error::from_raw_os_error(code)).to_string();
            assert!(error.starts_with("eth0: ") && error.contains(remedy), "{error}");
        }
    }
}
