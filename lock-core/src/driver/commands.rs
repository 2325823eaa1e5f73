//! What handles ask for, and what becomes of requests that are given up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

use super::actor::{Actor, Closing, SLACK};
use super::entry::{DoneReply, Entry, State};
use super::extra::{Extra, What};
use super::pace::Gather;
use super::{Command, Moment};
use crate::error::{AcquireError, StoreError};
use crate::failpoint::{Point, reach};
use crate::ids::RequestId;
use crate::metrics;
use crate::table::ClientInfo;

impl Actor {
    pub(super) fn command(&mut self, command: Command) {
        let patience = Instant::now() + self.config.patience;
        match command {
            Command::Acquire { acquire, timeout, began, reply } => {
                let number = acquire.id.number;
                let deadline = timeout.and_then(|timeout| began.checked_add(timeout));
                // Who is ready to wait for longer is so for the store too.
                let own = deadline.and_then(|deadline| deadline.checked_add(SLACK));
                let patience = own.map_or(patience, |own| patience.max(own));
                let mut entry = Entry::new(acquire, self.next_moment(), deadline, patience, reply);
                if self.closing.is_some() {
                    entry.refuse(AcquireError::Closed);
                    return;
                }
                self.entries.insert(number, entry);
                self.restless.insert(number);
                self.dirty.insert(number);
            }
            Command::End { number, reply } => {
                reach(Point::Releasing);
                self.end(number, patience, reply);
            }
            Command::Downgrade { number, reply } => {
                let id = RequestId { client: self.config.id, number };
                self.extra(What::Downgrade { id, reply });
            }
            Command::Verify { number, reply } => self.extra(What::Verify { number, reply }),
            Command::ReleaseTask { name, reply } => {
                self.extra(What::ReleaseTask { name, tasks: None, reply });
            }
            Command::ReleaseTasks { tasks, reply } => {
                self.extra(What::ReleaseTask { name: String::new(), tasks: Some(tasks), reply });
            }
            Command::Sweep { reply } => self.extra(What::Sweep { swept: HashSet::new(), reply }),
            Command::SetProcesses { processes, reply } => {
                self.info = Arc::new(ClientInfo { processes, ..(*self.info).clone() });
                self.extra(What::SetProcesses { reply });
            }
            Command::Query(ask) => self.extra(What::Query(ask)),
            Command::Nudge => {}
            Command::Close { reply } => self.close(self.config.patience, Some(reply)),
        }
    }

    /// Waits a moment for those who were just answered: many tasks that ask again at once are to be in one
    /// swap, and not the first of them in one and all others in the next.
    pub(super) async fn gather(&mut self, heard: usize) {
        let Some(Gather { answered, until }) = self.gather.take() else { return };
        let mut left = answered.saturating_sub(heard);
        // Shorter than any timer, and on the real clock: it is about threads that are just waking up.
        while left > 0 && std::time::Instant::now() < until {
            match self.commands.try_recv() {
                Ok(command) => {
                    self.command(command);
                    left -= 1;
                }
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// What happens from now on is later than all that was sent or asked before.
    pub(super) fn next_moment(&mut self) -> Moment {
        self.moment.0 += 1;
        self.moment
    }

    pub(super) fn extra(&mut self, what: What) {
        if self.closing.is_some() {
            what.fail(StoreError::closed(&self.store));
            return;
        }
        let patience = Instant::now() + self.config.patience;
        let began = self.next_moment();
        self.extras.push(Extra { what, began, patience });
    }

    /// Ends a request, wherever it is.
    pub(super) fn end(&mut self, number: u64, patience: Instant, reply: Option<DoneReply>) {
        let asked = self.next_moment();
        let Some(entry) = self.entries.get_mut(&number) else {
            if let Some(reply) = reply {
                let _ = reply.send(Ok(()));
            }
            return;
        };
        entry.end(asked, patience, reply);
        self.restless.insert(number);
        if entry.sent {
            self.dirty.insert(number);
        } else {
            self.forget(number);
        }
    }

    /// Drops a request of which nothing is left in the store.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(mut entry) = self.entries.remove(&number) {
            entry.answer_end(&Ok(()));
        }
        self.restless.remove(&number);
        self.dirty.remove(&number);
    }

    /// Refuses a request; whatever the store may know of it is ended.
    pub(super) fn refuse(&mut self, number: u64, error: AcquireError) {
        let patience = Instant::now() + self.config.patience;
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.refuse(error);
            if entry.state != State::Ending {
                self.end(number, patience, None);
            }
        }
    }

    /// A hold is gone for good. What may be left of it is ended all the same.
    pub(super) fn lose(&mut self, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            let (task, locks) = (&entry.acquire.name, entry.locks());
            tracing::warn!(%task, lock = %locks, fence = entry.fence, "lock lost");
            metrics::lost(&self.store);
            entry.lose();
            self.end(number, Instant::now() + self.config.patience, None);
        }
    }

    pub(super) fn close(&mut self, patience: Duration, reply: Option<DoneReply>) {
        let patience = Instant::now() + patience;
        if let Some(closing) = &mut self.closing {
            closing.replies.extend(reply);
        } else {
            self.failure = None; // However it was before, it is tried once more.
            self.closing = Some(Closing { patience, replies: reply.into_iter().collect() });
        }
        // Questions are not worth waiting for; whoever asked may be gone.
        let reads = self.extras.extract_if(.., |extra| extra.what.only_reads());
        for read in reads.collect::<Vec<_>>() {
            read.what.fail(StoreError::closed(&self.store));
        }
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            let entry = self.entries.get_mut(&number).expect("listed");
            entry.refuse(AcquireError::Closed);
            if entry.state != State::Ending {
                entry.lose();
                self.end(number, patience, None);
            }
        }
    }
}
