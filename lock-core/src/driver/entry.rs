//! One request of this client, from the first ask to the last trace in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Moment;
use crate::backend::Version;
use crate::error::{AcquireError, StoreError};
use crate::name::LockName;
use crate::request::LockSet;
use crate::table::Acquire;

/// A granted request, on its way to whoever asked.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) fences: BTreeMap<LockName, Version>,
    /// Becomes `true`, or closes, when the hold is lost.
    pub(crate) lost: watch::Receiver<bool>,
}

pub(crate) type GrantReply = oneshot::Sender<Result<Grant, AcquireError>>;
pub(crate) type DoneReply<T = ()> = oneshot::Sender<Result<T, StoreError>>;

/// Where a request is, as far as this client knows for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be asked for.
    New,
    /// In the queue.
    Waiting,
    /// In the queue, but its time is over: to be taken out, unless it is granted first.
    Expired,
    /// Held.
    Held,
    /// To be given back or taken out, wherever it is.
    Ending,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) acquire: Arc<Acquire>,
    pub(super) state: State,
    /// Whether the store may know it: then its end must be confirmed by the store.
    pub(super) sent: bool,
    /// In which state it was posted: that was no help, if it still is in that state when the post is done.
    pub(super) posted: Option<State>,
    /// When it was asked for, or asked to end.
    pub(super) began: Moment,
    /// When waiting is over.
    pub(super) deadline: Option<Instant>,
    /// Whether its time was over before it was even queued.
    pub(super) expires: bool,
    /// The fence of its hold, for log events.
    pub(super) fence: u64,
    /// When an unanswered request or release is given up for the store's sake.
    pub(super) patience: Instant,
    reply: Option<GrantReply>,
    lost: watch::Sender<bool>,
    ended: Vec<DoneReply>,
}

impl Entry {
    pub(super) fn new(
        acquire: Arc<Acquire>,
        began: Moment,
        deadline: Option<Instant>,
        patience: Instant,
        reply: GrantReply,
    ) -> Self {
        Self {
            acquire,
            state: State::New,
            sent: false,
            posted: None,
            began,
            deadline,
            expires: false,
            fence: 0,
            patience,
            reply: Some(reply),
            lost: watch::Sender::new(false),
            ended: Vec::new(),
        }
    }

    /// Hands the grant over. `false`: nobody waits for it any more.
    #[must_use]
    pub(super) fn grant(&mut self, fences: BTreeMap<LockName, Version>) -> bool {
        self.state = State::Held;
        self.fence = fences.values().map(|fence| fence.0).max().unwrap_or_default();
        let grant = Grant { fences, lost: self.lost.subscribe() };
        self.reply.take().is_some_and(|reply| reply.send(Ok(grant)).is_ok())
    }

    /// Tells whoever asked that it will not be granted.
    pub(super) fn refuse(&mut self, error: AcquireError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }

    /// Tells the guard that its hold is gone.
    pub(super) fn lose(&mut self) {
        self.lost.send_replace(true);
    }

    /// From now on it is to end; `reply` hears of it.
    pub(super) fn end(&mut self, asked: Moment, patience: Instant, reply: Option<DoneReply>) {
        self.state = State::Ending;
        self.began = asked;
        self.deadline = None;
        self.patience = patience;
        self.ended.extend(reply);
    }

    /// Tells whether somebody waits to hear of its end.
    pub(super) fn is_awaited(&self) -> bool {
        match self.state {
            State::New | State::Waiting | State::Expired => self.reply.is_some(),
            State::Ending => !self.ended.is_empty(),
            State::Held => false,
        }
    }

    /// Answers everybody who waits for its end.
    pub(super) fn answer_end(&mut self, result: &Result<(), StoreError>) {
        for reply in self.ended.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    /// The names of its locks, for log events.
    pub(super) fn locks(&self) -> Names<'_> {
        Names(&self.acquire.locks)
    }
}

/// The names of locks, for log events.
pub(super) struct Names<'l>(pub(super) &'l LockSet);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.keys().enumerate() {
            f.write_str(if at > 0 { " " } else { "" })?;
            f.write_str(name.as_str())?;
        }
        Ok(())
    }
}
