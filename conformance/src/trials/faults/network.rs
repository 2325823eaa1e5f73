//! The network is slow, silent, or breaks off.

use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use futures_util::future::try_join_all;
use lock_core::process::ProcessSet;
use lock_core::{AcquireError, BackendError, LockBackend, Version};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::{Net, assert_clean, until, within};
use crate::proxy::Direction;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};

/// Shorter than any sensible limit of a call.
const SLOW: Duration = Duration::from_millis(300);

pub(super) fn a_slow_network_only_takes_longer(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    for direction in Direction::BOTH {
        net.proxy.delay(direction, Duration::from_millis(15));
    }
    scene.count("faults", 2);
    scene.block_on(async {
        let (one, other) = (net.builder()?.build(), net.builder()?.build());
        let guard = within("an acquire", one.acquire("app/blog")).await??;
        let denied = within("a try", other.try_acquire("app/blog")).await?;
        assert!(matches!(denied, Err(AcquireError::Busy(_))), "{denied:?}");
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { other.acquire("app/blog").await }
        });
        until("it waits", async || Ok(one.list().await?.waiting.len() == 1)).await?;
        let first = guard.fence();
        guard.verify().await?;
        guard.release().await?;
        let second = within("the hand-off", waiting).await???;
        assert!(second.fence() > first);
        second.release().await?;
        one.close().await?;
        other.close().await?;
        net.assert_clean("app").await
    })
}

pub(super) fn a_black_hole_to_the_server_is_noticed_and_recovered_from(scene: &Scene) -> Verdict {
    black_hole(scene, Direction::ToServer)
}

pub(super) fn a_black_hole_to_the_client_is_noticed_and_recovered_from(scene: &Scene) -> Verdict {
    black_hole(scene, Direction::ToClient)
}

/// While nothing is heard of the store nobody is told that a lock is busy, or free.
fn black_hole(scene: &Scene, direction: Direction) -> Verdict {
    const SHORT: Duration = Duration::from_millis(50);
    let net = Net::new(scene)?;
    scene.block_on(async {
        let direct = scene.locks()?;
        let busy = direct.acquire("busy").await?;
        let locks = net.builder()?.store_patience(Duration::from_millis(700)).build();
        let held = locks.acquire("held").await?;
        let queued = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("busy").await }
        });
        // Its own account: it knows that it is in the queue.
        until("it waits", async || Ok(locks.list().await?.waiting.len() == 1)).await?;

        net.proxy.stall(direction);
        let (tried, timed, listed, verified) = within("an answer", async {
            tokio::join!(
                locks.try_acquire("busy"),
                locks.acquire_timeout("free", SHORT),
                locks.list(),
                held.verify(),
            )
        })
        .await?;
        for refused in [tried, timed] {
            let unreachable =
                matches!(&refused, Err(AcquireError::Store(error)) if error.is_unreachable());
            assert!(unreachable, "{refused:?}");
        }
        assert!(listed.is_err_and(|error| error.is_unreachable()));
        assert!(verified.is_err());
        held.check()?; // Its lease is long.
        assert!(!queued.is_finished());

        net.proxy.heal();
        let timed = within("the store", async {
            loop {
                match locks.acquire_timeout("busy", SHORT).await {
                    Err(AcquireError::Store(_)) => {}
                    other => return other,
                }
            }
        });
        let timed = timed.await?;
        assert!(matches!(timed, Err(AcquireError::TimedOut(_))), "{timed:?}");
        held.verify().await?;
        busy.release().await?;
        within("the hand-off", queued).await???.release().await?;
        held.release().await?;
        until("what was given up is taken back", async || {
            let left = direct.list().await?;
            Ok(left.holds.is_empty() && left.waiting.is_empty())
        })
        .await?;
        locks.close().await?;
        net.assert_clean("busy").await
    })
}

/// Also while connecting, and without anybody who wants less.
pub(super) fn a_call_of_which_nothing_is_heard_ends(scene: &Scene) -> Verdict {
    /// Some seconds: a call must end long before a lease does, which is 60 s.
    const LIMIT: Duration = Duration::from_secs(15);
    let ends = |what, ended: Result<Result<(), BackendError>, Elapsed>| match ended {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(())) => Err(Failure::failed(format!("{what} succeeds without the store"))),
        Err(_) => Err(Failure::failed(format!("{what} has not ended after {LIMIT:?}"))),
    };
    let cases = Direction::BOTH.into_iter().flat_map(|way| [(way, true), (way, false)]);
    let cases = cases.map(|(direction, is_connected)| async move {
        let net = Net::new(scene)?;
        let backend = net.backend()?;
        let cell = scene.backend()?.load().await?;
        let later = Version(cell.version.0 + 1);
        if is_connected {
            backend.load().await?;
        }
        net.proxy.stall(direction);
        scene.count("faults", 1);
        let swap = backend.compare_and_swap(cell.version, later, b"");
        let swapped = timeout(LIMIT, swap.map_ok(drop)).await;
        ends("a swap", swapped)?;
        let loaded = timeout(LIMIT, backend.load().map_ok(drop)).await;
        ends("a load", loaded)
    });
    // Each takes as long as the store's own limits.
    scene.block_on(try_join_all(cases)).map(drop)
}

