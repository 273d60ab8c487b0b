//! The order in which resources can be created: what is referred to comes first.

use super::documents::Document;
use super::fields::references;
use crate::controller::resources::{Kind, Path};
use std::collections::HashMap;

/// Puts documents into an order in which references lead to what is there. In a circle they keep the order of the kinds and files.
pub fn creation(mut documents: Vec<Document>) -> Vec<Document> {
    documents.sort_by_key(|document| rank(document.path.tree().kind()));
    let needs = needs(&documents);
    let mut done = vec![false; documents.len()];
    let mut order = Vec::with_capacity(documents.len());
    for start in 0..documents.len() {
        visit(start, &needs, &mut done, &mut order);
    }
    let mut documents: Vec<Option<Document>> = documents.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| documents[index].take()).collect()
}

/// Depth first, without recursion: a file may hold a long chain.
fn visit(start: usize, needs: &[Vec<usize>], done: &mut [bool], order: &mut Vec<usize>) {
    if std::mem::replace(&mut done[start], true) {
        return;
    }
    let mut stack = vec![(start, 0)];
    while let Some((index, next)) = stack.pop() {
        match needs[index].get(next) {
            None => order.push(index),
            Some(&need) => {
                stack.push((index, next + 1));
                if !std::mem::replace(&mut done[need], true) {
                    stack.push((need, 0));
                }
            }
        }
    }
}

/// For each document, the others that have to be there first.
fn needs(documents: &[Document]) -> Vec<Vec<usize>> {
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        by_key.entry(document.path.key()).or_default().push(index);
    }
    let mut all = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let mut found = Vec::new();
        references(&document.body["properties"], &mut found);
        let mut paths: Vec<Path> = found.into_iter().filter_map(|text| Path::parse(text).ok()).collect();
        paths.extend(document.path.parent());
        // A reference into a tree needs the tree, or the part of it that stands in a document of its own.
        let mut mine: Vec<usize> = Vec::new();
        for path in paths {
            let mut at = Some(path);
            while let Some(path) = at {
                mine.extend(by_key.get(&path.key()).into_iter().flatten().filter(|need| **need != index));
                at = path.parent();
            }
        }
        mine.sort_unstable();
        mine.dedup();
        all.push(mine);
    }
    all
}

/// What the controller draws from comes before what it draws.
fn rank(kind: Kind) -> (u8, Kind) {
    let early = matches!(kind, Kind::Credential | Kind::LogicalNetwork | Kind::MacPool | Kind::LoadBalancerManager);
    (u8::from(!early), kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::remote::documents;

    fn ordered(text: &str) -> Vec<String> {
        let documents = documents::parse(text, "file").expect("good");
        creation(documents).iter().map(|document| document.path.to_string()).collect()
    }

    #[test]
    fn what_is_referred_to_comes_first_whatever_the_file_says() {
        let text = "
- {resourceRef: /virtualGateways/t/networkConnections/l3, properties: {l3Configuration: {vlanSubnet: {resourceRef: /logicalNetworks/n/subnets/s}}}}
- {resourceRef: /virtualGateways/t, properties: {gatewayPools: [{resourceRef: /gatewayPools/p}], gatewaySubnets: [{resourceRef: /virtualNetworks/v/subnets/g}]}}
- {resourceRef: /gateways/GW1, properties: {pool: {resourceRef: /gatewayPools/p}}}
- {resourceRef: /gatewayPools/p, properties: {ipConfiguration: {greVipSubnets: [{resourceRef: /logicalNetworks/n/subnets/s}]}}}
- {resourceRef: /virtualNetworks/V, properties: {}}
- {resourceRef: /logicalNetworks/n, properties: {}}
- {resourceRef: /logicalNetworks/n/subnets/s, properties: {}}
";
        let order = ordered(text);
        let at = |path: &str| order.iter().position(|known| known == path).expect("there");
        assert_eq!(order.len(), 7);
        assert!(at("/logicalNetworks/n") < at("/logicalNetworks/n/subnets/s"));
        assert!(at("/logicalNetworks/n/subnets/s") < at("/gatewayPools/p"));
        assert!(at("/gatewayPools/p") < at("/gateways/GW1"));
        assert!(at("/virtualNetworks/V") < at("/virtualGateways/t"));
        assert!(at("/virtualGateways/t") < at("/virtualGateways/t/networkConnections/l3"));
    }

    #[test]
    fn a_circle_loses_nothing() {
        let text = "
- {resourceRef: /gateways/a, properties: {x: {resourceRef: /gateways/b}}}
- {resourceRef: /gateways/b, properties: {x: {resourceRef: /gateways/a}}}
- {resourceRef: /gateways/a, properties: {}}
";
        assert_eq!(ordered(text).len(), 3);
    }
}
