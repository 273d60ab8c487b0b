//! `lab run`: the lab, live. Who reaches whom, in what time and at what rate.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::Lab;
use crate::enter::Register;
use crate::identity::who_is_at;
use crate::node::Node;
use crate::ping::{Answer, Ping};
use crate::tenants::{DC, HQ, SUBNETS, TENANT_GATEWAY, TENANTS, addresses};
use crate::throughput;
use crate::topology::{Members, World};

/// Options of `lab run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lab run
  lab run --once | cat")]
pub struct Options {
    /// Print the table once, complete, and end: with 0 if everybody reaches whom they should
    #[arg(long)]
    once: bool,
}

/// How long a table that is printed once may take to be complete.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the live table is renewed on a terminal, and elsewhere.
const RENEWAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Set by the first interrupt; the second ends the process at once, which takes the lab away just as well.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Brings the lab up, shows it until it is interrupted, and takes it away.
pub fn run(options: &Options) -> Result<ExitCode> {
    let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    let start = Instant::now();
    let lab = Lab::start_telling(
        World::default(),
        |_| {},
        |step| {
            eprintln!("{:6.2} s  {step}", start.elapsed().as_secs_f64());
        },
    );
    let lab = match lab {
        Err(_) if is_interrupted() => return Ok(ExitCode::from(130)),
        lab => lab.context("cannot bring the lab up")?,
    };
    eprintln!("{:6.2} s  up", start.elapsed().as_secs_f64());
    let register = Register::new(&lab.world.machines())?;
    let mut table = Table::new();
    let complete = if options.once {
        once(&lab, &mut table)
    } else {
        watch(&lab, &mut table)?;
        true
    };
    if !complete {
        eprintln!("{}", lab.circumstances());
    }
    drop((table, register, lab));
    eprintln!("everything is taken away again");
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn once(lab: &Lab, table: &mut Table) -> bool {
    let start = Instant::now();
    while !is_interrupted() {
        table.ask(lab, Which::Missing);
        if table.is_complete() || start.elapsed() > PATIENCE {
            break;
        }
    }
    for row in 0..table.rows.len() {
        table.measure(lab, row);
    }
    print!("{}", table.text());
    table.is_complete()
}

fn watch(lab: &Lab, table: &mut Table) -> Result<()> {
    let mut out = std::io::stdout();
    let terminal = out.is_terminal();
    // Above the table, which alone is drawn again. A reader that has gone is noticed at the table.
    let _ = writeln!(out, "{}", hints());
    let mut lines = 0;
    for next in (0..table.rows.len()).cycle() {
        let start = Instant::now();
        table.ask(lab, Which::All);
        if is_interrupted() {
            break;
        }
        table.measure(lab, next);
        let text = table.text();
        // Back to where the last table began, and rid of it.
        let back = match lines {
            0 => String::new(),
            lines if terminal => format!("\x1b[{lines}A\x1b[J"),
            _ => "\n".to_owned(),
        };
        if write!(out, "{back}{text}").and_then(|()| out.flush()).is_err() {
            // Whoever read it has gone.
            break;
        }
        lines = text.lines().count();
        let renewal = if terminal { RENEWAL[0] } else { RENEWAL[1] };
        while start.elapsed() < renewal && !is_interrupted() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if is_interrupted() {
            break;
        }
    }
    Ok(())
}

fn hints() -> String {
    let own = std::env::current_exe().map_or_else(|_| "lab".into(), |path| path.display().to_string());
    let here = std::env::current_dir().map(|path| format!("{}/", path.display())).unwrap_or_default();
    let own = own.strip_prefix(&here).unwrap_or(&own);
    let mut text = String::from("To look closer, from another terminal:\n");
    for example in [
        "gateway gatewayctl top",
        "gateway gatewayctl show connections",
        "gateway gatewayctl trace --tenant contoso --dst 10.2.0.1",
        "contoso-vm1 traceroute 10.2.0.1",
        "                                 (the machines' names)",
    ] {
        writeln!(text, "  {own} enter {example}").unwrap_or_else(|_| unreachable!("a String takes everything"));
    }
    text + "Ctrl-C takes everything away.\n"
}

/// Who asks whom.
struct Row {
    tenant: usize,
    from: Place,
    to: Place,
    reached: [Reached; 2],
    rate: Option<f64>,
}

/// Somewhere in a tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Vm(usize),
    Hq,
    Dc,
    Gateway,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Vm(index) => SUBNETS[index].vm,
            Self::Hq => "GRE site",
            Self::Dc => "L3 site",
            Self::Gateway => "gateway",
        }
    }

    fn address(self) -> &'static str {
        match self {
            Self::Vm(index) => SUBNETS[index].addresses[0],
            Self::Hq => HQ[0],
            Self::Dc => DC[0],
            Self::Gateway => TENANT_GATEWAY[0],
        }
    }

    fn addresses(self) -> [IpAddr; 2] {
        addresses(match self {
            Self::Vm(index) => SUBNETS[index].addresses,
            Self::Hq => HQ,
            Self::Dc => DC,
            Self::Gateway => TENANT_GATEWAY,
        })
    }

    fn node(self, members: &Members) -> Option<&std::sync::Arc<Node>> {
        match self {
            Self::Vm(index) => Some(&members.vms[index]),
            Self::Hq => Some(&members.hq),
            Self::Dc => Some(&members.dc),
            Self::Gateway => None,
        }
    }
}

