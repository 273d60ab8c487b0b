//! A device's offloads and its driver, by the `SIOCETHTOOL` ioctls.

use super::virtio::Queues;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_SS_FEATURES: u32 = 4;
const NAME: usize = 32;

/// What the kernel calls VLAN tag stripping on receipt.
pub const RX_VLAN_STRIP: &str = "rx-vlan-hw-parse";
/// What the kernel calls the filter of VLANs that were not asked for.
pub const RX_VLAN_FILTER: &str = "rx-vlan-filter";
/// Large receive offload.
pub const LRO: &str = "rx-lro";
/// Large receive offload done by the hardware's GRO.
pub const GRO_HARDWARE: &str = "rx-gro-hw";
/// Generic receive offload; for a veth also the switch for NAPI.
pub const GRO: &str = "rx-gro";

/// Checksums that the kernel leaves to the hardware.
pub const CHECKSUMS: [&str; 3] = ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"];

/// On or off, and whether that can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// It is in effect.
    pub active: bool,
    /// It was asked for.
    pub requested: bool,
    /// The driver lets it be switched.
    pub changeable: bool,
}

/// Talks to the devices of the network namespace it was made in.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
    /// The kernel's names of features, by bit. The same for every device.
    names: Vec<String>,
}

impl Ethtool {
    /// In the calling thread's namespace; `device` is any device there (the names of features are asked of it).
    pub fn new(device: &str) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let mut ethtool = Self { socket, names: Vec::new() };
        // ethtool_sset_info: cmd, reserved, sset_mask (u64), data[]
        let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
        ethtool.call(device, &mut info)?;
        let count = info[4] as usize;
        // ethtool_gstrings: cmd, string_set, len, data[]
        let mut strings = vec![0u32; 3 + count * NAME / 4];
        strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
        ethtool.call(device, &mut strings)?;
        let bytes: &[u8] = bytemuck::cast_slice(&strings[3..]);
        ethtool.names = bytes.chunks(NAME).map(text).collect();
        Ok(ethtool)
    }

    /// The driver's name.
    pub fn driver(&self, device: &str) -> io::Result<String> {
        // ethtool_drvinfo: cmd, driver[32], version[32], fw_version[32], bus_info[32], erom_version[32], reserved2[12], 5 words
        let mut info = [0u32; (4 + 5 * 32 + 12 + 20) / 4];
        info[0] = ETHTOOL_GDRVINFO;
        self.call(device, &mut info)?;
        Ok(text(&bytemuck::cast_slice::<u32, u8>(&info)[4..36]))
    }

    /// Its queue pairs.
    pub fn queues(&self, device: &str) -> io::Result<Queues> {
        // ethtool_channels: cmd, max_rx, max_tx, max_other, max_combined, and the same four as they are
        let mut channels = [0u32; 9];
        channels[0] = ETHTOOL_GCHANNELS;
        self.call(device, &mut channels)?;
        Ok(Queues { used: channels[8], all: channels[4] })
    }

    /// All features by their names.
    pub fn features(&self, device: &str) -> io::Result<BTreeMap<&str, Feature>> {
        // ethtool_gfeatures: cmd, size, {available, requested, active, never_changed}[]
        let blocks = self.names.len().div_ceil(32);
        let mut words = vec![0u32; 2 + 4 * blocks];
        words[0] = ETHTOOL_GFEATURES;
        words[1] = blocks as u32;
        self.call(device, &mut words)?;
        Ok(self
            .names
            .iter()
            .enumerate()
            .map(|(bit, name)| {
                let block = &words[2 + 4 * (bit / 32)..][..4];
                let has = |word: u32| word & (1 << (bit % 32)) != 0;
                let feature = Feature {
                    active: has(block[2]),
                    requested: has(block[1]),
                    changeable: has(block[0]) && !has(block[3]),
                };
                (name.as_str(), feature)
            })
            .collect())
    }

    /// Switches every feature for which `wanted` says so.
    pub fn switch(&self, device: &str, wanted: impl Fn(&str) -> Option<bool>) -> io::Result<()> {
        // ethtool_sfeatures: cmd, size, {valid, requested}[]
        let blocks = self.names.len().div_ceil(32);
        let mut words = vec![0u32; 2 + 2 * blocks];
        words[0] = ETHTOOL_SFEATURES;
        words[1] = blocks as u32;
        for (bit, name) in self.names.iter().enumerate() {
            if let Some(on) = wanted(name).filter(|_| !name.is_empty()) {
                let mask = 1 << (bit % 32);
                words[2 + 2 * (bit / 32)] |= mask;
                words[3 + 2 * (bit / 32)] |= if on { mask } else { 0 };
            }
        }
        self.call(device, &mut words)
    }

    fn call(&self, device: &str, data: &mut [u32]) -> io::Result<()> {
        let mut request = request(device)?;
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: `request` and `data` outlive the call; `data` has the size that its own header words announce.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// What a veth end inside a compartment has switched, so that what leaves it is as it will be on the wire
/// (checksums computed, one packet a frame) and what enters it is taken by NAPI.
pub fn compartment_features(name: &str) -> Option<bool> {
    if name == GRO {
        Some(true)
    } else if name.starts_with("tx-checksum-") || name.contains("-segmentation") || name.starts_with("tx-gso-") {
        Some(false)
    } else {
        None
    }
}

/// Whether a multicast MAC address is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// From now on, until it is dropped: no process holds it.
    Add,
    /// No more.
    Drop,
}

/// Lets a multicast MAC address in, or no more. Idempotent.
pub fn multicast(device: &str, mac: [u8; 6], membership: Membership) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = request(device)?;
    let mut address = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    let (command, harmless) = match membership {
        Membership::Add => (libc::SIOCADDMULTI, libc::EEXIST),
        Membership::Drop => (libc::SIOCDELMULTI, libc::ENOENT),
    };
    // SAFETY: `request` outlives the call and is a whole ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), command as _, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(harmless) {
            return Err(error);
        }
    }
    Ok(())
}

fn request(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data; all zero is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the interface name {device} is too long")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}
