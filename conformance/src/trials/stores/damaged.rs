//! Cells and stores that are damaged under living clients, and repaired.

use std::time::Duration;

use lock_core::{AcquireError, BlockingLocks, Locks, Snapshot, StoreError, VerifyError, Version};
use serde_json::{Value, json};

use super::super::tools::{holds, until};
use crate::fixture::Damage;
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("stores":
    a_damaged_cell_is_an_error_and_left_as_it_is,
    a_truncated_store_is_an_error_until_it_is_repaired,
    a_store_of_noise_is_an_error_until_it_is_repaired,
    a_store_of_another_program_is_an_error_until_it_is_repaired,
    a_store_of_a_newer_release_is_an_error_until_it_is_repaired,
    a_store_that_refuses_writes_is_an_error_until_it_is_repaired,
    a_store_without_room_is_an_error_until_it_is_repaired,
);

/// How long to wait for a store that may come back.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a store must not be taken for, made of a good cell.
fn bad_cells(good: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut stranger: Value = serde_json::from_slice(good)?;
    let nobody = json!({"task": "0000000000ff.5", "id": 9, "since": 9, "locks": {"app": "x"}});
    stranger["queue"] = json!([nobody]);
    let mut zero: Value = serde_json::from_slice(good)?;
    zero["interlock"] = json!(0);
    Ok(vec![
        good[..good.len() / 2].to_vec(),
        Vec::new(),
        b"\0garbage".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        good.repeat(2),
        serde_json::to_vec(&stranger)?,
        serde_json::to_vec(&zero)?,
    ])
}

fn a_damaged_cell_is_an_error_and_left_as_it_is(scene: &Scene) -> Verdict {
    let holder = scene.locks()?.blocking();
    let guard = holder.task("holder").acquire("app/blog")?;
    let backend = scene.backend()?;
    let load = || scene.block_on(backend.load());
    let mut clients = Vec::new();
    for bad in bad_cells(&load()?.data)? {
        // Else the cell that is put back below may bring back one that has just been withdrawn.
        until("nobody waits", || holder.list().is_ok_and(|listing| listing.waiting.is_empty()));
        let waiter = scene.locks()?.blocking();
        clients.push(waiter.clone()); // Its driver takes back what waits, when it can.
        let waiting = std::thread::spawn({
            let waiter = waiter.clone();
            move || waiter.acquire("app/blog")
        });
        until("it waits", || holder.list().is_ok_and(|listing| listing.waiting.len() == 1));
        let good = load()?;
        let bad = Snapshot { version: Version(good.version.0 + 1), data: bad };
        restore(scene, &bad)?;
        let fresh = scene.locks()?.blocking();
        refuses(&fresh)?;
        let error = waiting.join().expect("it does not panic").unwrap_err();
        assert!(matches!(&error, AcquireError::Store(e) if e.is_misconfigured()), "{error}");
        guard.check()?;
        match guard.verify() {
            Err(VerifyError::Store(error)) => assert!(error.is_misconfigured(), "{error}"),
            other => return Err(Failure::failed(format!("verified in a bad cell: {other:?}"))),
        }
        assert_eq!(load()?, bad, "it was overwritten");

        restore(scene, &Snapshot { version: Version(bad.version.0 + 1), ..good })?;
        guard.verify()?;
        assert!(fresh.try_acquire("app/blog").unwrap_err().is_busy());
        let free = fresh.try_acquire("free")?;
        assert!(free.fence() > bad.version.0);
        free.release()?;
        scene.count("faults", 1);
    }
    guard.release()?;
    holder.acquire("app/blog")?.release()?;
    Ok(())
}

