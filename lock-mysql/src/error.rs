//! What errors of the server and of the way to it mean for a swap, and what to do about them.

use std::io;

use lock_core::{BackendError, BackendErrorKind as Kind};
use sqlx::mysql::MySqlDatabaseError;

use crate::table::Table;

/// What was being done when an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Connecting,
    Reading,
    Swapping,
    Migrating,
}

impl Doing {
    fn verb(self) -> &'static str {
        match self {
            Self::Connecting => "connect to",
            Self::Reading => "read from",
            Self::Swapping => "write to",
            Self::Migrating => "create the table in",
        }
    }

    /// What an error means that says nothing of whether the statement was executed.
    fn unclear(self) -> Kind {
        if self == Self::Swapping { Kind::OutcomeUnknown } else { Kind::Unavailable }
    }
}

/// An error of sqlx, sorted; `store` is where it happened.
pub(crate) fn sort(doing: Doing, store: &str, table: &Table, error: sqlx::Error) -> BackendError {
    let (kind, advice) = match server_error(&error) {
        // Somebody else's commit was first, before anything of this one was told to the group.
        Some(error) if error.number() == 1180 && is_forced_back(error.message()) => {
            (Kind::Busy, None)
        }
        Some(error) => judge(doing, error.number(), table),
        None => (judge_other(doing, &error), None),
    };
    let mut message = format!("cannot {} {store}", doing.verb());
    if let Some(advice) = advice {
        message = format!("{message}: {advice}");
    }
    BackendError::new(kind, message).with_source(error)
}

/// An error that has no cause but the clock.
pub(crate) fn silent(doing: Doing, store: &str, seconds: u64) -> BackendError {
    let message = format!("cannot {} {store}: no answer within {seconds} s", doing.verb());
    BackendError::new(doing.unclear(), message)
}

/// A server that could be asked, and must not be believed.
pub(crate) fn apart(doing: Doing, store: &str, why: &str) -> BackendError {
    BackendError::new(Kind::Unavailable, format!("cannot {} {store}: {why}", doing.verb()))
}

/// Whether the row was there already.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1062)
}

/// Whether a function of the server cannot be used in the state that it is in.
pub(crate) fn is_not_to_be_called(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1123)
}

/// Whether a variable of the session is unknown to this server.
pub(crate) fn is_unknown_variable(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1193)
}

fn server_error(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// Whether a commit failed for the reason that is 149 to the storage engine: a deadlock, or what
/// another member of the group has changed.
fn is_forced_back(message: &str) -> bool {
    message.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty()) == Some("149")
}

/// Sorts by the numbers of <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
/// and <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
///
/// What is not listed is taken for unclear: any other kind promises that nothing was applied.
fn judge(doing: Doing, number: u16, table: &Table) -> (Kind, Option<String>) {
    let kind = match number {
        // No read waits for a lock: on Galera, what others have committed does not arrive, because
        // the node is apart or behind. Another one can be read.
        1205 if doing != Doing::Swapping => Kind::Unavailable,
        // Deadlock (on Galera: somebody else's commit was first), lock wait timeout, record changed
        // since the snapshot, rolled back by the group's certification.
        1213 | 1205 | 1020 | 3101 => Kind::Busy,
        // A cluster without a quorum, too many connections, limits of the user, a server that is
        // offline, read-only or full, a host that was blocked, a group that cannot keep up.
        1047 | 1040 | 1041 | 1203 | 1226 | 3032 | 1792 | 1114 | 1021 | 1129 | 3796 | 3797 => {
            Kind::Unavailable
        }
        1290 | 1836 => {
            return (
                Kind::Unavailable,
                Some("the server is read-only; it may have stopped being the primary".into()),
            );
        }
        1146 => {
            return (
                Kind::Misconfigured,
                Some(format!(
                    "there is no table {table}: create it with `lockctl init`, `migrate()` or the \
                     SQL file that comes with lock-mysql"
                )),
            );
        }
        1142 | 1143 | 1227 if doing != Doing::Migrating => {
            return (
                Kind::Misconfigured,
                Some(format!("this user lacks a right: {}", table.grant())),
            );
        }
        1049 => {
            return (
                Kind::Misconfigured,
                Some("there is no such database: create it, or correct the URL".into()),
            );
        }
        1045 | 1698 | 1044 | 1130 | 1524 | 1820 | 3118 | 3159 | 4151 => {
            return (
                Kind::Misconfigured,
                Some("the server does not let this user in: check user, password and host".into()),
            );
        }
        1046 => {
            return (Kind::Misconfigured, Some("the URL names no database: add /DATABASE".into()));
        }
        1142 | 1143 | 1227 | 1050 | 1064 => Kind::Misconfigured,
        // The table is not as we made it.
        1054 | 1264 | 1366 | 1364 | 1136 | 1292 | 1665 => {
            return (
                Kind::Misconfigured,
                Some(format!("the table {table} is not as the SQL file of lock-mysql makes it")),
            );
        }
        // Larger than a packet, than a column, than a row of the log.
        1153 | 1406 | 1118 | 1534 => Kind::TooLarge,
        // Shutdown, a commit that failed or was cut short, a statement that was killed.
        _ => doing.unclear(),
    };
    (kind, None)
}

fn judge_other(doing: Doing, error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => Kind::Misconfigured,
        sqlx::Error::Io(error) if is_bad_certificate(error) => Kind::Misconfigured,
        _ => doing.unclear(),
    }
}

/// Whether one side refuses the certificate of the other.
fn is_bad_certificate(error: &io::Error) -> bool {
    use rustls::{AlertDescription as Alert, Error as E};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<E>());
    inner.is_some_and(|error| {
        matches!(
            error,
            E::InvalidCertificate(_)
                | E::AlertReceived(
                    Alert::BadCertificate
                        | Alert::UnknownCA
                        | Alert::CertificateExpired
                        | Alert::CertificateRequired
                        | Alert::CertificateUnknown
                )
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_promises_that_nothing_was_applied_is_not_in_doubt() {
        let table = Table::default();
        let kind = |doing, number| judge(doing, number, &table).0;
        for number in [1180, 1053, 1317, 3100, 2006, 1105, 1969, 3024] {
            assert_eq!(kind(Doing::Swapping, number), Kind::OutcomeUnknown, "{number}");
            assert_eq!(kind(Doing::Reading, number), Kind::Unavailable, "{number}");
        }
        // The texts of MySQL with Group Replication, and of MariaDB with Galera.
        assert!(is_forced_back("Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"));
        assert!(!is_forced_back(
            "Error while appending streaming replication fragment(provider status: Not connected to \
             Primary Component)"
        ));
        assert_eq!(kind(Doing::Swapping, 3799), Kind::OutcomeUnknown);
        assert_eq!(kind(Doing::Swapping, 1047), Kind::Unavailable);
        assert_eq!(kind(Doing::Swapping, 3101), Kind::Busy);
        assert_eq!(kind(Doing::Swapping, 1205), Kind::Busy);
        assert_eq!(kind(Doing::Reading, 1205), Kind::Unavailable);
        assert_eq!(kind(Doing::Swapping, 1213), Kind::Busy);
        assert_eq!(kind(Doing::Swapping, 1290), Kind::Unavailable);
    }
}
