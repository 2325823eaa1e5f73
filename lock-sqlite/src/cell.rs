//! The cell in SQL: one row of a table, the connection to it, and what errors of SQLite mean.

use std::path::Path;
use std::time::Duration;

use lock_core::{BackendErrorKind, Snapshot, Swap, Version};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, ffi,
    params,
};

/// "Lock" in ASCII: says in the file's header whose it is.
const APPLICATION_ID: i64 = 0x4C6F_636B;
const SCHEMA_VERSION: i64 = 1;

/// A table with a row id, because its leaf pages hold up to 4 kB of a row where those of a table
/// without hold 1 kB; not STRICT, so that an operator's old `sqlite3` can read it.
const CREATE: &str = "CREATE TABLE interlock (
    namespace TEXT NOT NULL PRIMARY KEY COLLATE BINARY,
    version INTEGER NOT NULL,
    data TEXT NOT NULL
)";
const READ: &str = "SELECT version, data FROM interlock WHERE namespace = ?1";
const INSERT: &str = "INSERT INTO interlock (namespace, version, data) VALUES (?1, ?2, ?3) \
                      ON CONFLICT DO NOTHING";
const UPDATE: &str =
    "UPDATE interlock SET version = ?2, data = ?3 WHERE namespace = ?1 AND version = ?4";

/// Pages of log after which a swap folds it into the database, at two more syncs: rare enough not
/// to be felt, and no more than 4 MB of log.
const CHECKPOINT_PAGES: i64 = 1000;

/// How long opening waits for somebody else who makes the same store; nothing else waits here.
const OPENING_PATIENCE: Duration = Duration::from_millis(100);

/// A connection to the cells of a database that is ours.
#[derive(Debug)]
pub(crate) struct Cell {
    connection: Connection,
}

impl Cell {
    /// Opens a database and makes it ours if it is empty; the inner error says why it cannot be used.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Result<Self, String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(OPENING_PATIENCE)?;
        // A database that turns out not to be ours is left exactly as it was.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        let recognized = recognize(&connection.unchecked_transaction()?)?;
        if let Recognized::Foreign(what) = recognized {
            return Ok(Err(what));
        }
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Ok(Err(format!("it has journal mode {mode} and cannot change to a log")));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        if matches!(recognized, Recognized::Empty) {
            let transaction =
                Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            // Somebody else may have been faster.
            if let Recognized::Empty = recognize(&transaction)? {
                transaction.execute_batch(CREATE)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            transaction.commit()?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        connection.busy_timeout(Duration::ZERO)?;
        // A log that another user of the group is just making has not got its mode yet: SQLite opens
        // it read-only then, and says so only to those who write.
        match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            result => result?,
        }
        Ok(Ok(Self { connection }))
    }

    pub(crate) fn read(&self, namespace: &str) -> rusqlite::Result<Snapshot> {
        let snapshot = self
            .connection
            .prepare_cached(READ)?
            .query_row([namespace], |row| {
                let version = row.get::<_, i64>(0)?.cast_unsigned();
                if !(1..=Version::MAX.0).contains(&version) {
                    return Err(rusqlite::Error::IntegralValueOutOfRange(0, version.cast_signed()));
                }
                let data = match row.get_ref(1)? {
                    ValueRef::Text(data) | ValueRef::Blob(data) => data.to_vec(),
                    other => {
                        let (column, kind) = ("data".into(), other.data_type());
                        return Err(rusqlite::Error::InvalidColumnType(1, column, kind));
                    }
                };
                Ok(Snapshot { version: Version(version), data })
            })
            .optional()?;
        Ok(snapshot.unwrap_or_default())
    }

    /// One statement is one transaction: like `BEGIN IMMEDIATE` it takes the write lock before it
    /// reads, and it is synced once.
    pub(crate) fn swap(
        &self,
        namespace: &str,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> rusqlite::Result<Swap> {
        debug_assert!(expected < next && next <= Version::MAX, "{expected} to {next}");
        let next = next.0.cast_signed();
        // Text for those who look into the file; a backend takes any bytes, though.
        let data = ToSqlOutput::Borrowed(match std::str::from_utf8(data) {
            Ok(_) => ValueRef::Text(data),
            Err(_) => ValueRef::Blob(data),
        });
        let changed = if expected == Version::ABSENT {
            let mut insert = self.connection.prepare_cached(INSERT)?;
            insert.execute(params![namespace, next, data])?
        } else {
            let expected = expected.0.cast_signed();
            let mut update = self.connection.prepare_cached(UPDATE)?;
            update.execute(params![namespace, next, data, expected])?
        };
        Ok(if changed == 0 { Swap::Conflict } else { Swap::Swapped })
    }
}

enum Recognized {
    Ours,
    Empty,
    Foreign(String),
}

/// Within one transaction, lest it sees half of what another process creates.
fn recognize(transaction: &Transaction<'_>) -> rusqlite::Result<Recognized> {
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let schema: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (pragma("application_id")?, pragma("user_version")?, schema) {
        (APPLICATION_ID, SCHEMA_VERSION, _) => Recognized::Ours,
        (APPLICATION_ID, version, _) => Recognized::Foreign(format!(
            "it has schema version {version} and this release knows {SCHEMA_VERSION}; upgrade"
        )),
        (0, 0, 0) => Recognized::Empty,
        _ => Recognized::Foreign(
            "it is the database of another application; choose another path".into(),
        ),
    })
}

