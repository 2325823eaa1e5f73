//! What a run found, kept for the table of results: backend × property × verdict × cases.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::{env, fs, io};

use serde_json::json;

use crate::trial::Failure;

/// Where rows go: a directory, by default `conformance` in the target directory.
const RESULTS: &str = "LOCK_CONFORMANCE_RESULTS";

/// One trial on one backend.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) backend: String,
    pub(crate) trial: &'static str,
    pub(crate) seed: u64,
    pub(crate) end: Result<(), Failure>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) seconds: f64,
}

impl Row {
    pub(crate) fn new(backend: &str, trial: &'static str, seed: u64) -> Self {
        let counts = BTreeMap::new();
        Self { backend: backend.into(), trial, seed, end: Ok(()), counts, seconds: 0.0 }
    }
}

/// All rows of a run.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<Row>);

impl Results {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Writes one line of JSON for each row, to a file for each backend.
    pub(crate) fn write(&self) -> io::Result<()> {
        let directory = match env::var_os(RESULTS) {
            Some(directory) => PathBuf::from(directory),
            // target/debug/deps/conformance-… → target/conformance
            None => env::current_exe()?
                .ancestors()
                .nth(3)
                .unwrap_or("target".as_ref())
                .join("conformance"),
        };
        fs::create_dir_all(&directory)?;
        let mut files = BTreeMap::new();
        for row in &self.0 {
            let (verdict, reason) = match &row.end {
                Ok(()) => ("passed", None),
                Err(Failure::Failed(what)) => ("failed", Some(what)),
                Err(Failure::Skipped(reason)) => ("skipped", Some(reason)),
            };
            let line = json!({
                "backend": row.backend, "trial": row.trial, "verdict": verdict, "reason": reason,
                "seed": row.seed, "seconds": row.seconds, "counts": row.counts,
            });
            let file: &mut Vec<u8> = files.entry(row.backend.as_str()).or_default();
            writeln!(file, "{line}")?;
        }
        for (backend, lines) in files {
            fs::write(directory.join(format!("{backend}.jsonl")), lines)?;
        }
        Ok(())
    }
}
