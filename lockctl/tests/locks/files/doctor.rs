//! `doctor` on a store that is a file: what it says of each ill, what it mends, and how it ends.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use serde_json::{Value, json};

use crate::{
    scene::Scene,
    world::{poll, stderr, stdout},
};

/// A scene whose user has chosen the store for good, so that it does not matter which others there are.
pub(super) fn configured() -> Scene {
    let scene = Scene::new();
    configure(&scene, scene.world.store.url());
    scene
}

fn configure(scene: &Scene, url: &str) {
    fs::create_dir_all(scene.path(".config")).unwrap();
    fs::write(scene.path(".config/lockctl.toml"), format!("store = '{url}'")).unwrap();
}

/// How `doctor` ends with these arguments, and what it says.
fn doctor(scene: &Scene, arguments: &str) -> (i32, String) {
    let output = scene.output(&format!("doctor {arguments}"));
    assert_eq!(stderr(&output), "");
    (output.status.code().unwrap(), stdout(&output))
}

#[track_caller]
fn says(scene: &Scene, status: i32, line: &str) -> String {
    let (code, text) = doctor(scene, "");
    let found = text.lines().any(|one| {
        let words = one.split_whitespace().collect::<Vec<_>>().join(" ");
        words.contains(line)
    });
    assert!(found, "no {line:?} in:\n{text}");
    assert_eq!(code, status, "{text}");
    text
}

#[test]
fn a_healthy_store_is_ok_in_every_line() {
    let scene = configured();
    scene.assert_ends("init", 0);
    let (status, text) = doctor(&scene, "");
    assert_eq!(status, 0, "{text}");
    let checks: Vec<&str> =
        text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    let expected = [
        "settings",
        "stores",
        "processes",
        "connect",
        "table",
        "version",
        "dead",
        "unseen",
        "file",
    ];
    assert_eq!(checks, expected, "{text}");
    assert!(text.lines().all(|line| line.starts_with("ok    ")), "{text}");
    let mut run = scene.hold("-l one");
    says(&scene, 0, "ok table 1 held, 0 waiting, ");
    run.end();
}

#[test]
fn it_makes_no_store() {
    let scene = configured();
    says(
        &scene,
        1,
        "locks.db does not exist yet: the first run makes it, or `lockctl init` does now",
    );
    assert!(!scene.path("locks.db").exists());
}

#[test]
fn the_dead_are_named_and_swept_on_demand_only() {
    let scene = configured();
    let mut alive = scene.hold("--task alive -l one");
    let dead = scene.hold("--task crashed -l two -s three");
    dead.kill_all();
    poll("its death is seen", || {
        doctor(&scene, "")
            .1
            .contains("1 client is dead and hold three (shared), two of crashed")
            .then_some(())
    });
    says(&scene, 1, "`lockctl doctor --repair` does it now");
    assert_eq!(scene.list().holders(), ["alive", "crashed"]);
    let (status, text) = doctor(&scene, "--repair");
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("1 dead client was swept: they held three (shared), two of crashed"),
        "{text}"
    );
    assert_eq!(scene.list().holders(), ["alive"]);
    let (status, text) = doctor(&scene, "--repair");
    assert_eq!(status, 0, "{text}");
    alive.end();
    scene.assert_free();
}

#[test]
fn another_store_that_the_user_would_get_elsewhere_is_named() {
    let scene = configured();
    scene.assert_ends("init", 0);
    says(&scene, 0, "ok stores this user has no other store that is there");
    let other = scene.path("other.db");
    fs::write(&other, "").unwrap();
    configure(&scene, &format!("sqlite:{}", other.display()));
    let text =
        says(&scene, 1, "warn stores without LOCKCTL_STORE this user has another store, sqlite:");
    assert!(text.contains("name one store in /etc/lockctl.toml"), "{text}");
    fs::remove_file(other).unwrap();
    says(&scene, 0, "ok stores ");
}

