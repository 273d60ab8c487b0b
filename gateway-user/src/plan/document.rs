//! A plan file's text, taken apart so that the memory it needs at once is that of its largest tenant.
//!
//! A tree of a whole file with a million routes would take gigabytes. So the file is cut before every `[[tenant]]`: each tenant's part is
//! a TOML document by itself, and what is left is one more. Places in the parts are told as places in the file.

use super::path::{Path, Step};
use super::values::Complaint;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// A plan file's text and where its tenants are.
pub(super) struct Document<'a> {
    text: &'a str,
    /// The text with the tenants' parts blanked out, so that places stay the same.
    rest: Cow<'a, str>,
    tenants: Vec<Range<usize>>,
}

/// What the header of a table says about which part it belongs to.
enum Header {
    /// `[[tenant]]`: a part begins.
    Tenant,
    /// `[[tenant.connection]]`: the part goes on.
    OfTenant,
    /// Any other.
    Other,
}

impl Header {
    /// The header in a line that begins with a bracket. Within a list (`nested`) a line may begin so without being a header, if it is quoted.
    fn of(line: &str, nested: bool) -> Option<Self> {
        let inner = line.trim_start_matches('[');
        let brackets = line.len() - inner.len();
        let end = inner.find(['.', ']', '\n'])?;
        if brackets > 2 || &inner[end..=end] == "\n" {
            return None;
        }
        let key = inner[..end].trim();
        let bare = !key.is_empty() && key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        if nested && !bare {
            return None;
        }
        let is_tenant = key.trim_matches(['"', '\'']) == "tenant";
        Some(match &inner[end..=end] {
            "]" if is_tenant && brackets == 2 => Self::Tenant,
            "." if is_tenant => Self::OfTenant,
            _ => Self::Other,
        })
    }
}

impl<'a> Document<'a> {
    /// Takes the text apart.
    pub fn new(text: &'a str) -> Self {
        let mut tenants: Vec<Range<usize>> = Vec::new();
        let mut open = None;
        let mut depth = 0usize;
        let mut line_start = true;
        for token in Source::new(text).lex() {
            let at = token.span().start();
            match token.kind() {
                TokenKind::LeftSquareBracket => {
                    if line_start && let Some(header) = Header::of(&text[at..], depth > 0) {
                        let part = match header {
                            Header::Tenant => Some(at),
                            Header::OfTenant => open,
                            Header::Other => None,
                        };
                        if part != open {
                            tenants.extend(open.map(|start| start..at));
                            open = part;
                        }
                        depth = 0;
                    }
                    depth += 1;
                }
                TokenKind::LeftCurlyBracket => depth += 1,
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => depth = depth.saturating_sub(1),
                _ => {}
            }
            line_start = token.kind() == TokenKind::Newline || (line_start && token.kind() == TokenKind::Whitespace);
        }
        tenants.extend(open.map(|start| start..text.len()));
        Self { text, rest: blank(text, &tenants), tenants }
    }

    /// How many parts are tenants'.
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// What is in no tenant's part.
    pub fn rest(&self) -> Part<'_> {
        Part::parse(&self.rest, 0)
    }

    /// One tenant's part: a document with a list `tenant` of one.
    pub fn tenant(&self, index: usize) -> Part<'_> {
        let range = self.tenants[index].clone();
        Part::parse(&self.text[range.clone()], range.start)
    }
}

/// The text with white space for the ranges, line ends at their ends kept.
fn blank<'a>(text: &'a str, ranges: &[Range<usize>]) -> Cow<'a, str> {
    if ranges.is_empty() {
        return text.into();
    }
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for range in ranges {
        rest.push_str(&text[at..range.start]);
        rest.extend(std::iter::repeat_n(' ', range.len().saturating_sub(1)));
        rest.push('\n');
        at = range.end;
    }
    rest.push_str(&text[at..]);
    rest.into()
}

/// A part of the file, parsed.
pub(super) struct Part<'a> {
    /// Its tree.
    pub table: Spanned<DeTable<'a>>,
    /// What is wrong with its form, with places in the file.
    pub errors: Vec<(Complaint, Range<usize>)>,
    /// Where in the file it starts.
    pub start: usize,
}

