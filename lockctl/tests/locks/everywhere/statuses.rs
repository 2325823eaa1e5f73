//! The exit statuses that have to do with locks; after each of them nothing is held.

use std::{fs, os::unix::process::ExitStatusExt};

use crate::{scene::Scene, world::stderr};

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
    // Who is quiet hears nothing of what is no failure, and of all else does.
    for options in ["-q -n -E 0", "-q -w 100ms -E 0"] {
        let said = scene.assert_ends(&format!("run -l one {options} -- touch started"), 0);
        assert_eq!(said, "", "{options}");
        let said = scene.assert_ends(&format!("acquire --pid 1 -l one {options}"), 0);
        assert_eq!(said, "", "{options}");
    }
    for (options, status) in [("-q -n", 75), ("-q -n -E 33", 33)] {
        let said = scene.assert_ends(&format!("run -l one {options} -- touch started"), status);
        assert!(said.contains("one: held by holder (pid "), "{options}: {said}");
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
