//! What a person is shown of a plan that is refused: each problem with its place, the line in question and a remedy.

use super::values::Complaint;
use std::fmt;
use std::ops::Range;

/// Everything that is wrong with a plan. `Display` is the report for a person, a paragraph a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors {
    file_name: String,
    problems: Vec<Problem>,
    omitted: usize,
}

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and the remedy.
    pub complaint: Complaint,
    /// Where.
    pub place: Place,
    /// What it contradicts, if that stands elsewhere.
    pub other: Option<Place>,
}

/// Where in a plan a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(super) fn in_text(source: &str, span: Range<usize>) -> Self {
        const SHOWN: usize = 160;
        let floor = |mut at: usize| {
            at = at.min(source.len());
            while !source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        let end = floor(span.end).max(start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let line = source[line_start..line_end].trim_end_matches('\r');
        let before = source[line_start..start].chars().count();
        let width = source[start..end.min(line_end)].chars().count();
        // A long line is shown around the place, so that the marker stays in sight.
        let skip = before.saturating_sub(SHOWN / 2);
        let mut text: String =
            line.chars().skip(skip).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if skip > 0 {
            text.insert(0, '…');
        }
        if line.chars().count() > skip + SHOWN {
            text.push('…');
        }
        Self::Text { line: source[..line_start].matches('\n').count() + 1, column: before + 1, text, width }
    }

    /// How far into the shown text the place is.
    fn indent(column: usize) -> usize {
        const SHOWN: usize = 160;
        let skip = (column - 1).saturating_sub(SHOWN / 2);
        column - 1 - skip + usize::from(skip > 0)
    }
}

impl PlanErrors {
    /// How many problems are told in full; the others are only counted.
    pub const SHOWN: usize = 20;

    pub(super) fn new(file_name: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match problem.place {
            Place::Text { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        let omitted = problems.len().saturating_sub(Self::SHOWN);
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
