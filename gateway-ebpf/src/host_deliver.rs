//! The last step of an answer to a virtual machine (tc): by the note that XDP has left in front of the frame.

use crate::context::field;
use crate::finish;
use crate::host_vm::{self, Buffer};
use crate::run::Run;
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::bpf_redirect;
use gateway_common::tables::Delivery;

/// Takes a frame that XDP let pass.
#[inline(always)]
pub fn frame(ctx: *mut __sk_buff) -> i32 {
    let (note, frame) = (field!(ctx, data_meta), field!(ctx, data));
    if note + size_of::<Delivery>() > frame {
        return TC_ACT_OK as i32;
    }
    // SAFETY: the bytes between are there.
    let [operation, ifindex] = unsafe { *(note as *const [u32; 2]) };
    match operation {
        // SAFETY: a helper that takes plain numbers.
        Delivery::UNICAST => (unsafe { bpf_redirect(ifindex, 0) }) as i32,
        Delivery::RESUME => {
            let packet = Buffer::of(ctx);
            let Some(run) = Run::begin(ifindex) else { return TC_ACT_SHOT as i32 };
            let outcome = host_vm::frame(&packet, run);
            finish(&packet, run, outcome)
        }
        _ => TC_ACT_OK as i32,
    }
}
