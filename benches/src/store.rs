//! The stores that are measured: servers that were started, and folders; each with places that nobody has used.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lock_bench_worker::Failure;
use lock_core::{LockBackend, Locks, LocksBuilder};
use lock_file::{FileOptions, Strategy};
use lock_mysql::MySqlBackend;
use lock_redis::RedisBackend;
use lock_servers::{Instance, Kind, RedisKind, RedisServer};
use lock_sqlite::SqliteBackend;
use tempfile::TempDir;

use crate::counters::Counters;

/// The name of the Redis that loses what it acknowledged, as its makers deliver it.
pub(crate) const AS_DELIVERED: &str = "redis as delivered";

/// All that is acknowledged is on the disk, and the file is written anew only when that is asked for:
/// else nobody could tell how much a swap adds to it.
const DURABLE: [&str; 3] =
    ["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0"];

/// Longer than anything here takes.
const LONG: Duration = Duration::from_hours(1);

/// A store.
#[derive(Debug)]
pub(crate) struct Store {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is called in the report, with its version.
    pub(crate) title: String,
    place: Place,
    next: AtomicU32,
}

#[derive(Debug)]
enum Place {
    Folder(TempDir),
    Sql(Instance),
    Redis(RedisServer),
}

impl Store {
    /// The names of all that there are.
    pub(crate) const ALL: [&str; 7] =
        ["flock", "excl", "sqlite", "mariadb", "mysql", "redis", "valkey"];

    /// Starts one: with the durability that its makers give it, or of Redis the most.
    pub(crate) async fn start(name: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let name = Self::ALL.into_iter().find(|known| *known == name);
        let name = name.ok_or("there is no such store")?;
        let next = AtomicU32::new(0);
        if let Some(kind) = RedisKind::ALL.into_iter().find(|kind| kind.name() == name) {
            return Self::start_redis(name, kind, &[&DURABLE[..], arguments].concat()).await;
        }
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) {
            let instance = Instance::start_in_full(kind, arguments)?;
            instance.create("locks")?;
            let mut store = Self { name, title: String::new(), place: Place::Sql(instance), next };
            MySqlBackend::from_url(&store.at())?.migrate().await?;
            let version = store.counters().await?.ok_or("it counts")?.version(name).await?;
            store.title = format!("{kind} {version}");
            return Ok(store);
        }
        let title = match name {
            "flock" => "files, flock".into(),
            "excl" => "files, exclusive links".into(),
            _ => format!("SQLite {}", rusqlite::version()),
        };
        Ok(Self { name, title, place: Place::Folder(tempfile::tempdir()?), next })
    }

    /// Starts the Redis of that name.
    pub(crate) async fn start_as_delivered() -> Result<Self, Failure> {
        // Servers of tests save nothing; these are the intervals of its makers.
        let lines = ["save 3600 1 300 100 60 10000"];
        Self::start_redis(AS_DELIVERED, RedisKind::Redis, &lines).await
    }

    async fn start_redis(
        name: &'static str,
        kind: RedisKind,
        lines: &[&str],
    ) -> Result<Self, Failure> {
        let place = Place::Redis(RedisServer::start_with(kind, lines)?);
        let mut store = Self { name, title: String::new(), place, next: AtomicU32::new(0) };
        let version = store.counters().await?.ok_or("it counts")?.version(kind.name()).await?;
        store.title = format!("{kind} {version}");
        Ok(store)
    }

    /// What its server was told that differs from what its makers deliver, places aside.
    pub(crate) fn options(&self) -> Result<Vec<String>, Failure> {
        const PLACES: [&str; 5] = ["bind", "port", "dir", "logfile", "unixsocket"];
        let is_place =
            |line: &&str| line.split(' ').next().is_some_and(|key| PLACES.contains(&key));
        Ok(match &self.place {
            Place::Folder(_) => Vec::new(),
            Place::Sql(instance) => instance.options(),
            Place::Redis(server) => {
                let lines = fs::read_to_string(server.directory().join("server.conf"))?;
                lines.lines().filter(|line| !is_place(line)).map(str::to_owned).collect()
            }
        })
    }

    /// The URL of a cell that nobody has used yet, for [`backend`].
    pub(crate) fn fresh(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match &self.place {
            Place::Folder(folder) => {
                format!("{}:{}", self.name, folder.path().join(format!("n{number}")).display())
            }
            _ => format!("{}?namespace=n{number}", self.at()),
        }
    }

    /// The URL of the server, or the path of the folder.
    pub(crate) fn at(&self) -> String {
        match &self.place {
            Place::Folder(folder) => folder.path().display().to_string(),
            Place::Sql(instance) => format!("{}/locks", instance.url()),
            Place::Redis(server) => server.url(),
        }
    }

    /// The URL of a cell as `lockctl` takes it.
    pub(crate) fn for_lockctl(&self) -> String {
        let url = self.fresh();
        match url.split_once(':') {
            Some((strategy @ ("flock" | "excl"), path)) => {
                format!("file:{path}?strategy={strategy}")
            }
            _ => url,
        }
    }

    /// Where its server is, if it has one.
    pub(crate) fn server(&self) -> Option<Server> {
        match &self.place {
            Place::Folder(_) => None,
            Place::Sql(_) => Some(Server::Sql(self.at())),
            Place::Redis(_) => Some(Server::Redis(self.at())),
        }
    }

    /// The counters of its server, if it has one.
    pub(crate) async fn counters(&self) -> Result<Option<Counters>, Failure> {
        match self.server() {
            Some(server) => server.counters().await.map(Some),
            None => Ok(None),
        }
    }

    /// Kills its server, if it has one, and starts it again.
    pub(crate) fn restart(&self) -> Result<bool, Failure> {
        match &self.place {
            Place::Folder(_) => return Ok(false),
            Place::Sql(instance) => {
                instance.kill()?;
                instance.start_again()?;
            }
            Place::Redis(server) => {
                server.kill()?;
                server.start_again()?;
            }
        }
        Ok(true)
    }

    /// A path for whatever a measurement needs besides.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder.path()),
            _ => None,
        }
    }
}

