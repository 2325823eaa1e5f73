//! The file itself: its modes, what is refused, full disks, and files that are replaced or deleted.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use lock_core::{BackendErrorKind, Snapshot, Swap};
use lock_sqlite::{SqliteBackend, SqliteOptions};
use rusqlite::Connection;
use support::{
    cell, count_up, fresh, is_root, load, open, process, refused, store_of_this_process, swap,
    tmpfs,
};

use BackendErrorKind::{Misconfigured, Unavailable};

const NOBODY: u32 = 65534;
const GROUP: u32 = 4242;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[test]
fn what_is_created_is_for_this_user_alone_and_what_exists_keeps_its_mode() {
    let (dir, _) = fresh();
    chmod(dir.path(), 0o755);
    let path = dir.path().join("new/newer/locks.db");
    let backend = open(&path);
    for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&dir.path().join("new/newer")), 0o700);
    assert_eq!(mode(&dir.path().join("new")), 0o700);
    assert_eq!(mode(dir.path()), 0o755);
    drop(backend);
    chmod(&path, 0o640);
    let _backend = SqliteOptions::new(&path).group_access(true).open().unwrap();
    assert_eq!(mode(&path), 0o640);
    assert_eq!(mode(&dir.path().join("new/newer")), 0o700);
}

#[test]
fn group_access_lets_the_group_write() {
    let (dir, _) = fresh();
    let path = dir.path().join("new/locks.db");
    let backend = SqliteOptions::new(&path).group_access(true).open().unwrap();
    for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
        assert_eq!(mode(&file), 0o660, "{}", file.display());
    }
    assert_eq!(mode(&dir.path().join("new")), 0o2770);
    drop(backend);
}

#[test]
fn two_users_of_a_group_share_a_store() {
    if let Some(path) = store_of_this_process() {
        return count_up(&open(&path), 20);
    }
    let test = "two_users_of_a_group_share_a_store";
    if !is_root() {
        return eprintln!("skipped {test}: only root can become another user");
    }
    let (dir, _) = fresh();
    chmod(dir.path(), 0o755);
    let path = dir.path().join("new/locks.db");
    drop(SqliteOptions::new(&path).group_id(GROUP).open().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().gid(), GROUP);
    // Also where the directory does not hand its group down.
    let beside = dir.path().join("locks.db");
    drop(SqliteOptions::new(&beside).group_id(GROUP).open().unwrap());
    assert_eq!(fs::metadata(&beside).unwrap().gid(), GROUP);
    let mut users = Vec::new();
    for user in [NOBODY, NOBODY - 1] {
        match process(test, &path).uid(user).gid(GROUP).spawn() {
            Ok(child) => users.push(child),
            Err(e) => eprintln!("skipped user {user}: cannot run this binary: {e}"),
        }
    }
    let counts = users.len() as u64 * 20;
    // All have ended before one that failed takes the directory away.
    let ends: Vec<_> = users.iter_mut().map(|child| child.wait().unwrap()).collect();
    assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
    assert_eq!(load(&open(&path)).unwrap().version.0, counts);
}

#[test]
fn missing_rights_are_told() {
    if let Some(path) = store_of_this_process() {
        let can_exist = path.parent().is_some_and(Path::exists);
        let words = if can_exist { "lacks the right" } else { "create the directory" };
        return refused(SqliteBackend::open(&path), Misconfigured, words);
    }
    let (dir, _) = fresh();
    chmod(dir.path(), 0o755);
    let closed = dir.path().join("closed/locks.db");
    drop(open(&closed));
    let foreign = dir.path().join("foreign/locks.db");
    drop(open(&foreign));
    chmod(&dir.path().join("foreign"), 0o755);
    let readonly = dir.path().join("readonly/locks.db");
    drop(open(&readonly));
    chmod(&readonly, 0o666);
    chmod(&dir.path().join("readonly"), 0o555);
    let nowhere = dir.path().join("readonly/new/locks.db");
    for path in [closed, foreign, readonly, nowhere] {
        let mut command = process("missing_rights_are_told", &path);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        } else if !path.starts_with(dir.path().join("readonly")) {
            eprintln!("skipped {}: only root can become another user", path.display());
            continue;
        }
        match command.status() {
            Ok(status) => assert!(status.success(), "{}", path.display()),
            Err(e) => eprintln!("skipped {}: cannot run this binary: {e}", path.display()),
        }
    }
    chmod(&dir.path().join("readonly"), 0o755);
}