pub(super) fn connections_may_be_reset_at_any_time(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    let rounds = scene.cases(30);
    scene.block_on(async {
        let locks = net.builder()?.build();
        let began = Instant::now();
        let steady = locks.acquire("steady").await?;
        // Some conversations of every store must have the time to begin.
        let pause = (began.elapsed() * 6).max(Duration::from_millis(30));
        let mut random = scene.random(1);
        let resets = async {
            loop {
                tokio::time::sleep(pause.mul_f64(random.f64())).await;
                net.proxy.reset();
            }
        };
        let work = async {
            let mut last = 0;
            for _ in 0..rounds {
                let guard = within("an acquire", locks.acquire("app/blog")).await??;
                assert!(guard.fence() > last, "{} after {last}", guard.fence());
                last = guard.fence();
                guard.check()?;
                guard.release().await?;
            }
            Verdict::Ok(())
        };
        tokio::select! {
            done = work => done?,
            () = resets => {}
        }
        scene.count("operations", rounds * 2);
        steady.verify().await?;
        locks.close().await?;
        net.assert_clean("app").await
    })
}

pub(super) fn a_conversation_may_be_cut_anywhere(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    let mut random = scene.random(1);
    converse(&net)?;
    let before = net.proxy.counts().bytes;
    converse(&net)?;
    let after = net.proxy.counts().bytes;
    for direction in Direction::BOTH {
        let length = after[direction as usize] - before[direction as usize];
        let cases = scene.cases(16).min(length);
        let step = length.div_ceil(cases);
        for at in (random.usize(..step)..length).step_by(step) {
            net.proxy.cut_next(direction, at);
            let told = |failure| Failure::failed(format!("cut {direction:?} at {at}: {failure:?}"));
            converse(&net).map_err(told)?;
            scene.count("cases", 1);
        }
    }
    assert!(net.proxy.counts().cuts > 0);
    scene.block_on(net.assert_clean("app"))
}

/// A client of its own that takes a lock and gives it back.
fn converse(net: &Net<'_>) -> Verdict {
    net.scene.block_on(async {
        let locks = net.builder()?.build();
        let guard = within("an acquire", locks.acquire("app/blog")).await??;
        within("a verification", guard.verify()).await??;
        let listing = net.scene.locks()?.list().await?;
        assert!(listing.holds.len() == 1 && listing.waiting.is_empty(), "{listing:#?}");
        within("a release", guard.release()).await??;
        within("the end", locks.close()).await??;
        net.scene.count("operations", 2);
        assert_clean(net.scene, "app/blog").await
    })
}

/// The lease counts from before the renewal was sent: who sees it lapse from outside never holds at
/// the same time.
pub(super) fn a_holder_whose_renewals_are_answered_late_gives_up_in_time(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    scene.block_on(async {
        // Nobody can tell whether it lives, but by its lease.
        let nowhere = ProcessSet::default();
        let locks = net.builder()?.lease(Duration::from_secs(1)).processes(nowhere).build();
        let guard = locks.acquire("app/blog").await?;
        let (direct, watcher) = (scene.locks()?, scene.backend()?);
        let waiting = tokio::spawn(async move { direct.acquire("app/blog").await });
        // The holder has seen the queue, and so loses no race when it renews.
        until("it waits", async || Ok(locks.list().await?.waiting.len() == 1)).await?;
        net.proxy.delay(Direction::ToClient, SLOW);
        // Nobody else writes: the next version is the renewal, whose answer is on its way.
        renewed(&*watcher).await?;
        net.proxy.stall(Direction::ToServer);
        let other = within("the takeover", waiting).await???;
        let still = guard.check();
        assert!(still.is_err(), "two holders: the old one has {:?} left", guard.remaining());
        within("the loss", guard.lost()).await?;
        other.verify().await?;
        net.proxy.heal();
        guard.release().await?;
        other.verify().await?;
        other.release().await?;
        locks.close().await?;
        net.assert_clean("app").await
    })
}

/// Waits for the next change of the cell.
async fn renewed(backend: &dyn LockBackend) -> Verdict {
    let before: Version = backend.load().await?.version;
    until("a renewal", async || Ok(backend.load().await?.version != before)).await
}
