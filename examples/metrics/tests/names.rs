//! Every metric, label and value is documented, and is counted when the documentation says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lock_core::process::{Place, Process, ProcessSet};
use lock_core::testing::{Effect, Fault, FaultyBackend};
use lock_core::{
    AcquireError, BackendError, BackendErrorKind, LockBackend, Locks, MemoryBackend, Reach,
    Request, Snapshot, Swap, Version, async_trait,
};
use metrics_exporter_prometheus::PrometheusBuilder;

const PAGE: &str = include_str!("../../../lock-core/src/observability.md");

/// The rows of the tables, cell by cell.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('|').map(str::trim).collect())
}

fn names(cell: &str) -> BTreeSet<String> {
    cell.split_whitespace().map(|name| name.trim_matches('`').to_owned()).collect()
}

/// The labels of each metric, as documented.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = rows().filter(|cells| matches!(cells[2], "histogram" | "counter"));
    metrics.map(|cells| (cells[1].trim_matches('`').to_owned(), names(cells[3]))).collect()
}

/// The values that a label may have, as documented.
fn values(label: &str) -> BTreeSet<String> {
    names(rows().find(|cells| cells[1] == label).expect("it is documented")[2])
}

/// Each line of what was counted: metric, labels with their values, and how often.
fn counted(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let lines = lines.filter(|line| !line.contains("quantile=") && !line.contains("_sum{"));
    let line = |line: &str| {
        let (metric, rest) = line.split_once('{').expect(line);
        let (labels, count) = rest.split_once("} ").expect(line);
        let labels = labels.split(',').map(|label| {
            let (key, value) = label.split_once('=').expect(label);
            (key.to_owned(), value.trim_matches('"').to_owned())
        });
        (metric.trim_end_matches("_count").to_owned(), labels.collect(), count.parse().unwrap())
    };
    lines.map(line).collect()
}

/// A store that gives a turn to whoever asks for one, and fails as a test says.
#[derive(Debug)]
struct InTurn(FaultyBackend);

#[async_trait]
impl LockBackend for InTurn {
    fn reach(&self) -> Reach {
        self.0.reach()
    }

