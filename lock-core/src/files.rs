//! What stores that are made of files have in common: who may use them, where they may be, and errors.
//!
//! For the authors of such backends; nothing in this crate needs it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use crate::{BackendError, BackendErrorKind};

/// For whom a store is made: for its user alone, or for a group too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audience {
    shared: bool,
    group: Option<u32>,
}

impl Audience {
    /// This user alone: files of mode 0600 in directories of mode 0700.
    pub const OWNER: Self = Self { shared: false, group: None };
    /// The group that files get anyway, too: files of mode 0660 in directories of mode 02770.
    pub const GROUP: Self = Self { shared: true, group: None };

    /// The group of this number, too; files and directories are given to it.
    pub fn group(id: u32) -> Self {
        Self { shared: true, group: Some(id) }
    }

    /// Makes a directory, and those that lead to it, as far as they are missing; what exists keeps its
    /// mode. Each is durable when this returns, if it was made by this call.
    ///
    /// # Errors
    ///
    /// [`BackendError`], see [`error`].
    pub fn make_directory(self, directory: &Path) -> Result<(), BackendError> {
        if directory.exists() {
            return Ok(());
        }
        let parent = directory.parent().unwrap_or(Path::new("/"));
        self.make_directory(parent)?;
        let made = || {
            if self.shared {
                self.make_shared(directory, parent)?;
            } else {
                make_own(directory)?;
            }
            File::open(parent)?.sync_all()
        };
        match made() {
            Err(_) if directory.is_dir() => Ok(()),
            result => result.map_err(|e| error("create the directory", directory, e)),
        }
    }

    /// Under another name first, so that nobody of the group finds it closed.
    fn make_shared(self, directory: &Path, parent: &Path) -> io::Result<()> {
        let new = parent.join(format!(".interlock-{:016x}", fastrand::u64(..)));
        make_own(&new)?;
        // The set-group-id bit gives what is made in it the group of the directory.
        let made = chown(&new, None, self.group)
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o2770)))
            .and_then(|()| fs::rename(&new, directory));
        if made.is_err() {
            let _ = fs::remove_dir(&new);
        }
        made
    }

    /// Gives a new file to its audience.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn give(self, file: &File) -> io::Result<()> {
        if self.shared {
            fchown(file, None, self.group)?;
        }
        file.set_permissions(Permissions::from_mode(if self.shared { 0o660 } else { 0o600 }))
    }
}

fn make_own(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

/// An error of the system as one of the store: missing rights and the like are for somebody to mend,
/// anything else may pass.
///
/// Not for what may have been applied all the same.
pub fn error(operation: &str, path: &Path, error: io::Error) -> BackendError {
    use io::ErrorKind as E;
    let (kind, advice) = match error.kind() {
        E::StorageFull | E::QuotaExceeded => {
            (BackendErrorKind::Unavailable, ": the disk is full; make room")
        }
        E::ReadOnlyFilesystem => {
            (BackendErrorKind::Misconfigured, ": the file system is read-only")
        }
        E::PermissionDenied => (BackendErrorKind::Misconfigured, ": this user lacks the right"),
        E::NotADirectory | E::InvalidInput | E::InvalidFilename | E::Unsupported => {
            (BackendErrorKind::Misconfigured, "")
        }
        E::FileTooLarge => (BackendErrorKind::TooLarge, ""),
        _ => (BackendErrorKind::Unavailable, ""),
    };
    let message = format!("cannot {operation} {}{advice}", path.display());
    BackendError::new(kind, message).with_source(error)
}

/// What is wrong with a path that is a link, and what to do about it.
pub const IS_LINK: &str = "a symbolic link, which is not followed: name its target";

/// An error that somebody has to mend.
pub fn misconfigured(message: impl Into<String>) -> BackendError {
    BackendError::new(BackendErrorKind::Misconfigured, message)
}

/// The path of a store from the root on: the working directory may change later, and must not take the store with it.
///
/// # Errors
///
/// [`BackendError`]: it is empty, or there is no working directory.
pub fn absolute(path: &Path) -> Result<PathBuf, BackendError> {
    std::path::absolute(path).map_err(|e| error("find", path, e))
}

/// The name of the file system at a path, if it may be shared between kernels.
///
/// On such a one, flock may be a matter of each host, or nothing at all; other hosts can write; and
/// memory is not shared. Where it cannot be told (other systems than Linux), it is taken for local.
///
/// # Errors
///
/// As the system says.
#[cfg(target_os = "linux")]
pub fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let file_system = rustix::fs::statfs(path)?;
    // Magic numbers have 32 bits, whatever the width and the sign of the field.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = file_system.f_type as u32;
    Ok(network_name(magic))
}

/// The name of the file system at a path, if it may be shared between kernels.
///
/// # Errors
///
/// None here, where it cannot be told.
#[cfg(not(target_os = "linux"))]
pub fn network_file_system(_: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
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
