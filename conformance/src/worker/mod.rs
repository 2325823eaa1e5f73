//! Workers: clients in processes of their own, which do what a trial orders and can be killed at any moment.
//!
//! A worker is the test binary, started once more with a spec in its environment. Orders go to its
//! standard input and reports come from its standard output, one line of JSON each; an order is
//! answered when it is done, so many can be under way.

mod handle;
mod process;
mod work;

pub use handle::{Held, Pulse, Worker, WorkerOptions};
pub use process::main;
pub(crate) use process::tell;
pub(crate) use work::{INHERITED, TAKEN};

use std::path::PathBuf;
use std::time::Duration;

use lock_core::{Mode, Request, TaskId};
use serde::{Deserialize, Serialize};

use crate::player::Play;
use crate::updates::Update;

/// The variables that make the test binary a worker.
const FIXTURE: &str = "LOCK_CONFORMANCE_FIXTURE";
const SPEC: &str = "LOCK_CONFORMANCE_SPEC";
const NAME: &str = "LOCK_CONFORMANCE_NAME";
const LEASE_MS: &str = "LOCK_CONFORMANCE_LEASE_MS";
const ELSEWHERE: &str = "LOCK_CONFORMANCE_ELSEWHERE";
const PATIENCE_MS: &str = "LOCK_CONFORMANCE_PATIENCE_MS";
const HISTORY: &str = "LOCK_CONFORMANCE_HISTORY";

/// What a worker is to do; `key` names the request from then on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Order {
    /// Asks for locks.
    Acquire {
        /// The name of the task.
        task: String,
        /// The task it is nested in.
        under: Option<String>,
        /// What to ask for, and how many holders each tolerates: 1 is exclusive, 0 any number.
        locks: Vec<(String, u32)>,
        /// How long to wait; `None` for ever, zero not at all.
        wait: Option<Duration>,
    },
    /// Drops the future of a request, or its guard, and waits for nothing.
    Drop(u64),
    /// Gives a hold back.
    Release(u64),
    /// Turns a hold into a shared one.
    Downgrade(u64),
    /// Asks the guard of a hold, locally.
    Check(u64),
    /// Asks the guard of a hold without a pause until it is lost, and says how often it was certain
    /// again after it had been in doubt.
    Doubt(u64),
    /// Asks the store about a hold.
    Verify(u64),
    /// Waits until a hold is lost.
    Lost(u64),
    /// Frees the tasks of this name.
    ReleaseTask(String),
    /// Blocks the only thread of the worker's own runtime for so long.
    Block(Duration),
    /// Makes the client consist of itself and of the processes with these ids.
    Processes(Vec<u32>),
    /// Takes locks at random and gives them back, until [`Order::Rest`]; then says how often.
    ///
    /// Under each lock there is a file that names the holder, and the order is refused as soon as
    /// one names another who lives.
    Work {
        /// Where its chance comes from.
        seed: u64,
        /// The locks.
        locks: Vec<String>,
        /// Where the files are.
        directory: PathBuf,
    },
    /// Ends all [`Order::Work`].
    Rest,
    /// Reads the cell, by a backend of its own.
    Load,
    /// Adds one to the number in the cell, so often, by a backend of its own.
    Count(u64),
    /// How often each failpoint was passed.
    Hits,
    /// Ends at once, without giving anything back.
    Exit,
    /// Asks for locks at random, and writes it down in the history of the worker.
    Play(Play),
    /// Adds lines to a file under a lock.
    Update(Update),
    /// Gives back everything; the worker ends with its input.
    Close,
}

impl Order {
    /// Asks for locks as a task of this name; `wait` as in [`Order::Acquire`].
    ///
    /// # Panics
    ///
    /// On a request that is refused before it is sent.
    pub fn acquire(task: &str, request: impl Into<Request>, wait: Option<Duration>) -> Self {
        let request = request.into();
        let locks = request.locks().expect("a good request").iter();
        let locks = locks.map(|(name, mode)| (name.to_string(), tolerance(*mode))).collect();
        Self::Acquire { task: task.into(), under: None, locks, wait }
    }

    /// Nests the task that asks in another.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        if let Self::Acquire { under, .. } = &mut self {
            *under = Some(parent.into());
        }
        self
    }
}

/// How many holders a mode tolerates, as orders and histories write it: 0 is any number.
pub(crate) fn tolerance(mode: Mode) -> u32 {
    match mode {
        Mode::Exclusive => 1,
        Mode::Limit(holders) => holders,
        Mode::Shared => 0,
    }
}

/// What a worker says of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Report {
    /// It has the locks, with this fence, as this task.
    Granted {
        /// The fence of the hold.
        fence: u64,
        /// The id of the task.
        task: String,
    },
    /// It is done.
    Done,
    /// So many.
    Count(u64),
    /// The cell as it was read.
    Cell {
        /// Its version.
        version: u64,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// By name.
    Counts(Vec<(String, u64)>),
    /// It was refused, or failed: the kind of error, and its text.
    Refused {
        /// `Busy`, `TimedOut`, `Deadlock`, `Released`, `Store`, `Lost`, `InDoubt`, `Closed` or `Other`.
        kind: String,
        /// The error as people read it.
        text: String,
    },
}

/// An order and the number by which its report comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbered<T>(pub(crate) u64, pub(crate) T);

fn parse_task(text: &str) -> TaskId {
    text.parse().expect("the suite sends ids as it got them")
}
