//! What the journal says of one request: who asked for what, and all that is known of it since.
//!
//! Each line has the whole record as it is known then, so the last line of a request tells all, and
//! neither a lost line nor one that was rotated away takes more with it than itself.

use std::time::{Duration, SystemTime};

use lock_core::{
    LockSet, Reach, TaskId,
    process::{Liveness, Place, Process, ProcessGroup, ProcessSet},
};
use serde::{Deserialize, Serialize};

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// What is known of a request.
    Record(Box<Record>),
    /// An operator freed the locks of a task.
    Freed(Freed),
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: TaskId,
    pub(crate) task: String,
    pub(crate) store: String,
    #[serde(with = "as_text")]
    pub(crate) locks: LockSet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    pub(crate) asked: Moment,
    /// Tasks that were seen in its way, in the order in which they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) waited_for: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) granted: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fence: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
    /// The exit status, as a shell counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u8>,
    #[serde(flatten)]
    pub(crate) processes: Processes,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// The locks were given back.
    Ended,
    /// They were lost.
    Lost,
    /// An operator freed them.
    Freed,
    /// They were not free, and were not to be waited for.
    Busy,
    /// They did not become free in time.
    TimedOut,
    /// To wait for them would have closed a circle.
    Deadlock,
    /// Whoever asked did not want them any more.
    Withdrawn,
    /// The store could not be used.
    Failed,
}

/// That an operator freed the locks of a task, or of all of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freed {
    #[serde(rename = "freed")]
    pub(crate) task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<TaskId>,
    pub(crate) store: String,
    pub(crate) at: Moment,
}

impl Freed {
    /// Whether this request's locks were freed by it.
    pub(crate) fn concerns(&self, record: &Record) -> bool {
        let is_meant = match &self.id {
            Some(id) => *id == record.id,
            None => self.task == record.task,
        };
        is_meant && self.at > record.asked
    }
}

/// Microseconds since 1970, by the clock of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// How long after another; nothing, if the clock was put back in between.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn time(self) -> SystemTime {
        let since = Duration::from_micros(self.0);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or_default())
    }
}

/// The processes that ask or hold: by them it is known later whether they live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Processes {
    host: Option<String>,
    boot: Option<String>,
    pid_ns: Option<u64>,
    time_ns: Option<u64>,
    #[serde(rename = "processes")]
    singles: Vec<Process>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<ProcessGroup>,
}

impl Processes {
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.singles.iter().map(|process| process.pid)
    }

    /// Whether any of them lives, as far as it can be seen from here.
    pub(crate) fn probe(&self) -> Liveness {
        let place = Place {
            host: self.host.clone(),
            boot: self.boot.clone(),
            pid_ns: self.pid_ns,
            time_ns: self.time_ns,
        };
        // An earlier boot of this host has ended. A journal may also be shared by hosts.
        let reach = if place.host == Place::here().host { Reach::Host } else { Reach::Network };
        let (processes, groups) = (self.singles.clone(), self.groups.clone());
        ProcessSet { place, processes, groups }.probe(reach)
    }
}

impl From<&ProcessSet> for Processes {
    fn from(set: &ProcessSet) -> Self {
        let Place { host, boot, pid_ns, time_ns } = set.place.clone();
        let (singles, groups) = (set.processes.clone(), set.groups.clone());
        Self { host, boot, pid_ns, time_ns, singles, groups }
    }
}

/// Locks as `{"app/blog":"exclusive","backup":"limit 2"}`.
mod as_text {
    use std::collections::BTreeMap;

    use lock_core::{LockName, LockSet, Mode, Request};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        locks: &LockSet,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = |(name, mode): (&LockName, &Mode)| (name.to_string(), mode.to_string());
        locks.iter().map(text).collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<LockSet, D::Error> {
        let mut request = Request::from(LockSet::new());
        for (name, mode) in BTreeMap::<String, String>::deserialize(deserializer)? {
            request = match (mode.as_str(), mode.strip_prefix("limit ")) {
                ("exclusive", _) => request.and_exclusive(name),
                ("shared", _) => request.and_shared(name),
                (_, Some(limit)) => {
                    request.and_limit(name, limit.parse().map_err(D::Error::custom)?)
                }
                _ => return Err(D::Error::custom(format!("no mode: {mode:?}"))),
            };
        }
        request.locks().cloned().map_err(D::Error::custom)
    }
}
