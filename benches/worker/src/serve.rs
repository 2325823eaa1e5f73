//! Obeys orders line by line, and says when what was ordered was done.

use std::fmt::Display;
use std::io::{Write, stdin, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::{Approach, Failure, Held};

/// The begin of a line that says what failed.
pub const FAILED: &str = "failed: ";

/// In the environment of a worker: how many threads its runtime has, `1` being that of the caller.
pub const THREADS: &str = "LOCK_BENCH_THREADS";

/// The time on the clock that all processes of this host share.
pub fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Opens an approach and does what it is told, until nobody tells it anything.
///
/// # Errors
///
/// It cannot be opened, or nobody hears what is said.
pub fn serve(
    open: impl AsyncFnOnce() -> Result<Arc<dyn Approach>, Failure>,
) -> Result<(), Failure> {
    let threads = std::env::var(THREADS).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let runtime = match threads {
        1 => Builder::new_current_thread().enable_all().build()?,
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    let (sender, mut orders) = mpsc::unbounded_channel();
    // Waits for orders apart, so that what an approach does in the background goes on.
    std::thread::spawn(move || {
        stdin().lines().map_while(Result::ok).try_for_each(|order| sender.send(order))
    });
    runtime.block_on(async {
        let approach = open().await?;
        say("open")?;
        let mut held = Vec::new();
        while let Some(order) = orders.recv().await {
            if let Err(error) = obey(&approach, &mut held, &order).await {
                say(format!("{FAILED}{}", error.to_string().replace('\n', " ")))?;
            }
        }
        Ok(())
    })
}

async fn obey(
    approach: &Arc<dyn Approach>,
    held: &mut Vec<Box<dyn Held>>,
    order: &str,
) -> Result<(), Failure> {
    let words: Vec<&str> = order.split(' ').collect();
    match words[..] {
        ["acquire", name] => {
            held.push(approach.acquire(name).await?);
            say(now().as_nanos())
        }
        ["release"] => {
            let last = held.pop().ok_or("nothing is held")?;
            say(now().as_nanos())?;
            last.release().await?;
            say("released")
        }
        ["hold", name, milliseconds] => {
            let held = approach.acquire(name).await?;
            say(now().as_nanos())?;
            tokio::time::sleep(Duration::from_millis(milliseconds.parse()?)).await;
            held.release().await
        }
        ["loop", name, seconds] => {
            let samples = repeat(approach, name, Duration::from_secs_f64(seconds.parse()?)).await?;
            samples.iter().try_for_each(|samples| say(text(samples)))
        }
        ["tasks", count, seconds] => {
            let time = Duration::from_secs_f64(seconds.parse()?);
            say(count_tasks(approach, count.parse()?, time).await?)
        }
        ["many", count] => {
            for number in 0..count.parse::<u32>()? {
                held.push(approach.acquire(&format!("many/{number}")).await?);
            }
            say("held")
        }
        _ => Err(format!("what is {order:?}?").into()),
    }
}

/// Acquires and releases without a pause: how long each acquire took, and each release.
async fn repeat(
    approach: &Arc<dyn Approach>,
    name: &str,
    time: Duration,
) -> Result<[Vec<Duration>; 2], Failure> {
    let begin = Instant::now();
    let mut samples = [const { Vec::new() }; 2];
    while begin.elapsed() < time {
        let start = Instant::now();
        let held = approach.acquire(name).await?;
        let middle = Instant::now();
        held.release().await?;
        samples[0].push(middle - start);
        samples[1].push(middle.elapsed());
    }
    Ok(samples)
}

/// How often tasks, each with a lock of its own, acquire and release in that time, and once at least.
async fn count_tasks(
    approach: &Arc<dyn Approach>,
    tasks: u32,
    time: Duration,
) -> Result<u64, Failure> {
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let approach = approach.clone();
        running.spawn(async move {
            let mut count = 0;
            loop {
                approach.acquire(&format!("app/{task}")).await?.release().await?;
                count += 1;
                if begin.elapsed() >= time {
                    return Ok::<u64, Failure>(count);
                }
                // An approach that never waits would let nobody else run.
                tokio::task::yield_now().await;
            }
        });
    }
    let counts = running.join_all().await;
    counts.into_iter().sum()
}

fn text(samples: &[Duration]) -> String {
    samples.iter().map(|one| one.as_nanos().to_string()).collect::<Vec<_>>().join(" ")
}

fn say(what: impl Display) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}
