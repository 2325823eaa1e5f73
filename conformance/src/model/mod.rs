//! A reference model of the lock table: the rules as one reads them aloud, naive, slow and clear.
//!
//! It shares no code with the table but its names, modes and ids.

pub mod world;

use std::collections::{BTreeMap, BTreeSet};

use lock_core::process::ProcessSet;
use lock_core::table::{Acquire, Op, RequestState, Verdict};
use lock_core::{ClientId, LockName, LockSet, Mode, RequestId, TaskId, Version};

/// A granted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: RequestId,
    /// Whose it is.
    pub task: TaskId,
    /// The name of that task.
    pub task_name: String,
    /// The locks.
    pub locks: LockSet,
    /// The version of the swap that granted it.
    pub version: Version,
    /// The fence of each lock.
    pub fences: BTreeMap<LockName, Version>,
}

/// A request in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Its id.
    pub id: RequestId,
    /// Whose it is.
    pub task: TaskId,
    /// The name of that task.
    pub task_name: String,
    /// The locks.
    pub locks: LockSet,
}

/// What is known of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// The version of its last renewal.
    pub mark: Version,
    /// The revision of its process set.
    pub revision: u64,
    /// Its processes.
    pub processes: ProcessSet,
    /// By boot: since when this mark was seen.
    pub seen: BTreeMap<String, u64>,
}

/// One lock of one request, held or waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Whose it is.
    pub task: TaskId,
    /// The lock.
    pub name: LockName,
    /// How it is held or wanted.
    pub mode: Mode,
    /// Whether it is only waited for.
    pub waits: bool,
}

/// A lock in the way: whose task it is, which lock, and whether that task waits for it itself.
pub type Blockers = BTreeSet<(TaskId, LockName, bool)>;

/// What came of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The locks are held.
    Granted,
    /// The request waits.
    Queued,
    /// The locks are not free, and the request may not wait.
    Busy {
        /// What is in the way.
        blockers: Blockers,
        /// How many waiters are before it.
        place: usize,
    },
    /// Waiting would never end.
    Deadlock,
    /// The request was freed by somebody else.
    Freed,
    /// Done; whether that changed anything.
    Done(bool),
}

/// The whole table; the queue is in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// Who holds what, the oldest grant first.
    pub holds: Vec<Hold>,
    /// Who waits, in order.
    pub queue: Vec<Waiter>,
    /// What was freed by somebody else, and is not yet forgotten.
    pub freed: Vec<RequestId>,
    /// All clients that have any of that.
    pub clients: Vec<Client>,
}

/// Tells whether `upper` is `lower` or an ancestor of it.
pub fn in_line(upper: &TaskId, lower: &TaskId) -> bool {
    let upper: Vec<&str> = upper.as_str().split('/').collect();
    let lower: Vec<&str> = lower.as_str().split('/').collect();
    lower.starts_with(&upper)
}

/// Tells whether neither task is nested in the other.
pub fn strangers(one: &TaskId, other: &TaskId) -> bool {
    !in_line(one, other) && !in_line(other, one)
}

fn strictly_below(lower: &LockName, upper: &LockName) -> bool {
    lower.as_str().starts_with(&format!("{upper}/"))
}

/// Tells whether one of two different names covers the other.
pub fn nested(one: &LockName, other: &LockName) -> bool {
    strictly_below(one, other) || strictly_below(other, one)
}

/// How many holders a hold in this mode tolerates on its name, itself included.
pub fn tolerance(mode: Mode) -> u64 {
    match mode {
        Mode::Exclusive => 1,
        Mode::Limit(n) => n.into(),
        Mode::Shared => u64::MAX,
    }
}

/// How many holders these tasks are: one that is nested in another does not count twice.
fn slots(tasks: &BTreeSet<&TaskId>) -> u64 {
    let strictly = |upper: &TaskId, lower: &TaskId| upper != lower && in_line(upper, lower);
    let outermost = tasks.iter().filter(|task| !tasks.iter().any(|other| strictly(other, task)));
    outermost
        .map(|task| {
            let nested = tasks.iter().copied().filter(|other| strictly(task, other)).collect();
            slots(&nested).max(1)
        })
        .sum()
}

