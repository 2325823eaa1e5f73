//! One sequence, played by the clients and the model side by side.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lock_core::process::Liveness;
use lock_core::table::{Acquire, Blocker, Denial, Listing, Op};
use lock_core::{
    AcquireError, Guard, HoldError, LockSet, Request, RequestId, Task, TaskId, VerifyError, Version,
};
use tokio::sync::Mutex;

use super::crew::Crew;
use super::step::{How, Step};
use crate::model::world::{self, TASKS, lock_set};
use crate::model::{Answer, Blockers, Model};
use crate::trial::{Failure, Verdict};

/// The answer to a request, as it is waited for.
type Asked = Pin<Box<dyn Future<Output = Result<Guard, AcquireError>>>>;

/// Who holds what, and who waits for whom: all that is to be seen of a table in quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    holds: Vec<(TaskId, LockSet)>,
    queue: Vec<(TaskId, LockSet, Blockers)>,
}

impl Seen {
    fn of_listing(listing: &Listing) -> Self {
        let holds = listing.holds.iter().map(|hold| (hold.task_id.clone(), hold.locks.clone()));
        let queue = listing.waiting.iter().map(|waiter| {
            (waiter.task_id.clone(), waiter.locks.clone(), blockers(&waiter.blocked_by))
        });
        Self::new(holds.collect(), queue.collect())
    }

    fn of_model(model: &Model) -> Self {
        let holds = model.holds.iter().map(|hold| (hold.task.clone(), hold.locks.clone()));
        let queue = model.queue.iter().enumerate().map(|(place, waiter)| {
            (waiter.task.clone(), waiter.locks.clone(), model.blockers_of(place))
        });
        Self::new(holds.collect(), queue.collect())
    }

    fn new(mut holds: Vec<(TaskId, LockSet)>, queue: Vec<(TaskId, LockSet, Blockers)>) -> Self {
        holds.sort();
        Self { holds, queue }
    }
}

/// One sequence. Requests have ids of the model's, as a client does not tell those of its waiters.
pub(super) struct Case<'c> {
    crew: &'c mut Crew,
    /// [`TASKS`], each locked while it waits.
    tasks: Vec<(TaskId, Arc<Mutex<Task>>)>,
    model: Model,
    held: Vec<(RequestId, Guard)>,
    waiting: Vec<(RequestId, Asked)>,
    version: u64,
    issued: u64,
    /// The fences that are known by now, by the model's versions.
    fences: BTreeMap<Version, u64>,
}

impl<'c> Case<'c> {
    pub(super) fn new(crew: &'c mut Crew) -> Self {
        let mut tasks: Vec<(TaskId, Arc<Mutex<Task>>)> = Vec::new();
        for (owner, parent, name) in TASKS {
            let owner = usize::try_from(owner).expect("it is small");
            let mut task = crew.clients[owner - 1].task(name);
            if let Some(parent) = parent {
                task = task.under(&tasks[parent].0);
            }
            let id = task.id().expect("it is not nested deeply").clone();
            tasks.push((id, Arc::new(Mutex::new(task))));
        }
        let fences = BTreeMap::from([(Version(0), crew.fence)]);
        Self {
            crew,
            tasks,
            model: Model::default(),
            held: Vec::new(),
            waiting: Vec::new(),
            version: 0,
            issued: 0,
            fences,
        }
    }

    /// Takes a step, and compares all that is to be seen afterwards. What cannot be done is left out.
    pub(super) async fn take(&mut self, step: &Step) -> Verdict {
        let before = Seen::of_model(&self.model);
        match step {
            Step::Acquire { task, locks, how } => {
                self.acquire(*task, lock_set(locks), *how).await?;
            }
            Step::WouldBlock { task, locks } => {
                self.would_block(*task, &lock_set(locks)).await?;
            }
            Step::Cancel(pick) => {
                let Some(at) = pick.checked_rem(self.waiting.len()) else { return Ok(()) };
                let (id, asked) = self.waiting.remove(at);
                drop(asked);
                self.apply(&Op::Withdraw(id));
            }
            Step::Release(pick) => {
                let Some(at) = pick.checked_rem(self.held.len()) else { return Ok(()) };
                let (id, guard) = self.held.remove(at);
                self.crew.within("a release", guard.release()).await??;
                self.apply(&Op::Release(id));
            }
            Step::Drop(pick) => {
                let Some(at) = pick.checked_rem(self.held.len()) else { return Ok(()) };
                let (id, guard) = self.held.remove(at);
                drop(guard);
                self.apply(&Op::Release(id));
            }
            Step::Downgrade(pick) => {
                let Some(at) = pick.checked_rem(self.held.len()) else { return Ok(()) };
                let (id, guard) = &self.held[at];
                self.crew.within("a downgrade", guard.downgrade()).await??;
                let op = Op::Downgrade(*id);
                self.apply(&op);
            }
            Step::ReleaseTask { client, task, ask } => {
                self.release_task(*client, TASKS[*task].2, *ask).await?;
            }
            Step::List(client) => {
                let locks = &self.crew.clients[*client];
                let listing = self.crew.within("a listing", locks.list()).await??;
                self.assert_listed(&listing)?;
                let holds = listing.holds.iter().map(|hold| &hold.client);
                let mut clients = holds.chain(listing.waiting.iter().map(|w| &w.client));
                same("everybody lives", &clients.all(|c| c.state == Liveness::Alive), &true)?;
            }
        }
        self.settle(&before).await
    }

