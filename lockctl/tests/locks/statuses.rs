//! The exit statuses that have to do with locks; after each of them nothing is held.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
};

use rustix::process::{Pid, Signal};

use crate::{
    scene::Scene,
    world::{LOCKCTL, is_dead, poll, stderr},
};

#[test]
fn the_commands_own_status_and_signal() {
    let scene = Scene::new();
    for status in [0, 7, 64, 69, 74, 75, 78] {
        let output = scene.script("-l one", &format!("exit {status}"));
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        scene.assert_free();
    }
    for signal in [2, 9, 11, 15] {
        let output = scene.script("-l one", &format!("ulimit -c 0; kill -{signal} $$"));
        assert_eq!(output.status.signal(), Some(signal));
        scene.assert_free();
    }
}

#[test]
fn wrong_usage_is_64_says_why_and_touches_nothing() {
    let scene = Scene::new();
    for (arguments, word) in [
        ("run -- touch started", "--lock"),
        ("run -l one", "CMD"),
        ("run -l a//b -- touch started", "a//b"),
        ("run -l /a -- touch started", "/a"),
        ("run -l a/ -- touch started", "a/"),
        ("run -l one -s one -- touch started", "one"),
        ("run -l one -l one -- touch started", "one"),
        ("run --limit backup -- touch started", "backup=2"),
        ("run --limit backup=0 -- touch started", "backup"),
        ("run --limit backup=-1 -- touch started", "-1"),
        ("run --limit backup=many -- touch started", "many"),
        ("run -l one --wait soon -- touch started", "soon"),
        ("run -l one --wait -1s -- touch started", "-1s"),
        ("run -l one --lease never -- touch started", "never"),
        ("run -l one -n --wait 1s -- touch started", "--wait"),
        ("run -l one -E 256 -- touch started", "256"),
        ("run -l one --kill-grace 29s -- touch started", "29s"),
        ("run -l one --lease 10s -- touch started", "10s"),
        ("run -l one --nonsense -- touch started", "--nonsense"),
        ("fly", "fly"),
    ] {
        let message = scene.assert_ends(arguments, 64);
        assert!(message.contains(word), "{arguments}: {message}");
    }
    for name in ["", "a\nb", &"x".repeat(513)] {
        let mut command = scene.lockctl("run -l");
        let output = command.args([name, "--", "touch", "started"]).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{name:?}: {}", stderr(&output));
    }
    assert!(!scene.path("started").exists());
    scene.assert_free();
    for fits in ["--kill-grace 28s", "--kill-grace 29s --lease 62s", "--kill-grace 1h --lease none"]
    {
        scene.assert_ends(&format!("run -l one {fits} -- true"), 0);
    }
}

#[test]
fn busy_is_75_or_as_one_likes_it() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    for (options, status) in [
        ("-n", 75),
        ("--no-wait", 75),
        ("-w 100ms", 75),
        ("--wait 0", 75),
        ("-n -E 0", 0),
        ("-n --busy-status 33", 33),
        ("-w 100ms -E 255", 255),
    ] {
        let message = scene.assert_ends(&format!("run -l one {options} -- touch started"), status);
        assert!(message.contains("one: held by holder (pid "), "{options}: {message}");
    }
    // It is only for that: this one is no lock's fault.
    scene.assert_ends("run -n -E 0 -l two -- ./none", 127);
    fs::create_dir_all(scene.path(".config")).unwrap();
    fs::write(scene.path(".config/lockctl.toml"), "busy-status = 44").unwrap();
    scene.assert_ends("run -l one -n -- touch started", 44);
    scene.assert_ends("run -l one -n -E 45 -- touch started", 45);
    assert!(!scene.path("started").exists());
    holder.end();
    scene.assert_free();
}

#[test]
fn a_command_that_cannot_be_executed_gives_back_its_locks() {
    let scene = Scene::new();
    fs::write(scene.path("plain"), "").unwrap();
    for (command, status) in
        [("no-such-command", 127), ("./none", 127), ("./plain", 126), ("/", 126)]
    {
        let message = scene.assert_ends(&format!("run -l one -- {command}"), status);
        assert!(message.contains(command), "{message}");
        scene.assert_free();
    }
}

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
fn bad_configuration_is_78() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".config")).unwrap();
    for text in ["stroe = 'x'", "lease = 'never'", "store = 'nonsense'", "store = ["] {
        fs::write(scene.path(".config/lockctl.toml"), text).unwrap();
        let mut command = scene.lockctl("run -l one -- touch started");
        let output = command.env_remove("LOCKCTL_STORE").output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}: {}", stderr(&output));
        assert!(stderr(&output).contains("lockctl.toml"), "{}", stderr(&output));
    }
    assert!(!scene.path("started").exists());
}

#[test]
fn a_log_file_that_cannot_be_opened_is_78_and_nothing_is_held() {
    let scene = Scene::new();
    for log in ["nowhere/log", "."] {
        scene.assert_ends(&format!("run -l one --log-file {log} -- touch started"), 78);
    }
    assert!(!scene.path("started").exists());
    scene.assert_free();
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
        eprintln!("skipped: no mount namespace here: {}", stderr(&output));
        return;
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
