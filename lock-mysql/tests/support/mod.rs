//! Servers for the tests of this crate, and statements that go behind the backend's back.
#![allow(dead_code, reason = "each test binary needs a part of it")]

pub(crate) mod cells;

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lock_conformance::{Failure, Verdict};
use lock_mysql::MIGRATION;
use lock_servers::{Error, Instance, Kind};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// A server that the tests of one process share: started when it is first needed, or given by URL.
pub(crate) struct Shared {
    kind: Kind,
    instance: Mutex<Option<Instance>>,
}

impl Shared {
    pub(crate) fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self { kind, instance: Mutex::default() })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Its URL, without a database.
    pub(crate) fn url(&self) -> Result<String, Error> {
        if let Ok(url) = env::var(self.kind.url_variable()) {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if instance.is_none() {
            *instance = Some(Instance::start(self.kind)?);
        }
        Ok(instance.as_ref().expect("it was just started").url())
    }

    pub(crate) fn log(&self) -> Option<PathBuf> {
        let instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        instance.as_ref().map(Instance::log)
    }
}

/// Creates a database with the table in it, and gives its name.
pub(crate) fn create_database(server: &str) -> Result<String, Failure> {
    let name = format!("t{:016x}", fastrand::u64(..));
    sql(server, &[&format!("CREATE DATABASE {name}")])?;
    sql(&format!("{server}/{name}"), &[MIGRATION])?;
    Ok(name)
}

/// How long statements of a test may take.
const SQL: Duration = Duration::from_mins(1);

/// Runs statements behind the back of the backend, on a thread of its own, since whoever asks may be
/// in a runtime.
pub(crate) fn sql(url: &str, statements: &[&str]) -> Verdict {
    sql_within(SQL, url, statements)
}

/// As [`sql`], but for no longer than this.
pub(crate) fn sql_within(limit: Duration, url: &str, statements: &[&str]) -> Verdict {
    std::thread::scope(|scope| {
        let run = || -> Result<(), Box<dyn std::error::Error>> {
            let options: MySqlConnectOptions = url.parse()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let executed = async {
                let mut connection: MySqlConnection = options.connect().await?;
                for statement in statements {
                    connection.execute(AssertSqlSafe(*statement)).await?;
                }
                connection.close().await?;
                Ok(())
            };
            // A cluster without a majority never answers.
            runtime.block_on(async { tokio::time::timeout(limit, executed).await? })
        };
        let ran = scope.spawn(move || run().map_err(|error| error.to_string())).join();
        ran.expect("it does not panic").map_err(Failure::failed)
    })
}
