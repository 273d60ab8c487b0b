//! What a person is shown of a plan that is refused: each problem with its place, the line in question and a remedy.

use super::path::Path;
use super::values::Complaint;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Everything that is wrong with a plan. `Display` is the report for a person, a paragraph a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanErrors {
    file_name: String,
    problems: Vec<Problem>,
    omitted: usize,
}

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong, and the remedy.
    #[serde(flatten)]
    pub complaint: Complaint,
    /// Where.
    pub place: Place,
    /// What it contradicts, if that stands elsewhere.
    pub other: Option<Place>,
}

/// Where in a plan a problem is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Nowhere in particular, as when the file cannot be read.
    Whole,
    /// In a text.
    Text {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The line's text.
        text: String,
        /// How many characters are meant.
        width: usize,
    },
    /// In a value without text: its keys and indices.
    Path(String),
}

impl Place {
    /// The place of a range of bytes.
    fn in_text(lines: &Lines<'_>, span: Range<usize>) -> Self {
        let start = lines.floor(span.start);
        let end = lines.floor(span.end).max(start);
        let (number, whole) = lines.line_at(start);
        let line = masked(lines.source[whole.clone()].trim_end_matches('\r'));
        let before = lines.source[whole.start..start].chars().count();
        let width = lines.source[start..end.clamp(start, whole.end.max(start))].chars().count();
        // A long line is shown around the place, so that the marker stays in sight.
        let skip = before.saturating_sub(SHOWN / 2);
        let mut text: String =
            line.chars().skip(skip).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if skip > 0 {
            text.insert(0, '…');
        }
        if line.chars().nth(skip + SHOWN).is_some() {
            text.push('…');
        }
        Self::Text { line: number, column: before + 1, text, width }
    }

    /// How far into the shown text the place is.
    fn indent(column: usize) -> usize {
        let skip = (column - 1).saturating_sub(SHOWN / 2);
        column - 1 - skip + usize::from(skip > 0)
    }
}

/// A line without the secrets that stand in it: from a key called `password` on, what is in quotes.
fn masked(line: &str) -> Cow<'_, str> {
    let Some(at) = line.find("password") else { return line.into() };
    let mut quote = None;
    let (before, rest) = line.split_at(at);
    let hidden = rest.chars().map(|c| match quote {
        None => {
            quote = Some(c).filter(|c| matches!(c, '"' | '\''));
            c
        }
        Some(open) if c == open => {
            quote = None;
            c
        }
        Some(_) => '*',
    });
    before.chars().chain(hidden).collect::<String>().into()
}

/// How many characters of a long line are shown.
const SHOWN: usize = 160;

/// A text and where its lines begin.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(source: &'a str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { source, starts }
    }

    /// The start of the character at a byte, or the end.
    fn floor(&self, at: usize) -> usize {
        let mut at = at.min(self.source.len());
        while !self.source.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// The number of the line with a byte, from 1, and its bytes.
    fn line_at(&self, at: usize) -> (usize, Range<usize>) {
        let number = self.starts.partition_point(|&start| start <= at).max(1);
        let end = self.starts.get(number).map_or(self.source.len(), |next| next - 1);
        (number, self.starts[number - 1]..end)
    }
}

impl PlanErrors {
    /// How many problems are told in full; the others are only counted.
    pub const SHOWN: usize = 20;

    pub(super) fn new(file_name: &str, mut problems: Vec<Problem>, more: usize) -> Self {
        let omitted = problems.len().saturating_sub(Self::SHOWN) + more;
        problems.truncate(Self::SHOWN);
        Self { file_name: file_name.to_owned(), problems, omitted }
    }

