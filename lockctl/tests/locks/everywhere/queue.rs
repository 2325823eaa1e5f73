//! Waiting: what is said of it, in which order it ends, and that the list is true all the time.

use serde_json::json;

use crate::{
    scene::Scene,
    world::{poll, stdout},
};

fn host() -> String {
    rustix::system::uname().nodename().to_str().unwrap().to_owned()
}

#[test]
fn the_second_run_waits_says_for_whom_and_starts_when_the_first_ends() {
    let scene = Scene::new();
    let store = scene.world.store.url().to_owned();
    scene.assert_free();
    let mut first = scene.hold("--task backup-1 -l app/blog --note nightly");
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["backup-1".to_owned()], vec![]));

    let mut second = scene.queue("backup-2", "-l app/blog");
    let pid = first.command_pid().as_raw_pid();
    second.says("waiting for app/blog: ");
    let line = second.err();
    let begin =
        format!("lockctl: waiting for app/blog: held by backup-1 (pid {pid} on {}, ", host());
    assert!(line.starts_with(&begin), "{line}");
    assert!(line.ends_with(&format!(" s) [{store}]\n")), "{line}");
    assert!(!second.has_begun());
    check_json(&scene, &store, first.pid().as_raw_pid(), pid);
    let table = stdout(&scene.output("list"));
    for text in ["backup-1", "held", "nightly", "alive", "waits for backup-1", &store] {
        assert!(table.contains(text), "no {text} in\n{table}");
    }

    first.end();
    second.command_pid();
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["backup-2".to_owned()], vec![]));
    second.end();
    // One line was said, for nothing changed.
    assert_eq!(second.err().lines().count(), 1, "{}", second.err());
    assert_eq!(first.err(), "");
    scene.assert_free();
}

fn check_json(scene: &Scene, store: &str, lockctl: i32, command: i32) {
    let list = scene.list();
    assert_eq!(list.0["store"], store);
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect();
    let all: Vec<String> = keys(&list.0);
    assert_eq!(all, ["holds", "now", "store", "version", "waiting"]);

    let hold = list.entry("backup-1");
    let all: Vec<String> = keys(hold);
    let expected =
        ["fence", "host", "id", "locks", "note", "pids", "since", "state", "task", "task_id"];
    assert_eq!(all, expected);
    let lock = json!([{"name": "app/blog", "mode": "exclusive", "limit": null}]);
    assert_eq!(hold["locks"], lock);
    assert_eq!(hold["pids"], json!([command, lockctl]));
    assert_eq!((&hold["host"], &hold["state"]), (&json!(host()), &json!("alive")));
    assert_eq!(hold["note"], "nightly");
    assert!(hold["fence"].as_u64().unwrap() <= list.0["version"].as_u64().unwrap());
    let time = |value: &serde_json::Value| -> jiff::Timestamp {
        value.as_str().unwrap().parse().expect("RFC 3339")
    };
    assert!(time(&hold["since"]) <= time(&list.0["now"]));
    assert!(time(&hold["since"]) > time(&list.0["now"]) - jiff::SignedDuration::from_mins(2));

    let waiter = list.entry("backup-2");
    let all: Vec<String> = keys(waiter);
    let expected =
        ["blocked_by", "host", "id", "locks", "note", "pids", "since", "state", "task", "task_id"];
    assert_eq!(all, expected);
    assert_eq!(waiter["blocked_by"], json!([{"task": "backup-1", "lock": "app/blog"}]));
    assert_eq!((&waiter["locks"], &waiter["state"]), (&lock, &json!("alive")));
    assert_ne!(waiter["task_id"], hold["task_id"]);
    assert_ne!(waiter["id"], hold["id"]);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_asked() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task t0 -l one");
    let names: Vec<String> = (1..=5).map(|number| format!("t{number}")).collect();
    let mut waiters: Vec<_> = names.iter().map(|name| scene.queue(name, "-l one")).collect();
    assert_eq!(scene.list().waiting(), names);
    for (at, waiter) in waiters.iter_mut().enumerate() {
        holder.end();
        waiter.command_pid();
        let list = scene.list();
        assert_eq!(list.holders(), [names[at].clone()]);
        assert_eq!(list.waiting(), names[at + 1..]);
        std::mem::swap(&mut holder, waiter);
    }
    holder.end();
    scene.assert_free();
}

#[test]
fn who_is_ahead_is_said_and_a_change_makes_a_new_line() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task t1 -s one");
    let mut ahead = scene.queue("t2", "-l one");
    let mut behind = scene.queue("t3", "-s one");
    behind.says("one: t2 is ahead in the queue for one (pid ");
    holder.end();
    behind.says("waiting for one: held by t2 (pid ");
    assert_eq!(behind.err().lines().count(), 2, "{}", behind.err());
    ahead.end();
    behind.end();
    scene.assert_free();
}

#[test]
fn what_conflicts_with_nobody_ahead_passes_the_queue() {
    let scene = Scene::new();
    let mut app = scene.hold("--task app -l app/blog");
    let mut update = scene.queue("update", "-l app");
    // A stream of new app tasks does not starve the update …
    let mut late = scene.queue("late", "-l app/shop");
    // … and others have nothing to do with it.
    scene.hold("-l mail").end();
    app.end();
    update.command_pid();
    assert!(!late.has_begun());
    assert_eq!(scene.list().holders(), ["update"]);
    update.end();
    late.command_pid();
    late.end();
    scene.assert_free();
}

#[test]
fn a_time_limit_says_for_whom_it_waited_and_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let message = scene.assert_ends("run -l one --wait 300ms -- touch started", 75);
    assert!(message.contains("timed out: one: held by holder (pid "), "{message}");
    let message = scene.assert_ends("run -l one -n -- touch started", 75);
    assert!(message.contains("busy: one: held by holder (pid "), "{message}");
    assert_eq!(scene.list().waiting(), Vec::<String>::new());
    assert!(!scene.path("started").exists());
    // A limit that is long enough is no limit.
    let mut patient = scene.queue("patient", "-l one --wait 10m");
    holder.end();
    patient.command_pid();
    patient.end();
    poll("the list is empty", || scene.list().is_empty().then_some(()));
}
