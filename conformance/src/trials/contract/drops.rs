//! Layer 1: calls whose futures are dropped, at every await, leave a backend that works.

use std::pin::pin;

use lock_core::{BackendErrorKind, LockBackend, Snapshot, Swap, Version};

use crate::cell::{load, put, swap};
use crate::cut::{POLLS_MAX, polled};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("contract":
    a_dropped_load_changes_nothing,
    a_dropped_swap_is_applied_or_not_and_never_torn,
    a_dropped_hint_changes_nothing,
);

fn a_dropped_load_changes_nothing(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        let mut cell = put(&*one, b"cell").await?;
        for polls in 0..POLLS_MAX {
            let ended = polled(one.load(), polls).await.is_some();
            assert_eq!(load(&*one).await?, cell, "after {polls} polls");
            assert!(polled(one.load(), polls).await.is_none_or(|read| read.is_ok()));
            cell = put(&*one, format!("after {polls} polls").as_bytes()).await?;
            assert_eq!(load(&*other).await?, cell);
            scene.count("cases", 1);
            if ended {
                return Ok(());
            }
        }
        Err(Failure::failed("a load never ends"))
    })
}

fn a_dropped_swap_is_applied_or_not_and_never_torn(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    // Large enough not to go out in one piece.
    let (old, new) = (vec![b'o'; 100_000], vec![b'n'; 100_001]);
    scene.block_on(async {
        for polls in 0..POLLS_MAX {
            let before = put(&*one, &old).await?;
            let after = Snapshot { version: Version(before.version.0 + 1), data: new.clone() };
            let sent = one.compare_and_swap(before.version, after.version, &after.data);
            let answer = polled(sent, polls).await;
            let is_either = |cell: &Snapshot| *cell == before || *cell == after;
            for backend in [&one, &other, &one] {
                assert!(is_either(&load(&**backend).await?), "torn after {polls} polls");
            }
            if let Some(answer) = &answer {
                let swapped = matches!(answer, Ok(Swap::Swapped));
                let busy = answer.as_ref().is_err_and(|e| e.kind() == BackendErrorKind::Busy);
                assert!(swapped || busy, "{answer:?}");
            }
            // Nothing that arrives late comes through what was swapped since.
            let settled = settle(&*other, &before, &after).await?;
            assert_eq!(load(&*one).await?, settled);
            assert_eq!(load(&*other).await?, settled);
            scene.count("cases", 1);
            if answer.is_some() {
                return Ok(());
            }
        }
        Err(Failure::failed("a swap never ends"))
    })
}

/// Swaps from what is there: the old cell, or the new one.
async fn settle(
    backend: &dyn LockBackend,
    before: &Snapshot,
    after: &Snapshot,
) -> Result<Snapshot, Failure> {
    let next = Version(after.version.0 + 1);
    for expected in [before, after] {
        if swap(backend, expected.version, next, b"settled").await? == Swap::Swapped {
            return Ok(Snapshot { version: next, data: b"settled".into() });
        }
    }
    Err(Failure::failed("the cell is neither old nor new"))
}

fn a_dropped_hint_changes_nothing(scene: &Scene) -> Verdict {
    const HINTS: usize = 20;
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        for polls in (0..4).cycle().take(HINTS) {
            let seen = put(&*one, b"seen").await?;
            // Not waited for between polls, since it may never be woken.
            {
                let mut hint = pin!(one.changed(seen.version));
                for _ in 0..polls {
                    if let Some(told) = futures_util::FutureExt::now_or_never(&mut hint) {
                        told?;
                        break;
                    }
                }
                let moved = put(&*other, b"moved").await?;
                assert_eq!(load(&*one).await?, moved);
            }
            let last = put(&*one, b"last").await?;
            assert_eq!(load(&*other).await?, last);
            scene.count("cases", 1);
        }
        Ok(())
    })
}
