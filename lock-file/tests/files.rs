//! The files themselves: what is refused, what is left behind, and directories that are replaced.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use lock_core::BackendErrorKind::{Busy, Misconfigured};
use lock_core::{LockBackend, Reach, Snapshot, Swap};
use lock_file::{FileBackend, FileOptions, Strategy};
use rustix::fs::{CWD, FlockOperation, Mode, RenameFlags, flock, mkfifoat, renameat_with};
use rustix::process::{getegid, geteuid};

use support::{
    BOTH, STORE, again, can_run, cell, file_of, fresh, load, names, open, program, refused, swap,
};

#[test]
fn it_says_what_and_where_it_is() {
    let (_directory, path) = fresh();
    let shown = path.display();
    let backend = FileBackend::open(&path).unwrap();
    assert_eq!(backend.describe(), format!("file:{shown}"));
    assert_eq!(backend.reach(), Reach::Host);
    let backend = FileOptions::new(&path).strategy(Strategy::Flock).namespace("A").open().unwrap();
    assert_eq!(backend.describe(), format!("file:{shown}?strategy=flock namespace A"));
    refused(FileOptions::new(&path).strategy(Strategy::Excl).open(), Misconfigured, "for flock");
}

#[test]
fn a_store_is_used_with_the_strategy_that_it_has() {
    for strategy in BOTH {
        let (_directory, path) = fresh();
        swap(&open(&path, strategy), 0, 1, b"one").unwrap();
        let whichever = FileBackend::open(&path).unwrap();
        assert_eq!(swap(&whichever, 1, 2, b"two").unwrap(), Swap::Swapped);
        assert_eq!(load(&open(&path, strategy)).unwrap(), cell(2, b"two"));
    }
}

#[test]
fn what_is_no_regular_file_is_refused_and_left_as_it_is() {
    for strategy in BOTH {
        let (directory, path) = fresh();
        let file = path.join(file_of(strategy));
        let backend = open(&path, strategy);
        let victim = directory.path().join("victim");
        for what in ["a symbolic link", "not a regular file"] {
            if what == "a symbolic link" {
                fs::write(&victim, "{\"interlock\":1,\"version\":7,\"bytes\":0}\n\n").unwrap();
                symlink(&victim, &file).unwrap();
            } else {
                // Whoever opened it the usual way would wait for a writer.
                mkfifoat(CWD, &file, Mode::RWXU).unwrap();
            }
            refused(load(&backend), Misconfigured, what);
            refused(swap(&backend, 0, 1, b"one"), Misconfigured, what);
            assert!(fs::symlink_metadata(&file).is_ok());
            fs::remove_file(&file).unwrap();
        }
        assert_eq!(swap(&backend, 0, 1, b"one").unwrap(), Swap::Swapped);
        assert!(fs::read_to_string(victim).unwrap().contains("\"version\":7"));
    }
}

#[test]
fn a_mark_that_says_something_else_is_refused_and_left_as_it_is() {
    let (directory, path) = fresh();
    swap(&open(&path, Strategy::Flock), 0, 1, b"one").unwrap();
    let mark = path.join("interlock.json");
    let good = fs::read_to_string(&mark).unwrap();
    for (bad, words) in [
        ("", "damaged"),
        (&good[..good.len() / 2], "damaged"),
        (&*good.replace("flock", "link"), "damaged"),
        (&*good.replace(":1,", ":2,\"since\":2030,"), "format 2"),
    ] {
        fs::write(&mark, bad).unwrap();
        refused(FileBackend::open(&path), Misconfigured, words);
        assert_eq!(fs::read_to_string(&mark).unwrap(), bad);
    }
    fs::remove_file(&mark).unwrap();
    let target = directory.path().join("mark");
    fs::write(&target, &good).unwrap();
    symlink(&target, &mark).unwrap();
    refused(FileBackend::open(&path), Misconfigured, "a symbolic link");
    assert!(mark.is_symlink());
    fs::rename(&target, &mark).unwrap();
    assert_eq!(load(&FileBackend::open(&path).unwrap()).unwrap(), cell(1, b"one"));
}

