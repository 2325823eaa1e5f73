//! Which file is the store where nobody says so, how it is set up, and which URLs are refused.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::{
    scene::{List, Scene},
    world::{LOCKCTL, stderr, stdout},
};

#[test]
fn init_makes_a_store_for_oneself() {
    let scene = Scene::new();
    let path = scene.path("new/store/locks.db");
    let arguments = format!("--store sqlite:{} init", path.display());
    for _ in 0..2 {
        let output = scene.output(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), format!("sqlite:{} is ready\n", path.display()));
    }
    let mode = |name: &str| fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o7777;
    for (name, expected) in [("new", 0o700), ("new/store", 0o700), ("new/store/locks.db", 0o600)] {
        assert_eq!(mode(name), expected, "{name}");
    }
    for name in ["new/store/locks.db-wal", "new/store/locks.db-shm"] {
        assert!(!scene.path(name).exists() || mode(name) == 0o600, "{name}");
    }
}

#[test]
fn init_for_a_group_that_is_none() {
    let scene = Scene::new();
    let message = scene.assert_ends("init --group no-such-group", 64);
    assert!(message.contains("no-such-group"), "{message}");
    assert!(!scene.path("locks.db").exists());
}

/// Whoever is no root has a store at home.
fn as_user(scene: &Scene, arguments: &str) -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", LOCKCTL]);
        fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o777)).unwrap();
        command
    } else {
        Command::new(LOCKCTL)
    };
    scene.world.furnish(&mut command);
    command
        .env_remove("LOCKCTL_STORE")
        .env_remove("XDG_STATE_HOME")
        .args(arguments.split_whitespace());
    command
}

#[test]
fn a_users_own_store_is_below_home() {
    let scene = Scene::new();
    let store = scene.path(".local/state/lockctl/locks.db");
    let output = as_user(&scene, "run -l one -- true").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&store), mode(store.parent().unwrap())), (0o600, 0o700));
    let list = List::of(&mut as_user(&scene, "list --json"));
    assert_eq!(list.0["store"], format!("sqlite:{}", store.display()));

    let state = scene.path("state");
    let list = List::of(as_user(&scene, "list --json").env("XDG_STATE_HOME", &state));
    assert_eq!(list.0["store"], format!("sqlite:{}/lockctl/locks.db", state.display()));
    let output = as_user(&scene, "run -l one -- true").env_remove("HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("HOME"), "{}", stderr(&output));
}

#[test]
fn under_sudo_a_store_must_be_chosen() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root is asked");
        return;
    }
    let scene = Scene::new();
    let under_sudo = |arguments: &str| {
        let mut command = scene.lockctl(arguments);
        command.env("SUDO_UID", "1000").env("SUDO_USER", "ann");
        command
    };
    for rest in ["run -l one -- touch started", "list", "wait one", "release --task x", "init"] {
        let output = under_sudo(rest).env_remove("LOCKCTL_STORE").output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{message}");
        assert!(message.contains("sudo") && message.contains("user ann"), "{message}");
    }
    assert!(!scene.path("started").exists());
    let output = under_sudo("run -l one -- true").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_password_is_never_shown() {
    let scene = Scene::new();
    for url in [
        "mysql://u:secret@h/db?password=secret",
        "redis://:secret@h/x",
        "postgres://u:secret@h/db",
        "mysql:u:secret@h/db",
        "u:secret@h/db",
        "sqlite://u:secret@h/locks.db",
        "mysql://u:secret@h:port/db?x=\u{1}",
    ] {
        for rest in [
            "run -l one -- touch started",
            "list",
            "list --json",
            "wait one",
            "release --task x",
            "init",
        ] {
            let output = scene.lockctl(rest).env("LOCKCTL_STORE", url).output().unwrap();
            let said = stdout(&output) + &stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{url}: {said}");
            assert!(!said.contains("secret"), "{url}: {said}");
        }
        let output = scene.lockctl("list").args(["--store", url]).output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{url}: {said}");
        assert!(!said.contains("secret"), "{url}: {said}");
    }
    assert!(!scene.path("started").exists());
}

#[test]
fn a_relative_path_is_passed_on_as_a_whole_one() {
    let scene = Scene::new();
    let script = r#"cd /; "$LOCKCTL" list"#;
    let output = scene.script("--store sqlite:here.db --task outer -l one", script);
    let text = stdout(&output);
    assert!(text.contains("here.db (") && text.contains("outer"), "{text}");
}
