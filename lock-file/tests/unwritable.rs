//! A store that nobody can write to for longer than a lease: whoever holds a lock learns that it is lost, before
//! anybody else has it.

mod support;

use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lock_core::BackendErrorKind::Unavailable;
use lock_core::{AcquireError, BlockingGuard, BlockingLocks, HoldError, Locks};
use lock_file::Strategy;
use rustix::fs::{FlockOperation, flock};

use support::{
    BOTH, PATIENCE, STORE, again, can_run, fresh, load, open, program, refused, swap, until,
};

const LEASE: Duration = Duration::from_secs(2);

fn client(path: &Path, strategy: Strategy) -> BlockingLocks {
    let builder = Locks::builder(open(path, strategy)).lease(LEASE);
    builder.store_patience(Duration::from_millis(300)).build().blocking()
}

/// Waits until a lock is lost; nobody else may have it yet.
fn until_lost(guard: &BlockingGuard, other: &BlockingLocks) {
    until("its holder learns it", || guard.check() == Err(HoldError::Lost));
    let early = other.try_acquire("app").expect_err("it cannot be written down");
    assert!(early.is_busy() || matches!(early, AcquireError::Store(_)), "{early:?}");
}

/// Once the store can be written, others get the lock for good.
fn passes_on(guard: BlockingGuard, other: &BlockingLocks) {
    let next = other.acquire_timeout("app", PATIENCE).unwrap();
    assert!(next.fence() > guard.fence());
    assert_eq!(guard.check(), Err(HoldError::Lost));
    guard.release().unwrap();
    next.verify().expect("who comes late gives nothing back of others");
}

#[test]
fn a_writer_that_is_stopped_for_longer_than_a_lease_costs_the_lock() {
    let (_directory, path) = fresh();
    let (holder, other) = (client(&path, Strategy::Flock), client(&path, Strategy::Flock));
    let guard = holder.acquire("app").unwrap();
    // As if it was stopped between the lock and the rename.
    let stopped = File::open(path.join("default")).unwrap();
    flock(&stopped, FlockOperation::LockExclusive).unwrap();
    until_lost(&guard, &other);
    drop(stopped);
    passes_on(guard, &other);
}

#[test]
fn a_disk_that_is_full_for_longer_than_a_lease_costs_the_lock() {
    let test = "a_disk_that_is_full_for_longer_than_a_lease_costs_the_lock";
    if let Ok(store) = env::var(STORE) {
        return BOTH.into_iter().for_each(|strategy| on_a_full_disk(Path::new(&store), strategy));
    }
    // A file system of one's own takes a place where one may mount it.
    let room = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-ec"]);
        command
    };
    if !can_run(room().arg("mount -t tmpfs none /mnt")) {
        return;
    }
    let (directory, _) = fresh();
    let mut command = room();
    let script = "mount -t tmpfs -o size=256k,mode=700 none \"$0\"; exec \"$@\"";
    command.arg(script).arg(directory.path()).arg(program());
    let output = again(&mut command, test, directory.path()).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{said:?}");
}

fn on_a_full_disk(directory: &Path, strategy: Strategy) {
    let (path, filler) = (directory.join(strategy.to_string()), directory.join("filler"));
    let (holder, other) = (client(&path, strategy), client(&path, strategy));
    let guard = holder.acquire("app").unwrap();
    let mut file = File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    until_lost(&guard, &other);
    // What is there can be read, and also what is smaller takes room to be written.
    let backend = open(&path, strategy);
    let seen = load(&backend).unwrap();
    assert!(!seen.data.is_empty());
    refused(swap(&backend, seen.version.0, seen.version.0 + 1, b""), Unavailable, "disk is full");
    assert_eq!(load(&backend).unwrap(), seen);
    let refused = other.try_acquire("free").unwrap_err();
    assert!(matches!(refused, AcquireError::Store(_)), "{refused:?}");
    drop(file);
    fs::remove_file(filler).unwrap();
    passes_on(guard, &other);
}
