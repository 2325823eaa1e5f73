//! Files that are no store, are full, or keep everybody out.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
};

use rustix::process::{Pid, Signal};

use crate::{
    scene::{Scene, skip},
    world::{LOCKCTL, is_dead, poll, stderr},
};

#[test]
fn a_store_that_is_none_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    fs::write(scene.path("text.db"), "this is no database, but a text of mine\n".repeat(100))
        .unwrap();
    let before = fs::read(scene.path("text.db")).unwrap();
    fs::write(scene.path("file"), "").unwrap();
    fs::create_dir(scene.path("open")).unwrap();
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    for store in ["text.db", ".", "file/locks.db", "/dev/null", "open/locks.db"] {
        for rest in [
            "run -l one -- touch started",
            "list",
            "list --json",
            "wait one",
            "release --task x",
            "init",
        ] {
            let message = scene.assert_ends(&format!("--store sqlite:{store} {rest}"), 78);
            assert!(message.starts_with("lockctl: "), "{message}");
        }
    }
    assert_eq!(fs::read(scene.path("text.db")).unwrap(), before);
    assert!(!scene.path("started").exists());
}

#[test]
fn a_table_that_is_not_understood_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    scene.assert_ends("run -l one -- true", 0);
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    let data = |database: &rusqlite::Connection| -> Vec<u8> {
        database
            .query_row("SELECT CAST(data AS BLOB) FROM interlock", [], |row| row.get(0))
            .unwrap()
    };
    for broken in [&b"{\"format\":999}"[..], b"nonsense", b"{}"] {
        database.execute("UPDATE interlock SET data = ?1", [broken]).unwrap();
        for rest in
            ["run -l one -- touch started", "list", "list --json", "wait one", "release --task x"]
        {
            let message = scene.assert_ends(rest, 78);
            assert!(message.contains("locks.db"), "{message}");
        }
        assert_eq!(data(&database), broken);
    }
    assert!(!scene.path("started").exists());
}

#[test]
fn a_full_disk_is_69_and_loses_nothing() {
    // It takes a file system of one's own: this test runs what follows in a namespace where it may mount one.
    let scene = Scene::new();
    let script = r#"
        mkdir small && mount -t tmpfs -o size=256k none small || exit 99
        LOCKCTL_STORE=sqlite:$PWD/small/locks.db; export LOCKCTL_STORE
        "$0" run -l one -- true || exit 98
        dd if=/dev/zero of=small/filler bs=1k 2>/dev/null
        "$0" run -l one --wait 2s -- touch started; echo "full $?"
        [ -e started ] && echo "it ran all the same"
        rm small/filler
        "$0" run -n -l one -- true; echo "then $?"
        "$0" list --json | grep -c fence
    "#;
    let mut command = scene.world.program("unshare");
    let output =
        command.args(["--mount", "--map-root-user", "sh", "-c", script, LOCKCTL]).output().unwrap();
    let text = crate::world::stdout(&output);
    if matches!(output.status.code(), Some(99)) || text.is_empty() {
        return skip(&format!("no mount namespace: {}", stderr(&output)));
    }
    assert_eq!(text, "full 69\nthen 0\n0\n", "{}", stderr(&output));
}

/// Keeps everybody from writing to the store, as a defect elsewhere might.
fn block(scene: &Scene) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    database
}

#[test]
fn a_store_that_does_not_answer_in_time_is_69_and_not_busy() {
    let scene = Scene::new();
    scene.assert_ends("run -l one -- true", 0);
    let blocked = block(&scene);
    let message = scene.assert_ends("run -l one --wait 500ms -E 0 -- touch started", 69);
    assert!(message.contains("locks.db") && !message.contains("held by"), "{message}");
    assert!(!scene.path("started").exists());
    drop(blocked);
    scene.assert_free();
    scene.assert_ends("run -n -l one -- true", 0);
}

#[test]
fn a_store_that_answers_late_is_waited_for() {
    let scene = Scene::new();
    scene.assert_ends("run -l one -- true", 0);
    let blocked = block(&scene);
    let mut run = scene.ask("-l one");
    run.says("waiting for one");
    drop(blocked);
    run.command_pid();
    run.end();
    scene.assert_free();
}

#[test]
fn who_waits_for_a_store_can_be_asked_to_end() {
    let scene = Scene::new();
    fs::create_dir(scene.path("gone")).unwrap();
    // Neither a reader nor a writer gets in.
    let database = rusqlite::Connection::open(scene.path("gone/locks.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA locking_mode = EXCLUSIVE; \
             BEGIN IMMEDIATE; CREATE TABLE mine (x); COMMIT;",
        )
        .unwrap();
    let mut run = scene.start_script("--store sqlite:gone/locks.db -l one", "touch started");
    let shim = poll("its shim is there", || child_of(run.pid()));
    run.signal(Signal::TERM);
    assert_eq!(run.wait().signal(), Some(15), "{}", run.err());
    assert!(is_dead(shim) && !scene.path("started").exists());
}

fn child_of(parent: Pid) -> Option<Pid> {
    let id = parent.as_raw_pid();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    Pid::from_raw(children.split_whitespace().next()?.parse().unwrap())
}
