//! Which store is meant, what keeps stores apart, and what happens when one is taken away under a run.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::{
    scene::{List, Scene, UNTIL_EOF},
    world::{LOCKCTL, poll, stderr, stdout},
};

#[test]
fn two_namespaces_do_not_see_each_other() {
    let scene = Scene::new();
    let mut default = scene.hold("--task default -l one");
    let mut web = scene.start_script("-n --namespace web --task web -l one", UNTIL_EOF);
    web.command_pid();
    assert_eq!(scene.list().holders(), ["default"]);
    let list = List::of(&mut scene.lockctl("--namespace web list --json"));
    assert_eq!(list.holders(), ["web"]);
    assert!(list.0["store"].as_str().unwrap().ends_with("locks.db namespace web"), "{:#}", list.0);
    let by_variable = List::of(scene.lockctl("list --json").env("LOCKCTL_NAMESPACE", "web"));
    assert_eq!(by_variable.holders(), ["web"]);
    scene.assert_ends("release --task web", 1);
    let message = scene.assert_ends("--namespace web run -n -l one -- true", 75);
    assert!(message.contains("held by web"), "{message}");
    default.end();
    web.end();
    scene.assert_free();
    assert!(List::of(&mut scene.lockctl("--namespace web list --json")).is_empty());
}

#[test]
fn a_nested_run_uses_the_store_and_the_namespace_of_its_parent() {
    let scene = Scene::new();
    let script = r#"cd /; "$LOCKCTL" list"#;
    let output = scene.script("--store sqlite:here.db --namespace web --task outer -l one", script);
    let text = stdout(&output);
    assert!(text.contains("here.db namespace web (") && text.contains("outer"), "{text}");
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
fn a_run_through_sudo_itself() {
    if Command::new("sudo").args(["-n", "true"]).output().map_or(true, |o| !o.status.success()) {
        eprintln!("skipped: there is no sudo that asks for no password");
        return;
    }
    let scene = Scene::new();
    let store = format!("sqlite:{}", scene.path("locks.db").display());
    let script = format!("sudo -n '{LOCKCTL}' --store '{store}' run -n -l one -- echo inside");
    let output = scene.script("-l one", &script);
    assert_eq!(stdout(&output), "inside\n", "{}", stderr(&output));
    scene.assert_free();
}

#[test]
fn a_password_is_never_shown() {
    let scene = Scene::new();
    for url in [
        "mysql://u:secret@h/db",
        "redis://:secret@h",
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

const SHORT: &str = "--lease 4s --kill-grace 0s";

#[test]
fn a_store_that_is_deleted_takes_the_locks_along() {
    let scene = Scene::new();
    let mut run = scene.hold(&format!("--task job --store sqlite:store/locks.db -l one {SHORT}"));
    fs::remove_dir_all(scene.path("store")).unwrap();
    // Nobody can be kept out any more, so the command has to end.
    assert_eq!(run.wait().code(), Some(74), "{}", run.err());
    assert!(run.err().starts_with("lockctl: ending job: its locks are lost\n"), "{}", run.err());
    // The next one has a new store, in which nothing is held.
    scene.assert_ends("--store sqlite:store/locks.db run -n -l one -- true", 0);
}

/// Replaces the store by a copy of it, as a restore does.
fn restore(scene: &Scene) {
    for name in ["locks.db", "locks.db-wal", "locks.db-shm"] {
        let _ = fs::remove_file(scene.path(name));
    }
    fs::rename(scene.path("copy.db"), scene.path("locks.db")).unwrap();
}

fn copy(scene: &Scene) {
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    let copy = scene.path("copy.db").display().to_string();
    database.execute("VACUUM INTO ?1", [copy]).unwrap();
}

#[test]
fn a_restored_store_that_still_has_the_hold_lets_the_run_go_on() {
    let scene = Scene::new();
    let mut run = scene.hold(&format!("--task job -l one {SHORT}"));
    let fence = scene.list().entry("job")["fence"].as_u64().unwrap();
    copy(&scene);
    restore(&scene);
    let restored = scene.list().0["version"].as_u64().unwrap();
    let mut waiter = scene.queue("waiter", "-l one");
    // Its next renewals are in the new file.
    let mark = scene.list().0["version"].as_u64().unwrap();
    poll("it is renewed", || {
        (scene.list().0["version"].as_u64().unwrap() > mark.max(restored)).then_some(())
    });
    assert_eq!(scene.list().entry("job")["fence"], fence);
    assert!(!waiter.has_begun());
    run.end();
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_restored_store_from_before_the_hold_ends_the_run() {
    let scene = Scene::new();
    let mut early = scene.hold(&format!("--task early -l two {SHORT}"));
    copy(&scene);
    let mut late = scene.hold(&format!("--task late -l one {SHORT}"));
    let fence = scene.list().entry("late")["fence"].as_u64().unwrap();
    restore(&scene);
    assert_eq!(late.wait().code(), Some(74), "{}", late.err());
    early.end();
    // Fences rise over the restore.
    let output = scene.script("-n -l one", "echo $LOCKCTL_FENCE");
    assert!(stdout(&output).trim().parse::<u64>().unwrap() > fence);
    scene.assert_free();
}