    /// Ends everything at once, in the ways that need no waiting.
    pub(super) fn end(mut self) {
        self.crew.fence = *self.fences.values().max().expect("there is one from the beginning");
        self.waiting.clear();
        self.held.clear();
    }

    fn apply(&mut self, op: &Op) -> Answer {
        self.version += 1;
        self.model.apply(op, Version(self.version))
    }

    async fn acquire(&mut self, at: usize, locks: LockSet, how: How) -> Verdict {
        let (task_id, task) = self.tasks[at].clone();
        if task.try_lock().is_err() {
            return Ok(()); // A line of work waits for one thing.
        }
        self.issued += 1;
        let id = RequestId { client: task_id.client(), number: self.issued };
        let ask = world::request(id, at, locks.clone(), how == How::Wait);
        let expected = self.apply(&Op::Acquire(Acquire { task: task_id.clone(), ..ask }));
        let request = Request::from(locks.clone());
        let mut asked: Asked = Box::pin(async move {
            let mut task = task.lock().await;
            match how {
                How::Wait => task.acquire(request).await,
                How::Try => task.try_acquire(request).await,
                How::NoTime => task.acquire_timeout(request, Duration::ZERO).await,
            }
        });
        if expected == Answer::Queued {
            let early = (&mut asked).now_or_never();
            self.waiting.push((id, asked));
            return early.map_or(Ok(()), |answer| wrong("it waits", &answer));
        }
        let answer = self.crew.within("an answer", asked).await?;
        match (expected, answer, how) {
            (Answer::Granted, Ok(guard), _) => self.hold(id, guard),
            (Answer::Deadlock, Err(AcquireError::Deadlock(cycle)), How::Wait) => {
                let waits = |task: &TaskId| {
                    *task == task_id || self.model.queue.iter().any(|w| w.task == *task)
                };
                let holds = |task: &TaskId| self.model.holds.iter().any(|h| h.task == *task);
                let right = cycle.edges.iter().all(|e| waits(&e.task_id) && holds(&e.holder_id));
                same("the circle is one", &(right && !cycle.edges.is_empty()), &true)
            }
            (Answer::Busy { blockers, place }, Err(AcquireError::Busy(denial)), How::Try)
            | (
                Answer::Busy { blockers, place },
                Err(AcquireError::TimedOut(denial)),
                How::NoTime,
            ) => assert_denied(&denial, &locks, &blockers, place),
            (expected, answer, _) => wrong(&format!("{expected:?}"), &answer),
        }
    }

    async fn would_block(&mut self, at: usize, locks: &LockSet) -> Verdict {
        let (id, task) = &self.tasks[at];
        let Ok(task) = task.try_lock() else { return Ok(()) };
        let asked = task.would_block(locks.clone());
        let denial = self.crew.within("what would block", asked).await??;
        let place = self.model.queue.len();
        let expected = self.model.in_the_way(id, locks, place);
        match denial {
            Some(denial) => assert_denied(&denial, locks, &expected, place),
            None => same("what would block", &Blockers::new(), &expected),
        }
    }