/// Those of the claims that keep a task from these locks.
fn obstacles(asker: &TaskId, locks: &LockSet, claims: &[Claim]) -> Vec<Claim> {
    let others: Vec<&Claim> = claims.iter().filter(|c| !in_line(&c.task, asker)).collect();
    let mut found = Vec::new();
    for (name, &mode) in locks {
        let same: Vec<&Claim> = others.iter().copied().filter(|c| c.name == *name).collect();
        let holders = slots(&same.iter().map(|c| &c.task).collect()) + 1;
        for claim in same {
            if holders > tolerance(mode) || holders > tolerance(claim.mode) {
                found.push(claim.clone());
            }
        }
        for claim in others.iter().filter(|c| nested(&c.name, name)) {
            if mode == Mode::Exclusive || claim.mode == Mode::Exclusive {
                found.push((*claim).clone());
            }
        }
    }
    found
}

fn claims(task: &TaskId, locks: &LockSet, waits: bool) -> impl Iterator<Item = Claim> {
    locks.iter().map(move |(name, &mode)| Claim {
        task: task.clone(),
        name: name.clone(),
        mode,
        waits,
    })
}

/// Tells whether a task could have these locks beside those holds.
pub fn fits(asker: &TaskId, locks: &LockSet, holds: &[(TaskId, LockSet)]) -> bool {
    let held: Vec<Claim> = holds.iter().flat_map(|(task, set)| claims(task, set, false)).collect();
    obstacles(asker, locks, &held).is_empty()
}

impl Model {
    fn held_claims(&self) -> Vec<Claim> {
        self.holds.iter().flat_map(|h| claims(&h.task, &h.locks, false)).collect()
    }

    fn line_holds(&self, task: &TaskId) -> bool {
        self.holds.iter().any(|h| in_line(&h.task, task))
    }

    /// Tells whether somebody could be waiting for this line of work: it holds something, or waits
    /// for something else than its `own` request.
    fn is_entangled(&self, task: &TaskId, own: Option<RequestId>) -> bool {
        self.line_holds(task)
            || self.queue.iter().any(|w| in_line(&w.task, task) && Some(w.id) != own)
    }

    /// The queue entries that remain stuck while everybody who can gives back everything.
    ///
    /// `pinned` and its ancestors give nothing back. `in_turn`: nobody overtakes an earlier entry,
    /// but for one that in any order has to wait for a line of work to give something back.
    fn stuck(&self, pinned: Option<&TaskId>, in_turn: bool) -> Vec<RequestId> {
        let mut undone: Vec<&Waiter> = self.queue.iter().collect();
        while let Some(next) = undone.iter().position(|w| self.goes_on(w, &undone, pinned, in_turn))
        {
            undone.remove(next);
        }
        undone.into_iter().map(|waiter| waiter.id).collect()
    }

    fn goes_on(
        &self,
        waiter: &Waiter,
        undone: &[&Waiter],
        pinned: Option<&TaskId>,
        in_turn: bool,
    ) -> bool {
        let is_pinned = |task: &TaskId| pinned.is_some_and(|pinned| in_line(task, pinned));
        let is_kept = |task: &TaskId| undone.iter().any(|other| in_line(task, &other.task));
        let has_undone_below =
            undone.iter().any(|o| o.task != waiter.task && in_line(&waiter.task, &o.task));
        if is_pinned(&waiter.task) || has_undone_below {
            return false;
        }
        let mut beside = self.held_claims();
        beside.retain(|claim| is_kept(&claim.task) || is_pinned(&claim.task));
        if !obstacles(&waiter.task, &waiter.locks, &beside).is_empty() {
            return false;
        }
        if in_turn {
            let passed = if self.is_entangled(&waiter.task, Some(waiter.id)) {
                self.stuck(Some(&waiter.task), false)
            } else {
                Vec::new()
            };
            let earlier = undone.iter().take_while(|other| other.id != waiter.id);
            for other in earlier.filter(|other| !passed.contains(&other.id)) {
                beside.extend(claims(&other.task, &other.locks, true));
            }
        }
        obstacles(&waiter.task, &waiter.locks, &beside).is_empty()
    }

