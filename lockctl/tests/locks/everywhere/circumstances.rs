//! Runs that are started by something else than a shell: timeout, nohup, cron, a service manager.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use rustix::process::{Signal, kill_process_group};

use crate::{
    scene::{Scene, UNTIL_EOF},
    world::{LOCKCTL, content, is_dead, poll, stderr, stdout},
};

const POLITE: &str =
    "trap 'echo asked >>asked; exit 5' TERM; echo $$; while :; do sleep 0.02; done";

/// What tells `timeout` that its time is up: its own timer sends the same.
const EXPIRED: Signal = Signal::ALARM;

#[test]
fn timeout_ends_the_run() {
    let scene = Scene::new();
    let mut timeout = scene.world.program("timeout");
    timeout.args(["600", LOCKCTL, "run", "-l", "one", "--", "sh", "-c", POLITE]);
    let mut run = scene.start(&mut timeout);
    let command = run.command_pid();
    run.signal(EXPIRED);
    assert_eq!(run.wait().code(), Some(124));
    assert!(is_dead(command));
    assert_eq!(content(&scene.path("asked")), "asked\n");
    scene.assert_free();
    // One that leaves no time for anything still frees the lock, when the command has ended.
    let mut timeout = scene.world.program("timeout");
    timeout.args(["-s", "KILL", "600", LOCKCTL, "run", "-l", "one", "--lease", "1h", "--"]);
    let mut run = scene.start(timeout.args(["sh", "-c", POLITE]));
    let command = run.command_pid();
    run.signal(EXPIRED);
    run.wait();
    poll("the command ends", || is_dead(command).then_some(()));
    scene.assert_ends("run --wait 30s -l one -- true", 0);
    scene.assert_free();
    // And the other way round.
    let output = scene.output("run -l one -- timeout 0.1 sleep 600");
    assert_eq!(output.status.code(), Some(124));
    scene.assert_free();
}

#[test]
fn nohup_outlives_its_terminal() {
    let scene = Scene::new();
    let mut nohup = scene.world.program("env");
    nohup.args([
        "--default-signal",
        "nohup",
        LOCKCTL,
        "run",
        "-l",
        "one",
        "--",
        "sh",
        "-c",
        UNTIL_EOF,
    ]);
    let mut run = scene.start(&mut nohup);
    let command = run.command_pid();
    kill_process_group(run.pid(), Signal::HUP).unwrap();
    kill_process_group(command, Signal::HUP).unwrap();
    // It still does what it is told after it.
    run.type_in("alive\n");
    assert_eq!(run.line(1), "alive");
    run.end();
    scene.assert_free();
}

#[test]
fn cron_gives_neither_home_nor_terminal_nor_variables() {
    let scene = Scene::new();
    let line = format!(
        "{LOCKCTL} --store '{}' run -l job -q --wait 1s -E 0 --at-least 1h -- sh -c 'echo ran; exec >/dev/null'",
        scene.world.store.url()
    );
    let cron = || {
        let mut command = scene.world.program("env");
        command.args(["-i", "PATH=/usr/bin:/bin", "SHELL=/bin/sh", "sh", "-c", &line]);
        command.stdin(Stdio::null());
        command
    };
    let mut first = scene.start(&mut cron());
    assert_eq!(first.line(0), "ran");
    // It has ended long since, but on another host the minute may begin only now. cron would mail what is said.
    let output = cron().output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
    assert_eq!(stderr(&output), "");
    let holder = scene.list().holders()[0].clone();
    scene.assert_ends(&format!("kill --task {holder}"), 0);
    first.wait();
    scene.assert_free();
    // Without a store it cannot know which is meant.
    let mut command = scene.world.program("env");
    command.args([
        "-i",
        "PATH=/usr/bin:/bin",
        "setpriv",
        "--reuid=1001",
        "--clear-groups",
        LOCKCTL,
        "list",
    ]);
    if rustix::process::geteuid().is_root() && is_readable_by_all() {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains("HOME is not set"), "{}", stderr(&output));
    }
}

/// Whether other users can execute what is tested.
fn is_readable_by_all() -> bool {
    let tried = Command::new("setpriv")
        .args(["--reuid=1001", "--clear-groups", LOCKCTL, "--version"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn who_ends_a_run_does_not_wait_for_its_least_time() {
    let scene = Scene::new();
    let mut run = scene.hold("-l one --at-least 1h");
    run.signal(Signal::TERM);
    assert_eq!(run.wait().signal(), Some(15));
    scene.assert_free();
}

#[test]
fn a_service_manager_may_signal_all_at_once() {
    let scene = Scene::new();
    let script = "trap 'exit 5' TERM; echo $$; while :; do sleep 0.02; done";
    let mut run = scene.start_script("-l one", script);
    run.command_pid();
    run.signal_all(Signal::TERM);
    assert_eq!(run.wait().code(), Some(5));
    scene.assert_free();
}

#[test]
fn the_unit_of_the_documentation_is_one() {
    let page = include_str!("../../../../docs/scripts.md");
    let scene = Scene::new();
    let units: Vec<&str> =
        page.split("```ini\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!units.is_empty());
    for unit in units {
        assert!(unit.contains("KillMode=mixed"), "{unit}");
        let path = scene.path("backup.service");
        let unit =
            unit.replace("/usr/bin/lockctl", LOCKCTL).replace("/usr/local/bin/backup", "/bin/true");
        std::fs::write(&path, unit).unwrap();
        let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
            assert!(!lock_servers::is_ci(), "there is no systemd-analyze");
            return eprintln!("skipped: there is no systemd-analyze");
        };
        let said = stderr(&output);
        // It also has something to say of the machine's other units.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("backup.service")).collect();
        assert!(ours.is_empty(), "{said}");
    }
}

#[test]
fn the_recipes_of_the_documentation_are_shell() {
    let page = include_str!("../../../../docs/scripts.md");
    let recipes = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut count = 0;
    for recipe in recipes {
        count += 1;
        let output = Command::new("sh").args(["-n", "-c", recipe]).output().unwrap();
        assert!(output.status.success(), "{recipe}: {}", stderr(&output));
    }
    assert!(count > 0);
}
