//! The processes of a run: which there are, whether one lives, and signals to them.

use std::{
    collections::{BTreeSet, HashMap},
    io,
};

use lock_core::process::Process;
use procfs::process::{Stat, all_processes};
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, kill_process, kill_process_group, test_kill_process_group},
};

use crate::{
    launch::Grouping,
    processes::{Handle, identity, raw},
    strays::{Stray, Strays},
};

/// So often those of a run are looked for to be signalled, should each look find new ones.
const LOOKS_MAX: usize = 16;

/// The processes of a run: those in the child's group that descend from the child.
///
/// A process that left the group, as a daemon does, is no longer of the run, but for one that is asked to
/// end: see [`strays`](crate::strays). Where the group is the
/// terminal's, it also has our shell's pipeline in it, so descent counts: an orphan descends from
/// `lockctl`, its subreaper, and `lockctl` has no other children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    child: Pid,
    /// When the child was started. Once it is reaped and its group is empty, its id may be that of
    /// another process and another group.
    started: Option<u64>,
    grouping: Grouping,
}

/// What is known of a run's processes, apart from the child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Members {
    /// None lives.
    Gone,
    /// These live.
    Alive(Vec<Pid>),
    /// Something is there that cannot be seen: it has to be asked again.
    Hidden,
}

/// What is seen of a run's processes at a look.
#[derive(Debug, Default)]
struct Seen {
    alive: Vec<Process>,
    zombies: usize,
    /// The group is one of others, who have got its id.
    is_of_others: bool,
}

impl Group {
    /// Of a child that was not reaped yet.
    pub(crate) fn new(child: Pid, grouping: Grouping) -> Self {
        // Also of one that has ended already, and is a zombie.
        let stat = procfs::process::Process::new(child.as_raw_pid()).and_then(|child| child.stat());
        let started = stat.ok().map(|stat| stat.starttime);
        Self { child, started, grouping }
    }

    /// Looks for the living, zombies not being so.
    pub(crate) fn members(self) -> io::Result<Members> {
        // A process may fork and end while /proc is read, its child's place being already passed: so look
        // twice. In a group of its own the kernel also knows, at one moment, whether anything is left.
        let mut seen = self.scan()?;
        if seen.alive.is_empty() {
            if self.grouping == Grouping::Own && (seen.is_of_others || self.is_empty()) {
                return Ok(Members::Gone);
            }
            seen = self.scan()?;
        }
        let is_hidden = || self.grouping == Grouping::Own && !seen.is_of_others && !self.is_empty();
        Ok(match (seen.alive.is_empty(), seen.zombies) {
            (false, _) => Members::Alive(seen.alive.into_iter().filter_map(raw).collect()),
            (true, 0) if is_hidden() => Members::Hidden,
            (true, _) => Members::Gone,
        })
    }

    /// Sends a signal that came for the child, which must not have been reaped.
    ///
    /// In a group of its own all get it, as from a terminal; else only the child, as without `lockctl`.
    pub(crate) fn pass_on(self, signal: Signal) {
        if self.grouping == Grouping::Terminal || kill_process_group(self.child, signal).is_err() {
            // It may be gone meanwhile.
            let _ = kill_process(self.child, signal);
        }
    }

    /// Sends a signal to all processes of the run; those that are gone meanwhile do not matter.
    ///
    /// Fails, after all others have got it, if one may not be signalled.
    ///
    /// While the child was not reaped, nobody else can have its id, nor that of its group.
    pub(crate) fn signal_all(self, signal: Signal, is_reaped: bool) -> io::Result<()> {
        if self.grouping == Grouping::Own && !is_reaped {
            return match kill_process_group(self.child, signal) {
                // None of them may be signalled.
                Err(error @ Errno::PERM) => Err(error.into()),
                _ => Ok(()),
            };
        }
        // Each by itself, until a look finds nobody new: one may have forked before it heard.
        let mut told = BTreeSet::new();
        let mut denied = Ok(());
        for _ in 0..LOOKS_MAX {
            let alive = self.scan()?.alive;
            let new: Vec<Process> = alive.into_iter().filter(|one| told.insert(*one)).collect();
            if new.is_empty() {
                break;
            }
            for handle in new.into_iter().filter_map(|one| Handle::open(one).ok().flatten()) {
                denied = handle.signal(signal).and(denied);
            }
        }
        denied
    }

