//! An open directory of a store: its files are reached through it, wherever its path leads later.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lock_core::files::{self, Audience, misconfigured};
use lock_core::{BackendError, BackendErrorKind};
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::cell::{Cell, Head};

/// What begins the names of files that are being written.
const NEW: &str = "new-";
/// After this time whoever wrote a file is taken for dead; if it is not, it has to write it again.
const NEW_AGE_MAX: Duration = Duration::from_secs(600);
/// How directories are opened.
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// More than a first line.
const HEAD_BYTES: usize = 1024;
/// The largest file that is read; a table has a few megabytes at most.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    directory: File,
    identity: (u64, u64),
}

/// A file that is complete and durable, and that nobody looks at yet; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct New<'f> {
    folder: &'f Folder,
    name: Option<String>,
}

impl Folder {
    /// Opens a directory that is safe to use.
    pub(crate) fn open(path: PathBuf) -> Result<Self, BackendError> {
        let opened = openat(CWD, &path, DIRECTORY, Mode::empty());
        Self::opened(path, opened)
    }

    /// Opens a directory in it, which is made for the same users if it is missing.
    ///
    /// It is in this one, and not in what may be at the path by now: that may be quite another store, or
    /// nothing, where nobody must find a directory without knowing what it is.
    pub(crate) fn enter(&self, name: &str) -> Result<Self, BackendError> {
        let path = self.path.join(name);
        // A link that leads to nothing is there, too.
        if !self.has(name)? {
            self.make(name).map_err(|e| files::error("create the directory", &path, e))?;
        }
        let opened = openat(&self.directory, name, DIRECTORY, Mode::empty());
        Self::opened(path, opened)
    }

    /// Makes a directory in it, unless somebody else does.
    fn make(&self, name: &str) -> io::Result<()> {
        let done = |made: rustix::io::Result<()>| match made {
            Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
            Err(e) => Err(io::Error::from(e)),
        };
        // A power cut must not leave it, and not what says what it is in.
        self.directory.sync_all()?;
        if self.audience()? == Audience::OWNER {
            done(mkdirat(&self.directory, name, Mode::RWXU))?;
        } else {
            // Under another name first, so that nobody of the group finds it closed.
            let new = format!("{NEW}{:016x}", random()?);
            mkdirat(&self.directory, &*new, Mode::RWXU)?;
            let made = self
                .share(&new)
                .and_then(|()| done(renameat(&self.directory, &*new, &self.directory, name)));
            // It is there only if it was not renamed.
            let _ = unlinkat(&self.directory, &*new, AtFlags::REMOVEDIR);
            made?;
        }
        self.directory.sync_all()
    }

    /// Gives a directory in it to the group that it is for.
    fn share(&self, name: &str) -> io::Result<()> {
        let directory = File::from(openat(&self.directory, name, DIRECTORY, Mode::empty())?);
        fchown(&directory, None, Some(self.directory.metadata()?.gid()))?;
        // The bit gives what is made in it the group, too.
        directory.set_permissions(Permissions::from_mode(0o2770))
    }

