//! What was measured, as data: the report is written from this alone.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Results {
    /// Few samples.
    pub(crate) quick: bool,
    /// How long the run took.
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
    /// Stores by their names, with their versions.
    pub(crate) stores: Vec<(String, String)>,
    /// By the names of stores: what their servers were told that differs from what their makers deliver.
    pub(crate) options: Vec<(String, Vec<String>)>,
    /// What was built into this program and into that of the peers.
    pub(crate) crates: Vec<Crate>,
    pub(crate) versus: Vec<Versus>,
    pub(crate) parts: Vec<Parts>,
    pub(crate) tasks: Vec<Tasks>,
    pub(crate) many: Vec<Many>,
    pub(crate) holding: Vec<Holding>,
    pub(crate) hand_off: Vec<HandOff>,
    pub(crate) recovery: Vec<Recovery>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) contention: Vec<Contention>,
    pub(crate) rest: Vec<Rest>,
    pub(crate) commands: Vec<Command>,
    pub(crate) approaches: Vec<Compared>,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
    /// The runs before this one, if there were several one after the other.
    pub(crate) earlier: Vec<Results>,
}

impl Results {
    /// An acquire where nothing is below the driver and the table.
    pub(crate) fn without_a_store(&self) -> Option<&Versus> {
        let in_memory = |row: &&Versus| row.floor.is_none() && row.operation == "acquire";
        self.versus.iter().filter(in_memory).min_by_key(|row| row.holds)
    }

    /// All runs, in their order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Self> {
        self.earlier.iter().chain([self])
    }
}

/// Where it was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) system: String,
    pub(crate) rust: String,
    pub(crate) revision: String,
    /// The load when it began: more than a little means that others were at work.
    pub(crate) load: String,
    /// The file system of the folder of the stores, and what that is on.
    pub(crate) disk: String,
    /// Writing a page and syncing it there.
    pub(crate) sync: Spread,
}

/// A crate that a program was built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crate {
    /// In the program of the peers, and not in this one.
    pub(crate) is_of_peers: bool,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What many samples say in sum, in microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) samples: usize,
}

/// Acquiring or releasing, against the floor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Versus {
    pub(crate) store: String,
    pub(crate) operation: String,
    /// So many holds of others are in the table.
    pub(crate) holds: usize,
    /// The bytes of the cell.
    pub(crate) bytes: usize,
    pub(crate) ours: Spread,
    /// None where there is nothing below us: the cell is in memory.
    pub(crate) floor: Option<Spread>,
    /// Bytes that a swap writes, as the mean of ours and the bare ones: to the redo log or append-only
    /// file, and to the binary log. Of files and SQLite only the first: what the system counts for the
    /// process, in whole pages.
    pub(crate) logged: (Option<u64>, Option<u64>),
}

/// What an acquire consists of: each part, and the bare swap in turns with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) store: String,
    /// The swap by the backend, and nothing above it.
    pub(crate) cell: [Spread; 2],
    /// The bare one when another thread asks for it and waits.
    pub(crate) asked: [Spread; 2],
    /// Acquire with the driver in the runtime of who asks.
    pub(crate) in_runtime: [Spread; 2],
}

/// Tasks of one process, each with a lock of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tasks {
    pub(crate) store: String,
    pub(crate) way: String,
    pub(crate) count: u32,
    /// Acquired and released per second.
    pub(crate) rate: f64,
}

/// Many locks of one process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Many {
    pub(crate) store: String,
    pub(crate) locks: usize,
    pub(crate) connections: Option<u64>,
    pub(crate) seconds: f64,
}

/// How large a cell is, by holds of one client and by holds of a client each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) clients: usize,
    pub(crate) holds: usize,
    /// Of the whole cell.
    pub(crate) bytes: usize,
    /// What one more hold adds, and its client if it has one of its own.
    pub(crate) each: f64,
}

/// From release called in one process to acquire returned in another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandOff {
    pub(crate) store: String,
    /// With the help of the host that both are on.
    pub(crate) bell: bool,
    pub(crate) waited_ms: u64,
    pub(crate) took: Spread,
    /// By a lock server in memory over a unix socket, in the same time and after the same wait.
    pub(crate) bare: Spread,
}

