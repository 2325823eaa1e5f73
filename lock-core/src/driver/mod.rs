//! The driver: all I/O, time and concurrency of one client.
//!
//! One actor owns the backend. Handles send it [`Command`]s; it turns them into ops on the table,
//! writes all that are pending in one swap, and answers each after it. [`actor`] is the loop that
//! waits for what comes next, [`commands`] takes what is asked, [`calls`] decides what to ask of the
//! store, [`batch`] writes, [`posts`] has others write, [`reconcile`] learns from what was read;
//! [`judge`] and [`deaths`] know who lives.

mod actor;
mod batch;
mod calls;
mod commands;
mod deaths;
mod entry;
mod extra;
mod judge;
mod lease;
mod pace;
mod posts;
mod reconcile;
mod settle;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::backend::{LockBackend, Version};
use crate::clock::Clock;
use crate::error::{StoreError, VerifyError};
use crate::ids::{ClientId, TaskId};
use crate::process::{Liveness, ProcessSet};
use crate::table::{Acquire, ClientInfo, ClientView, HoldView, LockTable, Op, Stamp};

pub(crate) use actor::Actor;
pub(crate) use entry::{DoneReply, Grant, GrantReply};
pub(crate) use lease::Deadline;

/// How a driver ended; never set if its runtime ended first, or it panicked.
pub(crate) type End = Arc<OnceLock<Result<(), StoreError>>>;

/// What a driver is made with.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) id: ClientId,
    pub(crate) info: ClientInfo,
    pub(crate) backend: Arc<dyn LockBackend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deadline: Arc<Deadline>,
    pub(crate) end: End,
    /// How long a request waits for a store that does not answer.
    pub(crate) patience: Duration,
    /// The most bytes that a table may have.
    pub(crate) bytes_max: usize,
    /// Whether others on this host can ring.
    pub(crate) bell: bool,
}

/// What handles ask of the driver.
pub(crate) enum Command {
    Acquire {
        acquire: Arc<Acquire>,
        timeout: Option<Duration>,
        began: Instant,
        reply: GrantReply,
    },
    /// Ends a request wherever it is: releases its hold, or withdraws it.
    End {
        number: u64,
        reply: Option<DoneReply>,
    },
    Downgrade {
        number: u64,
        reply: DoneReply<bool>,
    },
    Verify {
        number: u64,
        reply: oneshot::Sender<Result<(), VerifyError>>,
    },
    ReleaseTask {
        name: String,
        reply: DoneReply<usize>,
    },
    ReleaseTasks {
        tasks: Vec<TaskId>,
        reply: DoneReply<usize>,
    },
    /// Sweeps everybody who is proven dead.
    Sweep {
        reply: DoneReply<usize>,
    },
    SetProcesses {
        processes: ProcessSet,
        reply: DoneReply,
    },
    Query(Ask),
    /// A guard has found itself in doubt.
    Nudge,
    Close {
        reply: DoneReply,
    },
}

/// When something was asked or sent, in the order in which the driver did it.
///
/// No clock tells what came first: one that is paused, or coarse, says the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

/// A question to a fresh table. Asked once, also if the store cannot be read.
pub(crate) type Ask = Box<dyn FnOnce(Result<Look<'_>, StoreError>) + Send>;

/// A table as it was just read, and the means to judge who lives.
pub(crate) struct Look<'a> {
    pub(crate) table: &'a LockTable,
    pub(crate) version: Version,
    pub(crate) judge: &'a mut dyn FnMut(&mut ClientView),
}

impl Look<'_> {
    /// Fills in who lives; each client is looked at once, however often it is named.
    pub(crate) fn see<'c>(&mut self, clients: impl IntoIterator<Item = &'c mut Arc<ClientView>>) {
        let mut seen: HashMap<ClientId, Arc<ClientView>> = HashMap::new();
        for client in clients {
            let seen = seen.entry(client.id).or_insert_with(|| {
                (self.judge)(Arc::make_mut(client));
                client.clone()
            });
            *client = seen.clone();
        }
    }

    /// The table as it will be once the dead are swept, and what they hold now.
    pub(crate) fn without_dead(&mut self) -> (LockTable, Vec<HoldView>) {
        let mut table = self.table.clone();
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now_ms.as_millis()).unwrap_or(u64::MAX);
        let stamp = Stamp { version: Version(self.version.0 + 1), now_ms };
        let mut dead = HashSet::new();
        for mut client in self.table.clients() {
            (self.judge)(&mut client);
            if client.state == Liveness::Dead {
                table.apply(&Op::Sweep(client.verdict()), stamp);
                dead.insert(client.id);
            }
        }
        let mut holds = if dead.is_empty() { Vec::new() } else { self.table.list().holds };
        holds.retain(|hold| dead.contains(&hold.client.id));
        self.see(holds.iter_mut().map(|hold| &mut hold.client));
        (table, holds)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acquire { .. } => "Acquire",
            Self::End { .. } => "End",
            Self::Downgrade { .. } => "Downgrade",
            Self::Verify { .. } => "Verify",
            Self::ReleaseTask { .. } => "ReleaseTask",
            Self::ReleaseTasks { .. } => "ReleaseTasks",
            Self::Sweep { .. } => "Sweep",
            Self::SetProcesses { .. } => "SetProcesses",
            Self::Query(_) => "Query",
            Self::Nudge => "Nudge",
            Self::Close { .. } => "Close",
        })
    }
}

/// The receiving end of all handles.
pub(crate) type Commands = mpsc::UnboundedReceiver<Command>;