impl<'a> Part<'a> {
    fn parse(text: &'a str, start: usize) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        // What comes after a list or table that is not closed is told to be wrong for no other reason.
        let first =
            errors.iter().position(|error| error.message().contains("array") || error.message().contains("table"));
        let errors = (errors.iter().take(first.map_or(errors.len(), |first| first + 1)))
            .map(|error| {
                let span = error.span().unwrap_or(text.len()..text.len());
                (syntax_complaint(error.message()), span.start + start..span.end + start)
            })
            .collect();
        Self { table, errors, start }
    }
}

/// The parser's words, with a remedy.
fn syntax_complaint(message: &str) -> Complaint {
    let remedy = match message {
        _ if message.contains("duplicate key") => {
            "keep one of the two; of several ports, tenants, connections or rules each begins with its header in `[[…]]`"
        }
        _ if message.contains("string values must be quoted") => "put the text in \"double quotes\"",
        _ if message.contains("unclosed array") || message.contains("missing comma") => {
            "put commas between the elements and close the list with `]`"
        }
        _ if message.contains("unclosed inline table") => "close the `{` with `}`",
        _ if message.contains("quote") || message.contains("basic string") => {
            "begin and end the text with the same quotation mark, on one line"
        }
        _ if message.contains("leading zero") => "write the number without zeros in front",
        _ => {
            "write it as TOML has it: `key = value` a line, texts in \"quotes\", lists in `[ ]`; the reference of the plan file has examples"
        }
    };
    Complaint::new(format!("this is not TOML: {message}"), remedy)
}

/// Which elements of which lists were left out because something was wrong with them, by their indices in the file.
pub(super) type Holes = HashMap<Path, Vec<usize>>;

/// Finds the places of paths in the file.
pub(super) struct Locator<'a> {
    document: &'a Document<'a>,
    holes: &'a Holes,
    /// The part that was asked for last: `None` is what is in no tenant's part.
    last: Option<(Option<usize>, Part<'a>)>,
}

impl<'a> Locator<'a> {
    /// A locator for paths into what was read, less what was left out.
    pub fn new(document: &'a Document<'a>, holes: &'a Holes) -> Self {
        Self { document, holes, last: None }
    }

    /// The bytes at a path, or at the nearest place above it that the file has.
    pub fn locate(&mut self, path: &Path) -> Range<usize> {
        let path = self.in_file(path);
        let (wanted, steps) = match path.steps() {
            [Step::Key("tenant"), Step::Index(index), steps @ ..] => (Some(*index), steps),
            steps => (None, steps),
        };
        let wanted = wanted.filter(|&index| index < self.document.tenants());
        let part = match self.last.take() {
            Some((kept, part)) if kept == wanted => part,
            _ => wanted.map_or_else(|| self.document.rest(), |index| self.document.tenant(index)),
        };
        let (_, part) = self.last.insert((wanted, part));
        let top = &part.table;
        let mut place = if wanted.is_some() {
            child(top.get_ref(), "tenant").and_then(|list| list.get_ref().as_array()?.first())
        } else {
            None
        };
        let mut span = place.map_or(top.span().start..top.span().start, Spanned::span);
        let mut table = place.map_or(Some(top.get_ref()), |value| value.get_ref().as_table());
        for step in steps {
            place = match step {
                Step::Key(key) => table.and_then(|table| child(table, key)),
                Step::Index(index) => {
                    place.and_then(|value| value.get_ref().as_array()).and_then(|array| array.get(*index))
                }
            };
            let Some(value) = place else { break };
            table = value.get_ref().as_table();
            span = value.span();
        }
        span.start + part.start..span.end + part.start
    }

    /// The path with the file's own indices.
    fn in_file(&self, path: &Path) -> Path {
        let mut result = Path::root();
        for step in path.steps() {
            result.push(match (step, self.holes.get(&result)) {
                (Step::Index(index), Some(holes)) => {
                    Step::Index(holes.iter().fold(*index, |index, &hole| index + usize::from(hole <= index)))
                }
                _ => *step,
            });
        }
        result
    }
}

/// What stands under a key of a table.
pub(super) fn child<'t, 'i>(table: &'t DeTable<'i>, key: &'i str) -> Option<&'t Spanned<DeValue<'i>>> {
    table.get(&Spanned::new(0..0, Cow::Borrowed(key)))
}
