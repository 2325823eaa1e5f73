//! Servers that restart: what they still know, and what becomes of those who held locks.

use std::time::Duration;

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks, Swap, Version};

use crate::place::{backend, code, everywhere, expect, swap, until, until_waiting};

#[test]
fn after_a_restart_that_forgot_everything_holders_learn_it_and_nobody_hangs() {
    everywhere(&["appendonly no"], async |place| {
        let holder = Locks::builder(place.backend()).lease(Duration::from_secs(6)).build();
        let other = Locks::builder(place.backend()).lease(Duration::from_secs(6)).build();
        let held = holder.acquire("app/blog").await.unwrap();
        let also = other.acquire("mail").await.unwrap();
        let fence = held.fence().max(also.fence());
        let late = Locks::new(place.backend());
        let (granted, ()) = tokio::join!(late.acquire("app"), async {
            until_waiting(&holder).await;
            place.server.kill().unwrap();
            place.server.start_again().unwrap();
            // Nobody tells them: they find out, each by itself.
            held.lost().await;
            also.lost().await;
        });
        let granted = granted.expect("who waited is granted, or asks again");
        assert!(granted.fence() > fence, "fences go on rising");
        assert!(held.check().is_err() && also.check().is_err());
        assert!(held.verify().await.is_err());
        held.release().await.unwrap_or_default();
        granted.verify().await.expect("who comes late releases nobody else's lock");
        let again = other.acquire("mail").await.unwrap();
        assert!(again.fence() > fence);
        for locks in [holder, other, late] {
            locks.close().await.unwrap();
        }
    });
}

#[test]
fn scripts_that_were_forgotten_are_loaded_again() {
    everywhere(&[], async |place| {
        let backend = place.backend();
        let flush = || place.call::<()>(&["SCRIPT", "FLUSH"]);
        assert_eq!(backend.load().await.unwrap().version, Version::ABSENT);
        assert_eq!(swap(&backend, 0, "{}").await.unwrap(), Swap::Swapped);
        flush();
        assert_eq!(swap(&backend, 0, "{}").await.unwrap(), Swap::Conflict);
        flush();
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
        flush();
        assert_eq!(backend.load().await.unwrap().version, Version(2));
    });
}

#[test]
fn a_server_that_still_reads_its_data_is_waited_for() {
    let lines = [
        "appendonly yes",
        "appendfsync always",
        "key-load-delay 20000",
        "loading-process-events-interval-bytes 1024",
    ];
    everywhere(&lines, async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let large = "x".repeat(2000);
        for number in 0..100 {
            place.call::<()>(&["SET", &format!("other{number}"), &large]);
        }
        // What comes first in the file is read bit by bit, and clients are answered in between.
        place.call::<()>(&["BGREWRITEAOF"]);
        until("the file is written anew", async || {
            let info: String = place.call(&["INFO", "persistence"]);
            info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
        })
        .await;
        place.server.kill().unwrap();
        place.server.start_reading().unwrap();
        let (mut read, mut swapped) = (None, None);
        until("it serves", async || match backend.load().await {
            Ok(_) => true,
            Err(error) if code(&error) == Some("LOADING") => {
                read = Some(error);
                // It would not fit.
                let error = swap(&backend, 7, "{}").await.err();
                swapped = swapped.take().or(error.filter(|e| code(e) == Some("LOADING")));
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                false
            }
        })
        .await;
        expect(Err::<(), _>(read.expect("it was seen")), Kind::Unavailable, "not read all");
        expect(Err::<(), _>(swapped.expect("it was seen")), Kind::Unavailable, "not read all");
        assert_eq!(backend.load().await.unwrap().version, Version(1));
    });
}

#[test]
fn locks_survive_a_server_that_keeps_what_it_acknowledges() {
    everywhere(&["appendonly yes", "appendfsync always"], async |place| {
        let locks = Locks::new(place.backend());
        let guard = locks.acquire("app").await.unwrap();
        for _ in 0..3 {
            place.server.kill().unwrap();
            place.server.start_again().unwrap();
            guard.verify().await.unwrap();
        }
        let other = Locks::new(backend(&place.url()));
        assert!(other.try_acquire("app/blog").await.unwrap_err().is_busy());
        guard.release().await.unwrap();
        other.acquire("app/blog").await.unwrap().release().await.unwrap();
        locks.close().await.unwrap();
        other.close().await.unwrap();
    });
}
