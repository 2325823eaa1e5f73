//! `history`: what ran when, what waited for what, and how it ended; also of those that could not say it.

use std::fs;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::{
    scene::{Running, Scene},
    world::{is_dead, poll, stderr, stdout},
};

/// What `history --json` says of the requests.
#[track_caller]
fn requests(scene: &Scene, options: &str) -> Vec<Value> {
    let output = scene.output(&format!("history --json {options}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let history: Value = serde_json::from_str(&stdout(&output)).unwrap();
    history["requests"].as_array().unwrap().clone()
}

#[track_caller]
fn request(scene: &Scene, task: &str) -> Value {
    let mut found = requests(scene, &format!("--task {task}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Kills a run with its command, as nothing but the kernel can.
fn kill(mut run: Running) {
    let command = run.command_pid();
    run.signal(Signal::KILL);
    let _ = kill_process(command, Signal::KILL);
    run.wait();
    poll("the command is dead", || is_dead(command).then_some(()));
}

#[test]
fn who_waited_for_whom_and_how_it_ended() {
    let scene = Scene::new();
    let mut first = scene.hold("--task first --note nightly -l app/blog");
    let mut second = scene.start_script("--task second -l app -s mail", "echo $$; cat; exit 3");
    scene.until_waiting("second");
    assert_eq!(request(&scene, "first")["state"], "holding");
    assert_eq!(request(&scene, "first")["ended"], Value::Null);
    assert_eq!(request(&scene, "second")["state"], "waiting");
    assert_eq!(request(&scene, "second")["waited_for"], serde_json::json!(["first"]));
    scene.assert_ends("run --task try -n -l app/blog -- true", 75);
    scene.assert_ends("run --task patient --wait 10ms -l app/blog -- true", 75);
    first.end();
    second.let_go();
    assert_eq!(second.wait().code(), Some(3));

    let first = request(&scene, "first");
    assert_eq!((&first["state"], &first["status"]), (&"ended".into(), &0.into()));
    assert_eq!(first["note"], "nightly");
    let second = request(&scene, "second");
    assert_eq!((&second["state"], &second["status"]), (&"ended".into(), &3.into()));
    assert_eq!(second["waited_for"], serde_json::json!(["first"]));
    assert_eq!(second["locks"][1]["mode"], "shared");
    assert!(second["fence"].as_u64() > first["fence"].as_u64());
    let times = [&first["asked"], &first["granted"], &first["ended"], &second["granted"]];
    let times: Vec<&str> = times.iter().map(|time| time.as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for (task, state) in [("try", "busy"), ("patient", "timed-out")] {
        let refused = request(&scene, task);
        assert_eq!((&refused["state"], &refused["granted"]), (&state.into(), &Value::Null));
        assert_eq!(refused["waited_for"][0], "first");
    }

    let tasks = |options: &str| -> Vec<String> {
        let all = requests(&scene, options).into_iter();
        all.map(|request| request["task"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tasks(""), ["first", "second", "try", "patient"]);
    assert_eq!(tasks("--lock mail"), ["second"]);
    assert_eq!(tasks("-l app/shop"), ["second"], "app is above it");
    assert_eq!(tasks("--task first --task try"), ["first", "try"]);
    assert_eq!(tasks("--since 1h").len(), 4);
    assert_eq!(tasks("--since 0"), [] as [&str; 0]);
    assert_eq!(tasks("--namespace other"), [] as [&str; 0]);
    let table = stdout(&scene.output("history"));
    for part in ["WAITED", "app, mail (shared)", "for first", "status 3", "timed out"] {
        assert!(table.contains(part), "no {part} in: {table}");
    }
}

#[test]
fn whoever_was_killed_is_in_it_until_the_lock_was_granted_again() {
    let scene = Scene::new();
    let holder = scene.hold("--task holder -l one");
    let waiter = scene.queue("waiter", "-l one");
    waiter.signal(Signal::KILL);
    until_killed(&scene, "waiter");
    kill(holder);
    let killed = until_killed(&scene, "holder");
    assert_eq!(killed["ended"], Value::Null);
    assert_eq!(killed["held_ms"], Value::Null);
    scene.hold("--task next -l one/below").end();
    let next = request(&scene, "next");
    assert_eq!(request(&scene, "holder")["ended"], next["granted"]);
    assert_eq!(next["waited_for"], serde_json::json!([]));
}

/// What the history has of a task once it is seen killed.
///
/// While a process is just dying or being reaped, neither its state can be seen nor, as long as the
/// group that is asked for has a zombie, whether it is of that group: then nothing is proven.
fn until_killed(scene: &Scene, task: &str) -> Value {
    poll("it is seen killed", || {
        Some(request(scene, task)).filter(|request| request["state"] == "killed")
    })
}

#[test]
fn what_an_operator_freed() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    scene.assert_ends("release --task holder", 0);
    assert_eq!(holder.wait().code(), Some(74));
    let freed = request(&scene, "holder");
    assert!(["freed", "lost"].contains(&freed["state"].as_str().unwrap()), "{freed}");
    assert_eq!(freed["status"], 74);
    let holder = scene.hold("--task stubborn -l one");
    kill(holder);
    until_killed(&scene, "stubborn");
    scene.assert_ends("release --task stubborn", 0);
    let killed = until_killed(&scene, "stubborn");
    assert_ne!(killed["ended"], Value::Null);
}

#[test]
fn what_a_script_acquired() {
    let scene = Scene::new();
    let script = "\"$LOCKCTL\" acquire --pid $$ --task part -l one && \"$LOCKCTL\" run --task \
                  nested -l one/two -- true && \"$LOCKCTL\" release --pid $$ && echo $$";
    let output = scene.world.program("sh").args(["-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (part, nested) = (request(&scene, "part"), request(&scene, "nested"));
    assert_eq!((&part["state"], &part["status"]), (&"ended".into(), &Value::Null));
    assert_eq!(part["pids"][0].to_string(), stdout(&output).trim_end());
    let id = part["task_id"].as_str().unwrap();
    assert!(nested["task_id"].as_str().unwrap().starts_with(id));
    assert_eq!(nested["waited_for"], serde_json::json!([]));
}

#[test]
fn a_journal_elsewhere_or_none() {
    let scene = Scene::new();
    scene.assert_ends("run --journal none -l one -- true", 0);
    assert!(!scene.world.journal().exists());
    let empty = stdout(&scene.output("history"));
    assert!(empty.contains("nothing yet"), "{empty}");
    let script = "\"$LOCKCTL\" run --task inner -l two -- true";
    let output = scene.script("--journal other --task outer -l one", script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!scene.world.journal().exists());
    let both = requests(&scene, "--journal other --journal nowhere");
    assert_eq!(both.len(), 2, "a nested run writes to the same: {both:?}");
    let mut command = scene.lockctl("history");
    let output = command.env("LOCKCTL_JOURNAL", "none").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
}

#[test]
fn a_journal_that_cannot_be_written_or_read_is_no_failure_of_the_run() {
    let scene = Scene::new();
    fs::create_dir(scene.path("directory")).unwrap();
    for journal in ["directory", "/dev/full", "missing/journal"] {
        let message = scene.assert_ends(&format!("run --journal {journal} -l one -- true"), 0);
        assert_eq!(message.matches("cannot write the history").count(), 1, "{message}");
    }
    scene.assert_ends("history --journal directory", 71);
    fs::write(scene.path("broken"), "{\"task\":\n\u{1b}[2J\n{}\n").unwrap();
    let output = scene.output("history --journal broken");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("3 lines"), "{}", stderr(&output));
}

#[test]
fn a_picture() {
    let scene = Scene::new();
    scene.assert_ends("run --task a<b -l one -- true", 0);
    scene.assert_ends("history --svg picture.svg --title Fine --span 1m", 0);
    let picture = fs::read_to_string(scene.path("picture.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("a&lt;b"), "{picture}");
    assert!(picture.contains("1 min"), "it spans a minute: {picture}");
    let message = scene.assert_ends("history --svg missing/picture.svg", 71);
    assert!(message.contains("missing/picture.svg"), "{message}");
}
