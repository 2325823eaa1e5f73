//! The one reduction: who could ever be granted, if everybody who can go on does.

use std::collections::{BTreeSet, HashMap};

use super::claims::{Claim, Counted};
use super::{LockTable, Ticket};
use crate::ids::TaskId;

impl LockTable {
    /// The waiters that are never granted although everybody who can go on finishes.
    ///
    /// Every task that neither waits nor has a waiting descendant gives back everything; who then
    /// fits is granted, goes on, and gives back everything too; and so on until nothing moves.
    /// (This is the deadlock test for reusable resources by graph reduction: R. C. Holt, "Some
    /// deadlock properties of computer systems", ACM Computing Surveys 4(3), 1972.)
    ///
    /// The line of work of a `pinned` task gives nothing back and is not granted. With
    /// `in_turn`, a waiter must fit beside all earlier ones too, but for those that in any order
    /// can only be granted after its own line of work has given something back.
    pub(super) fn reduce(&self, pinned: Option<&TaskId>, in_turn: bool) -> BTreeSet<Ticket> {
        let mut stuck: BTreeSet<Ticket> = self.queue.keys().copied().collect();
        let mut blocked = Blocked::default();
        if let Some(pinned) = pinned {
            blocked.add(pinned);
        }
        for waiter in self.queue.values() {
            blocked.add(&waiter.task);
        }
        loop {
            let before = stuck.len();
            for (&ticket, waiter) in &self.queue {
                let is_pinned = pinned.is_some_and(|pinned| waiter.task.contains(pinned));
                if !stuck.contains(&ticket) || is_pinned || blocked.below(&waiter.task) {
                    continue;
                }
                let fits = |passed: Option<&BTreeSet<Ticket>>| {
                    let such = |claim: &Claim<'_>| match claim.ticket {
                        None => blocked.at_or_below(claim.task),
                        Some(other) => {
                            passed.is_some_and(|passed| !passed.contains(&other))
                                && other < ticket
                                && stuck.contains(&other)
                        }
                    };
                    self.fits(&waiter.task, &waiter.locks, Counted::Such(&such))
                };
                let goes_on = fits(None)
                    && (!in_turn
                        || fits(Some(&BTreeSet::new()))
                        || self.line_is_entangled(&waiter.task, ticket)
                            && fits(Some(&self.reduce(Some(&waiter.task), false))));
                if goes_on {
                    stuck.remove(&ticket);
                    blocked.remove(&waiter.task);
                }
            }
            if stuck.len() == before {
                return stuck;
            }
        }
    }

    /// Tells whether the request that was just queued would wait for ever.
    pub(super) fn is_deadlocked(&self, ticket: Ticket) -> Option<BTreeSet<Ticket>> {
        if !self.line_holds(&self.queue[&ticket].task) {
            return None; // It keeps nobody from anything.
        }
        let stuck = self.reduce(None, false);
        stuck.contains(&ticket).then_some(stuck)
    }

    /// Tells whether a hold of this task is kept because somebody in `stuck` waits.
    pub(super) fn waits_in<'s>(
        &'s self,
        task: &'s TaskId,
        stuck: &'s BTreeSet<Ticket>,
    ) -> impl Iterator<Item = Ticket> + 's {
        stuck.iter().copied().filter(|ticket| task.contains(&self.queue[ticket].task))
    }
}

/// How many waiters each task has at or below it.
#[derive(Debug, Default)]
struct Blocked<'t>(HashMap<&'t str, (usize, usize)>);

impl<'t> Blocked<'t> {
    fn add(&mut self, task: &'t TaskId) {
        for (at, path) in lineage(task.as_str()).enumerate() {
            let (here, below) = self.0.entry(path).or_default();
            *(if at == 0 { here } else { below }) += 1;
        }
    }

    fn remove(&mut self, task: &'t TaskId) {
        for (at, path) in lineage(task.as_str()).enumerate() {
            if let Some((here, below)) = self.0.get_mut(path) {
                *(if at == 0 { here } else { below }) -= 1;
            }
        }
    }

    fn below(&self, task: &TaskId) -> bool {
        self.0.get(task.as_str()).is_some_and(|(_, below)| *below > 0)
    }

    fn at_or_below(&self, task: &TaskId) -> bool {
        self.0.get(task.as_str()).is_some_and(|(here, below)| here + below > 0)
    }
}

/// The paths of a task and its ancestors, the task first.
pub(super) fn lineage(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(up, _)| up))
}
