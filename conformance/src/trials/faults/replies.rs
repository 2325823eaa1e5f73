//! What the store says gets lost, or comes unasked.

use std::sync::Arc;
use std::time::Duration;

use lock_core::{AcquireError, Locks};

use super::{Net, Tap, until, within};
use crate::proxy::Then;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};

/// Faults beyond the swaps of the script find nothing to do.
const SWAPS_MAX: usize = 16;

/// The swap is made and nobody is told: at each swap of a small story in turn.
pub(super) fn a_reply_may_be_lost_at_any_swap(scene: &Scene) -> Verdict {
    let net = Arc::new(Net::new(scene)?.proxy);
    let mut random = scene.random(1);
    let mut unknown = 0;
    for nth in 1..=SWAPS_MAX {
        let then = if random.u8(..4) == 0 { Then::Silence } else { Then::Reset };
        let spec = scene.needs_server()?.spec_at(net.address());
        let tap = Arc::new(Tap::new(scene.open(&spec)?));
        let proxy = net.clone();
        tap.before_swap(nth, move || proxy.drop_reply(1, then));
        let dropped = net.counts().replies_dropped;
        let told = |failure| Failure::failed(format!("reply {nth} lost, {then:?}: {failure:?}"));
        scene.block_on(story(scene, &Locks::new(tap.clone()))).map_err(told)?;
        net.disarm();
        unknown += tap.unknown();
        scene.count("cases", 1);
        if net.counts().replies_dropped == dropped {
            break; // The story has no more swaps.
        }
    }
    scene.count("faults", net.counts().faults());
    assert!(unknown > 3, "only {unknown} swaps were in doubt");
    Ok(())
}

async fn story(scene: &Scene, locks: &Locks) -> Verdict {
    let direct = scene.locks()?;
    let one = within("an acquire", locks.acquire("app/one")).await??;
    let busy = direct.try_acquire("app/one").await;
    assert!(matches!(busy, Err(AcquireError::Busy(_))), "{busy:?}");
    let other = direct.acquire("app/two").await?;
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("app/two").await }
    });
    until("it waits once", async || Ok(direct.list().await?.waiting.len() == 1)).await?;
    let before = other.fence();
    other.release().await?;
    let two = within("the hand-off", waiting).await???;
    assert!(two.fence() > before);
    let listing = direct.list().await?;
    let fences: Vec<u64> = listing.holds.iter().map(|hold| hold.fence).collect();
    assert_eq!(fences, [one.fence(), two.fence()], "{listing:#?}");
    for guard in [&one, &two] {
        within("a verification", guard.verify()).await??;
    }
    let given_up = locks.acquire_timeout("app/one", Duration::from_millis(30)).await;
    // Where the reply to the request to wait is lost, nothing is heard of the store in so short a time.
    let in_vain = match &given_up {
        Err(AcquireError::Store(error)) => error.is_unreachable(),
        other => matches!(other, Err(AcquireError::TimedOut(_))),
    };
    assert!(in_vain, "{given_up:?}");
    within("a release", one.release()).await??;
    direct.acquire("app/one").await?.release().await?;
    within("a release", two.release()).await??;
    within("the end", locks.close()).await??;
    scene.count("operations", 7);
    direct.close().await?;
    super::assert_clean(scene, "app").await
}

/// The second in the queue looks seldom by itself, and nobody rings for what is only nearer.
pub(super) fn a_waiter_is_told_by_the_store(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    scene.needs_hints()?;
    scene.block_on(async {
        let mut holder = scene.worker("holder")?;
        let held = holder.acquire("app/blog")?;
        let tap = Arc::new(Tap::new(net.backend()?));
        let locks = Locks::builder(tap.clone()).no_bell().build();
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("app/blog").await }
        });
        let direct = scene.locks()?;
        until("it waits", async || Ok(direct.list().await?.waiting.len() == 1)).await?;
        let told = tap.told();
        holder.call(crate::worker::Order::Release(held.key))?;
        let guard = within("the hand-off", waiting).await???;
        guard.release().await?;
        // A hint may be late for this hand-off, but one comes while somebody waits.
        let held = holder.acquire("app/blog")?;
        let asked = locks.acquire_timeout("app/blog", LIVENESS);
        let helps = async {
            until("it was told", async || {
                direct.acquire("elsewhere").await?.release().await?;
                Ok(tap.told() > told)
            })
            .await?;
            holder.call(crate::worker::Order::Release(held.key))
        };
        let (asked, released) = tokio::join!(asked, helps);
        released?;
        asked?.release().await?;
        locks.close().await?;
        holder.close()?;
        direct.close().await?;
        net.assert_clean("app").await
    })
}
