//! What a task started and that left its process group: whoever ends the task ends it as well, or waits for it.

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    scene::{Running, Scene, has_pid_namespaces},
    world::{content, is_dead, poll, stderr, stdout},
};

/// Tells its pid; notes each time that it is asked to end, takes its time, and notes that it has ended.
const WORKER: &str = r"
    cat >worker <<'END'
    trap 'echo asked >>asked; is_asked=1' TERM
    echo $$
    until [ $is_asked ]; do sleep 0.02; done
    sleep 0.5
    echo cleaned >>asked
END
";
/// What it notes if it is asked once.
const CLEANED: &str = "asked\ncleaned\n";
/// Tells its pid; ends only when it is killed.
const STUBBORN: &str = r"
    cat >worker <<'END'
    trap '' TERM
    echo $$
    while :; do sleep 0.02; done
END
";

fn start(scene: &Scene, options: &str, worker: &str, script: &str) -> (Running, Pid) {
    let run = scene
        .start_script(&format!("--task victim -l one {options}"), &format!("{worker}{script}"));
    let worker = run.pid_line(0);
    (run, worker)
}

/// Starts a task that says whether the worker was done when the lock was granted.
fn next(scene: &Scene) -> Running {
    let next = scene.start_script("--task next -l one", "cat asked; echo granted; exec cat");
    scene.until_waiting("next");
    next
}

#[test]
fn kill_asks_them_when_their_parent_has_ended_and_frees_nothing_before() {
    // In a session of its own; as a job with a group of its own; below such a one.
    for script in [
        "setsid sh worker & wait",
        "set -m; sh worker & wait",
        "setsid sh -c 'setsid sh worker & wait' & wait",
    ] {
        let scene = Scene::new();
        let (mut victim, worker) = start(&scene, "", WORKER, script);
        let mut next = next(&scene);
        let output = scene.output("kill --task victim");
        assert_eq!(output.status.code(), Some(0), "{script}: {}", stderr(&output));
        assert!(stdout(&output).starts_with("victim: ended ("), "{script}: {}", stdout(&output));
        assert_eq!(stderr(&output), "", "{script}");
        assert!(is_dead(worker), "{script}");
        assert_eq!((next.line(1), next.line(2)), ("cleaned".into(), "granted".into()), "{script}");
        assert_eq!(content(&scene.path("asked")), CLEANED, "it is asked once: {script}");
        victim.wait();
        next.end();
        scene.assert_free();
    }
}

#[test]
fn kill_kills_them_after_the_grace() {
    let scene = Scene::new();
    let (mut victim, worker) = start(&scene, "", STUBBORN, "setsid sh worker & wait");
    let output = scene.output("kill --task victim --grace 200ms");
    assert!(stdout(&output).starts_with("victim: killed ("), "{}", stdout(&output));
    assert!(is_dead(worker));
    victim.wait();
    scene.assert_free();
}

#[test]
fn kill_finds_them_when_lockctl_was_killed() {
    let scene = Scene::new();
    let script = "trap : TERM; setsid sh worker & while :; do sleep 0.02; done";
    let (mut victim, worker) = start(&scene, "--lease 1h", WORKER, script);
    victim.signal(Signal::KILL);
    victim.wait();
    let output = scene.output("kill --task victim --grace 1s");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(is_dead(worker));
    scene.assert_free();
}

#[test]
fn kill_names_a_daemon_and_leaves_it_alone() {
    let scene = Scene::new();
    let script = "(setsid sh -c 'echo $$; exec sleep 600' &); exec sleep 600";
    let (mut victim, daemon) = start(&scene, "", "", script);
    // Its parent has ended when it is a child of lockctl.
    let lockctl = victim.pid();
    let parent =
        || procfs::process::Process::new(daemon.as_raw_pid()).unwrap().stat().unwrap().ppid;
    poll("it is a daemon", || (parent() == lockctl.as_raw_pid()).then_some(()));
    let output = scene.output("kill --task victim");
    assert_eq!(output.status.code(), Some(0));
    let text = format!(
        "lockctl: a process that had detached itself from the task lives on: pid {}\n",
        daemon.as_raw_pid()
    );
    assert_eq!(stderr(&output), text);
    assert!(!is_dead(daemon));
    kill_process(daemon, Signal::KILL).unwrap();
    victim.wait();
    scene.assert_free();
}

#[test]
fn a_run_that_is_asked_to_end_asks_them_and_keeps_its_locks_until_they_are_gone() {
    let scene = Scene::new();
    let (mut run, worker) = start(&scene, "", WORKER, "setsid sh worker & wait");
    let mut next = next(&scene);
    run.signal(Signal::TERM);
    assert_eq!(run.wait().to_string(), "signal: 15 (SIGTERM)");
    assert!(is_dead(worker));
    assert_eq!((next.line(1), next.line(2)), ("cleaned".into(), "granted".into()));
    next.end();
    scene.assert_free();
}

#[test]
fn so_does_one_whose_command_takes_long_to_clean_up() {
    let scene = Scene::new();
    let script = "trap 'sleep 11; exit 0' TERM; setsid sh worker & while :; do sleep 0.02; done";
    let (mut run, worker) = start(&scene, "", WORKER, script);
    let mut next = next(&scene);
    run.signal(Signal::TERM);
    assert_eq!(run.wait().code(), Some(0));
    assert!(is_dead(worker));
    assert_eq!((next.line(1), next.line(2)), ("cleaned".into(), "granted".into()));
    next.end();
    scene.assert_free();
}

