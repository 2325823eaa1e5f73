//! What a table that was read means for the requests of this client.

use std::collections::HashSet;

use tokio::time::Instant;

use super::Moment;
use super::actor::{Actor, Cached};
use super::entry::State;
use super::pace::Watch;
use crate::backend::Snapshot;
use crate::bell::ANY;
use crate::error::AcquireError;
use crate::failpoint::{Point, reach};
use crate::ids::ClientId;
use crate::process::Liveness;
use crate::table::{ClientView, LockTable, RequestState, TableError};

/// Of so many waiters of this client, the oldest, is looked each time for who keeps them waiting, and of so many
/// more in turn.
const WAITERS_MAX: usize = 32;

impl Actor {
    /// Takes over a snapshot that was read after `sent`.
    pub(super) fn learn(&mut self, cell: &Snapshot, sent: Moment) -> Result<(), TableError> {
        if self.unresolved.is_some_and(|expected| expected < cell.version) {
            self.unresolved = None; // The version has moved: that swap can never be applied.
        }
        match &mut self.cached {
            Some(cached) if cached.version == cell.version && !self.recheck => {
                cached.as_of = sent;
            }
            cached => {
                if cached.as_ref().is_some_and(|cached| cached.version != cell.version) {
                    self.pace.met_rival();
                }
                let table = LockTable::decode(cell)?;
                self.bytes = cell.data.len();
                *cached = Some(Cached { version: cell.version, table, as_of: sent });
                // Something older than what was seen may come from a replica that lags, or from a
                // store that was restored. A swap on it tells which; until then it decides nothing.
                self.suspect = cell.version < self.seen;
                self.recheck = self.suspect;
                if !self.suspect {
                    self.seen = self.seen.max(cell.version);
                    self.see_post();
                    self.reconcile();
                    self.config.deadline.set(self.lease.deadline());
                }
            }
        }
        self.watch_blockers();
        Ok(())
    }

    /// Compares all that is known with the cached table.
    pub(super) fn reconcile(&mut self) {
        let Some(Cached { table, .. }) = &self.cached else { return };
        let me = self.config.id;
        let known = |number: &u64| self.entries.contains_key(number);
        let ours = table.requests_of(me);
        self.unwanted = ours.into_iter().filter(|id| !known(&id.number)).collect();
        self.judge.retain(table);
        self.lose_what_is_gone();
        let Some(Cached { table, .. }) = &self.cached else { return };
        let places: Vec<(u64, State, RequestState)> = self
            .entries
            .iter()
            .map(|(number, entry)| (*number, entry.state, table.place(self.id(*number))))
            .collect();
        if table.has_client(me) && !self.lease.is_certain(self.config.clock.boot()) {
            // It came there by a swap that was never confirmed, or long ago: renew it.
            self.recheck = true;
        }
        for (number, state, place) in places {
            match (state, place) {
                (State::New | State::Waiting | State::Expired, RequestState::Held(_)) => {
                    self.granted(number);
                }
                (State::New | State::Waiting | State::Expired, RequestState::Freed) => {
                    self.refuse(number, AcquireError::Released);
                }
                (State::Waiting, RequestState::Absent) => {
                    // Swept, or the store forgot: it queues again.
                    if let Some(entry) = self.entries.get_mut(&number) {
                        entry.state = State::New;
                        entry.patience = Instant::now() + self.config.patience;
                        self.dirty.insert(number);
                    }
                }
                (State::New, RequestState::Waiting) => {
                    self.queued(number);
                }
                (State::Held | State::Ending, _)
                | (State::Waiting | State::Expired, RequestState::Waiting)
                | (State::New | State::Expired, RequestState::Absent) => {}
            }
        }
    }

    /// What this client held and the cached table does not know is lost.
    pub(super) fn lose_what_is_gone(&mut self) {
        let Some(Cached { table, .. }) = &self.cached else { return };
        let is_held = |number: u64| matches!(table.place(self.id(number)), RequestState::Held(_));
        let held = self.entries.iter().filter(|(_, entry)| entry.state == State::Held);
        let gone = held.map(|(number, _)| *number).filter(|number| !is_held(*number));
        for number in gone.collect::<Vec<_>>() {
            self.lose(number);
        }
    }

    /// Looks who keeps the waiters of this client waiting: whoever of them is dead is swept with
    /// the next swap, the others are watched.
    pub(super) fn watch_blockers(&mut self) {
        let Some(cached) = self.cached.take() else { return };
        let watch = if self.suspect { None } else { self.see_blockers(&cached.table) };
        self.cached = Some(cached);
        if watch.is_none() {
            self.deaths.clear();
        }
        self.next_poll = watch.map(|watch| Instant::now() + watch.interval());
    }

    /// Tells whether a client rings this one's bell when it hands something over.
    pub(super) fn would_ring(&self, client: &ClientView) -> bool {
        let here = &self.info.processes.place.boot;
        client.id == self.config.id
            || self.bell.as_ref().is_some_and(|bell| client.bell == Some(bell.namespace()))
                && here.is_some()
                && client.processes.place.boot == *here
    }

    /// How closely to watch the table, or `None` if nobody waits.
    fn see_blockers(&mut self, table: &LockTable) -> Option<Watch> {
        let waits =
            |number: &&u64| matches!(self.entries[*number].state, State::Waiting | State::Expired);
        let mut waiting: Vec<u64> =
            self.restless.iter().filter(waits).copied().take(WAITERS_MAX).collect();
        let others = waiting.last().map_or(0, |last| last + 1);
        let on = self.look_on.max(others);
        let in_turn = self.restless.range(on..).chain(self.restless.range(others..on));
        waiting.extend(in_turn.filter(waits).copied().take(WAITERS_MAX));
        self.look_on = waiting.last().map_or(0, |last| last + 1);
        let mut watch = None;
        let mut seen: HashSet<(ClientId, bool)> = HashSet::new();
        for number in waiting {
            let Some(denial) = table.waits_for(self.id(number)) else { continue };
            let mut closeness = match denial.blockers.iter().filter(|one| one.waits).count() {
                0 => Watch::Relaxed,
                1 => Watch::Near,
                _ => Watch::Far,
            };
            for blocker in &denial.blockers {
                let client = &blocker.client;
                if closeness == Watch::Relaxed && !self.would_ring(client) {
                    closeness = Watch::Close;
                }
                if client.id == self.config.id || !seen.insert((client.id, blocker.waits)) {
                    continue;
                }
                let now = self.config.clock.boot();
                // A look at each of a long queue, by each of it, would keep a host busy.
                let state = if blocker.waits && self.deaths.would_tell(client) {
                    Liveness::Alive
                } else {
                    self.judge.judge(client, table, now)
                };
                match state {
                    Liveness::Dead => {
                        self.verdicts.push(client.verdict());
                        reach(Point::Judged);
                    }
                    Liveness::Alive => {
                        self.deaths.watch(client);
                        if self.judge.is_overdue(client, now) {
                            self.ring(client.id, ANY);
                        }
                    }
                    Liveness::Unknown => {}
                }
            }
            watch = Some(watch.map_or(closeness, |watch: Watch| watch.min(closeness)));
        }
        watch
    }
}
