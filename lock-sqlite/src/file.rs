//! The file of a store: made with tight modes, refused where it is not safe, known by its inode.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_core::BackendError;
use lock_core::files::{self, Audience, misconfigured};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Where a store is and how it is made.
#[derive(Debug)]
pub(crate) struct StoreFile {
    path: PathBuf,
    audience: Audience,
}

/// The database, its log and the log's index, by device and inode.
///
/// All three, because whoever still has one of them after it was removed shares it with nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
    index: Option<(u64, u64)>,
}

impl Identity {
    pub(crate) fn is_complete(self) -> bool {
        self.database.is_some() && self.log.is_some() && self.index.is_some()
    }
}

impl StoreFile {
    pub(crate) fn new(path: &Path, audience: Audience) -> Result<Self, BackendError> {
        if path.file_name().is_none() {
            return Err(misconfigured(format!("{} is not the path of a file", path.display())));
        }
        Ok(Self { path: files::absolute(path)?, audience })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what is missing, checks all, and returns the path without links for SQLite to open.
    ///
    /// The database itself is never opened here: closing any descriptor of a file drops all POSIX
    /// locks that this process has on it, those of SQLite as well.
    pub(crate) fn prepare(&self) -> Result<PathBuf, BackendError> {
        let dir = self.directory();
        self.audience.make_directory(dir)?;
        let dir = fs::canonicalize(dir).map_err(|e| files::error("find", dir, e))?;
        refuse_network(&dir)?;
        let path = dir.join(self.path.file_name().unwrap_or_default());
        if matches!(fs::symlink_metadata(&path), Err(e) if e.kind() == io::ErrorKind::NotFound) {
            self.make_file(&dir, &path)?;
        }
        self.check()?;
        refuse_network(&path)?;
        Ok(path)
    }

    /// Refuses a store that others can play tricks with, or that we cannot write.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let dir = self.directory();
        let dir_metadata = fs::metadata(dir).map_err(|e| files::error("find", dir, e))?;
        if !dir_metadata.is_dir() {
            return Err(misconfigured(format!("{} is not a directory", dir.display())));
        }
        let shared = dir_metadata.mode() & 0o002 != 0;
        if shared && dir_metadata.mode() & 0o1000 == 0 {
            return Err(misconfigured(format!(
                "cannot trust a store in {}, where everybody may replace files: choose another \
                 directory or take that right away (chmod o-w)",
                dir.display()
            )));
        }
        refuse_unwritable(dir, Access::WRITE_OK | Access::EXEC_OK)?;
        // The files beside it may lack their mode for a moment: those are left to SQLite.
        refuse_unwritable(&self.path, Access::READ_OK | Access::WRITE_OK)?;
        for path in [self.path.clone(), self.beside("-wal"), self.beside("-shm")] {
            match fs::symlink_metadata(&path) {
                Ok(metadata) => {
                    refuse_irregular(&path, &metadata)?;
                    if shared {
                        refuse_stranger(&path, metadata.uid(), dir_metadata.uid())?;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(files::error("look at", &path, e)),
            }
        }
        Ok(())
    }

    /// What is there now.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            database: inode(&self.path),
            log: inode(&self.beside("-wal")),
            index: inode(&self.beside("-shm")),
        }
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }

    /// Makes the empty file under another name first, so that nobody sees it with other rights.
    ///
    /// Its name becomes durable with the first swap: SQLite then syncs the directory for its log.
    fn make_file(&self, dir: &Path, path: &Path) -> Result<(), BackendError> {
        let made = || -> io::Result<()> {
            let file = tempfile::Builder::new().prefix(".locks-").tempfile_in(dir)?;
            self.audience.give(file.as_file())?;
            Ok(file.into_temp_path().persist_noclobber(path)?)
        };
        match made() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(|e| files::error("create the store", path, e)),
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn refuse_irregular(path: &Path, metadata: &Metadata) -> Result<(), BackendError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = match () {
        () if kind.is_symlink() => files::IS_LINK,
        () if kind.is_dir() => "a directory: name a file in it",
        () => "not a regular file: name another path",
    };
    Err(misconfigured(format!("cannot use {} as a store: it is {what}", path.display())))
}

/// Refuses what somebody else laid into a directory that everybody may write, such as `/tmp`.
fn refuse_stranger(path: &Path, owner: u32, dir_owner: u32) -> Result<(), BackendError> {
    if [0, dir_owner, rustix::process::geteuid().as_raw()].contains(&owner) {
        return Ok(());
    }
    Err(misconfigured(format!(
        "cannot trust {}, which user {owner} made in a directory that everybody may write: choose \
         another directory",
        path.display()
    )))
}

/// Tells missing rights here, because SQLite says no more than that it cannot open the file.
fn refuse_unwritable(path: &Path, access: Access) -> Result<(), BackendError> {
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM) => Err(misconfigured(format!(
            "cannot write {}: this user lacks the right; the store, the files beside it and their \
             directory must be writable",
            path.display()
        ))),
        Err(Errno::ROFS) => Err(misconfigured(format!(
            "cannot write {}: the file system is read-only",
            path.display()
        ))),
        // Anything else shows when SQLite opens it.
        _ => Ok(()),
    }
}

/// Refuses file systems on which other hosts can write and the log's shared memory is not shared.
fn refuse_network(path: &Path) -> Result<(), BackendError> {
    let found = files::network_file_system(path);
    match found.map_err(|e| files::error("find the file system of", path, e))? {
        None => Ok(()),
        Some(name) => Err(misconfigured(format!(
            "cannot keep a store in {}, which is on {name}: SQLite's write-ahead log needs memory \
             that all its users share; use a local disk, or MySQL or Redis for several hosts",
            path.display()
        ))),
    }
}
