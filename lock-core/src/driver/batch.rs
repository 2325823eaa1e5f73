//! One swap: all pending ops applied to the table, to be written at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Moment;
use super::actor::{Actor, Cached};
use super::entry::State;
use super::extra::{Extra, What};
use crate::backend::Version;
use crate::error::{AcquireError, StoreError};
use crate::failpoint::{Mutant, Point, is, reach};
use crate::ids::{ClientId, RequestId};
use crate::process::Liveness;
use crate::table::{Denial, Event, LockTable, Op, Outcome, Post, RequestState, Stamp, TableError};

/// How many clients are probed when this one registers.
const TIDY_MAX: usize = 16;

/// What is being written, and what is to be said when it is.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) expected: Version,
    pub(super) next: Version,
    pub(super) sent: Instant,
    pub(super) as_of: Moment,
    /// Whether the table that it changes was read just before.
    pub(super) is_fresh: bool,
    /// When it was sent, on the clock that leases run on.
    pub(super) sent_boot: Duration,
    pub(super) table: LockTable,
    pub(super) acts: Vec<Act>,
    pub(super) events: Vec<Event>,
    /// What others have posted.
    pub(super) posts: Vec<Post>,
    /// What was asked besides, to be answered or tried again.
    pub(super) extras: Vec<Extra>,
}

/// What becomes of a request once the batch is written.
#[derive(Debug)]
pub(super) enum Act {
    Granted(u64),
    Queued(u64),
    Refused(u64, AcquireError),
    /// Nothing is left of it in the table.
    Gone(u64, Option<AcquireError>),
}

/// What came of building a batch.
#[derive(Debug)]
pub(super) enum Build {
    /// To be written.
    Swap(Box<Batch>, Vec<u8>),
    /// A newer table is needed to say no.
    Reload,
    /// Everything was answered, and nothing needs to be written.
    Done,
}

