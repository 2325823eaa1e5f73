//! Processes of this host that the table names: which there are, and signals that reach no others.
//!
//! A process is only ever signalled through a pidfd, whose process was seen to be the one that is
//! meant after the pidfd was opened: an id that is used again is never hit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
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

use crate::group::{descends, is_alive, stats};

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
        match Process::find(process.0) {
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
fn wait_for(handles: &[&Handle], limit: Option<Duration>) -> io::Result<bool> {
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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) process: Process,
    /// Its process group.
    group: i32,
    /// Whether the set names it and a child of it, as that of a run names `lockctl` and CMD.
    is_supervisor: bool,
    /// Whether the set names it and its parent.
    is_supervised: bool,
    is_stopped: bool,
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
pub(crate) fn members(sets: &[&ProcessSet]) -> io::Result<Vec<Vec<Member>>> {
    let all = stats()?;
    Ok(sets.iter().map(|set| members_of(set, &all)).collect())
}

fn members_of(set: &ProcessSet, all: &HashMap<i32, Stat>) -> Vec<Member> {
    let named =
        |stat: &Stat| identity(stat).is_some_and(|process| set.processes.contains(&process));
    let roots: Vec<&Stat> = all.values().filter(|stat| named(stat) && is_alive(stat)).collect();
    let grouped = |stat: &Stat| {
        set.groups.iter().any(|group| {
            let is_its_leader_gone = || {
                // The id is not used again before the last member is gone.
                let leader = all.get(&stat.pgrp);
                leader.is_some_and(|leader| leader.starttime > group.1)
            };
            u32::try_from(stat.pgrp) == Ok(group.0)
                && stat.starttime >= group.1
                && !is_its_leader_gone()
        })
    };
    let below = |stat: &Stat| {
        roots.iter().any(|root| {
            let root_id = Pid::from_raw(root.pid);
            root.pgrp == stat.pgrp && root_id.is_some_and(|id| descends(stat, id, all))
        })
    };
    let is_parent = |parent: &Stat, child: &Stat| child.ppid == parent.pid;
    let member = |stat: &Stat| {
        Some(Member {
            process: identity(stat)?,
            group: stat.pgrp,
            is_supervisor: named(stat) && roots.iter().any(|child| is_parent(stat, child)),
            is_supervised: named(stat) && roots.iter().any(|parent| is_parent(parent, stat)),
            is_stopped: stat.state == 'T',
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

/// The processes of some sets that are being ended.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    sets: Vec<&'a ProcessSet>,
    handles: BTreeMap<Process, Handle>,
}

/// How an end came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All ended when they were asked to.
    Asked,
    /// Some had to be killed.
    Killed,
    /// Some live on though they were killed.
    Not,
}

/// How often it is looked which processes there are.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a `lockctl` has to give back the locks of a run whose processes were killed.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(2);
/// How long killed processes may take to end.
const KILLED_PATIENCE: Duration = Duration::from_secs(10);

impl<'a> Ending<'a> {
    pub(crate) fn new(sets: Vec<&'a ProcessSet>) -> Self {
        Self { sets, handles: BTreeMap::new() }
    }

    /// Ends all processes: TERM, KILL after the grace. Returns when they are gone.
    pub(crate) fn end(&mut self, grace: Duration) -> io::Result<Ended> {
        self.ask()?;
        // What is stopped cannot end in peace; and one that just stops may have been continued before.
        let wake = |member: &Member| member.is_stopped.then_some(Signal::CONT);
        if self.until_gone(grace, wake)? {
            return Ok(Ended::Asked);
        }
        // A lockctl whose run is over gives back the locks by itself.
        let kill = |member: &Member| (!member.is_supervisor).then_some(Signal::KILL);
        if self.until_gone(GIVE_BACK_PATIENCE, kill)? {
            return Ok(Ended::Killed);
        }
        let gone = self.until_gone(KILLED_PATIENCE, |_| Some(Signal::KILL))?;
        Ok(if gone { Ended::Killed } else { Ended::Not })
    }

    /// The processes that live.
    pub(crate) fn living(&self) -> io::Result<Vec<Member>> {
        let mut living = members(&self.sets)?.concat();
        living.sort_unstable_by_key(|member| member.process);
        living.dedup_by_key(|member| member.process);
        Ok(living)
    }

    /// Sends TERM to each process that nobody else passes it on to: twice might break off a cleanup.
    fn ask(&mut self) -> io::Result<()> {
        let found = members(&self.sets)?;
        // A lockctl passes it on to CMD, and to the whole group if CMD leads it.
        let supervised: BTreeSet<Process> =
            found.iter().flatten().filter(|one| one.is_supervised).map(|one| one.process).collect();
        let mut told = BTreeSet::new();
        for member in found.iter().flatten() {
            let is_passed_on = supervised.contains(&member.process)
                || supervised.iter().any(|leader| u32::try_from(member.group) == Ok(leader.0));
            if !is_passed_on && told.insert(member.process) {
                self.signal(member, Signal::TERM)?;
            }
        }
        Ok(())
    }

    /// Waits until all are gone, and signals those that are there; says whether they are gone in time.
    fn until_gone(
        &mut self,
        limit: Duration,
        signal: impl Fn(&Member) -> Option<Signal>,
    ) -> io::Result<bool> {
        let begin = Instant::now();
        let mut seen_gone = false;
        loop {
            let living = self.living()?;
            for member in &living {
                if let Some(signal) = signal(member) {
                    self.signal(member, signal)?;
                }
            }
            if living.is_empty() {
                // One may have forked and ended while /proc was read: what is gone is so twice.
                if seen_gone {
                    return Ok(true);
                }
                seen_gone = true;
                continue;
            }
            seen_gone = false;
            if begin.elapsed() >= limit {
                return Ok(false);
            }
            let known: Vec<&Handle> =
                living.iter().filter_map(|member| self.handles.get(&member.process)).collect();
            let pause = LOOK_INTERVAL.min(limit.saturating_sub(begin.elapsed()));
            wait_for(&known, Some(pause))?;
        }
    }

    fn signal(&mut self, member: &Member, signal: Signal) -> io::Result<()> {
        match self.handles.entry(member.process) {
            Entry::Occupied(known) => known.get().signal(signal),
            Entry::Vacant(unknown) => match Handle::open(member.process)? {
                Some(handle) => unknown.insert(handle).signal(signal),
                None => Ok(()),
            },
        }
    }
}

fn identity(stat: &Stat) -> Option<Process> {
    Some(Process(u32::try_from(stat.pid).ok()?, stat.starttime))
}

fn raw(process: Process) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process.0).ok()?)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt,
        process::{Command, Stdio},
    };

    use lock_core::process::ProcessGroup;

    use super::*;

    #[test]
    fn who_got_the_id_of_another_is_not_signalled() {
        let mut sleep = Command::new("sleep");
        let mut child = sleep.arg("60").stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let Process(pid, start) = Process::find(child.id()).unwrap();
        assert!(Handle::open(Process(pid, start - 1)).unwrap().is_none());
        // An earlier process had the id, and led a group of this id.
        let earlier = Process(pid, start - 1);
        let mut set = ProcessSet { processes: vec![earlier], ..ProcessSet::current() };
        set.groups = vec![ProcessGroup::led_by(earlier)];
        assert_eq!(Ending::new(vec![&set]).end(Duration::ZERO).unwrap(), Ended::Asked);
        assert!(child.try_wait().unwrap().is_none());

        let same = Process(pid, start);
        let mut set = ProcessSet { processes: vec![same], ..set };
        set.groups = vec![ProcessGroup::led_by(same)];
        assert_eq!(Ending::new(vec![&set]).end(Duration::from_mins(1)).unwrap(), Ended::Asked);
        assert_eq!(child.wait().unwrap().to_string(), "signal: 15 (SIGTERM)");
    }
}