#[test]
fn what_cannot_be_used_fails_as_elsewhere_and_says_why() {
    let scene = configured();
    let mut command = scene.lockctl("doctor");
    let output = command.env("LOCKCTL_STORE", "nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stdout(&output).starts_with("FAIL  settings "), "{}", stdout(&output));

    symlink(scene.path("elsewhere"), scene.path("locks.db")).unwrap();
    fs::write(scene.path("elsewhere"), "").unwrap();
    says(&scene, 78, "FAIL connect cannot use");
    fs::remove_file(scene.path("locks.db")).unwrap();

    scene.assert_ends("run -l one -- true", 0);
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    database.execute("UPDATE interlock SET data = '{\"format\":999}'", ()).unwrap();
    let text = says(&scene, 78, "FAIL table ");
    assert!(text.contains("nothing was changed"), "{text}");
}

#[test]
fn under_sudo_nobody_knows_whose_store_it_is() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root is asked");
        return;
    }
    let scene = Scene::new();
    let mut command = scene.lockctl("doctor");
    let command =
        command.env_remove("LOCKCTL_STORE").env("SUDO_UID", "1000").env("SUDO_USER", "ann");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = stdout(&output);
    assert!(text.starts_with("FAIL  settings ") && text.contains("user ann"), "{text}");
}

#[test]
fn a_file_for_everybody_and_a_version_from_the_future_are_warned_of() {
    let scene = configured();
    scene.assert_ends("run -l one -- true", 0);
    fs::set_permissions(scene.path("locks.db"), fs::Permissions::from_mode(0o606)).unwrap();
    says(&scene, 1, "every user can write");
    fs::set_permissions(scene.path("locks.db"), fs::Permissions::from_mode(0o600)).unwrap();
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    let ahead = "UPDATE interlock SET version = version + 7205000000";
    database.execute(ahead, ()).unwrap();
    says(&scene, 1, "warn version the store's version is 2 h ahead of this clock");
}

#[test]
fn a_store_that_went_back_behind_a_fence_is_no_store() {
    let scene = configured();
    let mut run = scene.lockctl("run -l one -- sh -c");
    let script = "LOCKCTL_FENCE=$((LOCKCTL_FENCE + 1000000000)) \"$LOCKCTL\" doctor";
    let output = run.arg(script).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stdout(&output));
    assert!(stdout(&output).contains("FAIL  version "), "{}", stdout(&output));
    // Inside of a run all is well.
    let output = scene.script("-l one", "\"$LOCKCTL\" doctor");
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[test]
fn a_store_that_was_restored_from_before_the_last_fence_is_warned_of() {
    let scene = configured();
    scene.assert_ends("run -l one -- true", 0);
    let backup = scene.path("backup.db");
    let database = rusqlite::Connection::open(scene.path("locks.db")).unwrap();
    database.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    fs::set_permissions(&backup, fs::Permissions::from_mode(0o600)).unwrap();
    drop(database);
    scene.assert_ends("run -l one -- true", 0);
    says(&scene, 0, "ok version ");
    for rest in ["-wal", "-shm"] {
        let _ = fs::remove_file(scene.path(&format!("locks.db{rest}")));
    }
    fs::rename(backup, scene.path("locks.db")).unwrap();
    says(&scene, 1, "this host was given fence");
    // The next fence is above all.
    scene.assert_ends("run -l one -- true", 0);
    says(&scene, 0, "ok version ");
}

#[test]
fn the_json_is_as_documented() {
    let scene = configured();
    let mut found: Value = serde_json::from_str(&doctor(&scene, "--json").1).unwrap();
    assert!(found["now"].is_string() && found["store"] == scene.world.store.url());
    found["now"] = json!("text");
    let path = scene.path("locks.db");
    let checks = found["checks"].as_array_mut().unwrap();
    let last = checks.pop().unwrap();
    assert_eq!(
        last,
        json!({
            "check": "file", "verdict": "warn",
            "text": format!("{} does not exist yet", path.display()),
            "todo": "the first run makes it, or `lockctl init` does now",
        })
    );
    assert_eq!(found["verdict"], "warn");
    let settings = &found["checks"][0];
    assert_eq!(
        *settings,
        json!({
            "check": "settings", "verdict": "ok",
            "text": format!("{}, chosen by LOCKCTL_STORE", scene.world.store.url()),
            "todo": null,
        })
    );
}
