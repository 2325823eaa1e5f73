//! What a client has sent arrives when nobody expects it any more.

use std::sync::Arc;

use lock_core::Locks;

use super::{Net, Tap, assert_clean, until, within};
use crate::proxy::Proxy;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};
use crate::worker::WorkerOptions;

/// A client that holds back its own next swap.
fn late(scene: &Scene) -> Result<(Arc<Proxy>, Arc<Tap>, Locks), Failure> {
    let server = scene.needs_server()?;
    let proxy = Arc::new(Proxy::start(server.address())?);
    let tap = Arc::new(Tap::new(scene.open(&server.spec_at(proxy.address()))?));
    Ok((proxy, tap.clone(), Locks::new(tap)))
}

fn hold_next_swap(proxy: &Arc<Proxy>, tap: &Tap) {
    let holding = proxy.clone();
    tap.before_swap(1, move || holding.hold_request(1));
}

pub(super) fn a_request_that_arrives_after_it_was_given_up_leaves_no_phantom(
    scene: &Scene,
) -> Verdict {
    for closes in [false, true] {
        for waits in [false, true] {
            let (proxy, tap, locks) = late(scene)?;
            scene.block_on(async {
                // So that the cell is there, and the client knows it.
                locks.acquire("app/blog").await?.release().await?;
                let direct = scene.locks()?;
                let held = if waits { Some(direct.acquire("app/blog").await?) } else { None };
                hold_next_swap(&proxy, &tap);
                let asking = tokio::spawn({
                    let locks = locks.clone();
                    async move { locks.acquire("app/blog").await.map(drop) }
                });
                proxy.until("a request", |counts| counts.requests_held == 1)?;
                asking.abort();
                if closes {
                    within("the end", locks.close()).await??;
                } else {
                    // Written or found to need no writing, it is done after what came before.
                    within("a turn", locks.release_task("nobody")).await??;
                }
                assert_eq!(proxy.deliver_late(), 1);
                proxy.until_late_is_answered()?;
                scene.count("faults", proxy.counts().faults());
                if let Some(held) = held {
                    held.verify().await?;
                    held.release().await?;
                }
                assert_clean(scene, "app/blog").await?;
                locks.close().await?;
                Verdict::Ok(())
            })?;
            scene.count("cases", 1);
        }
    }
    Ok(())
}

/// How often the requests of a client are gone through at most.
const PASSES_MAX: usize = 5;

pub(super) fn a_request_that_arrives_after_its_process_died_leaves_no_phantom(
    scene: &Scene,
) -> Verdict {
    scene.needs_server()?;
    let lock = "app/blog";
    let wait = std::time::Duration::from_millis(1);
    let backend = scene.backend()?;
    let version = || Ok::<_, Failure>(scene.block_on(backend.load())?.version);
    let mut applied = 0;
    let mut nth = 0;
    let mut passes = 0;
    while passes < PASSES_MAX && (passes == 0 || applied == 0) {
        nth += 1;
        let net = Net::new(scene)?;
        net.proxy.hold_request(nth);
        let mut worker = scene.worker_with(&WorkerOptions::new("late").spec(net.spec()))?;
        let asked = worker.ask(lock, None)?;
        let mut is_done = false;
        while net.proxy.counts().requests_held == 0 && !is_done {
            is_done = worker.report_within(asked, wait)?.is_some();
        }
        worker.kill()?;
        scene.count("kills", 1);
        if is_done {
            // It needs no more requests than that. Not always as many: a second pass may be needed to
            // hold the one that changes something.
            (nth, passes) = (0, passes + 1);
            continue;
        }
        let before = version()?;
        net.proxy.deliver_late();
        net.proxy.until_late_is_answered()?;
        applied += u32::from(version()? > before);
        scene.block_on(async {
            let locks = scene.locks()?;
            within("another client", locks.acquire(lock)).await??.release().await?;
            net.assert_clean(lock).await
        })?;
        scene.count("cases", 1);
    }
    assert!(applied > 0, "no change arrived after its sender was dead");
    Ok(())
}

pub(super) fn a_release_that_arrives_late_frees_nobody_else(scene: &Scene) -> Verdict {
    let (proxy, tap, locks) = late(scene)?;
    scene.block_on(async {
        let guard = locks.acquire("app/blog").await?;
        hold_next_swap(&proxy, &tap);
        within("a release", guard.release()).await??;
        assert_eq!(proxy.counts().requests_held, 1);
        let direct = scene.locks()?;
        let next = within("the next", direct.acquire("app/blog")).await??;
        assert_eq!(proxy.deliver_late(), 1);
        proxy.until_late_is_answered()?;
        scene.count("faults", proxy.counts().faults());
        next.verify().await?;
        let busy = locks.try_acquire("app/blog").await;
        assert!(busy.is_err_and(|error| error.is_busy()));
        next.release().await?;
        until("it is free", async || Ok(direct.list().await?.holds.is_empty())).await?;
        locks.close().await?;
        assert_clean(scene, "app").await
    })
}