#[test]
fn kill_gives_its_own_grace_to_what_the_command_has_left() {
    let scene = Scene::new();
    let (mut victim, worker) = start(&scene, "--kill-grace 100ms", WORKER, "sh worker & exit 3");
    victim.says("victim ended, but processes that it started still run");
    let output = scene.output("kill --task victim --grace 1m");
    assert!(stdout(&output).starts_with("victim: ended ("), "{}", stdout(&output));
    assert!(is_dead(worker));
    assert_eq!(content(&scene.path("asked")), CLEANED, "it is asked once, and not killed");
    assert_eq!(victim.wait().code(), Some(3));
    scene.assert_free();
}

#[test]
fn who_asks_such_a_run_again_ends_those_that_did_not() {
    let scene = Scene::new();
    let options = "--kill-grace 200ms";
    let (mut run, worker) = start(&scene, options, STUBBORN, "setsid sh worker & wait");
    run.signal(Signal::TERM);
    run.says("victim ended, but processes that it started still run");
    assert!(!is_dead(worker));
    assert_eq!(scene.list().holders(), ["victim"]);
    run.signal(Signal::TERM);
    assert_eq!(run.wait().to_string(), "signal: 15 (SIGTERM)");
    assert!(is_dead(worker));
    scene.assert_free();
}

#[test]
fn a_run_that_ends_by_itself_lets_them_go() {
    let scene = Scene::new();
    let script =
        "trap 'echo caught >caught' HUP; setsid sh worker & until [ -e go ]; do sleep 0.02; done";
    let (mut run, worker) = start(&scene, "", STUBBORN, script);
    std::fs::write(scene.path("go"), "").unwrap();
    assert_eq!(run.wait().code(), Some(0));
    assert!(!is_dead(worker));
    kill_process(worker, Signal::KILL).unwrap();
    scene.assert_free();
}

#[test]
fn kill_spares_a_task_that_was_started_by_another_and_is_not_below_it() {
    let scene = Scene::new();
    let script = r#"
        setsid "$LOCKCTL" run --task other -l two -- sh -c 'echo $$ >other; exec sleep 600' &
        until [ -s other ]; do sleep 0.02; done
        "$LOCKCTL" acquire --pid $$ --task victim -l one >acquired && echo $$; wait"#;
    let mut shell = scene.world.program("sh");
    shell.args(["-c", script]);
    let mut victim = scene.start(&mut shell);
    let shell = victim.pid_line(0);
    let other = content(&scene.path("other")).trim().parse().unwrap();
    let other = Pid::from_raw(other).unwrap();
    let output = scene.output("kill --task victim");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(is_dead(shell) && !is_dead(other));
    assert_eq!(scene.list().holders(), ["other"]);
    victim.wait();
    let output = scene.output("kill --task other");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(is_dead(other));
    scene.assert_free();
}

#[test]
fn who_loses_its_locks_ends_them() {
    for worker in [WORKER, STUBBORN] {
        let scene = Scene::new();
        let (mut run, worker) = start(&scene, "--kill-grace 1s", worker, "setsid sh worker & wait");
        scene.assert_ends("release --task victim", 0);
        assert_eq!(run.wait().code(), Some(74));
        assert!(is_dead(worker));
        scene.assert_free();
    }
}

#[test]
fn who_got_the_id_of_a_command_that_has_ended_is_not_signalled() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    if !has_pid_namespaces() {
        return;
    }
    if !std::path::Path::new(LAST_PID).exists() {
        return eprintln!("skipped: a kernel without {LAST_PID} does not let ids be chosen");
    }
    let scene = Scene::new();
    // The worker keeps the run going; meanwhile another process group gets the id of the command's.
    let script = r#"
        "$LOCKCTL" run --task victim -l one --kill-grace 1s -- \
            sh -c 'setsid sh worker >stray & echo $$ >cmd; wait' & run=$!
        until [ -s cmd ] && [ -s stray ]; do sleep 0.02; done
        cmd=$(cat cmd)
        kill -TERM $run
        while [ -e /proc/$cmd ]; do sleep 0.02; done
        for try in $(seq 500); do
            : >other
            echo $((cmd - 1)) >/proc/sys/kernel/ns_last_pid
            setsid sh -c 'echo $$ >other; exec sleep 600' &
            until [ -s other ]; do sleep 0.02; done
            [ "$(cat other)" = "$cmd" ] && break
        done
        echo "the id of the command: $(($(cat other) - cmd))"
        kill -TERM $run
        wait $run
        state=$(cut -d' ' -f3 "/proc/$(cat stray)/stat" 2>/dev/null)
        case "$state" in ''|Z) ;; *) echo "the worker lives: $state" ;; esac
        kill -0 $cmd && echo "the other lives""#;
    let mut container = scene.world.program("unshare");
    container.args(["--pid", "--fork", "--mount-proc", "sh", "-c"]);
    let output = container.arg(format!("{STUBBORN}{script}")).output().unwrap();
    let expected = "the id of the command: 0\nthe other lives\n";
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    scene.assert_free();
}
