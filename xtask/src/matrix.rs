//! The table of results: backend × property × verdict × cases, from what the runs of the suite left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::steps::{Failure, target};

/// What one trial came to on one backend, over all its runs.
#[derive(Debug, Default, PartialEq)]
struct Cell {
    runs: u64,
    failed: Vec<String>,
    skipped: Option<String>,
    counts: BTreeMap<String, u64>,
}

/// Verdicts by trial and backend.
#[derive(Debug, Default)]
struct Matrix {
    cells: BTreeMap<(String, String), Cell>,
}

/// Where runs leave their results.
pub(crate) fn directory() -> PathBuf {
    target().join("conformance")
}

/// Forgets the results of earlier runs.
pub(crate) fn clear() -> Result<(), Failure> {
    match fs::remove_dir_all(directory()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
        _ => Ok(()),
    }
}

/// Writes the table, and fails when a trial failed, or a pair of backend and trial has no verdict.
pub(crate) fn write(backends_min: usize) -> Result<(), Failure> {
    let matrix = Matrix::read(&directory())?;
    let path = directory().join("matrix.md");
    fs::write(&path, matrix.to_markdown()).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("xtask: {} written", path.display());
    println!("xtask: {}", matrix.summary());
    let backends = matrix.backends().len();
    if backends < backends_min {
        return Err(format!("{backends} backends left results, not {backends_min}"));
    }
    let wrong = matrix.wrong();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

impl Matrix {
    fn read(directory: &Path) -> Result<Self, Failure> {
        let mut matrix = Self::default();
        let entries =
            fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
                for line in text.lines() {
                    matrix.add(line).map_err(|e| format!("{}: {e}", path.display()))?;
                }
            }
        }
        Ok(matrix)
    }

    fn add(&mut self, line: &str) -> Result<(), Failure> {
        let row: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let text = |key: &str| row[key].as_str().map(String::from);
        let (Some(trial), Some(backend)) = (text("trial"), text("backend")) else {
            return Err(format!("not a result: {line}"));
        };
        let cell = self.cells.entry((trial, backend)).or_default();
        match row["verdict"].as_str() {
            Some("passed") => cell.runs += 1,
            Some("skipped") => cell.skipped = text("reason"),
            _ => cell.failed.push(text("reason").unwrap_or_default()),
        }
        for (what, times) in row["counts"].as_object().into_iter().flatten() {
            *cell.counts.entry(what.clone()).or_default() += times.as_u64().unwrap_or_default();
        }
        Ok(())
    }

    fn backends(&self) -> BTreeSet<&str> {
        self.cells.keys().map(|(_, backend)| backend.as_str()).collect()
    }

    fn trials(&self) -> BTreeSet<&str> {
        self.cells.keys().map(|(trial, _)| trial.as_str()).collect()
    }

    fn cell(&self, trial: &str, backend: &str) -> Option<&Cell> {
        self.cells.get(&(trial.into(), backend.into()))
    }

    /// What failed, and what is missing.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for trial in self.trials() {
            for backend in self.backends() {
                match self.cell(trial, backend) {
                    None => wrong.push(format!("{backend} has no verdict on {trial}")),
                    Some(cell) if !cell.failed.is_empty() => {
                        wrong.push(format!("{backend} fails {trial}"));
                    }
                    Some(_) => {}
                }
            }
        }
        wrong
    }

    /// What was done in all.
    fn summary(&self) -> String {
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for cell in self.cells.values() {
            *totals.entry("runs of trials").or_default() += cell.runs + cell.failed.len() as u64;
            for (what, times) in &cell.counts {
                *totals.entry(what).or_default() += times;
            }
        }
        let totals: Vec<_> = totals.iter().map(|(what, times)| format!("{times} {what}")).collect();
        format!("In all: {}.", totals.join(", "))
    }

    fn to_markdown(&self) -> String {
        let backends = self.backends();
        let mut out = String::from("# Results of the conformance suite\n\n");
        let _ = writeln!(out, "{}\n", self.summary());
        let heads: Vec<_> = std::iter::once("property").chain(backends.iter().copied()).collect();
        let _ = writeln!(out, "| {} |", heads.join(" | "));
        let _ = writeln!(out, "|---|{}", "---|".repeat(backends.len()));
        let mut notes: Vec<&str> = Vec::new();
        for trial in self.trials() {
            let _ = write!(out, "| {trial} |");
            for backend in &backends {
                let _ = write!(out, " {} |", verdict(self.cell(trial, backend), &mut notes));
            }
            out.push('\n');
        }
        if !notes.is_empty() {
            out.push_str("\nSkipped, because:\n\n");
        }
        for (number, note) in (1..).zip(notes) {
            let _ = writeln!(out, "{number}. {note}");
        }
        out
    }
}

fn verdict<'c>(cell: Option<&'c Cell>, notes: &mut Vec<&'c str>) -> String {
    let Some(cell) = cell else { return "**missing**".into() };
    if !cell.failed.is_empty() {
        return "**failed**".into();
    }
    if let (0, Some(reason)) = (cell.runs, &cell.skipped) {
        let known = notes.iter().position(|note| note == reason);
        let number = known.unwrap_or_else(|| {
            notes.push(reason);
            notes.len() - 1
        });
        return format!("skipped ({})", number + 1);
    }
    let cases = cell.counts.get("cases").or(cell.counts.get("operations")).copied();
    match cases {
        Some(cases) => format!("passed, {cases}"),
        None if cell.runs > 1 => format!("passed, {} ×", cell.runs),
        None => "passed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: &[(&str, &str, &str)]) -> Matrix {
        let mut matrix = Matrix::default();
        for (backend, trial, verdict) in rows {
            let row = serde_json::json!({
                "backend": backend, "trial": trial, "verdict": verdict, "reason": "because",
                "counts": {"cases": 2},
            });
            matrix.add(&row.to_string()).unwrap();
        }
        matrix
    }

    #[test]
    fn a_pair_without_a_verdict_is_wrong() {
        let matrix = matrix(&[("a", "x", "passed"), ("a", "y", "skipped"), ("b", "x", "passed")]);
        assert_eq!(matrix.wrong(), ["b has no verdict on y"]);
        assert!(matrix.to_markdown().contains("| y | skipped (1) | **missing** |"));
    }

    #[test]
    fn a_failure_is_wrong_whatever_else_passed() {
        let matrix = matrix(&[("a", "x", "passed"), ("a", "x", "failed"), ("a", "x", "passed")]);
        assert_eq!(matrix.wrong(), ["a fails x"]);
    }

    #[test]
    fn cases_of_all_runs_are_added_up() {
        let matrix = matrix(&[("a", "x", "passed"), ("a", "x", "passed")]);
        assert!(matrix.wrong().is_empty());
        assert!(matrix.to_markdown().contains("In all: 4 cases, 2 runs of trials.\n"));
        assert!(matrix.to_markdown().contains("| x | passed, 4 |"));
    }
}
