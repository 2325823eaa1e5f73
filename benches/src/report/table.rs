//! A table of Markdown, with its columns aligned for whoever reads the source.

use std::fmt;

/// A table, row by row.
#[derive(Debug)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self(vec![head.map(String::from).to_vec()])
    }

    pub(super) fn add<const N: usize>(&mut self, row: [String; N]) {
        self.0.push(row.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0[0].len();
        let width = |column: usize| {
            self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.0.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}
