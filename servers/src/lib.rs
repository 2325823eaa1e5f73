//! Real servers for the tests of this workspace: fetched without installing them, started on loopback, ended for sure.
//!
//! [`Programs::find`] finds the programs of a server, in this order:
//!
//! 1. in the cache folder: `INTERLOCK_SERVERS`, else `interlock/servers` in the user's cache;
//! 2. by `apt-get` on Debian and its kin, which downloads packages into that folder, where they are
//!    unpacked: nothing is installed, and root is not needed;
//! 3. on `PATH`.
//!
//! An [`Instance`] is a server with a data directory of its own. It ends when it is dropped, and
//! also when the process that started it is killed. A [`Cluster`] is three of them that replicate to
//! each other. A [`RedisServer`] is the same for servers of that family.

mod cluster;
mod fetch;
mod galera;
mod group;
mod guard;
mod instance;
mod programs;
mod redis;

pub use cluster::{Cluster, ClusterKind};
pub use instance::Instance;
pub use programs::{Programs, prepare};
pub use redis::{RedisKind, RedisServer};

use std::{fmt, io, path::PathBuf};

/// What kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `MariaDB`, of the release that the system's distribution has.
    MariaDb,
    /// Oracle's `MySQL`, of the newest release that Debian has.
    MySql,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::MariaDb, Self::MySql];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }

    /// The variable with the URL of a server that is there already, such as
    /// `mysql://root@127.0.0.1:3306`: tests may make and drop databases in it.
    pub fn url_variable(self) -> &'static str {
        match self {
            Self::MariaDb => "INTERLOCK_MARIADB_URL",
            Self::MySql => "INTERLOCK_MYSQL_URL",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has none, and none can be got.
    #[error(
        "there is no {kind} here: install {hint} so that it is on PATH, or set {variable} to the URL of \
         one{}",
        why.as_ref().map(|why| format!(" (fetching failed: {why})")).unwrap_or_default()
    )]
    Unavailable {
        /// What kind of server.
        kind: String,
        /// The variable with the URL of one that is there already.
        variable: &'static str,
        /// What to install.
        hint: &'static str,
        /// Why it could not be fetched, where that was tried.
        why: Option<String>,
    },
    /// A program of it failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which one.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// The system refused something.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether tests that need the server can be skipped for it.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    fn unavailable(
        kind: impl fmt::Display,
        variable: &'static str,
        wanted: fetch::Wanted,
        why: Option<String>,
    ) -> Self {
        Self::Unavailable { kind: kind.to_string(), variable, hint: wanted.packages[0], why }
    }

    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
