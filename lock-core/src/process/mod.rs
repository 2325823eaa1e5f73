//! Who a client is to the kernel, and whether it lives: identity and three-valued probing.
//!
//! *Dead* is said only on proof. Whatever cannot be read or compared is *unknown*, and then the
//! lease decides.
//!
//! Linux can probe. Elsewhere everything compiles, and every probe says *unknown*.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod sys;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod sys;
mod watch;

use std::fmt;
use std::iter;

use serde::{Deserialize, Serialize};

use crate::Reach;
pub use watch::{DeathWatch, WatchError};

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

/// One word, as in JSON: `alive`, `dead` or `unknown`.
impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        })
    }
}

/// A process: its id, and when it was started, because ids are used again.
///
/// Tables have it as two numbers, `[pid, start]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Pair", into = "Pair")]
pub struct Process {
    /// The process id, in the pid namespace of the client.
    pub pid: u32,
    /// When it was started, in clock ticks since boot as `/proc/PID/stat` tells it.
    pub start: u64,
}

impl Process {
    /// This process; `None` if its start cannot be read (no `/proc`, no file descriptor left).
    ///
    /// Where no process can be probed (see [`Place::here`]), the start may be 0.
    pub fn current() -> Option<Self> {
        sys::current()
    }

    /// The process that has this id here and now, running or not yet reaped.
    ///
    /// `None` also if it cannot be seen, as under a `/proc` that hides the processes of others.
    pub fn find(pid: u32) -> Option<Self> {
        sys::find(pid)
    }

    /// The parent of this process of this place; `None` at the top, or if either cannot be seen.
    pub fn parent(self) -> Option<Self> {
        sys::parent(self)
    }

    /// The parent, its parent, and so on, as far up as can be seen.
    ///
    /// ```
    /// use lock_core::process::Process;
    ///
    /// for ancestor in Process::current().into_iter().flat_map(Process::ancestors) {
    ///     println!("started by process {}", ancestor.pid);
    /// }
    /// ```
    pub fn ancestors(self) -> impl Iterator<Item = Self> {
        iter::successors(self.parent(), |process| process.parent())
    }
}

/// A process group: all processes of the group that were started no earlier than its leader.
///
/// Tables have it as two numbers, `[id, start]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Pair", into = "Pair")]
pub struct ProcessGroup {
    /// The process group id.
    pub id: u32,
    /// When its first process was started, in clock ticks since boot.
    pub start: u64,
}

impl ProcessGroup {
    /// The group that this process leads, or is about to lead.
    pub fn led_by(Process { pid, start }: Process) -> Self {
        Self { id: pid, start }
    }
}

/// How tables have both.
#[derive(Serialize, Deserialize)]
struct Pair(u32, u64);

impl From<Pair> for Process {
    fn from(Pair(pid, start): Pair) -> Self {
        Self { pid, start }
    }
}

impl From<Process> for Pair {
    fn from(process: Process) -> Self {
        Self(process.pid, process.start)
    }
}

impl From<Pair> for ProcessGroup {
    fn from(Pair(id, start): Pair) -> Self {
        Self { id, start }
    }
}

impl From<ProcessGroup> for Pair {
    fn from(group: ProcessGroup) -> Self {
        Self(group.id, group.start)
    }
}

/// Where processes live: ids of processes mean something only to observers of the same place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The name of the host, for people.
    pub host: Option<String>,
    /// The id of the boot.
    pub boot: Option<String>,
    /// The inode of the pid namespace.
    pub pid_ns: Option<u64>,
    /// The inode of the time namespace; 0 if the kernel has none.
    pub time_ns: Option<u64>,
}

impl Place {
    /// The place of this process; whatever cannot be told for sure is `None`.
    ///
    /// Nobody can be probed from or in a place that is not wholly known: on platforms other than
    /// Linux, with a `/proc` of another pid namespace, with a boot id that a container manager put
    /// over the kernel's.
    pub fn here() -> Self {
        sys::here()
    }

