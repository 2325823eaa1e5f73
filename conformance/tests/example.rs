//! The example of the guide: a backend that keeps its cell in a file, and the fixture for the suite.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lock_conformance::{Fixture, Start};
use lock_core::BackendErrorKind::{Busy, Misconfigured, OutcomeUnknown, TooLarge, Unavailable};
use lock_core::{
    BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version, async_trait,
};
use rustix::fs::{FlockOperation, flock};

/// A cell in a directory that exists: `cell` holds the version in its first line, then the bytes.
#[derive(Debug)]
struct FileCell {
    directory: PathBuf,
}

#[async_trait]
impl LockBackend for FileCell {
    fn reach(&self) -> Reach {
        Reach::Network // The directory may be one that other hosts share.
    }

    fn describe(&self) -> String {
        format!("example:{}", self.directory.display())
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        // The file is only ever replaced as a whole, so whoever opens it reads all of one cell.
        let bytes = match fs::read(self.directory.join("cell")) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.directory.is_dir() => {
                return Ok(Snapshot::default());
            }
            read => read.map_err(|error| self.failed("read", kind(&error), error))?,
        };
        parse(&bytes).ok_or_else(|| {
            let message = format!("{} holds no cell: move away what is there", self.describe());
            BackendError::new(Misconfigured, message)
        })
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        // Given back when it is closed, also by the end of the process.
        let _lock = self.lock().map_err(|error| self.failed("lock", kind(&error), error))?;
        if self.load().await?.version != expected {
            return Ok(Swap::Conflict);
        }
        // Up to here, and while the new file lies beside the old one, nothing is applied.
        let new = self.write_new(next, data);
        let new = new.map_err(|error| self.failed("write", kind(&error), error))?;
        // From here on, an error may come too late to say so.
        let replaced = fs::rename(new, self.directory.join("cell"))
            .and_then(|()| File::open(&self.directory)?.sync_all());
        replaced.map_err(|error| self.failed("replace", OutcomeUnknown, error))?;
        Ok(Swap::Swapped)
    }
}

impl FileCell {
    fn lock(&self) -> io::Result<File> {
        let lock = File::open(&self.directory)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock)
    }

    fn write_new(&self, version: Version, data: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join("new");
        let mut file = File::create(&path)?;
        writeln!(file, "{version}")?;
        file.write_all(data)?;
        file.sync_all()?;
        Ok(path)
    }

    fn failed(&self, verb: &str, kind: BackendErrorKind, error: io::Error) -> BackendError {
        let message = format!("cannot {verb} the cell in {}", self.directory.display());
        BackendError::new(kind, message).with_source(error)
    }
}

fn parse(bytes: &[u8]) -> Option<Snapshot> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let version = str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some(Snapshot { version: Version(version), data: bytes[end + 1..].into() })
}

/// What the driver does about an error before which nothing was applied.
fn kind(error: &io::Error) -> BackendErrorKind {
    match error.kind() {
        ErrorKind::WouldBlock => Busy,
        ErrorKind::FileTooLarge => TooLarge,
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => Misconfigured,
        _ => Unavailable,
    }
}

struct Example;

impl Fixture for Example {
    fn name(&self) -> &'static str {
        "example"
    }

    fn start(&self) -> Start {
        Ok(Box::new(tempfile::tempdir()?))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(Arc::new(FileCell { directory: spec.into() }))
    }
}

fn main() -> ExitCode {
    lock_conformance::run(&[Arc::new(Example)])
}