#[test]
fn a_symbolic_link_in_place_of_a_namespace_is_refused_and_left_as_it_is() {
    for strategy in BOTH {
        let (directory, path) = fresh();
        FileOptions::new(&path).strategy(strategy).namespace("other").open().unwrap();
        let (link, elsewhere) = (path.join("default"), directory.path().join("elsewhere"));
        symlink(&elsewhere, &link).unwrap();
        refused(FileBackend::open(&path), Misconfigured, "a symbolic link");
        assert!(link.is_symlink() && !elsewhere.exists());
        fs::create_dir(&elsewhere).unwrap();
        refused(FileBackend::open(&path), Misconfigured, "a symbolic link");
        assert!(link.is_symlink() && names(&elsewhere).is_empty());
    }
}

#[test]
fn what_is_made_is_for_its_user_alone_or_for_the_group_too() {
    // Only root may give it to a group of others.
    let group = if geteuid().is_root() { 12_345 } else { getegid().as_raw() };
    for strategy in BOTH {
        let (_directory, path) = fresh();
        let options = FileOptions::new(&path).strategy(strategy);
        for (options, group, of_directories, of_files) in [
            (options.clone(), None, 0o700, 0o600),
            (options.clone().group_access(true), None, 0o2770, 0o660),
            (options.clone().group_id(group), Some(group), 0o2770, 0o660),
        ] {
            swap(&options.open().unwrap(), 0, 1, b"one").unwrap();
            for (name, mode) in [
                ("", of_directories),
                ("default", of_directories),
                ("interlock.json", of_files),
                (file_of(strategy), of_files),
            ] {
                let made = fs::metadata(path.join(name)).unwrap();
                assert_eq!(made.mode() & 0o7777, mode, "{name:?}");
                assert!(group.is_none_or(|group| made.gid() == group), "{name:?}");
            }
            fs::remove_dir_all(&path).unwrap();
        }
    }
}

#[test]
fn a_directory_with_other_things_in_it_is_not_made_a_store() {
    let (directory, path) = fresh();
    fs::create_dir_all(path.join("default")).unwrap();
    refused(FileBackend::open(&path), Misconfigured, "\"default\"");
    fs::write(directory.path().join("notes"), "mine").unwrap();
    refused(FileBackend::open(directory.path()), Misconfigured, "in it");
    // What a file system or a dead client left is not in the way.
    let other = directory.path().join("other");
    for name in ["lost+found", ".snapshot", "new-0123456789abcdef"] {
        fs::create_dir_all(other.join(name)).unwrap();
    }
    FileBackend::open(&other).unwrap();
}

#[test]
fn whoever_is_stopped_while_it_has_the_lock_makes_others_busy_and_no_more() {
    let (_directory, path) = fresh();
    let backend = open(&path, Strategy::Flock);
    swap(&backend, 0, 1, b"one").unwrap();
    let holder = fs::File::open(path.join("default")).unwrap();
    flock(&holder, FlockOperation::LockExclusive).unwrap();
    refused(swap(&backend, 1, 2, b"two"), Busy, "default");
    assert_eq!(load(&backend).unwrap(), cell(1, b"one"));
    assert_eq!(names(&path.join("default")), ["cell"]);
    drop(holder);
    assert_eq!(swap(&backend, 1, 2, b"two").unwrap(), Swap::Swapped);
}

