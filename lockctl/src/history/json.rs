//! The history as programs read it. `docs/json.md` promises it.

use std::path::PathBuf;

use serde::Serialize;

use super::{read::Entry, record::Moment};
use crate::{
    json::{JsonLock, locks, rfc3339},
    store::Settings,
};

/// A history.
#[derive(Debug, Serialize)]
pub(super) struct JsonHistory {
    store: String,
    now: String,
    journals: Vec<PathBuf>,
    requests: Vec<JsonRequest>,
}

#[derive(Debug, Serialize)]
struct JsonRequest {
    task: String,
    task_id: String,
    locks: Vec<JsonLock>,
    asked: String,
    granted: Option<String>,
    ended: Option<String>,
    waited_ms: Option<u64>,
    held_ms: Option<u64>,
    waited_for: Vec<String>,
    state: &'static str,
    status: Option<u8>,
    fence: Option<u64>,
    host: Option<String>,
    pids: Vec<u32>,
    note: Option<String>,
}

impl JsonHistory {
    pub(super) fn of(
        entries: &[Entry],
        now: Moment,
        settings: &Settings,
        journals: &[PathBuf],
    ) -> Self {
        Self {
            store: settings.describe(),
            now: rfc3339(now.time()),
            journals: journals.to_vec(),
            requests: entries.iter().map(|entry| JsonRequest::of(entry, now)).collect(),
        }
    }
}

impl JsonRequest {
    fn of(entry: &Entry, now: Moment) -> Self {
        let record = &entry.record;
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).ok();
        let time = |moment: Moment| rfc3339(moment.time());
        Self {
            task: record.task.clone(),
            task_id: record.id.to_string(),
            locks: locks(&record.locks),
            asked: time(record.asked),
            granted: record.granted.map(time),
            ended: entry.until.map(time),
            waited_ms: entry.waited(now).and_then(ms),
            held_ms: entry.held(now).and_then(ms),
            waited_for: record.waited_for.clone(),
            state: entry.state.word(),
            status: record.status,
            fence: record.fence,
            host: record.processes.host().map(str::to_owned),
            pids: record.processes.pids().collect(),
            note: record.note.clone(),
        }
    }
}
