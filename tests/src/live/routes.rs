//! What the gateways say of the tenants' BGP: the sites' routers, and what each has told.

use std::process::Command;

use anyhow::Result;
use gateway_user::api::report::{BgpNeighborReport, BgpRouteReport};
use serde::de::DeserializeOwned;

use super::{Machine, fit};
use crate::cloud::Operated;
use crate::gateway::program;

/// The peers of all tenants.
#[derive(Debug, Default)]
pub struct Routes(Vec<Peer>);

#[derive(Debug)]
struct Peer {
    router: String,
    said: BgpNeighborReport,
    /// The prefixes that packets go by.
    learned: Vec<String>,
}

impl Routes {
    /// Looks again.
    pub fn look(&mut self, operated: &Operated) {
        let gateways = &operated.cloud.gateways;
        let mut all: Vec<Peer> = std::thread::scope(|scope| {
            let asked: Vec<_> = gateways.iter().map(|gateway| scope.spawn(|| peers_of(gateway))).collect();
            asked.into_iter().filter_map(|asked| asked.join().ok()?.ok()).flatten().collect()
        });
        all.retain(|peer| operated.cloud.tenants.iter().any(|one| one.tenant.name == peer.tenant()));
        // Of the gateways that may hold a seat, whoever does has the session.
        all.sort_by_key(|peer| {
            (peer.tenant().to_owned(), std::cmp::Reverse(peer.said.name.clone()), peer.said.state != "established")
        });
        all.dedup_by(|later, first| (later.tenant(), &later.said.name) == (first.tenant(), &first.said.name));
        self.0 = all;
    }

    /// Whether every site's router has told something.
    pub fn is_complete(&self) -> bool {
        let up = |peer: &Peer| peer.said.state == "established" && !peer.learned.is_empty();
        self.0.len() >= 4 && self.0.iter().all(up)
    }

    /// The table.
    pub fn text(&self) -> String {
        let columns = |[peer, asn, address, router, state, sent, learned]: [&str; 7]| {
            format!("{peer:<12} {asn:<5} {address:<13} {router:<9} {state:<11} {sent:>4}  {learned}")
        };
        let mut lines = vec![columns(["BGP PEER", "AS", "ADDRESS", "ROUTER ON", "STATE", "TOLD", "LEARNED"])];
        lines.extend(self.0.iter().map(|Peer { router, said, learned }| {
            let name = format!("{}/{}", tenant_in(&said.tenant), said.name);
            let address = said.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
            let learned = if learned.is_empty() { "-".to_owned() } else { learned.join(" ") };
            let (asn, told) = (said.as_number.to_string(), said.prefixes_sent.to_string());
            columns([&name, &asn, &address, router, &said.state, &told, &fit(&learned, 20)])
        }));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

impl Peer {
    fn tenant(&self) -> &str {
        tenant_in(&self.said.tenant)
    }
}

/// The tenant that an instance is of: on a gateway with seats there is one for each seat.
fn tenant_in(instance: &str) -> &str {
    instance.split_once('@').map_or(instance, |(tenant, _)| tenant)
}

fn peers_of(gateway: &Machine) -> Result<Vec<Peer>> {
    let all: Vec<BgpNeighborReport> = ask(gateway, &["bgp", "neighbors"])?;
    all.into_iter()
        .map(|said| {
            let routes: Vec<BgpRouteReport> = ask(gateway, &["bgp", "routes", "--tenant", &said.tenant])?;
            let used = routes.into_iter().filter(|route| route.peer == said.name && route.used == "best");
            let learned = used.map(|route| route.prefix.to_string()).collect();
            Ok(Peer { router: gateway.name().to_owned(), said, learned })
        })
        .collect()
}

fn ask<T: DeserializeOwned>(gateway: &Machine, words: &[&str]) -> Result<T> {
    let printed = gateway.run(Command::new(program("gatewayctl")?).args(words).args(["-o", "json"]))?;
    Ok(serde_json::from_str(&printed)?)
}
