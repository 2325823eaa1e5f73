//! The server dies, is away, and comes back.

use std::time::Duration;

use lock_core::process::ProcessSet;
use lock_core::{HoldError, Reach, VerifyError};

use super::super::tools::reaching;
use super::amid::amid_load;
use super::{assert_clean, until, within};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};

pub(super) fn a_server_that_comes_up_late_is_waited_for(scene: &Scene) -> Verdict {
    let server = scene.needs_server()?;
    server.kill()?;
    let (builder, faults) = reaching(scene, Reach::Network)?;
    let locks = builder.build();
    scene.block_on(async {
        let asked = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("app/blog").await }
        });
        until("it tries twice", async || Ok(faults.loads() > 1)).await?;
        assert!(!asked.is_finished());
        server.start()?;
        scene.count("restarts", 1);
        within("the lock", asked).await???.release().await?;
        locks.close().await?;
        assert_clean(scene, "app/blog").await
    })
}

pub(super) fn a_server_that_is_killed_costs_nobody_a_lock(scene: &Scene) -> Verdict {
    let server = scene.needs_server()?;
    if !server.is_durable() {
        return Err(Failure::skipped("the server forgets what it acknowledged"));
    }
    let times = scene.cases(3);
    amid_load(scene, times, |random| {
        server.kill()?;
        std::thread::sleep(Duration::from_millis(random.u64(..100)));
        server.start()?;
        scene.count("restarts", 1);
        Ok(())
    })
}

pub(super) fn a_server_that_is_down_for_longer_than_the_lease_costs_the_lock(
    scene: &Scene,
) -> Verdict {
    let server = scene.needs_server()?;
    scene.block_on(async {
        let short = || Ok::<_, Failure>(scene.builder()?.lease(Duration::from_secs(1)));
        let locks = short()?.processes(ProcessSet::default()).build();
        let endless = scene.builder()?.no_lease().build();
        let (guard, kept) = (locks.acquire("app/blog").await?, endless.acquire("kept").await?);
        guard.check()?;
        server.kill()?;
        within("the loss", guard.lost()).await?;
        assert_eq!(guard.check(), Err(HoldError::Lost));
        // For good: nobody needs to be asked.
        let verified = guard.verify().await;
        assert!(matches!(verified, Err(VerifyError::Hold(HoldError::Lost))), "{verified:?}");
        kept.check()?; // Without a lease only the table can say that it is lost.
        let away = locks.acquire_timeout("other", Duration::from_millis(50)).await;
        assert!(away.is_err_and(|error| !error.is_busy()));
        server.start()?;
        scene.count("restarts", 1);
        if server.is_durable() {
            within("the store", async { while kept.verify().await.is_err() {} }).await?;
        }
        let direct = scene.locks()?;
        let next = within("the next", direct.acquire("app/blog")).await??;
        assert!(next.fence() > guard.fence());
        guard.release().await?; // It was lost: nothing happens to the new holder.
        next.verify().await?;
        next.release().await?;
        kept.release().await?;
        locks.close().await?;
        endless.close().await?;
        assert_clean(scene, "app").await
    })
}

/// As after a restore or a failover that forgot: fences rise, and nobody writes what they remember
/// over what has happened since.
pub(super) fn a_server_that_comes_back_with_an_older_table_repeats_no_fence(
    scene: &Scene,
) -> Verdict {
    let server = scene.needs_server()?;
    scene.block_on(async {
        let (early, late) = (scene.locks()?, scene.locks()?);
        let backend = scene.backend()?;
        early.acquire("first").await?.release().await?;
        let old = backend.load().await?;
        let lost = early.acquire("app/blog").await?;
        server.kill()?;
        let Some(restored) = scene.store().restore(&old) else {
            server.start()?;
            return Err(Failure::skipped("the suite cannot restore this store"));
        };
        restored?;
        server.start()?;
        scene.count("restarts", 1);
        // One who has never seen what was forgotten.
        let next = within("the next", late.acquire("app/blog")).await??;
        assert!(next.fence() > lost.fence(), "{} after {}", next.fence(), lost.fence());
        // One whose table is of another world.
        let other = within("an acquire", early.acquire("other")).await??;
        within("the loss", lost.lost()).await?;
        next.verify().await?;
        other.verify().await?;
        next.release().await?;
        other.release().await?;
        early.close().await?;
        late.close().await?;
        assert_clean(scene, "app").await
    })
}
