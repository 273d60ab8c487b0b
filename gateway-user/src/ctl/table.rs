//! Aligned tables.

use super::output::Style;

/// On which side a column's cells are flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Text(String),
    State(String),
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::State(text) => text,
        }
    }
}

/// A row under construction.
#[derive(Clone, Debug, Default)]
pub struct Row(Vec<Cell>);

impl Row {
    /// An empty row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a cell. Control characters are shown as `?`: names come from outside.
    pub fn cell(mut self, text: impl Into<String>) -> Self {
        self.0.push(Cell::Text(clean(text.into())));
        self
    }

    /// Appends a cell that is coloured by what it says.
    pub fn state(mut self, text: impl Into<String>) -> Self {
        self.0.push(Cell::State(clean(text.into())));
        self
    }
}

/// The text with control characters as `?`, so that it cannot command the terminal.
pub fn clean(text: String) -> String {
    if text.chars().any(char::is_control) {
        return text.chars().map(|character| if character.is_control() { '?' } else { character }).collect();
    }
    text
}

/// Columns with headings, and rows.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
    empty: &'static str,
}

impl Table {
    /// A table with these columns; `empty` is said if there are no rows.
    pub fn new(empty: &'static str, columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new(), empty }
    }

    /// Appends a row.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The table as text, every line ended.
    pub fn render(&self, style: Style) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.0.get(column)).map(|cell| width(cell.text()));
                cells.chain([width(self.columns[column].0)]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let headings = self.columns.iter().map(|(heading, _)| (style.bold(heading), width(heading)));
        self.line(&mut text, &widths, headings);
        for row in &self.rows {
            let cells = row.0.iter().map(|cell| match cell {
                Cell::Text(text) => (text.clone(), width(text)),
                Cell::State(text) => (style.state(text), width(text)),
            });
            self.line(&mut text, &widths, cells);
        }
        text
    }

    fn line(&self, text: &mut String, widths: &[usize], cells: impl Iterator<Item = (String, usize)>) {
        let start = text.len();
        for ((cell, cell_width), (column, &column_width)) in cells.zip(self.columns.iter().zip(widths)) {
            if text.len() > start {
                text.push_str("  ");
            }
            let padding = " ".repeat(column_width.saturating_sub(cell_width));
            match column.1 {
                Align::Left => text.extend([cell, padding]),
                Align::Right => text.extend([padding, cell]),
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

/// Characters are taken as one column each: names are ASCII by the plan's rules.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new("no things", &[("NAME", Align::Left), ("STATE", Align::Left), ("COUNT", Align::Right)]);
        table.push(Row::new().cell("a-long-name").state("up").cell("7"));
        table.push(Row::new().cell("b").state("unresolved").cell("1234567"));
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let expected = "\
NAME         STATE         COUNT
a-long-name  up                7
b            unresolved  1234567
";
        assert_eq!(table().render(Style::Plain), expected);
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let coloured = table().render(Style::Coloured);
        assert!(coloured.contains("\x1b[32mup\x1b[0m                7\n"), "{coloured:?}");
    }

    #[test]
    fn an_empty_table_says_so_and_control_characters_do_not_pass() {
        let mut table = Table::new("no things", &[("NAME", Align::Left)]);
        assert_eq!(table.render(Style::Plain), "no things\n");
        table.push(Row::new().cell("a\x1b[31m\nb"));
        assert_eq!(table.render(Style::Plain), "NAME\na?[31m?b\n");
    }
}
