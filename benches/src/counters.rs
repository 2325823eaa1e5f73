//! What servers count themselves: statements, writes, connections, and bytes of their logs.

use std::fs;
use std::num::ParseIntError;
use std::time::Duration;

use lock_bench_worker::{Failure, send_at_once};
use redis::aio::MultiplexedConnection;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Executor, Row};
use tokio::time::sleep;

/// What only scripts of this product call, which Redis counts as commands besides them.
const IN_SCRIPTS: [&str; 6] = ["hgetall", "hget", "exists", "hstrlen", "hset", "publish"];

/// A connection to a server, by which it is asked what it counts.
pub(crate) enum Counters {
    Sql(MySqlConnection),
    Redis(MultiplexedConnection),
}

/// How much was written, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// To the redo log or the append-only file; without a server, to all files of this process.
    main: u64,
    /// To the binary log.
    binary: Option<u64>,
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

    /// Has it drop what it has logged and needs no more: the disk is not to be filled.
    pub(crate) async fn forget_logs(&mut self) -> Result<(), Failure> {
        const MUCH: u64 = 1 << 26;
        match self {
            Self::Sql(connection) => {
                // Without a binary log it refuses.
                let _ = connection.execute("PURGE BINARY LOGS BEFORE NOW()").await;
            }
            Self::Redis(connection) => {
                let mut connection = connection.clone();
                if self.field("persistence", "aof_current_size:").await? < MUCH {
                    return Ok(());
                }
                redis::cmd("BGREWRITEAOF").query_async::<String>(&mut connection).await?;
                while self.field("persistence", "aof_rewrite_in_progress:").await?
                    + self.field("persistence", "aof_rewrite_scheduled:").await?
                    > 0
                {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
        Ok(())
    }

    /// How much it has logged.
    pub(crate) async fn logged(&mut self) -> Result<Logged, Failure> {
        Ok(match self {
            Self::Sql(_) => {
                let main = self.status("Innodb_os_log_written").await?;
                Logged { main, binary: self.binary_logs().await }
            }
            Self::Redis(_) => {
                let main = self.field("persistence", "aof_current_size:").await?;
                Logged { main, binary: None }
            }
        })
    }

    /// How large its binary logs are together, if it has any.
    async fn binary_logs(&mut self) -> Option<u64> {
        let Self::Sql(connection) = self else { return None };
        let files = connection.fetch_all("SHOW BINARY LOGS").await.ok()?;
        files.iter().map(|file| file.try_get_unchecked::<u64, _>(1).ok()).sum()
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

/// The number after something in lines of text; 0 if it is not there.
fn number(info: &str, name: &str) -> Result<u64, ParseIntError> {
    let number = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("0").parse()
}

impl Logged {
    /// What this process has had the system write, in whole pages.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let main = number(&fs::read_to_string("/proc/self/io")?, "write_bytes: ")?;
        Ok(Self { main, binary: None })
    }

    /// How many bytes were written since, of the main log and of the binary one; none where there is
    /// none.
    pub(crate) fn since(&self, before: &Self) -> (Option<u64>, Option<u64>) {
        let binary = self.binary.zip(before.binary).and_then(|(to, from)| to.checked_sub(from));
        (self.main.checked_sub(before.main), binary)
    }
}
