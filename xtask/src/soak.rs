//! The long run: the conformance suite on every backend with random seeds, for as long as one likes.

use std::env;
use std::process::Command;

use crate::{Failure, matrix};

/// Runs every suite for its share of the time.
pub(crate) fn run(minutes: u64) -> Result<(), Failure> {
    matrix::clear()?;
    let suites = suites()?;
    let seconds = (minutes * 60 / suites.len() as u64).max(1);
    let mut failed = Vec::new();
    for package in &suites {
        println!("xtask: the suite of {package} for {seconds} s");
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--locked", "-p", package, "--test", "conformance"])
            .env("LOCK_CONFORMANCE_SOAK_SECONDS", seconds.to_string())
            .status()
            .map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            failed.push(format!("{package}: {status}"));
        }
    }
    // Also when one has failed, what all did until then is told.
    let written = matrix::write(suites.len());
    if failed.is_empty() { written } else { Err(failed.join("; ")) }
}

/// The packages of this workspace with a test called `conformance`.
pub(crate) fn suites() -> Result<Vec<String>, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut suites = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["name"] == "conformance" && target["kind"][0] == "test" {
                let name = package["name"].as_str().unwrap_or_default();
                suites.push(name.into());
            }
        }
    }
    if suites.is_empty() {
        Err("no package has a test called conformance".into())
    } else {
        Ok(suites)
    }
}
