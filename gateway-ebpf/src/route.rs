//! Route lookup: the longest prefix of a tenant's that covers an address. The one place that knows how prefixes are stored.

use crate::maps::{ROUTES4, ROUTES6};
use aya_ebpf::btf_maps::lpm_trie::Key;
use gateway_common::tables::Route;
use gateway_common::{Address, TenantId};

/// Bits of the longest prefix.
#[inline(always)]
pub fn longest(address: &Address) -> u32 {
    if address.is_v4() { 32 } else { 128 }
}

/// The longest prefix of at most `max_len` bits that covers `address` in the tenant's table.
#[inline(always)]
pub fn lookup(tenant: TenantId, address: &Address, max_len: u32) -> Option<Route> {
    if address.is_v4() {
        let routes = ROUTES4.get(tenant.0)?;
        routes.get(&Key::new(max_len, address.0[3].to_ne_bytes())).copied()
    } else {
        let routes = ROUTES6.get(tenant.0)?;
        // SAFETY: four words and sixteen bytes are the same plain data.
        let bytes: [u8; 16] = unsafe { core::mem::transmute(address.0) };
        routes.get(&Key::new(max_len, bytes)).copied()
    }
}