    async fn release_task(&mut self, client: usize, name: &str, ask: bool) -> Verdict {
        let held = self.model.holds.iter().map(|hold| (&hold.task, &hold.task_name));
        let all = held.chain(self.model.queue.iter().map(|w| (&w.task, &w.task_name)));
        let mut tasks: Vec<TaskId> =
            all.filter(|(_, its)| *its == name).map(|(task, _)| task.clone()).collect();
        tasks.sort();
        tasks.dedup();
        let asked = self.crew.clients[client].release_task(name);
        let released = self.crew.within("a release by name", asked).await??;
        same("the number of released tasks", &released, &tasks.len())?;
        self.apply(&Op::ReleaseTasks(tasks));
        for id in self.model.freed.clone() {
            // Whose it was learns of it, and then it is forgotten.
            if let Some(at) = self.waiting.iter().position(|(waiter, _)| *waiter == id) {
                let answer = self.crew.within("an answer", self.waiting.remove(at).1).await?;
                if !matches!(answer, Err(AcquireError::Released)) {
                    return wrong("it is released", &answer);
                }
            }
            if let Some(at) = self.held.iter().position(|(hold, _)| *hold == id) {
                let (_, guard) = self.held.remove(at);
                if ask {
                    let verified = self.crew.within("a look", guard.verify()).await?;
                    if !matches!(verified, Err(VerifyError::Hold(HoldError::Lost))) {
                        return wrong("the hold is lost", &verified);
                    }
                    same("its guard", &guard.check(), &Err(HoldError::Lost))?;
                    self.crew.within("the notice", guard.lost()).await?;
                }
                self.crew.within("the release of what is lost", guard.release()).await??;
            }
            self.apply(&Op::Release(id));
        }
        Ok(())
    }

    /// Waits until everything is as in the model. The table is as it was before, until it is.
    async fn settle(&mut self, before: &Seen) -> Verdict {
        let expected = Seen::of_model(&self.model);
        let look = async |crew: &Crew| {
            let listing = crew.table().await?.list();
            let seen = Seen::of_listing(&listing);
            if seen == expected {
                return Ok(Some(listing));
            }
            if seen == *before { Ok(None) } else { wrong(&format!("{expected:?}"), &seen) }
        };
        let what = format!("{expected:?} takes for ever; {before:?}");
        let listing = self.crew.until(&what, look).await?;
        let granted = self
            .waiting
            .extract_if(.., |(id, _)| self.model.holds.iter().any(|hold| hold.id == *id));
        for (id, asked) in granted.collect::<Vec<_>>() {
            match self.crew.within("a grant", asked).await? {
                Ok(guard) => self.hold(id, guard)?,
                refused => return wrong("it is granted", &refused),
            }
        }
        self.assert_listed(&listing)?;
        for (_, asked) in &mut self.waiting {
            if let Some(answer) = asked.now_or_never() {
                return wrong("it waits", &answer);
            }
        }
        for (_, guard) in &self.held {
            same("a guard", &guard.check(), &Ok(()))?;
        }
        Ok(())
    }

    /// Takes over a guard, whose fences must be those of the model.
    fn hold(&mut self, id: RequestId, guard: Guard) -> Verdict {
        let hold = self.model.holds.iter().find(|hold| hold.id == id).expect("it is granted");
        same("the task of a guard", guard.task_id(), &hold.task)?;
        same(
            "the names of a guard",
            &guard.names().collect(),
            &hold.locks.keys().collect::<Vec<_>>(),
        )?;
        for (name, version) in &hold.fences {
            let fence = guard.fence_of(name.as_str()).unwrap_or_default();
            let known = *self.fences.entry(*version).or_insert(fence);
            same("the fence of what was granted together", &fence, &known)?;
        }
        let fences: Vec<u64> = self.fences.values().copied().collect();
        self.held.push((id, guard));
        same("that fences rise", &fences.is_sorted_by(|one, next| one < next), &true)
    }

    /// What is listed is what guards and the model say.
    fn assert_listed(&self, listing: &Listing) -> Verdict {
        same("what is listed", &Seen::of_listing(listing), &Seen::of_model(&self.model))?;
        let mut listed: Vec<_> = listing.holds.iter().map(|hold| hold.id).collect();
        let mut guards: Vec<_> = self.held.iter().map(|(_, guard)| guard.id()).collect();
        listed.sort();
        guards.sort();
        same("the holds that have guards", &listed, &guards)
    }
}

fn blockers(found: &[Blocker]) -> Blockers {
    found.iter().map(|b| (b.task_id.clone(), b.lock.clone(), b.waits)).collect()
}

fn assert_denied(denial: &Denial, locks: &LockSet, expected: &Blockers, place: usize) -> Verdict {
    same("what was denied", &denial.locks, locks)?;
    same("the blockers", &blockers(&denial.blockers), expected)?;
    same("the place in the queue", &denial.place, &place)?;
    let alive = denial.blockers.iter().all(|b| b.client.state == Liveness::Alive);
    same("that the blockers live", &alive, &true)
}

fn same<T: Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Verdict {
    if found == expected {
        return Ok(());
    }
    Err(Failure::failed(format!("{what} should be {expected:?}, but is {found:?}")))
}

fn wrong<T>(expected: &str, found: &impl Debug) -> Result<T, Failure> {
    Err(Failure::failed(format!("should be: {expected}, but is: {found:?}")))
}
