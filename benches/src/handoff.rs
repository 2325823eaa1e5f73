//! Waiting: how soon the next process has the lock, and what those who wait ask of the server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::floor::Floor;
use crate::statistics::Samples;
use crate::store::{Server, open};
use crate::worker::Worker;

/// How many pairs of processes wait at a time.
const PAIRS: usize = 4;

pub(crate) async fn measure(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## From release called in one process to acquire returned in another");
    for bell in [true, false] {
        println!("{}", if bell { "on one host" } else { "without help of the host" });
        for (wait, rounds) in [(100, 60), (1_000, 12), (10_000, 3)] {
            if quick && wait > 1_000 {
                continue;
            }
            let rounds = if quick { rounds / 6 } else { rounds };
            let wait = Duration::from_millis(wait);
            let samples = hand_off(|| server.fresh().0, bell, wait, rounds)?;
            println!("  after {wait:?}: {samples}");
            if bell && wait < Duration::from_secs(10) {
                let mut floor = Floor::new(server, "{}").await?;
                let mut samples = vec![floor.swap("{}").await?];
                for _ in 0..rounds {
                    sleep(wait);
                    samples.push(floor.swap("{}").await?);
                }
                println!("    one bare swap then: {}", Samples::new(samples));
            }
        }
    }
    Ok(())
}

/// From release called in one process to acquire returned in another, which has waited so long.
pub(crate) fn hand_off(
    fresh: impl Fn() -> String,
    bell: bool,
    wait: Duration,
    rounds: usize,
) -> Result<Samples, Failure> {
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push(Worker::start_many(2, &fresh(), bell)?);
    }
    let mut samples = Vec::new();
    for pair in &mut pairs {
        pair[0].tell("acquire app/blog")?;
        pair[0].hear_time()?;
    }
    for _ in 0..rounds {
        for pair in &mut pairs {
            pair[1].tell("acquire app/blog")?;
        }
        sleep(wait);
        for pair in &mut pairs {
            // One after the other, so that the pairs do not disturb each other.
            pair[0].tell("release")?;
            let released = pair[0].hear_time()?;
            pair[0].hear()?;
            samples.push(pair[1].hear_time()?.saturating_sub(released));
            pair.reverse();
        }
    }
    Ok(Samples::new(samples))
}

pub(crate) async fn measure_waiting(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## What waiting asks of the server");
    let time = Duration::from_secs(if quick { 3 } else { 10 });
    for bell in [true, false] {
        println!("{}", if bell { "on one host" } else { "without help of the host" });
        for waiters in [1, 10, 100] {
            let (url, namespace) = server.fresh();
            let mut connection = server.connect().await?;
            let locks = open(&url, bell)?;
            let guard = locks.acquire("app/blog").await?;
            let mut workers = Worker::start_many(waiters, &url, bell)?;
            let queue = open(&url, bell)?;
            for (index, worker) in workers.iter_mut().enumerate() {
                worker.tell("hold app/blog 20")?;
                while queue.list().await?.waiting.len() <= index {
                    sleep(Duration::from_millis(2));
                }
            }
            queue.close().await?;
            let before = connection.statements().await?;
            let begin = Instant::now();
            sleep(time);
            let after = connection.statements().await?;
            #[expect(clippy::cast_precision_loss, reason = "it is not that much")]
            let rate = (after - before) as f64 / begin.elapsed().as_secs_f64();
            let writes = connection.writes().await?;
            guard.release().await?;
            let times: Vec<Duration> =
                workers.iter_mut().map(Worker::hear_time).collect::<Result<_, _>>()?;
            let in_order = times.is_sorted();
            let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
            let gaps = gaps.map(|gap| gap.saturating_sub(Duration::from_millis(20))).collect();
            while connection.data(&namespace).await?.contains("app/blog") {
                sleep(Duration::from_millis(5));
            }
            let writes = connection.writes().await? - writes;
            println!(
                "  {waiters} waiting: {rate:.0} statements per second; {} writes for {} hand-offs, \
                 in order: {in_order}; from one to the next: {}",
                writes - 1,
                waiters,
                Samples::new(gaps)
            );
            locks.close().await?;
        }
    }
    Ok(())
}

/// From `SIGKILL` of the holder to acquire returned in another process, which has waited.
pub(crate) fn measure_recovery(fresh: impl Fn() -> String, quick: bool) -> Result<(), Failure> {
    println!("\n## From SIGKILL of the holder to acquire returned in another process");
    let mut samples = Vec::new();
    for _ in 0..if quick { 20 } else { 100 } {
        let [mut holder, mut waiter] = {
            let url = fresh();
            [Worker::start(&url, true)?, Worker::start(&url, true)?]
        };
        holder.tell("acquire app/blog")?;
        holder.hear_time()?;
        waiter.tell("acquire app/blog")?;
        sleep(Duration::from_millis(100));
        let killed = holder.kill()?;
        samples.push(waiter.hear_time()?.saturating_sub(killed));
    }
    println!("{}", Samples::new(samples));
    Ok(())
}
