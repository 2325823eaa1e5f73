//! Futures that are dropped at every await: nothing stays locked, nobody waits for ever.

mod driver;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use driver::{World, within};
use lock_core::testing::{Fault, Faults};
use lock_core::{Locks, Request};
use tokio::time::sleep;

const CALL: Duration = Duration::from_millis(8);
const STEP: Duration = Duration::from_millis(2);
const STEPS_MAX: u32 = 200;

/// Where a future is dropped: when it has been polled this often, or after this many steps of time.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Polls(u32),
    Steps(u32),
}

impl Cut {
    /// Whether it came to its end before that.
    async fn run<F: Future>(self, future: F) -> bool {
        let mut future = pin!(future);
        match self {
            // Polled when it is woken, as by a runtime, and dropped at once after the last poll.
            Self::Polls(count) => {
                let mut polls = 0;
                poll_fn(|context| {
                    if polls == count {
                        return Poll::Ready(false);
                    }
                    polls += 1;
                    let polled = future.as_mut().poll(context).map(|_| true);
                    if polls == count && polled.is_pending() {
                        return Poll::Ready(false);
                    }
                    polled
                })
                .await
            }
            // What is ready at the very time of the cut is not looked at.
            Self::Steps(count) => tokio::select! {
                biased;
                () = sleep(STEP * count) => false,
                _ = &mut future => true,
            },
        }
    }
}

/// Slow calls, so that there is a step before and after each.
fn slow(faults: &Faults) {
    for fault in [Fault::DelayBefore(CALL), Fault::DelayAfter(CALL)].into_iter().cycle().take(12) {
        faults.next_load(fault);
        faults.next_swap(fault);
    }
}

/// Runs the case with a cut after nothing, after one step, and so on until it comes to its end.
async fn everywhere(case: impl AsyncFn(Cut, Locks, World) -> bool) {
    let cuts: [fn(u32) -> Cut; 2] = [Cut::Polls, Cut::Steps];
    for cut in cuts {
        let mut steps = 0;
        loop {
            assert!(steps < STEPS_MAX, "it never comes to its end");
            eprintln!("{:?}", cut(steps));
            let world = World::new();
            let (locks, faults) = world.client();
            slow(&faults);
            let ended = within("the case", case(cut(steps), locks.clone(), world.clone())).await;
            world.assert_usable("a").await;
            locks.close().await.unwrap();
            world.assert_empty();
            if ended {
                break;
            }
            steps += 1;
        }
        assert!(steps > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquire_of_what_is_free() {
    everywhere(async |cut, locks, _| cut.run(locks.acquire("a")).await).await;
    everywhere(async |cut, locks, _| cut.run(locks.try_acquire("a")).await).await;
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_queues_and_is_granted() {
    everywhere(async |cut, locks, world| {
        let (other, _) = world.client();
        let guard = other.acquire("a").await.unwrap();
        let release = tokio::spawn(async move {
            sleep(Duration::from_millis(40)).await;
            drop(guard);
        });
        let ended = cut.run(locks.acquire("a")).await;
        release.await.unwrap();
        ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_runs_out_of_time() {
    everywhere(async |cut, locks, world| {
        let (other, _) = world.client();
        let _guard = other.acquire("a").await.unwrap();
        cut.run(locks.acquire_timeout("a", Duration::from_millis(25))).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release() {
    everywhere(async |cut, locks, _| {
        let guard = locks.acquire("a").await.unwrap();
        cut.run(guard.release()).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn questions_and_changes_of_a_guard() {
    everywhere(async |cut, locks, _| {
        let guard = locks.acquire("a").await.unwrap();
        cut.run(guard.verify()).await
    })
    .await;
    everywhere(async |cut, locks, _| {
        let guard = locks.acquire("a").await.unwrap();
        let ended = cut.run(guard.downgrade()).await;
        guard.downgrade().await.unwrap();
        drop(locks.acquire(Request::shared("a")).await.unwrap());
        ended
    })
    .await;
    everywhere(async |cut, locks, _| cut.run(locks.list()).await).await;
}

#[tokio::test(start_paused = true)]
async fn work_under_a_lock() {
    everywhere(async |cut, locks, _| {
        let work = locks.with_lock("a", async |guard| {
            sleep(5 * STEP).await;
            guard.check().unwrap();
        });
        cut.run(work).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_by_name() {
    everywhere(async |cut, locks, _| {
        let guard = locks.task("victim").acquire("a").await.unwrap();
        let ended = cut.run(locks.release_task("victim")).await;
        drop(guard);
        ended
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close() {
    everywhere(async |cut, locks, _| {
        let _guard = locks.acquire("a").await.unwrap();
        cut.run(locks.close()).await || locks.close().await.is_err()
    })
    .await;
}
