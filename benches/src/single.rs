//! One client: a lock taken and given back, against the one bare statement; many tasks of one process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lock_core::Locks;

use crate::Failure;
use crate::floor::Floor;
use crate::statistics::{Samples, ratio};
use crate::store::{Server, open};

/// So many rounds are not counted.
pub(crate) const WARM_UP: usize = 30;

/// How long acquiring, releasing and their bare statements take, in turns.
pub(crate) async fn compare(
    server: &Server,
    locks: &Locks,
    namespace: &str,
    count: usize,
) -> Result<[Samples; 4], Failure> {
    let mut connection = server.connect().await?;
    let guard = locks.acquire("app/blog").await?;
    let held = connection.data(namespace).await?;
    guard.release().await?;
    let free = connection.data(namespace).await?;
    let mut floor = Floor::new(server, &free).await?;
    let mut samples = [const { Vec::new() }; 4];
    for index in 0..count + WARM_UP {
        let mut now = [Duration::ZERO; 4];
        now[1] = floor.swap(&held).await?;
        let start = Instant::now();
        let guard = locks.acquire("app/blog").await?;
        now[0] = start.elapsed();
        now[3] = floor.swap(&free).await?;
        let start = Instant::now();
        guard.release().await?;
        now[2] = start.elapsed();
        if index >= WARM_UP {
            samples.iter_mut().zip(now).for_each(|(samples, one)| samples.push(one));
        }
    }
    Ok(samples.map(Samples::new))
}

pub(crate) async fn measure(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## One client, nobody else");
    let (url, namespace) = server.fresh();
    let locks = open(&url, true)?;
    let count = if quick { 500 } else { 3000 };
    let [acquire, bare_acquire, release, bare_release] =
        compare(server, &locks, &namespace, count).await?;
    for (name, ours, bare) in
        [("acquire", acquire, bare_acquire), ("release", release, bare_release)]
    {
        let (one, other) = (ours.median(), bare.median());
        let more = one.saturating_sub(other);
        println!("{name}: {ours}");
        println!("  bare statement: {bare}");
        println!("  {:.2} times, {more:.1?} more", ratio(one, other));
    }
    locks.close().await?;
    Ok(())
}

pub(crate) async fn measure_tasks(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## Many tasks of one process, each with a lock of its own");
    let time = Duration::from_secs(if quick { 2 } else { 10 });
    let mut alone = None;
    for tasks in [1, 64] {
        let (url, _) = server.fresh();
        let locks = open(&url, true)?;
        let mut connection = server.connect().await?;
        let before = connection.writes().await?;
        let begin = Instant::now();
        let counts = try_join_all((0..tasks).map(|task| {
            let locks = locks.clone();
            async move {
                let mut count = 0u32;
                while begin.elapsed() < time {
                    locks.acquire(&*format!("app/{task}")).await?.release().await?;
                    count += 1;
                }
                Ok::<_, Failure>(count)
            }
        }))
        .await?;
        let rate = f64::from(counts.iter().sum::<u32>()) / begin.elapsed().as_secs_f64();
        let swaps = connection.writes().await? - before;
        let times = rate / *alone.get_or_insert(rate);
        println!(
            "{tasks} tasks: {rate:.0} acquired and released per second, {times:.1} times; \
             {swaps} swaps"
        );
        locks.close().await?;
    }
    if server.is_sql() {
        println!("64 tasks with distributed-lock-mysql, 10 connections: {}", peer(server, time));
    }
    let (url, _) = server.fresh();
    let locks = open(&url, true)?;
    let mut connection = server.connect().await?;
    let before = connection.connections().await?;
    let start = Instant::now();
    let guards = try_join_all((0..10_000).map(|number| {
        let locks = locks.clone();
        async move { locks.acquire(&*format!("app/{number}")).await }
    }))
    .await?;
    let took = start.elapsed();
    let after = connection.connections().await?;
    println!(
        "{} locks held at once: {} connection, taken in {took:.1?}",
        guards.len(),
        after - before
    );
    drop(guards);
    locks.close().await?;
    Ok(())
}

fn peer(server: &Server, time: Duration) -> String {
    match peers(&server.url(), time) {
        Ok(rate) => format!("{rate} per second"),
        Err(error) => format!("not measured, {error}"),
    }
}

/// What the peers get done, which are in a workspace of their own.
fn peers(url: &str, time: Duration) -> Result<String, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml");
    let seconds = time.as_secs().to_string();
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--release",
            "--manifest-path",
            manifest,
            "--",
            url,
            "64",
            &seconds,
        ])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(output.status.to_string().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
