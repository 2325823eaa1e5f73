//! Layer 1: the obligations of `LockBackend`.

use lock_core::{LockBackend, Snapshot, Swap, Version};

use crate::scene::Scene;
use crate::trial::{Verdict, trials};

trials!("contract": a_cell_is_absent_created_once_and_swapped_from_its_version,
    a_worker_holds_a_lock_until_it_is_killed);

fn a_cell_is_absent_created_once_and_swapped_from_its_version(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        assert_eq!(one.load().await?, Snapshot::default());
        assert_eq!(one.compare_and_swap(Version(0), Version(5), b"first").await?, Swap::Swapped);
        assert_eq!(other.compare_and_swap(Version(0), Version(6), b"x").await?, Swap::Conflict);
        assert_eq!(other.load().await?, Snapshot { version: Version(5), data: b"first".into() });
        Ok(())
    })
}

fn a_worker_holds_a_lock_until_it_is_killed(scene: &Scene) -> Verdict {
    let mut worker = scene.worker("holder")?;
    let hold = worker.acquire("app/blog")?;
    assert!(hold.fence > 0);
    let locks = scene.locks()?.blocking();
    assert!(locks.try_acquire("app/blog").unwrap_err().is_busy());
    worker.kill()?;
    locks.acquire("app/blog")?.release()?;
    Ok(())
}
