//! Asking a person at a terminal which gateway is to die, and how; and telling what the tenants noticed.

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};
use std::process::Command;

use anyhow::Result;

use super::keyboard::Keyboard;
use super::outage::{Outage, holders};
use super::stroke::Stroke;
use crate::cloud::Operated;
use crate::gateway::program;

/// The gateway that a person has struck, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    gateway: String,
    stroke: Stroke,
}

impl Struck {
    /// What is offered: below the tables.
    pub fn offer(struck: Option<&Self>) -> String {
        match struck {
            None => "Enter: kill a gateway. Ctrl-C takes everything away.".to_owned(),
            Some(Self { gateway, .. }) => format!("Enter: bring {gateway} back. Ctrl-C takes everything away."),
        }
    }

    /// Brings the gateway back.
    pub fn mend(&self, operated: &mut Operated) {
        match self.stroke.mend(operated, &self.gateway) {
            Ok(()) => say(&format!("{} comes back. It takes nothing back by itself.\n", self.gateway)),
            Err(error) => say(&format!("{} does not come back: {error:#}\n", self.gateway)),
        }
    }
}

/// Asks, strikes, and tells. None if nothing was struck, or nothing is left of it.
pub fn kill(keyboard: &mut Keyboard, operated: &mut Operated) -> Option<Struck> {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (seat, (holder, _)) in holders(operated) {
        held.entry(holder).or_default().push(seat);
    }
    let names: Vec<String> = operated.cloud.gateways.iter().map(|gateway| gateway.name().to_owned()).collect();
    let gateways = names.iter().map(|name| match held.get(name) {
        Some(seats) => format!("{name}, which holds {}", seats.join(", ")),
        None => format!("{name}, which stands by"),
    });
    let gateway = &names[choose(keyboard, "Which gateway?", &gateways.collect::<Vec<_>>())?];
    let stroke = Stroke::ALL[choose(keyboard, "How?", &Stroke::ALL.map(|stroke| stroke.words().to_owned()))?];
    match tell(operated, gateway, stroke) {
        Ok(_) => {}
        Err(error) => say(&format!("{error:#}\n")),
    }
    stroke.leaves_damage().then(|| Struck { gateway: gateway.clone(), stroke })
}

/// Strikes, and tells what was noticed; whether all was well again.
pub fn tell(operated: &mut Operated, gateway: &str, stroke: Stroke) -> Result<bool> {
    say(&format!(
        "\n{gateway}: {}.\nEvery tenant sends a numbered packet each way over each connection every 5 ms.\n\n",
        stroke.words()
    ));
    let outage = Outage::cause(operated, gateway, stroke)?;
    say(&outage.text());
    if outage.has_moved_seats() {
        say("\nThe sites' routers open their sessions again.\n");
        say(&outage.history(operated));
    }
    Ok(outage.is_over)
}

/// Has a gateway hold its own seat: on a busy machine the one that stands by may have been faster.
pub fn send_home(operated: &Operated, gateway: &str) -> Result<()> {
    let holders = holders(operated);
    let Some((holder, _)) = holders.get(gateway).filter(|(holder, _)| holder != gateway) else { return Ok(()) };
    say(&format!("{holder} holds {gateway}'s seat, and hands it over.\n"));
    let mut failover = Command::new(program("gatewayctl")?);
    operated.cloud.gateway(holder).run(failover.args(["failover", gateway, "--to", gateway])).map(drop)
}

/// The place of what is chosen in a list; none if nothing is.
fn choose(keyboard: &mut Keyboard, question: &str, answers: &[String]) -> Option<usize> {
    let list: String = (1..).zip(answers).map(|(number, answer)| format!("  {number}  {answer}\n")).collect();
    loop {
        say(&format!("{question}\n{list}A number, or Enter for none: "));
        let line = keyboard.line()?;
        if line.is_empty() {
            return None;
        }
        match line.parse::<usize>() {
            Ok(number) if (1..=answers.len()).contains(&number) => return Some(number - 1),
            _ => say(&format!("There is no {line}.\n")),
        }
    }
}

/// A reader that has gone is noticed at the tables.
fn say(text: &str) {
    let mut out = stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
