//! Workers at work at random, killed and stopped at random.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::table::Listing;
use rustix::process::Signal;

use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};
use crate::worker::{Held, INHERITED, Order, Report, TAKEN, Worker};

const WORKERS: usize = 3;
const LOCKS: [&str; 3] = ["chaos/a", "chaos/b", "chaos/b/below"];
/// What is done to workers in an everyday run.
const BLOWS: usize = 40;

/// A worker at work, and a lock that it has held since it was started.
struct Victim {
    worker: Worker,
    work: u64,
    own: Held,
}

impl Victim {
    fn start(scene: &Scene, random: &mut fastrand::Rng, at: usize) -> Result<Self, Failure> {
        let mut worker = scene.worker(&format!("worker-{at}"))?;
        // The one before may have died with it: then it is freed for this one.
        let own = worker.acquire(&format!("own/{at}"))?;
        let locks = LOCKS.map(String::from).into();
        let directory = scene.evidence();
        let work = worker.order(Order::Work { seed: random.u64(..), locks, directory })?;
        Ok(Self { worker, work, own })
    }
}

pub(super) fn workers_that_are_killed_and_stopped_at_random_share_nothing(
    scene: &Scene,
) -> Verdict {
    scene.needs_processes()?;
    let mut random = scene.random(0);
    let mut start = |at| Victim::start(scene, &mut random, at);
    let mut victims = (0..WORKERS).map(&mut start).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..scene.cases(BLOWS) {
        let (killed, stopped) = (random.usize(..WORKERS), random.usize(..WORKERS));
        for (at, victim) in victims.iter_mut().enumerate() {
            if let Some(report) = victim.worker.report_within(victim.work, Duration::ZERO)? {
                return Err(Failure::failed(format!("worker {at} does not go on: {report:?}")));
            }
        }
        until_more_is_taken(scene)?;
        // When it strikes is up to chance, and how long one is stopped: nothing is waited for.
        let [before, between] = [(); 2].map(|()| Duration::from_micros(random.u64(0..20_000)));
        thread::sleep(before);
        let stops = random.bool();
        if stops {
            victims[stopped].worker.signal(Signal::STOP)?;
            scene.count("stops", 1);
        }
        let kills = random.bool();
        if kills {
            victims[killed].worker.kill()?;
            scene.count("kills", 1);
        }
        thread::sleep(between);
        if stops && !(kills && killed == stopped) {
            // Before anybody has to do with the store: it may have been stopped in a transaction.
            victims[stopped].worker.signal(Signal::CONT)?;
        }
        if kills {
            victims[killed] = Victim::start(scene, &mut random, killed)?;
        }
    }
    // Some of those who are killed last leave something behind.
    let last = random.usize(..WORKERS);
    victims[last].worker.kill()?;
    victims.remove(last);
    scene.count("kills", 1);
    settle(scene, victims)
}

/// After each blow they go on, and so the next one strikes workers at work.
fn until_more_is_taken(scene: &Scene) -> Verdict {
    let end = Instant::now() + LIVENESS;
    let before = size(scene, TAKEN);
    while size(scene, TAKEN) == before {
        if Instant::now() > end {
            return Err(Failure::failed("nobody gets a lock any more"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The size of a file that workers write to.
fn size(scene: &Scene, file: &str) -> u64 {
    std::fs::metadata(scene.evidence().join(file)).map_or(0, |file| file.len())
}

/// Everybody who lives has what it had, and all that the dead had is free.
fn settle(scene: &Scene, mut victims: Vec<Victim>) -> Verdict {
    for victim in &mut victims {
        victim.worker.call(Order::Rest)?;
    }
    for victim in &mut victims {
        match victim.worker.report(victim.work)? {
            Report::Count(_) => {}
            other => return Err(Failure::failed(format!("work went wrong: {other:?}"))),
        }
        match victim.worker.call(Order::Verify(victim.own.key))? {
            Report::Done => {}
            other => return Err(Failure::failed(format!("its own lock is gone: {other:?}"))),
        }
    }
    for (what, counted) in [(TAKEN, "operations"), (INHERITED, "inherited")] {
        scene.count(counted, usize::try_from(size(scene, what)).unwrap_or(usize::MAX));
    }
    for victim in victims {
        victim.worker.close()?;
    }
    let fresh = scene.locks()?.blocking();
    let owns = (0..WORKERS).map(|at| format!("own/{at}"));
    for name in LOCKS.map(String::from).into_iter().chain(owns) {
        fresh.acquire_timeout(name.as_str(), LIVENESS)?.release()?;
    }
    match fresh.list()? {
        Listing { holds, waiting, .. } if holds.is_empty() && waiting.is_empty() => Ok(()),
        listing => Err(Failure::failed(format!("something is left: {listing:?}"))),
    }
}
