//! A server with a place for measurements, and its own counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::{LockBackend, Locks};
use lock_file::{FileOptions, Strategy};
use lock_mysql::MySqlBackend;
use lock_redis::RedisBackend;
use lock_servers::{Instance, Kind, RedisKind, RedisServer};
use lock_sqlite::SqliteBackend;
use redis::aio::MultiplexedConnection;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Executor, Row};

use crate::Failure;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    store: Store,
    pub(crate) name: String,
    next: AtomicU32,
}

#[derive(Debug)]
enum Store {
    Sql(Instance),
    Redis(RedisServer),
}

/// A connection, behind the back of the backend.
pub(crate) enum Connection {
    Sql(MySqlConnection),
    Redis(MultiplexedConnection),
}

impl Server {
    /// Names of all that there are.
    pub(crate) const ALL: [&str; 4] = ["mariadb", "mysql", "redis", "valkey"];

    /// Starts a server by its name: with the durability that its makers give it, or of Redis the most.
    pub(crate) async fn start(name: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let next = AtomicU32::new(0);
        if let Some(kind) = RedisKind::ALL.into_iter().find(|kind| kind.name() == name) {
            let lines = [&["appendonly yes", "appendfsync always"], arguments].concat();
            let server = RedisServer::start_with(kind, &lines)?;
            let mut server = Self { store: Store::Redis(server), name: String::new(), next };
            let info = server.connect().await?.info("server").await?;
            let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}_version:")));
            server.name = format!("{kind} {}", line.unwrap_or("of an unknown version"));
            return Ok(server);
        }
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| format!("there is no server {name}"))?;
        let instance = Instance::start_with(kind, arguments)?;
        instance.create("locks")?;
        let mut server = Self { store: Store::Sql(instance), name: String::new(), next };
        MySqlBackend::from_url(&server.url())?.migrate().await?;
        let Connection::Sql(mut connection) = server.connect().await? else { unreachable!() };
        let version: String = connection.fetch_one("SELECT VERSION()").await?.get(0);
        server.name = format!("{kind} {version}");
        Ok(server)
    }

    /// The URL of a namespace that nobody has used yet, and its name.
    pub(crate) fn fresh(&self) -> (String, String) {
        let namespace = format!("n{}", self.next.fetch_add(1, Ordering::Relaxed));
        (format!("{}?namespace={namespace}", self.url()), namespace)
    }

    pub(crate) fn url(&self) -> String {
        match &self.store {
            Store::Sql(instance) => format!("{}/locks", instance.url()),
            Store::Redis(server) => server.url(),
        }
    }

    /// Whether the table that peers and logs are measured by is there.
    pub(crate) fn is_sql(&self) -> bool {
        matches!(self.store, Store::Sql(_))
    }

    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        Ok(match &self.store {
            Store::Sql(_) => {
                let url = self.url().parse::<MySqlConnectOptions>()?;
                Connection::Sql(url.disable_statement_logging().connect().await?)
            }
            Store::Redis(server) => {
                let client = redis::Client::open(server.url())?;
                Connection::Redis(client.get_multiplexed_async_connection().await?)
            }
        })
    }
}

impl Connection {
    /// How many statements of clients the server has executed.
    pub(crate) async fn statements(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Sql(connection) => counter(connection, "Questions").await,
            Self::Redis(_) => self.calls("evalsha").await,
        }
    }

    /// How many of them wrote a cell.
    pub(crate) async fn writes(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Sql(connection) => counter(connection, "Com_update").await,
            Self::Redis(_) => self.calls("hset").await,
        }
    }

    /// How many connections there are.
    pub(crate) async fn connections(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Sql(connection) => counter(connection, "Threads_connected").await,
            Self::Redis(_) => self.field("clients", "connected_clients:").await,
        }
    }

    /// How large the append-only file is.
    pub(crate) async fn appended(&mut self) -> Result<u64, Failure> {
        self.field("persistence", "aof_current_size:").await
    }

    /// The data of a cell.
    pub(crate) async fn data(&mut self, namespace: &str) -> Result<String, Failure> {
        match self {
            Self::Sql(connection) => {
                let row = sqlx::query("SELECT data FROM interlock WHERE id = ?")
                    .bind(namespace.as_bytes())
                    .fetch_one(connection)
                    .await?;
                Ok(row.try_get_unchecked(0)?)
            }
            Self::Redis(connection) => {
                let mut get = redis::cmd("HGET");
                get.arg(format!("interlock:{{{namespace}}}")).arg("data");
                Ok(get.query_async(connection).await?)
            }
        }
    }

    async fn info(&mut self, section: &str) -> Result<String, Failure> {
        let Self::Redis(connection) = self else { unreachable!("only Redis is asked") };
        Ok(redis::cmd("INFO").arg(section).query_async(connection).await?)
    }

    async fn calls(&mut self, command: &str) -> Result<u64, Failure> {
        self.field("commandstats", &format!("cmdstat_{command}:calls=")).await
    }

    /// The number after something that `INFO` tells; 0 if it does not.
    async fn field(&mut self, section: &str, name: &str) -> Result<u64, Failure> {
        let info = self.info(section).await?;
        let number = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        Ok(number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("0").parse()?)
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
        Some(("redis", _)) => Arc::new(RedisBackend::from_url(url)?),
        _ => Arc::new(MySqlBackend::from_url(url)?),
    })
}
