//! What failed tests said, kept until the end: of a long run many readers see the last lines alone.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IsTerminal, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::steps::Failure;

/// So much of what a failed test printed is said again.
const SAID: usize = 600;
/// How long is read on when cargo has ended.
const REST: Duration = Duration::from_secs(5);

/// Runs `cargo test` with these arguments for the tests' own harness, and says after the first line of the
/// failure what each failed test said.
pub(crate) fn test(cargo: &mut Command, harness: &[&str]) -> Result<(), Failure> {
    cargo.arg("--").args(harness).stdout(Stdio::piped());
    if io::stdout().is_terminal() {
        cargo.arg("--color=always");
    }
    let mut child = cargo.spawn().map_err(|e| format!("cargo: {e}"))?;
    let stdout = child.stdout.take().expect("it is a pipe");
    let failures = Arc::new(Mutex::new(Failures::default()));
    let reading = thread::spawn({
        let failures = failures.clone();
        move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let _ = io::stdout().write_all(&[&line[..], b"\n"].concat());
                failures.lock().expect("no reader panics").read(&String::from_utf8_lossy(&line));
            }
        }
    });
    let status = child.wait().map_err(|e| format!("cargo: {e}"))?;
    // Whoever was left behind with that pipe is not waited for.
    let end = Instant::now() + REST;
    while !reading.is_finished() && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    let said = &failures.lock().expect("no reader panics").said;
    if status.success() { Ok(()) } else { Err(format!("{status}{said}")) }
}

/// Reads what harnesses print, line by line.
#[derive(Debug, Default)]
struct Failures {
    /// How much more is kept of the test whose output this is.
    left: usize,
    said: String,
}

impl Failures {
    fn read(&mut self, line: &str) {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----"));
        if let Some(name) = name {
            self.left = SAID;
            let _ = write!(self.said, "\n- {}", name.trim_end_matches(" stdout"));
        } else if ["failures:", "stack backtrace:"].contains(&line)
            || line.starts_with("test result:")
        {
            self.left = 0;
        } else if self.left > 0 && !line.trim().is_empty() && !line.starts_with("note: run with ") {
            let kept: String = line.chars().take(self.left).collect();
            self.left -= kept.chars().count();
            let _ = write!(self.said, "\n    {kept}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failures, SAID};

    #[test]
    fn each_failed_test_is_named_with_the_beginning_of_what_it_said() {
        let mut failures = Failures::default();
        let long = "x".repeat(2 * SAID);
        let of_libtest = [
            "test one ... ok",
            "test two ... FAILED",
            "",
            "failures:",
            "",
            "---- two stdout ----",
            "",
            "thread 'two' (7) panicked at src/lib.rs:1:1:",
            "it is broken",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            "stack backtrace:",
            "   0: __rustc::rust_begin_unwind",
            "---- three stdout ----",
            &long,
            "and more",
            "",
            "failures:",
            "    two",
            "",
            "test result: FAILED. 1 passed; 2 failed",
        ];
        let of_others =
            ["failures:", "", "---- here::four ----", "four is so", "", "", "failures:"];
        for line in of_libtest.iter().chain(&of_others).chain(&["    here::four", "anything"]) {
            failures.read(line);
        }
        let cut = "x".repeat(SAID);
        assert_eq!(
            failures.said,
            format!(
                "\n- two\n    thread 'two' (7) panicked at src/lib.rs:1:1:\n    it is broken\
                 \n- three\n    {cut}\n- here::four\n    four is so"
            )
        );
    }
}