    /// The problems, in the order of the file, at most [`PlanErrors::SHOWN`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more there are.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl std::error::Error for PlanErrors {}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.show(f, &self.file_name)?;
        }
        if self.omitted > 0 {
            write!(f, "\n\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl Problem {
    fn show(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        let Complaint { what, remedy } = &self.complaint;
        write!(f, "error: {what}")?;
        let margin = match &self.place {
            Place::Whole => {
                write!(f, "\n --> {file}")?;
                1
            }
            Place::Path(path) => {
                write!(f, "\n --> {file}: {path}")?;
                1
            }
            Place::Text { line, column, text, width } => {
                let margin = line.to_string().len();
                let indent = Place::indent(*column);
                write!(f, "\n{:margin$}--> {file}:{line}:{column}", "")?;
                write!(f, "\n{:margin$} |", "")?;
                write!(f, "\n{line} | {text}")?;
                write!(f, "\n{:margin$} | {:indent$}{}", "", "", "^".repeat((*width).clamp(1, 100)))?;
                margin
            }
        };
        match &self.other {
            Some(Place::Text { line, column, text, .. }) => {
                write!(f, "\n{:margin$} = note: the other is at {file}:{line}:{column}: {}", "", text.trim())?;
            }
            Some(Place::Path(path)) => write!(f, "\n{:margin$} = note: the other is {path}", "")?,
            Some(Place::Whole) | None => {}
        }
        write!(f, "\n{:margin$} = help: {remedy}", "")
    }
}

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<Found>,
    more: usize,
}

struct Found {
    complaint: Complaint,
    at: Mark,
    other: Option<Mark>,
}

/// A place, as cheap as it can be noted.
enum Mark {
    Bytes(Range<usize>),
    Path(Path),
}

impl Problems {
    /// How many are kept; a file with so many is not what it was taken for.
    const KEPT: usize = 200;

    /// Notes a problem with a range of the file's bytes.
    pub fn at_bytes(&mut self, span: Range<usize>, complaint: Complaint) {
        self.push(complaint, Mark::Bytes(span), None);
    }

    /// Notes a problem.
    pub fn at(&mut self, path: Path, complaint: Complaint) {
        self.push(complaint, Mark::Path(path), None);
    }

    /// Notes a problem with what stands at `path` in view of what stands at `other`.
    pub fn conflict(&mut self, path: Path, other: Path, complaint: Complaint) {
        self.push(complaint, Mark::Path(path), Some(Mark::Path(other)));
    }

    fn push(&mut self, complaint: Complaint, at: Mark, other: Option<Mark>) {
        if self.found.len() < Self::KEPT {
            self.found.push(Found { complaint, at, other });
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The report on a text.
    pub fn in_text(self, file_name: &str, text: &str, mut locate: impl FnMut(&Path) -> Range<usize>) -> PlanErrors {
        let mut span = |mark: Mark| match mark {
            Mark::Bytes(span) => span,
            Mark::Path(path) => locate(&path),
        };
        let mut found: Vec<(Range<usize>, Complaint, Option<Mark>)> =
            self.found.into_iter().map(|found| (span(found.at), found.complaint, found.other)).collect();
        found.sort_by_key(|(at, ..)| at.start);
        let more = self.more + found.len().saturating_sub(PlanErrors::SHOWN);
        found.truncate(PlanErrors::SHOWN);
        let lines = Lines::new(text);
        let problems = found.into_iter().map(|(at, complaint, other)| Problem {
            complaint,
            place: Place::in_text(&lines, at),
            other: other.map(|mark| Place::in_text(&lines, span(mark))),
        });
        PlanErrors::new(file_name, problems.collect(), more)
    }

    /// The report on what was not read from a text.
    pub fn without_text(self, name: &str) -> PlanErrors {
        let place = |mark| match mark {
            Mark::Bytes(_) => Place::Whole,
            Mark::Path(path) => Place::Path(path.to_string()),
        };
        let problems = (self.found.into_iter())
            .map(|Found { complaint, at, other }| Problem { complaint, place: place(at), other: other.map(place) })
            .collect();
        PlanErrors::new(name, problems, self.more)
    }
}