    /// What keeps a task from these locks, if it stood at this place in the queue.
    pub fn in_the_way(&self, task: &TaskId, locks: &LockSet, place: usize) -> Blockers {
        let own = self.queue.get(place).map(|w| w.id);
        let ignored = if self.is_entangled(task, own) {
            self.stuck(Some(task), !self.has_waiting_descendant(task))
        } else {
            Vec::new()
        };
        let mut counted = self.held_claims();
        for waiter in self.queue[..place].iter().filter(|w| !ignored.contains(&w.id)) {
            counted.extend(claims(&waiter.task, &waiter.locks, true));
        }
        obstacles(task, locks, &counted).into_iter().map(|c| (c.task, c.name, c.waits)).collect()
    }

    /// What keeps the waiter at this place from its locks.
    pub fn blockers_of(&self, place: usize) -> Blockers {
        let waiter = &self.queue[place];
        self.in_the_way(&waiter.task, &waiter.locks, place)
    }

    fn has_waiting_descendant(&self, task: &TaskId) -> bool {
        self.queue.iter().any(|w| w.task != *task && in_line(task, &w.task))
    }

    /// Tells whether a task, or one nested in it, waits.
    pub fn is_waiting(&self, task: &TaskId) -> bool {
        self.queue.iter().any(|w| in_line(task, &w.task))
    }

    /// Where a request is.
    pub fn place(&self, id: RequestId) -> RequestState {
        if let Some(hold) = self.holds.iter().find(|h| h.id == id) {
            RequestState::Held(hold.version)
        } else if self.queue.iter().any(|w| w.id == id) {
            RequestState::Waiting
        } else if self.freed.contains(&id) {
            RequestState::Freed
        } else {
            RequestState::Absent
        }
    }

    /// Does what the op says, as a swap to this version.
    pub fn apply(&mut self, op: &Op, version: Version) -> Answer {
        let before = self.clone();
        let mut answer = match op {
            Op::Acquire(acquire) => self.acquire(acquire, version),
            Op::Release(id) => {
                self.end(|hold| hold == *id, |waiter| waiter == *id);
                self.freed.retain(|freed| freed != id);
                Answer::Done(false)
            }
            Op::Withdraw(id) => {
                self.end(|_| false, |waiter| waiter == *id);
                Answer::Done(false)
            }
            Op::Downgrade(id) => {
                for hold in self.holds.iter_mut().filter(|h| h.id == *id) {
                    for mode in hold.locks.values_mut().filter(|m| **m == Mode::Exclusive) {
                        *mode = Mode::Shared;
                    }
                }
                Answer::Done(false)
            }
            Op::ReleaseTasks(tasks) => {
                let freed = self.queue.iter().filter(|w| tasks.contains(&w.task)).map(|w| w.id);
                self.freed.extend(freed);
                let freed = self.holds.iter().filter(|h| tasks.contains(&h.task)).map(|h| h.id);
                self.freed.extend(freed);
                self.holds.retain(|h| !tasks.contains(&h.task));
                self.queue.retain(|w| !tasks.contains(&w.task));
                Answer::Done(false)
            }
            Op::Sweep(Verdict { client, mark, revision }) => {
                let valid =
                    |c: &Client| c.id == *client && c.mark == *mark && c.revision == *revision;
                if self.clients.iter().any(valid) {
                    self.end(|hold| hold.client == *client, |waiter| waiter.client == *client);
                    self.freed.retain(|freed| freed.client != *client);
                }
                Answer::Done(false)
            }
            Op::SetProcesses { client, processes } => {
                for known in self.clients.iter_mut().filter(|c| c.id == *client) {
                    if known.processes != *processes {
                        known.processes = processes.clone();
                        known.revision += 1;
                    }
                }
                Answer::Done(false)
            }
            Op::Observe { client, mark, boot, first_ms } => {
                for known in self.clients.iter_mut().filter(|c| c.id == *client && c.mark == *mark)
                {
                    let seen = known.seen.entry(boot.to_string()).or_insert(*first_ms);
                    *seen = (*seen).min(*first_ms);
                }
                Answer::Done(false)
            }
            Op::Renew(client) => {
                for known in self.clients.iter_mut().filter(|c| c.id == *client) {
                    known.mark = version;
                    known.seen.clear();
                }
                return Answer::Done(false);
            }
        };
        if *self != before {
            self.grant_waiters(version);
            let lives = |client: ClientId| {
                let ids = self.holds.iter().map(|h| h.id).chain(self.queue.iter().map(|w| w.id));
                ids.chain(self.freed.iter().copied()).any(|id| id.client == client)
            };
            let living: Vec<_> = self.clients.iter().map(|c| c.id).filter(|c| lives(*c)).collect();
            self.clients.retain(|c| living.contains(&c.id));
        }
        if let Answer::Done(changed) = &mut answer {
            *changed = *self != before;
        }
        answer
    }

