//! Every metric, label and value is documented, and is counted when the documentation says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lock_core::process::{Place, Process, ProcessSet};
use lock_core::testing::{Effect, Fault, FaultyBackend};
use lock_core::{LockBackend, Locks, MemoryBackend, Request};
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

fn locks(backend: impl LockBackend) -> Locks {
    Locks::builder(backend).in_current_runtime().store_patience(Duration::from_secs(3)).build()
}

/// Makes everything happen that is counted.
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
    let held = one.task("one").acquire(Request::exclusive("app/left").and_shared("mail")).await?;
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
    drop((left, victim));
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

    for (metric, labels, _) in counted(&text) {
        let of = if metric.contains("acquire") { "request" } else { "call" };
        for (label, value) in labels {
            let allowed = match &*label {
                "store" => BTreeSet::from(["memory".to_owned(), "faulty memory".to_owned()]),
                "result" => values(&format!("`result` of a {of}")),
                label => values(&format!("`{label}`")),
            };
            assert!(allowed.contains(&value), "{metric} has {label}={value}");
        }
    }

    // Of each kind exactly as many as there were.
    let sum = |metric: &str, wanted: &str| -> f64 {
        let all = counted(&text);
        let of = |(name, labels, _): &&(String, BTreeMap<String, String>, f64)| {
            name == metric && labels.values().any(|value| value == wanted)
        };
        all.iter().filter(of).map(|(_, _, count)| count).sum()
    };
    for (result, times) in [
        ("granted", 4.0),
        ("busy", 1.0),
        ("timed_out", 1.0),
        ("dropped", 1.0),
        ("store_error", 1.0),
        ("closed", 1.0),
    ] {
        let told = sum("interlock_acquire_seconds", result);
        assert!((told - times).abs() < 0.1, "{told} requests were {result}:\n{text}");
    }
    for (metric, store, times) in [
        ("interlock_waits_total", "memory", 2.0),
        ("interlock_lost_total", "faulty memory", 1.0),
        ("interlock_swept_total", "faulty memory", 1.0),
    ] {
        let told = sum(metric, store);
        assert!((told - times).abs() < 0.1, "{metric} is {told}:\n{text}");
    }
    for result in ["ok", "conflict", "outcome_unknown", "unavailable"] {
        assert!(sum("interlock_store_call_seconds", result) > 0.0, "no {result}:\n{text}");
    }
}
