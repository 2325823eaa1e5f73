//! Ends all processes of tasks: asks, waits, kills, until they are gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    io,
    time::{Duration, Instant},
};

use lock_core::process::{Process, ProcessSet};
use procfs::process::Stat;
use rustix::process::Signal;

use crate::{
    group::stats,
    processes::{Handle, Member, identity, members_of, raw, wait_for},
    strays::{Stray, Strays},
};

/// The processes of some sets that are being ended.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    sets: Vec<&'a ProcessSet>,
    /// The processes of others, which are spared wherever they are.
    spared: Vec<&'a ProcessSet>,
    strays: Strays,
    handles: BTreeMap<Process, Handle>,
    /// The `lockctl`s that were asked: each asks what it has adopted.
    told: BTreeSet<Process>,
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
        Self::sparing(sets, vec![])
    }

    /// One that leaves alone what is of these other sets, and what they have started.
    pub(crate) fn sparing(sets: Vec<&'a ProcessSet>, spared: Vec<&'a ProcessSet>) -> Self {
        Self {
            sets,
            spared,
            strays: Strays::default(),
            handles: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Ends all processes: TERM, KILL after the grace. Returns when they are gone.
    pub(crate) fn end(&mut self, grace: Duration) -> io::Result<Ended> {
        // Whom they have started has to be known before they end.
        self.living()?;
        self.ask()?;
        let mut asked = self.told.clone();
        let ask_again = |member: &Member, others: &[Member]| {
            // A stray whose parent has ended: nobody else asks it. And a lockctl that keeps the locks of a run for
            // longer than that lasts.
            let is_left = member.is_supervisor && others.iter().all(|other| other.is_supervisor);
            if (member.is_orphan || is_left) && asked.insert(member.process) {
                return Some(Signal::TERM);
            }
            // What is stopped cannot end in peace; and one that just stops may have been continued before.
            member.is_stopped.then_some(Signal::CONT)
        };
        if self.until_gone(grace, ask_again)? {
            return Ok(Ended::Asked);
        }
        // A lockctl whose run is over gives back the locks by itself.
        let kill = |member: &Member, _: &[Member]| (!member.is_supervisor).then_some(Signal::KILL);
        if self.until_gone(GIVE_BACK_PATIENCE, kill)? {
            return Ok(Ended::Killed);
        }
        let gone = self.until_gone(KILLED_PATIENCE, |_, _| Some(Signal::KILL))?;
        Ok(if gone { Ended::Killed } else { Ended::Not })
    }

    /// The processes that live: those of the sets, and what they have started and left their groups.
    pub(crate) fn living(&mut self) -> io::Result<Vec<Member>> {
        let all = stats()?;
        let mut living = self.members(&all).concat();
        let of = |is_supervisor: bool| -> BTreeSet<Process> {
            let members = living.iter().filter(|member| member.is_supervisor == is_supervisor);
            members.map(|member| member.process).collect()
        };
        let (mut apart, others) = (of(true), of(false));
        apart.extend(self.spared(&all).difference(&others));
        let is_in = |some: &BTreeSet<Process>, stat: &Stat| {
            identity(stat).is_some_and(|process| some.contains(&process))
        };
        let is_apart = |stat: &Stat| is_in(&apart, stat);
        let is_of_task = |stat: &Stat| is_in(&others, stat) && !is_apart(stat);
        let strays = self.strays.look(&all, is_of_task, is_apart);
        // A lockctl that was asked asks them itself.
        let is_adopted = |stray: &Stray| {
            let parent = raw(stray.process).and_then(|pid| all.get(&pid.as_raw_pid()));
            let parent = parent.and_then(|stat| all.get(&stat.ppid)).and_then(identity);
            parent.is_some_and(|parent| self.told.contains(&parent))
        };
        let strays = strays
            .into_iter()
            .map(|stray| Stray { is_orphan: stray.is_orphan && !is_adopted(&stray), ..stray });
        living.extend(strays.map(Member::from));
        // What is of two sets is a supervisor if it is that of one.
        living.sort_by_key(|member| (member.process, !member.is_supervisor, member.is_orphan));
        living.dedup_by_key(|member| member.process);
        Ok(living)
    }

    fn members(&self, all: &HashMap<i32, Stat>) -> Vec<Vec<Member>> {
        self.sets.iter().map(|set| members_of(set, all)).collect()
    }

    fn spared(&self, all: &HashMap<i32, Stat>) -> BTreeSet<Process> {
        let members = self.spared.iter().flat_map(|set| members_of(set, all));
        members.map(|member| member.process).collect()
    }

    /// Sends TERM to each process that nobody else passes it on to: twice might break off a cleanup.
    fn ask(&mut self) -> io::Result<()> {
        let found = self.members(&stats()?);
        // Where CMD is over, its lockctl would end what is left in its own time, which may be shorter: that is asked
        // here, and lockctl once it is gone.
        for set in &found {
            let is_over = !set.iter().any(|one| one.is_supervised);
            let has_others = set.iter().any(|one| !one.is_supervisor);
            let supervisors =
                set.iter().filter(|one| one.is_supervisor && !(is_over && has_others));
            self.told.extend(supervisors.map(|one| one.process));
        }
        // A lockctl passes it on to CMD, and to the whole group if CMD leads it.
        let supervised: BTreeSet<Process> =
            found.iter().flatten().filter(|one| one.is_supervised).map(|one| one.process).collect();
        let mut told = BTreeSet::new();
        for member in found.iter().flatten() {
            let is_passed_on = supervised.contains(&member.process)
                || supervised.iter().any(|leader| u32::try_from(member.group) == Ok(leader.pid));
            let is_later = member.is_supervisor && !self.told.contains(&member.process);
            if !is_passed_on && !is_later && told.insert(member.process) {
                self.signal(member, Signal::TERM)?;
            }
        }
        Ok(())
    }

    /// Waits until all are gone, and signals those that are there; says whether they are gone in time.
    fn until_gone(
        &mut self,
        limit: Duration,
        mut signal: impl FnMut(&Member, &[Member]) -> Option<Signal>,
    ) -> io::Result<bool> {
        let begin = Instant::now();
        let mut seen_gone = false;
        loop {
            let living = self.living()?;
            for member in &living {
                if let Some(signal) = signal(member, &living) {
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
        let Process { pid, start } = Process::find(child.id()).unwrap();
        assert!(Handle::open(Process { pid, start: start - 1 }).unwrap().is_none());
        // An earlier process had the id, and led a group of this id.
        let earlier = Process { pid, start: start - 1 };
        let mut set = ProcessSet { processes: vec![earlier], ..ProcessSet::current() };
        set.groups = vec![ProcessGroup::led_by(earlier)];
        assert_eq!(Ending::new(vec![&set]).end(Duration::ZERO).unwrap(), Ended::Asked);
        assert!(child.try_wait().unwrap().is_none());

        let same = Process { pid, start };
        let mut set = ProcessSet { processes: vec![same], ..set };
        set.groups = vec![ProcessGroup::led_by(same)];
        assert_eq!(Ending::new(vec![&set]).end(Duration::from_mins(1)).unwrap(), Ended::Asked);
        assert_eq!(child.wait().unwrap().to_string(), "signal: 15 (SIGTERM)");
    }
}
