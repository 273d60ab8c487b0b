//! Where answers are printed.

use super::args::{Form, Format};
use super::table::Table;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Write};

/// Standard output in the chosen format. A reader that has gone is an error of kind `BrokenPipe`, never a panic.
pub struct Output {
    form: Form,
    style: Style,
    out: BufWriter<Box<dyn Write>>,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nothing but text.
    Plain,
    /// With the terminal's colours.
    Coloured,
}

impl Style {
    /// A state, in the colour that its meaning has.
    pub fn state(self, text: &str) -> String {
        let colour = match text {
            "up" | "resolved" | "held" | "forwarded" | "delivered" | "fit" | "Active" | "Connected" | "Healthy"
            | "Success" | "Succeeded" => "32",
            "unresolved" | "yielding" | "disabled" | "passed" | "deferred" | "unknown" | "warning" | "Warning"
            | "InProgress" | "Unknown" | "Redundant" => "33",
            "down" | "gone" | "dropped" | "unfit" | "Failure" | "Failed" | "Unhealthy" | "Disconnected" => "31",
            _ => return text.to_owned(),
        };
        self.paint(text, colour)
    }

    /// Something to stand out.
    pub fn bold(self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn paint(self, text: &str, code: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

impl Output {
    /// Coloured only on a terminal, and not if `NO_COLOR` is set.
    pub fn new(form: Form) -> Self {
        let plain = !io::stdout().is_terminal()
            || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|value| value == "dumb");
        let style = if plain { Style::Plain } else { Style::Coloured };
        Self { form, style, out: BufWriter::new(Box::new(io::stdout())) }
    }

    /// Uncoloured, to somewhere else.
    #[cfg(test)]
    pub fn to(form: Form, out: impl Write + 'static) -> Self {
        Self { form, style: Style::Plain, out: BufWriter::new(Box::new(out)) }
    }

    /// Whether to print for people or for programs.
    pub fn format(&self) -> Format {
        match self.form {
            Form::Table | Form::Wide | Form::Name => Format::Table,
            Form::Json | Form::Yaml => Format::Json,
        }
    }

    /// How to print.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether to colour.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Prints as it is.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Prints a table.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        self.text(&table.render(self.style))
    }

    /// Prints a document.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(io::Error::from)?;
        self.out.write_all(b"\n")
    }

    /// Prints a document for programs, as JSON or as YAML.
    pub fn document<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        match self.form {
            Form::Yaml => serde_norway::to_writer(&mut self.out, value).map_err(io::Error::other),
            _ => self.json(value),
        }
    }

    /// Prints a document on one line, one of many.
    pub fn json_line<T: Serialize + ?Sized>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        self.out.write_all(b"\n")
    }

    /// Hands everything on.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
