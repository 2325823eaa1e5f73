//! What is written down of a request: one event, one line.

use std::fmt;

use lock_core::{ClientId, TaskId};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The time of day of a history: nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds * 1_000_000_000 + nanoseconds
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A task is about to ask for locks.
    Asked {
        /// The task, and with it the request.
        task: TaskId,
        /// The names, and how many holders each tolerates: 1 is exclusive, 0 any number.
        locks: Vec<(String, u32)>,
    },
    /// A swap that puts the request into the queue is about to be sent.
    Queuing {
        /// The task.
        task: TaskId,
        /// The version of that swap.
        version: u64,
    },
    /// That swap has lost a race: it has queued nothing.
    NotQueued {
        /// The task.
        task: TaskId,
        /// The version of that swap.
        version: u64,
    },
    /// A swap has put the request into the queue.
    Queued {
        /// The task.
        task: TaskId,
        /// The version of that swap.
        version: u64,
    },
    /// The task was told that it has its locks.
    Granted {
        /// The task.
        task: TaskId,
        /// The fence of each lock.
        fences: Vec<(String, u64)>,
    },
    /// The task was told that it does not get its locks.
    Refused {
        /// The task.
        task: TaskId,
        /// Why.
        why: Refusal,
    },
    /// The task is about to release its locks.
    Releasing {
        /// The task.
        task: TaskId,
    },
    /// The release has returned.
    Released {
        /// The task.
        task: TaskId,
    },
    /// The task is about to drop its guard, or the future of its request, and to wait for nothing.
    Dropped {
        /// The task.
        task: TaskId,
    },
    /// A swap has taken the hold or the waiter out of the table.
    Gone {
        /// The task.
        task: TaskId,
        /// The version of that swap.
        version: u64,
    },
    /// The process of a client is about to be killed.
    Killed {
        /// The client.
        client: ClientId,
    },
}

impl What {
    /// The task that it is about; none if it is about a client.
    pub fn task(&self) -> Option<&TaskId> {
        match self {
            Self::Asked { task, .. }
            | Self::Queued { task, .. }
            | Self::Queuing { task, .. }
            | Self::NotQueued { task, .. }
            | Self::Granted { task, .. }
            | Self::Refused { task, .. }
            | Self::Releasing { task }
            | Self::Released { task }
            | Self::Dropped { task }
            | Self::Gone { task, .. } => Some(task),
            Self::Killed { .. } => None,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The locks were not free, and it was not to wait.
    Busy,
    /// The locks did not become free in time.
    TimedOut,
    /// Waiting would never have ended.
    Deadlock,
    /// Something else, such as a store that cannot be used.
    Other,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ns: {:?}", self.at, self.what)
    }
}
