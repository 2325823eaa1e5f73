//! What the driver logs of the life of a lock.
//!
//! Alone in its process: who listens in one thread may miss an event that another thread has come by first.

mod driver;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use driver::{World, until, within};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps what is logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        meta.target().starts_with("lock_core")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        use std::fmt::Write;
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_lock_is_logged() {
    let log = Log::default();
    let _default = tracing::subscriber::set_default(log.clone());
    let world = World::new();
    let (locks, _) = world.client();
    let guard = locks.task("first").acquire("a/b").await.unwrap();
    let fence = guard.fence();
    let waiting = tokio::spawn({
        let mut second = locks.task("second");
        async move { second.acquire("a").await }
    });
    world.until_waiting(1).await;
    guard.release().await.unwrap();
    let lost = waiting.await.unwrap().unwrap();
    locks.release_task("second").await.unwrap();
    lost.lost().await;
    let logged = |parts: &[&str]| {
        let lines = log.0.lock().unwrap();
        let has = |line: &String| parts.iter().all(|part| line.contains(part));
        assert!(lines.iter().any(has), "no {parts:?} in {lines:#?}");
    };
    let fence = format!("fence={fence}");
    logged(&["INFO", "message=lock granted", "task=first", "lock=a/b", &fence]);
    logged(&["INFO", "message=waiting for lock", "task=second", "lock=a"]);
    logged(&["INFO", "message=lock released", "task=first", "lock=a/b", &fence]);
    logged(&["WARN", "message=lock lost", "task=second", "lock=a", "fence="]);

    let (stranger, faults) = world.stranger();
    let held = stranger.task("gone").acquire("c").await.unwrap();
    let gone = format!("fence={}", held.fence());
    faults.set_unavailable(true);
    let (other, _) = world.stranger();
    drop(within("the takeover", other.acquire("c")).await.unwrap());
    until("it is logged", || log.0.lock().unwrap().iter().any(|l| l.contains("swept"))).await;
    logged(&["WARN", "message=lock of the dead freed", "task=gone", "lock=c", &gone]);
}
