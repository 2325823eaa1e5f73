//! The processes of a run: which there are, whether one lives, and signals to them.

use std::{collections::HashMap, io};

use procfs::process::{Stat, all_processes};
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid, kill_process, kill_process_group, test_kill_process_group},
};

use crate::{
    launch::Grouping,
    strays::{Stray, Strays},
};

/// The processes of a run: those in the child's group that descend from the child.
///
/// A process that left the group, as a daemon does, is no longer of the run, but for one that is asked to
/// end: see [`strays`](crate::strays). Where the group is the
/// terminal's, it also has our shell's pipeline in it, so descent counts: an orphan descends from
/// `lockctl`, its subreaper, and `lockctl` has no other children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    child: Pid,
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

impl Group {
    pub(crate) fn new(child: Pid, grouping: Grouping) -> Self {
        Self { child, grouping }
    }

    /// Looks for the living, zombies not being so.
    pub(crate) fn members(self) -> io::Result<Members> {
        // A process may fork and end while /proc is read, its child's place being already passed: so look
        // twice. In a group of its own the kernel also knows, at one moment, whether anything is left.
        let (mut alive, mut zombies) = self.scan()?;
        if alive.is_empty() {
            if self.grouping == Grouping::Own && self.is_empty() {
                return Ok(Members::Gone);
            }
            (alive, zombies) = self.scan()?;
        }
        Ok(match (alive.is_empty(), zombies, self.grouping) {
            (false, ..) => Members::Alive(alive),
            (true, 0, Grouping::Own) if !self.is_empty() => Members::Hidden,
            (true, ..) => Members::Gone,
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
    pub(crate) fn signal_all(self, signal: Signal) -> io::Result<()> {
        if self.grouping == Grouping::Own {
            let _ = kill_process_group(self.child, signal);
            return Ok(());
        }
        for pid in self.scan()?.0 {
            let _ = kill_process(pid, signal);
        }
        Ok(())
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

    /// The living, and how many zombies.
    fn scan(self) -> io::Result<(Vec<Pid>, usize)> {
        let all = stats()?;
        let group = self.id();
        let (mut alive, mut zombies) = (Vec::new(), 0);
        for stat in all.values().filter(|stat| self.has(group, stat, &all)) {
            if is_alive(stat) {
                alive.extend(Pid::from_raw(stat.pid));
            } else {
                zombies += 1;
            }
        }
        alive.sort_unstable_by_key(|pid| pid.as_raw_pid());
        Ok((alive, zombies))
    }

    /// The id of the process group that CMD was started in.
    fn id(self) -> i32 {
        let group = match self.grouping {
            Grouping::Own => Some(self.child),
            Grouping::Terminal => group_of(None),
        };
        group.map_or(-1, Pid::as_raw_pid)
    }

    /// Whether it is of the run. CMD is, also in a group of its own, as interactive shells make themselves one.
    fn has(self, group: i32, stat: &Stat, all: &HashMap<i32, Stat>) -> bool {
        let child = self.child.as_raw_pid();
        match self.grouping {
            Grouping::Own => stat.pgrp == group,
            Grouping::Terminal => {
                (stat.pgrp == group || stat.pid == child || stat.pgrp == child)
                    && descends(stat, getpid(), all)
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
