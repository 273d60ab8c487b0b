//! What one router's BMP messages say.

use bgp::bmp::{self, Ended, Source, Stage, Statistic, Up};
use bgp::number::Family;
use bgp::rib::FamilyCounters;
use bgp::session::Reason;
use bgp::speaker::{Config, NeighborName, Piece, Speaker};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Places of a table that are told at once.
const PIECE: u32 = 512;

/// The two ends of a connection.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// A session that is up.
#[derive(Debug)]
struct Session {
    source: Source,
    ends: Option<Ends>,
    sent: Bytes,
    received: Bytes,
}

/// What is known of a router's sessions, and what stations are to be told.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    up: HashMap<NeighborName, Session>,
    told: Vec<u8>,
}

fn clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What tells a tenant's routers and peers from other tenants', on every gateway the same: a route distinguisher of type 0 whose six octets are a
/// hash of the name (FNV-1a).
pub(super) fn distinguisher(tenant: &str) -> u64 {
    let hash = tenant
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 48) & 0xffff_ffff_ffff
}

/// The router's own table.
pub(super) fn chosen(tenant: &str, config: &Config) -> Source {
    Source { distinguisher: distinguisher(tenant), stage: Stage::Chosen, asn: config.asn, router_id: config.router_id }
}

/// The first words to a station.
pub(super) fn first_words(gateway: &str) -> Bytes {
    let mut bytes = Vec::new();
    bmp::initiation(gateway, concat!("gatewayd ", env!("CARGO_PKG_VERSION")), &mut bytes);
    bytes.into()
}

/// The last words about a router.
pub(super) fn last_words(source: &Source) -> Bytes {
    let mut bytes = Vec::new();
    bmp::peer_down(clock(), source, &Ended::NotMonitored, &mut bytes);
    bytes.into()
}

impl Monitor {
    /// A session is up.
    pub(super) fn up(
        &mut self,
        tenant: &str,
        speaker: &Speaker,
        name: &NeighborName,
        ends: impl FnOnce(bgp::session::ConnectionId) -> Option<Ends>,
    ) {
        let (Some((connection, sent, received)), Some(view)) = (speaker.opens(name), speaker.neighbor(name)) else {
            return;
        };
        let Some(agreed) = view.negotiated else { return };
        let source = Source {
            distinguisher: distinguisher(tenant),
            stage: Stage::AfterPolicy(view.config.session.address),
            asn: agreed.asn,
            router_id: agreed.router_id,
        };
        let session = Session { source, ends: ends(connection), sent, received };
        session.tell_up(tenant, &mut self.told);
        self.up.insert(name.clone(), session);
    }

    /// A session is over.
    pub(super) fn down(&mut self, name: &NeighborName, reason: &Reason) {
        if let Some(session) = self.up.remove(name) {
            bmp::peer_down(clock(), &session.source, &Ended::Session(reason), &mut self.told);
        }
    }

    /// Routes have changed.
    pub(super) fn routes(&mut self, own: &Source, neighbor: Option<&NeighborName>, update: &[u8]) {
        let source = match neighbor {
            None => own,
            Some(name) => match self.up.get(name) {
                Some(session) => &session.source,
                None => return,
            },
        };
        bmp::route_monitoring(clock(), source, update, &mut self.told);
    }

    /// What is to be told since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.told).into()
    }

    /// A piece of the tables, for who begins to look at them: first whose they are, at last that these were all.
    pub(super) fn piece(&self, tenant: &str, speaker: &Speaker, from: u32) -> (Bytes, Option<u32>) {
        let own = chosen(tenant, speaker.config());
        let mut bytes = Vec::new();
        if from == 0 {
            let open = bmp::made_up_open(own.asn, own.router_id);
            let up = Up { local: None, remote_port: 0, sent: &open, received: &open, table: tenant };
            bmp::peer_up(clock(), &own, &up, &mut bytes);
            self.up.values().for_each(|session| session.tell_up(tenant, &mut bytes));
        }
        let Piece { updates, next } = speaker.piece(from, PIECE);
        for (neighbor, update) in updates {
            let source = match &neighbor {
                None => Some(&own),
                Some(name) => self.up.get(name).map(|session| &session.source),
            };
            if let Some(source) = source {
                bmp::route_monitoring(clock(), source, &update, &mut bytes);
            }
        }
        if next.is_none() {
            let sources = self.up.values().map(|session| &session.source);
            for source in sources.chain([&own]) {
                for family in Family::ALL {
                    bmp::route_monitoring(clock(), source, &bgp::speaker::end_of_rib(family), &mut bytes);
                }
            }
        }
        (bytes.into(), next)
    }

    /// The sessions' figures, and the table's.
    pub(super) fn statistics(&self, tenant: &str, speaker: &Speaker) -> Bytes {
        let mut bytes = Vec::new();
        for (name, session) in &self.up {
            let Some(view) = speaker.neighbor(name) else { continue };
            let sum = |count: fn(&FamilyCounters) -> u64| view.routes.iter().map(count).sum::<u64>();
            let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            let received = Family::ALL.into_iter().zip(&view.routes);
            let mut figures = vec![
                Statistic::Refused(short(sum(|family| family.refused_in))),
                Statistic::TreatedAsWithdrawn(short(view.statistics.treated_as_withdrawn)),
            ];
            figures.extend(received.map(|(family, counters)| Statistic::Received(family, counters.paths.into())));
            bmp::statistics(clock(), &session.source, &figures, &mut bytes);
        }
        let totals = speaker.rib().totals();
        let chosen = [(Family::Ipv4, totals.prefixes_v4), (Family::Ipv6, totals.prefixes_v6)];
        let figures = chosen.map(|(family, count)| Statistic::Chosen(family, count as u64));
        bmp::statistics(clock(), &self::chosen(tenant, speaker.config()), &figures, &mut bytes);
        bytes.into()
    }
}

impl Session {
    fn tell_up(&self, tenant: &str, into: &mut Vec<u8>) {
        let up = Up {
            local: self.ends.map(|(local, _)| local),
            remote_port: self.ends.map_or(0, |(_, remote)| remote.port()),
            sent: &self.sent,
            received: &self.received,
            table: tenant,
        };
        bmp::peer_up(clock(), &self.source, &up, into);
    }
}