    /// Whether ids and start times of processes mean the same in both places.
    fn is(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.is_some() && one == other
        }
        same(self.boot.as_ref(), other.boot.as_ref())
            && same(self.pid_ns.as_ref(), other.pid_ns.as_ref())
            && same(self.time_ns.as_ref(), other.time_ns.as_ref())
    }

    /// Whether both places are known to be of different boots.
    fn is_of_another_boot(&self, other: &Self) -> bool {
        matches!((&self.boot, &other.boot), (Some(one), Some(other)) if one != other)
    }
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

impl ProcessSet {
    /// This process alone, here.
    pub fn current() -> Self {
        Self {
            place: Place::here(),
            processes: Process::current().into_iter().collect(),
            groups: Vec::new(),
        }
    }

    /// Whether any of these processes lives: *alive* if one does, *dead* if all are proven dead.
    ///
    /// A set without members is *unknown*. So is one of another boot, unless the store that it was
    /// found in has [`Reach::Host`]: that boot has ended then. The values may come from anywhere:
    /// no process is ever signalled, and none makes it panic.
    ///
    /// Blocks for some reads below `/proc`: a few for a process or for a group whose leader lives,
    /// one or two for each process of the machine for other groups.
    pub fn probe(&self, reach: Reach) -> Liveness {
        if self.processes.is_empty() && self.groups.is_empty() {
            return Liveness::Unknown; // Without a look at where this is.
        }
        self.probe_from(&Place::here(), reach)
    }

    /// As [`probe`](Self::probe), by who knows where this is.
    pub(crate) fn probe_from(&self, here: &Place, reach: Reach) -> Liveness {
        if self.processes.is_empty() && self.groups.is_empty() {
            return Liveness::Unknown;
        }
        if reach == Reach::Host && self.place.is_of_another_boot(here) {
            return Liveness::Dead;
        }
        if !self.place.is(here) {
            return Liveness::Unknown;
        }
        let processes = self.processes.iter().map(|&process| sys::probe_process(process));
        let groups = self.groups.iter().map(|&group| sys::probe_group(group));
        let mut together = Liveness::Dead;
        for member in processes.chain(groups) {
            match member {
                Liveness::Alive => return Liveness::Alive,
                Liveness::Unknown => together = Liveness::Unknown,
                Liveness::Dead => {}
            }
        }
        together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(boot: Option<&str>, pid_ns: Option<u64>, time_ns: Option<u64>) -> Place {
        Place { host: None, boot: boot.map(str::to_owned), pid_ns, time_ns }
    }

    /// A process that is surely dead wherever it may be probed at all.
    fn dead_in(place: Place) -> ProcessSet {
        ProcessSet {
            place,
            processes: vec![Process { pid: i32::MAX.unsigned_abs(), start: 1 }],
            groups: vec![],
        }
    }

    #[test]
    fn an_unknown_or_other_place_proves_nothing() {
        let here = place(Some("boot"), Some(1), Some(2));
        let others = [
            place(None, Some(1), Some(2)),
            place(Some("boot"), None, Some(2)),
            place(Some("boot"), Some(1), None),
            place(Some("boot"), Some(9), Some(2)),
            place(Some("boot"), Some(1), Some(9)),
            place(None, None, None),
        ];
        for other in others {
            for reach in [Reach::Host, Reach::Network] {
                let there = dead_in(other.clone()).probe_from(&here, reach);
                assert_eq!(there, Liveness::Unknown, "{other:?} from {here:?}");
                let from_there = dead_in(here.clone()).probe_from(&other, reach);
                assert_eq!(from_there, Liveness::Unknown, "{here:?} from {other:?}");
            }
        }
    }

    #[test]
    fn another_boot_is_dead_only_on_a_store_of_this_host() {
        let here = place(Some("boot"), Some(1), Some(2));
        let rebooted = dead_in(place(Some("earlier"), Some(1), Some(2)));
        assert_eq!(rebooted.probe_from(&here, Reach::Host), Liveness::Dead);
        assert_eq!(rebooted.probe_from(&here, Reach::Network), Liveness::Unknown);
    }

    #[test]
    fn a_set_without_members_is_unknown() {
        let here = place(Some("boot"), Some(1), Some(2));
        for boot in ["boot", "earlier"] {
            let nobody =
                ProcessSet { place: place(Some(boot), Some(1), Some(2)), ..ProcessSet::default() };
            assert_eq!(nobody.probe_from(&here, Reach::Host), Liveness::Unknown);
        }
    }
}
