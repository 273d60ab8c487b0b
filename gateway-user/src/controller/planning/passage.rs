//! Connections that move from one gateway's seat to another's: who is told what meanwhile, so that none of their packets is lost.
//!
//! | stage | most are told | the other end of the move is told |
//! |---|---|---|
//! | known | as before, and that the gateway where it goes is one of the tenant's | the same |
//! | arriving | the same | that it carries the connection, which it does not announce |
//! | leaving | that it is where it goes, which does not announce it yet | that it carries it still, and says nothing |
//! | announced | that it is where it goes | the same |
//!
//! On one gateway a tunnel or a VLAN leads to one seat only. So those who replicate both seats are told what most are, and each end of the
//! move has the connection in the seat that it holds.

use super::{Fabric, Seating, Side};
use crate::controller::model::Id;
use crate::controller::model::records::{Placement, Placements, Stage, Transfer};
use crate::plan::Passage;
use std::collections::BTreeSet;

/// What a connection is to whom is told of it.
pub(super) fn of(placement: Option<&Placement>, side: Side) -> Passage {
    let stage = placement.and_then(|placement| placement.transfer.as_ref()).map(|transfer| transfer.stage);
    match (stage, side) {
        (None | Some(Stage::Known), _) | (Some(Stage::Arriving | Stage::Announced), Side::Most) => Passage::None,
        (Some(Stage::Leaving), Side::Most) | (Some(Stage::Arriving), Side::Other) => Passage::Arriving,
        (Some(Stage::Leaving | Stage::Announced), Side::Other) => Passage::Leaving,
    }
}

/// Where a connection that moves is for the other side. That stays one of the tenant's gateways for everybody: what still comes from there, or
/// comes already, is believed; and the tenant's BGP router may be there.
pub(super) fn elsewhere(placement: &Placement) -> Option<Placement> {
    let transfer = placement.transfer.as_ref()?;
    let swapped = Transfer { stage: transfer.stage, other: placement.gateway.clone() };
    Some(Placement { gateway: transfer.other.clone(), transfer: Some(swapped), ..placement.clone() })
}

/// Those at the other end of a tenant's moves, and where its connections are for them.
pub(super) struct Others {
    pub placements: Placements,
    pub gateways: BTreeSet<Id>,
}

/// Those who are told something else than most; none if nothing moves yet, or both seats are held by one gateway.
pub(super) fn others(placements: &Placements, fabric: &impl Fabric) -> Option<Others> {
    let holder = |gateway: &Id| match fabric.seating(gateway) {
        Seating::Seat { holder, .. } => holder,
        Seating::Unseated | Seating::Vacant(_) => None,
    };
    let mut others = Others { placements: placements.clone(), gateways: BTreeSet::new() };
    for placement in others.placements.connections.values_mut() {
        let Some(elsewhere) = elsewhere(placement) else { continue };
        if elsewhere.transfer.as_ref().is_some_and(|transfer| transfer.stage == Stage::Known) {
            continue;
        }
        let Some(gateway) = holder(&elsewhere.gateway) else { continue };
        if holder(&placement.gateway).as_ref() != Some(&gateway) {
            *placement = elsewhere;
            others.gateways.insert(gateway);
        }
    }
    (!others.gateways.is_empty()).then_some(others)
}
