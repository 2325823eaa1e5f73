//! A referee that hears from holders and knows what may not be.

use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::guard::Guard;
use crate::ids::TaskId;
use crate::name::LockName;
use crate::request::{LockSet, Mode, Request};

/// Knows who holds what by their own account, and that no two of them may not.
///
/// Clones are the same referee.
///
/// ```
/// use lock_core::testing::Referee;
/// use lock_core::{Locks, MemoryBackend, Request};
///
/// let referee = Referee::default();
/// let locks = Locks::new(MemoryBackend::new()).blocking();
/// let request = Request::exclusive("app/blog");
/// let guard = locks.acquire(request.clone())?;
/// let held = referee.begins(guard.as_async(), &request);
/// // Work, and stop before the locks are given back:
/// drop(held);
/// guard.release()?;
/// # locks.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Referee(Arc<Mutex<Vec<Held>>>);

#[derive(Debug)]
struct Held {
    task: TaskId,
    locks: LockSet,
    fences: BTreeMap<LockName, u64>,
    ended: bool,
}

impl Referee {
    /// To be called when a request was granted.
    ///
    /// # Panics
    ///
    /// When somebody who is not nested in the task holds what excludes it, or held it with a fence
    /// that is not smaller; tasks that are nested in the same one may have the same fence, which is that
    /// of what it holds.
    #[must_use = "it holds as long as this lives"]
    pub fn begins(&self, guard: &Guard, request: &Request) -> Hold {
        let locks = request.locks().expect("it was granted").clone();
        let fence = |name: &LockName| Some((name.clone(), guard.fence_of(name.as_str())?));
        let fences = guard.names().filter_map(fence).collect();
        self.let_in(Held { task: guard.task_id().clone(), locks, fences, ended: false })
    }

    fn let_in(&self, new: Held) -> Hold {
        let mut all = self.all();
        let strangers = all.iter().filter(|held| !held.is_kin(&new));
        for other in strangers {
            for (theirs, mine) in other.conflicts(&new) {
                assert!(other.ended, "two holders at once: {other:?} and {new:?}");
                let (before, now) = (other.fences[theirs], new.fences[mine]);
                let rises = before < now || before == now && other.is_of_family(&new);
                assert!(rises, "fences do not rise: {other:?} and {new:?}");
            }
        }
        for (name, mode) in &new.locks {
            let beside = |held: &&Held| !held.ended && held.locks.contains_key(name);
            let tolerances = all.iter().filter(beside).map(|held| held.locks[name].tolerance());
            let tightest = tolerances.min().unwrap_or(u64::MAX).min(mode.tolerance());
            let others = all.iter().filter(beside).filter(|held| !held.is_kin(&new)).count();
            assert!((others as u64) < tightest, "too many hold {name}: {all:?} and {new:?}");
        }
        all.push(new);
        Hold { referee: self.clone(), at: all.len() - 1 }
    }

    /// How many holds there were so far.
    pub fn holds(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends by the account of its holder when it is dropped: to be dropped before the release.
#[derive(Debug)]
pub struct Hold {
    referee: Referee,
    at: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.referee.all()[self.at].ended = true;
    }
}

impl Held {
    fn is_kin(&self, other: &Self) -> bool {
        self.task.contains(&other.task) || other.task.contains(&self.task)
    }

    /// Whether both are nested in the same task.
    fn is_of_family(&self, other: &Self) -> bool {
        let root = |task: &TaskId| successors(Some(task.clone()), TaskId::parent).last();
        root(&self.task) == root(&other.task)
    }

    /// The names of both that exclude each other: its own, and the other's.
    fn conflicts<'h>(
        &'h self,
        other: &'h Self,
    ) -> impl Iterator<Item = (&'h LockName, &'h LockName)> {
        let pairs = self.locks.iter().flat_map(|mine| other.locks.iter().map(move |o| (mine, o)));
        pairs.filter_map(|((mine, mode), (theirs, other_mode))| {
            let meets = mine.covers(theirs) || theirs.covers(mine);
            let excludes = *mode == Mode::Exclusive || *other_mode == Mode::Exclusive;
            (meets && excludes).then_some((mine, theirs))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, Locks, MemoryBackend};

    #[test]
    fn fences_rise_or_are_those_of_what_is_above() {
        let referee = Referee::default();
        let locks = Locks::new(MemoryBackend::new()).blocking();
        let (app, blog) = (Request::exclusive("app"), Request::exclusive("app/blog"));
        let mut backup = locks.task("backup");
        let guard = backup.acquire(app.clone()).unwrap();
        let whole = referee.begins(guard.as_async(), &app);
        for step in ["one", "two"] {
            let step = backup.subtask(step).acquire(blog.clone()).unwrap();
            drop(referee.begins(step.as_async(), &blog));
            step.release().unwrap();
        }
        drop(whole);
        guard.release().unwrap();
        let next = locks.acquire(blog.clone()).unwrap();
        drop(referee.begins(next.as_async(), &blog));
        locks.close().unwrap();
    }

    #[test]
    #[should_panic(expected = "fences do not rise")]
    fn strangers_with_one_fence_are_found() {
        let referee = Referee::default();
        let held = |client| {
            let task = TaskId::new(None, ClientId::from_random(client), 1).unwrap();
            let name: LockName = "a".parse().unwrap();
            let (locks, fences) = ([(name.clone(), Mode::Exclusive)].into(), [(name, 7)].into());
            Held { task, locks, fences, ended: false }
        };
        drop(referee.let_in(held(1)));
        drop(referee.let_in(held(2)));
    }
}