#[test]
fn only_a_regular_file_is_used() {
    let (dir, path) = fresh();
    refused(SqliteBackend::open(dir.path()), Misconfigured, "a directory");
    refused(SqliteBackend::open("/dev/null"), Misconfigured, "not a regular file");
    let link = dir.path().join("link.db");
    symlink(&path, &link).unwrap();
    refused(SqliteBackend::open(&link), Misconfigured, "symbolic link");
    assert!(!path.exists());
    drop(open(&path));
    refused(SqliteBackend::open(&link), Misconfigured, "symbolic link");
    symlink(dir.path().join("victim"), beside(&path, "-wal")).unwrap();
    refused(SqliteBackend::open(&path), Misconfigured, "symbolic link");
    assert!(!dir.path().join("victim").exists());
    fs::write(dir.path().join("file"), "").unwrap();
    let below_a_file = dir.path().join("file/locks.db");
    refused(SqliteBackend::open(below_a_file), Misconfigured, "not a directory");
}

#[test]
fn a_link_to_the_directory_is_followed() {
    let (dir, path) = fresh();
    swap(&open(&path), 0, 1, b"one").unwrap();
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    assert_eq!(load(&open(&link.join("locks.db"))).unwrap(), cell(1, b"one"));
}

#[test]
fn a_directory_where_everybody_may_replace_files_is_refused() {
    let (dir, path) = fresh();
    chmod(dir.path(), 0o777);
    refused(SqliteBackend::open(&path), Misconfigured, "everybody may replace");
    chmod(dir.path(), 0o1777);
    drop(open(&path));
    if !is_root() {
        return eprintln!("skipped the files of strangers: only root can make one");
    }
    chown(&path, Some(NOBODY), None).unwrap();
    refused(SqliteBackend::open(&path), Misconfigured, "user 65534");
    chown(&path, Some(0), None).unwrap();
    fs::write(beside(&path, "-wal"), "").unwrap();
    chown(beside(&path, "-wal"), Some(NOBODY), None).unwrap();
    refused(SqliteBackend::open(&path), Misconfigured, "locks.db-wal");
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_was() {
    let (dir, path) = fresh();
    fs::write(&path, "These are my notes, not a database. ".repeat(500)).unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    let marked = dir.path().join("marked.db");
    Connection::open(&marked).unwrap().execute_batch("PRAGMA application_id = 7").unwrap();
    let newer = dir.path().join("newer.db");
    drop(open(&newer));
    Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    for (path, words) in [
        (&path, "not an SQLite database"),
        (&foreign, "another application"),
        (&marked, "another application"),
        (&newer, "schema version 2"),
    ] {
        let before = fs::read(path).unwrap();
        refused(SqliteBackend::open(path), Misconfigured, words);
        assert!(fs::read(path).unwrap() == before, "{}", path.display());
    }
    // Nor is the log of another application folded into its file.
    let user = Connection::open(&foreign).unwrap();
    user.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO notes VALUES ('a')").unwrap();
    let copy = dir.path().join("copy.db");
    fs::copy(&foreign, &copy).unwrap();
    fs::copy(beside(&foreign, "-wal"), beside(&copy, "-wal")).unwrap();
    let before = fs::read(&copy).unwrap();
    refused(SqliteBackend::open(&copy), Misconfigured, "another application");
    assert!(fs::read(&copy).unwrap() == before && beside(&copy, "-wal").exists());
}

#[test]
fn an_empty_file_or_database_becomes_a_store() {
    let (dir, path) = fresh();
    fs::write(&path, "").unwrap();
    assert_eq!(load(&open(&path)).unwrap(), Snapshot::default());
    let empty = dir.path().join("empty.db");
    Connection::open(&empty).unwrap().execute_batch("VACUUM").unwrap();
    assert_eq!(swap(&open(&empty), 0, 1, b"one").unwrap(), Swap::Swapped);
}

#[test]
fn a_read_only_file_system_is_told() {
    let test = "a_read_only_file_system_is_told";
    let Some(disk) = tmpfs(test, c"size=1m") else { return };
    let path = disk.path().join("locks.db");
    swap(&open(&path), 0, 1, b"one").unwrap();
    disk.make_read_only();
    refused(SqliteBackend::open(&path), Misconfigured, "read-only");
    refused(SqliteBackend::open(disk.path().join("other.db")), Misconfigured, "other.db");
}

#[test]
fn a_full_disk_is_unavailable_and_works_again_when_there_is_room() {
    let test = "a_full_disk_is_unavailable_and_works_again_when_there_is_room";
    let Some(disk) = tmpfs(test, c"size=512k") else { return };
    let path = disk.path().join("locks.db");
    let backend = open(&path);
    swap(&backend, 0, 1, b"one").unwrap();
    let filler = disk.path().join("filler");
    let mut size = 512 * 1024;
    while fs::write(&filler, vec![0; size]).is_err() {
        size -= 4096;
    }
    let large = vec![b'x'; 100_000];
    refused(swap(&backend, 1, 2, &large), Unavailable, "the disk is full");
    assert_eq!(load(&backend).unwrap(), cell(1, b"one"));
    refused(load(&open(&disk.path().join("other.db"))), Unavailable, "other.db");
    fs::remove_file(&filler).unwrap();
    assert_eq!(swap(&backend, 1, 2, &large).unwrap(), Swap::Swapped);
    assert!(load(&backend).unwrap() == cell(2, &large));
}

fn remove(path: &Path) {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        fs::remove_file(file).unwrap();
    }
}

