//! The report of how fast it is: builds what is measured and what it is compared with, and runs it.

use std::path::Path;
use std::process::Command;

use crate::steps::{Failure, cargo, root, target};

/// Where the report goes, and the page that has its figures in short.
const REPORT: &str = "benches/report";
const PAGE: &str = "README.md";

/// Builds everything for speed, the peers where the harness looks for them.
pub(crate) fn build() -> Result<(), Failure> {
    cargo(&["build", "--release", "--locked", "-p", "lock-benches", "-p", "lockctl"])?;
    let manifest = root().join("benches/peers/Cargo.toml").display().to_string();
    let folder = target().join("peers").display().to_string();
    let peers = ["build", "--release", "--locked", "--manifest-path", &manifest];
    cargo(&[&peers[..], &["--target-dir", &folder]].concat()).or_else(|failure| {
        // The rest is measured without them, and the report says that they are missing.
        println!("xtask: the peers are left out: {failure}");
        Ok(())
    })
}

/// Runs it; a whole run that goes to its usual place is also told in short on the project's page.
pub(crate) fn run(quick: bool, runs: u8, out: Option<&Path>) -> Result<(), Failure> {
    let mut harness = Command::new(target().join("release/lock-benches"));
    let folder = out.map_or_else(|| root().join(REPORT), Path::to_path_buf);
    harness.arg("--runs").arg(runs.to_string()).arg("--report").arg(folder);
    if quick {
        harness.arg("--quick");
    } else if out.is_none() {
        harness.arg("--summary").arg(root().join(PAGE));
    }
    let status = harness.status().map_err(|error| format!("lock-benches: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("lock-benches: {status}")) }
}
