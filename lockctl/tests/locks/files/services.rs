//! Services in Rust that share a store with `lockctl`: one process works for several tasks.

use lock_core::Locks;
use lock_sqlite::SqliteBackend;

use crate::scene::Scene;

#[test]
fn a_task_that_shares_its_process_is_not_ended() {
    let scene = Scene::new();
    scene.assert_free();
    let path = scene.world.store.url().replace("sqlite:", "");
    let locks = Locks::new(SqliteBackend::open(path).unwrap());
    let blocking = locks.blocking();
    let mut backup = blocking.task("backup");
    let backup_guard = backup.acquire("one").unwrap();
    let step_guard = backup.subtask("step").acquire("one/part").unwrap();
    let restart_guard = blocking.task("restart").acquire("two").unwrap();
    for (task, other) in [("backup", "restart"), ("step", "backup"), ("restart", "backup")] {
        let message = scene.assert_ends(&format!("kill --task {task}"), 77);
        let words = format!("{task} shares its process with ");
        assert!(message.contains(&words), "no {words:?} in {message}");
        assert!(message.contains(other) || task == "restart", "{message}");
    }
    for guard in [step_guard, backup_guard, restart_guard] {
        guard.check().unwrap();
        guard.release().unwrap();
    }
    // Nor is a lock of the service one of what its process runs.
    let guard = blocking.task("alone").acquire("one").unwrap();
    scene.assert_ends("run -n -l one -- true", 75);
    guard.release().unwrap();
    scene.assert_free();
}
