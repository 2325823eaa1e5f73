//! Calls of the store: when one is needed, and what its answer means.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::Look;
use super::actor::{Actor, Done, Io, Turn};
use super::batch::{Batch, Build};
use super::entry::State;
use super::extra::{Extra, What};
use crate::backend::{BackendError, BackendErrorKind, Swap};
use crate::error::{HoldError, StoreError};
use crate::failpoint::{Mutant, Point, is, reach};
use crate::process::Liveness;
use crate::table::Event;

impl Actor {
    /// Tells whether there is a reason to write.
    pub(super) fn has_writes(&mut self) -> bool {
        !self.dirty.is_empty()
            || !self.unwanted.is_empty()
            || !self.verdicts.is_empty()
            || !self.posts.is_empty()
            || self.extras.iter().any(|extra| !extra.what.only_reads())
            || self.must_swap()
    }

    /// Tells whether a swap is needed even if it changes nothing.
    pub(super) fn must_swap(&mut self) -> bool {
        let boot = self.config.clock.boot();
        self.unresolved.is_some()
            || self.posted.is_some()
            || self.suspect
            || self.recheck
            || self.lease.due().is_some_and(|due| due <= boot)
            || self.lease.is_in_doubt(boot)
    }

    /// Starts the next call of the store, if one is needed and its time has come.
    pub(super) fn start(&mut self) -> Option<Io> {
        if self.turn == Turn::Used {
            return self.end_turn();
        }
        loop {
            let now = Instant::now();
            let looks = [self.next_poll, self.ring_at];
            let reads = self.turn != Turn::Given; // It has just read.
            if reads && looks.into_iter().flatten().any(|look| look <= now) {
                self.next_poll = None;
                self.ring_at = None;
                self.need_as_of = Some(self.next_moment());
            }
            self.take_back(now);
            self.post(now);
            self.need_fresh(now);
            let writes = self.has_writes();
            if self.entries.is_empty() && self.extras.is_empty() && !writes && !self.rung {
                self.need_as_of = None; // Whoever wanted to know has given up.
            }
            if !writes && self.need_as_of.is_none() {
                return self.end_turn();
            }
            if self.need_as_of.is_none() && self.is_lent() {
                return self.end_turn();
            }
            if self.pace.not_before().is_some_and(|time| time > now) {
                return None;
            }
            let as_of = self.cached.as_ref().map(|cached| cached.as_of);
            let is_met = as_of >= self.need_as_of;
            // Reading and writing take turns, or a stream of questions would keep the lease from
            // being renewed.
            let is_turn_of_writes = writes && self.just_read && !self.is_lent();
            if as_of.is_none() || !(is_met || is_turn_of_writes) {
                return Some(self.load(writes, now));
            }
            if is_met {
                self.need_as_of = None;
            }
            let is_fresh = std::mem::take(&mut self.just_read) && !self.pace.was_idle(now);
            self.answer_reads();
            if !writes {
                return self.end_turn();
            }
            match self.build(is_fresh) {
                Build::Swap(batch, data) => return Some(self.swap(batch, data)),
                Build::Reload => self.need_as_of = Some(self.next_moment()),
                // What was refused may have left something to take back.
                Build::Done => {}
            }
        }
    }

    /// Asks for a table that is new enough for what is pending.
    fn need_fresh(&mut self, now: Instant) {
        let reads = self.extras.iter().filter(|extra| extra.what.only_reads());
        let mut need = reads.map(|extra| extra.began).max();
        let in_turn = self.turn == Turn::Given; // It has just been read.
        if !self.pace.is_calm(now) && !self.is_lent() && !in_turn {
            // Others write: an old snapshot would only lose the race.
            let asked = self.dirty.iter().filter_map(|number| self.entries.get(number));
            need = need.max(asked.map(|entry| entry.began).max());
            need = need.max(self.extras.iter().map(|extra| extra.began).max());
        }
        self.need_as_of = self.need_as_of.max(need);
    }

