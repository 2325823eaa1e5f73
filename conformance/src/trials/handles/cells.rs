//! Layer 1: cells that hold no table of this release: an error, never overwritten, never "unlocked".

use std::error::Error;

use lock_core::table::LockTable;
use lock_core::{
    AcquireError, LockBackend, Locks, Snapshot, StoreError, Swap, VerifyError, Version,
};

use super::{unexpected, until_empty, within};
use crate::cell::{load, put, swap};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("handles":
    an_absent_cell_is_unlocked,
    a_foreign_cell_is_never_overwritten,
    #[random] a_truncated_table_is_never_overwritten,
    a_table_that_contradicts_itself_is_never_overwritten,
    a_newer_table_is_never_overwritten,
    a_worn_out_cell_is_never_overwritten,
    a_cell_that_is_spoiled_under_a_holder_is_never_overwritten,
);

fn an_absent_cell_is_unlocked(scene: &Scene) -> Verdict {
    let locks = scene.locks()?;
    let backend = scene.backend()?;
    scene.block_on(async {
        let listing = locks.list().await?;
        assert_eq!(
            (listing.version, listing.holds.len(), listing.waiting.len()),
            (Version::ABSENT, 0, 0)
        );
        assert!(locks.would_block("a").await?.is_none());
        assert_eq!(locks.release_task("nobody").await?, 0);
        assert_eq!(load(&*backend).await?, Snapshot::default(), "asking creates nothing");
        locks.try_acquire("a").await?.release().await?;
        let cell = load(&*backend).await?;
        assert!(LockTable::decode(&cell)?.is_empty(), "what is empty is written as an empty table");
        Ok(())
    })
}

/// No client can do anything with this cell, and all leave it as it is.
async fn refused(
    scene: &Scene,
    backend: &dyn LockBackend,
    data: &[u8],
) -> Result<StoreError, Failure> {
    let cell = put(backend, data).await?;
    untouched(scene, backend, &cell).await
}

async fn untouched(
    scene: &Scene,
    backend: &dyn LockBackend,
    cell: &Snapshot,
) -> Result<StoreError, Failure> {
    let shown = cell.data[..cell.data.len().min(60)].escape_ascii();
    let refusal = async {
        let locks = scene.locks()?;
        let error = no_answer(&locks).await?;
        // It has written nothing, so it has nothing to give back.
        within("closing", locks.close()).await??;
        Ok(error)
    };
    let refusal = refusal.await.map_err(|failure: Failure| failure.at(&format!("{shown}")))?;
    assert!(load(backend).await? == *cell, "{shown} was overwritten");
    scene.count("cases", 1);
    Ok(refusal)
}

/// Everything that a client can be asked is answered by an error that says what to do.
async fn no_answer(locks: &Locks) -> Result<StoreError, Failure> {
    let errors = [
        locks.list().await.err(),
        locks.release_task("x").await.err(),
        store_error(locks.would_block("a").await)?,
        store_error(locks.try_acquire("a").await)?,
        store_error(within("an acquire", locks.acquire("a/b")).await?)?,
        store_error(locks.acquire_timeout("a", crate::LIVENESS).await)?,
    ];
    let mut last = None;
    for error in errors {
        let error = error.ok_or_else(|| Failure::failed("it was read as a table"))?;
        if !error.is_misconfigured() || error.is_unreachable() || error.is_full() {
            return Err(unexpected("an error that somebody has to act on", &error));
        }
        let text = error.to_string();
        assert!(text.starts_with(locks.store()), "it names the store: {text}");
        last = Some(error);
    }
    last.ok_or_else(|| Failure::failed("nothing was asked"))
}

fn store_error<T>(asked: Result<T, AcquireError>) -> Result<Option<StoreError>, Failure> {
    match asked {
        Ok(_) => Ok(None),
        Err(AcquireError::Store(error)) => Ok(Some(error)),
        Err(other) => Err(unexpected("an error of the store", &other)),
    }
}

fn a_foreign_cell_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let foreign: &[&[u8]] = &[
        b"",
        b"\0",
        b"{}",
        b"[]",
        b"null",
        b"0",
        b"\"interlock\"",
        b"not json",
        b"\x7f\x01{",
        br#"{"interlock":1}"#,
        br#"{"interlock":0,"clients":{},"queue":[]}"#,
        br#"{"interlock":-1,"clients":{},"queue":[]}"#,
        br#"{"interlock":"1","clients":{},"queue":[]}"#,
        br#"{"interlock":1,"clients":{},"queue":[],"more":0}"#,
        br#"{"interlock":1,"clients":{},"queue":[],"queue":[]}"#,
        br#"{"interlock":1,"clients":{},"queue":[]} x"#,
    ];
    scene.block_on(async {
        for data in foreign {
            let error = refused(scene, &*backend, data).await?;
            assert!(error.to_string().contains("left as it is"), "{error}");
        }
        Ok(())
    })
}

