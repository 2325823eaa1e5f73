//! What becomes of requests once their batch is written, or need not be: answers, grants, losses.

use tokio::time::Instant;

use super::Moment;
use super::actor::{Actor, Cached};
use super::batch::{Act, Batch, Draft};
use super::entry::{Names, State};
use super::extra::{Extra, What};
use super::pace::Gather;
use crate::backend::{BackendError, Version};
use crate::error::{AcquireError, StoreError};
use crate::failpoint::{Mutant, Point, is, reach};
use crate::ids::ClientId;
use crate::metrics;
use crate::table::Event;

impl Actor {
    /// Nothing needs to be written: gives the answers that the table is new enough for.
    ///
    /// `true` if some need a newer one.
    pub(super) fn settle_unchanged(
        &mut self,
        draft: Draft,
        version: Version,
        as_of: Moment,
    ) -> bool {
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
        self.gather = Gather::after(batch.acts.len(), self.pace.swap());
        self.seen = self.seen.max(batch.next);
        self.unresolved = None;
        self.end_post();
        self.suspect = false;
        self.is_tight = false;
        self.unwanted.clear();
        if batch.table.has_client(self.config.id) {
            let late = is(Mutant::LeaseFromAnswer);
            self.lease.renew(if late { self.config.clock.boot() } else { batch.sent_boot });
        } else {
            self.lease.rest();
        }
        self.cached = Some(Cached { version: batch.next, table: batch.table, as_of: batch.as_of });
        if self.recheck {
            self.lose_what_is_gone(); // Or a guard that was in doubt would be sure for a moment.
        }
        self.config.deadline.set(self.lease.deadline());
        for act in batch.acts {
            self.act(act);
        }
        for event in batch.events {
            self.event(event);
        }
        for post in batch.posts {
            self.ring(post.client, batch.next);
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
            metrics::waits(&self.store);
            entry.sent = true;
            if entry.expires {
                entry.state = State::Expired; // Its time ran out on the way here.
            } else {
                entry.state = State::Waiting;
                self.dirty.remove(&number);
                reach(Point::Queued);
                self.ring_holders(number);
            }
        }
    }

    /// Who keeps a request waiting had better read the table now than when it has something to hand over.
    fn ring_holders(&self, number: u64) {
        let table = self.cached.as_ref().map(|cached| &cached.table);
        let denial = table.and_then(|table| table.waits_for(self.id(number)));
        for blocker in denial.iter().flat_map(|denial| &denial.blockers) {
            let client = &blocker.client;
            if !blocker.waits && client.id != self.config.id && self.would_ring(client) {
                self.ring(client.id, self.seen);
            }
        }
    }

    /// A request holds its locks.
    pub(super) fn granted(&mut self, number: u64) {
        let id = self.id(number);
        let asked = self.next_moment();
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if matches!(entry.state, State::Held | State::Ending) {
            return;
        }
        let fences = self.cached.as_ref().and_then(|cached| cached.table.fences(id));
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
            entry.end(asked, patience, None);
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
            Event::Granted(id) | Event::Freed(id) => self.ring(id.client, self.seen),
            Event::Swept { client, name, holds, waiters } => {
                for hold in holds {
                    let (task, locks) = (&hold.task, Names(&hold.locks));
                    let fence = hold.fence;
                    tracing::warn!(%task, lock = %locks, fence, client = %name, "lock of the dead freed");
                }
                tracing::warn!(client = %name, id = %client, waiters, "dead client swept");
                metrics::swept(&self.store);
                // If it lives after all, it had better know.
                self.ring(client, self.seen);
            }
        }
    }

    /// Tells another client of this host to look, if it has not seen this version.
    pub(super) fn ring(&self, client: ClientId, version: Version) {
        if let Some(bell) = &self.bell {
            bell.ring(client, version);
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

    pub(super) fn answer_extra(&mut self, extra: Extra) {
        match extra.what {
            What::ReleaseTask { tasks, reply, .. } => {
                let _ = reply.send(Ok(tasks.map_or(0, |tasks| tasks.len())));
            }
            What::Downgrade { id, reply } => {
                let held = self.entries.get(&id.number).is_some_and(|e| e.state == State::Held);
                let _ = reply.send(Ok(held));
            }
            What::Sweep { swept, reply } => drop(reply.send(Ok(swept.len()))),
            What::SetProcesses { reply } => drop(reply.send(Ok(()))),
            What::Query(_) | What::Verify { .. } => self.extras.push(extra),
        }
    }
}
