//! Whose turn it is: two clients at a time, and nobody is stopped by one that does not go on.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use lock_core::{LockBackend, Locks, Swap, Version};
use lock_mysql::MySqlBackend;
use tokio::time::{Duration, timeout};

use crate::place::{everywhere, run_on, swap, until};

/// How long a statement may take to be seen, before it is taken for one that was not sent. Well below what
/// a backend gives it.
const PATIENCE: Duration = Duration::from_secs(1);

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

async fn has_turn(backend: &MySqlBackend) -> bool {
    backend.load_in_turn().await.unwrap().is_some()
}

/// Who asks for a free turn gets it, if not at once: a server that is slow to look refuses it.
async fn takes_turn(backend: &MySqlBackend) {
    until("it has its turn", async || has_turn(backend).await).await;
}

#[test]
fn two_are_in_turn_and_the_next_is_when_one_of_them_ends() {
    everywhere(async |place| {
        let [one, two, three, four] = [(); 4].map(|()| place.backend());
        swap(&one, 0, "{}").await.unwrap();
        takes_turn(&one).await;
        takes_turn(&two).await;
        assert!(!has_turn(&three).await, "both turnstiles are taken");
        // Another cell has turnstiles of its own.
        let apart = [(); 2].map(|()| place.backend_with("namespace=other"));
        takes_turn(&apart[0]).await;
        takes_turn(&apart[1]).await;
        one.end_turn().await;
        takes_turn(&three).await; // One is free.
        assert!(!has_turn(&four).await, "it is taken again");
        // A swap ends it, unless somebody out of turn was faster.
        assert_eq!(swap(&two, 1, "{}").await.unwrap(), Swap::Swapped);
        assert_eq!(swap(&three, 1, "{}").await.unwrap(), Swap::Conflict);
        takes_turn(&four).await; // One is free.
        assert!(!has_turn(&two).await, "both are taken");
        three.close().await;
        takes_turn(&two).await; // It ends with its connection at the latest.
    });
}

/// Else the next one would read what the swap is about to replace.
#[test]
fn a_swap_keeps_its_turn_until_it_has_the_row() {
    everywhere(async |place| {
        if place.text("SELECT VERSION()", 0).await.contains("MariaDB") {
            return; // Who has no turn there waits for the row as well.
        }
        let [one, two, three] = [(); 3].map(|()| place.backend());
        swap(&one, 0, "{}").await.unwrap();
        takes_turn(&one).await;
        takes_turn(&two).await;
        let mut stranger = place.connect().await;
        run_on(&mut stranger, "BEGIN").await;
        run_on(&mut stranger, "SELECT * FROM interlock FOR UPDATE").await;
        let mut watcher = place.watcher().await;
        three.load().await.unwrap(); // Connected by now: the swap waits for two seconds.
        let (swapped, ()) = tokio::join!(swap(&one, 1, "{}"), async {
            watcher.until_busy("UPDATE `interlock` SET%").await;
            // If one of them let it through, it would wait for the row as well, and longer than the swap
            // is given time to.
            assert!(!has_turn(&three).await, "both are in their turns");
            run_on(&mut stranger, "ROLLBACK").await;
        });
        assert_eq!(swapped.unwrap(), Swap::Swapped);
    });
}

#[test]
fn whoever_is_paused_in_its_turn_stops_nobody() {
    everywhere(async |place| {
        let paused = [(); 2].map(|()| place.backend());
        swap(&paused[0], 0, "{\"format\":1}").await.unwrap();
        place.run(&["DELETE FROM interlock"]).await;
        takes_turn(&paused[0]).await;
        takes_turn(&paused[1]).await;
        let crowd: Vec<Locks> = (0..4).map(|_| Locks::new(place.backend())).collect();
        let mut work = tokio::task::JoinSet::new();
        for (index, locks) in crowd.iter().cloned().enumerate() {
            work.spawn(async move {
                for _ in 0..10 {
                    locks.acquire(format!("own/{index}")).await.unwrap().release().await.unwrap();
                }
            });
        }
        work.join_all().await;
        for locks in crowd {
            locks.close().await.unwrap();
        }
        let late = place.backend();
        assert!(!has_turn(&late).await, "they were in their turns all the time");
    });
}

/// A table of some megabytes does not fit into what the kernel keeps for a client that takes nothing, so
/// that the statement lasts. The servers give the lock of a row that was found by its key back before.
#[test]
fn whoever_is_paused_while_a_large_table_is_sent_to_it_locks_no_row() {
    everywhere(async |place| {
        let [paused, other] = [(); 2].map(|()| place.backend());
        swap(&other, 0, "{}").await.unwrap();
        paused.load().await.unwrap(); // It is connected, and knows nothing of what comes.
        // Not by a backend, which gives up where a disk takes long for that.
        place.run(&["UPDATE interlock SET version = 2, data = REPEAT(' ', 8 << 20)"]).await;
        let mut watcher = place.watcher().await;
        let mut load = Box::pin(paused.load_in_turn());
        // Polled as often as it takes to ask, and never after that.
        while watcher.busy("%CRC32(data)%").await.is_empty() {
            assert!(poll_once(load.as_mut()).await.is_pending(), "it was sent before it was seen");
            let _ = timeout(PATIENCE, watcher.until_busy("%CRC32(data)%")).await;
        }
        assert_eq!(swap(&other, 2, "{}").await.unwrap(), Swap::Swapped);
        assert!(!watcher.busy("%CRC32(data)%").await.is_empty(), "it was all sent");
    });
}

#[test]
fn whose_rival_takes_long_reads_what_was_there_before() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        takes_turn(&backend).await;
        let mut stranger = place.connect().await;
        run_on(&mut stranger, "BEGIN").await;
        run_on(&mut stranger, "UPDATE interlock SET version = 2").await;
        assert_eq!(backend.load().await.unwrap().version, Version(1));
        run_on(&mut stranger, "COMMIT").await;
        assert_eq!(swap(&backend, 2, "{}").await.unwrap(), Swap::Swapped);
    });
}

#[test]
fn a_row_that_somebody_has_locked_gives_no_turn_but_can_be_read() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let mut stranger = place.connect().await;
        run_on(&mut stranger, "BEGIN").await;
        run_on(&mut stranger, "SELECT * FROM interlock FOR UPDATE").await;
        assert!(!has_turn(&backend).await, "the row cannot be read in turn");
        assert_eq!(backend.load().await.unwrap().data, b"{}");
        run_on(&mut stranger, "ROLLBACK").await;
        let [one, two] = [(); 2].map(|()| place.backend());
        takes_turn(&one).await;
        takes_turn(&two).await;
    });
}
