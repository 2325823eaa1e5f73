//! Locks in MySQL without this product: by one blob, rows, locked rows, locked tables, and its own named locks.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use lock_bench_worker::{Approach, Failure, Held, POLL, send_at_once};
use sqlx::mysql::{MySql, MySqlDatabaseError, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Transaction};

use super::owner;

/// Numbers of errors of the server.
const NO_SUCH_TABLE: u16 = 1146;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;

/// The connections of a pool, as many as that of the peers.
const CONNECTIONS: u32 = 10;

/// A pool that does not ask before each use whether a connection still works, and a table in it.
async fn pool(url: &str, create: &'static str) -> Result<MySqlPool, Failure> {
    let options = MySqlPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_mins(1))
        .after_connect(|_, _| {
            Box::pin(async {
                send_at_once();
                Ok(())
            })
        });
    let pool = options.connect(url).await?;
    sqlx::raw_sql(create).execute(&pool).await?;
    Ok(pool)
}

/// Whether the connection was one to a server that has ended since: the pool makes another.
fn is_stale(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_))
}

/// Whether the server asks to try once more: it broke a deadlock, or a wait was too long for it.
fn is_to_be_tried_again(error: &sqlx::Error) -> bool {
    matches!(number_of(error), Some(DEADLOCK | LOCK_WAIT_TIMEOUT))
}

/// The number that the server gives its error.
fn number_of(error: &sqlx::Error) -> Option<u16> {
    let error: &MySqlDatabaseError = error.as_database_error()?.try_downcast_ref()?;
    Some(error.number())
}

/// All locks are one text, which is replaced if it still is what was read.
#[derive(Clone)]
pub(crate) struct OldBlob {
    pool: MySqlPool,
    owner: String,
}

impl OldBlob {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        let create = "CREATE TABLE IF NOT EXISTS old_blob (id INT PRIMARY KEY, data LONGTEXT \
                      CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB";
        let pool = pool(url, create).await?;
        sqlx::query("INSERT IGNORE INTO old_blob VALUES (1, '{}')").execute(&pool).await?;
        Ok(Self { pool, owner: owner() })
    }

    /// Changes the text, unless that is not possible now.
    async fn change(
        &self,
        change: impl Fn(&mut BTreeMap<String, String>) -> bool,
    ) -> Result<bool, Failure> {
        loop {
            let read = sqlx::query_scalar("SELECT data FROM old_blob WHERE id = 1");
            let old: String = match read.fetch_one(&self.pool).await {
                Err(error) if is_stale(&error) => continue,
                read => read?,
            };
            let mut locks = serde_json::from_str(&old)?;
            if !change(&mut locks) {
                return Ok(false);
            }
            let update = "UPDATE old_blob SET data = ? WHERE id = 1 AND data = ?";
            let new = serde_json::to_string(&locks)?;
            match sqlx::query(update).bind(new).bind(old).execute(&self.pool).await {
                Ok(done) if done.rows_affected() == 1 => return Ok(true),
                Ok(_) => {}
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[async_trait]
impl Approach for OldBlob {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let take = |locks: &mut BTreeMap<String, String>| {
            let is_free = !locks.contains_key(name);
            locks.entry(name.into()).or_insert_with(|| self.owner.clone());
            is_free
        };
        while !self.change(take).await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(Box::new(InBlob(self.clone(), name.into())))
    }
}

struct InBlob(OldBlob, String);

#[async_trait]
impl Held for InBlob {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        let Self(blob, name) = *self;
        let is_ours = |locks: &BTreeMap<_, _>| locks.get(&name) == Some(&blob.owner);
        if blob.change(|locks| is_ours(locks) && locks.remove(&name).is_some()).await? {
            Ok(())
        } else {
            Err("it was not held any more".into())
        }
    }
}

/// A lock is held while its row is there.
pub(crate) struct Row {
    pool: MySqlPool,
    owner: String,
}

impl Row {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        let create = "CREATE TABLE IF NOT EXISTS held (name VARBINARY(512) PRIMARY KEY, \
                      owner VARCHAR(64) NOT NULL) ENGINE=InnoDB";
        Ok(Self { pool: pool(url, create).await?, owner: owner() })
    }
}

