//! Ctrl-C and Ctrl-Z in a terminal: what becomes of the locks of a run, and of its place in the queue.

use std::{os::unix::process::ExitStatusExt, thread, time::Duration};

use rustix::process::Pid;

use crate::{
    pty::{CTRL_C, CTRL_Z, Terminal},
    scene::Scene,
    world::{content, is_dead, poll, state},
};

#[test]
fn ctrl_c_stops_the_script_and_gives_back_the_lock() {
    let scene = Scene::new();
    let text = "\"$LOCKCTL\" run --task job -l one -- sh -c 'echo $$ >child; exec sleep 600'\n\
                echo went on >after\n";
    let mut script = Terminal::script(&scene.world, text);
    content(&scene.path("child"));
    assert_eq!(scene.list().holders(), ["job"]);
    let mut waiter = scene.queue("waiter", "-l one");
    script.type_in(CTRL_C);
    assert_eq!(script.wait().signal(), Some(2));
    waiter.command_pid();
    assert!(!scene.path("after").exists());
    waiter.end();
    scene.assert_free();
}

#[test]
fn ctrl_c_while_waiting_stops_the_script_and_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = "\"$LOCKCTL\" run --task job -l one -- touch started\necho went on >after\n";
    let mut script = Terminal::script(&scene.world, text);
    scene.until_waiting("job");
    script.type_in(CTRL_C);
    assert_eq!(script.wait().signal(), Some(2));
    assert_eq!(scene.list().waiting(), Vec::<String>::new());
    assert!(!scene.path("after").exists() && !scene.path("started").exists());
    holder.end();
    scene.assert_free();
}

#[test]
fn ctrl_z_while_waiting_keeps_the_place_in_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut bash = Terminal::bash(&scene.world, &["-i"]);
    bash.type_in("\"$LOCKCTL\" run --task job -l one -- sh -c 'echo it ra''n'\n");
    scene.until_waiting("job");
    let list = scene.list();
    let lockctl = list.entry("job")["pids"].as_array().unwrap().last().unwrap().as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(lockctl).unwrap()).unwrap();
    bash.type_in(CTRL_Z);
    poll("it is stopped", || (state(pid) == Some('T')).then_some(()));
    let mut later = scene.queue("later", "-l one");
    assert_eq!(scene.list().waiting(), ["job", "later"]);
    bash.type_in("fg\n");
    poll("it goes on", || state(pid).is_some_and(|state| state != 'T').then_some(()));
    holder.end();
    bash.shows("it ran");
    later.command_pid();
    later.end();
    bash.type_in("exit\n");
    bash.wait();
    scene.assert_free();
}

#[test]
fn the_waiting_line_is_written_in_place_and_taken_away() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = "\"$LOCKCTL\" run --task job -l one -- echo it runs\n";
    let mut script = Terminal::script(&scene.world, text);
    // It is written again with another age.
    poll("the line is updated", || {
        (script.screen().matches("\r\x1b[Klockctl: waiting for one: held by holder").count() >= 2)
            .then_some(())
    });
    holder.end();
    assert!(script.wait().success());
    poll("the line is taken away", || {
        script.screen().ends_with("\r\x1b[Kit runs\r\n").then_some(())
    });
    assert_eq!(script.screen().matches('\n').count(), 1, "{:?}", script.screen());
    scene.assert_free();
}

/// Starts a run whose command tells its pid and its parent's, and echoes; returns these pids.
fn start_in(terminal: &mut Terminal, scene: &Scene, options: &str) -> [Pid; 2] {
    terminal
        .type_in(&format!("\"$LOCKCTL\" run {options} -- sh -c 'echo $$ $PPID >pids; exec cat'\n"));
    let pids = content(&scene.path("pids"));
    std::fs::remove_file(scene.path("pids")).unwrap();
    let pids: Vec<i32> = pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    [pids[0], pids[1]].map(|pid| Pid::from_raw(pid).unwrap())
}

