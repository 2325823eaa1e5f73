//! What the tests of this crate have in common: stores of their own, calls without a runtime, other processes.
#![allow(dead_code, reason = "each test binary needs a part of it")]

use std::env;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{BackendError, BackendErrorKind, LockBackend, Snapshot, Swap, Version};
use lock_file::{FileBackend, FileOptions, Strategy};
use tempfile::TempDir;

pub(crate) const BOTH: [Strategy; 2] = [Strategy::Flock, Strategy::Excl];
/// Names the store for a process that a test starts of itself.
pub(crate) const STORE: &str = "LOCK_FILE_TEST_STORE";
/// How long something may take that takes milliseconds on a machine that has nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one's own with a place for a store in it.
pub(crate) fn fresh() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    // As the kernel names it.
    let path = directory.path().canonicalize().unwrap().join("locks");
    (directory, path)
}

pub(crate) fn open(path: &Path, strategy: Strategy) -> FileBackend {
    FileOptions::new(path).strategy(strategy).open().unwrap()
}

pub(crate) fn load(backend: &FileBackend) -> Result<Snapshot, BackendError> {
    pollster::block_on(backend.load())
}

pub(crate) fn swap(
    backend: &FileBackend,
    from: u64,
    to: u64,
    data: &[u8],
) -> Result<Swap, BackendError> {
    pollster::block_on(backend.compare_and_swap(Version(from), Version(to), data))
}

pub(crate) fn cell(version: u64, data: &[u8]) -> Snapshot {
    Snapshot { version: Version(version), data: data.into() }
}

/// The result must be an error of the kind that says the words.
#[track_caller]
pub(crate) fn refused<T: Debug>(
    result: Result<T, BackendError>,
    kind: BackendErrorKind,
    words: &str,
) {
    let error = result.unwrap_err();
    let said = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    assert_eq!(error.kind(), kind, "{said}");
    assert!(said.contains(words), "{said} does not say {words:?}");
}

/// What is in a directory.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// The first file that a cell is in.
pub(crate) fn file_of(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Flock => "default/cell",
        _ => "default/after-0",
    }
}

/// Polls a condition that must come true.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "this did not come: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a command run a test of this program once more, and that one alone: as a process that uses a store.
pub(crate) fn again<'c>(command: &'c mut Command, test: &str, store: &Path) -> &'c mut Command {
    command.args(["--exact", test]).env(STORE, store).stdin(Stdio::null())
}

/// This program.
pub(crate) fn program() -> PathBuf {
    env::current_exe().unwrap()
}

/// What cannot be tried here is passed over, save where everything has to be there.
pub(crate) fn skip(why: &str) {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "it cannot be tried: {why}");
    eprintln!("skipped: {why}");
}

/// Whether a program can be run here; else the test is skipped.
pub(crate) fn can_run(command: &mut Command) -> bool {
    let reason = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip(&format!("{command:?}: {reason}"));
    false
}
