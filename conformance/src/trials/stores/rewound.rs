//! Stores that lose acknowledged swaps, again and again.

use std::collections::HashMap;
use std::time::Instant;

use lock_core::{AcquireError, BlockingGuard, BlockingLocks, HoldError, Snapshot, VerifyError};

use super::damaged::restore;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};

trials!("stores":
    a_version_does_not_come_again_after_acknowledged_swaps_were_lost,
    #[random] however_often_a_store_is_rewound_nobody_is_deceived,
);

/// A failover loses a swap that was answered, and its version comes again with other content: then
/// who has the lost table in memory swaps it over a table that it never saw.
fn a_version_does_not_come_again_after_acknowledged_swaps_were_lost(scene: &Scene) -> Verdict {
    let old = scene.locks()?.blocking();
    let backend = scene.backend()?;
    for _ in 0..5 {
        let kept = old.acquire("kept")?;
        let before = scene.block_on(backend.load())?;
        let gone = old.acquire("gone")?;
        restore(scene, &before)?;
        scene.count("faults", 1);
        // It knows nothing of what was lost.
        let new = scene.locks()?.blocking();
        let foreign = new.acquire("foreign")?;
        let again = new.acquire("gone")?;
        // From the table that it has in memory.
        let next = old.acquire("next")?;
        for (name, hold) in [("foreign", &foreign), ("gone", &again)] {
            hold.verify()?;
            let denied = scene.locks()?.blocking().try_acquire(name);
            assert!(denied.as_ref().is_err_and(AcquireError::is_busy), "{name}: {denied:?}");
            assert!(hold.fence() > gone.fence(), "{name}: {} again", hold.fence());
        }
        assert!(next.fence() > again.fence());
        kept.verify()?;
        assert!(matches!(gone.verify(), Err(VerifyError::Hold(HoldError::Lost))));
        assert_eq!(gone.check(), Err(HoldError::Lost));
        gone.release()?;
        again.verify()?;
        for guard in [kept, foreign, again, next] {
            guard.release()?;
        }
    }
    Ok(())
}

/// A client and what it believes to hold, by lock: with the number of restores before.
struct Player {
    locks: BlockingLocks,
    held: HashMap<usize, (BlockingGuard, usize)>,
}

fn however_often_a_store_is_rewound_nobody_is_deceived(scene: &Scene) -> Verdict {
    const LOCKS: [&str; 4] = ["a", "b", "b/c", "d"];
    let mut random = scene.random(1);
    let backend = scene.backend()?;
    let load = || scene.block_on(backend.load());
    let mut players = Vec::new();
    for _ in 0..4 {
        players.push(Player { locks: scene.locks()?.blocking(), held: HashMap::new() });
    }
    let mut dumps: Vec<Snapshot> = Vec::new();
    let (mut restores, mut fence) = (0, 0);
    for _ in 0..scene.cases(150) {
        scene.count("operations", 1);
        let (who, lock) = (random.usize(..players.len()), random.usize(..LOCKS.len()));
        match random.u8(..10) {
            0..5 if !players[who].held.contains_key(&lock) => {
                match players[who].locks.try_acquire(LOCKS[lock]) {
                    Ok(guard) => {
                        assert!(guard.fence() > fence, "{} after {fence}", guard.fence());
                        fence = guard.fence();
                        for player in &mut players {
                            expect_lost(player, LOCKS, lock, restores)?;
                        }
                        players[who].held.insert(lock, (guard, restores));
                    }
                    Err(AcquireError::Busy(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            5 | 6 => {
                if let Some((guard, _)) = players[who].held.remove(&lock) {
                    guard.release()?;
                }
            }
            7 => {
                let dump = load()?;
                if !dump.data.is_empty() {
                    dumps.push(dump);
                }
            }
            8 if !dumps.is_empty() => {
                restore(scene, &dumps[random.usize(..dumps.len())])?;
                scene.count("faults", 1);
                restores += 1;
            }
            _ => settle(&mut players[who], scene)?,
        }
    }
    for player in &mut players {
        settle(player, scene)?;
    }
    for player in players {
        player.held.into_values().try_for_each(|(guard, _)| guard.release())?;
        player.locks.close()?;
    }
    let last = scene.locks()?.blocking();
    for name in LOCKS {
        assert!(last.acquire_timeout(name, LIVENESS)?.fence() > fence);
    }
    Ok(())
}

/// Who held what somebody else got now has lost it in a restore, and learns of it.
fn expect_lost(player: &mut Player, names: [&str; 4], lock: usize, restores: usize) -> Verdict {
    let below = |one: &str, other: &str| {
        one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
    };
    let conflicts =
        |held: &usize| below(names[*held], names[lock]) || below(names[lock], names[*held]);
    for (_, (guard, since)) in player.held.extract_if(|held, _| conflicts(held)) {
        assert!(since < restores, "two hold {}", names[lock]);
        match guard.verify() {
            Err(VerifyError::Hold(HoldError::Lost)) => {}
            other => return Err(Failure::failed(format!("two hold {}: {other:?}", names[lock]))),
        }
        assert_eq!(guard.check(), Err(HoldError::Lost));
        guard.release()?;
    }
    Ok(())
}

/// What a client is told of its holds is what the store has.
fn settle(player: &mut Player, scene: &Scene) -> Verdict {
    // Whoever ends without another look leaves to its process what a restore brought back.
    player.locks.list()?;
    let other = scene.locks()?.blocking();
    let mut lost = Vec::new();
    for (lock, (guard, _)) in &player.held {
        let verified = guard.verify();
        let listed = || {
            let listing = other.list()?;
            Ok::<_, Failure>(listing.holds.iter().any(|hold| hold.id == guard.as_async().id()))
        };
        match verified {
            Ok(()) if listed()? => guard.check()?,
            Err(VerifyError::Hold(HoldError::Lost)) => {
                // It is lost for good: its client takes away what a restore brought back of it.
                let end = Instant::now() + LIVENESS;
                while listed()? {
                    assert!(Instant::now() < end, "a lost hold on {lock} stays listed");
                }
                lost.push(*lock);
            }
            other => return Err(Failure::failed(format!("lock {lock}: {other:?}"))),
        }
    }
    for lock in lost {
        player.held.remove(&lock);
    }
    Ok(())
}
