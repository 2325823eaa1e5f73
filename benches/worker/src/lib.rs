//! A process that locks in one way and does what it is told, line by line, and says when it did it.
//!
//! All approaches are driven by these same orders, each in processes of its own:
//!
//! | order | what it says |
//! |---|---|
//! | `acquire NAME` | when it was granted |
//! | `release` | when it was asked to, and `released` when that is done |
//! | `hold NAME MILLISECONDS` | when it was granted; it gives back after that time |
//! | `loop NAME SECONDS` | how long each acquire took, and in a second line each release |
//! | `tasks COUNT SECONDS` | how often that many tasks, each with a lock of its own, acquired and released |
//! | `many COUNT` | `held`, once it holds that many locks |
//!
//! What fails is said as a line that begins with [`FAILED`]; it goes on with the next order.

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{Write, stdin, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Why something could not be done.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The begin of a line that says what failed.
pub const FAILED: &str = "failed: ";

/// In the environment of a worker: how many threads its runtime has, `1` being that of the caller.
pub const THREADS: &str = "LOCK_BENCH_THREADS";

/// How often an approach looks that can do no more than look again.
pub const POLL: Duration = Duration::from_millis(10);

/// One way to have named locks.
#[async_trait]
pub trait Approach: Send + Sync {
    /// Waits for the lock of this name, as long as it takes.
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure>;
}

/// A lock that is held.
#[async_trait]
pub trait Held: Send {
    /// Gives it back.
    async fn release(self: Box<Self>) -> Result<(), Failure>;
}

/// The time on the clock that all processes of this host share.
pub fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Has all sockets of this process send small packets at once, as those of this product's clients do: sqlx
/// does not, and a long statement over TLS would wait 40 ms for an acknowledgement.
pub fn send_at_once() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A copy of the descriptor; whatever is no socket refuses the option.
        let copy = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
        let _ = copy.and_then(|copy| set_tcp_nodelay(&copy, true));
    }
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
