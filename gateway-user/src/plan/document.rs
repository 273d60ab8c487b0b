//! A plan file's text, taken apart so that only little of it is held as a tree at once.
//!
//! A tree of a whole file with a million routes would take gigabytes. So the file is cut before every `[[tenant]]`, and each tenant's
//! part is a TOML document by itself; what is left is one more. A long list is taken out of its part and read in pieces, which are lists
//! by themselves. Places in all of them are told as places in the file.

use super::values::Complaint;
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::{Token, TokenKind};

/// How many bytes of a list make a piece. Few in tests, so that all of them are about pieces too.
const PIECE: usize = if cfg!(test) { 100 } else { 64 << 10 };

/// A plan file's text, taken apart.
pub(super) struct Document<'a> {
    text: &'a str,
    /// What is in no tenant's part.
    rest: Excerpt<'a>,
    tenants: Vec<Excerpt<'a>>,
    /// The long lists, in the file's order.
    lists: Vec<LongList>,
}

/// A list that is read in pieces.
pub(super) struct LongList {
    brackets: Range<usize>,
    pieces: Vec<Piece>,
}

/// Some elements of a long list.
pub(super) struct Piece {
    span: Range<usize>,
    /// The index of the first of them.
    pub first: usize,
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
    /// The header in a line that begins with a bracket. Within a list (`nested`) a line
    /// may begin so for other reasons, but not with what is a header here.
    fn of(line: &str, nested: bool) -> Option<Self> {
        let inner = line.trim_start_matches('[');
        let brackets = line.len() - inner.len();
        let end = inner.find(['.', ']', '\n'])?;
        if brackets > 2 || &inner[end..=end] == "\n" {
            return None;
        }
        let key = inner[..end].trim();
        if nested && !matches!(key, "gateway" | "port" | "tenant" | "steer") {
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

/// Goes over the file's tokens and finds where to cut.
#[derive(Default)]
struct Scanner {
    tenants: Vec<Range<usize>>,
    lists: Vec<LongList>,
    /// Where the part of the present tenant began.
    tenant: Option<usize>,
    /// The outermost list that is open.
    list: Option<OpenList>,
    /// How many brackets and braces are open.
    depth: usize,
}

struct OpenList {
    start: usize,
    pieces: Vec<Piece>,
    piece_start: usize,
    first: usize,
    /// Elements so far.
    count: usize,
}

impl OpenList {
    fn cut(&mut self, end: usize) {
        self.pieces.push(Piece { span: self.piece_start..end, first: self.first });
        self.piece_start = end;
        self.first = self.count;
    }
}

impl Scanner {
    fn header(&mut self, header: &Header, at: usize) {
        let tenant = match header {
            Header::Tenant => Some(at),
            Header::OfTenant => self.tenant,
            Header::Other => None,
        };
        if tenant != self.tenant {
            self.tenants.extend(self.tenant.map(|start| start..at));
            self.tenant = tenant;
        }
        self.list = None;
        self.depth = 0;
    }

    fn token(&mut self, token: &Token, is_header: bool) {
        let span = token.span().start()..token.span().end();
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                if self.depth == 0 && !is_header && token.kind() == TokenKind::LeftSquareBracket {
                    self.list = Some(OpenList {
                        start: span.start,
                        pieces: Vec::new(),
                        piece_start: span.end,
                        first: 0,
                        count: 0,
                    });
                }
                self.depth += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0
                    && let Some(mut list) = self.list.take()
                    && !list.pieces.is_empty()
                {
                    list.cut(span.start);
                    self.lists.push(LongList { brackets: list.start..span.end, pieces: list.pieces });
                }
            }
            TokenKind::Comma if self.depth == 1 => {
                if let Some(list) = &mut self.list {
                    list.count += 1;
                    if span.end - list.piece_start >= PIECE {
                        list.cut(span.end);
                    }
                }
            }
            _ => {}
        }
    }
}

impl<'a> Document<'a> {
    /// Takes the text apart.
    pub fn new(text: &'a str) -> Self {
        let mut scanner = Scanner::default();
        let mut line_start = true;
        for token in Source::new(text).lex() {
            let at = token.span().start();
            let mut is_header = false;
            if line_start
                && token.kind() == TokenKind::LeftSquareBracket
                && let Some(header) = Header::of(&text[at..], scanner.depth > 0)
            {
                scanner.header(&header, at);
                is_header = true;
            }
            scanner.token(&token, is_header);
            line_start = token.kind() == TokenKind::Newline || (line_start && token.kind() == TokenKind::Whitespace);
        }
        let Scanner { mut tenants, lists, tenant, .. } = scanner;
        tenants.extend(tenant.map(|start| start..text.len()));

        let inside = |list: &LongList| list.brackets.start + 1..list.brackets.end - 1;
        let outside = lists.iter().filter(|list| {
            let before = tenants.partition_point(|tenant| tenant.start <= list.brackets.start);
            before == 0 || tenants[before - 1].end <= list.brackets.start
        });
        let mut gaps: Vec<Range<usize>> = tenants.iter().cloned().chain(outside.map(inside)).collect();
        gaps.sort_unstable_by_key(|gap| gap.start);
        let rest = Excerpt::new(text, 0..text.len(), &gaps);
        let tenants = tenants.into_iter().map(|tenant| {
            let from = lists.partition_point(|list| list.brackets.start < tenant.start);
            let to = lists.partition_point(|list| list.brackets.start < tenant.end);
            let gaps: Vec<Range<usize>> = lists[from..to].iter().map(inside).collect();
            Excerpt::new(text, tenant, &gaps)
        });
        Self { text, rest, tenants: tenants.collect(), lists }
    }