#[test]
fn a_client_connects_to_nothing() {
    let test = "a_client_connects_to_nothing";
    if let Ok(path) = std::env::var(STORE) {
        let backend = FileBackend::open(path).unwrap();
        let from = load(&backend).unwrap().version.0;
        assert_eq!(swap(&backend, from, from + 1, b"more").unwrap(), Swap::Swapped);
        return;
    }
    for strategy in BOTH {
        let (directory, path) = fresh();
        let log = directory.path().join("log");
        let strace = || {
            let mut command = Command::new("strace");
            command.args(["-f", "-e", "trace=%network,renameat,linkat", "-o"]).arg(&log);
            command
        };
        if !can_run(strace().arg("true")) {
            return;
        }
        swap(&open(&path, strategy), 0, 1, b"one").unwrap();
        let output = again(strace().arg(program()), test, &path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let log = fs::read_to_string(log).unwrap();
        let (writes, others): (Vec<_>, Vec<_>) =
            log.lines().filter(|line| line.contains('(')).partition(|line| line.contains("at("));
        assert_eq!(writes.len(), 1, "it is not seen: {log}");
        assert!(others.is_empty(), "{others:?}");
    }
}

/// As FAT, or some servers of files: strace answers in their place.
#[test]
fn a_file_system_without_hard_links_is_named_and_nothing_is_left() {
    let test = "a_file_system_without_hard_links_is_named_and_nothing_is_left";
    let says = "no hard links";
    if let Ok(path) = std::env::var(STORE) {
        let path = Path::new(&path);
        for strategy in BOTH {
            let new = path.with_file_name(format!("new-{strategy}"));
            let options = FileOptions::new(&new).strategy(strategy);
            refused(options.open(), Misconfigured, says);
            assert_eq!(names(&new), [""; 0]);
        }
        let backend = open(path, Strategy::Excl);
        refused(swap(&backend, 1, 2, b"two"), Misconfigured, says);
        assert_eq!(load(&backend).unwrap(), cell(1, b"one"));
        assert_eq!(names(&path.join("default")), ["after-0"]);
        return;
    }
    for error in ["EPERM", "EOPNOTSUPP", "ENOSYS"] {
        let (_directory, path) = fresh();
        let strace = || {
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null", "-e", "trace=linkat"]);
            command.args(["-e", &format!("inject=linkat:error={error}")]);
            command
        };
        if !can_run(strace().arg("true")) {
            return;
        }
        swap(&open(&path, Strategy::Excl), 0, 1, b"one").unwrap();
        let output = again(strace().arg(program()), test, &path).output().unwrap();
        assert!(output.status.success(), "{error}: {output:?}");
    }
}

#[test]
fn a_directory_that_was_replaced_is_noticed() {
    for strategy in BOTH {
        let (directory, path) = fresh();
        let backend = open(&path, strategy);
        swap(&backend, 0, 7, b"mine").unwrap();
        let other = directory.path().join("other");
        swap(&open(&other, strategy), 0, 3, b"backup").unwrap();
        renameat_with(CWD, &other, CWD, &path, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(swap(&backend, 7, 8, b"into the void").unwrap(), Swap::Conflict);
        assert_eq!(load(&backend).unwrap(), cell(3, b"backup"));
        assert_eq!(swap(&backend, 3, 9, b"next").unwrap(), Swap::Swapped);
        assert_eq!(load(&open(&path, strategy)).unwrap(), cell(9, b"next"));
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(load(&backend).unwrap(), Snapshot::default());
        assert_eq!(swap(&backend, 9, 10, b"into the void").unwrap(), Swap::Conflict);
        assert_eq!(swap(&backend, 0, 11, b"anew").unwrap(), Swap::Swapped);
    }
}

#[test]
fn a_store_that_became_one_of_the_other_strategy_is_refused() {
    let (_directory, path) = fresh();
    let backend = open(&path, Strategy::Flock);
    swap(&backend, 0, 1, b"one").unwrap();
    fs::remove_dir_all(&path).unwrap();
    drop(open(&path, Strategy::Excl));
    refused(load(&backend), Misconfigured, "it was made for excl");
    refused(swap(&backend, 1, 2, b"two"), Misconfigured, "it was made for excl");
}

#[test]
fn old_files_are_collected_and_who_was_away_for_long_is_told_so() {
    let (_directory, path) = fresh();
    let (away, backend) = (open(&path, Strategy::Excl), open(&path, Strategy::Excl));
    let absent = open(&path, Strategy::Excl);
    assert_eq!(load(&absent).unwrap(), Snapshot::default());
    swap(&backend, 0, 1, b"1").unwrap();
    assert_eq!(load(&away).unwrap(), cell(1, b"1"));
    for version in 1..200 {
        let data = (version + 1).to_string();
        assert_eq!(swap(&backend, version, version + 1, data.as_bytes()).unwrap(), Swap::Swapped);
    }
    let left = names(&path.join("default"));
    assert!(left.len() < 60 && left.contains(&"collected".into()), "{left:?}");
    assert_eq!(swap(&away, 1, 1000, b"late").unwrap(), Swap::Conflict);
    assert_eq!(swap(&absent, 0, 1000, b"late").unwrap(), Swap::Conflict);
    assert_eq!(names(&path.join("default")), left);
    assert_eq!(load(&away).unwrap(), cell(200, b"200"));
    assert_eq!(swap(&away, 200, 201, b"next").unwrap(), Swap::Swapped);
}

#[test]
fn clients_that_swap_but_once_collect_too() {
    let (_directory, path) = fresh();
    for version in 0..100 {
        let backend = open(&path, Strategy::Excl);
        assert_eq!(load(&backend).unwrap().version.0, version);
        assert_eq!(swap(&backend, version, version + 1, b"").unwrap(), Swap::Swapped);
    }
    let left = names(&path.join("default"));
    assert!(left.len() <= 66, "{left:?}");
}

#[test]
fn what_the_dead_left_is_swept_and_what_the_living_write_is_not() {
    for strategy in BOTH {
        let (_directory, path) = fresh();
        swap(&open(&path, strategy), 0, 1, b"one").unwrap();
        let aged = |name: &Path, age| {
            let file = fs::File::open(name).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        let (old, young, others) = ("new-00000000000000a1", "new-00000000000000b2", "new-report");
        for directory in [&path, &path.join("default")] {
            for (name, age) in [(old, 3600), (young, 10), (others, 3600)] {
                let name = directory.join(name);
                fs::File::create(&name).unwrap();
                aged(&name, age);
            }
        }
        // Namespaces may be called so, and may be empty.
        let namespaces = ["new-shop", "new-00000000000000c3"].map(|name| path.join(name));
        for namespace in &namespaces {
            fs::create_dir(namespace).unwrap();
            aged(namespace, 3600);
        }
        assert_eq!(load(&open(&path, strategy)).unwrap(), cell(1, b"one"));
        for directory in [&path, &path.join("default")] {
            let left = names(directory);
            let has = |name: &str| left.iter().any(|one| one == name);
            assert!(has(young) && has(others) && !has(old), "{left:?}");
        }
        assert!(namespaces.iter().all(|namespace| namespace.is_dir()));
    }
}

/// Counts up in the cell, as often as asked; the version counts along.
fn count_up(backend: &FileBackend, times: u64) {
    let mut done = 0;
    while done < times {
        let seen = load(backend).unwrap();
        assert_eq!(seen.data, pages(seen.version.0), "a torn cell");
        let next = seen.version.0 + 1;
        match swap(backend, seen.version.0, next, &pages(next)) {
            Ok(Swap::Swapped) => done += 1,
            Ok(Swap::Conflict) => {}
            Err(e) if e.kind() == Busy => thread::yield_now(),
            Err(e) => panic!("{e}: {e:?}"),
        }
    }
}

/// Some pages of data, all of which tell the version.
fn pages(version: u64) -> Vec<u8> {
    if version == 0 { Vec::new() } else { format!("{version} ").repeat(5000).into_bytes() }
}

#[test]
fn threads_that_count_up_lose_nothing() {
    for strategy in BOTH {
        let (_directory, path) = fresh();
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| count_up(&open(&path, strategy), 30));
            }
        });
        assert_eq!(load(&open(&path, strategy)).unwrap(), cell(180, &pages(180)));
    }
}

