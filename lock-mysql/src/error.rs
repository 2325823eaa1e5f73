//! What errors of the server and of the way to it mean for a swap, and what to do about them.

use std::io;

use lock_core::server::{BadCertificate, Doing};
use lock_core::{BackendError, BackendErrorKind as Kind};
use sqlx::mysql::MySqlDatabaseError;

use crate::table::Table;

/// What messages name.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) store: &'a str,
    pub(crate) table: &'a Table,
    pub(crate) database: Option<&'a str>,
    /// Whom the server takes this client for, once that is known.
    pub(crate) account: Option<&'a str>,
}

/// An error of sqlx, sorted.
pub(crate) fn sort(doing: Doing, site: &Site<'_>, error: sqlx::Error) -> BackendError {
    let (kind, advice) = match server_error(&error) {
        // Somebody else's commit was first, before anything of this one was told to the group.
        Some(error) if error.number() == 1180 && is_forced_back(error.message()) => {
            (Kind::Busy, None)
        }
        Some(error) => judge(doing, error.number(), site),
        None => judge_other(doing, site, &error),
    };
    doing.failed(site.store, kind, advice.as_deref()).with_source(error)
}

/// Whether the row was there already.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1062)
}

/// Whether there is no such table.
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1146)
}

/// Whether this account lacks the right to a statement.
pub(crate) fn is_denied(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| matches!(error.number(), 1142 | 1143 | 1227 | 1044))
}

/// Whether the server ended a statement because of its time limit.
pub(crate) fn is_timeout(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 3024)
}

/// Whether a lock on the row or the table was waited for in vain.
pub(crate) fn is_lock_wait(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.number() == 1205)
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
fn judge(doing: Doing, number: u16, site: &Site<'_>) -> (Kind, Option<String>) {
    let table = site.table;
    let (kind, advice) = match number {
        // A plain read waits for no lock: on Galera, what others have committed does not arrive, because
        // the node is apart or behind. Another one can be read.
        1205 if doing != Doing::Swapping => return (Kind::Unavailable, None),
        // Deadlock (on Galera: somebody else's commit was first), lock wait timeout, record changed
        // since the snapshot, a table changed since the statement was prepared, rolled back by the group's certification.
        1213 | 1205 | 1020 | 1615 | 3101 => return (Kind::Busy, None),
        // A cluster without a quorum, a server that is offline, a group that cannot keep up.
        1047 | 3032 | 3796 | 3797 => return (Kind::Unavailable, None),
        1040 | 1041 | 1203 | 1226 => (Kind::Unavailable, "it takes no more connections".into()),
        1129 => (Kind::Unavailable, "it has blocked this host: run FLUSH HOSTS there".into()),
        1461 => (
            Kind::Unavailable,
            "it prepares no more statements: raise max_prepared_stmt_count there".into(),
        ),
        1114 | 1021 => (Kind::Unavailable, "it has no room left".into()),
        // The engine refuses the statement its table, before it has done anything: the number of MySQL where
        // InnoDB was started read-only.
        1015 => (Kind::Unavailable, "it opens no table for writing: it may be read-only".into()),
        1290 | 1792 | 1836 | 1036 | 3989 => {
            (Kind::Unavailable, "it is read-only; it may have stopped being the primary".into())
        }
        1146 => (
            Kind::Misconfigured,
            format!(
                "there is no table {table}: create it with `lockctl init`, `migrate()` or the SQL \
                 file that comes with lock-mysql"
            ),
        ),
        1142 | 1143 | 1227 | 1044 if doing != Doing::Migrating => {
            let grant = table.grant(site.database, site.account);
            (Kind::Misconfigured, format!("this user lacks a right: {grant}"))
        }
        1142 | 1143 | 1227 | 1044 => (
            Kind::Misconfigured,
            "this user may not create a table: run `lockctl init` or the SQL file that comes with \
             lock-mysql as one who may"
                .into(),
        ),
        1049 => {
            (Kind::Misconfigured, "there is no such database: create it, or correct the URL".into())
        }
        1045 | 1698 | 1130 | 1524 => (
            Kind::Misconfigured,
            "the server does not let this user in: check user, password and host, and ssl-mode \
             if it insists on encryption"
                .into(),
        ),
        3118 | 4151 => (Kind::Misconfigured, "this user's account is locked".into()),
        1820 | 1862 => {
            (Kind::Misconfigured, "this user's password has expired: set a new one".into())
        }
        3159 => (
            Kind::Misconfigured,
            "the server insists on encryption: do not use ssl-mode=disabled".into(),
        ),
        1046 => (Kind::Misconfigured, "the URL names no database: add /DATABASE".into()),
        1050 | 1064 => return (Kind::Misconfigured, None),
        1054 | 1264 | 1366 | 3988 | 1364 | 1136 | 1292 => (Kind::Misconfigured, not_ours(table)),
        1665 => (
            Kind::Misconfigured,
            "its binary log cannot record the change: set binlog_format=ROW there".into(),
        ),
        1534 => (Kind::Unavailable, "its binary log cannot be written".into()),
        // Larger than a packet, than a column, than a row, than what may wait to be logged.
        1153 | 1406 | 1118 | 1197 | 1705 => return (Kind::TooLarge, None),
        // Shutdown, a commit that failed or was cut short, a statement that was killed.
        _ => return (doing.unclear(), None),
    };
    (kind, Some(advice))
}

