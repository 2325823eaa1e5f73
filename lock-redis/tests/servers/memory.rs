//! A server whose memory is full, and what it may throw away.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_core::{AcquireError, BackendErrorKind as Kind, LockBackend, Locks, Swap};
use lock_redis::Risk;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::place::{Place, everywhere, expect, swap, until, until_waiting};

/// Leaves the server no memory for anything.
fn fill(place: &Place) {
    place.call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
}

#[test]
fn at_maxmemory_what_is_not_larger_still_works() {
    everywhere(&[], async |place| {
        let builder = || Locks::builder(place.backend()).lease(Duration::from_secs(3));
        let (locks, other) = (builder().build(), builder().build());
        let first = locks.acquire("first").await.unwrap();
        let second = locks.acquire("second").await.unwrap();
        let waiter = other.clone();
        let waiting = tokio::spawn(async move { waiter.acquire("first").await });
        until_waiting(&locks).await;
        fill(place);
        let refused = locks.acquire("third").await.unwrap_err();
        assert!(matches!(&refused, AcquireError::Store(error) if error.is_full()), "{refused:?}");
        // Leases are renewed.
        let before = place.backend().load().await.unwrap().version;
        until("it is renewed", async || place.backend().load().await.unwrap().version > before)
            .await;
        second.verify().await.expect("a hold is not lost for it");
        // Locks are passed on, and given back.
        first.release().await.unwrap();
        waiting.await.unwrap().unwrap().release().await.unwrap();
        second.release().await.unwrap();
        assert!(locks.list().await.unwrap().holds.is_empty());
        place.call::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        locks.acquire("third").await.unwrap().release().await.unwrap();
        locks.close().await.unwrap();
        other.close().await.unwrap();
    });
}

#[test]
fn at_maxmemory_the_cell_may_shrink_and_stay_and_not_grow() {
    everywhere(&[], async |place| {
        let backend = place.backend();
        swap(&backend, 0, "12345").await.unwrap();
        fill(place);
        expect(swap(&backend, 1, "123456").await, Kind::TooLarge, "maxmemory");
        assert_eq!(swap(&backend, 0, "1").await.unwrap(), Swap::Conflict);
        assert_eq!(swap(&backend, 1, "54321").await.unwrap(), Swap::Swapped);
        assert_eq!(swap(&backend, 2, "1").await.unwrap(), Swap::Swapped);
        assert_eq!(backend.load().await.unwrap().data, b"1");
        place.call::<()>(&["DEL", "interlock:{default}"]);
        assert_eq!(swap(&backend, 3, "1").await.unwrap(), Swap::Conflict);
        expect(swap(&backend, 0, "1").await, Kind::TooLarge, "maxmemory");
    });
}

#[test]
fn who_uses_a_server_that_throws_keys_away_is_warned_once() {
    everywhere(&["maxmemory-policy allkeys-lru", "appendonly no"], async |place| {
        let said = Said::default();
        let guard = tracing::subscriber::set_default(said.clone());
        let backend = place.backend();
        backend.load().await.unwrap();
        backend.close().await;
        backend.load().await.unwrap();
        drop(guard);
        let warnings = said.0.lock().unwrap().clone();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("allkeys-lru: set noeviction"), "{warnings:?}");
        assert!(warnings[0].contains("redis://"), "{warnings:?}");
        let risks = backend.risks().await.unwrap();
        assert_eq!(risks, [Risk::Eviction("allkeys-lru".into()), Risk::NoAppendOnlyFile]);
    });
    everywhere(&["appendonly yes"], async |place| {
        assert_eq!(place.backend().risks().await.unwrap(), []);
    });
}

/// All warnings.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
