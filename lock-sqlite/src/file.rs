//! The file of a store: made with tight modes, refused where it is not safe, known by its inode.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use lock_core::{BackendError, BackendErrorKind};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Where a store is and how it is made.
#[derive(Debug)]
pub(crate) struct StoreFile {
    path: PathBuf,
    group_access: bool,
    group_id: Option<u32>,
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
    pub(crate) fn new(
        path: &Path,
        group_access: bool,
        group_id: Option<u32>,
    ) -> Result<Self, BackendError> {
        if path.file_name().is_none() {
            return Err(misconfigured(format!("{} is not the path of a file", path.display())));
        }
        // The working directory may change later, and must not take the store with it.
        let path = std::path::absolute(path).map_err(|e| io_error("find", path, e))?;
        Ok(Self { path, group_access, group_id })
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
        self.make_directory(dir)?;
        let dir = fs::canonicalize(dir).map_err(|e| io_error("find", dir, e))?;
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
        let dir_metadata = fs::metadata(dir).map_err(|e| io_error("find", dir, e))?;
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
                Err(e) => return Err(io_error("look at", &path, e)),
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

    fn make_directory(&self, dir: &Path) -> Result<(), BackendError> {
        if dir.exists() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        self.make_directory(parent)?;
        let made = || -> io::Result<()> {
            DirBuilder::new().mode(0o700).create(dir)?;
            if self.group_access {
                // The set-group-id bit gives the log and its index the group of the directory.
                chown(dir, None, self.group_id)?;
                fs::set_permissions(dir, Permissions::from_mode(0o2770))?;
            }
            // A store that is durable needs a directory that is.
            File::open(parent)?.sync_all()
        };
        match made() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(|e| io_error("create the directory", dir, e)),
        }
    }

    /// Makes the empty file under another name first, so that nobody sees it with other rights.
    ///
    /// Its name becomes durable with the first swap: SQLite then syncs the directory for its log.
    fn make_file(&self, dir: &Path, path: &Path) -> Result<(), BackendError> {
        let made = || -> io::Result<()> {
            let file = tempfile::Builder::new().prefix(".locks-").tempfile_in(dir)?;
            if self.group_access {
                fchown(file.as_file(), None, self.group_id)?;
            }
            let mode = if self.group_access { 0o660 } else { 0o600 };
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
            Ok(file.into_temp_path().persist_noclobber(path)?)
        };
        match made() {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(|e| io_error("create the store", path, e)),
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
        () if kind.is_symlink() => "a symbolic link, which is not followed: name its target",
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
#[cfg(target_os = "linux")]
fn refuse_network(path: &Path) -> Result<(), BackendError> {
    let file_system = rustix::fs::statfs(path)
        .map_err(|e| io_error("find the file system of", path, e.into()))?;
    // Magic numbers have 32 bits, whatever the width and the sign of the field.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    match network_name(file_system.f_type as u32) {
        None => Ok(()),
        Some(name) => Err(misconfigured(format!(
            "cannot keep a store in {}, which is on {name}: SQLite's write-ahead log needs memory \
             that all its users share; use a local disk, or MySQL or Redis for several hosts",
            path.display()
        ))),
    }
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<(), BackendError> {
    Ok(())
}

/// The name of a file system that may be shared between kernels, by its magic number.
#[cfg(target_os = "linux")]
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "CIFS/SMB",
        0x0102_1997 => "9p",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x00C3_6400 => "CephFS",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x7375_7245 => "Coda",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        0x786F_4256 => "a VirtualBox shared folder",
        0xBACB_ACBC => "a VMware shared folder",
        // It may be sshfs or virtiofs, and the kernel does not say.
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

fn misconfigured(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Misconfigured, message)
}

fn io_error(operation: &str, path: &Path, error: io::Error) -> BackendError {
    use io::ErrorKind as E;
    let kind = match error.kind() {
        E::PermissionDenied
        | E::ReadOnlyFilesystem
        | E::NotADirectory
        | E::InvalidInput
        | E::InvalidFilename
        | E::Unsupported => BackendErrorKind::Misconfigured,
        _ => BackendErrorKind::Unavailable,
    };
    BackendError::new(kind, format!("cannot {operation} {}", path.display())).with_source(error)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::network_name;

    #[test]
    fn shared_file_systems_are_known_and_local_ones_pass() {
        for magic in [0x6969, 0x0102_1997, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546] {
            assert!(network_name(magic).is_some(), "{magic:#x}");
        }
        // ext4, xfs, btrfs, tmpfs, overlayfs, zfs.
        for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1_u32] {
            assert_eq!(network_name(magic), None, "{magic:#x}");
        }
    }
}
