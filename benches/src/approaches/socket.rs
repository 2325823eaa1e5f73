//! A lock server on a unix socket: a process that has all locks in memory, and its clients.
//!
//! A connection has one lock at a time, and its end is the end of the lock.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lock_bench_worker::{Approach, Failure, Held};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The locks by their names: each lets its waiters in as they came.
type Table = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// Serves until it is killed.
pub(crate) fn serve(path: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        println!("open");
        let table = Table::default();
        loop {
            let (stream, _) = listener.accept().await?;
            let table = table.clone();
            tokio::spawn(async move { attend(BufReader::new(stream), &table).await });
        }
    })
}

/// Serves one client until it is gone.
async fn attend(mut stream: BufReader<UnixStream>, table: &Table) -> std::io::Result<()> {
    loop {
        let mut name = String::new();
        if stream.read_line(&mut name).await? == 0 {
            return Ok(());
        }
        let lock = {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.entry(name.clone()).or_default().clone()
        };
        let guard = tokio::select! {
            guard = lock.lock() => guard,
            // A client that waits says nothing, so it has gone.
            _ = stream.fill_buf() => return Ok(()),
        };
        stream.write_all(b"granted\n").await?;
        let mut word = String::new();
        let heard = stream.read_line(&mut word).await;
        drop(guard);
        {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            // Only the table and this client know it: nobody waits.
            if Arc::strong_count(&lock) == 2 {
                table.remove(&name);
            }
        }
        if heard? == 0 {
            return Ok(());
        }
        stream.write_all(b"released\n").await?;
    }
}

/// A client with the connections that it does not use.
pub(crate) struct Client {
    path: PathBuf,
    idle: Arc<Mutex<Vec<BufReader<UnixStream>>>>,
}

impl Client {
    pub(crate) fn open(path: &str) -> Self {
        Self { path: path.into(), idle: Arc::default() }
    }
}

#[async_trait]
impl Approach for Client {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => BufReader::new(UnixStream::connect(&self.path).await?),
        };
        ask(&mut stream, name, "granted").await?;
        Ok(Box::new(Granted { stream, idle: self.idle.clone() }))
    }
}

struct Granted {
    stream: BufReader<UnixStream>,
    idle: Arc<Mutex<Vec<BufReader<UnixStream>>>>,
}

#[async_trait]
impl Held for Granted {
    async fn release(mut self: Box<Self>) -> Result<(), Failure> {
        ask(&mut self.stream, "release", "released").await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.stream);
        Ok(())
    }
}

/// Says something and waits for the answer that it has to get.
async fn ask(
    stream: &mut BufReader<UnixStream>,
    what: &str,
    expected: &str,
) -> Result<(), Failure> {
    stream.write_all(format!("{what}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    if answer.trim_end() == expected { Ok(()) } else { Err("the lock server has gone".into()) }
}
