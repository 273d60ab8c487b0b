//! Who reaches whom, in what time and at what rate. Tenants stand side by side: they use the very same addresses.

use std::net::IpAddr;
use std::time::Duration;

use super::{Machine, fit};
use crate::cloud::{LEARNED_DC, Members, TENANT_GATEWAY};
use crate::identity::who_is_at;
use crate::ping::{Answer, Ping};
use crate::tenants::{DC, HQ, SUBNETS, address};
use crate::throughput;

/// How long an answer may take before the table says that there is none.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a rate is measured.
const MEASURED: Duration = Duration::from_millis(200);

/// Somewhere in a tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Vm(usize),
    Hq,
    Dc,
    /// What only BGP tells of.
    BehindDc,
    Gateway,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Vm(index) => SUBNETS[index].vm,
            Self::Hq => "GRE site",
            Self::Dc | Self::BehindDc => "L3 site",
            Self::Gateway => "gateway",
        }
    }

    fn address(self) -> &'static str {
        match self {
            Self::Vm(index) => SUBNETS[index].addresses[0],
            Self::Hq => HQ[0],
            Self::Dc => DC[0],
            Self::BehindDc => LEARNED_DC.1[0],
            Self::Gateway => TENANT_GATEWAY,
        }
    }

    fn machine(self, members: &Members) -> Option<Machine> {
        let machine = match self {
            Self::Vm(index) => &members.vms[index],
            Self::Hq => &members.hq,
            Self::Dc | Self::BehindDc => &members.dc,
            Self::Gateway => return None,
        };
        Some(Machine::clone(machine))
    }
}

const PATHS: [(Place, Place); 6] = [
    (Place::Vm(0), Place::Vm(1)),
    (Place::Vm(0), Place::Hq),
    (Place::Vm(1), Place::Dc),
    (Place::Hq, Place::Vm(1)),
    (Place::Hq, Place::BehindDc),
    (Place::Dc, Place::Gateway),
];

/// What came of asking at an address.
#[derive(Clone, Debug, PartialEq)]
enum Reached {
    NotYet,
    Right(Duration),
    Wrong(String),
}

/// One tenant's way along a path.
struct Way {
    from: Option<Machine>,
    to: Option<Machine>,
    at: IpAddr,
    reached: Reached,
    rate: Option<f64>,
}

/// The table: for each path, each tenant's way.
pub struct Reach {
    tenants: Vec<&'static str>,
    rows: Vec<Vec<Way>>,
}

/// Whom to ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Everybody.
    All,
    /// Those who have not been reached.
    Missing,
}

impl Reach {
    /// Nobody has been asked yet.
    pub fn new(tenants: &[Members]) -> Self {
        let way = |members: &Members, (from, to): (Place, Place)| Way {
            from: from.machine(members),
            to: to.machine(members),
            at: address(to.address()),
            reached: Reached::NotYet,
            rate: None,
        };
        Self {
            tenants: tenants.iter().map(|members| members.tenant.name).collect(),
            rows: PATHS.map(|path| tenants.iter().map(|members| way(members, path)).collect()).into(),
        }
    }

    /// Asks once more, along all paths at a time.
    pub fn ask(&mut self, which: Which) {
        std::thread::scope(|scope| {
            let ways = self.rows.iter_mut().flatten();
            for way in ways.filter(|way| which == Which::All || !way.is_right()) {
                scope.spawn(move || way.ask());
            }
        });
    }

    /// How many rates there are to measure.
    pub fn rates(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// Measures one of them.
    pub fn measure(&mut self, number: usize) {
        if let Some(way) = self.rows.iter_mut().flatten().nth(number) {
            way.measure();
        }
    }

    /// Whether everybody was reached.
    pub fn is_complete(&self) -> bool {
        self.rows.iter().flatten().all(Way::is_right)
    }

    /// The table, narrow enough for any terminal: a line that wraps would not be drawn over.
    pub fn text(&self) -> String {
        let whose: String = self.tenants.iter().map(|tenant| format!("  {:<21}", tenant.to_uppercase())).collect();
        let columns = format!("  {:>9} {:>11}", "RTT", "TCP").repeat(self.tenants.len());
        let mut lines = vec![format!("{:<28}{whose}", ""), format!("{:<8} {:<8} {:<10}{columns}", "FROM", "TO", "AT")];
        for ((from, to), ways) in PATHS.into_iter().zip(&self.rows) {
            let cells: String = ways.iter().map(|way| format!("  {:>9} {:>11}", way.time(), way.speed())).collect();
            lines.push(format!("{:<8} {:<8} {:<10}{cells}", from.name(), to.name(), to.address()));
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

impl Way {
    fn is_right(&self) -> bool {
        matches!(self.reached, Reached::Right(_))
    }

    fn ask(&mut self) {
        let Some(from) = &self.from else { return };
        self.reached = match &self.to {
            Some(to) => match who_is_at(from, None, self.at, ANSWER) {
                Ok(Some(heard)) if heard.name == to.name() => Reached::Right(heard.after),
                Ok(Some(heard)) => Reached::Wrong(heard.name),
                Ok(None) | Err(_) => Reached::NotYet,
            },
            None => match Ping::to(self.at).send(from, ANSWER) {
                Ok(Answer::Reply { after }) => Reached::Right(after),
                Ok(_) | Err(_) => Reached::NotYet,
            },
        };
    }

    fn measure(&mut self) {
        // Where nobody answers, nobody would listen.
        self.rate = None;
        if let (Some(from), Some(to), true) = (&self.from, &self.to, self.is_right()) {
            self.rate = throughput::tcp(from, to, self.at, MEASURED).ok();
        }
    }

    fn time(&self) -> String {
        match &self.reached {
            Reached::NotYet => "no answer".to_owned(),
            Reached::Right(after) => format!("{:.2} ms", after.as_secs_f64() * 1e3),
            Reached::Wrong(who) => format!("{}!", fit(who, 8)),
        }
    }

    fn speed(&self) -> String {
        self.rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.0} Mbit/s", rate / 1e6))
    }
}
