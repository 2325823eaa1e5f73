//! Who a client is to the kernel, and whether it lives: identity and three-valued probing.
//!
//! *Dead* is said only on proof. Whatever cannot be read or compared is *unknown*, and then the
//! lease decides.

use serde::{Deserialize, Serialize};

/// What is known of the life of a client or process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Seen alive, however long it may have been paused.
    Alive,
    /// Proven dead.
    Dead,
    /// Nothing can be said from here: the lease decides.
    Unknown,
}

/// A process: its id, and when it was started, because ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process(
    /// The process id, in the pid namespace of the client.
    pub u32,
    /// When it was started, in clock ticks since boot as `/proc/PID/stat` tells it.
    pub u64,
);

/// A process group: all processes of the group that were started no earlier than its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessGroup(
    /// The process group id.
    pub u32,
    /// When its first process was started, in clock ticks since boot.
    pub u64,
);

/// Where processes live: ids of processes mean something only to observers of the same place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The name of the host, for people.
    pub host: Option<String>,
    /// The id of the boot.
    pub boot: Option<String>,
    /// The inode of the pid namespace.
    pub pid_ns: Option<u64>,
    /// The inode of the time namespace.
    pub time_ns: Option<u64>,
}

/// The processes that a client consists of: it is dead when all of them are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessSet {
    /// Where they live.
    pub place: Place,
    /// Single processes.
    pub processes: Vec<Process>,
    /// Process groups.
    pub groups: Vec<ProcessGroup>,
}
