//! `watch` without a terminal: one line per change, for people and for programs.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    scene::{List, Running, Scene},
    world::{code, poll},
};

#[track_caller]
fn tells(watch: &Running, text: &str) {
    poll(&format!("{text:?} is told"), || watch.out().contains(text).then_some(()));
}

#[test]
fn changes_are_told_line_by_line() {
    let scene = Scene::new();
    let mut watch = scene.start(&mut scene.lockctl("watch -n 100ms"));
    tells(&watch, ": 0 held, 0 waiting\n");
    let mut holder = scene.hold("--task holder -l one --note nightly");
    tells(&watch, " holder holds one (pid ");
    tells(&watch, "): nightly\n");
    let mut waiter = scene.queue("waiter", "-l one");
    tells(&watch, " waiter waits for one: held by holder (pid ");
    holder.end();
    tells(&watch, " holder no longer holds one, which it did for ");
    tells(&watch, " waiter holds one (pid ");
    waiter.end();
    tells(&watch, " waiter no longer holds one, which it did for ");
    // What only goes on is not told again, and every line has its time.
    for line in watch.out().lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
    }
    assert_eq!(watch.out().matches("holder holds one").count(), 1, "{}", watch.out());
    assert!(!watch.out().contains('\x1b'), "{:?}", watch.out());
    watch.signal(Signal::INT);
    assert_eq!(code(watch.wait()), 130);
    assert_eq!(watch.err(), "");
}

#[test]
fn a_death_is_told() {
    let scene = Scene::new();
    let holder = scene.hold("--task holder -l one");
    let watch = scene.start(&mut scene.lockctl("watch -n 100ms"));
    tells(&watch, " holder holds one ");
    holder.kill_all();
    tells(&watch, " holder is dead\n");
}

#[test]
fn json_is_a_line_per_change() {
    let scene = Scene::new();
    let watch = scene.start(&mut scene.lockctl("watch --json -n 100ms"));
    let line = |number| List(serde_json::from_str::<Value>(&watch.line(number)).unwrap());
    assert!(line(0).is_empty());
    let mut holder = scene.hold("--task holder -l one");
    assert_eq!(line(1).holders(), ["holder"]);
    assert_eq!(line(1).0["holds"], scene.list().0["holds"]);
    holder.end();
    assert!(line(2).is_empty());
}

#[test]
fn a_reader_that_has_gone_ends_it_with_the_next_change() {
    let scene = Scene::new();
    let script = "\"$LOCKCTL\" watch -n 100ms | head -n 1; echo ended";
    let mut shell = scene.start(scene.world.program("sh").args(["-c", script]));
    tells(&shell, ": 0 held, 0 waiting\n");
    let mut holder = scene.hold("-l one");
    tells(&shell, "ended\n");
    assert!(shell.wait().success());
    holder.end();
}
