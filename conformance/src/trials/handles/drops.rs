//! Layer 1: futures of handles that are dropped at every await: nothing leaks, nobody hangs.

use std::time::Duration;

use lock_core::{Locks, Request};

use super::{is_free, until_empty, until_waiting, within};
use crate::cut::{Cut, Gate, Gated, POLLS_MAX};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("handles":
    a_dropped_acquire_of_what_is_free,
    a_dropped_try_of_what_is_free,
    a_dropped_try_of_what_is_not,
    a_dropped_acquire_that_queues_and_is_granted,
    a_dropped_acquire_that_never_gets_its_turn,
    a_dropped_acquire_that_runs_out_of_time,
    a_dropped_acquire_of_a_sub_task,
    a_dropped_release,
    a_dropped_downgrade,
    a_dropped_question,
    a_dropped_release_by_name,
    dropped_work_under_a_lock,
    a_dropped_close,
);

/// What a case has in hand: the client whose future is dropped, another one, and where.
struct Case {
    locks: Locks,
    other: Locks,
    gate: Gate,
    cut: Cut,
}

impl Case {
    /// Runs a future up to the cut.
    async fn cut<F: Future>(&self, future: F) -> Option<F::Output> {
        self.cut.run(&self.gate, future).await
    }
}

/// Runs a case with a cut at nothing, at the first await, and so on until it comes to its end
/// before the cut. After each, everything is free, and the client can go on.
fn everywhere(scene: &Scene, case: &impl AsyncFn(&Case) -> Result<bool, Failure>) -> Verdict {
    let cuts: [fn(usize) -> Cut; 2] = [Cut::Polls, Cut::Steps];
    for cut in cuts {
        // The first step at which one can be stopped is step 1.
        let from = usize::from(matches!(cut(0), Cut::Steps(_)));
        for at in from.. {
            let cut = cut(at);
            let (backend, gate) = Gated::new(scene.backend()?);
            let case_at = Case { locks: Locks::new(backend), other: scene.locks()?, gate, cut };
            let ended = scene.block_on(async {
                let ended = within("the case", case(&case_at)).await??;
                leaves_nothing(&case_at).await?;
                Ok::<_, Failure>(ended)
            });
            scene.count("cases", 1);
            if ended.map_err(|failure| failure.at(&format!("{cut:?}")))? {
                break;
            }
            if at > POLLS_MAX {
                return Err(Failure::failed("it never comes to its end"));
            }
        }
    }
    Ok(())
}

/// Nothing is held, nobody waits, and both clients can take everything.
async fn leaves_nothing(case: &Case) -> Verdict {
    let all = || Request::exclusive("a").and_exclusive("b");
    within("what was dropped", case.other.acquire(all())).await??.release().await?;
    until_empty(&case.other).await?;
    match within("its client", case.locks.acquire(all())).await? {
        Ok(guard) => guard.release().await?,
        Err(lock_core::AcquireError::Closed) => {}
        Err(error) => return Err(error.into()),
    }
    case.locks.close().await?;
    until_empty(&case.other).await
}

fn a_dropped_acquire_of_what_is_free(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| Ok(case.cut(case.locks.acquire("a")).await.is_some()))
}

fn a_dropped_try_of_what_is_free(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| Ok(case.cut(case.locks.try_acquire("a")).await.is_some()))
}

fn a_dropped_try_of_what_is_not(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.other.acquire("a").await?;
        let ended = case.cut(case.locks.try_acquire("a")).await.is_some();
        guard.verify().await?;
        Ok(ended)
    })
}

fn a_dropped_acquire_that_queues_and_is_granted(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.other.acquire("a").await?;
        let handed = async {
            let release = async {
                until_waiting(&case.other, 1).await?;
                Ok::<_, Failure>(guard.release().await?)
            };
            tokio::try_join!(release, async { Ok(case.locks.acquire("a").await?) })
        };
        Ok(case.cut(handed).await.transpose()?.is_some())
    })
}

fn a_dropped_acquire_that_never_gets_its_turn(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.other.acquire("a").await?;
        let mut waiter = case.locks.task("waiter");
        let queued = async {
            tokio::select! {
                biased;
                granted = waiter.acquire("a") => Err(super::unexpected("no grant", &granted)),
                queued = until_waiting(&case.other, 1) => queued,
            }
        };
        let ended = case.cut(queued).await.transpose()?.is_some();
        // Who comes after it is not kept waiting by it.
        guard.downgrade().await?;
        within("who comes later", case.other.acquire(Request::shared("a")))
            .await??
            .release()
            .await?;
        guard.verify().await?;
        Ok(ended)
    })
}

fn a_dropped_acquire_that_runs_out_of_time(scene: &Scene) -> Verdict {
    const SOON: Duration = Duration::from_millis(20);
    everywhere(scene, &async |case| {
        let guard = case.other.acquire("a").await?;
        let ended = case.cut(case.locks.acquire_timeout("a", SOON)).await;
        guard.verify().await?;
        Ok(ended.is_some())
    })
}

fn a_dropped_acquire_of_a_sub_task(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let mut task = case.locks.task("task");
        let guard = task.acquire("a").await?;
        let mut step = task.subtask("step");
        let ended = case.cut(step.acquire("a/b")).await.is_some();
        guard.verify().await?;
        guard.release().await?;
        Ok(ended)
    })
}

fn a_dropped_release(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.locks.acquire(Request::exclusive("a").and_shared("b")).await?;
        // A release that is never polled drops the guard.
        Ok(case.cut(guard.release()).await.is_some())
    })
}

fn a_dropped_downgrade(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.locks.acquire("a").await?;
        let ended = case.cut(guard.downgrade()).await.is_some();
        guard.verify().await?;
        guard.downgrade().await?;
        assert!(is_free(&case.other, Request::shared("a")).await?);
        Ok(ended)
    })
}

fn a_dropped_question(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.locks.acquire("a").await?;
        let ended = case.cut(guard.verify()).await.is_some();
        guard.verify().await?;
        Ok(ended)
    })?;
    everywhere(scene, &async |case| {
        let asked = async { (case.locks.list().await, case.locks.would_block("a").await) };
        Ok(case.cut(asked).await.is_some())
    })
}

fn a_dropped_release_by_name(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let victim = case.other.task("victim").acquire("a").await?;
        let spared = case.other.task("spared").acquire("b").await?;
        let ended = case.cut(case.locks.release_task("victim")).await.is_some();
        spared.verify().await?;
        victim.release().await?;
        Ok(ended)
    })
}

fn dropped_work_under_a_lock(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let work = case.locks.with_lock("a", async |guard| {
            tokio::task::yield_now().await;
            guard.verify().await
        });
        Ok(case.cut(work).await.is_some())
    })
}

fn a_dropped_close(scene: &Scene) -> Verdict {
    everywhere(scene, &async |case| {
        let guard = case.locks.acquire("a").await?;
        drop(case.locks.acquire("b").await?);
        let ended = case.cut(case.locks.close()).await.is_some();
        drop(guard);
        Ok(ended)
    })
}
