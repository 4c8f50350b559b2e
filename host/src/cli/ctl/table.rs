//! Columns that line up.

use std::fmt;

/// Rows of cells under a heading: text to the left, numbers to the right.
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. Columns whose heading begins with `>` are numbers.
    pub fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.heading.len());
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        let heading = self.heading[column].trim_start_matches('>').len();
        cells.max().unwrap_or(0).max(heading)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.heading.len()).map(|n| self.width(n)).collect();
        let heading: Vec<String> = self
            .heading
            .iter()
            .map(|text| text.trim_start_matches('>').to_owned())
            .collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line += &match self.heading[column].starts_with('>') {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:width$}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `text` without what could move a terminal's cursor.
pub fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.replace(char::is_control, "\u{fffd}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_stay_in_theirs() {
        let mut table = Table::new(&["NAME", ">N", "NOTE"]);
        table.row(["ä".into(), "1".into(), "x\n\u{1b}[2J".into()]);
        table.row(["longer".into(), "1000".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME       N  NOTE\n\
             ä          1  x\u{fffd}\u{fffd}[2J\n\
             longer  1000\n"
        );
    }
}
