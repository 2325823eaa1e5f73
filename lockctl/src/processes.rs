//! Processes of this host that the table names: which there are, and signals that reach no others.
//!
//! A process is only ever signalled through a pidfd, whose process was seen to be the one that is
//! meant after the pidfd was opened: an id that is used again is never hit.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use lock_core::process::{Place, Process, ProcessSet};
use procfs::process::Stat;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process},
};

use crate::{
    group::{descends, is_alive},
    strays::Stray,
};

/// Whether ids of processes of that place mean here what they mean there.
pub(crate) fn is_here(place: &Place) -> bool {
    // The host may have got another name meanwhile.
    let nameless = |place: &Place| Place { host: None, ..place.clone() };
    place.boot.is_some() && nameless(place) == nameless(&Place::here())
}

/// A process that cannot be mistaken for another.
#[derive(Debug)]
pub(crate) struct Handle {
    pidfd: OwnedFd,
}

impl Handle {
    /// Opens it; `None` if it has ended.
    pub(crate) fn open(process: Process) -> io::Result<Option<Self>> {
        let Some(pid) = raw(process) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let handle = Self { pidfd };
        // Seen after opening: if the id and the start are together now, they were so then.
        match Process::find(process.pid) {
            Some(found) if found == process => Ok(Some(handle)),
            Some(_) => Ok(None),
            None if handle.has_ended()? => Ok(None),
            None => Err(Errno::ACCESS.into()),
        }
    }

    /// Sends a signal; a process that has ended does not mind.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended, for at most this long; says whether it has.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        wait_for(&[self], limit)
    }

    fn has_ended(&self) -> io::Result<bool> {
        self.wait(Some(Duration::ZERO))
    }
}

/// Waits until one of these has ended, for at most this long; says whether one has.
pub(crate) fn wait_for(handles: &[&Handle], limit: Option<Duration>) -> io::Result<bool> {
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let fds = handles
            .iter()
            .map(|handle| PollFd::from_borrowed_fd(handle.pidfd.as_fd(), PollFlags::IN));
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds.collect::<Vec<_>>(), left.as_ref()) {
            Ok(ended) => return Ok(ended > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A living process of a set.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one process")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) process: Process,
    /// Its process group.
    pub(crate) group: i32,
    /// Whether it is the `lockctl` of a run, whose set names CMD before it.
    pub(crate) is_supervisor: bool,
    /// Whether the set names it and its parent.
    pub(crate) is_supervised: bool,
    pub(crate) is_stopped: bool,
    /// Whether it is of the task by descent alone, and nothing of the task is its parent any more.
    pub(crate) is_orphan: bool,
}

impl From<Stray> for Member {
    fn from(Stray { process, group, is_stopped, is_orphan }: Stray) -> Self {
        let (is_supervisor, is_supervised) = (false, false);
        Self { process, group, is_supervisor, is_supervised, is_stopped, is_orphan }
    }
}

impl Member {
    /// Whether this process may signal it.
    pub(crate) fn may_be_signalled(&self) -> bool {
        raw(self.process).is_none_or(|pid| test_kill_process(pid) != Err(Errno::PERM))
    }
}

/// The living processes of each of these sets, which must be of this place.
///
/// They are those that the set names, the members of its groups, and what descends from a named one
/// and is in its process group: the command that a script is just running.
pub(crate) fn members_of(set: &ProcessSet, all: &HashMap<i32, Stat>) -> Vec<Member> {
    let named =
        |stat: &Stat| identity(stat).is_some_and(|process| set.processes.contains(&process));
    let roots: Vec<&Stat> = all.values().filter(|stat| named(stat) && is_alive(stat)).collect();
    // Where the leader is gone, the group may be that of one who got its id, and is gone as well. What a run has left
    // is its lockctl's to adopt.
    let lives =
        |pid: &Pid| all.get(&pid.as_raw_pid()).is_some_and(|stat| named(stat) && is_alive(stat));
    let supervisor = match set.processes[..] {
        [_, last] => raw(last).filter(lives),
        _ => None,
    };
    let is_of_run = |stat: &Stat| {
        all.contains_key(&stat.pgrp) || supervisor.is_none_or(|pid| descends(stat, pid, all))
    };
    let grouped = |stat: &Stat| {
        set.groups.iter().any(|group| {
            let is_its_leader_gone = || {
                // The id is not used again before the last member is gone.
                let leader = all.get(&stat.pgrp);
                leader.is_some_and(|leader| leader.starttime > group.start)
            };
            u32::try_from(stat.pgrp) == Ok(group.id)
                && stat.starttime >= group.start
                && !is_its_leader_gone()
                && is_of_run(stat)
        })
    };
    let below = |stat: &Stat| {
        roots.iter().any(|root| {
            let root_id = Pid::from_raw(root.pid);
            root.pgrp == stat.pgrp && root_id.is_some_and(|id| descends(stat, id, all))
        })
    };
    let is_parent = |parent: &Stat, child: &Stat| child.ppid == parent.pid;
    // CMD may be over.
    let is_supervisor = |stat: &Stat| match set.processes[..] {
        [_, last] => identity(stat) == Some(last),
        _ => roots.iter().any(|child| is_parent(stat, child)),
    };
    let member = |stat: &Stat| {
        Some(Member {
            process: identity(stat)?,
            group: stat.pgrp,
            is_supervisor: named(stat) && is_supervisor(stat),
            is_supervised: named(stat) && roots.iter().any(|parent| is_parent(parent, stat)),
            is_stopped: stat.state == 'T',
            is_orphan: false,
        })
    };
    let mut found: Vec<Member> = all
        .values()
        .filter(|stat| is_alive(stat) && (named(stat) || grouped(stat) || below(stat)))
        .filter_map(member)
        .collect();
    found.sort_unstable_by_key(|member| member.process);
    found
}

/// A process, as its stat tells.
pub(crate) fn identity(stat: &Stat) -> Option<Process> {
    Some(Process { pid: u32::try_from(stat.pid).ok()?, start: stat.starttime })
}

/// Its id, as the system takes it.
pub(crate) fn raw(process: Process) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process.pid).ok()?)
}

