//! A server with a database for measurements, and its own counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::{LockBackend, Locks};
use lock_file::{FileOptions, Strategy};
use lock_mysql::MySqlBackend;
use lock_servers::{Instance, Kind};
use lock_sqlite::SqliteBackend;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Executor, Row};

use crate::Failure;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    instance: Instance,
    pub(crate) version: String,
    next: AtomicU32,
}

impl Server {
    pub(crate) async fn start(kind: Kind, arguments: &[&str]) -> Result<Self, Failure> {
        let instance = Instance::start_with(kind, arguments)?;
        instance.create("locks")?;
        let url = format!("{}/locks", instance.url());
        MySqlBackend::from_url(&url)?.migrate().await?;
        let mut server = Self { instance, version: String::new(), next: AtomicU32::new(0) };
        server.version = server.connect().await?.fetch_one("SELECT VERSION()").await?.get(0);
        Ok(server)
    }

    /// The URL of a namespace that nobody has used yet, and its name.
    pub(crate) fn fresh(&self) -> (String, String) {
        let namespace = format!("n{}", self.next.fetch_add(1, Ordering::Relaxed));
        (format!("{}?namespace={namespace}", self.url()), namespace)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/locks", self.instance.url())
    }

    pub(crate) async fn connect(&self) -> Result<MySqlConnection, Failure> {
        let url = self.url().parse::<MySqlConnectOptions>()?;
        Ok(url.disable_statement_logging().connect().await?)
    }
}

/// A counter of the server.
pub(crate) async fn counter(connection: &mut MySqlConnection, name: &str) -> Result<u64, Failure> {
    let row = sqlx::query("SHOW GLOBAL STATUS WHERE Variable_name = ?")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get_unchecked::<String, _>(1)?.parse()?)
}

/// The data of a cell.
pub(crate) async fn data(
    connection: &mut MySqlConnection,
    namespace: &str,
) -> Result<String, Failure> {
    let row = sqlx::query("SELECT data FROM interlock WHERE id = ?")
        .bind(namespace.as_bytes())
        .fetch_one(connection)
        .await?;
    Ok(row.try_get_unchecked(0)?)
}

/// Locks in the store of a URL.
pub(crate) fn open(url: &str, bell: bool) -> Result<Locks, Failure> {
    let builder = Locks::builder(backend(url)?);
    Ok(if bell { builder.build() } else { builder.no_bell().build() })
}

pub(crate) fn backend(url: &str) -> Result<Arc<dyn LockBackend>, Failure> {
    Ok(match url.split_once(':') {
        Some(("sqlite", path)) => Arc::new(SqliteBackend::open(path)?),
        Some(("flock", path)) => Arc::new(FileOptions::new(path).strategy(Strategy::Flock).open()?),
        Some(("excl", path)) => Arc::new(FileOptions::new(path).strategy(Strategy::Excl).open()?),
        _ => Arc::new(MySqlBackend::from_url(url)?),
    })
}
