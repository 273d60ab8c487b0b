//! The one way to a packet's bytes: every access is checked against the packet's end, as the verifier demands.

use crate::context::Context;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use gateway_common::DropReason;

/// A packet under the program's hands: a frame of XDP's, unless another context is named.
///
/// Offsets count from its first byte as it stands: after [`Packet::adjust_head`] they mean other bytes.
pub struct Packet<C: Context = xdp_md> {
    ctx: *mut C,
}

impl Packet {
    /// The packet of this run.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx }
    }

    /// The context, for a tail call.
    #[inline(always)]
    pub fn context(&self) -> XdpContext {
        XdpContext::new(self.ctx)
    }

    /// Takes `delta` bytes off the front, or adds them if negative. All that was read of the packet before is stale.
    #[inline(always)]
    pub fn adjust_head(&self, delta: i32) -> Result<(), DropReason> {
        // SAFETY: the context is valid.
        match unsafe { bpf_xdp_adjust_head(self.ctx, delta) } {
            0 => Ok(()),
            _ => Err(DropReason::NoHeadroom),
        }
    }

    /// Adds `delta` bytes at the end, or takes them off if negative.
    #[inline(always)]
    pub fn adjust_tail(&self, delta: i32) -> Result<(), DropReason> {
        // SAFETY: the context is valid.
        match unsafe { bpf_xdp_adjust_tail(self.ctx, delta) } {
            0 => Ok(()),
            _ => Err(DropReason::NoHeadroom),
        }
    }
}

impl<C: Context> Packet<C> {
    /// The packet behind a raw context, in a function that the verifier proves on its own.
    #[inline(always)]
    pub fn of(ctx: *mut C) -> Self {
        Self { ctx }
    }

    /// The raw context, for such a function.
    #[inline(always)]
    pub fn raw(&self) -> *mut C {
        self.ctx
    }

    #[inline(always)]
    fn start(&self) -> usize {
        C::start(self.ctx)
    }

    #[inline(always)]
    fn end(&self) -> usize {
        C::end(self.ctx)
    }

    /// The interface index by which the packet came in.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        C::ifindex(self.ctx)
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        C::len(self.ctx)
    }

    /// Whether so many bytes from the start can be read and written directly.
    #[inline(always)]
    pub fn has(&self, len: u32) -> bool {
        self.start() + len as usize <= self.end()
    }

    /// A pointer to a `T` at `offset`, if the packet is that long.
    ///
    /// It need not be aligned: headers start at odd halves of words, and BPF's loads and stores take any address on every machine
    /// that has efficient unaligned access, which the verifier checks when it loads the program.
    #[inline(always)]
    pub fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start() + offset;
        if start + size_of::<T>() > self.end() {
            return None;
        }
        Some(start as *mut T)
    }

    /// The `LEN` bytes at `offset`, if the packet is that long: many fields under one check.
    #[inline(always)]
    pub fn bytes<const LEN: usize>(&self, offset: usize) -> Option<Bytes<LEN>> {
        self.at::<[u8; LEN]>(offset).map(|start| Bytes(start.cast()))
    }

    /// The `T` at an offset that varies from packet to packet, read at once and whole.
    #[inline(always)]
    pub fn header<T: Copy>(&self, offset: usize) -> Option<T> {
        let start = opaque(self.start() + offset);
        if start + size_of::<T>() > self.end() {
            return None;
        }
        // SAFETY: the bytes lie within the packet.
        Some(unsafe { *(start as *const T) })
    }

    /// The byte at `offset`, which must not be the packet's last: the verifier learns nothing from a check for a single byte.
    #[inline(always)]
    pub fn byte(&self, offset: usize) -> Option<u8> {
        // SAFETY: `at` has checked that the bytes lie within the packet.
        self.at::<[u8; 2]>(offset).map(|pointer| unsafe { (*pointer)[0] })
    }

    /// The `T` at `offset`: a whole word, not byte by byte.
    #[inline(always)]
    pub fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` has checked that the bytes lie within the packet.
        self.at::<T>(offset).map(|pointer| unsafe { *pointer })
    }

    /// Writes a `T` at `offset`; `None` if the packet is not that long.
    #[inline(always)]
    pub fn store<T: Copy>(&self, offset: usize, value: T) -> Option<()> {
        // SAFETY: `at` has checked that the bytes lie within the packet.
        self.at::<T>(offset).map(|pointer| unsafe { *pointer = value })
    }

    /// Copies `len` bytes from `offset` to `buffer`, which has room for them; `false` if the packet is too short.
    #[inline(always)]
    pub fn copy_out(&self, offset: u32, buffer: *mut u8, len: u32) -> bool {
        C::copy_out(self.ctx, offset, buffer, len)
    }

    /// The same for a length that the verifier does not know; `false` also for none and for more than `most`.
    ///
    /// The verifier of Linux 6.1 refuses a copy of nothing and learns nothing from a comparison with zero, while the compiler makes one
    /// out of every test for at least one byte. So what is compared is one less, and neither knows.
    #[inline(always)]
    pub fn copy_some(&self, offset: u32, buffer: *mut u8, len: u32, most: u32) -> bool {
        let rest = opaque(len.wrapping_sub(1) as usize);
        rest < most as usize && self.copy_out(offset, buffer, rest as u32 + 1)
    }
}

/// `LEN` bytes of a packet that are there, until its ends are moved.
#[derive(Clone, Copy)]
pub struct Bytes<const LEN: usize>(*mut u8);

impl<const LEN: usize> Bytes<LEN> {
    /// The `T` at `offset`, which is a constant and within: the check is the compiler's.
    #[inline(always)]
    pub fn get<T: Copy>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= LEN);
        // SAFETY: the bytes are there; BPF takes any alignment.
        unsafe { *self.0.add(offset).cast::<T>() }
    }

    /// Writes a `T` at `offset`, likewise.
    #[inline(always)]
    pub fn put<T: Copy>(&self, offset: usize, value: T) {
        assert!(offset + size_of::<T>() <= LEN);
        // SAFETY: as above.
        unsafe { *self.0.add(offset).cast::<T>() = value };
    }
}

/// The same number, of which the compiler and the verifier forget what they knew.
///
/// The compiler may otherwise compute a pointer into the packet a second time, and the verifier knows only of the first that it was
/// checked; and the verifier proves what follows anew for each constant that a number may be.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    let copy: usize;
    // SAFETY: one move between registers.
    unsafe { core::arch::asm!("{0} = {1}", out(reg) copy, in(reg) number, options(pure, nomem, nostack)) };
    copy
}
