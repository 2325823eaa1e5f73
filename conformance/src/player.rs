//! The player: asks for locks at random, nests tasks, changes its mind, and writes it all down.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future::try_join_all;
use lock_core::{AcquireError, Guard, LockSet, Locks, Mode, Request, Task, TaskId};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::history::{Recorder, Refusal, What};
use crate::scene::LIVENESS;
use crate::worker::tolerance;

/// Few names, so that they are fought for, at several heights.
const NAMES: &[&str] = &["a", "a/x", "a/y", "a/y/z", "b", "b/x", "c"];
/// The longest that locks are held, in microseconds, what is nested aside.
const HOLD_US_MAX: u64 = 3_000;
/// The longest patience of a request that has a limit, in microseconds.
const PATIENCE_US_MAX: u64 = 10_000;
/// How deep tasks nest in each other.
const DEPTH_MAX: usize = 2;

/// What a client is to play.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Play {
    /// Where its chance comes from.
    pub seed: u64,
    /// How many lines of work ask side by side.
    pub lines: usize,
    /// How many requests each line makes, besides those of its sub-tasks.
    pub requests: usize,
}

#[derive(Debug, Clone, Copy)]
enum Manner {
    Try,
    Wait,
    WaitFor(Duration),
    /// Waits, and drops the future after this time.
    Cancel(Duration),
}

impl Play {
    /// Plays, and writes it down.
    ///
    /// # Errors
    ///
    /// A text, when a request ends as it must not, or not at all.
    ///
    /// # Cancel safety
    ///
    /// If dropped, nothing more is asked for, what is held is given back, and written down as dropped.
    pub async fn run(&self, locks: &Locks, recorder: &Recorder) -> Result<(), String> {
        let line = async |line: usize| {
            let mut random = Rng::with_seed(self.seed.wrapping_add(line as u64));
            for _ in 0..self.requests {
                let task = locks.task(format!("line {line}"));
                Box::pin(perform(task, recorder, &mut random, DEPTH_MAX)).await?;
            }
            Ok(())
        };
        try_join_all((0..self.lines).map(line)).await.map(drop)
    }
}

/// One request from asking to giving back, with what is nested in it.
async fn perform(
    mut task: Task,
    recorder: &Recorder,
    random: &mut Rng,
    depth: usize,
) -> Result<(), String> {
    let id = task.id().map_err(|error| error.to_string())?.clone();
    let locks = draw_locks(random);
    let manner = draw_manner(random);
    recorder.record(What::Asked { task: id.clone(), locks: written(&locks) });
    let mut dealing = Dealing { recorder, task: id.clone(), guard: None, is_over: false };
    let asked = timeout(LIVENESS / 2, ask(&mut task, locks, manner)).await;
    let guard = match asked.map_err(|_| format!("task {id} waits for ever"))? {
        Ok(Some(guard)) => dealing.guard.insert(guard),
        Ok(None) => return Ok(()),
        Err(error) => {
            dealing.is_over = true;
            let why = match &error {
                AcquireError::Busy(_) => Refusal::Busy,
                AcquireError::TimedOut(_) => Refusal::TimedOut,
                AcquireError::Deadlock(_) => Refusal::Deadlock,
                _ => Refusal::Other,
            };
            recorder.record(What::Refused { task: id, why });
            return if why == Refusal::Other { Err(error.to_string()) } else { Ok(()) };
        }
    };
    let fences = guard.names().map(|name| {
        let fence = guard.fence_of(name.as_str()).unwrap_or_default();
        (name.to_string(), fence)
    });
    recorder.record(What::Granted { task: id.clone(), fences: fences.collect() });
    if depth > 0 && random.u8(..4) == 0 {
        let steps = (0..random.usize(1..=2))
            .map(|step| (task.subtask(format!("step {step}")), random.fork()));
        let steps: Vec<_> = steps.collect();
        let steps = steps.into_iter().map(async |(task, mut random)| {
            Box::pin(perform(task, recorder, &mut random, depth - 1)).await
        });
        try_join_all(steps).await?;
    }
    pause(random).await;
    let Some(guard) = dealing.guard.take_if(|_| random.u8(..4) > 0) else { return Ok(()) };
    dealing.is_over = true;
    recorder.record(What::Releasing { task: id.clone() });
    guard.release().await.map_err(|error| error.to_string())?;
    recorder.record(What::Released { task: id });
    Ok(())
}

/// A request and what it was granted; it is written down that it was dropped, however that comes about.
struct Dealing<'r> {
    recorder: &'r Recorder,
    task: TaskId,
    guard: Option<Guard>,
    is_over: bool,
}

impl Drop for Dealing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // Before it is given back, so that nobody else seems to have it meanwhile.
            self.recorder.record(What::Dropped { task: self.task.clone() });
        }
    }
}

/// `None`: it was cancelled.
async fn ask(
    task: &mut Task,
    locks: LockSet,
    manner: Manner,
) -> Result<Option<Guard>, AcquireError> {
    let request = Request::from(locks);
    match manner {
        Manner::Try => task.try_acquire(request).await.map(Some),
        Manner::Wait => task.acquire(request).await.map(Some),
        Manner::WaitFor(time) => task.acquire_timeout(request, time).await.map(Some),
        Manner::Cancel(time) => timeout(time, task.acquire(request)).await.ok().transpose(),
    }
}

async fn pause(random: &mut Rng) {
    if random.u8(..3) > 0 {
        sleep(Duration::from_micros(random.u64(..HOLD_US_MAX))).await;
    }
}

fn draw_manner(random: &mut Rng) -> Manner {
    let patience = Duration::from_micros(random.u64(..PATIENCE_US_MAX));
    match random.u8(..8) {
        0..=2 => Manner::Try,
        3..=5 => Manner::Wait,
        6 => Manner::WaitFor(patience),
        _ => Manner::Cancel(patience),
    }
}

fn draw_locks(random: &mut Rng) -> LockSet {
    let count = if random.u8(..4) == 0 { 2 } else { 1 };
    let names = random.choose_multiple(NAMES, count);
    let mode = |random: &mut Rng| match random.u8(..8) {
        0..=2 => Mode::Exclusive,
        3..=4 => Mode::Shared,
        5..=6 => Mode::Limit(2),
        _ => Mode::Limit(3),
    };
    let good = "the names of the player are good";
    names.into_iter().map(|name| (name.parse().expect(good), mode(random))).collect()
}

fn written(locks: &LockSet) -> Vec<(String, u32)> {
    locks.iter().map(|(name, mode)| (name.to_string(), tolerance(*mode))).collect()
}
