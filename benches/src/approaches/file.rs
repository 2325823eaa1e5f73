//! Locks in files: one that exists, one that is locked by the kernel, rows of an SQLite database.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lock_bench_worker::{Approach, Failure, Held, POLL};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::owner;

/// The file of a lock.
fn path_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.replace('/', "%2F"))
}

/// A lock is held while its file is there.
pub(crate) struct Excl(PathBuf);

impl Excl {
    pub(crate) fn open(directory: &str) -> Self {
        Self(directory.into())
    }
}

#[async_trait]
impl Approach for Excl {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let path = path_of(&self.0, name);
        loop {
            match File::create_new(&path) {
                Ok(mut file) => {
                    writeln!(file, "{}", std::process::id())?;
                    return Ok(Box::new(HeldFile(path)));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct HeldFile(PathBuf);

#[async_trait]
impl Held for HeldFile {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        Ok(fs::remove_file(self.0)?)
    }
}

/// The kernel locks the file of a lock, which is never removed.
pub(crate) struct Flock(PathBuf);

impl Flock {
    pub(crate) fn open(directory: &str) -> Self {
        Self(directory.into())
    }
}

#[async_trait]
impl Approach for Flock {
    /// Blocks its thread while it waits: a service would do that in a thread of its own.
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let path = path_of(&self.0, name);
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Box::new(Locked(file)))
    }
}

struct Locked(File);

#[async_trait]
impl Held for Locked {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        Ok(flock(&self.0, FlockOperation::Unlock)?)
    }
}

/// A lock is held while its row is there.
pub(crate) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    owner: String,
}

impl Sqlite {
    pub(crate) fn open(directory: &str) -> Result<Self, Failure> {
        let connection = Connection::open(Path::new(directory).join("rows.db"))?;
        connection.busy_timeout(std::time::Duration::from_mins(1))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS held (name TEXT PRIMARY KEY, owner TEXT NOT NULL)",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), owner: owner() })
    }
}

#[async_trait]
impl Approach for Sqlite {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        const INSERT: &str = "INSERT INTO held VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        while execute(&self.connection, INSERT, name, &self.owner)? == 0 {
            tokio::time::sleep(POLL).await;
        }
        let (connection, owner) = (self.connection.clone(), self.owner.clone());
        Ok(Box::new(HeldRow { connection, name: name.into(), owner }))
    }
}

struct HeldRow {
    connection: Arc<Mutex<Connection>>,
    name: String,
    owner: String,
}

#[async_trait]
impl Held for HeldRow {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        const DELETE: &str = "DELETE FROM held WHERE name = ?1 AND owner = ?2";
        match execute(&self.connection, DELETE, &self.name, &self.owner)? {
            1 => Ok(()),
            _ => Err("it was not held any more".into()),
        }
    }
}

/// How many rows a statement changed.
fn execute(
    connection: &Mutex<Connection>,
    statement: &str,
    name: &str,
    owner: &str,
) -> Result<usize, Failure> {
    let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(connection.prepare_cached(statement)?.execute([name, owner])?)
}
