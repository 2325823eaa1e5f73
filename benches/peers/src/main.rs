//! The crates that one would take instead, driven by the same orders as everything else that is compared.
//!
//! Its environment says which, in `LOCK_BENCH_WORKER`; its argument is the server's URL, or a folder.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distributed_lock_core::error::LockError;
use distributed_lock_core::traits::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_file::FileLockProvider;
use distributed_lock_mysql::MySqlLockProvider;
use distributed_lock_redis::RedisLockProvider;
use lock_bench_worker::{Approach, Failure, Held, POLL};
use rslock::{LockGuard, LockManager};
use sqlx::mysql::MySqlPoolOptions;

/// The connections of the pool.
const CONNECTIONS: u32 = 10;

/// When a key of Redis expires, where that can be said: as in the approach that does without a crate.
const EXPIRY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match lock_bench_worker::serve(open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn open() -> Result<Arc<dyn Approach>, Failure> {
    let name = std::env::var("LOCK_BENCH_WORKER")?;
    let at = std::env::args().nth(1).ok_or("a worker is told where")?;
    Ok(match name.as_str() {
        "distributed-lock-mysql" => {
            // As the pool of the approaches that do without a crate.
            let options = MySqlPoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .acquire_timeout(Duration::from_secs(60))
                .after_connect(|_, _| {
                    Box::pin(async {
                        lock_bench_worker::send_at_once();
                        Ok(())
                    })
                });
            let pool = options.connect(&at).await?;
            Arc::new(Provided(MySqlLockProvider::builder().pool(pool).build().await?))
        }
        "distributed-lock-redis" => {
            let builder = RedisLockProvider::builder().url(at).expiry(EXPIRY);
            let builder = builder.extension_cadence(EXPIRY / 3).min_validity(EXPIRY * 9 / 10);
            Arc::new(Provided(builder.build().await?))
        }
        "distributed-lock-file" => Arc::new(Provided(FileLockProvider::new(at)?)),
        "rslock" => {
            let mut manager = LockManager::new(vec![at]);
            // Its pause between two tries stays as it is.
            manager.set_retry(u32::MAX, Duration::from_millis(200));
            Arc::new(RsLock(manager))
        }
        _ => return Err(format!("there is no peer {name}").into()),
    })
}

/// Whatever `distributed-lock` has, by its traits.
struct Provided<P>(P);

#[async_trait]
impl<P> Approach for Provided<P>
where
    P: LockProvider + Send + Sync,
    P::Lock: DistributedLock,
    <P::Lock as DistributedLock>::Handle: 'static,
{
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let lock = self.0.create_lock(name);
        loop {
            match lock.acquire(None).await {
                Ok(handle) => return Ok(Box::new(Handle(handle))),
                // That of Redis says so at once, however long one would wait.
                Err(LockError::Timeout(_)) => tokio::time::sleep(POLL).await,
                Err(error) => return Err(told(&error)),
            }
        }
    }
}

struct Handle<H>(H);

#[async_trait]
impl<H: LockHandle> Held for Handle<H> {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        self.0.release().await.map_err(|error| told(&error))
    }
}

struct RsLock(LockManager);

#[async_trait]
impl Approach for RsLock {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        Ok(Box::new(Guard(self.0.acquire(name, EXPIRY).await?)))
    }
}

struct Guard(LockGuard);

#[async_trait]
impl Held for Guard {
    /// It does not say whether the lock was still held.
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        self.0.release().await;
        Ok(())
    }
}

/// An error with its causes.
fn told(error: &dyn Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text.into()
}