    fn end(
        &mut self,
        ends_hold: impl Fn(RequestId) -> bool,
        ends_waiter: impl Fn(RequestId) -> bool,
    ) {
        self.holds.retain(|h| !ends_hold(h.id));
        self.queue.retain(|w| !ends_waiter(w.id));
    }

    fn acquire(&mut self, ask: &Acquire, version: Version) -> Answer {
        match self.place(ask.id) {
            RequestState::Held(_) => return Answer::Granted,
            RequestState::Waiting => return Answer::Queued,
            RequestState::Freed => return Answer::Freed,
            RequestState::Absent => {}
        }
        let place = self.queue.len();
        let blockers = self.in_the_way(&ask.task, &ask.locks, place);
        let entry = Waiter {
            id: ask.id,
            task: ask.task.clone(),
            task_name: ask.name.to_string(),
            locks: (*ask.locks).clone(),
        };
        let answer = if blockers.is_empty() {
            self.grant(entry, version);
            Answer::Granted
        } else if ask.wait {
            self.queue.push(entry);
            if self.line_holds(&ask.task) && self.stuck(None, false).contains(&ask.id) {
                self.queue.pop();
                return Answer::Deadlock;
            }
            Answer::Queued
        } else {
            return Answer::Busy { blockers, place };
        };
        if !self.clients.iter().any(|c| c.id == ask.id.client) {
            self.clients.push(Client {
                id: ask.id.client,
                mark: version,
                revision: 0,
                processes: ask.client.processes.clone(),
                seen: BTreeMap::new(),
            });
        }
        answer
    }

    fn grant_waiters(&mut self, version: Version) {
        let is_next = |model: &Self, place: usize| {
            !model.has_waiting_descendant(&model.queue[place].task)
                && model.blockers_of(place).is_empty()
        };
        while let Some(next) = (0..self.queue.len()).find(|place| is_next(self, *place)) {
            let waiter = self.queue.remove(next);
            self.grant(waiter, version);
        }
    }

    fn grant(&mut self, entry: Waiter, version: Version) {
        let Waiter { id, task, task_name, locks } = entry;
        let fence = |name: &LockName| {
            let line = self.holds.iter().filter(|hold| in_line(&hold.task, &task));
            let covering = line.flat_map(|hold| {
                let covers = |above: &LockName| above == name || strictly_below(name, above);
                let exclusive = hold.locks.iter().filter(|(_, mode)| **mode == Mode::Exclusive);
                exclusive
                    .filter(move |(above, _)| covers(above))
                    .map(|(above, _)| hold.fences[above])
            });
            covering.min().unwrap_or(version)
        };
        let fences = locks.keys().map(|name| (name.clone(), fence(name))).collect();
        self.holds.push(Hold { id, task, task_name, locks, version, fences });
    }
}
