//! Which processes a run consists of, and when it is over.

use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process};

use crate::world::{Started, World, content, is_dead, poll, state};

#[test]
fn the_command_leads_a_group_of_its_own_below_lockctl() {
    let world = World::new();
    let mut run = Started::new(&world, &mut world.run_script("echo $$; echo $PPID; exec sleep 60"));
    let (child, parent) = (run.pid_line(), run.pid_line());
    assert_eq!(parent, run.pid());
    assert_eq!(getpgid(Some(child)), Ok(child));
    run.signal(Signal::TERM);
    run.wait();
}

#[test]
fn a_killed_lockctl_takes_the_command_along() {
    let world = World::new();
    let script = "trap 'echo asked >asked; exit' TERM; echo $$; while :; do sleep 0.02; done";
    let mut run = Started::new(&world, &mut world.run_script(script));
    let child = run.pid_line();
    run.signal(Signal::KILL);
    run.wait();
    assert_eq!(content(&world.path("asked")), "asked\n");
    poll("the command ends", || is_dead(child).then_some(()));
}

#[test]
fn the_run_lasts_as_long_as_a_process_of_the_group() {
    let world = World::new();
    let mut run = Started::new(&world, &mut world.run_script("sleep 60 & echo $!; exit 3"));
    let background = run.pid_line();
    let text = format!(
        "lockctl: job ended, but processes that it started still run (pid {background}): keeping its locks\n"
    );
    poll("it is said", || (!run.stderr().is_empty()).then_some(()));
    assert_eq!(run.stderr(), text);
    assert!(run.is_running());
    kill_process(background, Signal::KILL).unwrap();
    assert_eq!(run.wait().code(), Some(3));
}

#[test]
fn quiet_says_nothing_of_it() {
    let world = World::new();
    let script = "sleep 2 & exit 3"; // Twice the time after which something would be said.
    let output = world.run_job(["--quiet", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_daemon_that_left_the_group_is_not_waited_for() {
    let world = World::new();
    let mut run = Started::new(&world, &mut world.run_script("setsid sleep 60 & echo $!"));
    let daemon = run.pid_line();
    assert_eq!(run.wait().code(), Some(0));
    assert!(!is_dead(daemon));
    kill_process(daemon, Signal::KILL).unwrap();
}

#[test]
fn orphans_leave_no_zombies() {
    let world = World::new();
    let script = "for i in 1 2 3; do (sh -c 'echo $$' &); done; exec sleep 60";
    let mut run = Started::new(&world, &mut world.run_script(script));
    let orphans: Vec<Pid> = (0..3).map(|_| run.pid_line()).collect();
    for orphan in orphans {
        poll("an orphan is reaped", || state(orphan).is_none().then_some(()));
    }
    run.signal(Signal::TERM);
    run.wait();
}

#[test]
fn who_asks_a_run_to_end_that_only_lingers_ends_it() {
    let world = World::new();
    let stubborn = "(trap '' TERM; sh -c 'echo $$; exec sleep 60') & exit 3";
    let grace = Duration::from_millis(100);
    let grace = format!("{}ms", grace.as_millis());
    let arguments = ["--task", "job", "--kill-grace", &grace, "--", "sh", "-c", stubborn];
    let mut run = Started::new(&world, &mut world.run_job(arguments));
    let background = run.pid_line();
    poll("the command is over", || run.stderr().contains("still run").then_some(()));
    run.signal(Signal::INT);
    assert_eq!(run.wait().code(), Some(3));
    assert!(is_dead(background));
}
