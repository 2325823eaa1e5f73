//! A referee that hears from holders and knows what may not be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::guard::Guard;
use crate::ids::TaskId;
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
    fence: u64,
    ended: bool,
}

impl Referee {
    /// To be called when a request was granted.
    ///
    /// # Panics
    ///
    /// When somebody who is not nested in the task holds what excludes it, or held it with a fence
    /// that is not smaller.
    #[must_use = "it holds as long as this lives"]
    pub fn begins(&self, guard: &Guard, request: &Request) -> Hold {
        let locks = request.locks().expect("it was granted").clone();
        let new = Held { task: guard.task_id().clone(), locks, fence: guard.fence(), ended: false };
        let mut all = self.all();
        let strangers = all.iter().filter(|held| !held.is_kin(&new));
        for other in strangers.filter(|held| held.excludes(&new)) {
            assert!(other.ended, "two holders at once: {other:?} and {new:?}");
            assert!(other.fence < new.fence, "fences do not rise: {other:?} and {new:?}");
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

    fn excludes(&self, other: &Self) -> bool {
        self.locks.iter().any(|(mine, mode)| {
            other.locks.iter().any(|(theirs, other_mode)| {
                let below = |one: &str, above: &str| {
                    one.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
                };
                let (mine, theirs) = (mine.as_str(), theirs.as_str());
                let meets = mine == theirs || below(mine, theirs) || below(theirs, mine);
                meets && (*mode == Mode::Exclusive || *other_mode == Mode::Exclusive)
            })
        })
    }
}