#[async_trait]
impl Approach for Row {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let insert = "INSERT INTO held VALUES (?, ?)";
        loop {
            let insert = sqlx::query(insert).bind(name.as_bytes()).bind(&self.owner);
            match insert.execute(&self.pool).await {
                Ok(_) => break,
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) if is_to_be_tried_again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (pool, owner) = (self.pool.clone(), self.owner.clone());
        Ok(Box::new(HeldRow { pool, name: name.into(), owner }))
    }
}

struct HeldRow {
    pool: MySqlPool,
    name: String,
    owner: String,
}

#[async_trait]
impl Held for HeldRow {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        loop {
            let delete = sqlx::query("DELETE FROM held WHERE name = ? AND owner = ?")
                .bind(self.name.as_bytes())
                .bind(&self.owner);
            match delete.execute(&self.pool).await {
                Ok(done) if done.rows_affected() == 1 => return Ok(()),
                Ok(_) => return Err("it was not held any more".into()),
                Err(error) if is_to_be_tried_again(&error) || is_stale(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A transaction that is open locks the row of a lock, which is never removed.
pub(crate) struct ForUpdate(MySqlPool);

impl ForUpdate {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        let create = "CREATE TABLE IF NOT EXISTS lockable (name VARBINARY(512) PRIMARY KEY) \
                      ENGINE=InnoDB";
        Ok(Self(pool(url, create).await?))
    }
}

#[async_trait]
impl Approach for ForUpdate {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        loop {
            let mut transaction = self.0.begin().await?;
            let select = sqlx::query("SELECT name FROM lockable WHERE name = ? FOR UPDATE");
            match select.bind(name.as_bytes()).fetch_optional(&mut *transaction).await {
                Ok(Some(_)) => return Ok(Box::new(Open(transaction))),
                Ok(None) => {
                    transaction.rollback().await?;
                    let insert = sqlx::query("INSERT IGNORE INTO lockable VALUES (?)");
                    insert.bind(name.as_bytes()).execute(&self.0).await?;
                }
                Err(error) if is_to_be_tried_again(&error) => transaction.rollback().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Open(Transaction<'static, MySql>);

#[async_trait]
impl Held for Open {
    async fn release(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.0.commit().await?)
    }
}

/// A session that is open locks the table of a lock, which is never dropped.
pub(crate) struct LockTables(MySqlPool);

impl LockTables {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        Ok(Self(pool(url, "DO 1").await?))
    }
}

#[async_trait]
impl Approach for LockTables {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        // Letters and digits as they are, the rest as numbers: no two names have the same table.
        let table: String = name.bytes().fold("lock_".into(), |table, byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' => table + &char::from(byte).to_string(),
            other => table + &format!("_{other:02X}"),
        });
        let mut session = self.0.acquire().await?;
        let lock = format!("LOCK TABLES `{table}` WRITE");
        loop {
            match sqlx::raw_sql(AssertSqlSafe(lock.clone())).execute(&mut *session).await {
                Ok(_) => return Ok(Box::new(Session(session, "UNLOCK TABLES"))),
                Err(error) if number_of(&error) == Some(NO_SUCH_TABLE) => {
                    let create = format!("CREATE TABLE IF NOT EXISTS `{table}` (nothing INT)");
                    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *session).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A session that has a lock until it says this, or ends.
struct Session(PoolConnection<MySql>, &'static str);

#[async_trait]
impl Held for Session {
    async fn release(mut self: Box<Self>) -> Result<(), Failure> {
        sqlx::raw_sql(self.1).execute(&mut *self.0).await?;
        Ok(())
    }
}

/// The named locks that the server has itself.
pub(crate) struct GetLock(MySqlPool);

impl GetLock {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        Ok(Self(pool(url, "DO 1").await?))
    }
}

#[async_trait]
impl Approach for GetLock {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let mut session = self.0.acquire().await?;
        let get = sqlx::query_scalar("SELECT GET_LOCK(?, 3600)").bind(name);
        match get.fetch_one(&mut *session).await? {
            Some(1i64) => Ok(Box::new(Session(session, "DO RELEASE_ALL_LOCKS()"))),
            _ => Err("it was not granted within an hour".into()),
        }
    }
}
