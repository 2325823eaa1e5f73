//! What can be done to a table, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Version;
use crate::ids::{ClientId, RequestId, TaskId};
use crate::process::ProcessSet;
use crate::request::LockSet;
use crate::table::view::{Cycle, Denial};

/// A change of a table. Each is idempotent: applied again, it changes nothing and answers the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Asks for locks: grants them, or queues the request if it may wait, or refuses it.
    Acquire(Acquire),
    /// Ends a request wherever it is: gives its hold back, takes it out of the queue, or drops the memory of one
    /// that was freed by somebody else.
    Release(RequestId),
    /// Takes a request out of the queue, but leaves it alone if it holds its locks by now.
    Withdraw(RequestId),
    /// Turns the exclusive locks of a hold into shared ones.
    Downgrade(RequestId),
    /// Frees the holds and waiters of exactly these tasks, not those of their sub-tasks.
    ///
    /// What was freed is remembered in its client's record until it is [released](Self::Release),
    /// so that its client can tell "released by somebody" from "swept" and does not queue again.
    ReleaseTasks(Vec<TaskId>),
    /// Frees everything of a client that was found dead, if it is still as it was judged.
    Sweep(Verdict),
    /// Leaves in the table that a client's renewal mark was seen, for the next try from this boot.
    Observe {
        /// The client that was looked at.
        client: ClientId,
        /// Its renewal mark.
        mark: Version,
        /// The boot whose clock tells the time.
        boot: Arc<str>,
        /// When the mark was first seen, in milliseconds of that boot's `CLOCK_BOOTTIME`.
        first_ms: u64,
    },
    /// Replaces the processes of a client; verdicts on the old ones are void.
    SetProcesses {
        /// The client.
        client: ClientId,
        /// All its processes now.
        processes: ProcessSet,
    },
    /// Renews the lease of a client, if the table knows it.
    Renew(ClientId),
}

/// A request for locks with all that the table must know of who asks.
///
/// Nobody checks it again, so it has to be as a [`Task`](crate::Task) makes it: the client of the task is that of
/// the request, a task is always nested in the same one, and the locks are those of a
/// [`Request`](crate::Request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// The id of the request and of the hold it becomes.
    pub id: RequestId,
    /// The task that asks.
    pub task: TaskId,
    /// The name of the task that people read.
    pub name: Arc<str>,
    /// What the task wants people to know.
    pub note: Option<Arc<str>>,
    /// The client that owns the task, registered if the table does not know it.
    pub client: Arc<ClientInfo>,
    /// The locks, not empty.
    pub locks: Arc<LockSet>,
    /// Whether to queue if the locks cannot be had at once.
    pub wait: bool,
}

/// What a client says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// The name of the client, used for tasks without one.
    pub name: Arc<str>,
    /// Its processes.
    pub processes: ProcessSet,
    /// The network namespace in which its bell can be rung.
    pub bell: Option<u64>,
    /// How long others wait for a renewal before they may take it for dead; `None`: for ever.
    pub lease: Option<Duration>,
}

/// "This client is dead", bound to what was judged.
///
/// It is void when the client has renewed, or changed its processes, since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The client that was judged.
    pub client: ClientId,
    /// Its renewal mark then.
    pub mark: Version,
    /// The revision of its process set then.
    pub revision: u64,
}

/// When an op is applied. The table reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The version that the table will be swapped in at.
    pub version: Version,
    /// The time of day, in milliseconds since 1970, for people to read.
    pub now_ms: u64,
}

/// What came of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The locks are held.
    Granted,
    /// The request waits in the queue.
    Queued,
    /// The locks are not free, and the request may not wait.
    Busy(Denial),
    /// Waiting would never end.
    Deadlock(Cycle),
    /// The request was freed by somebody else.
    Freed,
    /// Done. `true` if it changed more than a renewal mark.
    Done(bool),
}

/// Something that an op did to requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request was granted.
    Granted(RequestId),
    /// A request was freed on somebody's demand.
    Freed(RequestId),
    /// A dead client was swept.
    Swept {
        /// The client.
        client: ClientId,
        /// Its name.
        name: Arc<str>,
        /// The holds that ended.
        holds: Vec<SweptHold>,
        /// How many waiters were taken out of the queue.
        waiters: usize,
    },
}

/// A hold of a dead client that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptHold {
    /// Its id.
    pub id: RequestId,
    /// The name of its task.
    pub task: Arc<str>,
    /// Its locks.
    pub locks: LockSet,
    /// Its fencing token, as [`Guard::fence`](crate::Guard::fence).
    pub fence: u64,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// It holds its locks, since the swap to this version.
    Held(Version),
    /// It waits in the queue.
    Waiting,
    /// It was freed by somebody else.
    Freed,
    /// The table does not know it.
    Absent,
}
