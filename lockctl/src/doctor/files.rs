//! What only stores in an SQLite file or in plain files have: a file or a directory, and who may use it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Access, access};

use super::report::Report;
use crate::{
    exit::Exit,
    store::{Settings, Store},
};

/// Whether there is a store to look at; the doctor makes none.
pub(super) fn is_there(settings: &Settings, report: &mut Report) -> bool {
    match &settings.store {
        Store::Sqlite(path) | Store::File(path, _) if matches!(path.try_exists(), Ok(false)) => {
            let text = format!("{} does not exist yet", path.display());
            report.warn("file", text, "the first run makes it, or `lockctl init` does now");
            false
        }
        _ => true,
    }
}

/// Whether this user may write where the cells of a directory are: to read one takes less.
pub(super) fn check_right_to_write(directory: &Path, report: &mut Report) {
    let cells = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()),
        Err(error) => return report.fail("rights", &error, Exit::Config),
    };
    for path in cells.chain([directory.to_owned()]) {
        if access(&path, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let text = format!("this user may not write to {}", path.display());
            let todo = "run it as the user who owns the store, or make one for a group: lockctl init --group";
            return report.fail_with("rights", text, todo, Exit::Config);
        }
    }
    report.ok("rights", "this user may write to it");
}

/// Who may use the file. What cannot be used at all was refused when it was opened.
pub(super) fn check(path: &Path, report: &mut Report) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode();
    let owner = match User::from_uid(Uid::from_raw(metadata.uid())) {
        Ok(Some(user)) => user.name,
        _ => metadata.uid().to_string(),
    };
    let group = match Group::from_gid(Gid::from_raw(metadata.gid())) {
        Ok(Some(group)) => group.name,
        _ => metadata.gid().to_string(),
    };
    if mode & 0o006 != 0 {
        let can = if mode & 0o002 != 0 { "write" } else { "read" };
        let text = format!("every user can {can} {}", path.display());
        report.warn("file", text, format!("chmod o= {}", path.display()));
    } else if mode & 0o020 != 0 {
        report.ok("file", format!("{owner} and the group {group} can use it"));
    } else {
        report.ok("file", format!("only {owner} can use it"));
    }
}