/// From `SIGKILL` of the holder to acquire returned in another process of the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) store: String,
    pub(crate) took: Spread,
}

/// What waiting processes ask of the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) store: String,
    pub(crate) bell: bool,
    pub(crate) waiters: usize,
    /// Statements per second of all of them together.
    pub(crate) rate: f64,
    /// Writes by which the lock was handed on, from the first to the last of them.
    pub(crate) writes: u64,
    pub(crate) in_order: bool,
    /// From one to the next, besides the time that it held.
    pub(crate) gap: Spread,
}

/// Many processes on one cell, each with a lock of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contention {
    pub(crate) store: String,
    pub(crate) way: String,
    pub(crate) processes: usize,
    /// Acquires and releases per second, many of which may share a swap; of the naive, swaps.
    pub(crate) rate: f64,
    /// What the slowest got done, as part of the mean.
    pub(crate) slowest: f64,
    /// Statements for one of them.
    pub(crate) statements: f64,
    pub(crate) took: Spread,
}

/// A client that only holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rest {
    pub(crate) store: String,
    pub(crate) tasks: u32,
    pub(crate) lease_seconds: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) statements: u64,
}

/// A command line, from start to end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) took: Spread,
    pub(crate) memory_kib: Option<u64>,
}

/// One approach, in everything that approaches are compared in.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) key: String,
    pub(crate) name: String,
    /// The kind of store, for comparing like with like.
    pub(crate) store: String,
    pub(crate) is_ours: bool,
    pub(crate) acquire: Option<Spread>,
    pub(crate) release: Option<Spread>,
    /// Acquired and released per second by 64 tasks of one process, each with a lock of its own.
    pub(crate) tasks: Option<f64>,
    /// The same by several processes.
    pub(crate) processes: Option<f64>,
    /// The same by several processes that want the same lock.
    pub(crate) contended: Option<f64>,
    /// What the slowest of these got done, as part of the mean.
    pub(crate) slowest: Option<f64>,
    pub(crate) hand_off: Option<Spread>,
    /// How many of those who queued one after the other were passed by somebody who came later.
    pub(crate) passed: Option<(usize, usize)>,
    pub(crate) crash: Option<Crash>,
    pub(crate) restart: Option<Restart>,
    /// Connections or descriptors, for how many locks held.
    pub(crate) connections: Option<(u64, u32)>,
    pub(crate) failures: Vec<String>,
}

/// What `SIGKILL` of the holder leaves behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Crash {
    /// When somebody who waited was granted the lock; none: not within the limit.
    pub(crate) free_after_ms: Option<f64>,
    pub(crate) limit_ms: f64,
}

/// What a restart of the server does to a lock whose holder lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Restart {
    /// There is no server.
    NoServer,
    /// It is held as before.
    Kept,
    /// It is held as before, but its holder could not give it back.
    KeptButStuck(String),
    /// Somebody else got it; the holder was told by an error when it gave it back.
    LostAndToldLate(String),
    /// Somebody else got it; the holder was never told.
    LostInSilence,
}

impl Spread {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |percent: usize| {
            let index = (samples.len() * percent / 100).min(samples.len().saturating_sub(1));
            samples.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
        };
        Self { p50: at(50), p99: at(99), max: at(100), samples: samples.len() }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(time);
        write!(f, "p50 {p50}, p99 {p99}, max {max} ({} samples)", self.samples)
    }
}

/// Microseconds as people read them.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 9.95 => format!("{us:.1} µs"),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 9_950.0 => format!("{:.1} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// A number as people read it.
pub(crate) fn number(value: f64) -> String {
    if value < 9.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_as_people_read_them() {
        assert_eq!(
            ["1.5", "12", "1,234"],
            [1.5, 12.3, 1234.0].map(number).map(|n| n).each_ref().map(String::as_str)
        );
        assert_eq!(time(12.3), "12 µs");
        assert_eq!(time(12_345.0), "12 ms");
    }

    #[test]
    fn a_spread_of_nothing_is_nothing() {
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        let spread = Spread::of((1..=100).map(Duration::from_micros).collect());
        assert!(spread.p50 < spread.p99 && spread.p99 <= spread.max, "{spread}");
    }
}
