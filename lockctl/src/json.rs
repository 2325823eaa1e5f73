//! What programs read: the JSON of listings and of what keeps a lock from being granted. `docs/json.md` promises it.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use lock_core::{
    LockName, LockSet, Mode,
    process::Liveness,
    table::{Blocker, ClientView, Condition, HoldView, Listing, WaiterView, Why},
};
use serde::Serialize;

use crate::{list::living, store::Settings};

/// A listing.
#[derive(Debug, Serialize)]
pub(crate) struct JsonListing {
    version: u64,
    store: String,
    now: String,
    holds: Vec<JsonEntry>,
    waiting: Vec<JsonEntry>,
}

/// A hold or a waiter.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct JsonEntry {
    id: String,
    task: Arc<str>,
    task_id: String,
    locks: Vec<JsonLock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    since: String,
    host: Option<String>,
    pids: Vec<u32>,
    state: Liveness,
    note: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<Vec<JsonBlocker>>,
}

/// A lock, as it is asked for.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct JsonLock {
    name: String,
    mode: &'static str,
    limit: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
struct JsonBlocker {
    task: Arc<str>,
    lock: String,
}

/// What keeps locks from being granted.
#[derive(Debug, Serialize)]
pub(crate) struct JsonWhy {
    version: u64,
    store: String,
    now: String,
    free: bool,
    locks: Vec<JsonLock>,
    conditions: Vec<JsonCondition>,
    waiting: Vec<JsonEntry>,
    dead: Vec<JsonEntry>,
    place: usize,
}

#[derive(Debug, Serialize)]
struct JsonCondition {
    #[serde(flatten)]
    lock: JsonLock,
    count: usize,
    blockers: Vec<JsonInTheWay>,
}

/// Somebody in the way of a request that was not made yet.
#[derive(Debug, Serialize)]
struct JsonInTheWay {
    task: Arc<str>,
    task_id: String,
    lock: JsonLock,
    waits: bool,
    since: String,
    host: Option<String>,
    pids: Vec<u32>,
    state: Liveness,
}

impl JsonListing {
    pub(crate) fn of(listing: &Listing, settings: &Settings) -> Self {
        Self {
            version: listing.version.0,
            store: settings.describe(),
            now: rfc3339(SystemTime::now()),
            holds: listing.holds.iter().map(JsonEntry::from).collect(),
            waiting: listing.waiting.iter().map(JsonEntry::from).collect(),
        }
    }

    /// Whether it is the same but for the time and for what clients only renew.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        (&self.holds, &self.waiting) == (&other.holds, &other.waiting)
    }
}

impl JsonWhy {
    pub(crate) fn of(why: &Why, settings: &Settings) -> Self {
        Self {
            version: why.version.0,
            store: settings.describe(),
            now: rfc3339(SystemTime::now()),
            free: why.is_free(),
            locks: locks(&why.locks),
            conditions: why.conditions.iter().map(JsonCondition::from).collect(),
            waiting: why.waiting.iter().map(JsonEntry::from).collect(),
            dead: why.dead.iter().map(JsonEntry::from).collect(),
            place: why.place,
        }
    }
}

impl From<&HoldView> for JsonEntry {
    fn from(hold: &HoldView) -> Self {
        Self {
            id: hold.id.to_string(),
            task: hold.task.clone(),
            task_id: hold.task_id.to_string(),
            locks: locks(&hold.locks),
            fence: Some(hold.fence),
            since: rfc3339(hold.since),
            host: host(&hold.client),
            pids: pids(&hold.client),
            state: hold.client.state,
            note: hold.note.clone(),
            blocked_by: None,
        }
    }
}

impl From<&WaiterView> for JsonEntry {
    fn from(waiter: &WaiterView) -> Self {
        let blocker = |blocker: &Blocker| JsonBlocker {
            task: blocker.task.clone(),
            lock: blocker.lock.to_string(),
        };
        Self {
            id: waiter.id.to_string(),
            task: waiter.task.clone(),
            task_id: waiter.task_id.to_string(),
            locks: locks(&waiter.locks),
            fence: None,
            since: rfc3339(waiter.since),
            host: host(&waiter.client),
            pids: pids(&waiter.client),
            state: waiter.client.state,
            note: waiter.note.clone(),
            blocked_by: Some(waiter.blocked_by.iter().map(blocker).collect()),
        }
    }
}

impl From<&Condition> for JsonCondition {
    fn from(condition: &Condition) -> Self {
        Self {
            lock: JsonLock::from((&condition.lock, &condition.mode)),
            count: condition.count,
            blockers: condition.blockers.iter().map(JsonInTheWay::from).collect(),
        }
    }
}

impl From<&Blocker> for JsonInTheWay {
    fn from(blocker: &Blocker) -> Self {
        Self {
            task: blocker.task.clone(),
            task_id: blocker.task_id.to_string(),
            lock: JsonLock::from((&blocker.lock, &blocker.mode)),
            waits: blocker.waits,
            since: rfc3339(blocker.since),
            host: host(&blocker.client),
            pids: pids(&blocker.client),
            state: blocker.client.state,
        }
    }
}

impl From<(&LockName, &Mode)> for JsonLock {
    fn from((name, mode): (&LockName, &Mode)) -> Self {
        let (mode, limit) = match mode {
            Mode::Exclusive => ("exclusive", None),
            Mode::Shared => ("shared", None),
            Mode::Limit(limit) => ("limit", Some(*limit)),
        };
        JsonLock { name: name.to_string(), mode, limit }
    }
}

/// The locks of a request.
pub(crate) fn locks(locks: &LockSet) -> Vec<JsonLock> {
    locks.iter().map(JsonLock::from).collect()
}

fn host(client: &ClientView) -> Option<String> {
    client.processes.place.host.clone()
}

fn pids(client: &ClientView) -> Vec<u32> {
    living(client).iter().map(|process| process.pid).collect()
}

/// A time as programs read it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().to_string()
}

/// A value on several lines, as people read it too.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("all keys are text and no value fails")
}

/// A value on one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("all keys are text and no value fails")
}
