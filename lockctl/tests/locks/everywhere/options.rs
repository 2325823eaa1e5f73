//! Options of `run` beside the locks: what they do to output and to the time for which locks are held.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    scene::Scene,
    world::{poll, stderr, stdout},
};

#[test]
fn a_log_file_has_the_output_and_waiting_is_told_elsewhere() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut run =
        scene.start_script("--task job -l one --log-file log", "echo out; echo err >&2; exit 3");
    run.says("waiting for one: held by holder");
    holder.end();
    assert_eq!(run.wait().code(), Some(3));
    assert_eq!(run.out(), "");
    assert_eq!(run.err().lines().count(), 1, "{}", run.err());
    assert_eq!(fs::read_to_string(scene.path("log")).unwrap(), "out\nerr\n");
    scene.assert_free();
}

#[test]
fn quiet_says_nothing_of_waiting() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut loud = scene.queue("loud", "-l one");
    let mut quiet = scene.queue("quiet", "--quiet -l one");
    // Both wait for about as long: twice as long as it takes until one says so.
    loud.says("waiting for one: held by holder");
    let long = Instant::now();
    poll("it had time to speak", || (long.elapsed() > Duration::from_secs(2)).then_some(()));
    assert_eq!(quiet.err(), "");
    holder.end();
    loud.end();
    quiet.end();
    scene.assert_free();
}

#[test]
fn a_short_wait_is_not_worth_a_word() {
    let scene = Scene::new();
    let mut holder = scene.hold("-l one");
    let begin = Instant::now();
    let mut waiter = scene.queue("waiter", "-l one");
    holder.end();
    waiter.command_pid();
    // On a machine too slow for that nothing is said of it.
    if begin.elapsed() < Duration::from_secs(1) {
        assert_eq!(waiter.err(), "");
    }
    waiter.end();
    scene.assert_free();
}

#[test]
fn a_note_is_shown() {
    let scene = Scene::new();
    let mut holder = scene.lockctl("run --task holder -l one");
    holder.args(["--note", "the nightly one, \"really\"", "sh", "-c", crate::scene::UNTIL_EOF]);
    let mut holder = scene.start(&mut holder);
    holder.command_pid();
    let note = "the nightly one, \"really\"";
    assert_eq!(scene.list().entry("holder")["note"], note);
    assert!(stdout(&scene.output("list")).contains(note));
    let mut waiter = scene.queue("waiter", "-l one --note impatient");
    assert_eq!(scene.list().entry("waiter")["note"], "impatient");
    holder.end();
    waiter.end();
    scene.assert_free();
}

#[test]
fn at_least_keeps_the_locks_after_the_command() {
    let scene = Scene::new();
    let begin = Instant::now();
    let mut run = scene.start_script("--task job -l one --at-least 3s", "exit 4");
    assert_eq!(run.wait().code(), Some(4));
    assert!(begin.elapsed() >= Duration::from_secs(3), "it was given back too early");
    scene.assert_free();
    // It ends at once if somebody wants that.
    let mut run = scene.start_script("--task job -l one --at-least 1h", "echo $$");
    let command = run.command_pid();
    // Until it is reaped, a signal is meant for the command.
    poll("the end of the command is noticed", || {
        crate::world::state(command).is_none().then_some(())
    });
    assert_eq!(scene.list().holders(), ["job"]);
    scene.assert_ends("run -n -l one -- true", 75);
    run.signal(rustix::process::Signal::TERM);
    assert_eq!(run.wait().code(), Some(0));
    scene.assert_free();
}

#[test]
fn at_least_keeps_nothing_for_a_command_that_was_not_begun_or_has_lost_its_locks() {
    let scene = Scene::new();
    scene.assert_ends("run -l one --at-least 1h -- ./there-is-none", 127);
    scene.assert_free();
    let mut run = scene.hold("--task job -l one --at-least 1h");
    scene.assert_ends("release --task job", 0);
    assert_eq!(run.wait().code(), Some(74));
    scene.assert_free();
}

#[test]
fn without_a_name_a_task_is_called_by_its_command() {
    let scene = Scene::new();
    let mut run = scene.hold("-l one");
    let holders = scene.list().holders();
    assert_eq!(holders, [format!("sh-{}", run.pid().as_raw_pid())]);
    run.end();
}

#[test]
fn a_lease_of_none_is_no_obstacle_where_death_can_be_seen() {
    let scene = Scene::new();
    let mut run = scene.hold("--task job -l one --lease none");
    let mut waiter = scene.queue("waiter", "-l one");
    run.kill_all();
    run.wait();
    waiter.command_pid();
    waiter.end();
    scene.assert_free();
}

#[test]
fn help_is_for_newcomers() {
    let scene = Scene::new();
    for arguments in ["", "run", "acquire", "list", "wait", "release", "kill", "init"] {
        let arguments = format!("{arguments} --help");
        let arguments = arguments.as_str();
        let output = scene.output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", stderr(&output));
        assert!(stdout(&output).contains("Usage: lockctl"), "{arguments}");
    }
    assert!(stdout(&scene.output("run --help")).contains("lockctl run -l app/blog --"));
    // To ask for help makes no store.
    assert!(!scene.path("locks.db").exists());
}