/// Whether opening may succeed in a moment, because others open the same store now.
pub(crate) fn may_pass(error: &rusqlite::Error) -> bool {
    let (kind, _) = judge(error, false);
    let code = error.sqlite_error_code();
    kind == BackendErrorKind::Busy
        || matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

/// Sorts an error by what it says about the swap, if it was one, and about the file.
pub(crate) fn judge(error: &rusqlite::Error, swapping: bool) -> (BackendErrorKind, &'static str) {
    use BackendErrorKind as Kind;
    use ErrorCode as Code;
    let moved =
        error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_READONLY_DBMOVED);
    match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed) => {
            (Kind::Busy, "somebody else is writing")
        }
        Some(Code::TooBig) => (Kind::TooLarge, "SQLite does not take that many bytes"),
        Some(Code::DiskFull) => (Kind::Unavailable, "the disk is full; make room"),
        Some(Code::ReadOnly) if moved => (Kind::Unavailable, "it was moved meanwhile"),
        Some(Code::ReadOnly | Code::PermissionDenied) => {
            (Kind::Misconfigured, "it is read-only; check its mode, its owner and its mount")
        }
        Some(Code::NotADatabase) => {
            (Kind::Misconfigured, "it is not an SQLite database; choose another path")
        }
        Some(Code::DatabaseCorrupt) => {
            (Kind::Misconfigured, "it is damaged; stop its users and restore or delete it")
        }
        Some(Code::Unknown | Code::ConstraintViolation | Code::TypeMismatch) => {
            (Kind::Misconfigured, "its table is not what a release of ours makes")
        }
        None => (Kind::Misconfigured, "it has a row that no release of ours writes"),
        Some(Code::CannotOpen) => {
            (Kind::Unavailable, "SQLite cannot open it or the files beside it")
        }
        // The commit may have reached the log, from which a recovery would take it.
        Some(_) if swapping => (Kind::OutcomeUnknown, "it failed while it wrote"),
        Some(_) => (Kind::Unavailable, "it failed while it read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_are_synced_and_never_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks.db");
        std::fs::write(&path, "").unwrap();
        let cell = Cell::open(&path).unwrap().unwrap();
        let pragma = |name| -> String {
            let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            cell.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2", "not FULL");
        let sql = "SELECT CAST(timeout AS TEXT) FROM pragma_busy_timeout";
        let timeout: String = cell.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(timeout, "0");
    }

    #[test]
    fn errors_are_sorted_by_what_they_say_about_a_swap() {
        use BackendErrorKind as Kind;
        for (code, reading, swapping) in [
            (ffi::SQLITE_BUSY, Kind::Busy, Kind::Busy),
            (ffi::SQLITE_BUSY_SNAPSHOT, Kind::Busy, Kind::Busy),
            (ffi::SQLITE_LOCKED, Kind::Busy, Kind::Busy),
            (ffi::SQLITE_TOOBIG, Kind::TooLarge, Kind::TooLarge),
            (ffi::SQLITE_FULL, Kind::Unavailable, Kind::Unavailable),
            (ffi::SQLITE_CANTOPEN, Kind::Unavailable, Kind::Unavailable),
            (ffi::SQLITE_READONLY, Kind::Misconfigured, Kind::Misconfigured),
            (ffi::SQLITE_READONLY_DBMOVED, Kind::Unavailable, Kind::Unavailable),
            (ffi::SQLITE_CORRUPT, Kind::Misconfigured, Kind::Misconfigured),
            (ffi::SQLITE_NOTADB, Kind::Misconfigured, Kind::Misconfigured),
            (ffi::SQLITE_IOERR_FSYNC, Kind::Unavailable, Kind::OutcomeUnknown),
            (ffi::SQLITE_NOMEM, Kind::Unavailable, Kind::OutcomeUnknown),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(judge(&error, false).0, reading, "{error}");
            assert_eq!(judge(&error, true).0, swapping, "{error}");
        }
    }
}
