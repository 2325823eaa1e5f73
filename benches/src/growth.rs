//! A table that grows: what a swap costs with many holds in it.

use std::time::Instant;

use futures_util::future::try_join_all;
use lock_core::{Locks, MemoryBackend};
use sqlx::mysql::MySqlConnection;
use sqlx::{Executor, Row};

use crate::Failure;
use crate::single::{WARM_UP, compare};
use crate::statistics::{Samples, ratio};
use crate::store::{Connection, Server, counter, open};

pub(crate) async fn measure(server: &Server, quick: bool) -> Result<(), Failure> {
    println!("\n## A table with many holds");
    for holds in [10, 100, 1_000, 10_000] {
        let (url, namespace) = server.fresh();
        let others = open(&url, true)?;
        let guards = try_join_all((0..holds).map(|number| {
            let others = others.clone();
            async move { others.acquire(&*format!("app/{number}/backup")).await }
        }))
        .await?;
        let mut connection = server.connect().await?;
        let data = connection.data(&namespace).await?;
        let locks = open(&url, true)?;
        let count = if quick { 30 } else { 300 } / if holds > 1000 { 3 } else { 1 };
        let before = Logged::now(&mut connection).await?;
        let [acquire, bare_acquire, release, bare_release] =
            compare(server, &locks, &namespace, count).await?;
        let swaps = u64::try_from(4 * (count + WARM_UP))?;
        let logged = Logged::now(&mut connection).await?.since(&before, swaps);
        println!(
            "{holds} holds: {} bytes, {} a hold; acquire {:.1?}, bare {:.1?}, {:.2} times; release \
             {:.1?}, bare {:.1?}, {:.2} times; {logged} a swap",
            data.len(),
            data.len() / holds,
            acquire.median(),
            bare_acquire.median(),
            ratio(acquire.median(), bare_acquire.median()),
            release.median(),
            bare_release.median(),
            ratio(release.median(), bare_release.median()),
        );
        drop(guards);
        others.close().await?;
        locks.close().await?;
    }
    Ok(())
}

/// What the table and the driver cost by themselves.
pub(crate) async fn measure_memory(quick: bool) -> Result<(), Failure> {
    println!("# No server: the cell is in memory");
    println!("\n## A table with many holds");
    for holds in [10, 100, 1_000, 10_000] {
        let cell = MemoryBackend::new();
        let others = Locks::new(cell.clone());
        let guards = try_join_all((0..holds).map(|number| {
            let others = others.clone();
            async move { others.acquire(&*format!("app/{number}/backup")).await }
        }))
        .await?;
        let locks = Locks::new(cell);
        let count = if quick { 200 } else { 2_000 };
        let mut samples = Vec::new();
        for index in 0..count + WARM_UP {
            let start = Instant::now();
            let guard = locks.acquire("app/blog").await?;
            if index >= WARM_UP {
                samples.push(start.elapsed());
            }
            guard.release().await?;
        }
        println!("{holds} holds: acquire {}", Samples::new(samples));
        drop(guards);
        others.close().await?;
        locks.close().await?;
    }
    Ok(())
}

/// What a server has logged.
enum Logged {
    /// Bytes of its redo log, and how far its binary log is.
    Sql(u64, Option<(String, u64)>),
    /// Bytes of its append-only file.
    Redis(u64),
}

impl Logged {
    async fn now(connection: &mut Connection) -> Result<Self, Failure> {
        Ok(match connection {
            Connection::Sql(connection) => Self::Sql(
                counter(connection, "Innodb_os_log_written").await?,
                log_position(connection).await,
            ),
            Connection::Redis(_) => Self::Redis(connection.appended().await?),
        })
    }

    fn since(&self, before: &Self, swaps: u64) -> String {
        match (self, before) {
            (Self::Sql(to, to_binary), Self::Sql(from, from_binary)) => {
                let binary = match (from_binary, to_binary) {
                    (Some((file, from)), Some((now, to))) if file == now => {
                        format!("{} bytes", (to - from) / swaps)
                    }
                    (Some(_), Some(_)) => "more than a file".into(),
                    _ => "no".into(),
                };
                format!("{} bytes of redo log and {binary} of binary log", (to - from) / swaps)
            }
            (Self::Redis(to), Self::Redis(from)) => {
                format!("{} bytes of append-only file", to.saturating_sub(*from) / swaps)
            }
            _ => unreachable!("it is the same server"),
        }
    }
}

/// The file of the binary log that is written, and how far.
async fn log_position(connection: &mut MySqlConnection) -> Option<(String, u64)> {
    for statement in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        if let Ok(Some(row)) = connection.fetch_optional(statement).await {
            return Some((row.try_get_unchecked(0).ok()?, row.try_get_unchecked(1).ok()?));
        }
    }
    None
}
