//! What the trait promises, on one file: versions, bytes, namespaces, and the kinds of errors.

mod support;

use lock_core::{BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
use lock_sqlite::{SqliteBackend, SqliteOptions};
use rusqlite::Connection;
use support::{cell, fresh, load, open, refused, swap};

use BackendErrorKind::{Busy, Misconfigured};

#[test]
fn a_cell_is_absent_created_once_and_swapped_only_from_its_version() {
    let (_dir, path) = fresh();
    let (one, other) = (open(&path), open(&path));
    assert_eq!(load(&one).unwrap(), Snapshot::default());
    assert_eq!(swap(&one, 7, 8, b"no cell").unwrap(), Swap::Conflict);
    assert_eq!(swap(&one, 0, 5, b"first").unwrap(), Swap::Swapped);
    assert_eq!(swap(&other, 0, 6, b"again").unwrap(), Swap::Conflict);
    assert_eq!(load(&other).unwrap(), cell(5, b"first"));
    assert_eq!(swap(&other, 4, 9, b"old").unwrap(), Swap::Conflict);
    assert_eq!(swap(&other, 6, 9, b"not yet").unwrap(), Swap::Conflict);
    assert_eq!(swap(&other, 5, 9, b"second").unwrap(), Swap::Swapped);
    assert_eq!(load(&one).unwrap(), cell(9, b"second"));
    let max = Version::MAX.0;
    assert_eq!(swap(&one, 9, max, b"").unwrap(), Swap::Swapped);
    assert_eq!(load(&other).unwrap(), cell(max, b""));
    drop((one, other));
    assert_eq!(load(&open(&path)).unwrap(), cell(max, b""));
}

#[test]
fn any_text_comes_back_as_they_were() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let cases: [&[u8]; 6] =
        [b"", b"{}", b"nul \0 inside", "\u{1F512} ä".as_bytes(), &[0xFF, 0, 0xFE], &large];
    for (version, data) in (1..).zip(cases) {
        assert_eq!(swap(&backend, version - 1, version, data).unwrap(), Swap::Swapped);
        assert!(load(&backend).unwrap() == cell(version, data), "at version {version}");
    }
}

#[test]
fn namespaces_of_a_file_are_compared_byte_for_byte_and_independent() {
    let (_dir, path) = fresh();
    let names = ["default", "Default", "default ", "dëfault", "de\u{308}fault"];
    let stores: Vec<_> = names
        .iter()
        .map(|name| SqliteOptions::new(&path).namespace(*name).open().unwrap())
        .collect();
    for (version, (store, name)) in (1..).zip(stores.iter().zip(names)) {
        assert_eq!(load(store).unwrap(), Snapshot::default(), "{name:?}");
        assert_eq!(swap(store, 0, version, name.as_bytes()).unwrap(), Swap::Swapped);
    }
    for (version, (store, name)) in (1..).zip(stores.iter().zip(names)) {
        assert_eq!(load(store).unwrap(), cell(version, name.as_bytes()));
    }
    assert_eq!(load(&open(&path)).unwrap(), cell(1, b"default"));
}

#[test]
fn a_bad_namespace_is_refused() {
    let (_dir, path) = fresh();
    let with = |name: &str| SqliteOptions::new(&path).namespace(name).open();
    with(&"n".repeat(255)).unwrap();
    refused(with(&"n".repeat(256)), Misconfigured, "256 bytes");
    refused(with("a\nb"), Misconfigured, "control character");
    refused(with(""), Misconfigured, "empty");
}

#[test]
fn it_says_what_it_is() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    assert_eq!(backend.reach(), Reach::Host);
    assert_eq!(backend.describe(), format!("sqlite:{}", path.display()));
    let backend = SqliteOptions::new(&path).namespace("billing").open().unwrap();
    assert_eq!(backend.describe(), format!("sqlite:{} namespace billing", path.display()));
}

#[test]
fn while_another_writes_a_swap_is_busy_and_a_load_reads() {
    let (_dir, path) = fresh();
    let backend = open(&path);
    swap(&backend, 0, 1, b"one").unwrap();
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE interlock SET version = 2").unwrap();
    refused(swap(&backend, 1, 3, b"three"), Busy, "locks.db");
    assert_eq!(load(&backend).unwrap(), cell(1, b"one"));
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(swap(&backend, 1, 3, b"three").unwrap(), Swap::Swapped);
}

#[test]
fn a_store_that_is_busy_opens_and_works_later() {
    let (_dir, path) = fresh();
    swap(&open(&path), 0, 1, b"one").unwrap();
    let hog = Connection::open(&path).unwrap();
    hog.execute_batch("PRAGMA locking_mode = EXCLUSIVE; UPDATE interlock SET data = 'hog'")
        .unwrap();
    let backend = open(&path);
    refused(load(&backend), Busy, "locks.db");
    refused(swap(&backend, 1, 2, b"two"), Busy, "locks.db");
    drop(hog);
    assert_eq!(load(&backend).unwrap(), cell(1, b"hog"));
}

#[test]
fn what_no_release_wrote_is_an_error_and_never_an_absent_cell() {
    for change in [
        "version = 0",
        "version = -1",
        "version = 9007199254740993",
        "version = 'seven'",
        "version = 1.5",
        "data = x'00' || 5, version = NULL",
    ] {
        let (_dir, path) = fresh();
        let backend = open(&path);
        swap(&backend, 0, 1, b"one").unwrap();
        let other = Connection::open(&path).unwrap();
        // Whoever can edit the file can edit the table too.
        other
            .execute_batch(&format!(
                "ALTER TABLE interlock RENAME TO strict_one;
                 CREATE TABLE interlock (namespace, version, data);
                 INSERT INTO interlock SELECT * FROM strict_one;
                 UPDATE interlock SET {change}"
            ))
            .unwrap();
        refused(load(&backend), Misconfigured, "has a row that no release");
        other.execute_batch("DROP TABLE interlock").unwrap();
        refused(load(&backend), Misconfigured, "its table is not");
        refused(swap(&backend, 1, 2, b"two"), Misconfigured, "its table is not");
    }
}

#[test]
fn a_dropped_backend_leaves_one_readable_file() {
    let (dir, path) = fresh();
    swap(&open(&path), 0, 1, br#"{"holds":[]}"#).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let row: (String, i64, String) = Connection::open(&path)
        .unwrap()
        .query_row("SELECT * FROM interlock", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap();
    assert_eq!(row, ("default".into(), 1, r#"{"holds":[]}"#.into()));
}

#[test]
fn a_relative_path_is_meant_from_here_for_good() {
    let backend = SqliteBackend::open("/tmp/../no-such-file/..");
    refused(backend, Misconfigured, "not the path of a file");
    let dir = tempfile::tempdir_in(".").unwrap();
    let relative = dir.path().file_name().unwrap();
    let backend = SqliteBackend::open(std::path::Path::new(relative).join("locks.db")).unwrap();
    let here = std::env::current_dir().unwrap().join(relative).join("locks.db");
    assert_eq!(backend.describe(), format!("sqlite:{}", here.display()));
    assert!(here.exists());
}
