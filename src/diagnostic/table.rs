use std::fmt;

use crate::error::Printable;

/// A plain table: names on the left, numbers on the right of their columns.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(String::from).to_vec()],
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        // Domains' names come from data sets.
        let cells = cells.map(|cell| Printable(&cell).to_string());
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        for row in &self.rows {
            for (column, (cell, widest)) in row.iter().zip(&widths).enumerate() {
                let room = " ".repeat(widest - width(cell));
                match column {
                    0 => write!(f, "{cell}{room}")?,
                    _ => write!(f, "  {room}{cell}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// How many letters wide a text is.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(letter_width).sum()
}

/// Letters of East Asia are as wide as two.
pub(super) fn letter_width(letter: char) -> usize {
    if letter >= '\u{1100}' { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_names_cannot_write_on_the_terminal() {
        let mut table = Table::new(["domain", "loss"]);
        table.row(["é\u{1b}[2J".into(), "0.5".into()]);
        table.row(["写真".into(), "12.25".into()]);
        assert_eq!(
            table.to_string(),
            "domain       loss\né\\u{1b}[2J    0.5\n写真        12.25\n"
        );
    }
}
