//! What people see in a terminal: `watch` in place, and the line that says for whom is waited.

use super::{doctor::configured, tmux::Tmux};
use crate::{
    scene::{Running, Scene},
    world::poll,
};

#[test]
fn watch_is_a_screen_of_its_own_and_gives_back_the_shells() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 80, 24) else { return };
    tmux.enter("echo before; \"$LOCKCTL\" watch -n 100ms");
    let screen = tmux.shows("nothing is held");
    assert!(screen.starts_with("sqlite:") && !screen.contains("before"), "{screen}");
    assert!(screen.lines().next().unwrap().ends_with('Z'), "{screen}");

    let mut holder = scene.hold("--task backup-17 -l app/blog -s mail");
    let mut waiter = scene.queue("update-3", "-l app");
    let screen = tmux.shows("waits for backup-17");
    assert!(screen.contains("1 held, 1 waiting"), "{screen}");
    let row = |task: &str| screen.lines().find(|line| line.contains(task)).unwrap().to_owned();
    let held = row(" backup-17  app/blog, mail (shared)");
    assert!(held.contains("held") && held.contains(" s ") && held.contains("pid "), "{held}");
    assert!(row(" update-3 ").contains("app "), "{screen}");
    // It is coloured, and its ages go on by themselves.
    assert!(tmux.coloured().contains("\x1b[1m TASK"), "{:?}", tmux.coloured());
    for task in [" backup-17 ", " update-3 "] {
        let before = row(task);
        tmux.until("its age has grown", |now| {
            now.lines().any(|line| line.contains(task) && line != before)
        });
    }

    holder.end();
    tmux.until("the row is gone", |screen| !screen.contains("backup-17"));
    tmux.key("q");
    let screen = tmux.until("the shell is back", |screen| screen.contains("before\n$"));
    assert!(!screen.contains("held"), "{screen}");
    // The keyboard is as before: what is typed shows.
    tmux.enter("echo rc=$?");
    tmux.shows("echo rc=$?\nrc=0");
    waiter.end();
}

#[test]
fn watch_fits_itself_to_the_window() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 120, 30) else { return };
    let names = ["alpha", "beta", "gamma", "delta"];
    let mut runs = names.map(|task| {
        scene.hold(&format!("--task {task} -l some/lock/{task}/one -s some/lock/{task}/two"))
    });
    tmux.enter("\"$LOCKCTL\" watch");
    let row = " some/lock/delta/one, some/lock/delta/two (shared)";
    tmux.shows(row);
    tmux.resize(60, 30);
    let screen =
        tmux.until("it is narrower", |screen| !screen.contains(row) && screen.contains("delta"));
    assert!(screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
    tmux.resize(60, 6);
    tmux.shows("more lines: lockctl list shows all");
    tmux.resize(120, 30);
    tmux.shows(row);
    tmux.key("C-c");
    tmux.until("the shell is back", |screen| !screen.contains("delta"));
    tmux.enter("echo rc=$?");
    tmux.shows("rc=130");
    runs.iter_mut().for_each(Running::end);
}

#[test]
fn watch_can_be_stopped_and_continued() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 80, 24) else { return };
    tmux.enter("\"$LOCKCTL\" watch");
    tmux.shows("nothing is held");
    tmux.key("C-z");
    tmux.shows("Stopped");
    tmux.enter("echo typed");
    tmux.shows("echo typed\ntyped");
    tmux.enter("fg");
    tmux.until("it is shown again", |screen| {
        screen.contains("nothing is held") && !screen.contains("Stopped")
    });
    tmux.key("q");
    tmux.shows("Stopped");
}

#[test]
fn whatever_key_ends_watch_the_terminal_is_as_before() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 80, 24) else { return };
    for (key, status) in [("C-c", 130), ("C-\\", 131)] {
        tmux.enter("clear; \"$LOCKCTL\" watch");
        tmux.shows("nothing is held");
        tmux.key(key);
        tmux.until("the shell is back", |screen| !screen.contains("nothing is held"));
        tmux.enter("echo rc=$?");
        tmux.shows(&format!("echo rc=$?\nrc={status}"));
    }
}

