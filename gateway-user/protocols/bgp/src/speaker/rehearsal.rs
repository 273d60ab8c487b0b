//! What would become of a route, whether or not the neighbour is there.

use super::{NeighborName, Peer, Speaker};
use crate::attributes::Attributes;
use crate::rib::{NeighbourId, Rehearsal, SessionFacts};
use ipnet::IpNet;
use std::net::IpAddr;

impl Speaker {
    /// How a route would be taken that a neighbour announces; none where there is no such neighbour.
    pub fn rehearse_import(&self, from: &NeighborName, prefix: IpNet, attributes: &Attributes) -> Option<Rehearsal> {
        self.rib.rehearse_import(*self.names.get(from)?, prefix.trunc(), attributes)
    }

    /// How a route of `source` would be sent to a neighbour; none where there is no such neighbour.
    pub fn rehearse_export(
        &self,
        to: &NeighborName,
        prefix: IpNet,
        attributes: &Attributes,
        source: NeighbourId,
    ) -> Option<Rehearsal> {
        let id = *self.names.get(to)?;
        let facts = self.likely_facts(self.peers.get(&id)?);
        self.rib.rehearse_export(id, &facts, prefix.trunc(), attributes, source)
    }

    /// What a session with the neighbour will probably be like.
    fn likely_facts(&self, peer: &Peer) -> SessionFacts {
        let routes = &peer.config.routes;
        let local = peer.config.session.local_address;
        let (v4, v6) = match local {
            Some(IpAddr::V4(address)) => (Some(address), None),
            Some(IpAddr::V6(address)) => (None, Some(address)),
            None => (None, None),
        };
        SessionFacts {
            router_id: self.config.router_id,
            families: peer.config.session.families.keys().copied().collect(),
            add_path_send: Vec::new(),
            extended_next_hop: false,
            four_octet_asn: true,
            long_lived: false,
            local_v4: v4.or(routes.next_hop_v4),
            local_v6: v6.or(routes.next_hop_v6),
            local_link: routes.link_local,
        }
    }
}
