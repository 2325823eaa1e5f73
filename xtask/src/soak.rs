//! The long run: the conformance suite on every backend with random seeds, for as long as one likes.

use crate::metadata::{self, list, text};
use crate::steps::{Failure, a_cargo};
use crate::{failures, matrix};

/// The suite on clusters: its test, how many kinds of them there are, and the variable that lets it do
/// something.
const CLUSTERS: (&str, u64, &str) = ("clusters", 3, "INTERLOCK_CLUSTERS");

/// One round of a long run on a cluster takes some ten minutes, however few it was given: none is begun
/// for less than these seconds.
const ROUND: u64 = 120;

/// What only clusters raise, in the packages that have the suite on clusters.
const CLUSTER_ERRORS: &str = "cluster_errors";

/// The variable that makes a run of a suite a long one, of so many seconds for each backend.
const SOAK: &str = "LOCK_CONFORMANCE_SOAK_SECONDS";

/// Runs every suite for its share of the time.
pub(crate) fn run(minutes: u64) -> Result<(), Failure> {
    matrix::clear()?;
    let (suites, clusters) = (suites()?, packages_with(CLUSTERS.0)?);
    let shares = (suites.len() + clusters.len()) as u64;
    let seconds = (minutes * 60 / shares).max(1);
    let mut failed = Vec::new();
    let mut test = |package: &str, test: &str, rest: &[&str], variables: &[(&str, String)]| {
        println!("xtask: {test} of {package}");
        let mut command = a_cargo();
        command.args(["test", "--locked", "-p", package, "--test", test]);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        if let Err(failure) = failures::test(&mut command, rest) {
            failed.push(format!("{test} of {package}: {failure}"));
        }
    };
    for package in &suites {
        test(package, "conformance", &[], &[(SOAK, seconds.to_string())]);
    }
    for package in &clusters {
        let (name, kinds, switch) = CLUSTERS;
        let one_by_one = ["--test-threads", "1"];
        // All trials once, of which the table of the long runs does not tell; then, if there is time for
        // that, those that differ from run to run, one cluster after the other.
        let apart = matrix::directory().join("clusters").display().to_string();
        let once = [(switch, "1".into()), ("LOCK_CONFORMANCE_RESULTS", apart)];
        test(package, name, &one_by_one, &once);
        if seconds / kinds >= ROUND {
            let long = [(switch, "1".into()), (SOAK, (seconds / kinds).to_string())];
            test(package, name, &one_by_one, &long);
        }
        test(package, CLUSTER_ERRORS, &one_by_one, &[(switch, "1".into())]);
    }
    // Also when one has failed, what all did until then is told.
    let written = matrix::write(suites.len());
    if failed.is_empty() { written } else { Err(failed.join("\n")) }
}

/// The packages of this workspace with a test called `conformance`.
pub(crate) fn suites() -> Result<Vec<String>, Failure> {
    let suites = packages_with("conformance")?;
    if suites.is_empty() {
        return Err("no package has a test called conformance".into());
    }
    Ok(suites)
}

/// The packages of this workspace with a test of this name.
fn packages_with(test: &str) -> Result<Vec<String>, Failure> {
    let metadata = metadata::read("--no-deps")?;
    let mut packages = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            if target["name"] == test && target["kind"][0] == "test" {
                packages.push(text(&package["name"]).into());
            }
        }
    }
    Ok(packages)
}
