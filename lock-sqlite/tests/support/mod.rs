//! What the tests of this crate share: short calls, processes of their own, and mounts.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lock_core::{BackendError, BackendErrorKind, LockBackend, Snapshot, Swap, Version};
use lock_sqlite::SqliteBackend;
use tempfile::TempDir;

/// Names the store for a process that a test starts of itself.
const STORE: &str = "LOCK_SQLITE_TEST_STORE";

/// A directory with a path for a store in it.
pub(crate) fn fresh() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locks.db");
    (dir, path)
}

pub(crate) fn open(path: &Path) -> SqliteBackend {
    SqliteBackend::open(path).unwrap()
}

pub(crate) fn load(backend: &SqliteBackend) -> Result<Snapshot, BackendError> {
    pollster::block_on(backend.load())
}

pub(crate) fn swap(
    backend: &SqliteBackend,
    expected: u64,
    next: u64,
    data: &[u8],
) -> Result<Swap, BackendError> {
    pollster::block_on(backend.compare_and_swap(Version(expected), Version(next), data))
}

pub(crate) fn cell(version: u64, data: &[u8]) -> Snapshot {
    Snapshot { version: Version(version), data: data.into() }
}

/// The error, which must be of the kind and say the words.
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, BackendError>,
    kind: BackendErrorKind,
    words: &str,
) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}: {error:?}");
    assert!(error.to_string().contains(words), "{error} does not say {words:?}");
}

/// Counts up in the cell, as often as asked; the version counts along.
pub(crate) fn count_up(backend: &SqliteBackend, times: u64) {
    let mut done = 0;
    while done < times {
        let result = load(backend).and_then(|seen| {
            let count: u64 = match seen.version {
                Version::ABSENT => 0,
                _ => std::str::from_utf8(&seen.data).unwrap().parse().unwrap(),
            };
            assert_eq!(count, seen.version.0, "a torn cell");
            swap(backend, count, count + 1, (count + 1).to_string().as_bytes())
        });
        match result {
            Ok(Swap::Swapped) => done += 1,
            Ok(Swap::Conflict) => {}
            Err(e) if e.kind() == BackendErrorKind::Busy => std::thread::yield_now(),
            Err(e) => panic!("{e}: {e:?}"),
        }
    }
}

/// This test binary again, to run this test in a process of its own with this store.
pub(crate) fn process(test: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(STORE, store)
        .stdout(Stdio::null());
    command
}

/// The store, if this is a process that [`process`] started.
pub(crate) fn store_of_this_process() -> Option<PathBuf> {
    std::env::var_os(STORE).map(PathBuf::from)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A tmpfs that is there until dropped; `None`, and says so, where one cannot be mounted.
pub(crate) fn tmpfs(test: &str, options: &std::ffi::CStr) -> Option<Tmpfs> {
    let dir = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    match rustix::mount::mount("tmpfs", dir.path(), "tmpfs", flags, options) {
        Ok(()) => Some(Tmpfs { dir }),
        Err(e) => {
            eprintln!("skipped {test}: cannot mount a tmpfs: {e}");
            None
        }
    }
}

pub(crate) struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn make_read_only(&self) {
        let flags = rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(self.path(), flags, c"").unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
