//! What servers count themselves: statements, writes, connections, and bytes of their logs.

use std::fs;
use std::num::ParseIntError;

use lock_bench_worker::Failure;
use redis::aio::MultiplexedConnection;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Executor, Row};

/// Has all sockets of this process send small packets at once, as those of this product's clients do: sqlx
/// does not, and a long statement over TLS would wait 40 ms for an acknowledgement, which is no floor.
fn send_at_once() {
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A copy of the descriptor; whatever is no socket refuses the option.
        let copy = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
        let _ = copy.and_then(|copy| set_tcp_nodelay(&copy, true));
    }
}

/// What only scripts of this product call, which Redis counts as commands besides them.
const IN_SCRIPTS: [&str; 6] = ["hgetall", "hget", "exists", "hstrlen", "hset", "publish"];

/// A connection to a server, by which it is asked what it counts.
pub(crate) enum Counters {
    Sql(MySqlConnection),
    Redis(MultiplexedConnection),
}

/// How far the logs of a server are, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The redo log, or the append-only file.
    main: u64,
    /// The binary log: its file, and how far that is.
    binary: Option<(String, u64)>,
}

impl Counters {
    pub(crate) async fn of_sql(url: &str) -> Result<Self, Failure> {
        let url = url.parse::<MySqlConnectOptions>()?;
        let connection = url.disable_statement_logging().connect().await?;
        send_at_once();
        Ok(Self::Sql(connection))
    }

    pub(crate) async fn of_redis(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        Ok(Self::Redis(client.get_multiplexed_async_connection().await?))
    }

    /// The version of a server of this name.
    pub(crate) async fn version(&mut self, name: &str) -> Result<String, Failure> {
        match self {
            Self::Sql(connection) => {
                Ok(connection.fetch_one("SELECT VERSION()").await?.try_get_unchecked(0)?)
            }
            Self::Redis(_) => {
                let (info, key) = (self.info("server").await?, format!("{name}_version:"));
                let version = info.lines().find_map(|line| line.strip_prefix(&key));
                Ok(version.unwrap_or("of an unknown version").to_owned())
            }
        }
    }

    /// How many statements of clients the server has executed, those that ask for it included: one
    /// from one call to the next.
    pub(crate) async fn statements(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Sql(_) => self.status("Questions").await,
            Self::Redis(_) => {
                let info = self.info("all").await?;
                let in_scripts =
                    IN_SCRIPTS.map(|name| number(&info, &format!("cmdstat_{name}:calls=")));
                let sum = in_scripts.into_iter().sum::<Result<u64, _>>()?;
                Ok(number(&info, "total_commands_processed:")?.saturating_sub(sum))
            }
        }
    }

    /// How many of them wrote a cell of this product.
    pub(crate) async fn writes(&mut self) -> Result<u64, Failure> {
        match self {
            // Statements that found another version have written nothing. Not every MariaDB has the
            // counters of InnoDB.
            Self::Sql(_) => self.status("Handler_update").await,
            Self::Redis(_) => self.field("commandstats", "cmdstat_hset:calls=").await,
        }
    }

    /// How many connections there are, and this one.
    pub(crate) async fn connections(&mut self) -> Result<u64, Failure> {
        match self {
            Self::Sql(_) => self.status("Threads_connected").await,
            Self::Redis(_) => self.field("clients", "connected_clients:").await,
        }
    }

    /// How far its logs are.
    pub(crate) async fn logged(&mut self) -> Result<Logged, Failure> {
        Ok(match self {
            Self::Sql(_) => {
                let main = self.status("Innodb_os_log_written").await?;
                Logged { main, binary: self.binary_log().await }
            }
            Self::Redis(_) => {
                let main = self.field("persistence", "aof_current_size:").await?;
                Logged { main, binary: None }
            }
        })
    }

    /// The file of the binary log that is written, and how far; servers differ in how they are asked.
    async fn binary_log(&mut self) -> Option<(String, u64)> {
        let Self::Sql(connection) = self else { return None };
        for statement in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
            if let Ok(Some(row)) = connection.fetch_optional(statement).await {
                return Some((row.try_get_unchecked(0).ok()?, row.try_get_unchecked(1).ok()?));
            }
        }
        None
    }

    async fn status(&mut self, name: &str) -> Result<u64, Failure> {
        let Self::Sql(connection) = self else { unreachable!("only SQL has it") };
        let row = sqlx::query("SHOW GLOBAL STATUS WHERE Variable_name = ?");
        let row = row.bind(name).fetch_one(connection).await?;
        Ok(row.try_get_unchecked::<String, _>(1)?.parse()?)
    }

    async fn info(&mut self, section: &str) -> Result<String, Failure> {
        let Self::Redis(connection) = self else { unreachable!("only Redis has it") };
        Ok(redis::cmd("INFO").arg(section).query_async(connection).await?)
    }

    /// The number after something that `INFO` tells; 0 if it does not.
    async fn field(&mut self, section: &str, name: &str) -> Result<u64, Failure> {
        Ok(number(&self.info(section).await?, name)?)
    }
}

/// The number after something in what `INFO` tells; 0 if it does not.
fn number(info: &str, name: &str) -> Result<u64, ParseIntError> {
    let number = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("0").parse()
}

impl Logged {
    /// How many bytes were written since, of the main log and of the binary one; none where the log
    /// has begun a new file meanwhile, or there is none.
    pub(crate) fn since(&self, before: &Self) -> (Option<u64>, Option<u64>) {
        let binary = match (&self.binary, &before.binary) {
            (Some((file, to)), Some((same, from))) if file == same => to.checked_sub(*from),
            _ => None,
        };
        (self.main.checked_sub(before.main), binary)
    }
}
