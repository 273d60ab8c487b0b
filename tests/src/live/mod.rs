//! `lab run`: the cloud, live. What the controller's agents do, where it has put the tenants' connections, and who reaches whom; and what the
//! tenants notice when a gateway dies.
//!
//! | to change | go to |
//! |---|---|
//! | the tables | `plans`, `routes`, `reach` |
//! | what can be pasted into another terminal | `hints` |
//! | what a person at a terminal is asked | `dialogue`, `keyboard` |
//! | how a gateway can die, and come back | `stroke` |
//! | how it is measured what the tenants notice | `outage`, `datagrams` |

pub(crate) mod datagrams;
mod dialogue;
mod hints;
mod keyboard;
pub(crate) mod outage;
mod plans;
mod reach;
mod routes;
mod stroke;

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::cloud::{Cloud, Members, Operated, SiteRouters, SiteTunnel, described};
use crate::enter::Register;
use crate::wait::until;
use dialogue::Struck;
use keyboard::Keyboard;
use plans::Plans;
use reach::{Reach, Which};
use routes::Routes;
use stroke::Stroke;

/// Options of `lab run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lab run
  lab run --once | cat
  lab run --kill gw1
  lab run --kill gw2 --by agent

Without options, at a terminal, gateways can be killed and brought back again and again.")]
pub struct Options {
    /// Print the tables once, complete, and end: with 0 if everybody reaches whom they should
    #[arg(long)]
    once: bool,
    /// Kill this gateway once all is up, print what the tenants noticed, and end: with 0 if all was well again
    #[arg(long, value_name = "GATEWAY", value_parser = ["gw1", "gw2", "gw3"], conflicts_with = "once")]
    kill: Option<String>,
    /// How it is killed
    #[arg(long, value_name = "HOW", requires = "kill", default_value = "silence")]
    by: Stroke,
}

/// How long an agent may take to join, and tables that are printed once to be complete.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the live tables are renewed on a terminal, and elsewhere.
const RENEWAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How often an interrupt is looked for.
const TURN: Duration = Duration::from_millis(20);

const GONE: &str = "everything is taken away again";

/// Set by the first interrupt; the second ends the process at once, which takes the lab away just as well.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Whether the lab is to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Has interrupts be noticed rather than end this process.
pub(crate) fn catch_interrupts() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Brings the cloud up, shows it until it is interrupted, and takes it away.
pub fn run(options: &Options) -> Result<ExitCode> {
    catch_interrupts()?;
    let start = Instant::now();
    let mut scene = match Scene::build(|step| eprintln!("{:6.2} s  {step}", start.elapsed().as_secs_f64())) {
        Err(_) if is_interrupted() => {
            eprintln!("{GONE}");
            return Ok(ExitCode::from(130));
        }
        scene => scene.context("cannot bring the lab up")?,
    };
    let register = Register::new(&scene.operated.cloud.machines())?;
    let complete = match &options.kill {
        Some(gateway) => demonstrate(&mut scene, gateway, options.by),
        None if options.once => once(&mut scene),
        None => {
            watch(&mut scene);
            true
        }
    };
    if !complete {
        eprintln!("{}", scene.operated.log());
    }
    drop((register, scene));
    eprintln!("{GONE}");
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cloud, and what is seen of it.
pub(crate) struct Scene {
    plans: Plans,
    routes: Routes,
    reach: Reach,
    _routers: Vec<SiteRouters>,
    _tunnels: Vec<SiteTunnel>,
    /// The cloud and its daemons.
    pub(crate) operated: Operated,
}

impl Scene {
    /// Makes the machines, starts the daemons, and describes everything to the controller as an operator would.
    pub(crate) fn build(tell: impl Fn(&str)) -> Result<Self> {
        let tell = |step: &str| -> Result<()> {
            ensure!(!is_interrupted(), "interrupted");
            tell(step);
            Ok(())
        };
        // Building says what it does and asks nothing; an interrupt is noticed after it.
        let cloud = Cloud::build(|step| drop(tell(step)))?;
        tell("the controller")?;
        let mut operated = Operated::start(cloud)?;
        for what in ["fabric", "seats"] {
            tell(&format!("gatewayctl apply -f {}", shown(what).display()))?;
            operated.apply(&described(what))?;
        }
        tell("gateways and hosts join, and load their programs")?;
        operated.start_agents()?;
        let Cloud { gateways, hosts, .. } = &operated.cloud;
        let agents = gateways.iter().map(|it| ("gateways", it)).chain(hosts.iter().map(|it| ("servers", it)));
        for (collection, machine) in agents {
            let path = format!("/{collection}/{}", machine.name());
            until(PATIENCE, "its plan", || (is_interrupted() || operated.is_configured(&path).is_some()).then_some(()))
                .with_context(|| format!("{} does not join\n{}", machine.name(), operated.log()))?;
            tell(&format!("{} has its plan", machine.name()))?;
        }
        for members in &operated.cloud.tenants {
            tell(&format!("gatewayctl apply -f {}", shown(members.tenant.name).display()))?;
            operated.describe_tenant(members.tenant)?;
        }
        tell("the sites dig their tunnels to the addresses that the controller drew")?;
        let tunnels = operated.cloud.tenants.iter().map(|members| operated.dig(members)).collect::<Result<_>>()?;
        tell("the sites' routers start: BIRD at the GRE sites, FRR at the L3 sites")?;
        let routers = operated.cloud.tenants.iter().map(Members::start_routers).collect::<Result<_>>()?;
        tell("up")?;
        let reach = Reach::new(&operated.cloud.tenants);
        let (plans, routes) = (Plans::default(), Routes::default());
        Ok(Self { plans, routes, reach, _routers: routers, _tunnels: tunnels, operated })
    }

    /// Looks again.
    fn look(&mut self, which: Which) {
        let Self { plans, routes, reach, operated, .. } = self;
        std::thread::scope(|scope| {
            scope.spawn(|| plans.look(operated));
            scope.spawn(|| routes.look(operated));
            reach.ask(which);
        });
    }

    fn is_complete(&self) -> bool {
        self.plans.is_complete() && self.routes.is_complete() && self.reach.is_complete()
    }

    /// The tables.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}\n{}", self.plans.text(), self.routes.text(), self.reach.text())
    }
}

