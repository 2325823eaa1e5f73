//! Many threads and real processes on one file, some of them killed at any moment.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;

use lock_core::{BackendErrorKind, Swap, Version};
use rusqlite::Connection;
use support::{cell, count_up, fresh, load, open, process, store_of_this_process, swap};

#[test]
fn threads_that_count_up_lose_nothing() {
    let (_dir, path) = fresh();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| count_up(&open(&path), 50));
        }
    });
    assert_eq!(load(&open(&path)).unwrap(), cell(400, b"400"));
}

#[test]
fn processes_that_count_up_lose_nothing() {
    if let Some(path) = store_of_this_process() {
        return count_up(&open(&path), 50);
    }
    let (_dir, path) = fresh();
    let test = "processes_that_count_up_lose_nothing";
    let children: Vec<_> = (0..6).map(|_| process(test, &path).spawn().unwrap()).collect();
    count_up(&open(&path), 50);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(load(&open(&path)).unwrap(), cell(350, b"350"));
}

#[test]
fn fifty_processes_that_start_at_once_make_one_store() {
    if let Some(path) = store_of_this_process() {
        return count_up(&open(&path), 1);
    }
    let (dir, _) = fresh();
    let path = dir.path().join("made/by/the/first/locks.db");
    let test = "fifty_processes_that_start_at_once_make_one_store";
    let children: Vec<_> = (0..50).map(|_| process(test, &path).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(load(&open(&path)).unwrap(), cell(50, b"50"));
}

/// Many pages of data, all of which tell the version.
fn pages(version: Version) -> Vec<u8> {
    format!("{version} ").repeat(6000).into_bytes()
}

#[test]
fn a_killed_writer_leaves_the_old_cell_or_the_new_one() {
    if let Some(path) = store_of_this_process() {
        return write_until_killed(&path);
    }
    let seed = fastrand::get_seed();
    eprintln!("seed {seed}");
    fastrand::seed(seed);
    let (_dir, path) = fresh();
    for _ in 0..20 {
        let mut writer = process("a_killed_writer_leaves_the_old_cell_or_the_new_one", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
        let mut told = 0;
        for _ in 0..fastrand::u32(1..30) {
            told = lines.next().expect("the writer ended by itself");
        }
        // At any moment of the next swaps.
        for _ in 0..fastrand::u32(0..20_000) {
            std::hint::spin_loop();
        }
        writer.kill().unwrap();
        told = lines.last().unwrap_or(told);
        writer.wait().unwrap();

        let found = load(&open(&path)).unwrap();
        assert!(found.version.0 >= told, "lost {told}, found {}", found.version);
        assert!(found.data == pages(found.version), "torn at version {}", found.version);
        let sound: String = Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}

fn write_until_killed(path: &std::path::Path) {
    let backend = open(path);
    loop {
        let seen = load(&backend).unwrap().version;
        let next = Version(seen.0 + 1);
        match swap(&backend, seen.0, next.0, &pages(next)) {
            Ok(Swap::Swapped) => {
                println!("wrote {next}");
                std::io::stdout().flush().unwrap();
            }
            Ok(Swap::Conflict) => panic!("nobody else writes"),
            Err(e) => assert_eq!(e.kind(), BackendErrorKind::Busy, "{e}"),
        }
    }
}
