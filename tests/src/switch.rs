//! A switch that learns addresses as switches do, made of XDP programs: what it takes of a packet's time is little beside what a gateway does.
//! A wire of its ports can be cut without a word to either end.

use crate::bench::rig::lab_programs;
use crate::link::{End, cable, overflows};
use crate::node::{Node, Processes};
use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{HashMap, MapData, xdp::DevMapHash};
use aya::programs::{Xdp, XdpMode};
use nix::net::if_::if_nametoindex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a port's wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Frames pass.
    Whole,
    /// None does, and the link stays up.
    Cut,
}

/// A switch.
pub struct Switch {
    node: Arc<Node>,
    /// Interfaces of ports, by name.
    ports: BTreeMap<String, u32>,
    whole: DevMapHash<MapData>,
    addresses: HashMap<MapData, u64, u32>,
    /// With the links that keep the program where it is.
    programs: Ebpf,
}

impl Switch {
    /// A switch without ports.
    pub fn new(name: &str, processes: &Arc<Processes>) -> Result<Self> {
        let node = Node::new(name, processes)?;
        let mut programs = lab_programs()?;
        let mut take = |name: &str| programs.take_map(name).with_context(|| format!("no map {name}"));
        let (whole, addresses) = (take("SWITCH_PORTS")?.try_into()?, take("SWITCH_ADDRESSES")?.try_into()?);
        program(&mut programs)?.load().context("cannot load the switch's program")?;
        Ok(Self { node, ports: BTreeMap::new(), whole, addresses, programs })
    }

    /// Lays a cable from a machine to a new port.
    pub fn connect(&mut self, mtu: u32, end: End<'_>, port: &str) -> Result<()> {
        cable(mtu, end.from_gateway(), End::new(&self.node, port).from_gateway())?;
        let programs = &mut self.programs;
        let index = self.node.within_network(|| -> Result<u32> {
            program(programs)?.attach(port, XdpMode::Driver)?;
            Ok(if_nametoindex(port)?)
        })?;
        self.ports.insert(port.to_owned(), index);
        self.set(port, Wire::Whole)
    }

    /// See [`overflows`].
    pub fn overflows(&self) -> Result<u64> {
        let ports: Vec<&str> = self.ports.keys().map(String::as_str).collect();
        overflows(&self.node, &ports)
    }

    /// Cuts a port's wire, or mends it. What was known of who is there is forgotten.
    pub fn set(&mut self, port: &str, wire: Wire) -> Result<()> {
        let index = *self.ports.get(port).with_context(|| format!("the switch has no port {port}"))?;
        match wire {
            Wire::Whole => {
                let whole = &mut self.whole;
                self.node.within_network(|| whole.insert(index, index, None, 0))?;
            }
            Wire::Cut => {
                self.whole.remove(index)?;
                let there = self.addresses.iter().filter_map(Result::ok).filter(|(_, at)| *at == index);
                let there: Vec<u64> = there.map(|(address, _)| address).collect();
                // One that is gone meanwhile need not be forgotten.
                there.iter().for_each(|address| drop(self.addresses.remove(address)));
            }
        }
        Ok(())
    }
}

fn program(programs: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(programs.program_mut("switch").context("no program of a switch")?.try_into()?)
}