/// Restores a backup, at version 3, as the documentation says.
fn restore(path: &Path) {
    let backup = path.with_extension("backup");
    swap(&open(&backup), 0, 3, b"backup").unwrap();
    remove(path);
    fs::rename(backup, path).unwrap();
}

#[test]
fn a_replaced_file_is_noticed_by_a_load() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    swap(&backend, 0, 7, b"mine").unwrap();
    restore(&path);
    assert_eq!(load(&backend).unwrap(), cell(3, b"backup"));
    assert_eq!(swap(&backend, 3, 8, b"next").unwrap(), Swap::Swapped);
    assert_eq!(load(&open(&path)).unwrap(), cell(8, b"next"));
}

#[test]
fn a_replaced_file_is_noticed_by_a_swap() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    swap(&backend, 0, 7, b"mine").unwrap();
    restore(&path);
    assert_eq!(swap(&backend, 7, 8, b"into the void").unwrap(), Swap::Conflict);
    assert_eq!(load(&open(&path)).unwrap(), cell(3, b"backup"));
}

#[test]
fn a_deleted_file_is_an_absent_cell() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    swap(&backend, 0, 7, b"mine").unwrap();
    remove(&path);
    assert_eq!(load(&backend).unwrap(), Snapshot::default());
    assert_eq!(mode(&path), 0o600);
    swap(&backend, 0, 8, b"again").unwrap();
    remove(&path);
    assert_eq!(swap(&backend, 8, 9, b"into the void").unwrap(), Swap::Conflict);
    assert_eq!(load(&open(&path)).unwrap(), Snapshot::default());
    swap(&backend, 0, 10, b"anew").unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(load(&backend).unwrap(), Snapshot::default());
}

#[test]
fn a_deleted_log_parts_nobody_from_the_others() {
    for deleted in [&["-wal"][..], &["-shm"], &["-wal", "-shm"]] {
        let (_dir, path) = fresh();
        let backend = open(&path);
        swap(&backend, 0, 7, b"mine").unwrap();
        for suffix in deleted {
            fs::remove_file(beside(&path, suffix)).unwrap();
        }
        let swapped = swap(&backend, 7, 8, b"next").unwrap() == Swap::Swapped;
        // All are there again, so that others find them too.
        for suffix in deleted {
            assert!(beside(&path, suffix).exists(), "{deleted:?}");
        }
        // Not through this process, where SQLite shares what it has in memory.
        let seen = std::process::Command::new("sqlite3")
            .arg(&path)
            .arg("SELECT count(*) FROM interlock WHERE version = 8")
            .output();
        match seen {
            Ok(seen) => {
                let seen = String::from_utf8_lossy(&seen.stdout).trim() == "1";
                assert_eq!(seen, swapped, "{deleted:?}");
            }
            Err(e) => eprintln!("skipped the other process: cannot run sqlite3: {e}"),
        }
    }
}
