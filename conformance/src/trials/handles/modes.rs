//! Layer 1: modes, the hierarchy of names, and sets that are granted all or nothing.

use lock_core::{Guard, Locks, Mode, Request};

use super::{busy, is_free, until_empty, until_waiting, within};
use crate::scene::Scene;
use crate::trial::{Verdict, trials};

trials!("handles":
    two_modes_fit_on_one_name_above_and_below,
    a_limit_lets_in_so_many,
    the_smallest_limit_of_all_counts,
    a_lock_covers_what_is_below_it_and_nothing_beside_it,
    a_set_is_granted_all_or_nothing,
    a_set_is_looked_at_as_a_whole,
    #[random] sets_in_opposite_order_never_hang,
    a_downgrade_lets_in_who_fits_then,
    fences_rise_with_every_hold_that_conflicts,
);

const MODES: [Mode; 4] = [Mode::Exclusive, Mode::Shared, Mode::Limit(2), Mode::Limit(3)];

fn request(name: &str, mode: Mode) -> Request {
    match mode {
        Mode::Exclusive => Request::exclusive(name),
        Mode::Limit(holders) => Request::limit(name, holders),
        Mode::Shared => Request::shared(name),
    }
}

fn two_modes_fit_on_one_name_above_and_below(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        for held in MODES {
            let guard = one.acquire(request("box/part", held)).await?;
            for asked in MODES {
                // Two may be together unless one of them is to be alone, at any distance.
                let fits = held != Mode::Exclusive && asked != Mode::Exclusive;
                for name in ["box/part", "box", "box/part/x", "box/part/x/y/z"] {
                    let free = is_free(&other, request(name, asked)).await?;
                    assert_eq!(free, fits, "{held} on box/part, then {asked} on {name}");
                    let blocked = other.would_block(request(name, asked)).await?.is_some();
                    assert_eq!(blocked, !fits, "{asked} on {name} would block");
                    scene.count("cases", 1);
                }
                assert!(is_free(&other, request("box/other", asked)).await?);
            }
            guard.release().await?;
        }
        Ok(())
    })
}

fn a_limit_lets_in_so_many(scene: &Scene) -> Verdict {
    let clients = [scene.locks()?, scene.locks()?];
    scene.block_on(async {
        for limit in [1, 2, 5] {
            let mut guards = Vec::new();
            for holder in 0..limit {
                let locks = &clients[usize::from(holder % 2 == 0)];
                guards.push(locks.try_acquire(Request::limit("a", limit)).await?);
            }
            for locks in &clients {
                let denial = busy(locks.try_acquire(Request::limit("a", limit)).await)?;
                assert_eq!(denial.blockers.len(), guards.len(), "all of them are named");
            }
            // One goes, one comes, and no more.
            guards.remove(guards.len() / 2).release().await?;
            guards.push(clients[0].try_acquire(Request::limit("a", limit)).await?);
            busy(clients[1].try_acquire(Request::limit("a", limit)).await)?;
            for guard in guards {
                guard.release().await?;
            }
        }
        Ok(())
    })
}

fn the_smallest_limit_of_all_counts(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        // Two tolerate any number, one tolerates three: there are three.
        let mut guards = Vec::new();
        for asked in [Request::shared("a"), Request::limit("a", 3), Request::shared("a")] {
            guards.push(one.acquire(asked).await?);
        }
        busy(other.try_acquire(Request::shared("a")).await)?;
        busy(other.try_acquire(Request::limit("a", 9)).await)?;
        guards.remove(1).release().await?;
        // Now nobody minds, but who asks may.
        busy(other.try_acquire(Request::limit("a", 2)).await)?;
        assert!(is_free(&other, Request::limit("a", 3)).await?);
        assert!(is_free(&other, Request::shared("a")).await?);
        drop(guards);
        until_empty(&one).await
    })
}

fn a_lock_covers_what_is_below_it_and_nothing_beside_it(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let blog = one.acquire("app/blog").await?;
        for apart in
            ["app/blogger", "app/blo", "app/Blog", "blog", "app/blog-2", "ap", "b/app/blog"]
        {
            assert!(is_free(&other, apart).await?, "{apart} has nothing to do with app/blog");
        }
        for near in ["app", "app/blog", "app/blog/db", "app/blog/db/x"] {
            let denial = busy(other.try_acquire(near).await)?;
            assert_eq!(denial.blockers[0].lock.as_str(), "app/blog", "asked for {near}");
        }
        let blogger = other.acquire("app/blogger").await?;
        blog.release().await?;
        // The whole waits for each part that is left.
        let denial = busy(one.try_acquire("app").await)?;
        assert_eq!(denial.blockers[0].lock.as_str(), "app/blogger");
        blogger.release().await?;
        let whole = one.acquire("app").await?;
        for part in ["app/blog", "app/blogger", "app/any/thing"] {
            busy(other.try_acquire(part).await)?;
        }
        whole.release().await?;
        Ok(())
    })
}

