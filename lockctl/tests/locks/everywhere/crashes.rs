//! Killed, paused and unreaped holders: the locks of the dead are free at once, those of the living never.

use std::{fs, time::Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    scene::Scene,
    world::{content, is_dead, poll, state},
};

/// Nobody may have to wait for a lease: it is longer than any test is patient.
const LONG: &str = "--lease 1h";

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_killed_run_frees_its_locks_at_once_and_nothing_elses() {
    let scene = Scene::new();
    let mut other = scene.hold(&format!("--task other -l app/shop {LONG}"));
    let mut victim = scene.hold(&format!("--task victim -l app/blog -l mail {LONG}"));
    let mut waiter = scene.queue("waiter", "-l app/blog -l mail");
    let mut still = scene.queue("still", "-l app/shop");
    victim.kill_all();
    waiter.command_pid();
    assert_eq!(victim.wait().to_string(), "signal: 9 (SIGKILL)");
    let list = scene.list();
    assert_eq!(list.holders(), ["other", "waiter"]);
    assert_eq!(list.waiting(), ["still"]);
    waiter.end();
    other.end();
    still.command_pid();
    still.end();
    scene.assert_free();
}

#[test]
fn who_comes_after_the_crash_does_not_wait_either() {
    let scene = Scene::new();
    let mut victim = scene.hold(&format!("--task victim -l one {LONG}"));
    let command = victim.command_pid();
    victim.kill_all();
    victim.wait();
    poll("the command is dead", || is_dead(command).then_some(()));
    let list = scene.list();
    assert!(list.is_empty() || list.entry("victim")["state"] == "dead", "{:#}", list.0);
    scene.assert_ends("run -n -l one -- true", 0);
    scene.assert_free();
}

#[test]
fn a_killed_waiter_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -s one");
    let mut victim = scene.queue("victim", &format!("-l one {LONG}"));
    let mut behind = scene.queue("behind", "-s one");
    victim.signal(Signal::KILL);
    victim.wait();
    behind.command_pid();
    assert!(!victim.has_begun());
    behind.end();
    holder.end();
    scene.assert_free();
}

#[test]
fn a_killed_lockctl_does_not_free_the_locks_of_a_command_that_lives_on() {
    let scene = Scene::new();
    let script = "trap '' TERM; echo $$; while read line; do :; done";
    let mut victim = scene.start_script("--task victim -l one --lease 4s --kill-grace 0s", script);
    let command = victim.command_pid();
    let mut waiter = scene.queue("waiter", "-l one");
    victim.signal(Signal::KILL);
    victim.wait();
    assert_stays_held(&scene, "victim", 9);
    assert!(!is_dead(command) && !waiter.has_begun());
    victim.let_go();
    waiter.command_pid();
    assert!(is_dead(command));
    waiter.end();
    scene.assert_free();
}

#[test]
fn nor_those_of_its_last_background_process() {
    let scene = Scene::new();
    // Its own stdin would be /dev/null.
    let script = "exec 3<&0; for i in 1 2; do \
                  sh -c 'trap \"\" TERM; echo $$; exec cat <&3' & done; wait";
    let mut victim = scene.start_script("--task victim -l one --lease 4s --kill-grace 0s", script);
    let background = [victim.pid_line(0), victim.pid_line(1)];
    let mut waiter = scene.queue("waiter", "-l one");
    let command = command_of(&scene, "victim");
    victim.signal(Signal::KILL);
    victim.wait();
    poll("the command itself is dead", || is_dead(command).then_some(()));
    kill(background[0]);
    poll("one of two is dead", || is_dead(background[0]).then_some(()));
    assert_stays_held(&scene, "victim", 9);
    assert!(!waiter.has_begun());
    kill(background[1]);
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

/// The first of the processes that hold, which is the command.
fn command_of(scene: &Scene, task: &str) -> Pid {
    let pid = scene.list().entry(task)["pids"][0].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// A lock that is to stay held can only be watched for a while: longer than two of its leases.
#[track_caller]
fn assert_stays_held(scene: &Scene, task: &str, seconds: u64) {
    let begin = Instant::now();
    while begin.elapsed().as_secs() < seconds {
        let list = scene.list();
        assert_eq!(list.holders(), [task]);
        assert_eq!(list.entry(task)["state"], "alive");
        assert_eq!(list.waiting().len(), 1);
    }
}

#[test]
fn a_killed_command_ends_the_run_and_frees_the_locks() {
    let scene = Scene::new();
    let mut run = scene.hold(&format!("-l one {LONG}"));
    let mut waiter = scene.queue("waiter", "-l one");
    kill(run.command_pid());
    assert_eq!(run.wait().to_string(), "signal: 9 (SIGKILL)");
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_zombie_holds_nothing() {
    let scene = Scene::new();
    let victim = scene.hold(&format!("--task victim -l one {LONG}"));
    let mut waiter = scene.queue("waiter", "-l one");
    victim.kill_all();
    waiter.command_pid();
    // Nobody has waited for it yet.
    assert_eq!(state(victim.pid()), Some('Z'));
    assert_eq!(scene.list().holders(), ["waiter"]);
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_paused_run_keeps_its_locks_beyond_its_lease_and_goes_on() {
    let scene = Scene::new();
    let script = "echo $$; cat; exit 7";
    let mut run = scene.start_script("--task paused -l one --lease 10s --kill-grace 0s", script);
    run.command_pid();
    let mut waiter = scene.queue("waiter", "-l one");
    run.signal_all(Signal::STOP);
    poll("lockctl is stopped", || (state(run.pid()) == Some('T')).then_some(()));
    assert_stays_held(&scene, "paused", 12);
    run.signal_all(Signal::CONT);
    assert_stays_held(&scene, "paused", 3);
    assert!(!waiter.has_begun());
    run.let_go();
    assert_eq!(run.wait().code(), Some(7), "{}", run.err());
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_run_that_lasts_longer_than_its_lease_is_renewed() {
    let scene = Scene::new();
    let mut run = scene.hold("--task long -l one --lease 4s --kill-grace 0s");
    let mut waiter = scene.queue("waiter", "-l one");
    let before = scene.list().0["version"].as_u64().unwrap();
    assert_stays_held(&scene, "long", 9);
    assert!(scene.list().0["version"].as_u64().unwrap() > before, "nothing was renewed");
    run.end();
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_killed_nested_run_frees_only_its_own() {
    let scene = Scene::new();
    let script = "echo $$; \"$LOCKCTL\" run --task inner -l inner --lease 1h -- \
                  sh -c 'echo $$ >inner; exec sleep 600' & wait; echo over; exec cat";
    let mut outer = scene.start_script(&format!("--task outer -l outer {LONG}"), script);
    let inner = Pid::from_raw(content(&scene.path("inner")).trim().parse().unwrap()).unwrap();
    let lockctl = scene.list().entry("inner")["pids"][1].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(lockctl).unwrap()).unwrap());
    // The end of its lockctl may have ended it already.
    let _ = kill_process(inner, Signal::KILL);
    assert_eq!(outer.line(1), "over");
    poll("the command of the inner one is dead", || is_dead(inner).then_some(()));
    scene.assert_ends("run -n -l inner -- true", 0);
    scene.assert_ends("run -n -l outer -- true", 75);
    assert_eq!(scene.list().holders(), ["outer"]);
    outer.end();
    scene.assert_free();
    assert!(fs::read_to_string(scene.path("inner")).is_ok());
}