    fn describe(&self) -> String {
        "memory in turn".into()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        self.0.load().await
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        self.0.compare_and_swap(expected, next, data).await
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        self.0.load().await.map(Some)
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn locks(backend: impl LockBackend) -> Locks {
    Locks::builder(backend).in_current_runtime().store_patience(Duration::from_secs(3)).build()
}

/// Waits until a request is in the queue.
async fn until_one_waits(locks: &Locks) -> Done {
    let polls = async {
        while locks.list().await?.waiting.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), polls).await?
}

/// Makes everything happen that is counted.
async fn everything() -> Done {
    let store = MemoryBackend::new();
    requests(&store).await?;
    ends_of_waiting(&store).await?;
    failures().await?;
    turns().await
}

/// Requests that are granted and that are not, a hold that is lost, and a client that is dead.
async fn requests(store: &MemoryBackend) -> Done {
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
    let held = one.task("one").acquire(Request::exclusive("app/left").and_shared("mail")).await?;
    assert!(left.verify().await.is_err()); // It lives after all, and so it has lost that.
    assert!(other.try_acquire("app/left").await.is_err());
    assert!(other.acquire_timeout("app/left", Duration::from_secs(1)).await.is_err());
    let soon = Duration::from_secs(1);
    assert!(tokio::time::timeout(soon, other.acquire("app/left")).await.is_err());
    held.release().await?;
    let lost = one.task("lost").acquire("app/blog").await?;
    other.release_task("lost").await?;
    assert!(lost.verify().await.is_err());
    faults.next_swap(Fault::Conflict);
    faults.next_swap(Fault::Unknown(Effect::Now));
    one.acquire("app/blog").await?.release().await?;
    faults.set_unavailable(true);
    assert!(one.acquire("app/shop").await.is_err());
    faults.set_unavailable(false);
    one.close().await?;
    assert!(one.acquire("app/blog").await.is_err());
    Ok(())
}

/// A request that closes a circle, and one that somebody releases while it waits.
async fn ends_of_waiting(store: &MemoryBackend) -> Done {
    let (one, other) = (locks(FaultyBackend::new(store.clone())), locks(store.clone()));
    let (mut left, mut right) = (one.task("left"), other.task("right"));
    let blog = left.acquire("app/blog").await?;
    let mail = right.acquire("mail").await?;
    let waits = tokio::spawn(async move { left.acquire("mail").await });
    until_one_waits(&other).await?;
    let refused = right.acquire("app/blog").await;
    assert!(matches!(refused, Err(AcquireError::Deadlock(_))), "{refused:?}");
    mail.release().await?;
    waits.await??.release().await?;

    let mut unwanted = other.task("unwanted");
    let waits = tokio::spawn(async move { unwanted.acquire("app/blog").await });
    until_one_waits(&one).await?;
    assert_eq!(one.release_task("unwanted").await?, 1);
    let refused = waits.await?;
    assert!(matches!(refused, Err(AcquireError::Released)), "{refused:?}");
    blog.release().await?;
    Ok(())
}

/// Swaps that the store refuses: one that is busy is asked again, the others are not.
async fn failures() -> Done {
    for (kind, is_granted) in [
        (BackendErrorKind::Busy, true),
        (BackendErrorKind::Misconfigured, false),
        (BackendErrorKind::TooLarge, false),
    ] {
        let backend = FaultyBackend::new(MemoryBackend::new());
        backend.faults().next_swap(Fault::Error(kind));
        let locks = locks(backend);
        match locks.acquire("app/blog").await {
            Ok(held) if is_granted => held.release().await?,
            Err(AcquireError::Store(_)) if !is_granted => {}
            answer => panic!("{kind}: {answer:?}"),
        }
        locks.close().await?;
    }
    Ok(())
}

/// A client that has lost a race asks for its turn.
async fn turns() -> Done {
    let backend = FaultyBackend::new(MemoryBackend::new());
    let faults = backend.faults();
    let locks = locks(InTurn(backend));
    let held = locks.acquire("app/blog").await?;
    faults.next_swap(Fault::Conflict);
    held.release().await?;
    locks.close().await?; // It has ended its turn before.
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn each_metric_is_as_documented() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(everything())).unwrap();
    let text = handle.render();

    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (metric, labels, _) in counted(&text) {
        found.entry(metric).or_default().extend(labels.into_keys());
    }
    assert_eq!(found, documented(), "{text}");

    // Of each label exactly the values that there are.
    let mut found: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (metric, labels, _) in counted(&text) {
        for (label, value) in labels {
            found.entry((metric.clone(), label)).or_default().insert(value);
        }
    }
    for ((metric, label), found) in found {
        let of = if metric.contains("acquire") { "request" } else { "call" };
        let documented = match &*label {
            "store" => continue, // Any text; which clients count what is told below.
            "result" => values(&format!("`result` of a {of}")),
            label => values(&format!("`{label}`")),
        };
        assert_eq!(found, documented, "{label} of {metric}:\n{text}");
    }

    // Of each kind exactly as many as there were.
    let sums = |metric: &str, label: &str| {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for (_, labels, count) in counted(&text).into_iter().filter(|line| line.0 == metric) {
            *sums.entry(labels[label].clone()).or_default() += count;
        }
        sums.into_iter().map(|(value, count)| format!("{value}: {count}")).collect::<Vec<_>>()
    };
    for (metric, label, times) in [
        (
            "interlock_acquire_seconds",
            "result",
            &[
                "busy: 1",
                "closed: 1",
                "deadlock: 1",
                "dropped: 1",
                "granted: 9",
                "released: 1",
                "store_error: 3",
                "timed_out: 1",
            ][..],
        ),
        (
            "interlock_acquire_seconds",
            "store",
            &["faulty memory: 10", "memory: 7", "memory in turn: 1"],
        ),
        ("interlock_waits_total", "store", &["faulty memory: 1", "memory: 3"]),
        ("interlock_lost_total", "store", &["faulty memory: 1", "memory: 1"]),
        ("interlock_swept_total", "store", &["faulty memory: 1"]),
    ] {
        assert_eq!(sums(metric, label), times, "{label} of {metric}:\n{text}");
    }
    let calls = counted(&text).into_iter().filter(|line| line.0 == "interlock_store_call_seconds");
    let stores: BTreeSet<String> = calls.map(|(_, labels, _)| labels["store"].clone()).collect();
    assert_eq!(stores, ["faulty memory", "memory", "memory in turn"].map(String::from).into());
}
