//! Fuzzes what reads bytes of strangers: builds the targets in `fuzz/` and runs each for a while.

use std::{env, fs, path::Path, process::Command};

use crate::steps::{Failure, a_cargo, root};

/// The programs in `fuzz/fuzz_targets`.
pub(crate) const TARGETS: [&str; 3] = ["table", "name", "url"];

/// What tells the fuzzer which code was reached. The stable compiler has it all: no sanitizer is
/// needed where no code is unsafe.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// What one input may take.
const SECONDS_MAX: u32 = 10;
const MEGABYTES_MAX: u32 = 1024;

/// Fuzzes one target or all in turn, each for so many minutes.
///
/// What was found interesting is kept below `target/fuzz`, and built on by the next run.
pub(crate) fn run(target: Option<&str>, minutes: u32) -> Result<(), Failure> {
    let work = root().join("target/fuzz");
    build(&work)?;
    let mut failures = Vec::new();
    for name in TARGETS.iter().filter(|name| target.is_none_or(|target| target == **name)) {
        println!("xtask: fuzzing {name} for {minutes} min");
        let corpus = work.join("corpus").join(name);
        let found = work.join("found").join(name);
        for dir in [&corpus, &found] {
            fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        let mut fuzzer = Command::new(work.join(host()?).join("release").join(name));
        fuzzer
            .arg(format!("-max_total_time={}", minutes * 60))
            .arg(format!("-timeout={SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEGABYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg("-print_final_stats=1");
        let words = root().join("fuzz").join(format!("{name}.dict"));
        if words.exists() {
            fuzzer.arg(format!("-dict={}", words.display()));
        }
        fuzzer.arg(&corpus).arg(root().join("fuzz/seeds").join(name));
        let status = fuzzer.status().map_err(|e| format!("{name}: {e}"))?;
        if !status.success() {
            failures.push(format!("{name} found something, kept in {}", found.display()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Builds all targets, with the flags only for them: build scripts cannot be linked with these.
fn build(work: &Path) -> Result<(), Failure> {
    let status = a_cargo()
        .args(["build", "--release", "--locked", "--bins", "--target", &host()?])
        .arg("--manifest-path")
        .arg(root().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(work)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build of the targets: {status}")) }
}

/// The triple of this machine.
fn host() -> Result<String, Failure> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["-vV"]).output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}
