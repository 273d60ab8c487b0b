//! The switch of the failover bench does what switches do: otherwise it would not be known what is measured.

use anyhow::{Result, ensure};
use lab::frame::{Mac, bytes, ether};
use lab::frame_socket::FrameSocket;
use lab::link::End;
use lab::node::{Node, Processes};
use lab::switch::{Switch, Wire};
use lab::wait::{SOON, until};
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 3] = ["one", "two", "three"];
const SEAT: Mac = Mac([2, 0x5e, 0xa7, 0, 0, 1]);
const NOBODY: Mac = Mac([2, 0, 0, 0, 0, 0x99]);
const ALL: Mac = Mac([0xff; 6]);

struct World {
    switch: Switch,
    sockets: Vec<FrameSocket>,
    _nodes: Vec<Arc<Node>>,
}

impl World {
    fn new() -> Result<Self> {
        let processes = Processes::new()?;
        let mut switch = Switch::new("switch", &processes)?;
        let (mut sockets, mut nodes) = (Vec::new(), Vec::new());
        for name in NAMES {
            let node = Node::new(name, &processes)?;
            node.sh("for at in all default; do echo 1 > /proc/sys/net/ipv6/conf/$at/disable_ipv6; done")?;
            switch.connect(1500, End::new(&node, "port"), name)?;
            sockets.push(FrameSocket::open(&node, "port")?);
            nodes.push(node);
        }
        Ok(Self { switch, sockets, _nodes: nodes })
    }

    /// Who gets a frame.
    fn hear(&self, from: usize, number: u8, source: Mac, destination: Mac) -> Result<Vec<usize>> {
        let frame = (ether(destination, source) / bytes([vec![number], vec![0x5a; 63]].concat())).build();
        self.sockets[from].send(&frame)?;
        let mut hearing = Vec::new();
        for (at, socket) in self.sockets.iter().enumerate() {
            if socket.expect(Duration::from_millis(100), |heard| heard == frame)?.is_some() {
                hearing.push(at);
            }
        }
        Ok(hearing)
    }
}

#[test]
fn a_switch_floods_learns_and_forgets_who_was_behind_a_wire_that_is_cut() -> Result<()> {
    let mut world = World::new()?;
    let first = || world.hear(0, 0, SEAT, ALL).ok().filter(|heard| heard == &[1, 2]);
    until(SOON, "everybody to hear what is for all", first)?;
    ensure!(world.hear(1, 1, NOBODY, SEAT)? == [0], "who spoke is known");
    ensure!(world.hear(0, 2, SEAT, Mac([2, 0, 0, 0, 0, 7]))? == [1, 2], "who is not known is looked for everywhere");
    ensure!(world.hear(2, 3, SEAT, NOBODY)? == [1], "it moves");
    ensure!(world.hear(1, 4, NOBODY, SEAT)? == [2], "it has moved");
    ensure!(world.hear(2, 5, NOBODY, SEAT)?.is_empty(), "nothing goes back by the port that it came by");

    world.switch.set(NAMES[2], Wire::Cut)?;
    ensure!(world.hear(1, 6, NOBODY, SEAT)? == [0], "what is for who is behind it is looked for everywhere else");
    ensure!(world.hear(2, 7, SEAT, ALL)?.is_empty() && world.hear(0, 8, NOBODY, ALL)? == [1], "nothing passes");
    world.switch.set(NAMES[2], Wire::Whole)?;
    ensure!(world.hear(2, 9, SEAT, ALL)? == [0, 1], "it passes again");
    Ok(())
}