impl Actor {
    /// Applies everything that is pending to the cached table.
    pub(super) fn build(&mut self, is_fresh: bool) -> Build {
        let forced = self.must_swap();
        let Some(Cached { version, table, as_of }) = self.cached.take() else {
            return Build::Reload;
        };
        let posts = std::mem::take(&mut self.posts);
        let mut draft = Draft::new(self, table, version, &posts);
        if draft.stamp.version > Version::MAX {
            self.misconfigured(&StoreError::table(&self.store, TableError::Worn));
            return Build::Done;
        }
        draft.changed = forced;
        for verdict in std::mem::take(&mut self.verdicts) {
            reach(Point::Sweeping);
            draft.apply(&Op::Sweep(verdict));
        }
        for id in &self.unwanted {
            draft.apply(&Op::Release(*id));
        }
        let dirty: Vec<u64> = self.dirty.iter().copied().collect();
        for &number in &dirty {
            self.end_in(&mut draft, number);
        }
        let mut extras = Vec::new();
        let mut stale = false;
        for mut extra in std::mem::take(&mut self.extras) {
            if self.apply_extra(&mut draft, &mut extra, as_of) {
                extras.push(extra);
            } else {
                stale |= matches!(extra.what, What::ReleaseTask { .. } | What::Sweep { .. });
                self.extras.push(extra);
            }
        }
        for &number in &dirty {
            self.acquire_in(&mut draft, number);
        }
        self.write_posts(&mut draft, &posts);
        self.skip_dead(&mut draft);
        if !draft.changed {
            stale |= self.settle_unchanged(draft, version, as_of);
            for post in posts {
                self.ring(post.client, version); // It is done, by whomever.
            }
            for extra in extras {
                self.answer_extra(extra);
            }
            return if stale { Build::Reload } else { Build::Done };
        }
        if dirty.is_empty() && extras.is_empty() {
            reach(Point::Renewing);
        }
        draft.apply(&Op::Renew(self.config.id));
        let writer = self.offer(dirty.is_empty() && posts.len() <= 1);
        if writer.is_none() && (self.is_tight || draft.table.writer().is_none()) {
            draft.table.fold_posts(); // Nobody posts, as far as is known.
        }
        draft.table.set_writer(writer);
        let data = self.encode(&mut draft);
        self.bytes = data.len();
        for number in dirty {
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.sent = true;
            }
        }
        self.tried = self.tried.max(draft.stamp.version);
        let batch = Batch {
            expected: version,
            next: draft.stamp.version,
            sent: Instant::now(),
            as_of: self.next_moment(),
            is_fresh,
            sent_boot: self.config.clock.boot(),
            table: draft.table,
            acts: draft.acts,
            events: draft.events,
            posts,
            extras,
        };
        Build::Swap(Box::new(batch), data)
    }

    /// Applies the end of a request.
    fn end_in(&mut self, draft: &mut Draft, number: u64) {
        let id = self.id(number);
        match self.entries[&number].state {
            State::Ending => {
                draft.apply(&Op::Release(id));
                draft.acts.push(Act::Gone(number, None));
            }
            State::Expired => match draft.table.place(id) {
                RequestState::Waiting => {
                    let denial = draft.table.waits_for(id).expect("it waits");
                    let denial = self.see_states(denial, &draft.table);
                    draft.apply(&Op::Withdraw(id));
                    draft.acts.push(Act::Gone(number, Some(AcquireError::TimedOut(denial))));
                }
                RequestState::Held(_) => draft.acts.push(Act::Granted(number)),
                RequestState::Freed => {
                    draft.acts.push(Act::Refused(number, AcquireError::Released));
                }
                // It was swept while its time ran out: ask once more, without waiting.
                RequestState::Absent => self.ask(draft, number, true),
            },
            State::New => {}
            State::Waiting | State::Held => {
                self.dirty.remove(&number);
            }
        }
    }

    fn acquire_in(&mut self, draft: &mut Draft, number: u64) {
        let new = self.entries.get(&number).filter(|entry| entry.state == State::New);
        let Some(expires) = new.map(|entry| entry.expires) else { return };
        if !self.tidied {
            self.tidied = true;
            self.tidy(draft);
        }
        self.ask(draft, number, expires);
    }

    /// Applies a request for locks; frees what the dead keep from it.
    fn ask(&mut self, draft: &mut Draft, number: u64, expires: bool) {
        let id = self.id(number);
        let entry = &self.entries[&number];
        let mut acquire = (*entry.acquire).clone();
        acquire.client = self.info.clone();
        let timed = entry.acquire.wait;
        acquire.wait &= !expires;
        let op = Op::Acquire(acquire);
        let mut outcome = draft.apply(&op);
        loop {
            let denial = match &outcome {
                Outcome::Busy(denial) => Some(denial.clone()),
                Outcome::Queued => draft.table.waits_for(id),
                Outcome::Deadlock(cycle) => {
                    let error = AcquireError::Deadlock(cycle.clone());
                    let holders = cycle.edges.iter().map(|edge| edge.holder_id.client());
                    if !self.sweep_dead(draft, holders.collect()).is_empty() {
                        outcome = draft.apply(&op);
                        continue;
                    }
                    draft.acts.push(Act::Gone(number, Some(error)));
                    return;
                }
                _ => None,
            };
            let Some(denial) = denial else { break };
            let blockers = denial.blockers.iter().map(|blocker| blocker.client.id).collect();
            if !self.sweep_dead(draft, blockers).is_empty() {
                outcome = draft.apply(&op);
                continue;
            }
            if matches!(outcome, Outcome::Busy(_)) {
                self.leave_observations(draft, &denial);
                let denial = self.see_states(denial, &draft.table);
                let error =
                    if timed { AcquireError::TimedOut(denial) } else { AcquireError::Busy(denial) };
                draft.acts.push(Act::Gone(number, Some(error)));
                return;
            }
            break;
        }
        draft.acts.push(match draft.table.place(id) {
            RequestState::Held(_) => Act::Granted(number),
            RequestState::Waiting => Act::Queued(number),
            RequestState::Freed | RequestState::Absent => {
                Act::Refused(number, AcquireError::Released)
            }
        });
    }

    /// Sweeps those of these clients that are dead, and says who they were.
    pub(super) fn sweep_dead(
        &mut self,
        draft: &mut Draft,
        clients: HashSet<ClientId>,
    ) -> Vec<ClientId> {
        let mut swept = Vec::new();
        for id in clients {
            if id == self.config.id {
                continue;
            }
            let Some(view) = draft.table.client(id) else { continue };
            let now = self.config.clock.boot();
            if self.judge.judge(&view, &draft.table, now) == Liveness::Dead {
                reach(Point::Sweeping);
                draft.apply(&Op::Sweep(view.verdict()));
                swept.push(id);
            }
        }
        swept
    }

    /// Sweeps the dead of this host that nobody has asked about.
    fn tidy(&mut self, draft: &mut Draft) {
        let clients = draft.table.clients().take(TIDY_MAX).map(|client| client.id).collect();
        self.sweep_dead(draft, clients);
    }

    /// Nothing is handed to the dead: who was granted something is looked at first.
    fn skip_dead(&mut self, draft: &mut Draft) {
        let mut from = 0;
        while from < draft.events.len() {
            let granted = draft.events[from..].iter().filter_map(|event| match event {
                Event::Granted(id) => Some(id.client),
                _ => None,
            });
            let granted = granted.collect();
            from = draft.events.len();
            self.sweep_dead(draft, granted);
        }
    }

    /// Leaves in the table since when a lease that may have ended was seen.
    fn leave_observations(&mut self, draft: &mut Draft, denial: &Denial) {
        for blocker in &denial.blockers {
            let Some(view) = draft.table.client(blocker.client.id) else { continue };
            let now = self.config.clock.boot();
            if self.judge.judge(&view, &draft.table, now) == Liveness::Unknown
                && let Some(op) = self.judge.observation(&view, &draft.table)
            {
                draft.apply(&op);
            }
        }
    }

    /// Fills in who lives.
    pub(super) fn see_states(&mut self, mut denial: Denial, table: &LockTable) -> Denial {
        let now = self.config.clock.boot();
        for blocker in &mut denial.blockers {
            let state = self.judge.judge(&blocker.client, table, now);
            Arc::make_mut(&mut blocker.client).state = state;
        }
        denial
    }

    /// Applies an extra. `false`: it has to wait for a newer table, or only reads.
    fn apply_extra(&mut self, draft: &mut Draft, extra: &mut Extra, as_of: Moment) -> bool {
        match &mut extra.what {
            What::ReleaseTask { name, tasks, .. } => {
                if as_of < extra.began || self.suspect {
                    return false;
                }
                let tasks = tasks.get_or_insert_with(|| draft.table.tasks_named(name));
                draft.apply(&Op::ReleaseTasks(tasks.clone()));
                true
            }
            What::Downgrade { id, .. } => {
                draft.apply(&Op::Downgrade(*id));
                true
            }
            What::Sweep { swept, .. } => {
                if as_of < extra.began || self.suspect {
                    return false;
                }
                let clients = draft.table.clients().map(|client| client.id);
                swept.extend(self.sweep_dead(draft, clients.collect()));
                true
            }
            What::SetProcesses { .. } => {
                let processes = self.info.processes.clone();
                draft.apply(&Op::SetProcesses { client: self.config.id, processes });
                true
            }
            What::Query(_) | What::Verify { .. } => false,
        }
    }

    /// Writes the table as bytes, without the latest requests if there are too many.
    fn encode(&self, draft: &mut Draft) -> Vec<u8> {
        let mut data = draft.table.encode();
        let bytes_max = self.config.bytes_max;
        for at in (0..draft.acts.len()).rev() {
            let bytes = data.len();
            if bytes <= bytes_max {
                break;
            }
            let (Act::Granted(number) | Act::Queued(number)) = draft.acts[at] else { continue };
            if self.entries[&number].state != State::New {
                continue;
            }
            draft.apply(&Op::Release(self.id(number)));
            let error = StoreError::full(&self.store, bytes, bytes_max);
            draft.acts[at] = Act::Gone(number, Some(error.into()));
            data = draft.table.encode();
        }
        data
    }

    /// A version above this one, and above all that this client has seen or sent.
    pub(super) fn next_version(&self, wall: Duration, above: Version) -> Version {
        let clock = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        // A clock that is far off must not use up the versions: then they only count.
        let from_clock = if clock < Version::MAX.0 / 2 { clock } else { 0 };
        Version(from_clock.max(above.max(self.seen).max(self.tried).0 + 1))
    }

    pub(super) fn id(&self, number: u64) -> RequestId {
        RequestId { client: self.config.id, number }
    }
}