fn a_truncated_table_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let holder = scene.locks()?;
    let mut random = scene.random(1);
    scene.block_on(async {
        let guard = holder.task("holder").acquire("a").await?;
        let whole = load(&*backend).await?;
        let mut cuts: Vec<usize> = vec![1, whole.data.len() / 2, whole.data.len() - 1];
        cuts.extend((0..scene.cases(8)).map(|_| random.usize(1..whole.data.len())));
        for cut in cuts {
            let error = refused(scene, &*backend, &whole.data[..cut]).await?;
            assert!(error.source().is_some(), "the cause is kept");
        }
        // Put back by an operator, all is as it was.
        put(&*backend, &whole.data).await?;
        guard.verify().await?;
        guard.release().await?;
        until_empty(&holder).await
    })
}

fn a_table_that_contradicts_itself_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let holder = scene.locks()?;
    scene.block_on(async {
        let _guards = [holder.acquire("a").await?, holder.acquire("b").await?];
        let cell = load(&*backend).await?;
        let good = String::from_utf8(cell.data)?;
        // Two hold one lock; a fence that was never given out; a waiter that nobody knows of.
        let two = good.replace("\"b\"", "\"a\"");
        let fence = good.replace("\"fence\":", "\"fence\":9");
        let waiter = good.replace(
            "\"queue\":[]",
            "\"queue\":[{\"task\":\"0123456789ab.1\",\"id\":1,\"since\":1,\"locks\":{\"z\":\"x\"}}]",
        );
        for bad in [two, fence, waiter] {
            assert_ne!(bad, good);
            refused(scene, &*backend, bad.as_bytes()).await?;
        }
        Ok(())
    })
}

fn a_newer_table_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let newer: &[&[u8]] = &[
        br#"{"interlock":2,"clients":{},"queue":[]}"#,
        br#"{"interlock":99}"#,
        br#"{"holds":[{"what":["nobody",{"knows":null}]}],"interlock":3,"queue":{}}"#,
    ];
    scene.block_on(async {
        for data in newer {
            let error = refused(scene, &*backend, data).await?;
            let text = error.to_string();
            assert!(text.contains("update this program"), "it says what to do: {text}");
        }
        Ok(())
    })
}

fn a_worn_out_cell_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let locks = scene.locks()?;
    scene.block_on(async {
        let data = LockTable::new().encode();
        let last = Snapshot { version: Version::MAX, data };
        let swapped = swap(&*backend, Version::ABSENT, last.version, &last.data).await?;
        assert_eq!(swapped, Swap::Swapped);
        // It can be read, and never be written again.
        assert!(locks.list().await?.holds.is_empty());
        let error = store_error(within("an acquire", locks.acquire("a")).await?)?;
        assert!(error.is_some_and(|error| error.is_misconfigured()));
        assert_eq!(load(&*backend).await?, last);
        Ok(())
    })
}

fn a_cell_that_is_spoiled_under_a_holder_is_never_overwritten(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire("a").await?;
        let second = one.acquire("b").await?;
        let whole = load(&*backend).await?;
        let spoiled = put(&*backend, b"spoiled").await?;
        let verified = guard.verify().await;
        assert!(matches!(verified, Err(VerifyError::Store(_))), "nobody knows: {verified:?}");
        assert!(one.try_acquire("c").await.is_err());
        let released = within("the release", second.release()).await?;
        assert!(released.is_err_and(|error| error.is_misconfigured()));
        assert!(no_answer(&other).await?.is_misconfigured());
        assert_eq!(load(&*backend).await?, spoiled);
        assert!(guard.check().is_ok(), "it is not lost, as long as its lease lasts");
        // Put back by an operator, what was to be released is released, and the rest is held.
        put(&*backend, &whole.data).await?;
        within("a question", async {
            while guard.verify().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await?;
        within("what was released", other.acquire("b")).await??.release().await?;
        super::busy(other.try_acquire("a").await)?;
        guard.release().await?;
        until_empty(&other).await
    })
}