#[cfg(test)]
mod tests {
    use lock_core::process::ProcessGroup;

    use super::*;
    use crate::strays::tests::table;

    #[test]
    fn a_group_without_its_leader_is_of_the_run_if_its_lockctl_has_adopted_it() {
        let (command, lockctl) = (Process { pid: 10, start: 5 }, Process { pid: 40, start: 4 });
        let set = ProcessSet {
            processes: vec![command, lockctl],
            groups: vec![ProcessGroup::led_by(command)],
            ..ProcessSet::current()
        };
        let ids = |all| members_of(&set, &all).iter().map(|member| member.process.pid).collect();
        let members = |rows: &[(i32, i32, i32, u64)]| -> Vec<u32> { ids(table(rows)) };
        let run = [(1, 0, 1, 1), (40, 1, 40, 4), (10, 40, 10, 5), (11, 10, 10, 6)];
        assert_eq!(members(&run), [10, 11, 40]);
        assert_eq!(members(&[(1, 0, 1, 1), (40, 1, 40, 4), (11, 40, 10, 6)]), [11, 40]);
        // Another process got the id, made itself a group, and has ended as well.
        assert_eq!(members(&[(1, 0, 1, 1), (40, 1, 40, 4), (11, 1, 10, 99)]), [40]);
        // Where nobody is left who could have adopted it, the group tells.
        assert_eq!(members(&[(1, 0, 1, 1), (11, 1, 10, 6)]), [11]);
        let mut killed = table(&[(1, 0, 1, 1), (40, 1, 40, 4), (11, 1, 10, 6)]);
        let lockctl = killed.get_mut(&40).unwrap();
        (lockctl.state, lockctl.num_threads) = ('Z', 1);
        assert_eq!(ids(killed), [11]);
    }
}
