//! What a program is given of its packet: XDP a frame ([`xdp_md`]), tc a socket buffer ([`__sk_buff`]). What both can do, each in its own way;
//! all else about packets is written once, for either.
//!
//! A function that the verifier proves on its own is proved for one kind of context, and so stands here once for each.

use crate::packet::Packet;
use crate::{gre_checksum, inner, segment, trace};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_load_bytes};

/// A kind of context. Pointers are the kernel's own, valid for the whole run.
pub trait Context: Sized {
    /// Where the packet starts.
    fn start(ctx: *mut Self) -> usize;
    /// Where what may be read directly ends.
    fn end(ctx: *mut Self) -> usize;
    /// Bytes of the whole packet.
    fn len(ctx: *mut Self) -> u32;
    /// The interface that it came in by.
    fn ifindex(ctx: *mut Self) -> u32;
    /// Copies `len` bytes from `offset` to `buffer`, which has room for them; `false` if the packet is too short.
    fn copy_out(ctx: *mut Self, offset: u32, buffer: *mut u8, len: u32) -> bool;
    /// Whether the GRE checksum over the bytes from `at` to `end` is right.
    fn has_right_gre_checksum(ctx: *mut Self, at: u32, end: u32) -> bool;
    /// [`inner::check_options`], proved on its own.
    fn check_options(ctx: *mut Self, offset: u32, header: u32) -> u32;
    /// [`segment::walk_extensions`], proved on its own.
    fn walk_extensions(ctx: *mut Self, offset: u32, next: u32) -> u64;
    /// [`trace::record`], proved on its own.
    fn record_trace(ctx: *mut Self, action: u32, reason: u32, flags: u32) -> u32;
    /// [`trace::record_dropped`], proved on its own.
    fn record_drop(ctx: *mut Self, reason: u32) -> u32;
}

/// Defines the functions that are proved for one kind of context.
macro_rules! proved {
    ($context:ty, $check_options:ident, $walk_extensions:ident, $record_trace:ident, $record_drop:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $check_options(ctx: *mut $context, offset: u32, header: u32) -> u32 {
            inner::check_options(&Packet::of(ctx), offset, header)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $walk_extensions(ctx: *mut $context, offset: u32, next: u32) -> u64 {
            segment::walk_extensions(&Packet::of(ctx), offset, next)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $record_trace(ctx: *mut $context, action: u32, reason: u32, flags: u32) -> u32 {
            trace::record(&Packet::of(ctx), action, reason, flags)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $record_drop(ctx: *mut $context, reason: u32) -> u32 {
            trace::record_dropped(&Packet::of(ctx), reason)
        }
    };
}

/// The part of [`Context`] that calls them.
macro_rules! calls {
    ($check_options:ident, $walk_extensions:ident, $record_trace:ident, $record_drop:ident) => {
        #[inline(always)]
        fn check_options(ctx: *mut Self, offset: u32, header: u32) -> u32 {
            $check_options(ctx, offset, header)
        }

        #[inline(always)]
        fn walk_extensions(ctx: *mut Self, offset: u32, next: u32) -> u64 {
            $walk_extensions(ctx, offset, next)
        }

        #[inline(always)]
        fn record_trace(ctx: *mut Self, action: u32, reason: u32, flags: u32) -> u32 {
            $record_trace(ctx, action, reason, flags)
        }

        #[inline(always)]
        fn record_drop(ctx: *mut Self, reason: u32) -> u32 {
            $record_drop(ctx, reason)
        }
    };
}

proved!(xdp_md, check_options, walk_extensions, record_trace, record_drop);
proved!(__sk_buff, check_options_skb, walk_extensions_skb, record_trace_skb, record_drop_skb);

impl Context for xdp_md {
    #[inline(always)]
    fn start(ctx: *mut Self) -> usize {
        // SAFETY: the kernel hands every program a valid context.
        unsafe { (*ctx).data as usize }
    }

    #[inline(always)]
    fn end(ctx: *mut Self) -> usize {
        // SAFETY: as above.
        unsafe { (*ctx).data_end as usize }
    }

    /// Below 2^16, which the verifier is told by the mask.
    #[inline(always)]
    fn len(ctx: *mut Self) -> u32 {
        ((Self::end(ctx) - Self::start(ctx)) & 0xffff) as u32
    }

    #[inline(always)]
    fn ifindex(ctx: *mut Self) -> u32 {
        // SAFETY: as above.
        unsafe { (*ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn copy_out(ctx: *mut Self, offset: u32, buffer: *mut u8, len: u32) -> bool {
        // SAFETY: the verifier checks that the buffer has `len` bytes; the kernel checks the packet's end.
        unsafe { bpf_xdp_load_bytes(ctx, offset, buffer.cast(), len) == 0 }
    }

    #[inline(always)]
    fn has_right_gre_checksum(ctx: *mut Self, at: u32, end: u32) -> bool {
        gre_checksum::is_right(&Packet::of(ctx), at, end)
    }

    calls!(check_options, walk_extensions, record_trace, record_drop);
}

/// Reads a field of a socket buffer's context. The verifier wants the field's offset in the very instruction, while the compiler would keep
/// addresses of fields in registers.
macro_rules! field {
    ($ctx:expr, $field:ident) => {{
        let value: usize;
        // SAFETY: the kernel hands every program a valid context; the field lies within.
        unsafe {
            core::arch::asm!(
                "{value} = *(u32 *)({ctx} + {offset})",
                value = out(reg) value,
                ctx = in(reg) $ctx,
                offset = const core::mem::offset_of!(aya_ebpf::bindings::__sk_buff, $field),
                options(nostack),
            )
        };
        value
    }};
}
pub(crate) use field;

/// Writes a field of a socket buffer's context, likewise.
macro_rules! set_field {
    ($ctx:expr, $field:ident, $value:expr) => {{
        let value: u32 = $value;
        // SAFETY: the kernel hands every program a valid context; the field lies within, and the verifier checks that it may be written.
        unsafe {
            core::arch::asm!(
                "*(u32 *)({ctx} + {offset}) = {value}",
                value = in(reg) value as u64,
                ctx = in(reg) $ctx,
                offset = const core::mem::offset_of!(aya_ebpf::bindings::__sk_buff, $field),
                options(nostack),
            )
        };
    }};
}
pub(crate) use set_field;

impl Context for __sk_buff {
    #[inline(always)]
    fn start(ctx: *mut Self) -> usize {
        field!(ctx, data)
    }

    #[inline(always)]
    fn end(ctx: *mut Self) -> usize {
        field!(ctx, data_end)
    }

    #[inline(always)]
    fn len(ctx: *mut Self) -> u32 {
        field!(ctx, len) as u32
    }

    #[inline(always)]
    fn ifindex(ctx: *mut Self) -> u32 {
        field!(ctx, ifindex) as u32
    }

    #[inline(always)]
    fn copy_out(ctx: *mut Self, offset: u32, buffer: *mut u8, len: u32) -> bool {
        // SAFETY: the verifier checks that the buffer has `len` bytes; the kernel checks the packet's end.
        unsafe { bpf_skb_load_bytes(ctx.cast(), offset, buffer.cast(), len) == 0 }
    }

    /// NVGRE has none (RFC 7637 section 3.2), and no other GRE comes by tc.
    #[inline(always)]
    fn has_right_gre_checksum(_: *mut Self, _: u32, _: u32) -> bool {
        false
    }

    calls!(check_options_skb, walk_extensions_skb, record_trace_skb, record_drop_skb);
}
