//! Processes that a program starts while it uses a store: they inherit nothing of it, and keep no lock.

mod support;

use std::env;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lock_core::BackendErrorKind::Busy;
use lock_core::Swap;
use lock_file::{FileBackend, Strategy};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use support::{BOTH, STORE, again, cell, fresh, load, open, program, refused, skip, swap, until};

/// A process that lives until this is dropped, also if this program is killed: its input ends then.
struct Idler(Child);

impl Idler {
    /// When this returns it runs its own program, and has closed what it was told to close then.
    fn start() -> Self {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn assert_alive(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the child has ended");
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The descriptors of a process, and where they lead to.
fn descriptors(process: u32) -> Vec<(i32, PathBuf)> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let numbered = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // What is closed meanwhile is not there.
        let path = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, path))
    });
    numbered.collect()
}

/// Another descriptor for the very directory that this process has open, and not for one that is opened anew:
/// they share their flock.
fn shared_descriptor(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let mut all = descriptors(std::process::id()).into_iter();
    let (number, _) = all.find(|(_, path)| path == directory).expect("it is open");
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(this, number, PidfdGetfdFlags::empty())
}

#[test]
fn children_inherit_nothing_whatever_is_being_done_when_they_start() {
    const CHILDREN: usize = 40;
    if let Ok(store) = env::var(STORE) {
        // Another process.
        let backend = FileBackend::open(store).unwrap();
        let seen = load(&backend).unwrap().version.0;
        assert_eq!(swap(&backend, seen, seen + 1, b"theirs").unwrap(), Swap::Swapped);
        return;
    }
    for strategy in BOTH {
        let (_directory, path) = fresh();
        let (writer, reader) = (open(&path, strategy), open(&path, strategy));
        swap(&writer, 0, 1, b"one").unwrap();
        let (has_ended, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut children: Vec<Idler> = Vec::new();
        thread::scope(|scope| {
            // What is written is open most of the time, what is read by chance.
            scope.spawn(|| {
                for version in 1.. {
                    assert_eq!(swap(&writer, version, version + 1, b"").unwrap(), Swap::Swapped);
                    swaps.store(version, Ordering::Relaxed);
                    if has_ended.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            scope.spawn(|| {
                while !has_ended.load(Ordering::Relaxed) {
                    load(&reader).unwrap();
                }
            });
            // However slow the disk is, several swaps have children that start meanwhile.
            for _ in 0..CHILDREN / 4 {
                let before = swaps.load(Ordering::Relaxed);
                children.extend((0..4).map(|_| Idler::start()));
                until("it swaps", || swaps.load(Ordering::Relaxed) > before);
            }
            has_ended.store(true, Ordering::Relaxed);
        });
        // All of them still live with what they were born with.
        for child in &mut children {
            child.assert_alive();
            let all = descriptors(child.0.id());
            assert!(all.len() >= 3, "its standard streams are not seen: {all:?}");
            let of_it: Vec<_> = all.iter().filter(|(_, to)| to.starts_with(&path)).collect();
            assert!(of_it.is_empty(), "{strategy}: {of_it:?}");
        }
        // The clients end, and another process writes.
        drop((writer, reader));
        let test = "children_inherit_nothing_whatever_is_being_done_when_they_start";
        let output = again(&mut Command::new(program()), test, &path).output().unwrap();
        assert!(output.status.success(), "{strategy}: another process cannot write: {output:?}");
        assert_eq!(load(&open(&path, strategy)).unwrap().data, b"theirs");
    }
}

#[test]
fn a_child_that_is_started_under_the_lock_does_not_keep_it() {
    let (_directory, path) = fresh();
    let client = open(&path, Strategy::Flock);
    swap(&client, 0, 1, b"one").unwrap();
    let held = match shared_descriptor(&path.join("default")) {
        Ok(held) => held,
        Err(error) => return skip(&format!("a descriptor cannot be shared: {error}")),
    };
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let mut child = Idler::start();
    let other = open(&path, Strategy::Flock);
    refused(swap(&other, 1, 2, b"two"), Busy, "default");
    // As when a process is killed there: its descriptors are closed, and nobody unlocks.
    drop((client, held));
    // What another test starts just now has a copy of it until it runs its own program.
    until("the lock is free", || match swap(&other, 1, 2, b"two") {
        Err(error) if error.kind() == Busy => false,
        done => done.unwrap() == Swap::Swapped,
    });
    child.assert_alive();
    assert_eq!(load(&open(&path, Strategy::Flock)).unwrap(), cell(2, b"two"));
}
