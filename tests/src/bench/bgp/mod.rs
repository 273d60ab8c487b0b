//! BGP beside FRR, BIRD and GoBGP: what a full table costs, how soon many tenants converge, how soon a withdrawal is felt.
//!
//! Every receiver gets the same bytes from the same sender. What is compared of a table is the processor's time, which holds on a busy
//! machine, too; many tenants converge in time, in turn with each other.
//!
//! | to change | go to |
//! |---|---|
//! | what is announced | [`load`] |
//! | the sessions' other ends | [`sender`] |
//! | the daemons, how they are configured and looked at | [`receivers`] |
//! | the gateway | [`ours`]; its BGP alone: [`own`] |
//! | one peer with a full table | [`table`] |
//! | many tenants | [`tenants`] |

mod load;
mod ours;
pub mod own;
mod receivers;
mod sender;
mod table;
mod tenants;

use super::Options;
use super::report::Row;
use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Sites of a tenant.
const SITES: usize = 2;

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Prefixes of the full table.
    prefixes: usize,
    /// How many of them share attributes, by turns.
    shared: &'static [usize],
    tenants: usize,
    /// Prefixes of each site of a tenant.
    each: u32,
    /// Times that anything is done.
    runs: usize,
    /// Withdrawals that are timed.
    withdrawals: usize,
}

const WHOLE: Size =
    Size { prefixes: 1_000_000, shared: &[10, 100], tenants: 1000, each: 100, runs: 3, withdrawals: 200 };
const QUICK: Size = Size { prefixes: 100_000, shared: &[10], tenants: 100, each: 100, runs: 3, withdrawals: 50 };

/// All rows.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let size = if options.quick { QUICK } else { WHOLE };
    let mut rows = Vec::new();
    let mut show = |row: Row| {
        println!("  {}", row.line());
        rows.push(row);
    };
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|words| name.contains(words));
    if wanted("table") {
        for shared in size.shared {
            println!("one peer, {} prefixes, {shared} with the same attributes", size.prefixes);
            table::rows(&size, *shared, &mut show)?;
        }
    }
    if wanted("tenants") {
        println!("{} tenants, {SITES} peers with {} prefixes each", size.tenants, size.each);
        tenants::rows(&size, &mut show)?;
    }
    println!(
        "\nWhat the others cannot: neighbours of FRR's views and of GoBGP's VRFs must have addresses that differ; ours all have the same two,\n\
         each tenant in a network of its own. Nobody can connect to FRR's views, which is why they connect here. GoBGP offers all that it\n\
         learns to the neighbours of all VRFs, so what twice the tenants cost is several times as much, and 100 take it minutes: it is beside\n\
         ours with {} of them. BIRD has no tenants in one process whose neighbours could have the same addresses; it is beside the full\n\
         table only. None of them has a data plane here: theirs is the RIB alone.",
        tenants::VRFS
    );
    Ok(rows)
}