#[test]
fn after_a_stop_that_was_longer_than_the_lease_the_store_is_asked_first() {
    let scene = Scene::new();
    // A tenth of it is what the store may take to answer after that.
    let options = "--lease 10s --kill-grace 100ms";
    let mut kept = Terminal::bash(&scene.world, &["-i"]);
    let mut lost = Terminal::bash(&scene.world, &["-i"]);
    let kept_pids = start_in(&mut kept, &scene, &format!("--task kept -l one {options}"));
    let lost_pids = start_in(&mut lost, &scene, &format!("--task lost -l two {options}"));
    for (terminal, pids) in [(&mut kept, kept_pids), (&mut lost, lost_pids)] {
        terminal.type_in(CTRL_Z);
        for pid in pids {
            poll("both are stopped", || (state(pid) == Some('T')).then_some(()));
        }
    }
    thread::sleep(Duration::from_secs(11)); // Longer than the lease, which runs while they are stopped.
    // Whoever can see them does not take their locks.
    scene.assert_ends("run -n -l one -- true", 75);
    scene.assert_ends("release --task lost", 0);
    kept.type_in("fg\n");
    lost.type_in("fg\n");
    for pid in kept_pids {
        poll("it goes on", || (state(pid) == Some('S')).then_some(()));
    }
    kept.type_in("typed\n");
    poll("it is echoed by the terminal and by cat", || {
        (kept.screen().matches("typed").count() == 2).then_some(())
    });
    lost.shows("ending lost: its locks are lost");
    lost.type_in("echo status=$?\n");
    lost.shows("status=74");
    assert_eq!(scene.list().holders(), ["kept"]);
    kept.type_in(CTRL_C);
    poll("nothing is held", || scene.list().is_empty().then_some(()));
    for terminal in [&mut kept, &mut lost] {
        terminal.type_in("exit\n");
        terminal.wait();
    }
}

#[test]
fn a_stopped_job_can_be_killed() {
    let scene = Scene::new();
    let mut bash = Terminal::bash(&scene.world, &["-i"]);
    let pids = start_in(&mut bash, &scene, "--task job -l one");
    bash.type_in(CTRL_Z);
    for pid in pids {
        poll("both are stopped", || (state(pid) == Some('T')).then_some(()));
    }
    scene.assert_ends("kill --task job", 0);
    scene.assert_free();
    bash.type_in("\n");
    bash.shows("Terminated");
    bash.type_in("exit\n");
    bash.wait();
}

#[test]
fn ctrl_c_while_a_script_acquires_stops_the_script_and_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = "\"$LOCKCTL\" acquire --pid $$ --task job -l one\necho went on >after\n";
    let mut script = Terminal::script(&scene.world, text);
    scene.until_waiting("job");
    script.type_in(CTRL_C);
    assert_eq!(script.wait().signal(), Some(2));
    poll("the queue is empty", || scene.list().waiting().is_empty().then_some(()));
    assert!(!scene.path("after").exists());
    holder.end();
    scene.assert_free();
}

#[test]
fn a_command_that_left_the_terminals_group_ends_when_its_lock_is_lost() {
    // An interactive shell makes itself a group, and leaves a job in another one.
    let shell = "bash --norc -ic 'sleep 600 & echo $! >job; echo $$ >child; read x'";
    let session = "setsid sh -c 'echo $$ | tee job >child; exec sleep 600'";
    for command in [shell, session] {
        let scene = Scene::new();
        let mut terminal = Terminal::bash(&scene.world, &["-i"]);
        let run = "\"$LOCKCTL\" run --task job -l one --kill-grace 500ms --";
        terminal.type_in(&format!("{run} {command}; echo status=$?\n"));
        let pids = ["child", "job"]
            .map(|file| Pid::from_raw(content(&scene.path(file)).trim().parse().unwrap()).unwrap());
        scene.assert_ends("release --task job", 0);
        terminal.shows("status=74");
        assert!(pids.into_iter().all(is_dead), "{command}");
        terminal.type_in("exit\n");
        terminal.wait();
        scene.assert_free();
    }
}