    /// Reads the table; to write, in turn with those who do so too.
    fn load(&mut self, writes: bool, now: Instant) -> Io {
        let backend = self.config.backend.clone();
        let sent = self.next_moment();
        self.last_load = Some(now);
        self.rung = false;
        // Who has posted knows of others, however long it has left the store alone since.
        let alone = self.pace.is_calm(now) && self.posted.is_none();
        let asks = writes && self.turn == Turn::None && !alone && !self.is_lent();
        reach(Point::BeforeLoad);
        Box::pin(async move {
            let load = async {
                let in_turn = if asks { backend.load_in_turn().await? } else { None };
                let turn = asks.then_some(in_turn.is_some());
                let snapshot = match in_turn {
                    Some(snapshot) => snapshot,
                    None => backend.load().await?,
                };
                Ok((snapshot, turn))
            };
            let result = unless_it_panics(load, BackendErrorKind::Unavailable, "read").await;
            reach(Point::Loaded);
            Done::Load { sent, result }
        })
    }

    pub(super) fn swap(&mut self, batch: Box<Batch>, data: Vec<u8>) -> Io {
        let backend = self.config.backend.clone();
        let (expected, next) = (batch.expected, batch.next);
        if self.turn == Turn::Given {
            self.turn = Turn::Used;
        }
        // Whoever gets something wakes up meanwhile; it is rung once more when it has it.
        for event in &batch.events {
            if let Event::Granted(id) = event
                && id.client != self.config.id
            {
                self.ring(id.client, next);
            }
        }
        self.flight = Some(batch);
        reach(Point::BeforeSwap);
        Box::pin(async move {
            let call = backend.compare_and_swap(expected, next, &data);
            #[cfg(feature = "failpoints")]
            let call = sent(call, || reach(Point::SwapSent));
            let result = unless_it_panics(call, BackendErrorKind::OutcomeUnknown, "write").await;
            reach(Point::SwapAnswered);
            Done::Swap { result }
        })
    }

    /// A turn in which the store failed is over.
    fn give_up_turn(&mut self) {
        if self.turn == Turn::Given {
            self.turn = Turn::Used;
        }
    }

    /// Lets others have their turn, if this client has it: they need not wait until it is over by
    /// itself.
    fn end_turn(&mut self) -> Option<Io> {
        if std::mem::replace(&mut self.turn, Turn::None) == Turn::None {
            return None;
        }
        let backend = self.config.backend.clone();
        Some(Box::pin(async move {
            let _ = caught(backend.end_turn()).await;
            Done::TurnEnded
        }))
    }

