//! What user space and the programs of numbered traffic share. Plain data, no padding.

/// Bytes of every frame that is sent.
pub const FRAME: usize = 144;
/// Bytes of a frame's mark, at its end: [`MARK`] with the flow, then the number.
pub const MARK_LEN: usize = 16;
/// Words of a frame that stand before its mark.
pub const HEAD_WORDS: usize = (FRAME - MARK_LEN) / 8;
/// The upper half of a mark's first word; the lower is the flow.
pub const MARK: u32 = 0x6e75_6d62;
/// Flows that there is room for.
pub const FLOWS_MAX: u32 = 8192;

/// A flow's frames.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// All but the mark.
    pub words: [u64; HEAD_WORDS],
    /// The slot of the device that the frames leave by.
    pub slot: u32,
    /// The word that says whose they are when they arrive, as on the wire: the end of an address, VXLAN's identifier, GRE's key, the tag.
    pub whose: u32,
}

/// What is sent next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// The number of the frames of this round.
    pub number: u64,
    /// The flow whose turn it is.
    pub flow: u32,
    /// Flows, one frame each a round.
    pub flows: u32,
}

/// What has arrived of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrivals {
    /// The number after the highest that has arrived.
    pub next: u64,
    /// Which of the 64 numbers before that one have arrived, the last one in the lowest bit.
    pub recent: u64,
    /// Numbers that have arrived, each counted once.
    pub arrived: u64,
    /// Numbers that have not, though a higher one has.
    pub lost: u64,
    /// Frames whose number had arrived before.
    pub duplicates: u64,
    /// Numbers that arrived after a higher one.
    pub late: u64,
    /// Frames that arrived as another tenant's.
    pub foreign: u64,
    /// The most numbers that were lost in a row since the trial of [`Self::trial`] began.
    pub longest_loss: u64,
    /// The trial that this is about.
    pub trial: u64,
}