    fn opened(path: PathBuf, opened: rustix::io::Result<OwnedFd>) -> Result<Self, BackendError> {
        let directory = match opened {
            Ok(directory) => File::from(directory),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(no_directory(&path)),
            Err(e) => return Err(files::error("open", &path, e.into())),
        };
        let metadata = directory.metadata().map_err(|e| files::error("look at", &path, e))?;
        if metadata.mode() & 0o002 != 0 {
            return Err(misconfigured(format!(
                "cannot trust a store in {}, where everybody may write: choose a directory in it, or \
                 take that right away (chmod o-w)",
                path.display()
            )));
        }
        Ok(Self { path, directory, identity: identity(&metadata) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For whom it is now, and with it what is made in it.
    pub(crate) fn audience(&self) -> io::Result<Audience> {
        let metadata = self.directory.metadata()?;
        let is_shared = metadata.mode() & 0o020 != 0;
        Ok(if is_shared { Audience::group(metadata.gid()) } else { Audience::OWNER })
    }

    /// Whether it is still the one at its path.
    pub(crate) fn is_current(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|metadata| identity(&metadata) == self.identity)
    }

    pub(crate) fn directory(&self) -> &File {
        &self.directory
    }

    /// Reads a cell; `None` if there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Cell>, BackendError> {
        let bytes = self.bytes(name).map_err(|e| self.cannot("read", name, e))?;
        let Some(bytes) = bytes else { return Ok(None) };
        Cell::decode(bytes).map(Some).map_err(|what| self.refuse(name, &what))
    }

    /// Reads the first line of a cell.
    pub(crate) fn head(&self, name: &str) -> Result<Option<Head>, BackendError> {
        let bytes = || -> io::Result<Option<Vec<u8>>> {
            let Some((mut file, _)) = self.file(name)? else { return Ok(None) };
            let mut bytes = vec![0; HEAD_BYTES];
            // Of a regular file, one call gives as much as there is.
            let length = file.read(&mut bytes)?;
            bytes.truncate(length);
            Ok(Some(bytes))
        };
        let Some(bytes) = bytes().map_err(|e| self.cannot("read", name, e))? else {
            return Ok(None);
        };
        let head = Head::decode(&bytes).map_err(|what| self.refuse(name, &what))?;
        Ok(Some(head.0))
    }

    /// What is in a file; `None` if there is no such file.
    pub(crate) fn bytes(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((mut file, metadata)) = self.file(name)? else { return Ok(None) };
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is far too large"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn file(&self, name: &str) -> io::Result<Option<(File, Metadata)>> {
        // Not to be kept waiting by a pipe that somebody laid there.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                let what = "it is a symbolic link, which is not followed";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            Err(e) => return Err(e.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Some((file, metadata)))
    }

    /// Whether there is something of this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool, BackendError> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(self.cannot("look at", name, e.into())),
        }
    }

    /// All names in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, BackendError> {
        let names = || -> io::Result<Vec<String>> {
            // By its path, for that is when NFS asks the server whether names have changed.
            let directory = File::from(openat(CWD, &self.path, DIRECTORY, Mode::empty())?);
            if identity(&directory.metadata()?) != self.identity {
                return Err(io::Error::other("it was replaced"));
            }
            let mut names = Vec::new();
            for entry in Dir::new(directory)? {
                // What is no text is none of ours.
                if let Ok(name) = entry?.file_name().to_str()
                    && name != "."
                    && name != ".."
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        };
        names().map_err(|e| files::error("list", &self.path, e))
    }

    /// Writes a file of these parts whose bytes are durable, under a name that nobody looks at.
    pub(crate) fn write(&self, parts: &[&[u8]]) -> Result<New<'_>, BackendError> {
        let written = || -> io::Result<New<'_>> {
            let name = format!("{NEW}{:016x}", random()?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&self.directory, &*name, flags, Mode::RUSR | Mode::WUSR)?;
            let new = New { folder: self, name: Some(name) };
            let mut file = File::from(file);
            match self.audience()? {
                Audience::OWNER => {} // It was made for nobody else.
                audience => audience.give(&file)?,
            }
            for part in parts {
                file.write_all(part)?;
            }
            // Before it gets its name: else a power cut may leave the name and not the bytes.
            file.sync_data()?;
            Ok(new)
        };
        written().map_err(|e| files::error("write in", &self.path, e))
    }

    /// Removes a name, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BackendError> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.cannot("remove", name, e.into())),
        }
    }

    /// Removes the files that those left who died while they wrote, as far as that is possible.
    pub(crate) fn sweep(&self) -> Result<(), BackendError> {
        for name in self.names()?.iter().filter(|name| is_new(name)) {
            let stat = statat(&self.directory, &**name, AtFlags::SYMLINK_NOFOLLOW);
            let age = stat.ok().and_then(|stat| {
                let written = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
                SystemTime::UNIX_EPOCH.checked_add(written)?.elapsed().ok()
            });
            if age.is_some_and(|age| age > NEW_AGE_MAX) {
                let _ = self.remove(name);
            }
        }
        Ok(())
    }

    /// Makes all names in it durable.
    pub(crate) fn sync(&self) -> Result<(), BackendError> {
        self.directory.sync_all().map_err(|e| files::error("sync", &self.path, e))
    }

    /// Makes the names durable that lead to it; only who makes the first cell has to.
    pub(crate) fn sync_above(&self) -> Result<(), BackendError> {
        for directory in self.path.ancestors().skip(1).take(2) {
            match File::open(directory).and_then(|directory| directory.sync_all()) {
                // Whoever made it could read it, and did this.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                done => done.map_err(|e| files::error("sync", directory, e))?,
            }
        }
        Ok(())
    }

    pub(crate) fn cannot(&self, operation: &str, name: &str, error: io::Error) -> BackendError {
        files::error(operation, &self.path.join(name), error)
    }

    pub(crate) fn refuse(&self, name: &str, what: &str) -> BackendError {
        misconfigured(format!("cannot use {}: {what}", self.path.join(name).display()))
    }

    /// A swap may be in a directory that is gone, or in the one that came.
    pub(crate) fn replaced(&self) -> BackendError {
        let what = format!("cannot tell what was written: {} was replaced", self.path.display());
        BackendError::new(BackendErrorKind::OutcomeUnknown, what)
    }
}

