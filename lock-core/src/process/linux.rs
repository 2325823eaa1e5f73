//! Identity and liveness of Linux processes, from `/proc`, signal 0 and pidfds.

use std::os::{fd::OwnedFd, unix::fs::MetadataExt};
use std::{fs, future, io, thread};

use procfs::ProcError;
use procfs::process::{Process as Entry, Stat, all_processes};
use rustix::fs::{major, minor};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process, test_kill_process_group};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Liveness, Place, Process, ProcessGroup};

/// How often a look is taken that a process disturbed by changing under it.
const LOOKS_MAX: usize = 3;

pub(super) fn here() -> Place {
    let pid_ns = if proc_is_ours() { namespace("pid").ok() } else { None };
    let time_ns = match namespace("time") {
        // Kernels before 5.6 have one time for all.
        Err(error) if error.kind() == io::ErrorKind::NotFound && pid_ns.is_some() => Some(0),
        time_ns => time_ns.ok(),
    };
    Place {
        host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        boot: boot().ok().flatten(),
        pid_ns,
        time_ns,
    }
}

pub(super) fn current() -> Option<Process> {
    let stat = Entry::myself().and_then(|entry| entry.stat()).ok()?;
    Some(Process { pid: std::process::id(), start: stat.starttime })
}

pub(super) fn find(pid: u32) -> Option<Process> {
    if !proc_is_ours() {
        return None;
    }
    let stat = stat(checked(pid)?).ok()?;
    Some(Process { pid, start: stat.starttime })
}

pub(super) fn parent(child: Process) -> Option<Process> {
    let parent = find(parent_id(child)?)?;
    // A parent that ended in between gave its child away, and its id may be used again.
    (parent_id(child)? == parent.pid).then_some(parent)
}

pub(super) fn probe_process(Process { pid, start }: Process) -> Liveness {
    let Some(id) = checked(pid) else { return Liveness::Unknown };
    for _ in 0..LOOKS_MAX {
        match stat(id) {
            Ok(seen) if seen.starttime != start => return Liveness::Dead,
            Ok(seen) => match liveness(&seen) {
                Liveness::Unknown => {}
                known => return known,
            },
            // That there is nothing to read proves nothing: it may be hidden.
            Err(_) if test_kill_process(id) == Err(Errno::SRCH) => return Liveness::Dead,
            Err(_) => {}
        }
    }
    Liveness::Unknown
}

pub(super) fn probe_group(ProcessGroup { id: pgid, start: since }: ProcessGroup) -> Liveness {
    let Some(id) = checked(pgid) else { return Liveness::Unknown };
    if let Ok(leader) = stat(id) {
        // The kernel does not use an id again before the last member of its group is reaped.
        if leader.starttime > since {
            return Liveness::Dead;
        }
        if is_living_member(&leader, id, since) {
            return Liveness::Alive;
        }
    }
    // No scan is one moment: a member may fork where the scan has passed, and end. It takes two in
    // a row, for new processes have greater ids, save when the ids wrap around, and that is once.
    let mut before = Liveness::Unknown;
    for _ in 0..LOOKS_MAX {
        // To ask for group 1 would be to ask for every process.
        if id != Pid::INIT && test_kill_process_group(id) == Err(Errno::SRCH) {
            return Liveness::Dead;
        }
        match scan(id, since) {
            Liveness::Alive => return Liveness::Alive,
            Liveness::Dead if before == Liveness::Dead => return Liveness::Dead,
            seen => before = seen,
        }
    }
    Liveness::Unknown
}

/// A pidfd, which is readable when its process has ended.
#[derive(Debug)]
pub(super) struct Exit(AsyncFd<OwnedFd>);

