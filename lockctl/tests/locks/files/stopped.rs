//! A run that was stopped for longer than its lease, while the store cannot be written.

use std::{thread, time::Duration};

use rusqlite::Connection;
use rustix::process::Pid;

use crate::{
    pty::{CTRL_Z, Terminal},
    scene::Scene,
    world::{content, poll, state},
};

#[test]
fn the_command_does_not_go_on_before_the_store_has_answered() {
    let scene = Scene::new();
    let mut bash = Terminal::bash(&scene.world, &["-i"]);
    bash.type_in(
        "\"$LOCKCTL\" run --task job -l one --lease 5s --kill-grace 100ms -- \
         sh -c 'echo $$ $PPID >pids; exec cat'\n",
    );
    let pids = content(&scene.path("pids"));
    let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let [command, lockctl] = [pids[0], pids[1]].map(|pid| Pid::from_raw(pid).unwrap());
    bash.type_in(CTRL_Z);
    for pid in [command, lockctl] {
        poll("both are stopped", || (state(pid) == Some('T')).then_some(()));
    }
    thread::sleep(Duration::from_secs(6)); // Longer than the lease, which runs while they are stopped.
    let path = scene.world.store.url().replace("sqlite:", "");
    let store = Connection::open(path).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    bash.type_in("fg\n");
    poll("only lockctl goes on", || {
        // In this order: they are continued together.
        let has_gone_on = state(lockctl).is_some_and(|state| state != 'T');
        (has_gone_on && state(command) == Some('T')).then_some(())
    });
    bash.shows("ending job: its locks ");
    store.execute_batch("ROLLBACK").unwrap();
    bash.type_in("echo status=$?\n");
    bash.shows("status=74");
    bash.type_in("exit\n");
    bash.wait();
    scene.assert_free();
}