fn not_ours(table: &Table) -> String {
    format!("the table {table} is not as the SQL file of lock-mysql makes it")
}

fn judge_other(doing: Doing, site: &Site<'_>, error: &sqlx::Error) -> (Kind, Option<String>) {
    match error {
        sqlx::Error::Decode(why) => {
            (Kind::Misconfigured, Some(format!("{}: {why}", not_ours(site.table))))
        }
        sqlx::Error::ColumnDecode { .. } => (Kind::Misconfigured, Some(not_ours(site.table))),
        sqlx::Error::Tls(why) if why.to_string().contains("does not support TLS") => (
            Kind::Misconfigured,
            Some(
                "the server has no TLS: give it a certificate, or use another ssl-mode where the \
                 network can be trusted"
                    .into(),
            ),
        ),
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => (Kind::Misconfigured, None),
        // It has no other form for that.
        sqlx::Error::Protocol(why) if doing == Doing::Connecting && why.contains("plugin") => {
            let advice = "this client cannot log in so: give this user mysql_native_password, \
                          caching_sha2_password or sha256_password";
            (Kind::Misconfigured, Some(advice.into()))
        }
        sqlx::Error::Io(error) => match bad_certificate(error) {
            Some(advice) => (Kind::Misconfigured, Some(advice)),
            None => (doing.unclear(), None),
        },
        _ => (doing.unclear(), None),
    }
}

/// What to do if one side refuses the certificate of the other.
fn bad_certificate(error: &io::Error) -> Option<String> {
    let bad = BadCertificate::of(error)?;
    Some(match bad {
        BadCertificate::OtherName => format!("{bad}, or use ssl-mode=verify-ca"),
        BadCertificate::OwnCa => {
            format!("{bad}, or use ssl-mode=required where the network can be trusted")
        }
        _ => bad.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of sqlx for LDAP, PAM and `ed25519`, which no server that comes without further packages has.
    #[test]
    fn an_account_that_nobody_here_can_log_in_to_is_not_tried_again_and_again() {
        let table = &Table::default();
        let site = Site { store: "mysql://h/", table, database: None, account: None };
        for text in
            ["unknown authentication plugin: client_ed25519", "mysql_cleartext_plugin disabled"]
        {
            let error = || sqlx::Error::Protocol(text.into());
            let error_of = |doing| sort(doing, &site, error());
            let connecting = error_of(Doing::Connecting);
            assert_eq!(connecting.kind(), Kind::Misconfigured);
            assert!(connecting.to_string().contains("cannot log in so"), "{connecting}");
            assert_eq!(error_of(Doing::Swapping).kind(), Kind::OutcomeUnknown);
        }
    }

    #[test]
    fn only_what_promises_that_nothing_was_applied_is_not_in_doubt() {
        let table = &Table::default();
        let site = Site { store: "mysql://h/", table, database: None, account: None };
        let kind = |doing, number| judge(doing, number, &site).0;
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
