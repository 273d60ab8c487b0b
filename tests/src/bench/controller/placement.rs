//! What one more connection costs among all the others, as far as finding its gateway goes.

use super::super::report::{Goal, Row, Samples};
use super::estate::GATEWAYS;
use anyhow::{Result, ensure};
use gateway_user::controller::model::Id;
use gateway_user::controller::model::fabric::{CapacityRule, PoolType, Schedulable};
use gateway_user::controller::placement::{
    Bandwidth, Fleet, GatewaySpec, IpsecPath, Link, PoolSpec, Racks, Settings, VipRange, Wanted,
};
use std::net::Ipv4Addr;
use std::time::Instant;

/// Connections of one tenant.
const EACH: usize = 2;
/// How many a sample times.
const CHUNK: usize = 10_000;
/// What placing one connection may take, in microseconds.
const GOAL: f64 = 10.0;

/// What a connection costs that is placed into a fleet with all the others in it.
pub fn row(pools: usize, tenants: usize) -> Result<Row> {
    let mut fleet = fleet(pools)?;
    let connections = EACH * tenants;
    let wanted: Vec<(Id, [Id; 1], Wanted)> = (0..connections).map(|number| connection(number, pools)).collect();
    for (tenant, pools, wanted) in &wanted {
        fleet.place(tenant, pools, wanted)?;
    }
    let mut samples = Vec::new();
    for chunk in wanted.chunks(CHUNK) {
        let mut spent = 0.0;
        for (tenant, pools, wanted) in chunk {
            fleet.release(tenant, &wanted.connection);
            let start = Instant::now();
            let placed = fleet.place(tenant, pools, wanted);
            spent += start.elapsed().as_secs_f64();
            ensure!(placed.is_ok(), "{placed:?}");
        }
        samples.push(spent * 1e6 / chunk.len() as f64);
    }
    let name = format!("placement of one of {connections} connections");
    Ok(Row { name, unit: "µs", ours: Samples::new(samples), peer: None, goal: Goal::AtMost(GOAL) })
}

fn fleet(pools: usize) -> Result<Fleet> {
    let mut fleet = Fleet::new(Settings::default());
    for pool in 0..pools {
        let vip = |number: usize| Ipv4Addr::from_bits(0x0a00_0000 + (pool << 12 | number) as u32).into();
        fleet.set_pool(PoolSpec {
            id: pool_id(pool),
            kind: PoolType::All,
            capacity_kbps: 100_000_000,
            redundant: (GATEWAYS / pools / 10) as u32,
            rule: CapacityRule::Maxima,
            vips: vec![VipRange { first: vip(1), last: vip(0xffe) }],
        })?;
    }
    fleet.load_gateways((0..GATEWAYS).map(|gateway| GatewaySpec {
        id: Id::from(format!("gateway-{gateway}")),
        pool: pool_id(gateway % pools),
        host: Some(Id::from(format!("host-{}", gateway / 2))),
        rack: Some(rack(gateway / 40)),
        scheduling: Schedulable::Enabled,
        ipsec: IpsecPath::Fast,
    }))?;
    Ok(fleet)
}

/// Half of them are tunnels, half VLANs, of which every second one is in a few racks only.
fn connection(number: usize, pools: usize) -> (Id, [Id; 1], Wanted) {
    let tenant = number / EACH;
    let link = match number % 4 {
        0 | 2 => {
            // As many sites share a key's value as there are VIPs that tell them apart.
            let remote = Ipv4Addr::from_bits(0xc000_0000 + (tenant / 4) as u32).into();
            Link::Gre { remote, key: Some(1) }
        }
        1 => Link::L3 { racks: Racks::All },
        // The pools have gateways in every fifth rack at least.
        _ => Link::L3 { racks: Racks::new((0..15).map(|offset| rack((tenant + offset) % 25))) },
    };
    let wanted = Wanted {
        connection: Id::from(format!("connection-{number}")),
        bandwidth: Bandwidth { inbound: 5_000 + (number * 7919 % 10_000) as u64, outbound: 5_000 },
        link,
    };
    (Id::from(format!("tenant-{tenant}")), [pool_id(tenant % pools)], wanted)
}

fn pool_id(pool: usize) -> Id {
    Id::from(format!("pool-{pool}"))
}

fn rack(number: usize) -> Id {
    Id::from(format!("rack-{number}"))
}
