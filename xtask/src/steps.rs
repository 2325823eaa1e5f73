//! The steps of a command: how they are run and reported, and what they have in common.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

/// Why a step failed, for people.
pub(crate) type Failure = String;

/// A step's name, and how it is run.
pub(crate) type Step<'s> = (&'s str, &'s dyn Fn() -> Result<(), Failure>);

/// Runs every step, also after one failed: one run tells all that is wrong.
pub(crate) fn run(steps: &[Step]) -> ExitCode {
    let mut report = Vec::new();
    let mut failures = Vec::new();
    for (name, step) in steps {
        println!("xtask: {name}");
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs();
        report.push(match result {
            Ok(()) => format!("ok      {name} ({seconds} s)"),
            Err(failure) => {
                failures.push(format!("{name}: {failure}"));
                format!("FAILED  {name} ({seconds} s)")
            }
        });
    }
    println!("\nxtask: summary\n{}", report.join("\n"));
    for failure in &failures {
        println!("\nxtask: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// How many tests run at once: most wait for other processes, and leave the cores to others meanwhile.
pub(crate) fn test_threads() -> usize {
    3 * thread::available_parallelism().map_or(1, usize::from)
}

/// Has the cargo that runs us do this.
pub(crate) fn cargo(args: &[&str]) -> Result<(), Failure> {
    let status = a_cargo().args(args).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {}: {status}", args.join(" "))) }
}

/// The cargo that runs us.
pub(crate) fn a_cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a command of cargo prints.
pub(crate) fn ask(args: &[&str]) -> Result<String, Failure> {
    let output = a_cargo().args(args).output().map_err(|e| format!("cargo: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("cargo {}: {}: {}", args.join(" "), output.status, said.trim()))
}

/// The folder of this workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a folder of it")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
