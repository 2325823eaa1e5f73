//! The conformance suite on SQLite.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use lock_conformance::{Failure, Fixture, Start, Store, Verdict};
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
        let version = i64::try_from(cell.version.0).expect("versions are small");
        let restored = Connection::open(&self.path).and_then(|db| {
            db.execute("UPDATE interlock SET version = ?, data = ?", (version, &cell.data))
        });
        Some(restored.map(drop).map_err(Failure::from))
    }
}
