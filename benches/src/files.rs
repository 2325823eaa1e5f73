//! Stores in files: one client against the bare calls of the system, hand-off, recovery and growth.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use rustix::fs::{FlockOperation, flock};

use crate::Failure;
use crate::handoff::{hand_off, measure_recovery};
use crate::single::WARM_UP;
use crate::statistics::{Samples, ratio};
use crate::store::{backend, open};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flock,
    Excl,
    Sqlite,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Flock, Self::Excl, Self::Sqlite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flock => "flock",
            Self::Excl => "excl",
            Self::Sqlite => "sqlite",
        }
    }
}

pub(crate) async fn measure(
    kind: Kind,
    is_wanted: impl Fn(&str) -> bool,
    quick: bool,
) -> Result<(), Failure> {
    println!("# Files: {}", kind.name());
    let directory = tempfile::tempdir()?;
    let next = AtomicU32::new(0);
    let fresh = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        format!("{}:{}", kind.name(), directory.path().join(format!("store-{number}")).display())
    };
    if is_wanted("single") {
        println!("\n## One client, nobody else");
        let count = if quick { 500 } else { 3000 };
        compare(kind, &fresh(), &directory.path().join("bare"), 0, count).await?;
    }
    if is_wanted("growth") {
        println!("\n## A table with many holds");
        for holds in [10, 100, 1_000, 10_000] {
            let count = if quick { 30 } else { 300 } / if holds > 1000 { 3 } else { 1 };
            let bare = directory.path().join(format!("bare-{holds}"));
            compare(kind, &fresh(), &bare, holds, count).await?;
        }
    }
    if is_wanted("handoff") {
        println!("\n## From release called in one process to acquire returned in another");
        for (wait, rounds) in [(100, 60), (1_000, 12), (10_000, 3)] {
            if quick && wait > 1_000 {
                continue;
            }
            let rounds = if quick { rounds / 6 } else { rounds };
            let wait = Duration::from_millis(wait);
            println!("  after {wait:?}: {}", hand_off(fresh, true, wait, rounds)?);
        }
    }
    if is_wanted("recovery") {
        measure_recovery(fresh, quick)?;
    }
    Ok(())
}

/// Acquiring and releasing, and the bare calls that a swap of the same bytes consists of, in turns.
async fn compare(
    kind: Kind,
    url: &str,
    bare: &Path,
    holds: usize,
    count: usize,
) -> Result<(), Failure> {
    let others = open(url, true)?;
    let guards = try_join_all((0..holds).map(|number| {
        let others = others.clone();
        async move { others.acquire(&*format!("app/{number}/backup")).await }
    }))
    .await?;
    let locks = open(url, true)?;
    let guard = locks.acquire("app/blog").await?;
    let held = backend(url)?.load().await?.data;
    guard.release().await?;
    let free = backend(url)?.load().await?.data;
    let mut floor = Floor::new(kind, bare)?;
    let mut samples = [const { Vec::new() }; 4];
    for index in 0..count + WARM_UP {
        let mut now = [Duration::ZERO; 4];
        now[1] = floor.swap(&held)?;
        let start = Instant::now();
        let guard = locks.acquire("app/blog").await?;
        now[0] = start.elapsed();
        now[3] = floor.swap(&free)?;
        let start = Instant::now();
        guard.release().await?;
        now[2] = start.elapsed();
        if index >= WARM_UP {
            samples.iter_mut().zip(now).for_each(|(samples, one)| samples.push(one));
        }
    }
    let [acquire, bare_acquire, release, bare_release] = samples.map(Samples::new);
    println!("{holds} more holds, {} bytes", held.len());
    for (name, ours, bare) in
        [("acquire", acquire, bare_acquire), ("release", release, bare_release)]
    {
        println!("{name}: {ours}");
        if kind != Kind::Sqlite {
            let (one, other) = (ours.median(), bare.median());
            let more = one.saturating_sub(other);
            println!("  bare calls: {bare}");
            println!("  {:.2} times, {more:.1?} more", ratio(one, other));
        }
    }
    drop(guards);
    others.close().await?;
    locks.close().await?;
    Ok(())
}

/// The calls that a swap consists of, in a directory of their own.
struct Floor {
    kind: Kind,
    path: PathBuf,
    directory: File,
    version: u64,
}

impl Floor {
    fn new(kind: Kind, path: &Path) -> Result<Self, Failure> {
        fs::create_dir(path)?;
        fs::write(path.join("cell"), "")?;
        fs::write(path.join("after-0"), "")?;
        Ok(Self { kind, path: path.into(), directory: File::open(path)?, version: 0 })
    }

    /// How long one takes.
    fn swap(&mut self, data: &[u8]) -> Result<Duration, Failure> {
        if self.kind == Kind::Sqlite {
            return Ok(Duration::ZERO);
        }
        let new = self.path.join("new");
        let start = Instant::now();
        let mut file = File::create_new(&new)?;
        file.write_all(data)?;
        file.sync_data()?;
        drop(file);
        if self.kind == Kind::Flock {
            flock(&self.directory, FlockOperation::NonBlockingLockExclusive)?;
            fs::read(self.path.join("cell"))?;
            fs::rename(new, self.path.join("cell"))?;
            flock(&self.directory, FlockOperation::Unlock)?;
        } else {
            let old = self.path.join(format!("after-{}", self.version));
            fs::hard_link(&new, self.path.join(format!("after-{}", self.version + 1)))?;
            fs::remove_file(new)?;
            fs::read(&old)?;
            fs::remove_file(old)?;
        }
        self.directory.sync_all()?;
        self.version += 1;
        Ok(start.elapsed())
    }
}
