//! Load by processes, amid which something befalls the store; what they may have is written down here, and not in the store.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::assert_clean;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};
use crate::worker::{Held, Order, Report, Worker, WorkerOptions};

const WORKERS: u64 = 16;
const LOCKS: [&str; 3] = ["app/one", "app/two", "app"];
/// One of so many holds is kept until the end.
const KEPT_OF: u32 = 16;

/// Who holds what by their own account.
#[derive(Debug, Default)]
struct Referee(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    held: Vec<&'static str>,
    fences: BTreeMap<&'static str, u64>,
    /// What is held until the end, by its lock.
    kept: BTreeMap<String, u64>,
}

impl Referee {
    fn begins(&self, lock: &'static str, fence: u64) -> Verdict {
        let Account { held, fences, .. } = &mut *self.0.lock().expect("nobody panics with it");
        if let Some(other) = held.iter().find(|other| overlap(other, lock)) {
            return Err(Failure::failed(format!("{lock} is held while {other} is")));
        }
        let before = fences.iter().filter(|(other, _)| overlap(other, lock));
        let before = before.map(|(_, fence)| *fence).max().unwrap_or_default();
        if fence <= before {
            return Err(Failure::failed(format!("the fence of {lock}: {fence} after {before}")));
        }
        held.push(lock);
        fences.insert(lock, fence);
        Ok(())
    }

    fn ends(&self, lock: &'static str) {
        self.0.lock().expect("nobody panics with it").held.retain(|other| *other != lock);
    }

    fn keeps(&self, lock: &str, fence: u64) {
        self.0.lock().expect("nobody panics with it").kept.insert(lock.into(), fence);
    }

    fn kept(&self) -> BTreeMap<String, u64> {
        self.0.lock().expect("nobody panics with it").kept.clone()
    }
}

fn overlap(one: &str, other: &str) -> bool {
    one == other || one == "app" || other == "app"
}

/// Strikes so often while processes take locks and give them back, and waits after each blow until
/// they go on.
///
/// Never do two hold what only one may, fences rise, and every hold that was granted is there until
/// it is given back, some of them until the end.
pub(super) fn amid_load(
    scene: &Scene,
    times: usize,
    mut strike: impl FnMut(&mut Rng) -> Verdict,
) -> Verdict {
    let steady = scene.locks()?.blocking();
    let guard = steady.acquire("steady")?;
    let (referee, done) = (Referee::default(), AtomicUsize::new(0));
    let (stop, tell) = (AtomicBool::new(false), AtomicBool::new(false));
    referee.keeps("steady", guard.fence());
    let work = |number: u64| -> Verdict {
        let mut random = scene.random(number);
        // Some clusters take half a minute to give up a node, as long as requests wait by default.
        let options = WorkerOptions::new(&format!("worker {number}")).patience(LIVENESS);
        let mut worker = scene.worker_with(&options)?;
        let mut kept: Vec<Held> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let lock = LOCKS[random.usize(..LOCKS.len())];
            take(&mut worker, lock, &referee, &mut random)?;
            done.fetch_add(1, Ordering::Relaxed);
            if random.u32(..KEPT_OF) == 0 && kept.len() < 100 {
                let lock = format!("kept/{number}/{}", kept.len());
                let held = worker.acquire(&lock)?;
                referee.keeps(&lock, held.fence);
                kept.push(held);
            }
        }
        // Not before what all have is compared with the table.
        while !tell.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        for held in kept {
            for order in [Order::Check(held.key), Order::Verify(held.key), Order::Release(held.key)]
            {
                is_done(&format!("{order:?} of what was kept"), &worker.call(order.clone())?)?;
            }
        }
        worker.close()
    };
    let mut random = scene.random(0);
    thread::scope(|threads| {
        let workers: Vec<_> = (1..=WORKERS).map(|n| threads.spawn(move || work(n))).collect();
        let alive = || !workers.iter().any(thread::ScopedJoinHandle::is_finished);
        let flows = |more: usize| {
            let (enough, end) = (done.load(Ordering::Relaxed) + more, Instant::now() + LIVENESS);
            while done.load(Ordering::Relaxed) < enough && alive() && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            done.load(Ordering::Relaxed) >= enough
        };
        let mut disturb = || -> Verdict {
            for blow in 1..=times {
                if !flows(random.usize(1..10)) {
                    return Err(Failure::failed(format!("nobody gets a lock before blow {blow}")));
                }
                strike(&mut random)?;
                guard.check()?;
            }
            if flows(1) { Ok(()) } else { Err(Failure::failed("nobody gets a lock at the end")) }
        };
        let disturbed = disturb();
        stop.store(true, Ordering::Relaxed);
        // Whoever is about to keep one more may do so after the list.
        let kept = referee.kept();
        let compared = steady.list().map_err(Failure::from).and_then(|listing| {
            let in_table = |(lock, fence): &(&String, &u64)| {
                let holds = listing.holds.iter().filter(|hold| hold.fence == **fence);
                holds.flat_map(|hold| &hold.locks).any(|(name, _)| name.to_string() == **lock)
            };
            match kept.iter().find(|kept| !in_table(kept)) {
                Some(lost) => Err(Failure::failed(format!("{lost:?} is not in {listing:#?}"))),
                None => Ok(()),
            }
        });
        tell.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("workers return what goes wrong")?;
        }
        disturbed.and(compared)
    })?;
    scene.count("operations", done.load(Ordering::Relaxed) * 2);
    guard.verify()?;
    let listing = steady.list()?;
    assert!(listing.holds.len() == 1 && listing.waiting.is_empty(), "{listing:#?}");
    assert_eq!(listing.holds[0].fence, guard.fence());
    guard.release()?;
    steady.close()?;
    scene.block_on(assert_clean(scene, "app"))
}

/// Holds a lock for a while, in which anything may befall the store.
fn take(worker: &mut Worker, lock: &'static str, referee: &Referee, random: &mut Rng) -> Verdict {
    let held = worker.acquire(lock)?;
    referee.begins(lock, held.fence)?;
    thread::sleep(Duration::from_micros(random.u64(..20_000)));
    let checked = worker.call(Order::Check(held.key))?;
    referee.ends(lock);
    let released = worker.call(Order::Release(held.key))?;
    is_done(&format!("the hold of {lock}"), &checked)?;
    is_done(&format!("the release of {lock}"), &released)
}

fn is_done(what: &str, report: &Report) -> Verdict {
    match report {
        Report::Done => Ok(()),
        other => Err(Failure::failed(format!("{what}: {other:?}"))),
    }
}
