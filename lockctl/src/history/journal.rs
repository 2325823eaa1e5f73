//! The journal: a file to which every run appends what happens to its locks.
//!
//! One line is one `write` to a file that is open for appending, so lines of many processes do not mix, and
//! what was written survives whoever wrote it. Nothing is synced, and nothing that goes wrong here is an
//! error of the run: it is said once.

use std::{
    cell::Cell,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use lock_core::{AcquireError, Guard, LockSet, TaskId, process::ProcessSet, table::Blocker};
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::Serialize;

use super::record::{End, Freed, Moment, Processes, Record};
use crate::{json, notice};

/// How large a journal becomes before it is put aside, and the one before it forgotten.
const BYTES_MAX: u64 = 4 << 20;
/// How many of those in the way are remembered.
const WAITED_FOR_MAX: usize = 16;

/// Where the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JournalPlace {
    /// This file, which somebody chose.
    Chosen(PathBuf),
    /// This file beside a store in files, whose rights and group it gets.
    Beside { journal: PathBuf, store: PathBuf },
    /// This file in the state directory of the user or the system.
    State(PathBuf),
    /// Nothing is written.
    None,
}

impl JournalPlace {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Chosen(path) | Self::Beside { journal: path, .. } | Self::State(path) => {
                Some(path)
            }
            Self::None => None,
        }
    }
}

/// What is put at the end of a store's path for its journal.
pub(crate) const SUFFIX: &str = "-history.jsonl";

/// The file that a journal is put aside as.
pub(super) fn aside(path: &Path) -> PathBuf {
    with_suffix(path, ".1")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// What is appended to.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) place: JournalPlace,
    /// The store and its namespace, as they are named to people.
    pub(crate) store: String,
    pub(crate) is_quiet: bool,
    has_failed: Cell<bool>,
}

impl Journal {
    pub(crate) fn new(place: JournalPlace, store: String, is_quiet: bool) -> Self {
        Self { place, store, is_quiet, has_failed: Cell::new(false) }
    }

    /// Writes that an operator freed the locks of a task, or of all of this name if no id is given.
    pub(crate) fn freed(&self, task: &str, id: Option<&TaskId>) {
        let (task, store) = (task.to_owned(), self.store.clone());
        self.write(&Freed { task, id: id.cloned(), store, at: Moment::now() });
    }

    fn write(&self, line: &impl Serialize) {
        let Some(path) = self.place.path() else { return };
        if let Err(error) = self.append(path, &(json::line(line) + "\n"))
            && !self.has_failed.replace(true)
            && !self.is_quiet
        {
            notice::say(format_args!("cannot write the history to {}: {error}", path.display()));
        }
    }

    fn append(&self, path: &Path, line: &str) -> io::Result<()> {
        let mut file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let (JournalPlace::State(_), Some(dir)) = (&self.place, path.parent()) {
                    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
                }
                create(path, self.model(path))?
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if metadata.len() >= BYTES_MAX && rotate(path, &file)? {
            file = create(path, self.model(path))?;
        }
        match file.write(line.as_bytes())? {
            all if all == line.len() => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Whose rights a new file gets: those of the one before it, or of the store.
    fn model(&self, path: &Path) -> Option<Model> {
        let of = |path: &Path| fs::symlink_metadata(path).ok();
        let metadata = of(&aside(path)).or_else(|| match &self.place {
            JournalPlace::Beside { store, .. } => of(store),
            _ => None,
        })?;
        Some(Model { mode: metadata.mode(), group: metadata.gid() })
    }
}

/// The rights of a new journal.
#[derive(Debug, Clone, Copy)]
struct Model {
    mode: u32,
    group: u32,
}

/// Opens a journal that is there. No link is followed, for its directory may be open to others.
fn open(path: &Path) -> io::Result<File> {
    let how = flags(OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY);
    let file = OpenOptions::new().append(true).custom_flags(how).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// As std takes them.
pub(super) fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Makes an empty journal under another name first, so that nobody meets it with other rights.
fn create(path: &Path, model: Option<Model>) -> io::Result<File> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    // Made with mode 0600.
    let new = tempfile::Builder::new().prefix(".history-").tempfile_in(dir)?;
    if let Some(Model { mode, group }) = model {
        if new.as_file().metadata()?.gid() != group {
            fchown(new.as_file(), None, Some(group))?;
        }
        new.as_file().set_permissions(Permissions::from_mode(mode & 0o666))?;
    }
    match new.into_temp_path().persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => open(path),
    }
}

/// Puts a journal aside that is full; false if somebody else does.
fn rotate(path: &Path, file: &File) -> io::Result<bool> {
    // Of those who find it full at once, one is to put it aside, and nobody the new one.
    if flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let ours = file.metadata()?;
    let is_there = |there: fs::Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    match fs::symlink_metadata(path).map(is_there) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        // Somebody has put it aside, and not yet made the new one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    fs::rename(path, aside(path))?;
    Ok(true)
}

/// One request's account of itself.
#[derive(Debug)]
pub(crate) struct Account {
    journal: Journal,
    record: Option<Record>,
    processes: Processes,
}

impl Account {
    pub(crate) fn new(journal: Journal, processes: &ProcessSet) -> Self {
        Self { journal, record: None, processes: processes.into() }
    }