/// The file that describes something, as seen from here.
fn shown(what: &str) -> PathBuf {
    let path = described(what);
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(&path).to_owned()
}

/// Looks until everything is as it should be, or for so long.
pub(crate) fn settle(scene: &mut Scene) -> bool {
    let start = Instant::now();
    while !is_interrupted() && !scene.is_complete() && start.elapsed() < PATIENCE {
        scene.look(Which::Missing);
    }
    scene.is_complete()
}

/// Kills a gateway once all is up; whether all was well again.
fn demonstrate(scene: &mut Scene, gateway: &str, stroke: Stroke) -> bool {
    if !settle(scene) {
        print!("{}", scene.text());
        return false;
    }
    let told = dialogue::send_home(&scene.operated, gateway)
        .and_then(|()| dialogue::tell(&mut scene.operated, gateway, stroke));
    told.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        false
    })
}

fn once(scene: &mut Scene) -> bool {
    settle(scene);
    for number in 0..scene.reach.rates() {
        scene.reach.measure(number);
    }
    print!("{}", scene.text());
    scene.is_complete()
}

fn watch(scene: &mut Scene) {
    let mut out = std::io::stdout();
    let terminal = out.is_terminal();
    let mut keyboard = terminal.then(Keyboard::new).flatten();
    let mut struck: Option<Struck> = None;
    let mut hints = String::new();
    let mut lines = 0;
    for next in (0..scene.reach.rates()).cycle() {
        let start = Instant::now();
        scene.look(Which::All);
        scene.reach.measure(next);
        if is_interrupted() {
            break;
        }
        let offers = keyboard.as_ref().is_some_and(|it| !it.has_ended()) && (struck.is_some() || scene.is_complete());
        let offer = if offers { Struck::offer(struck.as_ref()) } else { "Ctrl-C takes everything away.".to_owned() };
        let text = format!("{}\n{offer}\n", scene.text());
        // Above the tables, which alone are drawn again; anew when another gateway carries the tenant.
        let now = if hints.is_empty() || scene.is_complete() { hints::text(scene) } else { hints.clone() };
        let above = if now == hints { String::new() } else { format!("\n{now}\n") };
        hints = now;
        // Back to where the last tables began, and rid of them.
        let back = match lines {
            0 => String::new(),
            lines if terminal => format!("\x1b[{lines}A\x1b[J"),
            _ => "\n".to_owned(),
        };
        if write!(out, "{back}{above}{text}").and_then(|()| out.flush()).is_err() {
            // Whoever read it has gone.
            break;
        }
        lines = text.lines().count();
        let renewal = if terminal { RENEWAL[0] } else { RENEWAL[1] };
        while start.elapsed() < renewal && !is_interrupted() {
            let Some(keyboard) = keyboard.as_mut() else {
                std::thread::sleep(TURN);
                continue;
            };
            if keyboard.look(TURN).is_some() {
                // What is said from here on stays; the next tables come below it.
                lines = 0;
                if offers {
                    struck = match struck.take() {
                        Some(struck) => {
                            struck.mend(&mut scene.operated);
                            None
                        }
                        None => dialogue::kill(keyboard, &mut scene.operated),
                    };
                }
                break;
            }
        }
        if is_interrupted() {
            break;
        }
    }
}

/// A cell of a table: shortened to what it may take, so that lines keep their length.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width - 1).chain(['…']).collect() }
}

/// A machine, shared with who built it.
type Machine = Arc<crate::node::Node>;
