//! How many locks a second other crates acquire and release: the server's URL, tasks and seconds as arguments.

use std::error::Error;
use std::time::{Duration, Instant};

use distributed_lock_core::traits::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_mysql::MySqlLockProvider;
use futures_util::future::try_join_all;
use sqlx::mysql::MySqlPoolOptions;

type Failure = Box<dyn Error + Send + Sync>;

/// The connections of the pool.
const CONNECTIONS: u32 = 10;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, tasks, seconds] = &arguments[..] else { return Err("URL TASKS SECONDS".into()) };
    let (tasks, time) = (tasks.parse::<u32>()?, Duration::from_secs(seconds.parse()?));
    let pool = MySqlPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(60))
        .connect(url)
        .await?;
    let provider = MySqlLockProvider::builder().pool(pool).build().await?;
    let begin = Instant::now();
    let counts = try_join_all((0..tasks).map(|task| {
        let lock = provider.create_lock(&format!("app/{task}"));
        async move {
            let mut count = 0u32;
            while begin.elapsed() < time {
                lock.acquire(None).await?.release().await?;
                count += 1;
            }
            Ok::<_, Failure>(count)
        }
    }))
    .await?;
    println!("{:.0}", f64::from(counts.iter().sum::<u32>()) / begin.elapsed().as_secs_f64());
    Ok(())
}
