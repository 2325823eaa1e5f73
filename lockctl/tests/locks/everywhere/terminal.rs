//! Ctrl-C in a terminal: it stops the script, and gives back or withdraws what the run has asked for.

use std::os::unix::process::ExitStatusExt;

use crate::{
    pty::{CTRL_C, Terminal},
    scene::Scene,
    world::{content, poll},
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
