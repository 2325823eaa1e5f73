//! Signals to a run: while it waits they withdraw it, and however it ends nothing stays held.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;

use crate::{
    scene::{Scene, has_pid_namespaces},
    world::{LOCKCTL, is_dead, poll, state, stderr},
};

#[test]
fn the_first_process_of_a_container_tells_a_signal_by_its_status() {
    if !has_pid_namespaces() {
        return;
    }
    let scene = Scene::new();
    let mut container = scene.world.program("unshare");
    container.args(["--pid", "--fork", "--mount-proc", LOCKCTL, "run", "-l", "one", "--"]);
    let output = container.args(["sh", "-c", "kill -TERM $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    scene.assert_free();
}

const ASKING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

#[test]
fn who_waits_and_is_asked_to_end_leaves_the_queue_and_ends_by_that_signal() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    for signal in ASKING {
        let mut waiter = scene.queue("waiter", "-l one");
        waiter.signal(signal);
        assert_eq!(waiter.wait().signal(), Some(signal.as_raw()), "{}", waiter.err());
        assert!(!waiter.has_begun());
        let list = scene.list();
        assert_eq!((list.holders(), list.waiting()), (vec!["holder".to_owned()], vec![]));
    }
    holder.end();
    scene.assert_free();
}

#[test]
fn who_holds_and_is_asked_to_end_gives_back_when_the_command_has_ended() {
    let scene = Scene::new();
    for signal in ASKING {
        let mut run = scene.hold("-l one");
        run.signal(signal);
        assert_eq!(run.wait().signal(), Some(signal.as_raw()), "{}", run.err());
        scene.assert_free();
    }
    let mut run =
        scene.start_script("-l one", "trap 'exit 5' TERM; echo $$; while :; do sleep 0.02; done");
    run.command_pid();
    run.signal(Signal::TERM);
    assert_eq!(run.wait().code(), Some(5));
    scene.assert_free();
}

#[test]
fn a_hold_outlives_the_command_as_long_as_its_group_lives() {
    let scene = Scene::new();
    let mut run = scene
        .start_script("--task job -l one", "exec 3<&0; sh -c 'echo $$; exec cat <&3' & exit 3");
    let background = run.command_pid();
    run.says("still run (pid ");
    let mut waiter = scene.queue("waiter", "-l one");
    assert_eq!(scene.list().holders(), ["job"]);
    assert!(!is_dead(background));
    run.let_go();
    assert_eq!(run.wait().code(), Some(3));
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_waiter_whose_shim_is_killed_ends_so_and_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut waiter = scene.queue("waiter", "-l one");
    let shim = scene.list().entry("waiter")["pids"][0].as_i64().unwrap();
    let shim = rustix::process::Pid::from_raw(i32::try_from(shim).unwrap()).unwrap();
    rustix::process::kill_process(shim, Signal::KILL).unwrap();
    assert_eq!(waiter.wait().signal(), Some(9));
    assert_eq!(scene.list().waiting(), Vec::<String>::new());
    holder.end();
    scene.assert_free();
}

#[test]
fn a_paused_waiter_takes_its_turn_when_it_goes_on() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut waiter = scene.queue("waiter", "-l one");
    waiter.signal(Signal::STOP);
    poll("it is stopped", || (state(waiter.pid()) == Some('T')).then_some(()));
    holder.end();
    poll("it has the lock, for it was next", || {
        (scene.list().holders() == ["waiter"]).then_some(())
    });
    assert!(!waiter.has_begun());
    waiter.signal(Signal::CONT);
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}