/// A table while ops are applied to it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) table: LockTable,
    stamp: Stamp,
    pub(super) acts: Vec<Act>,
    events: Vec<Event>,
    pub(super) changed: bool,
}

impl Draft {
    fn new(actor: &Actor, table: LockTable, version: Version, posts: &[Post]) -> Self {
        let posted = posts.iter().map(|post| post.number).max().unwrap_or_default();
        let wall = actor.config.clock.wall();
        let mut next = actor.next_version(wall, version.max(posted));
        if is(Mutant::VersionReuse) {
            next = Version(version.0 + 1);
        }
        let now_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let stamp = Stamp { version: next, now_ms };
        Self { table, stamp, acts: Vec::new(), events: Vec::new(), changed: false }
    }

    /// Applies what another client has posted; it finds that in the table, and need not be rung.
    pub(super) fn write_for(&mut self, ops: &[Op]) {
        let mut asked = HashSet::new();
        let from = self.events.len();
        for op in ops {
            if let Op::Acquire(acquire) = op {
                if !self.table.fits_family(&acquire.task) {
                    continue; // Nobody could read the table any more.
                }
                asked.insert(acquire.id);
            }
            self.apply(op);
        }
        let told = self.events.split_off(from).into_iter();
        self.events.extend(
            told.filter(|event| !matches!(event, Event::Granted(id) if asked.contains(id))),
        );
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        let known = match op {
            Op::Acquire(acquire) => self.table.place(acquire.id) != RequestState::Absent,
            _ => false,
        };
        let outcome = self.table.apply(op, self.stamp);
        self.changed |= match outcome {
            Outcome::Granted | Outcome::Queued => !known,
            Outcome::Done(changed) => changed,
            Outcome::Busy(_) | Outcome::Deadlock(_) | Outcome::Freed => false,
        };
        self.events.append(&mut self.table.take_events());
        outcome
    }
}
