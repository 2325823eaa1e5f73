//! Signals without a terminal: CMD and its group get what is sent to `lockctl`.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{Signal, kill_process};

use crate::world::{Started, World, content, is_dead, poll, state};

/// Says "ready" and its pid, and ends with 7 on the signal.
fn trapping(signal: &str) -> String {
    format!("trap 'exit 7' {signal}; echo $$; while :; do sleep 0.02; done")
}

#[test]
fn signals_are_passed_on() {
    let world = World::new();
    for (name, signal) in [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("ALRM", Signal::ALARM),
        ("WINCH", Signal::WINCH),
    ] {
        let mut run = Started::new(&world, &mut world.run_script(&trapping(name)));
        run.pid_line();
        run.signal(signal);
        assert_eq!(run.wait().code(), Some(7), "{name}");
    }
}

#[test]
fn a_signal_that_ends_the_command_ends_lockctl() {
    let world = World::new();
    let mut run = Started::new(&world, &mut world.run_script("echo $$; exec sleep 60"));
    run.pid_line();
    run.signal(Signal::TERM);
    assert_eq!(run.wait().signal(), Some(15));
}

#[test]
fn the_whole_group_gets_the_signal() {
    let world = World::new();
    let script =
        "sh -c 'trap \"echo told >told; exit\" TERM; echo $$; while :; do sleep 0.02; done' & wait";
    let mut run = Started::new(&world, &mut world.run_script(script));
    let background = run.pid_line();
    run.signal(Signal::TERM);
    run.wait();
    assert_eq!(content(&world.path("told")), "told\n");
    assert!(is_dead(background));
}

#[test]
fn a_signal_ignored_at_start_does_not_end_the_run() {
    let world = World::new();
    let script = format!(r#"trap "" HUP; exec "$LOCKCTL" run -l job sh -c "{}""#, trapping("TERM"));
    let script = script.replace("$$", "\\$\\$");
    let mut run = Started::new(&world, world.program("sh").args(["-c", &script]));
    run.pid_line();
    run.signal(Signal::HUP);
    // TERM comes after HUP: were HUP not ignored, it would have ended the run.
    run.signal(Signal::TERM);
    assert_eq!(run.wait().code(), Some(7));
}

#[test]
fn without_a_terminal_a_stopped_command_does_not_stop_lockctl() {
    let world = World::new();
    // It must not fork: a shell whose fork is stopped half way is not stopped, but waits for it.
    let mut run = Started::new(&world, &mut world.run_script("echo $$; exec sleep 60"));
    let child = run.pid_line();
    run.signal(Signal::TSTP);
    poll("the command is stopped", || (state(child) == Some('T')).then_some(()));
    run.signal(Signal::CONT);
    poll("the command goes on", || (state(child) != Some('T')).then_some(()));
    run.signal(Signal::TSTP);
    poll("the command is stopped", || (state(child) == Some('T')).then_some(()));
    // Were lockctl stopped now, it would neither pass on TERM nor see the end.
    run.signal(Signal::TERM);
    kill_process(child, Signal::CONT).unwrap();
    assert_eq!(run.wait().signal(), Some(15));
}