    /// How many parts are tenants'.
    pub fn tenants(&self) -> usize {
        self.tenants.len()
    }

    /// What is in no tenant's part.
    pub fn rest(&self) -> Part<'_> {
        self.rest.parse()
    }

    /// One tenant's part: a document with a list `tenant` of one.
    pub fn tenant(&self, index: usize) -> Part<'_> {
        self.tenants[index].parse()
    }

    /// The list that begins at a place, if it was taken out of its part.
    pub fn long_list(&self, at: usize) -> Option<&LongList> {
        let index = self.lists.binary_search_by_key(&at, |list| list.brackets.start).ok()?;
        Some(&self.lists[index])
    }

    /// A piece of a long list as the text of a list.
    pub fn piece(&self, piece: &Piece) -> PieceText {
        let shift = Shift { start: piece.span.start.saturating_sub(1), gaps: Rc::default() };
        PieceText { text: format!("[{}\n]", &self.text[piece.span.clone()]), shift, end: piece.span.end }
    }
}

impl LongList {
    /// The pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The piece with the element.
    pub fn piece_of(&self, index: usize) -> &Piece {
        let after = self.pieces.partition_point(|piece| piece.first <= index);
        &self.pieces[after.saturating_sub(1)]
    }
}

/// How places in a part are places in the file.
#[derive(Clone, Default)]
pub(super) struct Shift {
    start: usize,
    /// Where in the part something was taken out, and how many bytes until there in total.
    gaps: Rc<[(usize, usize)]>,
}

impl Shift {
    /// The place in the file.
    pub fn in_file(&self, span: Range<usize>) -> Range<usize> {
        let missing = |gaps: usize| gaps.checked_sub(1).map_or(0, |last| self.gaps[last].1);
        let before_start = missing(self.gaps.partition_point(|(at, _)| *at <= span.start));
        let before_end = missing(self.gaps.partition_point(|(at, _)| *at < span.end)).max(before_start);
        span.start + self.start + before_start..span.end + self.start + before_end
    }
}

/// Some of the file's text, with parts of it left out.
struct Excerpt<'a> {
    text: Cow<'a, str>,
    shift: Shift,
}