#[test]
fn watch_goes_on_while_the_store_cannot_be_used() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 80, 24) else { return };
    let mut holder = scene.hold("--task holder -l one");
    tmux.enter("\"$LOCKCTL\" watch -n 100ms");
    tmux.shows("1 held");
    let (file, away) = (scene.path("locks.db"), scene.path("away"));
    // A directory in its place cannot be used, and is not mended by itself.
    std::fs::rename(&file, &away).unwrap();
    std::fs::create_dir(&file).unwrap();
    let screen = tmux.shows("this is how it was before:");
    assert!(
        screen.contains("the store cannot be used, for ") && screen.contains("holder"),
        "{screen}"
    );
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&away, &file).unwrap();
    tmux.until("it is well again", |screen| {
        screen.contains("1 held") && !screen.contains("cannot be used")
    });
    tmux.key("q");
    holder.end();
}

#[test]
fn the_waiting_line_is_one_line_with_a_growing_age_and_goes_away() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 80, 24) else { return };
    let mut holder = scene.hold("--task holder -l one");
    tmux.enter("\"$LOCKCTL\" run --task waiter -l one -- echo it runs");
    let line = "lockctl: waiting for one: held by holder (pid ";
    let first = tmux.shows(line);
    let screen = tmux.until("the age has grown", |screen| screen.contains(line) && screen != first);
    assert_eq!(screen.matches("lockctl: waiting").count(), 1, "{screen}");
    holder.end();
    let screen = tmux.shows("it runs\n");
    assert!(!screen.contains("lockctl: waiting"), "{screen}");
}

#[test]
fn the_waiting_line_is_cut_to_the_window() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 40, 24) else { return };
    let mut holder = scene.hold("--task a-name-that-takes-a-lot-of-room-on-a-line -l one");
    tmux.enter("\"$LOCKCTL\" run -l one -- true");
    let screen = tmux.shows("lockctl: waiting for one: held by a-nam");
    let after = screen.split("lockctl: waiting").nth(1).unwrap();
    assert_eq!(after.trim_end().lines().count(), 1, "{screen}");
    tmux.key("C-c");
    tmux.until("it has left the queue", |_| scene.list().waiting().is_empty());
    holder.end();
}

#[test]
fn colour_is_for_terminals_and_for_those_who_want_it() {
    let scene = configured();
    let Some(tmux) = Tmux::new(&scene, 100, 24) else { return };
    tmux.enter(
        "clear; \"$LOCKCTL\" init; clear; \"$LOCKCTL\" doctor | cat; clear; \"$LOCKCTL\" doctor",
    );
    tmux.shows("ok    file");
    poll("it is green", || tmux.coloured().contains("\x1b[32mok").then_some(()));
    tmux.enter("clear; NO_COLOR=1 \"$LOCKCTL\" doctor; echo done=$?");
    tmux.shows("done=0");
    assert!(!tmux.coloured().contains("\x1b[32mok"), "{:?}", tmux.coloured());
}

#[test]
fn why_and_watch_leave_out_colour_for_those_who_do_not_want_it() {
    let scene = Scene::new();
    let Some(tmux) = Tmux::new(&scene, 100, 24) else { return };
    let mut holder = scene.hold("--task holder -l one");
    // Empty is as if it were not set.
    for (setting, is_wanted) in [("", true), ("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let has_colour = |coloured: &str| {
            let screen = tmux.coloured();
            let found = if is_wanted { screen.contains(coloured) } else { screen.contains('\x1b') };
            assert_eq!(found, is_wanted, "{setting}: {screen:?}");
        };
        tmux.enter(&format!("clear; {setting} \"$LOCKCTL\" why one; echo \"{setting} ended $?\""));
        tmux.shows(&format!("{setting} ended 75"));
        has_colour("\x1b[33mnot free");
        tmux.enter(&format!("clear; {setting} \"$LOCKCTL\" watch -n 100ms"));
        tmux.until("the table is shown", |screen| {
            screen.contains("1 held") && screen.contains(" holder ")
        });
        has_colour("\x1b[1m TASK");
        tmux.key("q");
        tmux.until("the shell is back", |screen| !screen.contains("1 held"));
    }
    holder.end();
}
