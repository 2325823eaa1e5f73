//! The one test of all: would these locks fit beside those claims?

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::claims::{Claim, Counted, Room};
use super::{LAST, LockTable, Ticket, Waiter};
use crate::failpoint::{Mutant, is};
use crate::ids::TaskId;
use crate::name::LockName;
use crate::request::{LockSet, Mode};

/// A claim in the way, and the name that it is on.
pub(super) type Obstacle<'t> = (&'t LockName, Claim<'t>);

impl LockTable {
    /// Visits the claims that `locks`, asked for by `task`, would not fit beside, among those that
    /// count, until `visit` breaks.
    ///
    /// Claims of the task itself and of its ancestors are never in the way; those of its
    /// descendants are.
    fn visit_obstacles<'t, B>(
        &'t self,
        task: &TaskId,
        locks: &'t LockSet,
        counted: Counted<'_>,
        mut visit: impl FnMut(Obstacle<'t>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let other = |claim: &Claim<'_>| !claim.task.contains(task) && counted.includes(claim);
        for (name, &mode) in those_looked_at(locks) {
            let around = self.claims.around(name, mode).filter(|_| !is(Mutant::NoHierarchy));
            for obstacle in around.filter(|(_, claim)| other(claim)) {
                visit(obstacle)?;
            }
            let exclusive = self.claims.exclusive_on(name.as_str()).filter(other);
            if mode.is_exclusive() {
                for claim in exclusive.chain(self.claims.open_on(name.as_str()).filter(other)) {
                    visit((name, claim))?;
                }
                continue;
            }
            let mut beside: Vec<Claim<'_>> = exclusive.collect();
            if beside.is_empty()
                && self.claims.room(name.as_str(), task, mode, counted) == Room::Yes
            {
                continue;
            }
            beside.extend(self.claims.open_on(name.as_str()).filter(other));
            for claim in without_room(beside, mode) {
                visit((name, claim))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// All that is in the way.
    pub(super) fn obstacles<'t>(
        &'t self,
        task: &TaskId,
        locks: &'t LockSet,
        counted: Counted<'_>,
    ) -> Vec<Obstacle<'t>> {
        let mut found = Vec::new();
        let _: ControlFlow<()> = self.visit_obstacles(task, locks, counted, |obstacle| {
            found.push(obstacle);
            ControlFlow::Continue(())
        });
        found
    }

    /// Tells whether nothing is in the way.
    pub(super) fn fits(&self, task: &TaskId, locks: &LockSet, counted: Counted<'_>) -> bool {
        let is_full = |(name, &mode): (&LockName, &Mode)| {
            !mode.is_exclusive() && self.claims.room(name.as_str(), task, mode, counted) == Room::No
        };
        !those_looked_at(locks).any(is_full)
            && self.visit_obstacles(task, locks, counted, |_| ControlFlow::Break(())).is_continue()
    }

    /// What keeps a request from being granted now: the holds in its way, and the earlier waiters
    /// in its way, counted as if they already held.
    ///
    /// An earlier waiter does not count if it cannot be granted before the asking line of work
    /// gives something back: else the queue would be a deadlock by itself. Empty: it is granted.
    pub(super) fn in_the_way<'t>(
        &'t self,
        task: &TaskId,
        locks: &'t LockSet,
        place: Ticket,
    ) -> Vec<Obstacle<'t>> {
        let stuck = self.overtaken(task, locks, place);
        self.obstacles(task, locks, Counted::Ahead(place, &stuck))
    }

    /// Tells whether nothing is in the way now.
    fn is_free(&self, task: &TaskId, locks: &LockSet, place: Ticket) -> bool {
        if !self.fits(task, locks, Counted::Holds) {
            return false;
        }
        if is(Mutant::QueueJumping) || self.queue.range(..place).next().is_none() {
            return true;
        }
        let stuck = self.overtaken(task, locks, place);
        if is(Mutant::PairwiseFairness) {
            let mut ahead = self.queue.range(..place).filter(|(ticket, _)| !stuck.contains(ticket));
            return ahead.all(|(one, _)| {
                let pair = |claim: &Claim<'_>| claim.ticket.is_none_or(|ticket| ticket == *one);
                self.fits(task, locks, Counted::Such(&pair))
            });
        }
        self.fits(task, locks, Counted::Ahead(place, &stuck))
    }

    /// The waiters that do not count for a request at this place, if that matters.
    pub(super) fn overtaken(
        &self,
        task: &TaskId,
        locks: &LockSet,
        place: Ticket,
    ) -> BTreeSet<Ticket> {
        if !self.line_is_entangled(task, place)
            || self.fits(task, locks, Counted::Ahead(place, &BTreeSet::new()))
        {
            return BTreeSet::new();
        }
        // With a waiting sub-task it could not go on if it were granted: what it takes then must be
        // free of everybody who could go on first, in whatever order.
        self.reduce(Some(task), !self.has_waiting_descendant(task))
    }

    /// Tells whether the waiter with this ticket is to be granted now.
    ///
    /// A task does not get anything while a sub-task of it waits: as it cannot go on, that could
    /// close a circle that nobody asked for.
    pub(super) fn is_next(&self, ticket: Ticket) -> bool {
        let waiter = &self.queue[&ticket];
        !self.has_waiting_descendant(&waiter.task)
            && self.is_free(&waiter.task, &waiter.locks, ticket)
    }

    pub(super) fn has_waiting_descendant(&self, task: &TaskId) -> bool {
        let own = self.task(task).map_or(0, |task| task.waiters);
        self.families.get(task.family()).is_some_and(|family| family.waiters > own)
            && self.queue.values().any(|w| w.task != *task && task.contains(&w.task))
    }

    /// Tells whether others may have to wait for this line of work: it holds something, or waits in
    /// the queue elsewhere than at this place.
    pub(super) fn line_is_entangled(&self, task: &TaskId, place: Ticket) -> bool {
        let is_here = |waiter: &Waiter| waiter.task.family() == task.family();
        let own = usize::from(self.queue.get(&place).is_some_and(is_here));
        self.line_holds(task)
            || self.families.get(task.family()).is_some_and(|family| family.waiters > own)
                && self.queue.iter().any(|(&at, w)| at != place && w.task.contains(task))
    }

    /// Tells whether the task or one of its ancestors holds anything.
    pub(super) fn line_holds(&self, task: &TaskId) -> bool {
        self.families.get(task.family()).is_some_and(|family| family.holds > 0)
            && std::iter::successors(Some(task.clone()), TaskId::parent)
                .any(|task| self.task(&task).is_some_and(|task| !task.holds.is_empty()))
    }

    /// Tells whether a request that is not in the queue could be granted now.
    pub(super) fn is_free_for_newcomer(&self, task: &TaskId, locks: &LockSet) -> bool {
        self.is_free(task, locks, LAST)
    }
}