/// A server by its URL.
pub(crate) enum Server {
    Sql(String),
    Redis(String),
}

impl Server {
    /// Its counters, by a connection of the runtime that this is called in.
    pub(crate) async fn counters(&self) -> Result<Counters, Failure> {
        match self {
            Self::Sql(url) => Counters::of_sql(url).await,
            Self::Redis(url) => Counters::of_redis(url).await,
        }
    }
}

/// Locks in the cell of a URL.
pub(crate) fn locks(url: &str, bell: bool) -> Result<Locks, Failure> {
    Ok(builder(url, bell)?.build())
}

fn builder(url: &str, bell: bool) -> Result<LocksBuilder, Failure> {
    let builder = Locks::builder(backend(url)?);
    Ok(if bell { builder } else { builder.no_bell() })
}

/// With a lease so long that no renewal is counted among the statements and writes of others.
pub(crate) fn locks_without_renewals(url: &str, bell: bool) -> Result<Locks, Failure> {
    Ok(builder(url, bell)?.lease(LONG).build())
}

pub(crate) fn backend(url: &str) -> Result<Arc<dyn LockBackend>, Failure> {
    Ok(match url.split_once(':') {
        Some(("sqlite", path)) => Arc::new(SqliteBackend::open(path)?),
        Some(("flock", path)) => Arc::new(FileOptions::new(path).strategy(Strategy::Flock).open()?),
        Some(("excl", path)) => Arc::new(FileOptions::new(path).strategy(Strategy::Excl).open()?),
        Some(("redis", _)) => Arc::new(RedisBackend::from_url(url)?),
        _ => Arc::new(MySqlBackend::from_url(url)?),
    })
}