    /// The request is made; `is_told` only later if it is a mere try.
    pub(crate) fn asked(
        &mut self,
        id: &TaskId,
        task: &str,
        note: Option<&str>,
        locks: &LockSet,
        is_told: bool,
    ) {
        self.record = Some(Record {
            id: id.clone(),
            task: task.to_owned(),
            store: self.journal.store.clone(),
            locks: locks.clone(),
            note: note.map(str::to_owned),
            asked: Moment::now(),
            waited_for: Vec::new(),
            granted: None,
            fence: None,
            ended: None,
            end: None,
            status: None,
            processes: self.processes.clone(),
        });
        if is_told {
            self.write();
        }
    }

    /// These are in the way.
    pub(crate) fn waits(&mut self, blockers: &[Blocker]) {
        let Some(record) = &mut self.record else { return };
        if add(&mut record.waited_for, blockers) {
            self.write();
        }
    }

    /// The locks are held, by these processes if they are others than those that asked.
    pub(crate) fn granted(&mut self, guard: &Guard, heirs: Option<&ProcessSet>) {
        let Some(record) = &mut self.record else { return };
        record.granted = Some(Moment::now());
        record.fence = Some(guard.fence());
        if let Some(heirs) = heirs {
            record.processes = heirs.into();
        }
        self.write();
    }

    /// They will not be.
    pub(crate) fn refused(&mut self, error: &AcquireError) {
        let end = match error {
            AcquireError::Busy(_) => End::Busy,
            AcquireError::TimedOut(_) => End::TimedOut,
            AcquireError::Deadlock(_) => End::Deadlock,
            AcquireError::Released => End::Freed,
            _ => End::Failed,
        };
        if let (Some(record), Some(denial)) = (&mut self.record, error.denial()) {
            add(&mut record.waited_for, &denial.blockers);
        }
        self.end(end, None);
    }

    /// They are lost.
    pub(crate) fn lost(&mut self) {
        self.end(End::Lost, None);
    }

    /// It is over: the run ended with this status, or was withdrawn.
    pub(crate) fn over(&mut self, status: Option<u8>) {
        let Some(record) = &mut self.record else { return };
        // What was lost on the way is over since then, and only the status is new.
        let is_new = record.end.is_none() || status.is_some();
        record.status = status;
        let end = if record.granted.is_some() { End::Ended } else { End::Withdrawn };
        record.end.get_or_insert(end);
        record.ended.get_or_insert_with(Moment::now);
        if is_new {
            self.write();
        }
    }

    fn end(&mut self, end: End, status: Option<u8>) {
        let Some(record) = &mut self.record else { return };
        record.end = Some(end);
        record.ended = Some(Moment::now());
        record.status = status;
        self.write();
    }

    fn write(&self) {
        if let Some(record) = &self.record {
            self.journal.write(record);
        }
    }
}

/// Adds the names of those in the way; says whether one is new.
fn add(names: &mut Vec<String>, blockers: &[Blocker]) -> bool {
    let known = names.len();
    for blocker in blockers {
        if names.len() < WAITED_FOR_MAX && !names.iter().any(|name| **name == *blocker.task) {
            names.push(blocker.task.to_string());
        }
    }
    names.len() > known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(path: &Path) -> Journal {
        let store = path.with_file_name("locks.db");
        let place = JournalPlace::Beside { journal: path.to_owned(), store };
        Journal::new(place, "store".into(), true)
    }

    fn lines(path: &Path) -> usize {
        fs::read_to_string(path).unwrap().lines().count()
    }

    #[test]
    fn it_is_made_with_the_rights_of_the_store_and_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("locks.db");
        fs::write(&store, "").unwrap();
        fs::set_permissions(&store, Permissions::from_mode(0o660)).unwrap();
        let path = with_suffix(&store, SUFFIX);
        let journal = journal(&path);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        journal.freed("one", None);
        assert_eq!((lines(&path), mode(&path)), (1, 0o660));
        File::options().write(true).open(&path).unwrap().set_len(BYTES_MAX).unwrap();
        journal.freed("two", None);
        journal.freed("three", None);
        assert_eq!((lines(&path), mode(&path)), (2, 0o660));
        assert_eq!(fs::metadata(aside(&path)).unwrap().len(), BYTES_MAX);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "something is left over");
    }

    #[test]
    fn no_line_is_lost_when_many_find_it_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        File::create(&path).unwrap().set_len(BYTES_MAX).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| journal(&path).freed("task", None)));
            }
        });
        let aside = fs::read(aside(&path)).unwrap();
        let late = String::from_utf8_lossy(&aside).matches('\n').count();
        assert_eq!(lines(&path) + late, 160);
    }

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        journal(&link).freed("task", None);
        assert_eq!(fs::read(&target).unwrap(), b"");
        let dangling = dir.path().join("dangling");
        std::os::unix::fs::symlink(dir.path().join("new"), &dangling).unwrap();
        journal(&dangling).freed("task", None);
        assert!(!dir.path().join("new").exists());
        journal(Path::new("/dev/tty")).freed("task", None);
    }
}