    /// Looks for what the run has started and left the group.
    pub(crate) fn strays(self, known: &mut Strays) -> io::Result<Vec<Stray>> {
        let all = stats()?;
        let group = self.id();
        Ok(known.look(&all, |stat| self.has(group, stat, &all), |_| false))
    }

    /// Whether the kernel knows no process of the group any more, not even a zombie.
    fn is_empty(self) -> bool {
        test_kill_process_group(self.child) == Err(Errno::SRCH)
    }

    fn scan(self) -> io::Result<Seen> {
        let all = stats()?;
        let group = self.id();
        let mut seen = Seen { is_of_others: self.is_of_others(&all), ..Seen::default() };
        for stat in all.values().filter(|stat| self.has(group, stat, &all)) {
            if is_alive(stat) {
                seen.alive.extend(identity(stat));
            } else {
                seen.zombies += 1;
            }
        }
        seen.alive.sort_unstable();
        Ok(seen)
    }

    /// The id of the process group that CMD was started in.
    fn id(self) -> i32 {
        let group = match self.grouping {
            Grouping::Own => Some(self.child),
            Grouping::Terminal => group_of(None),
        };
        group.map_or(-1, Pid::as_raw_pid)
    }

    /// Whether another process has got the child's id, which is only so when none of its group was left.
    fn is_of_others(self, all: &HashMap<i32, Stat>) -> bool {
        let leader = all.get(&self.child.as_raw_pid());
        leader.zip(self.started).is_some_and(|(leader, started)| leader.starttime != started)
    }

    /// Whether it is of the run. CMD is, also in a group of its own, as interactive shells make themselves one.
    fn has(self, group: i32, stat: &Stat, all: &HashMap<i32, Stat>) -> bool {
        let child = self.child.as_raw_pid();
        let is_of_child = stat.pid == child || stat.pgrp == child;
        if is_of_child && self.is_of_others(all) {
            return false;
        }
        match self.grouping {
            // Where the leader is gone, the group may be that of one who got its id, and is gone as well.
            Grouping::Own if !all.contains_key(&child) => {
                stat.pgrp == group && descends(stat, getpid(), all)
            }
            Grouping::Own => stat.pgrp == group,
            Grouping::Terminal => {
                (stat.pgrp == group || is_of_child) && descends(stat, getpid(), all)
            }
        }
    }
}

/// The process group of a process, or of this one; `None` if it is that of another pid namespace.
///
/// `unshare --pid` and `nsenter` leave a process in such a group, which rustix does not expect.
pub(crate) fn group_of(pid: Option<Pid>) -> Option<Pid> {
    let pid = pid.map(|pid| nix::unistd::Pid::from_raw(pid.as_raw_pid()));
    Pid::from_raw(nix::unistd::getpgid(pid).ok()?.as_raw())
}

/// Whether the process is stopped.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    procfs::process::Process::new(pid.as_raw_pid())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.state == 'T')
}

/// Whether it lives: zombies do not, but a process does in its other threads when the first has ended.
pub(crate) fn is_alive(stat: &Stat) -> bool {
    !matches!(stat.state, 'Z' | 'X' | 'x') || stat.num_threads > 1
}

/// All processes that can be seen, by their ids.
pub(crate) fn stats() -> io::Result<HashMap<i32, Stat>> {
    let processes = all_processes().map_err(io::Error::other)?;
    // One that ended meanwhile, or is not ours to see, has no stat.
    Ok(processes.flatten().filter_map(|p| Some((p.pid, p.stat().ok()?))).collect())
}

/// Whether a process descends from another, as far as all its ancestors are known.
pub(crate) fn descends(stat: &Stat, ancestor: Pid, all: &HashMap<i32, Stat>) -> bool {
    let mut parent = stat.ppid;
    // A table read while it changes may have a loop in it: no chain is longer than the table.
    for _ in 0..=all.len() {
        match all.get(&parent) {
            _ if parent == ancestor.as_raw_pid() => return true,
            Some(stat) => parent = stat.ppid,
            None => return false,
        }
    }
    false
}