#[test]
fn a_killed_writer_leaves_the_old_cell_or_the_new_one() {
    if let Ok(path) = std::env::var(STORE) {
        return count_up(&FileBackend::open(path).unwrap(), u64::MAX);
    }
    let seed = fastrand::get_seed();
    eprintln!("seed {seed}");
    fastrand::seed(seed);
    for strategy in BOTH {
        let (_directory, path) = fresh();
        let backend = open(&path, strategy);
        let mut found = 0;
        for _ in 0..20 {
            let test = "a_killed_writer_leaves_the_old_cell_or_the_new_one";
            let mut command = Command::new(program());
            again(&mut command, test, &path).stdout(Stdio::null()).stderr(Stdio::null());
            let mut writer = command.spawn().unwrap();
            let until = found + fastrand::u64(1..20);
            while found < until {
                assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
                found = load(&backend).unwrap().version.0;
            }
            thread::sleep(Duration::from_micros(fastrand::u64(..2000)));
            writer.kill().unwrap();
            writer.wait().unwrap();
            let cell = load(&backend).unwrap();
            assert!(cell.version.0 >= found);
            found = cell.version.0;
            assert_eq!(cell.data, pages(found), "torn");
            // Nothing has to be broken or waited for.
            let next = pages(found + 1);
            assert_eq!(swap(&backend, found, found + 1, &next).unwrap(), Swap::Swapped);
            found += 1;
        }
    }
}
