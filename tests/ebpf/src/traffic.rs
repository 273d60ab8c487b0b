//! What user space and the programs share. Plain data, no padding.

/// Words of a template: room for the longest headers (VXLAN over IPv4, then IPv4 and UDP) and a little payload.
pub const TEMPLATE_WORDS: usize = 12;
/// Flows that there is room for.
pub const FLOWS_MAX: u32 = 128 * 1024;

/// What the generator sends, and where it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Job {
    /// The front of every frame; what differs from flow to flow is zero, and the checksum leaves it out.
    pub template: [u64; TEMPLATE_WORDS],
    /// The flows, one frame each in turn.
    pub flows: u32,
    /// The next one.
    pub next: u32,
    /// The slot of the device that the frames leave by.
    pub slot: u32,
    /// Zero.
    pub reserved: u32,
}

/// What differs from flow to flow, as on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// The word that says whose the frame is: a tunnel's key, a VLAN tag, UDP's ports.
    pub key: u32,
    /// The checksum of the IPv4 header that has the addresses.
    pub check: u32,
    /// Its addresses: source, destination.
    pub addresses: [u32; 2],
}

/// What the sink saw.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Frames with the expected length.
    pub right: u64,
    /// Other frames.
    pub wrong: u64,
    /// The length that is expected.
    pub expected: u64,
}