impl<'a> Excerpt<'a> {
    fn new(text: &'a str, range: Range<usize>, left_out: &[Range<usize>]) -> Self {
        if left_out.is_empty() {
            let shift = Shift { start: range.start, gaps: Rc::default() };
            return Self { text: text[range].into(), shift };
        }
        let mut kept = String::new();
        let mut gaps = Vec::with_capacity(left_out.len());
        let mut missing = 0;
        let mut at = range.start;
        for gap in left_out {
            kept.push_str(&text[at..gap.start]);
            missing += gap.len();
            gaps.push((kept.len(), missing));
            at = gap.end;
        }
        kept.push_str(&text[at..range.end]);
        Self { text: kept.into(), shift: Shift { start: range.start, gaps: gaps.into() } }
    }

    fn parse(&self) -> Part<'_> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        Part { table, errors: syntax_errors(&errors, self.text.len(), &self.shift), shift: self.shift.clone() }
    }
}

/// A part of the file, parsed.
pub(super) struct Part<'a> {
    /// Its tree.
    pub table: Spanned<DeTable<'a>>,
    /// What is wrong with its form, with places in the file.
    pub errors: Vec<(Complaint, Range<usize>)>,
    /// How the tree's places are places in the file.
    pub shift: Shift,
}

/// The text of some of a list's elements, as a list.
pub(super) struct PieceText {
    text: String,
    end: usize,
    /// How its places are places in the file.
    pub shift: Shift,
}

impl PieceText {
    /// The list, and what is wrong with its form, with places in the file.
    pub fn parse(&self) -> (Spanned<DeValue<'_>>, Vec<(Complaint, Range<usize>)>) {
        let (value, errors) = DeValue::parse_recoverable(&self.text);
        let mut errors = syntax_errors(&errors, self.text.len(), &self.shift);
        for (_, span) in &mut errors {
            *span = span.start.min(self.end)..span.end.min(self.end);
        }
        (value, errors)
    }
}

fn syntax_errors(errors: &[toml::de::Error], len: usize, shift: &Shift) -> Vec<(Complaint, Range<usize>)> {
    // What comes after a list or table that is not closed is told to be wrong for no other reason.
    let first = errors.iter().position(|error| error.message().contains("array") || error.message().contains("table"));
    (errors.iter().take(first.map_or(errors.len(), |first| first + 1)))
        .map(|error| (syntax_complaint(error.message()), shift.in_file(error.span().unwrap_or(len..len))))
        .collect()
}

/// The parser's words, with a remedy.
fn syntax_complaint(message: &str) -> Complaint {
    let says = |words: &str| message.contains(words);
    let remedy = if says("duplicate key") {
        "keep one of the two; each of several ports, tenants, connections and rules begins with its header in `[[…]]`"
    } else if says("string values must be quoted") || says("invalid boolean") {
        "write one value after the `=`; a text goes in \"double quotes\""
    } else if says("unquoted key") {
        "a key is made of letters a to z, digits, `_` and `-`"
    } else if says("comma") || says("array") && says("unclosed") {
        "put one comma between the elements, and close the list with `]` or the table with `}`"
    } else if says("unclosed") || says("table open") {
        "close every `{` with `}`; a header is closed with as many `]` as it begins with"
    } else if says("basic string") || says("escaped") || says("literal string") || says("opening quote") {
        "begin and end the text with the same quotation mark, on one line; write a backslash as `\\\\`"
    } else if says("leading zero") || says("sign") || says("radix") || says("digits") || says("number prefix") {
        "write the number in plain digits, such as 100, or in hexadecimal, such as 0x64"
    } else if says("with no value") || says("missing value") || says("assignment") || says("key-value") {
        "write one `key = value` a line"
    } else if says("recur") {
        "nothing in a plan is nested that deep; look for a bracket too many"
    } else if says("carriage return") || says("comment") {
        "remove the invisible character"
    } else {
        "write it as TOML has it: `key = value` a line, texts in \"quotes\", lists in `[ ]`, comments after `#`"
    };
    Complaint::new(format!("this is not TOML: {message}"), remedy)
}

/// What stands under a key of a table.
pub(super) fn child<'t, 'i>(table: &'t DeTable<'i>, key: &'i str) -> Option<&'t Spanned<DeValue<'i>>> {
    table.get(&Spanned::new(0..0, Cow::Borrowed(key)))
}
