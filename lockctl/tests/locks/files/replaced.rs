//! A store that is deleted or restored under a run.

use std::fs;

use crate::{
    scene::Scene,
    world::{poll, stdout},
};

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
