//! In a terminal's foreground: job control works as without `lockctl`. The terminal is a pseudo one.

use std::{fs, os::unix::process::ExitStatusExt};

use rustix::process::{Pid, getpgid};

use crate::{
    pty::{CTRL_C, CTRL_Z, Terminal},
    world::{World, content, is_dead, poll, state},
};

fn pid_in(world: &World, file: &str) -> Pid {
    Pid::from_raw(content(&world.path(file)).trim().parse().unwrap()).unwrap()
}

#[test]
fn ctrl_c_stops_the_script() {
    let world = World::new();
    let script =
        "\"$LOCKCTL\" run -l job -- sh -c 'echo $$ >child; exec sleep 60'\necho went on >after\n";
    let mut terminal = Terminal::script(&world, script);
    let child = pid_in(&world, "child");
    assert_eq!(getpgid(Some(child)), Ok(Pid::from_child(&terminal.bash)), "the terminal's group");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.wait().signal(), Some(2));
    assert!(is_dead(child));
    assert!(!world.path("after").exists());
}

#[test]
fn a_command_that_handles_ctrl_c_ends_as_it_wants_and_the_script_goes_on() {
    let world = World::new();
    let script = "\"$LOCKCTL\" run -l job -- bash -c 'trap \"echo x >>caught\" INT; echo $$ >child; \
                  until [ -e go ]; do sleep 0.02; done; exit 5'\necho $? >after\n";
    let mut terminal = Terminal::script(&world, script);
    pid_in(&world, "child");
    terminal.type_in(CTRL_C);
    poll("it is caught", || world.path("caught").exists().then_some(()));
    fs::write(world.path("go"), "").unwrap();
    assert_eq!(content(&world.path("after")), "5\n");
    terminal.wait();
}

#[test]
fn ctrl_z_and_fg_stop_and_continue_both() {
    let world = World::new();
    let mut terminal = Terminal::bash(&world, &["-i"]);
    terminal.type_in(
        "\"$LOCKCTL\" run -l job -- sh -c 'echo $$ >child; echo $PPID >parent; exec cat'\n",
    );
    let (child, lockctl) = (pid_in(&world, "child"), pid_in(&world, "parent"));
    for _ in 0..3 {
        terminal.type_in(CTRL_Z);
        for pid in [child, lockctl] {
            poll("both are stopped", || (state(pid) == Some('T')).then_some(()));
        }
        terminal.type_in("fg\n");
        for pid in [child, lockctl] {
            poll("both go on", || (state(pid) == Some('S')).then_some(()));
        }
    }
    // The command reads from the terminal, which a background group cannot.
    terminal.type_in("typed\n");
    poll("it is echoed by the terminal and by cat", || {
        (terminal.screen().matches("typed").count() == 2).then_some(())
    });
    terminal.type_in(CTRL_C);
    // Ctrl-C also throws away what was typed and not read.
    poll("both end", || (is_dead(child) && is_dead(lockctl)).then_some(()));
    terminal.type_in("echo status=$?\n");
    terminal.shows("status=130");
    terminal.type_in("exit\n");
    terminal.wait();
}

#[test]
fn ctrl_z_works_after_a_ctrl_c_that_was_survived() {
    let world = World::new();
    let mut terminal = Terminal::bash(&world, &["-i"]);
    terminal.type_in(
        "\"$LOCKCTL\" run -l job -- bash -c 'trap \"echo x >>caught\" INT; echo $$ >child; \
         while :; do sleep 0.02; done'\n",
    );
    let child = pid_in(&world, "child");
    terminal.type_in(CTRL_C);
    poll("it is caught", || world.path("caught").exists().then_some(()));
    for round in 1..=8 {
        // From the second on as soon as it can be: the one does not undo the other.
        terminal.type_in(CTRL_Z);
        poll("it is stopped", || {
            (terminal.screen().matches("Stopped").count() == round).then_some(())
        });
        if round < 8 {
            terminal.type_in("fg\n");
            poll("it goes on", || (state(child) != Some('T')).then_some(()));
        }
    }
    // A job that is stopped hears that it is to end when it goes on.
    terminal.type_in("kill %1; kill -CONT %1\n");
    poll("it ends", || is_dead(child).then_some(()));
    terminal.type_in("exit\n");
    terminal.wait();
}

#[test]
fn others_in_the_terminals_group_are_not_of_the_run() {
    let world = World::new();
    // The daemon, which left the group, is a child of lockctl too: it has to look who is of the run.
    let script = "sleep 60 & \"$LOCKCTL\" run -l job -- sh -c 'setsid sleep 60 & echo $! >daemon'\n\
                  echo $? >after\nkill $! $(cat daemon)\n";
    let mut terminal = Terminal::script(&world, script);
    assert_eq!(content(&world.path("after")), "0\n");
    terminal.wait();
}

#[test]
fn background_processes_of_the_run_are() {
    let world = World::new();
    let script = "\"$LOCKCTL\" run -l job --kill-grace 100ms -- sh -c '(sh -c \"trap \\\"\\\" TERM; echo \\$\\$ >child; exec sleep 60\" &)'\n\
                  echo $? >after\n";
    let mut terminal = Terminal::script(&world, script);
    let child = pid_in(&world, "child");
    terminal.shows("still run (pid");
    assert!(!world.path("after").exists());
    terminal.type_in(CTRL_C);
    poll("the background process is ended", || is_dead(child).then_some(()));
    terminal.wait();
}

#[test]
fn a_program_that_takes_the_keyboard_for_itself_can() {
    let world = World::new();
    let mut terminal = Terminal::bash(&world, &["-i"]);
    // As an editor does: no echo, no keys that signal, and Ctrl-Z by signalling its own group.
    let editor = "saved=$(stty -g </dev/tty); stty raw -echo </dev/tty; echo up >up; \
                  key=$(dd bs=1 count=1 2>/dev/null </dev/tty); stty $saved </dev/tty; kill -TSTP 0; \
                  stty raw -echo </dev/tty; echo again >again; \
                  key=$key$(dd bs=1 count=1 2>/dev/null </dev/tty); stty $saved </dev/tty; echo $key | od -An -tx1 >keys";
    fs::write(world.path("editor"), editor).unwrap();
    terminal.type_in("\"$LOCKCTL\" run -l job -- sh editor\n");
    content(&world.path("up"));
    terminal.type_in(CTRL_Z);
    terminal.shows("Stopped");
    terminal.type_in("fg\n");
    content(&world.path("again"));
    terminal.type_in(CTRL_C);
    assert_eq!(
        content(&world.path("keys")).split_whitespace().collect::<Vec<_>>(),
        ["1a", "03", "0a"]
    );
    terminal.type_in("echo status=$?\n");
    terminal.shows("status=0");
    terminal.type_in("exit\n");
    terminal.wait();
}
