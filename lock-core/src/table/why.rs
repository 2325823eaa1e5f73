//! What would have to happen for locks to be granted, and for what those in the way wait themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::{Claim, Counted};
use super::view::{Blocker, ClientView, HoldView, WaiterView};
use super::{LAST, LockTable, Ticket};
use crate::backend::Version;
use crate::ids::{RequestId, TaskId};
use crate::name::LockName;
use crate::request::{LockSet, Mode};

/// What would have to happen for a request to be granted.
///
/// It is told as if the dead had been swept, since the request itself would sweep them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// The version of the cell that was looked at.
    pub version: Version,
    /// What is asked for.
    pub locks: LockSet,
    /// What has to come true, all of it. Empty: the locks would be granted at once.
    pub conditions: Vec<Condition>,
    /// The waiters that those in the way are, or wait behind, in the order of the queue.
    pub waiting: Vec<WaiterView>,
    /// The holds of the dead, which whoever asks next would free.
    pub dead: Vec<HoldView>,
    /// How many waiters are in the queue already.
    pub place: usize,
}

/// One lock that is not to be had yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// The lock that is asked for.
    pub lock: LockName,
    /// The mode in which it is asked for.
    pub mode: Mode,
    /// Who is in the way: holds first, then earlier waiters.
    pub blockers: Vec<Blocker>,
    /// How many of the [tasks](Self::tasks) among them have to go: fewer than all where a limit leaves
    /// room for some.
    pub count: usize,
}

impl Condition {
    /// How many are in the way: a task that holds several names, or waits for several, is one.
    pub fn tasks(&self) -> usize {
        let tasks = self.blockers.iter().map(|blocker| (&blocker.task_id, blocker.waits));
        tasks.collect::<BTreeSet<_>>().len()
    }
}

impl Why {
    /// Tells whether the locks would be granted at once.
    pub fn is_free(&self) -> bool {
        self.conditions.is_empty()
    }

    /// All the clients in it that live as far as is known, wherever they are named.
    pub(crate) fn clients_mut(&mut self) -> impl Iterator<Item = &mut Arc<ClientView>> {
        let blockers = self.conditions.iter_mut().flat_map(|condition| &mut condition.blockers);
        let blockers = blockers.map(|blocker| &mut blocker.client);
        blockers.chain(self.waiting.iter_mut().flat_map(WaiterView::clients_mut))
    }

    /// The waiters because of which a blocker does not go on: itself, or the sub-tasks of its task.
    pub fn waits_of<'w>(&'w self, blocker: &'w Blocker) -> impl Iterator<Item = &'w WaiterView> {
        self.waiting.iter().filter(|waiter| blocker.task_id.contains(&waiter.task_id))
    }
}

impl LockTable {
    /// What would have to happen for `task`, which has not asked yet, to be granted `locks`.
    ///
    /// The version is left at 0, the states at unknown, and nobody is taken for dead, since a table
    /// knows none of it.
    pub fn why(&self, task: &TaskId, locks: &LockSet) -> Why {
        let passed = self.overtaken(task, locks, LAST);
        let conditions = locks.iter().filter_map(|one| self.condition(task, one, &passed));
        let conditions: Vec<Condition> = conditions.collect();
        let mut waiting = self.list().waiting;
        let mut behind: BTreeSet<RequestId> = BTreeSet::new();
        let mut next: Vec<TaskId> = blocking_tasks(conditions.iter().flat_map(|c| &c.blockers));
        while let Some(blocking) = next.pop() {
            for waiter in waiting.iter().filter(|waiter| blocking.contains(&waiter.task_id)) {
                if behind.insert(waiter.id) {
                    next.extend(blocking_tasks(&waiter.blocked_by));
                }
            }
        }
        waiting.retain(|waiter| behind.contains(&waiter.id));
        let place = self.queue.len();
        Why {
            version: Version::ABSENT,
            locks: locks.clone(),
            conditions,
            waiting,
            dead: Vec::new(),
            place,
        }
    }

    /// Why this one of the locks is not to be had yet, if it is not.
    fn condition(
        &self,
        task: &TaskId,
        (lock, &mode): (&LockName, &Mode),
        passed: &BTreeSet<Ticket>,
    ) -> Option<Condition> {
        let one: LockSet = [(lock.clone(), mode)].into_iter().collect();
        let in_the_way = self.obstacles(task, &one, Counted::Ahead(LAST, passed));
        let blockers = self.blockers(in_the_way);
        if blockers.is_empty() {
            return None;
        }
        // Those who came first go first, as far as anybody can tell.
        let mut gone: BTreeSet<(&TaskId, bool)> = BTreeSet::new();
        for blocker in &blockers {
            let is_left = |claim: &Claim<'_>| {
                Counted::Ahead(LAST, passed).includes(claim)
                    && !gone.contains(&(claim.task, claim.ticket.is_some()))
            };
            let fits = self.fits(task, &one, Counted::Such(&is_left));
            if fits {
                break;
            }
            gone.insert((&blocker.task_id, blocker.waits));
        }
        let count = gone.len();
        Some(Condition { lock: lock.clone(), mode, blockers, count })
    }
}

fn blocking_tasks<'b>(blockers: impl IntoIterator<Item = &'b Blocker>) -> Vec<TaskId> {
    blockers.into_iter().map(|blocker| blocker.task_id.clone()).collect()
}
