//! A process of its own that does what it is told, line by line, and says when it did it.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use lock_core::{Guard, LockBackend, Locks, Swap, Version};
use rustix::time::{ClockId, clock_gettime};

use crate::Failure;
use crate::store::{backend, open};

/// Set in the environment of workers.
pub(crate) const VARIABLE: &str = "LOCK_BENCH_WORKER";

/// A worker, seen by who started it.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    orders: ChildStdin,
    words: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(crate) fn start(url: &str, bell: bool) -> Result<Self, Failure> {
        let mut process = Command::new(env::current_exe()?)
            .env(VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().expect("it is piped");
        let words = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut worker = Self { process, orders, words };
        worker.tell(&format!("open {url} {bell}"))?;
        worker.hear()?;
        Ok(worker)
    }

    pub(crate) fn start_many(count: usize, url: &str, bell: bool) -> Result<Vec<Self>, Failure> {
        (0..count).map(|_| Self::start(url, bell)).collect()
    }

    pub(crate) fn tell(&mut self, order: &str) -> Result<(), Failure> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String, Failure> {
        Ok(self.words.next().ok_or("a worker has ended")??)
    }

    /// The next line, as a time on the clock that all processes of this host share.
    pub(crate) fn hear_time(&mut self) -> Result<Duration, Failure> {
        Ok(Duration::from_nanos(self.hear()?.parse()?))
    }

    /// Ends it by `SIGKILL`, and says when.
    pub(crate) fn kill(mut self) -> Result<Duration, Failure> {
        let killed = now();
        self.process.kill()?;
        Ok(killed)
    }

    /// The next line, as durations.
    pub(crate) fn hear_samples(&mut self) -> Result<Vec<Duration>, Failure> {
        let line = self.hear()?;
        let words = line.split_whitespace();
        words.map(|word| Ok(Duration::from_nanos(word.parse()?))).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The time on the clock that all processes of this host share.
pub(crate) fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

fn say(what: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

/// Does what it is told until nobody tells it anything.
pub(crate) fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut url = String::new();
    let mut locks: Option<Locks> = None;
    let mut guard: Option<Guard> = None;
    for order in stdin().lines() {
        let order = order?;
        let words: Vec<&str> = order.split(' ').collect();
        let open_locks = || locks.clone().ok_or("nothing is open");
        match words[..] {
            ["open", at, bell] => {
                at.clone_into(&mut url);
                locks = Some(open(at, bell == "true")?);
                say("open")?;
            }
            // Waits for the lock.
            ["acquire", name] => {
                guard = Some(runtime.block_on(open_locks()?.acquire(name))?);
                say(now().as_nanos())?;
            }
            ["release"] => {
                say(now().as_nanos())?;
                runtime.block_on(guard.take().ok_or("nothing is held")?.release())?;
                say("released")?;
            }
            // Waits for the lock, and gives it back after a while.
            ["hold", name, milliseconds] => {
                let guard = runtime.block_on(open_locks()?.acquire(name))?;
                say(now().as_nanos())?;
                std::thread::sleep(Duration::from_millis(milliseconds.parse()?));
                runtime.block_on(guard.release())?;
            }
            ["loop", name, seconds] => {
                let seconds = Duration::from_secs(seconds.parse()?);
                say(text(&runtime.block_on(repeat(&open_locks()?, name, seconds))?))?;
            }
            ["naive", seconds] => {
                let seconds = Duration::from_secs(seconds.parse()?);
                say(text(&runtime.block_on(swap_naively(&backend(&url)?, seconds))?))?;
            }
            _ => return Err(format!("what is {order:?}?").into()),
        }
    }
    Ok(())
}

fn text(samples: &[Duration]) -> String {
    samples.iter().map(|one| one.as_nanos().to_string()).collect::<Vec<_>>().join(" ")
}

/// Acquires and releases without a pause; how long each took.
async fn repeat(locks: &Locks, name: &str, time: Duration) -> Result<Vec<Duration>, Failure> {
    let begin = Instant::now();
    let mut samples = Vec::new();
    while begin.elapsed() < time {
        let start = Instant::now();
        let guard = locks.acquire(name).await?;
        let middle = Instant::now();
        guard.release().await?;
        samples.push(middle - start);
        samples.push(middle.elapsed());
    }
    Ok(samples)
}

/// Reads and swaps, again after each conflict, without a pause; how long each success took.
async fn swap_naively(
    backend: &impl LockBackend,
    time: Duration,
) -> Result<Vec<Duration>, Failure> {
    let begin = Instant::now();
    let mut samples = Vec::new();
    let mut start = begin;
    while begin.elapsed() < time {
        let cell = backend.load().await?;
        let next = Version(cell.version.0 + 1);
        match backend.compare_and_swap(cell.version, next, &cell.data).await {
            Ok(Swap::Swapped) => {
                samples.push(start.elapsed());
                start = Instant::now();
            }
            Ok(Swap::Conflict) => {}
            Err(error) if error.kind() == lock_core::BackendErrorKind::Busy => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(samples)
}
