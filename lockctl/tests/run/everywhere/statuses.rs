//! How `lockctl` ends: with CMD's own status or signal, or with one that says what is wrong.

use std::{fs, os::unix::process::ExitStatusExt};

use crate::world::{LOCKCTL, World, code, stderr, stdout};

#[test]
fn the_commands_own_status() {
    let world = World::new();
    for status in [0, 1, 42, 64, 75, 126, 255] {
        let output = world.run_script(&format!("exit {status}")).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn the_commands_own_signal() {
    let world = World::new();
    for signal in [1, 2, 3, 6, 9, 10, 13, 15] {
        let output = world.run_script(&format!("ulimit -c 0; kill -{signal} $$")).output().unwrap();
        assert_eq!(output.status.signal(), Some(signal), "{}", output.status);
        assert!(!output.status.core_dumped());
    }
}

#[test]
fn a_real_time_signal_is_told_by_the_status() {
    let output = World::new().run_script("kill -34 $$").output().unwrap();
    assert_eq!(code(output.status), 128 + 34);
}

#[test]
fn a_command_that_cannot_be_executed() {
    let world = World::new();
    fs::write(world.path("plain"), "").unwrap();
    for (command, status) in
        [("no-such-command", 127), ("./none", 127), ("./plain", 126), ("/", 126)]
    {
        let output = world.run_job(["--", command]).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{command}");
        let message = stderr(&output);
        assert!(message.starts_with(&format!("lockctl: cannot execute {command}: ")), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
}

#[test]
fn wrong_usage_is_64_and_help_is_not_wrong() {
    let world = World::new();
    for arguments in [&[][..], &["run"], &["run", "--nonsense", "true"], &["fly"]] {
        let output = world.program(LOCKCTL).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_ne!(stderr(&output), "");
        assert_eq!(stdout(&output), "");
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "run"]] {
        let output = world.program(LOCKCTL).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!stdout(&output).contains("__shim"));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn bad_configuration_is_78_says_why_and_starts_nothing() {
    let world = World::new();
    let config = world.path(".config/lockctl.toml");
    fs::create_dir_all(world.path(".config")).unwrap();
    for (word, store, option, config_text) in [
        ("mysql", "mysql://user:secret@host/db?password=secret", None, ""),
        ("nonsense", "nonsense", None, ""),
        ("--store", "sqlite:l.db", Some("--store=mysql://user:secret@host/db"), ""),
        ("stroe", "sqlite:l.db", None, "stroe = 'mysql://user:secret@host/db'"),
        ("nowhere/log", "sqlite:l.db", Some("--log-file=nowhere/log"), ""),
    ] {
        fs::write(&config, config_text).unwrap();
        let mut command = world.run_job(option);
        command.args(["touch", "started"]).env("LOCKCTL_STORE", store);
        let output = command.output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{word}: {message}");
        assert!(message.starts_with("lockctl: ") && message.contains(word), "{word}: {message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(!world.path("started").exists());
    }
}
