//! The conformance suite on SQLite.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, io};

use lock_conformance::{Damage, Failure, Fixture, Start, Store, Verdict};
use lock_core::{BackendError, LockBackend, Snapshot};
use lock_sqlite::SqliteBackend;
use rusqlite::Connection;
use tempfile::TempDir;

fn main() -> ExitCode {
    lock_conformance::run(&[Arc::new(Sqlite)])
}

struct Sqlite;

impl Fixture for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn start(&self) -> Start {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("locks.db");
        Ok(Box::new(File { directory, path }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(Arc::new(SqliteBackend::open(spec)?))
    }
}

struct File {
    directory: TempDir,
    path: PathBuf,
}

impl Store for File {
    fn spec(&self) -> String {
        self.path.display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.directory.path())
    }

    fn spec_in(&self, directory: &Path) -> Option<String> {
        Some(directory.join(self.path.file_name()?).display().to_string())
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        Some(put(&self.path, cell).map_err(Failure::from))
    }

    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        Some(self.try_to_replace(cell))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        if matches!(how, Damage::ReadOnly | Damage::Full) {
            return None; // Those trials do it to its directory.
        }
        Some(self.try_to_damage(how))
    }

    fn repair(&self) -> Verdict {
        self.put_in_place(&self.beside("-aside"))
    }

    fn open_to(&self, user: u32, group: u32) -> Option<Verdict> {
        self.directory.open_to(user, group)
    }
}

impl File {
    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.path.display()))
    }

    /// As the documentation says: away with the log, then the file is moved into place.
    fn put_in_place(&self, path: &Path) -> Verdict {
        self.remove_log()?;
        Ok(fs::rename(path, &self.path)?)
    }

    fn remove_log(&self) -> io::Result<()> {
        for suffix in ["-wal", "-shm"] {
            match fs::remove_file(self.beside(suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn try_to_replace(&self, cell: Option<&Snapshot>) -> Verdict {
        let Some(cell) = cell else {
            self.remove_log()?;
            return Ok(fs::remove_file(&self.path)?);
        };
        let new = self.beside("-new");
        drop(SqliteBackend::open(&new)?);
        put(&new, cell)?;
        self.put_in_place(&new)
    }

    fn try_to_damage(&self, how: Damage) -> Verdict {
        let (aside, bad) = (self.beside("-aside"), self.beside("-bad"));
        let db = Connection::open(&self.path)?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))?;
        db.execute("VACUUM INTO ?", [bad.to_str()])?;
        drop(db);
        let bytes = fs::read(&bad)?;
        match how {
            Damage::Truncated => fs::write(&bad, &bytes[..bytes.len() / 2])?,
            Damage::Garbage => fs::write(&bad, [0xA5].repeat(bytes.len()))?,
            Damage::Foreign => {
                fs::remove_file(&bad)?;
                Connection::open(&bad)?.execute_batch("CREATE TABLE users (name TEXT)")?;
            }
            Damage::Newer => Connection::open(&bad)?.pragma_update(None, "user_version", 99)?,
            other => return Err(Failure::skipped(format!("there is no way to make it {other:?}"))),
        }
        // The file as it was keeps its inode, as it does for whoever has it open.
        fs::hard_link(&self.path, &aside)?;
        self.put_in_place(&bad)
    }
}

/// Puts a cell into a store, behind the back of the backend.
fn put(path: &Path, cell: &Snapshot) -> rusqlite::Result<()> {
    let version = i64::try_from(cell.version.0).expect("versions are small");
    let sql = "INSERT OR REPLACE INTO interlock VALUES ('default', ?, ?)";
    Connection::open(path)?.execute(sql, (version, &cell.data)).map(drop)
}