impl Exit {
    pub(super) fn open(Process { pid, start }: Process) -> io::Result<Self> {
        let id = checked(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(id, PidfdFlags::empty())?;
        // Read after opening: whoever has the id and this start now had it then.
        if stat(id).map_err(io::Error::other)?.starttime != start {
            return Err(Errno::SRCH.into());
        }
        // Its successor is `unsafe`, because of types that may close their descriptor too early.
        // `OwnedFd` does not.
        #[allow(deprecated, reason = "deprecated by tokio 1.54 and later only")]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        Ok(Self(pidfd))
    }

    pub(super) async fn wait(&self) {
        if self.0.readable().await.is_err() {
            future::pending::<()>().await;
        }
    }
}

/// The members of a group that can be seen: is one alive, or are all of them dead?
///
/// To be asked only when the kernel says that the group has members.
fn scan(pgid: Pid, since: u64) -> Liveness {
    let Ok(processes) = all_processes() else { return Liveness::Unknown };
    let (mut explained, mut unreadable) = (false, false);
    for process in processes {
        match process.and_then(|process| settled(process.stat()?)) {
            Ok(stat) if is_living_member(&stat, pgid, since) => return Liveness::Alive,
            // It may be of any group: the kernel has already forgotten which.
            Ok(stat) if liveness(&stat) == Liveness::Unknown => unreadable = true,
            Ok(stat) => explained |= stat.pgrp == pgid.as_raw_pid(),
            Err(ProcError::NotFound(_)) => {}
            Err(_) => unreadable = true,
        }
    }
    // If not even a zombie explains why the kernel knows the group, a member is hidden.
    let complete = explained && !unreadable && proc_shows_all().unwrap_or(false);
    if complete { Liveness::Dead } else { Liveness::Unknown }
}

/// What is seen of a process once it is no longer in the middle of its end.
///
/// That takes microseconds, and on a busy machine there is always one, of whatever group.
fn settled(mut stat: Stat) -> Result<Stat, ProcError> {
    for _ in 0..LOOKS_MAX {
        if liveness(&stat) != Liveness::Unknown {
            break;
        }
        thread::yield_now();
        stat = Entry::new(stat.pid)?.stat()?;
    }
    Ok(stat)
}

fn is_living_member(stat: &Stat, pgid: Pid, since: u64) -> bool {
    stat.pgrp == pgid.as_raw_pid() && stat.starttime >= since && liveness(stat) == Liveness::Alive
}

/// Whether a process lives, by what `/proc` says of its main thread and the number of its threads.
fn liveness(stat: &Stat) -> Liveness {
    match (stat.state, stat.num_threads) {
        // The main thread has ended, and is counted until it is reaped. Others may live.
        ('Z', 1) => Liveness::Dead,
        ('Z', 2..) => Liveness::Alive,
        // Being reaped; or replaced, by another thread that calls execve.
        ('Z' | 'X' | 'x', _) => Liveness::Unknown,
        _ => Liveness::Alive,
    }
}

/// An id that names one process and nothing else to kill(2), where 0 and below have other meanings.
fn checked(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn stat(id: Pid) -> Result<Stat, ProcError> {
    Entry::new(id.as_raw_pid())?.stat()
}

fn parent_id(Process { pid, start }: Process) -> Option<u32> {
    let seen = stat(checked(pid)?).ok()?;
    if seen.starttime == start { u32::try_from(seen.ppid).ok() } else { None }
}

/// Whether `/proc` speaks of the pid namespace of this process.
///
/// It lists the ids of this process from the namespace of `/proc` inwards: just one, if they are
/// the same. To compare the ids alone could be fooled by chance.
fn proc_is_ours() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.trim() == std::process::id().to_string())
}

/// Whether `/proc` shows the processes of other users (it has no option `hidepid`).
fn proc_shows_all() -> Result<bool, ProcError> {
    let device = fs::metadata("/proc")?.dev();
    let device = format!("{}:{}", major(device), minor(device));
    let mounts = Entry::myself()?.mountinfo()?;
    let mut options =
        mounts.iter().filter(|mount| mount.majmin == device).map(|mount| &mount.super_options);
    Ok(options.next().is_some_and(|options| !options.contains_key("hidepid")))
}

/// The kernel's id of the boot; `None` if something was mounted over it.
///
/// systemd-nspawn does so. Its containers would seem to be of another, ended boot.
fn boot() -> io::Result<Option<String>> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let is_kernels = fs::metadata(PATH)?.dev() == fs::metadata("/proc/self/")?.dev();
    let boot = fs::read_to_string(PATH)?.trim().to_owned();
    Ok((is_kernels && !boot.is_empty()).then_some(boot))
}

/// The inode of a namespace of this thread: the main thread may have ended.
fn namespace(kind: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/thread-self/ns/{kind}"))?.ino())
}