    /// Answers questions for which the table is new enough.
    pub(super) fn answer_reads(&mut self) {
        let Some(cached) = &self.cached else { return };
        let as_of = cached.as_of;
        let now = self.config.clock.boot();
        let unsure = self.unresolved.is_some() || self.suspect || self.lease.is_in_doubt(now);
        let ready = |extra: &mut Extra| match extra.what {
            What::Query(_) => as_of >= extra.began && !self.suspect,
            What::Verify { .. } => as_of >= extra.began && !unsure,
            _ => false,
        };
        let ready: Vec<Extra> = self.extras.extract_if(.., ready).collect();
        for extra in ready {
            let cached = self.cached.as_ref().expect("seen above");
            match extra.what {
                What::Query(ask) => ask(Ok(Look {
                    table: &cached.table,
                    version: cached.version,
                    judge: &mut |view| {
                        view.state = if self.deaths.would_tell(view) {
                            Liveness::Alive
                        } else {
                            self.judge.judge(view, &cached.table, now)
                        };
                    },
                })),
                What::Verify { number, reply } => {
                    let held =
                        self.entries.get(&number).is_some_and(|entry| entry.state == State::Held);
                    let _ = reply.send(if held { Ok(()) } else { Err(HoldError::Lost.into()) });
                }
                _ => {}
            }
        }
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Load { sent, result } => match result {
                Ok((snapshot, turn)) => {
                    if turn == Some(true) {
                        self.turn = Turn::Given;
                    }
                    self.pace.answered(Instant::now(), turn);
                    match self.learn(&snapshot, sent) {
                        Ok(()) => {
                            self.failure = None;
                            self.just_read = true;
                            self.need_as_of = self.need_as_of.filter(|need| *need > sent);
                            self.answer_reads();
                        }
                        Err(error) => {
                            self.misconfigured(&StoreError::table(&self.store, error));
                        }
                    }
                }
                Err(error) => self.failed(error),
            },
            Done::Swap { result } => {
                let batch = self.flight.take().expect("it was sent");
                self.swapped(*batch, result);
            }
            Done::TurnEnded => {}
        }
    }

    pub(super) fn swapped(&mut self, mut batch: Batch, result: Result<Swap, BackendError>) {
        let error = match result {
            Ok(Swap::Swapped) => {
                self.failure = None;
                self.commit(batch);
                return;
            }
            Ok(Swap::Conflict) => {
                if self.pace.lost(Instant::now(), batch.is_fresh) && self.turn == Turn::Used {
                    self.turn = Turn::Given;
                }
                self.extras.append(&mut batch.extras);
                self.posts.append(&mut batch.posts);
                return;
            }
            Err(error) => error,
        };
        self.extras.append(&mut batch.extras);
        self.posts.append(&mut batch.posts);
        match error.kind() {
            BackendErrorKind::OutcomeUnknown if !is(Mutant::AbsentMeansNever) => {
                self.unresolved = self.unresolved.max(Some(batch.expected));
                self.failed(error);
            }
            // It may be what others have posted that does not fit, or what is kept of posts.
            BackendErrorKind::TooLarge
                if !self.posts.is_empty() || (!self.is_tight && batch.table.has_to_spare()) =>
            {
                self.posts.clear();
                self.is_tight = true;
            }
            BackendErrorKind::TooLarge => self.too_large(&batch, error),
            _ => self.failed(error),
        }
    }

    pub(super) fn failed(&mut self, error: BackendError) {
        self.give_up_turn();
        self.posts.clear(); // Whoever posted tries by itself.
        match error.kind() {
            BackendErrorKind::Busy => {
                self.pace.lost(Instant::now(), true);
                self.failure = Some(StoreError::backend(&self.store, error));
            }
            BackendErrorKind::Misconfigured => {
                self.misconfigured(&StoreError::backend(&self.store, error));
            }
            _ => {
                tracing::debug!(%error, store = %self.store, "store failed");
                self.pace.failed(Instant::now());
                self.failure = Some(StoreError::backend(&self.store, error));
            }
        }
    }

    /// Somebody has to act: whoever waits for an answer gets the error at once.
    pub(super) fn misconfigured(&mut self, error: &StoreError) {
        tracing::debug!(error = %error, "store cannot be used");
        self.pace.failed(Instant::now());
        self.failure = Some(error.clone());
        self.give_up_turn();
        self.posts.clear();
        self.cached = None;
        for number in self.restless.iter().copied().collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.answer_end(&Err(error.clone()));
            }
            self.refuse(number, error.clone().into());
        }
        for extra in std::mem::take(&mut self.extras) {
            extra.what.fail(error.clone());
        }
    }
}

/// A backend that panics, as by a library that gets an answer that it did not expect, has failed; the
/// driver goes on.
async fn unless_it_panics<T>(
    call: impl Future<Output = Result<T, BackendError>>,
    kind: BackendErrorKind,
    doing: &str,
) -> Result<T, BackendError> {
    caught(call).await.unwrap_or_else(|panic| {
        Err(BackendError::new(
            kind,
            format!("the backend panicked when it was to {doing}: {panic}"),
        ))
    })
}

/// What a call answers, or what it said when it panicked.
pub(super) async fn caught<T>(call: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(call).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
    })
}

/// Does something once the call was sent: after it was polled for the first time.
#[cfg(feature = "failpoints")]
async fn sent<F: Future + Unpin>(mut call: F, then: impl FnOnce()) -> F::Output {
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(call.poll_unpin(cx))).await;
    then();
    match first {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => call.await,
    }
}