impl New<'_> {
    /// Puts it in the place of whatever has this name.
    pub(crate) fn rename(mut self, name: &str) -> Result<(), BackendError> {
        let Some(new) = &self.name else { return Ok(()) };
        let directory = &self.folder.directory;
        renameat(directory, &**new, directory, name).map_err(|e| self.judge(name, e))?;
        self.name = None;
        Ok(())
    }

    /// Gives it a name that must not be there; `false` if it is.
    pub(crate) fn link(&self, name: &str) -> Result<bool, BackendError> {
        let Some(new) = &self.name else { return Ok(false) };
        let directory = &self.folder.directory;
        match linkat(directory, &**new, directory, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // The file is one's own, in a directory where one may make files: nothing else is missing.
            Err(e @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                let path = self.folder.path.join(name);
                let what = format!(
                    "cannot link {}: its file system has no hard links, and a store of files needs them",
                    path.display()
                );
                Err(misconfigured(what).with_source(io::Error::from(e)))
            }
            Err(e) => Err(self.judge(name, e)),
        }
    }

    /// Some errors say that nothing was done, of the others nobody can know.
    fn judge(&self, name: &str, error: Errno) -> BackendError {
        match error {
            Errno::NOENT
            | Errno::ACCESS
            | Errno::PERM
            | Errno::ROFS
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::MLINK
            | Errno::ISDIR
            | Errno::NOTDIR
            | Errno::OPNOTSUPP => self.folder.cannot("write", name, error.into()),
            _ => {
                let path = self.folder.path.join(name);
                let what = format!("cannot tell whether {} was written", path.display());
                BackendError::new(BackendErrorKind::OutcomeUnknown, what)
                    .with_source(io::Error::from(error))
            }
        }
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // If it stays, somebody sweeps it.
            let _ = self.folder.remove(&name);
        }
    }
}

/// Whether a name is one of what is being written: nobody else's, and no namespace's but by a rare chance.
pub(crate) fn is_new(name: &str) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.strip_prefix(NEW)
        .is_some_and(|rest| rest.len() == 16 && rest.as_bytes().iter().all(is_hex))
}

/// A number that nobody else has.
pub(crate) fn random() -> io::Result<u64> {
    getrandom::u64().map_err(|e| io::Error::other(e.to_string()))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn no_directory(path: &Path) -> BackendError {
    let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let what = if is_link {
        files::IS_LINK
    } else {
        "not a directory: name one that is empty, or that is not there yet"
    };
    misconfigured(format!("cannot use {} as a store: it is {what}", path.display()))
}
