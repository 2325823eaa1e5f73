//! Every event is documented, with its level and its fields, and happens as the documentation says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_core::process::{Place, Process, ProcessSet};
use lock_core::testing::FaultyBackend;
use lock_core::{LockBackend, Locks, MemoryBackend, Snapshot, Version};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Level and fields by message.
type Events = BTreeMap<String, (String, BTreeSet<String>)>;

/// Keeps what is told.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Events>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("lock_core") {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let level = event.metadata().level().to_string();
            self.0.lock().unwrap().insert(fields.message, (level, fields.names));
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    names: BTreeSet<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.names.insert(field.name().into());
        }
    }
}

/// The table of events in the documentation.
fn documented() -> Events {
    let text = include_str!("../src/observability.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let events = cells.filter(|cells| matches!(cells[2], "INFO" | "WARN" | "DEBUG"));
    let name = |text: &str| text.trim_matches('`').to_owned();
    events
        .map(|cells| {
            let fields = cells[3].split_whitespace().map(name).collect();
            (name(cells[1]), (cells[2].to_owned(), fields))
        })
        .collect()
}

fn locks(backend: impl LockBackend) -> Locks {
    Locks::builder(backend).in_current_runtime().store_patience(Duration::from_secs(3)).build()
}

/// Makes everything happen that there is an event for.
async fn everything() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryBackend::new();
    let dead = ProcessSet {
        place: Place::here(),
        processes: vec![Process { pid: i32::MAX.unsigned_abs(), start: 1 }],
        groups: Vec::new(),
    };
    let victim = Locks::builder(store.clone()).in_current_runtime().processes(dead).build();
    let left = victim.acquire("app/left").await?;
    let backend = FaultyBackend::new(store.clone());
    let faults = backend.faults();
    let (one, other) = (locks(backend), locks(store.clone()));
    // Sweeps the dead one, is waited for, and gives back.
    let held = one.task("one").acquire("app/left").await?;
    let waiting = other.acquire_timeout("app/left", Duration::from_secs(1));
    assert!(waiting.await.unwrap_err().is_busy());
    held.release().await?;
    // Loses its lock to an operator.
    let lost = one.task("lost").acquire("app/blog").await?;
    other.release_task("lost").await?;
    assert!(lost.verify().await.is_err());
    // The store fails at the end of the work.
    one.with_lock("app/blog", async |_| faults.set_unavailable(true)).await?;
    faults.set_unavailable(false);
    one.close().await?;
    // Something else is in the cell.
    let data = b"something else".to_vec();
    store.restore(Snapshot { version: Version::MAX, data });
    assert!(other.acquire("app/blog").await.is_err());
    drop((left, victim));
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn each_event_is_as_documented() {
    let told = Told::default();
    let subscriber = tracing_subscriber::registry().with(told.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(everything())).unwrap();
    assert_eq!(*told.0.lock().unwrap(), documented());
}

/// What the test above does not make happen would not be missed by it.
#[test]
fn there_are_no_other_events_in_the_code() {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let each = entries.map(|path| {
            if path.is_dir() {
                return count(&path);
            }
            let text = fs::read_to_string(&path).unwrap();
            text.matches("tracing::")
                .filter(|_| path.extension().is_some_and(|e| e == "rs"))
                .count()
        });
        each.sum()
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(count(&source), documented().len());
}