/// The locks of a request that are to fit, each.
fn those_looked_at(locks: &LockSet) -> impl Iterator<Item = (&LockName, &Mode)> {
    let all = if is(Mutant::NoExclusion) { 0 } else { usize::MAX };
    locks.iter().take(if is(Mutant::FirstLockOnly) { 1 } else { all })
}

/// On one name, one holder more must be tolerated by all, itself included: those in the way are
/// the ones that do not tolerate it, or everybody if it does not tolerate them.
fn without_room(mut beside: Vec<Claim<'_>>, mode: Mode) -> Vec<Claim<'_>> {
    if mode == Mode::Shared && beside.iter().all(|claim| claim.mode == Mode::Shared) {
        return Vec::new();
    }
    let slots = slots(&beside).saturating_sub(u64::from(is(Mutant::LimitOffByOne)));
    if slots < mode.tolerance() {
        beside.retain(|claim| slots >= claim.mode.tolerance());
    }
    beside
}

/// How many holders these claims are: a task and its sub-tasks are one while only one of them
/// needs the lock, and as many as its sub-tasks need otherwise.
pub(super) fn slots(claims: &[Claim<'_>]) -> u64 {
    let mut tasks: Vec<&TaskId> = claims.iter().map(|claim| claim.task).collect();
    // The order of ids puts every task directly before all its descendants.
    tasks.sort_unstable();
    tasks.dedup();
    forest(&tasks)
}

fn forest(tasks: &[&TaskId]) -> u64 {
    let mut sum = 0;
    let mut rest = tasks;
    while let Some((root, after)) = rest.split_first() {
        let inside = after.iter().take_while(|task| root.contains(task)).count();
        sum += forest(&after[..inside]).max(1);
        rest = &after[inside..];
    }
    sum
}
