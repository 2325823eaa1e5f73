//! Writing events down: by hand, and by a backend that watches the queue; reading them again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lock_core::table::LockTable;
use lock_core::{BackendError, LockBackend, Reach, RequestId, Snapshot, Swap, TaskId, Version};

use super::event::{Event, What, now};

/// Writes events to the file of one client. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<File>);

impl Recorder {
    /// Opens a file, and goes on at its end.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(Arc::new(file)))
    }

    /// Writes down what happens now, in one write.
    ///
    /// # Panics
    ///
    /// When it cannot be written: a history with gaps proves nothing.
    pub fn record(&self, what: What) {
        let event = Event { at: now(), what };
        let line = serde_json::to_string(&event).expect("events are plain data") + "\n";
        (&*self.0).write_all(line.as_bytes()).expect("a history can be written");
    }
}

/// Reads the events of one client. A last line that was cut off by a kill does not count.
///
/// # Errors
///
/// When the file cannot be read, or does not hold events.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Writes a history as a whole.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut text = String::new();
    for event in events {
        text += &serde_json::to_string(event)?;
        text.push('\n');
    }
    std::fs::write(path, text)
}

/// A backend that writes down which requests each of its swaps has queued, and which it has taken
/// out of the table.
#[derive(Debug)]
pub struct Recording<B> {
    inner: B,
    recorder: Recorder,
    /// The cell as it was last read or written.
    last: Mutex<Snapshot>,
}

impl<B: LockBackend> Recording<B> {
    /// Watches this backend.
    pub fn new(inner: B, recorder: Recorder) -> Self {
        Self { inner, recorder, last: Mutex::default() }
    }

    fn last(&self) -> MutexGuard<'_, Snapshot> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell before a swap, if it was seen, and what comes after it.
    fn change(&self, expected: Version, next: Version, data: &[u8]) -> Option<Change> {
        let after = requests(&Snapshot { version: next, data: data.into() })?;
        let last = self.last();
        let before = if expected == Version::ABSENT {
            Requests::new()
        } else if last.version == expected {
            requests(&last)?
        } else {
            return None;
        };
        Some(Change { before, after })
    }
}

/// The requests in a table, and whether they wait.
type Requests = BTreeMap<RequestId, (TaskId, bool)>;

fn requests(cell: &Snapshot) -> Option<Requests> {
    let listing = LockTable::decode(cell).ok()?.list();
    let holds = listing.holds.into_iter().map(|hold| (hold.id, (hold.task_id, false)));
    let waiting = listing.waiting.into_iter().map(|waiter| (waiter.id, (waiter.task_id, true)));
    Some(holds.chain(waiting).collect())
}

#[derive(Debug)]
struct Change {
    before: Requests,
    after: Requests,
}

impl Change {
    fn queued(&self) -> impl Iterator<Item = &TaskId> {
        let new = self.after.iter().filter(|(id, _)| !self.before.contains_key(id));
        new.filter(|(_, (_, waits))| *waits).map(|(_, (task, _))| task)
    }

    fn gone(&self) -> impl Iterator<Item = &TaskId> {
        let old = self.before.iter().filter(|(id, _)| !self.after.contains_key(id));
        old.map(|(_, (task, _))| task)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: LockBackend> LockBackend for Recording<B> {
    fn reach(&self) -> Reach {
        self.inner.reach()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let cell = self.inner.load().await?;
        *self.last() = cell.clone();
        Ok(cell)
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let change = self.change(expected, next, data);
        let queued = || change.iter().flat_map(Change::queued).cloned();
        let version = next.0;
        // Before it is known: this process may be killed, or the answer lost.
        queued().for_each(|task| self.recorder.record(What::Queuing { task, version }));
        let swap = self.inner.compare_and_swap(expected, next, data).await?;
        if swap == Swap::Conflict {
            queued().for_each(|task| self.recorder.record(What::NotQueued { task, version }));
            return Ok(swap);
        }
        *self.last() = Snapshot { version: next, data: data.into() };
        queued().for_each(|task| self.recorder.record(What::Queued { task, version }));
        for task in change.iter().flat_map(Change::gone).cloned() {
            self.recorder.record(What::Gone { task, version });
        }
        Ok(swap)
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        let cell = self.inner.load_in_turn().await?;
        if let Some(cell) = &cell {
            *self.last() = cell.clone();
        }
        Ok(cell)
    }

    async fn end_turn(&self) {
        self.inner.end_turn().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        self.inner.changed(seen).await
    }
}
