//! The power trials themselves: small stores of files that forget a sync are caught, their twins pass.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use libtest_mimic::{Arguments, Completion, Trial};
use lock_conformance::{Failure, Fixture, Start, Store, attempt, catalogue, worker};
use lock_core::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
use tempfile::TempDir;

/// How a store replaces its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Writes a new file, syncs it, renames it over the old one, syncs the directory.
    Rename,
    /// Writes a new file, syncs it, links it as the one of this version, syncs the directory.
    Link,
    NoSync,
    NoSyncOfTheFile,
    NoSyncOfTheDirectory,
    SyncOfTheFileAfterTheRename,
    SyncAfterTheAnswer,
    WriteInPlace,
    UnlinkBeforeTheSync,
}

const GOOD: [(&str, Way); 2] = [("rename", Way::Rename), ("link", Way::Link)];
const BAD: [(&str, Way); 7] = [
    ("no-sync", Way::NoSync),
    ("no-sync-of-the-file", Way::NoSyncOfTheFile),
    ("no-sync-of-the-directory", Way::NoSyncOfTheDirectory),
    ("sync-of-the-file-after-the-rename", Way::SyncOfTheFileAfterTheRename),
    ("sync-after-the-answer", Way::SyncAfterTheAnswer),
    ("write-in-place", Way::WriteInPlace),
    ("unlink-before-the-sync", Way::UnlinkBeforeTheSync),
];

fn main() -> ExitCode {
    let fixture = |&(name, way)| Arc::new(Cells { name, way }) as Arc<dyn Fixture>;
    let good: Vec<_> = GOOD.iter().map(fixture).collect();
    let bad: Vec<_> = BAD.iter().map(fixture).collect();
    let all: Vec<_> = good.iter().chain(&bad).cloned().collect();
    if let Some(code) = worker::main(&all) {
        return code;
    }
    let mut trials = Vec::new();
    for trial in catalogue().filter(|trial| trial.name.starts_with("power::a_cut")) {
        for fixture in &good {
            let (fixture, seed) = (fixture.clone(), fastrand::u64(..));
            let name = format!("{} passes {}", fixture.name(), trial.name);
            trials.push(Trial::ignorable_test(name, move || {
                match attempt(&fixture, trial, seed) {
                    Ok(()) => Ok(Completion::Completed),
                    Err(Failure::Skipped(reason)) => Ok(Completion::ignored_with(reason)),
                    Err(Failure::Failed(what)) => Err(format!("with seed {seed}: {what}").into()),
                }
            }));
        }
    }
    let cut =
        catalogue().find(|trial| trial.name.contains("a_cut_at_any_step")).expect("it is there");
    for fixture in bad {
        let name = format!("{} is caught", fixture.name());
        trials.push(Trial::ignorable_test(name, move || {
            match attempt(&fixture, cut, fastrand::u64(..)) {
                Err(Failure::Failed(what)) if what.contains("the power fails") => {
                    Ok(Completion::Completed)
                }
                Err(Failure::Failed(what)) => Err(format!("for another reason: {what}").into()),
                Err(Failure::Skipped(reason)) => Ok(Completion::ignored_with(reason)),
                Ok(()) => Err("it survives".into()),
            }
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

struct Cells {
    name: &'static str,
    way: Way,
}

impl Fixture for Cells {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&self) -> Start {
        Ok(Box::new(Directory(tempfile::tempdir()?)))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let late = Mutex::default();
        Ok(Arc::new(Cell { directory: spec.into(), way: self.way, late }))
    }
}

struct Directory(TempDir);

impl Store for Directory {
    fn spec(&self) -> String {
        self.0.path().display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.0.path())
    }

    fn spec_in(&self, directory: &Path) -> Option<String> {
        Some(directory.display().to_string())
    }
}

/// A cell for one client at a time: the power trials have no others.
#[derive(Debug)]
struct Cell {
    directory: PathBuf,
    way: Way,
    /// What is to be synced after an answer.
    late: Mutex<Vec<File>>,
}

impl Cell {
    fn read(&self) -> io::Result<Snapshot> {
        let newest = match self.way {
            Way::Link => self.linked()?.pop().map(|(_, path)| path),
            _ => Some(self.directory.join("cell")).filter(|path| path.exists()),
        };
        let Some(path) = newest else { return Ok(Snapshot::default()) };
        let bytes = fs::read(path)?;
        let Some((version, data)) = bytes.split_first_chunk() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        Ok(Snapshot { version: Version(u64::from_be_bytes(*version)), data: data.into() })
    }

    /// The files of all versions, the newest last.
    fn linked(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let version = path.file_name().and_then(|name| name.to_str()?.strip_prefix("cell-"));
            found.extend(version.and_then(|text| text.parse().ok()).map(|version| (version, path)));
        }
        found.sort();
        Ok(found)
    }

    fn write(&self, version: Version, data: &[u8]) -> io::Result<()> {
        let cell = self.directory.join("cell");
        let new = self.directory.join("new");
        let target = if self.way == Way::WriteInPlace { &cell } else { &new };
        if self.way == Way::UnlinkBeforeTheSync && cell.exists() {
            fs::remove_file(&cell)?;
        }
        // After a cut it may still be linked as a version.
        if new.exists() {
            fs::remove_file(&new)?;
        }
        let mut file = File::create(target)?;
        file.write_all(&[&version.0.to_be_bytes(), data].concat())?;
        let directory = File::open(&self.directory)?;
        match self.way {
            Way::NoSync => fs::rename(new, cell)?,
            Way::NoSyncOfTheFile => {
                fs::rename(new, cell)?;
                directory.sync_all()?;
            }
            Way::NoSyncOfTheDirectory => {
                file.sync_all()?;
                fs::rename(new, cell)?;
            }
            Way::SyncOfTheFileAfterTheRename => {
                fs::rename(new, cell)?;
                file.sync_all()?;
                directory.sync_all()?;
            }
            Way::SyncAfterTheAnswer => {
                file.sync_all()?;
                fs::rename(new, cell)?;
                self.late.lock().expect("nobody panics").push(directory);
            }
            Way::WriteInPlace | Way::Rename | Way::UnlinkBeforeTheSync => {
                file.sync_all()?;
                if target == &new {
                    fs::rename(new, cell)?;
                }
                directory.sync_all()?;
            }
            Way::Link => {
                file.sync_all()?;
                let old = self.linked()?;
                fs::hard_link(&new, self.directory.join(format!("cell-{}", version.0)))?;
                fs::remove_file(new)?;
                directory.sync_all()?;
                for (_, path) in old {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        for file in self.late.get_mut().expect("nobody panics").drain(..) {
            file.sync_all().expect("it can be synced");
        }
    }
}

#[async_trait]
impl LockBackend for Cell {
    fn reach(&self) -> Reach {
        Reach::Host
    }

    fn describe(&self) -> String {
        format!("cell in {}", self.directory.display())
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let kind = BackendErrorKind::Misconfigured;
        self.read().map_err(|e| BackendError::new(kind, "cannot read the cell").with_source(e))
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        if self.load().await?.version != expected {
            return Ok(Swap::Conflict);
        }
        for file in self.late.lock().expect("nobody panics").drain(..) {
            file.sync_all().expect("it can be synced");
        }
        let kind = BackendErrorKind::OutcomeUnknown;
        let written = self.write(next, data);
        written.map_err(|e| BackendError::new(kind, "cannot write the cell").with_source(e))?;
        Ok(Swap::Swapped)
    }
}
