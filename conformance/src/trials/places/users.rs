//! Workers of different users on one store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use lock_core::{BlockingLocks, LockName};

use super::super::tools::{Copy, NOBODY, holds, is_busy, is_installed, kill, needs, needs_root};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Worker, WorkerOptions};

trials!("places":
    exactly_the_locks_of_a_killed_worker_of_another_user_are_freed,
    another_user_learns_that_a_worker_of_root_was_killed,
);

/// No lease ends while a trial runs: only the proof of a death can free anything.
const LONG: Duration = Duration::from_secs(3600);

/// A store that nobody may use too, a client of it in this process, and the way to start others.
fn shared(scene: &Scene) -> Result<(BlockingLocks, Copy), Failure> {
    scene.needs_processes()?;
    needs_root()?;
    if !is_installed("sudo") {
        needs(&["setpriv"])?;
    }
    let locks = scene.builder()?.lease(LONG).build().blocking();
    locks.list()?; // What the store is made of is there now.
    scene.store().open_to(NOBODY, NOBODY).unwrap_or(Ok(()))?;
    Ok((locks, Copy::make()?))
}

fn of_nobody(scene: &Scene, name: &str, copy: &Copy) -> Result<Worker, Failure> {
    let options = WorkerOptions::new(name).lease(LONG).wrapped_in(copy.as_nobody());
    let worker = scene.worker_with(&options)?;
    assert_eq!(fs::metadata(format!("/proc/{}", worker.pid()))?.uid(), NOBODY);
    Ok(worker)
}

fn exactly_the_locks_of_a_killed_worker_of_another_user_are_freed(scene: &Scene) -> Verdict {
    let (locks, copy) = shared(scene)?;
    let own = locks.task("own").acquire("own")?;
    let mut bystander = of_nobody(scene, "bystander", &copy)?;
    let theirs = [bystander.acquire("app/d")?, bystander.acquire("app/e")?];
    let mut victim = of_nobody(scene, "victim", &copy)?;
    let names = ["app/a", "app/b", "app/c"];
    for name in names {
        victim.acquire(name)?;
    }
    for name in names {
        assert!(locks.try_acquire(name).unwrap_err().is_busy(), "{name}");
    }
    kill(victim.pid())?;
    scene.count("kills", 1);
    let mut freed = Vec::new();
    for name in names {
        freed.push(locks.acquire_timeout(name, LIVENESS)?);
    }
    own.verify()?;
    for held in &theirs {
        holds(&mut bystander, held.key)?;
    }
    assert!(locks.try_acquire("app/d").unwrap_err().is_busy());
    let listing = locks.list()?;
    let names = listing.holds.iter().flat_map(|hold| hold.locks.keys());
    let mut held: Vec<&str> = names.map(LockName::as_str).collect();
    held.sort_unstable();
    assert_eq!(held, ["app/a", "app/b", "app/c", "app/d", "app/e", "own"]);
    Ok(())
}

fn another_user_learns_that_a_worker_of_root_was_killed(scene: &Scene) -> Verdict {
    let (_locks, copy) = shared(scene)?;
    let mut root = scene.worker_with(&WorkerOptions::new("root").lease(LONG))?;
    root.acquire("one")?;
    root.acquire("two")?;
    let mut nobody = of_nobody(scene, "nobody", &copy)?;
    is_busy(&mut nobody, "one")?;
    let waiting = nobody.ask("two", None)?;
    root.kill()?;
    scene.count("kills", 1);
    nobody.granted(waiting)?;
    nobody.acquire("one")?;
    nobody.close()
}
