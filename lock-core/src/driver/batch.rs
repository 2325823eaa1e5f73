//! One swap: all pending ops applied to the table, written at once, answered after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Moment;
use super::actor::{Actor, Cached, Extra, What};
use super::entry::{State, locks_text};
use crate::backend::{BackendError, Version};
use crate::error::{AcquireError, StoreError};
use crate::failpoint::{Mutant, Point, is, reach};
use crate::ids::{ClientId, RequestId};
use crate::process::Liveness;
use crate::table::{Denial, Event, LockTable, Op, Outcome, Place, Stamp, TableError};

/// How many clients are probed when this one registers.
const TIDY_MAX: usize = 16;

/// What is being written, and what is to be said when it is.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) expected: Version,
    pub(super) next: Version,
    sent: Instant,
    as_of: Moment,
    /// When it was sent, on the clock that leases run on.
    sent_boot: Duration,
    table: LockTable,
    acts: Vec<Act>,
    events: Vec<Event>,
    /// What was asked besides, to be answered or tried again.
    pub(super) extras: Vec<Extra>,
}

/// What becomes of a request once the batch is written.
#[derive(Debug)]
enum Act {
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
    pub(super) fn build(&mut self) -> Build {
        let forced = self.must_swap();
        let Some(Cached { version, table, as_of }) = self.cached.take() else {
            return Build::Reload;
        };
        let mut draft = Draft::new(self, table, version);
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
                stale |= matches!(extra.what, What::ReleaseTask { .. });
                self.extras.push(extra);
            }
        }
        for &number in &dirty {
            self.acquire_in(&mut draft, number);
        }
        self.skip_dead(&mut draft);
        if !draft.changed {
            stale |= self.settle_unchanged(draft, version, as_of);
            for extra in extras {
                self.answer_extra(extra);
            }
            return if stale { Build::Reload } else { Build::Done };
        }
        if dirty.is_empty() && extras.is_empty() {
            reach(Point::Renewing);
        }
        draft.apply(&Op::Renew(self.config.id));
        let data = self.encode(&mut draft);
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
            sent_boot: self.config.clock.boot(),
            table: draft.table,
            acts: draft.acts,
            events: draft.events,
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
                Place::Waiting => {
                    let denial = draft.table.waits_for(id).expect("it waits");
                    let denial = self.see_states(denial, &draft.table);
                    draft.apply(&Op::Withdraw(id));
                    draft.acts.push(Act::Gone(number, Some(AcquireError::TimedOut(denial))));
                }
                Place::Held(_) => draft.acts.push(Act::Granted(number)),
                Place::Freed => draft.acts.push(Act::Refused(number, AcquireError::Released)),
                // It was swept while its time ran out: ask once more, without waiting.
                Place::Absent => self.ask(draft, number, true),
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
                    if self.sweep_dead(draft, holders.collect()) {
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
            if self.sweep_dead(draft, blockers) {
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
            Place::Held(_) => Act::Granted(number),
            Place::Waiting => Act::Queued(number),
            Place::Freed | Place::Absent => Act::Refused(number, AcquireError::Released),
        });
    }

    /// Sweeps those of these clients that are dead. `true` if there was one.
    fn sweep_dead(&mut self, draft: &mut Draft, clients: HashSet<ClientId>) -> bool {
        let mut swept = false;
        for id in clients {
            if id == self.config.id {
                continue;
            }
            let Some(view) = draft.table.client(id) else { continue };
            let now = self.config.clock.boot();
            if self.judge.judge(&view, &draft.table, now) == Liveness::Dead {
                reach(Point::Sweeping);
                draft.apply(&Op::Sweep(view.verdict()));
                swept = true;
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
                if tasks.is_none() {
                    if as_of < extra.began || self.suspect {
                        return false;
                    }
                    *tasks = Some(draft.table.tasks_named(name));
                }
                draft.apply(&Op::ReleaseTasks(tasks.clone().unwrap_or_default()));
                true
            }
            What::Downgrade { id, .. } => {
                draft.apply(&Op::Downgrade(*id));
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

    fn answer_extra(&mut self, extra: Extra) {
        match extra.what {
            What::ReleaseTask { tasks, reply, .. } => {
                let _ = reply.send(Ok(tasks.map_or(0, |tasks| tasks.len())));
            }
            What::Downgrade { id, reply } => {
                let held = self.entries.get(&id.number).is_some_and(|e| e.state == State::Held);
                let _ = reply.send(Ok(held));
            }
            What::SetProcesses { reply } => drop(reply.send(Ok(()))),
            What::Query(_) | What::Verify { .. } => self.extras.push(extra),
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

    /// Nothing needs to be written: gives the answers that the table is new enough for.
    ///
    /// `true` if some need a newer one.
    fn settle_unchanged(&mut self, draft: Draft, version: Version, as_of: Moment) -> bool {
        let mut stale = false;
        self.cached = Some(Cached { version, table: draft.table, as_of });
        self.unwanted.clear();
        for act in draft.acts {
            let (Act::Granted(number)
            | Act::Queued(number)
            | Act::Refused(number, _)
            | Act::Gone(number, _)) = act;
            let entry = self.entries.get(&number);
            if entry.is_some_and(|entry| entry.state != State::Ending && as_of < entry.began)
                && !is(Mutant::DenialFromCache)
            {
                stale = true;
            } else {
                self.act(act);
            }
        }
        stale
    }

    /// The batch is written: everything in it is true now.
    pub(super) fn commit(&mut self, batch: Batch) {
        let now = Instant::now();
        self.pace.won(now, now - batch.sent);
        self.seen = self.seen.max(batch.next);
        self.unresolved = None;
        self.suspect = false;
        self.unwanted.clear();
        if batch.table.client(self.config.id).is_some() {
            let late = is(Mutant::LeaseFromAnswer);
            self.lease.renew(if late { self.config.clock.boot() } else { batch.sent_boot });
        } else {
            self.lease.rest();
        }
        self.config.deadline.set(self.lease.deadline());
        self.cached = Some(Cached { version: batch.next, table: batch.table, as_of: batch.as_of });
        for act in batch.acts {
            self.act(act);
        }
        for event in batch.events {
            self.event(event);
        }
        for extra in batch.extras {
            self.answer_extra(extra);
        }
        if std::mem::take(&mut self.recheck) {
            self.reconcile();
        }
        self.watch_blockers();
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Granted(number) => self.granted(number),
            Act::Queued(number) => self.queued(number),
            Act::Refused(number, error) => self.refuse(number, error),
            Act::Gone(number, error) => {
                let Some(entry) = self.entries.get_mut(&number) else { return };
                match error {
                    Some(error) => entry.refuse(error),
                    None if entry.fence > 0 => {
                        let (task, locks) = (&entry.acquire.name, entry.locks());
                        tracing::info!(%task, lock = %locks, fence = entry.fence, "lock released");
                    }
                    None => {}
                }
                self.forget(number);
            }
        }
    }

    /// A request is in the queue.
    pub(super) fn queued(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.state == State::New {
            let (task, locks) = (&entry.acquire.name, entry.locks());
            tracing::info!(%task, lock = %locks, "waiting for lock");
            entry.sent = true;
            if entry.expires {
                entry.state = State::Expired; // Its time ran out on the way here.
            } else {
                entry.state = State::Waiting;
                self.dirty.remove(&number);
                reach(Point::Queued);
            }
        }
    }

    /// A request holds its locks.
    pub(super) fn granted(&mut self, number: u64) {
        let id = self.id(number);
        let fences = self.cached.as_ref().and_then(|cached| cached.table.fences(id));
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if matches!(entry.state, State::Held | State::Ending) {
            return;
        }
        let Some(fences) = fences else { return };
        if !self.lease.is_certain(self.config.clock.boot()) {
            self.recheck = true; // Somebody may be about to sweep it: renew first.
            return;
        }
        self.dirty.remove(&number);
        self.restless.remove(&number);
        entry.sent = true;
        reach(Point::Granted);
        let taken = entry.grant(fences);
        let (task, locks) = (&entry.acquire.name, entry.locks());
        tracing::info!(%task, lock = %locks, fence = entry.fence, "lock granted");
        if !taken {
            // Whoever asked is gone.
            let patience = Instant::now() + self.config.patience;
            entry.end(patience, None);
            self.restless.insert(number);
            self.dirty.insert(number);
        }
    }

    fn event(&mut self, event: Event) {
        let me = self.config.id;
        match event {
            Event::Granted(id) if id.client == me => self.granted(id.number),
            Event::Freed(id) if id.client == me => {
                match self.entries.get(&id.number).map(|entry| entry.state) {
                    Some(State::Held) => self.lose(id.number),
                    Some(_) => self.refuse(id.number, AcquireError::Released),
                    None => {}
                }
            }
            Event::Granted(id) | Event::Freed(id) => self.ring(id.client),
            Event::Swept { client, name, holds, waiters } => {
                for hold in holds {
                    let (task, locks) = (&hold.task, locks_text(&hold.locks));
                    let fence = hold.fence.0;
                    tracing::warn!(%task, lock = %locks, fence, client = %name, "lock of the dead freed");
                }
                tracing::warn!(client = %name, id = %client, waiters, "dead client swept");
                // If it lives after all, it had better know.
                self.ring(client);
            }
        }
    }

    pub(super) fn ring(&self, client: ClientId) {
        if let Some(bell) = &self.bell {
            bell.ring(client);
        }
    }

    /// The store itself refuses that many bytes: nothing new can be had.
    pub(super) fn too_large(&mut self, batch: &Batch, error: BackendError) {
        let error = StoreError::backend(&self.store, error);
        let mut refused = false;
        for act in &batch.acts {
            if let Act::Granted(number) | Act::Queued(number) = act
                && self.entries.get(number).is_some_and(|entry| entry.state == State::New)
            {
                refused = true;
                self.refuse(*number, error.clone().into());
            }
        }
        if !refused {
            self.pace.failed(Instant::now());
        }
    }

    pub(super) fn id(&self, number: u64) -> RequestId {
        RequestId { client: self.config.id, number }
    }
}

/// A table while ops are applied to it.
#[derive(Debug)]
struct Draft {
    table: LockTable,
    stamp: Stamp,
    acts: Vec<Act>,
    events: Vec<Event>,
    changed: bool,
}

impl Draft {
    fn new(actor: &Actor, table: LockTable, version: Version) -> Self {
        let wall = actor.config.clock.wall();
        let clock = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        let mut next = version.max(actor.seen).max(actor.tried).0 + 1;
        // A clock that is far off must not use up the versions: then they only count.
        let mut from_clock = if clock < Version::MAX.0 / 2 { clock } else { 0 };
        if is(Mutant::VersionReuse) {
            (next, from_clock) = (version.0 + 1, 0);
        }
        let stamp = Stamp { version: Version(next.max(from_clock)), now_ms: clock / 1000 };
        Self { table, stamp, acts: Vec::new(), events: Vec::new(), changed: false }
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        let known = match op {
            Op::Acquire(acquire) => self.table.place(acquire.id) != Place::Absent,
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