fn a_set_is_granted_all_or_nothing(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    let set = Request::exclusive("a").and_shared("b").and_limit("c", 2);
    scene.block_on(async {
        let held = one.acquire("b").await?;
        busy(other.try_acquire(set.clone()).await)?;
        for free in ["a", "c"] {
            assert!(is_free(&third, free).await?, "{free} was taken by a set that was refused");
        }
        let waits = tokio::spawn({
            let set = set.clone();
            async move { other.acquire(set).await }
        });
        until_waiting(&one, 1).await?;
        let listing = third.list().await?;
        assert_eq!(listing.holds.len(), 1, "who waits holds nothing of the set");
        assert_eq!(&listing.waiting[0].locks, set.locks()?);
        held.release().await?;
        let guard = within("the set", waits).await???;
        assert_eq!(
            guard.names().map(lock_core::LockName::as_str).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(["a", "b", "c", "d"].map(|name| guard.fence_of(name)), {
            let fence = Some(guard.fence());
            [fence, fence, fence, None]
        });
        busy(third.try_acquire("a").await)?;
        busy(third.try_acquire("b").await)?;
        guard.release().await?;
        assert!(is_free(&third, set).await?, "it is given back as a whole");
        Ok(())
    })
}

fn a_set_is_looked_at_as_a_whole(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    let set = Request::exclusive("a").and_exclusive("b").and_exclusive("c");
    scene.block_on(async {
        for held in ["a", "b", "c", "b/below"] {
            let guard = one.acquire(held).await?;
            let denial = busy(other.try_acquire(set.clone()).await)?;
            assert_eq!(denial.blockers.len(), 1);
            assert_eq!(denial.blockers[0].lock.as_str(), held);
            assert_eq!(&denial.locks, set.locks()?);
            guard.release().await?;
        }
        let guard = one.acquire(set).await?;
        for name in ["a", "b", "c"] {
            busy(other.try_acquire(name).await)?;
        }
        guard.release().await?;
        Ok(())
    })
}

fn sets_in_opposite_order_never_hang(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    let rounds = scene.cases(20);
    let turns = async |locks: Locks, request: Request| {
        for _ in 0..rounds {
            locks.acquire(request.clone()).await?.release().await?;
        }
        Ok::<(), lock_core::AcquireError>(())
    };
    scene.block_on(async {
        let both = async {
            tokio::try_join!(
                turns(one.clone(), Request::exclusive("a").and_exclusive("b")),
                turns(other.clone(), Request::exclusive("b").and_exclusive("a")),
            )
        };
        within("taking turns", both).await??;
        scene.count("operations", 4 * rounds);
        until_empty(&one).await
    })
}

fn a_downgrade_lets_in_who_fits_then(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire(Request::exclusive("a").and_limit("b", 2)).await?;
        let waits = tokio::spawn(async move { other.acquire(Request::shared("a")).await });
        until_waiting(&one, 1).await?;
        guard.downgrade().await?;
        let beside = within("who waited", waits).await???;
        assert!(beside.fence() > guard.fence());
        guard.check()?;
        guard.verify().await?;
        let hold = &third.list().await?.holds[0];
        let modes: Vec<_> = hold.locks.values().copied().collect();
        assert_eq!(modes, [Mode::Shared, Mode::Limit(2)], "a limit stays what it is");
        busy(third.try_acquire("a").await)?;
        guard.downgrade().await?;
        guard.release().await?;
        beside.release().await?;
        assert!(is_free(&third, "a").await?);
        Ok(())
    })
}

fn fences_rise_with_every_hold_that_conflicts(scene: &Scene) -> Verdict {
    let clients = [scene.locks()?, scene.locks()?, scene.locks()?];
    let names = ["a", "a/b", "a/b", "a", "a/b/c"];
    scene.block_on(async {
        let mut last = 0;
        for round in 0..15 {
            let guard: Guard = clients[round % 3].acquire(names[round % 5]).await?;
            assert!(guard.fence() > last, "{} comes after {last}", guard.fence());
            assert!(guard.fence() <= lock_core::Version::MAX.0);
            last = guard.fence();
            guard.release().await?;
        }
        Ok(())
    })
}