/// What came of asking at an address.
#[derive(Clone, Debug, PartialEq)]
enum Reached {
    NotYet,
    Right(Duration),
    Wrong(String),
}

struct Table {
    rows: Vec<Row>,
}

const PATHS: [(Place, Place); 6] = [
    (Place::Vm(0), Place::Vm(1)),
    (Place::Vm(0), Place::Hq),
    (Place::Vm(0), Place::Dc),
    (Place::Hq, Place::Vm(1)),
    (Place::Hq, Place::Dc),
    (Place::Dc, Place::Gateway),
];

impl Table {
    fn new() -> Self {
        let row = |tenant: usize, (from, to)| Row {
            tenant,
            from,
            to,
            reached: [Reached::NotYet, Reached::NotYet],
            rate: None,
        };
        let rows = (0..TENANTS.len()).flat_map(|tenant| PATHS.map(|path| row(tenant, path))).collect();
        Self { rows }
    }

    /// Asks once more.
    fn ask(&mut self, lab: &Lab, which: Which) {
        std::thread::scope(|scope| {
            for row in self.rows.iter_mut().filter(|row| which == Which::All || !row.is_complete()) {
                scope.spawn(move || row.ask(lab.world.tenants()[row.tenant]));
            }
        });
    }

    /// Measures one row's rate.
    fn measure(&mut self, lab: &Lab, row: usize) {
        let Some(row) = self.rows.get_mut(row) else { return };
        let members = lab.world.tenants()[row.tenant];
        if let (Some(from), Some(to)) = (row.from.node(members), row.to.node(members)) {
            row.rate = throughput::tcp(from, to, row.to.addresses()[0], Duration::from_millis(200)).ok();
        }
    }

    fn is_complete(&self) -> bool {
        self.rows.iter().all(Row::is_complete)
    }

    fn text(&self) -> String {
        // Narrow enough for any terminal: a line that wraps would not be drawn over.
        let mut text = format!(
            "{:<10} {:<9} {:<9} {:<11} {:>10} {:>10} {:>12}\n",
            "TENANT", "FROM", "TO", "AT", "IPV4", "IPV6", "TCP"
        );
        for row in &self.rows {
            let cell = |reached: &Reached| match reached {
                Reached::NotYet => "no answer".to_owned(),
                Reached::Right(after) => format!("{:.2} ms", after.as_secs_f64() * 1e3),
                Reached::Wrong(who) => format!("{who}!"),
            };
            let rate = row.rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.0} Mbit/s", rate / 1e6));
            let line = format!(
                "{:<10} {:<9} {:<9} {:<11} {:>10} {:>10} {rate:>12}",
                TENANTS[row.tenant].name,
                row.from.name(),
                row.to.name(),
                row.to.address(),
                cell(&row.reached[0]),
                cell(&row.reached[1]),
            );
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Whom to ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those who have not been reached.
    Missing,
}

impl Row {
    fn is_complete(&self) -> bool {
        self.reached.iter().all(|reached| matches!(reached, Reached::Right(_)))
    }

    fn ask(&mut self, members: &Members) {
        let Some(from) = self.from.node(members) else { return };
        for (reached, address) in self.reached.iter_mut().zip(self.to.addresses()) {
            *reached = match self.to.node(members) {
                Some(node) => match who_is_at(from, None, address, Duration::from_millis(300)) {
                    Ok(Some(heard)) if heard.name == node.name() => Reached::Right(heard.after),
                    Ok(Some(heard)) => Reached::Wrong(heard.name),
                    Ok(None) | Err(_) => Reached::NotYet,
                },
                None => match Ping::to(address).send(from, Duration::from_millis(300)) {
                    Ok(Answer::Reply { after }) => Reached::Right(after),
                    Ok(_) | Err(_) => Reached::NotYet,
                },
            };
        }
    }
}
