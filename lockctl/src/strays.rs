//! What left the process groups of a task, as by `setsid` or as a job of a shell: found by descent.
//!
//! Whoever's parent ends becomes a child of somebody else, and nothing tells any more whose it was. So
//! strays are looked for before the first of their ancestors is asked to end, and remembered. A daemon,
//! whose parents have ended before on purpose, is on its own and not found.

use std::{
    collections::{BTreeSet, HashMap},
    io,
};

use lock_core::{TaskId, process::Process};
use procfs::process::Stat;

use crate::{
    group::{is_alive, stats},
    kin::TASK_ID_VARIABLE,
    processes::identity,
};

/// A process that left the groups of its task, and lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stray {
    pub(crate) process: Process,
    pub(crate) group: i32,
    pub(crate) is_stopped: bool,
    /// Whether no process of the task is its parent any more, which would pass on what it is asked.
    pub(crate) is_orphan: bool,
}

/// The strays of a task that were seen so far.
#[derive(Debug, Default)]
pub(crate) struct Strays(BTreeSet<Process>);

impl Strays {
    /// Looks again; tells those that live.
    ///
    /// What is below a process of the task is of it, unless it `is_apart`, as `lockctl` is, which adopts
    /// the daemons of its command.
    pub(crate) fn look(
        &mut self,
        all: &HashMap<i32, Stat>,
        is_of_task: impl Fn(&Stat) -> bool,
        is_apart: impl Fn(&Stat) -> bool,
    ) -> Vec<Stray> {
        let is_known = |known: &BTreeSet<Process>, stat: &Stat| {
            identity(stat).is_some_and(|process| known.contains(&process))
        };
        let has_parent = |known: &BTreeSet<Process>, stat: &Stat| {
            let parent = all.get(&stat.ppid);
            parent.is_some_and(|parent| is_of_task(parent) || is_known(known, parent))
        };
        // Whoever is in a group was put there by its leader, and it keeps its id while it has a member.
        let is_led = |known: &BTreeSet<Process>, stat: &Stat| {
            let leader = all.get(&stat.pgrp).and_then(identity);
            known.iter().any(|one| {
                u32::try_from(stat.pgrp) == Ok(one.pid)
                    && one.start <= stat.starttime
                    && leader.is_none_or(|leader| leader == *one)
            })
        };
        loop {
            let is_new = |stat: &&Stat| {
                !is_of_task(stat)
                    && !is_apart(stat)
                    && !is_known(&self.0, stat)
                    && (has_parent(&self.0, stat) || is_led(&self.0, stat))
            };
            let found: Vec<Process> = all.values().filter(is_new).filter_map(identity).collect();
            if found.is_empty() {
                break;
            }
            self.0.extend(found);
        }
        let strays = all.values().filter(|stat| is_alive(stat) && is_known(&self.0, stat));
        let stray = |stat: &Stat| {
            Some(Stray {
                process: identity(stat)?,
                group: stat.pgrp,
                is_stopped: stat.state == 'T',
                is_orphan: !has_parent(&self.0, stat),
            })
        };
        strays.filter_map(stray).collect()
    }
}

/// The processes that were started by one of these tasks and live, as far as their environment can be seen.
pub(crate) fn started_by(tasks: &[&TaskId]) -> io::Result<Vec<Process>> {
    let is_theirs = |stat: &Stat| {
        let process = procfs::process::Process::new(stat.pid).ok()?;
        let told = process.environ().ok()?.remove(TASK_ID_VARIABLE.as_ref() as &std::ffi::OsStr)?;
        let told: TaskId = told.to_str()?.parse().ok()?;
        Some(tasks.iter().any(|task| task.contains(&told)))
    };
    let all = stats()?;
    let theirs = all.values().filter(|stat| is_alive(stat) && is_theirs(stat).unwrap_or_default());
    let mut theirs: Vec<Process> = theirs.filter_map(identity).collect();
    theirs.sort_unstable();
    Ok(theirs)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// pid, ppid, pgrp and start of each.
    pub(crate) fn table(rows: &[(i32, i32, i32, u64)]) -> HashMap<i32, Stat> {
        let own = procfs::process::Process::myself().unwrap().stat().unwrap();
        let stat = |&(pid, ppid, pgrp, starttime): &(i32, i32, i32, u64)| {
            let mut stat = own.clone();
            (stat.pid, stat.ppid, stat.pgrp, stat.starttime) = (pid, ppid, pgrp, starttime);
            (pid, stat)
        };
        rows.iter().map(stat).collect()
    }

    fn look(strays: &mut Strays, all: &HashMap<i32, Stat>) -> Vec<u32> {
        let found = strays.look(all, |stat| stat.pgrp == 10, |stat| stat.pid == 40);
        let mut found: Vec<u32> = found.into_iter().map(|stray| stray.process.pid).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn those_below_are_found_and_remembered() {
        let mut strays = Strays::default();
        // 40 is the lockctl of 10, and 50 a daemon of it.
        let others = [(1, 0, 1, 1), (30, 1, 30, 8), (40, 1, 40, 4), (50, 40, 50, 9)];
        let ours =
            [(10, 40, 10, 5), (11, 10, 10, 6), (20, 11, 20, 7), (21, 20, 20, 8), (22, 21, 22, 9)];
        let all = table(&[&others[..], &ours[..]].concat());
        assert_eq!(look(&mut strays, &all), [20, 21, 22]);
        // Their parents have ended: init has them, and one more of their group.
        let all =
            table(&[(1, 0, 1, 1), (21, 1, 20, 8), (22, 1, 22, 9), (23, 1, 20, 10), (30, 1, 30, 8)]);
        assert_eq!(look(&mut strays, &all), [21, 22, 23]);
        assert!(look(&mut Strays::default(), &all).is_empty());
    }

    #[test]
    fn who_got_the_id_of_one_is_none() {
        let mut strays = Strays::default();
        let all = table(&[(1, 0, 1, 1), (10, 1, 10, 5), (20, 10, 20, 7)]);
        assert_eq!(look(&mut strays, &all), [20]);
        let all = table(&[(1, 0, 1, 1), (20, 1, 20, 99), (21, 20, 20, 100)]);
        assert!(look(&mut strays, &all).is_empty());
    }

    #[test]
    fn a_loop_ends() {
        let all = table(&[(2, 3, 2, 1), (3, 2, 3, 1), (10, 1, 10, 5)]);
        assert!(look(&mut Strays::default(), &all).is_empty());
    }
}
