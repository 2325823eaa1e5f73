//! The kinds of servers that speak the protocol of MySQL.

use std::fmt;

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
