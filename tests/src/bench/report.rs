//! Rows: one comparison each, as a table for people and as JSON.

use serde::Serialize;
use std::path::Path;
use std::process::Command;

/// What was measured, several times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// At least one number.
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The one in the middle, or the mean of the two there.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// The value that so many in a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).clamp(1, self.0.len().max(1));
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
}

/// What a row's value is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Reported as it is.
    None,
    /// The ratio, at least.
    RatioAtLeast(f64),
    /// The ratio, at most.
    RatioAtMost(f64),
    /// Our own value, at most.
    AtMost(f64),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// Of both values.
    pub unit: &'static str,
    /// Our programs.
    pub ours: Samples,
    /// Who else did it, and how.
    pub peer: Option<(&'static str, Samples)>,
    /// What to reach.
    pub goal: Goal,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.ours.median() / peer.median())
    }

    fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::RatioAtLeast(goal) => self.ratio().map(|ratio| ratio >= goal),
            Goal::RatioAtMost(goal) => self.ratio().map(|ratio| ratio <= goal),
            Goal::AtMost(goal) => Some(self.ours.median() <= goal),
        }
    }

    /// The row in one line.
    pub fn line(&self) -> String {
        cells(self).into_iter().filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ")
    }

    fn written(&self) -> Written<'_> {
        let (goal, goal_is) = match self.goal {
            Goal::None => (None, None),
            Goal::RatioAtLeast(goal) => (Some(goal), Some("ratio at least")),
            Goal::RatioAtMost(goal) => (Some(goal), Some("ratio at most")),
            Goal::AtMost(goal) => (Some(goal), Some("at most")),
        };
        Written {
            name: &self.name,
            unit: self.unit,
            ours: rounded(self.ours.median()),
            ours_range: [rounded(self.ours.least()), rounded(self.ours.most())],
            peer: self.peer.as_ref().map(|(_, peer)| rounded(peer.median())),
            peer_range: self.peer.as_ref().map(|(_, peer)| [rounded(peer.least()), rounded(peer.most())]),
            peer_name: self.peer.as_ref().map(|(name, _)| *name),
            ratio: self.ratio().map(rounded),
            goal,
            goal_is,
            met: self.met(),
            runs: self.ours.0.len(),
        }
    }
}

/// A row as it stands in the file.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    unit: &'static str,
    ours: f64,
    ours_range: [f64; 2],
    peer: Option<f64>,
    peer_range: Option<[f64; 2]>,
    peer_name: Option<&'static str>,
    ratio: Option<f64>,
    goal: Option<f64>,
    goal_is: Option<&'static str>,
    met: Option<bool>,
    runs: usize,
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A bench's results.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    rows: Vec<Row>,
}

impl Report {
    /// The results of a bench.
    pub fn new(bench: &'static str, rows: Vec<Row>) -> Self {
        Self { bench, rows }
    }

    /// Prints the table.
    pub fn print(&self) {
        let texts: Vec<[String; 6]> = self.rows.iter().map(cells).collect();
        let head = ["", "ours", "peer", "", "ratio", "goal"].map(String::from);
        let widths: [usize; 6] = std::array::from_fn(|column| {
            texts.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        println!();
        for row in [&head].into_iter().chain(&texts) {
            let line: Vec<String> = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
            println!("{}", line.join("  ").trim_end());
        }
    }
}

fn cells(row: &Row) -> [String; 6] {
    let of = |samples: &Samples| {
        format!("{:.3} ({:.3}..{:.3}) {}", samples.median(), samples.least(), samples.most(), row.unit)
    };
    let goal = match row.goal {
        Goal::None => String::new(),
        Goal::RatioAtLeast(goal) => format!("at least {goal:.2}"),
        Goal::RatioAtMost(goal) => format!("at most {goal:.2}"),
        Goal::AtMost(goal) => format!("at most {goal} {}", row.unit),
    };
    let met = match row.met() {
        None => String::new(),
        Some(true) => format!("{goal}: met"),
        Some(false) => format!("{goal}: MISSED"),
    };
    [
        row.name.clone(),
        of(&row.ours),
        row.peer.as_ref().map_or_else(String::new, |(_, peer)| of(peer)),
        row.peer.as_ref().map_or_else(String::new, |(name, _)| (*name).to_owned()),
        row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}")),
        met,
    ]
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            bench: &'static str,
            commit: String,
            machine: String,
            rows: Vec<Written<'a>>,
        }
        Whole {
            bench: self.bench,
            commit: commit(),
            machine: machine(),
            rows: self.rows.iter().map(Row::written).collect(),
        }
        .serialize(serializer)
    }
}

/// The commit that the source is at, with a plus if it was changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match git(&["rev-parse", "HEAD"]) {
        None => "unknown".to_owned(),
        Some(commit) if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|it| it.is_empty()) => {
            commit
        }
        Some(commit) => commit + "+",
    }
}

/// Processor, cores, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model.to_owned()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], peer: &[f64], goal: Goal) -> Row {
        let peer = (!peer.is_empty()).then(|| ("peer", Samples::new(peer.to_vec())));
        Row { name: "row".into(), unit: "Mpps", ours: Samples::new(ours.to_vec()), peer, goal }
    }

    #[test]
    fn a_row_compares_medians() {
        let row = row(&[1.0, 9.0, 2.0], &[4.0, 2.0, 6.0, 4.0], Goal::RatioAtLeast(0.5));
        assert_eq!((row.ours.median(), row.ratio(), row.met()), (2.0, Some(0.5), Some(true)));
        assert_eq!(cells(&row)[5], "at least 0.50: met");
    }

    #[test]
    fn a_limit_needs_no_peer_and_a_missing_peer_meets_nothing() {
        assert_eq!(row(&[99.0], &[], Goal::AtMost(100.0)).met(), Some(true));
        assert_eq!(row(&[101.0], &[], Goal::AtMost(100.0)).met(), Some(false));
        assert_eq!(row(&[1.0], &[], Goal::RatioAtLeast(0.8)).met(), None);
        assert_eq!(row(&[4.0], &[2.0], Goal::RatioAtMost(2.0)).met(), Some(true));
        assert_eq!(row(&[4.1], &[2.0], Goal::RatioAtMost(2.0)).met(), Some(false));
        assert_eq!(row(&[1.0], &[1.0], Goal::None).met(), None);
    }

    #[test]
    fn a_percentile_is_a_sample_that_so_many_do_not_exceed() {
        let hundred = Samples::new((1..=100).map(f64::from).collect());
        assert_eq!([50, 99, 100].map(|percent| hundred.percentile(percent)), [50.0, 99.0, 100.0]);
        assert_eq!(Samples::new(vec![7.0]).percentile(99), 7.0);
    }

    #[test]
    fn the_file_has_a_row_a_comparison() {
        let report = Report::new("dataplane", vec![row(&[2.0], &[4.0], Goal::RatioAtLeast(0.8))]);
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["bench"], "dataplane");
        let row = &json["rows"][0];
        assert_eq!((&row["ours"], &row["peer"], &row["ratio"]), (&2.0.into(), &4.0.into(), &0.5.into()));
        assert_eq!(
            (&row["goal"], &row["goal_is"], &row["met"]),
            (&0.8.into(), &"ratio at least".into(), &false.into())
        );
        assert!(json["commit"].is_string() && json["machine"].is_string());
    }
}