/// Every way to use locks is refused, in words that name the store.
pub(super) fn refuses(locks: &BlockingLocks) -> Verdict {
    let store = |result: Result<(), AcquireError>| match result {
        Err(AcquireError::Store(error)) => Ok(error),
        Err(other) => Err(Failure::failed(format!("not an error of the store: {other}"))),
        Ok(()) => Err(Failure::failed("granted by a store that cannot be used")),
    };
    let errors = [
        store(locks.try_acquire("app/blog").map(drop))?,
        store(locks.acquire("free").map(drop))?,
        store(locks.would_block("free").map(drop))?,
        gone(locks.list())?,
        gone(locks.release_task("holder"))?,
    ];
    for error in errors {
        assert!(error.is_misconfigured() && !error.is_unreachable(), "{error:?}");
        assert!(error.to_string().contains(locks.as_async().store()), "names nothing: {error}");
    }
    Ok(())
}

fn gone<T>(result: Result<T, StoreError>) -> Result<StoreError, Failure> {
    result.err().ok_or_else(|| Failure::failed("answered by a store that cannot be used"))
}

pub(super) fn restore(scene: &Scene, cell: &Snapshot) -> Verdict {
    let none = || Err(Failure::skipped("the suite cannot restore a cell of this store"));
    scene.store().restore(cell).unwrap_or_else(none)
}

fn a_truncated_store_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::Truncated)
}

fn a_store_of_noise_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::Garbage)
}

fn a_store_of_another_program_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::Foreign)
}

fn a_store_of_a_newer_release_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::Newer)
}

fn a_store_that_refuses_writes_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::ReadOnly)
}

fn a_store_without_room_is_an_error_until_it_is_repaired(scene: &Scene) -> Verdict {
    damaged(scene, Damage::Full)
}

fn damaged(scene: &Scene, how: Damage) -> Verdict {
    // Some stores are misconfigured then, others are waited for.
    let here = scene.builder()?.store_patience(PATIENCE).build().blocking();
    let guard = here.task("holder").acquire("kept")?;
    let mut holder = scene.worker("holder")?;
    let held = holder.acquire("app/blog")?;
    let damage = || Err(Failure::skipped(format!("the suite cannot make this store {how:?}")));
    scene.store().damage(how).unwrap_or_else(damage)?;
    scene.count("faults", 1);

    // Some stores say it when they are opened, some when they are used.
    let readable = matches!(how, Damage::ReadOnly | Damage::Full);
    match scene.open(&scene.store().spec()) {
        Err(error) => names(&error.to_string(), here.as_async().store()),
        Ok(backend) => {
            let fresh = Locks::builder(backend).store_patience(PATIENCE).build().blocking();
            match fresh.try_acquire("free") {
                Err(AcquireError::Store(error)) => {
                    assert_eq!(error.is_full(), how == Damage::Full, "{error:?}");
                    names(&error.to_string(), here.as_async().store());
                }
                other => return Err(Failure::failed(format!("{how:?}: {other:?}"))),
            }
            if !readable {
                refuses(&fresh)?;
            }
        }
    }
    match here.try_acquire("free") {
        Err(AcquireError::Store(error)) => names(&error.to_string(), here.as_async().store()),
        other => return Err(Failure::failed(format!("{how:?}: {other:?}"))),
    }
    guard.check()?;
    assert!(readable || matches!(guard.verify(), Err(VerifyError::Store(_))));

    scene.store().repair()?;
    guard.verify()?;
    holds(&mut holder, held.key)?;
    let fresh = scene.locks()?.blocking();
    for name in ["kept", "app/blog"] {
        assert!(fresh.try_acquire(name).unwrap_err().is_busy(), "{name}");
    }
    assert!(fresh.try_acquire("free")?.fence() > held.fence.max(guard.fence()));
    guard.release()?;
    holder.close()?;
    fresh.try_acquire("kept")?.release()?;
    fresh.try_acquire("app/blog")?.release()?;
    Ok(())
}

/// An error names the store: as it describes itself, or where it is.
pub(super) fn names(error: &str, store: &str) {
    let place = store.split_once(':').map_or(store, |(_, place)| place);
    assert!(error.contains(store) || error.contains(place), "{store} is not named: {error}");
}
