//! `--log-file`: opens the file that receives what CMD prints.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

/// Why a log file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFileError {
    /// It cannot be opened or created for appending.
    #[error("cannot open the log file {} for appending", path.display())]
    Open {
        /// The file as it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A symbolic link that somebody else may have put there.
    #[error(
        "the log file {} is a symbolic link in a directory that others can write: name the file itself, \
         or a directory of your own",
        path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
}

/// Who may write a file besides its owner.
const GROUP_AND_OTHERS_WRITE: u32 = 0o022;

/// Opens the file for appending; a new one may be read by its group (0640, less the umask).
///
/// A symbolic link is followed only where nobody else could have put it: in `/tmp` it could make root append to any
/// file.
pub(crate) fn open(path: &Path) -> Result<File, LogFileError> {
    let failed = |source| LogFileError::Open { path: path.to_owned(), source };
    match append(path, OFlags::NOFOLLOW) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            let parent = match path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            if parent.metadata().map_err(failed)?.mode() & GROUP_AND_OTHERS_WRITE != 0 {
                return Err(LogFileError::Link { path: path.to_owned() });
            }
            append(path, OFlags::empty()).map_err(failed)
        }
        opened => opened.map_err(failed),
    }
}

fn append(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags.bits().cast_signed();
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        io::Write,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn appends_and_does_not_let_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for line in ["one\n", "two\n"] {
            open(&path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o137, 0, "{mode:o} gives more than 640");
    }

    #[test]
    fn a_link_is_followed_only_where_nobody_else_can_put_one() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        symlink(&file, &link).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(matches!(open(&link), Err(LogFileError::Link { .. })));
        assert!(!file.exists());
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        open(&link).unwrap();
        assert!(file.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = open(Path::new("/nowhere/log")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/log"), "{error}");
    }
}
