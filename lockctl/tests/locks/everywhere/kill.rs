//! `kill`: a task's processes end, all of them and no others, and only then its locks are free.

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    scene::{Running, Scene, UNTIL_EOF, has_pid_namespaces},
    world::{LOCKCTL, content, is_dead, poll, state, stderr, stdout},
};

/// Nobody may have to wait for a lease: it is longer than any test is patient.
const LONG: &str = "--lease 1h";

/// Notes every TERM that it gets, and ends in peace.
const POLITE: &str =
    "trap 'echo asked >>asked; sleep 0.3; exit 5' TERM; echo $$; while :; do sleep 0.02; done";

fn kill(scene: &Scene, arguments: &str) -> String {
    let output = scene.output(&format!("kill {arguments}"));
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", stderr(&output));
    stdout(&output)
}

fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    poll("it is stopped", || (state(pid) == Some('T')).then_some(()));
}

#[test]
fn the_processes_end_before_the_next_one_has_the_locks() {
    let scene = Scene::new();
    let mut victim = scene.start_script("--task victim -l one -l two", POLITE);
    let command = victim.command_pid();
    let mut other = scene.hold("--task other -l three");
    let mut next = scene.start_script("--task next -l one", "cat asked; echo $$; exec cat");
    scene.until_waiting("next");
    let said = kill(&scene, "--task victim");
    assert!(is_dead(command));
    let mut pids = [victim.pid(), command].map(Pid::as_raw_pid);
    pids.sort_unstable();
    let [one, two] = pids;
    assert_eq!(said, format!("victim: ended (pid {one}, {two}); free: one, two\n"));
    // It could clean up, was asked once, and ended as it wanted.
    assert_eq!(next.line(0), "asked");
    assert_eq!(victim.wait().code(), Some(5));
    assert_eq!(content(&scene.path("asked")), "asked\n");
    assert_eq!(scene.list().holders(), ["other", "next"]);
    next.end();
    other.end();
    scene.assert_free();
}

#[test]
fn who_does_not_end_in_its_grace_is_killed_with_its_background_processes() {
    let scene = Scene::new();
    let script = "trap '' TERM; sleep 600 & echo $!; while :; do sleep 0.02; done";
    let mut victim = scene.start_script("--task victim -l one", script);
    let background = victim.pid_line(0);
    let said = kill(&scene, "--task victim --grace 200ms");
    assert!(said.starts_with("victim: killed (pid "), "{said}");
    assert!(is_dead(background));
    assert_eq!(victim.wait().to_string(), "signal: 9 (SIGKILL)");
    scene.assert_free();
}

#[test]
fn a_task_that_waits_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut victim = scene.queue("victim", "-l one");
    let said = kill(&scene, "--task victim");
    assert!(said.ends_with("; out of the queue\n"), "{said}");
    victim.wait();
    assert!(!victim.has_begun());
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["holder".to_owned()], vec![]));
    holder.end();
    scene.assert_free();
}

#[test]
fn sub_tasks_end_with_their_task_wherever_they_run() {
    let scene = Scene::new();
    let inner = format!("echo $PPID >inner; {POLITE}");
    let script = format!(
        r#"trap : TERM; "$LOCKCTL" run --task near -l two -- sh -c '{inner}' &
        setsid "$LOCKCTL" run --task far -l three -- sh -c 'echo $$ >far; exec sleep 600' &
        wait; wait; wait"#,
        inner = inner.replace('\'', r#"'"'"'"#),
    );
    let mut victim = scene.start_script("--task victim -l one", &script);
    content(&scene.path("inner"));
    let far = content(&scene.path("far"));
    let far = Pid::from_raw(far.trim().parse().unwrap()).unwrap();
    assert_eq!(scene.list().holders().len(), 3);
    let said = kill(&scene, "--task victim");
    assert!(is_dead(far));
    for part in ["victim: ended", "near: ended", "far: ended"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    // Its own lockctl and that of its task both had it to tell.
    assert_eq!(content(&scene.path("asked")), "asked\n");
    victim.wait();
    scene.assert_free();
}

#[test]
fn a_sub_task_can_be_ended_alone() {
    let scene = Scene::new();
    let script =
        r#"echo $$; "$LOCKCTL" run --task inner -l two -- sleep 600; echo "ended $?"; exec cat"#;
    let mut outer = scene.start_script("--task outer -l one", script);
    poll("both hold", || (scene.list().holders().len() == 2).then_some(()));
    kill(&scene, "--task inner");
    assert_eq!(outer.line(1), "ended 143");
    assert_eq!(scene.list().holders(), ["outer"]);
    outer.end();
    scene.assert_free();
}

#[test]
fn all_of_a_name_end_and_one_of_an_id() {
    let scene = Scene::new();
    let mut twins: Vec<Running> = ["one", "two", "three"]
        .iter()
        .map(|lock| scene.hold(&format!("--task twin -l {lock}")))
        .collect();
    let id = scene.list().entry("twin")["task_id"].as_str().unwrap().to_owned();
    kill(&scene, &format!("--task {id}"));
    poll("one has ended", || twins[0].child.try_wait().unwrap());
    assert_eq!(scene.list().holders(), ["twin", "twin"]);
    let said = kill(&scene, "--task twin");
    assert_eq!(said.lines().count(), 2, "{said}");
    for twin in &mut twins {
        twin.wait();
    }
    scene.assert_free();
}

#[test]
fn what_nobody_holds_is_1() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    for other in ["nobody", "hold", "Holder", "*"] {
        let message = scene.assert_ends(&format!("kill --task {other}"), 1);
        assert!(message.contains("holds or waits for anything"), "{message}");
    }
    scene.assert_ends("kill", 64);
    scene.assert_ends("kill --task holder --grace soon", 64);
    holder.end();
    scene.assert_free();
}

#[test]
fn a_task_does_not_end_itself() {
    let scene = Scene::new();
    let script = r#""$LOCKCTL" kill --task itself; echo "ended $?"; exec cat"#;
    let mut run = scene.start_script("--task itself -l one", script);
    assert_eq!(run.line(0), "ended 77");
    assert!(run.err().contains("itself runs this very command"), "{}", run.err());
    assert_eq!(scene.list().holders(), ["itself"]);
    run.end();
    scene.assert_free();
}

#[test]
fn where_lockctl_was_killed_the_processes_are_found() {
    let scene = Scene::new();
    let script = "trap : TERM; sh -c 'trap \"echo asked >>asked; exit\" TERM; echo $$; while :; do sleep 0.02; done' & \
                  sleep 600 & echo $!; while :; do sleep 0.02; done";
    let mut victim = scene.start_script(&format!("--task victim -l one {LONG}"), script);
    let both = [victim.pid_line(0), victim.pid_line(1)];
    victim.signal(Signal::KILL);
    victim.wait();
    assert_eq!(scene.list().entry("victim")["state"], "alive");
    kill(&scene, "--task victim --grace 500ms");
    assert!(both.into_iter().all(is_dead));
    assert_eq!(content(&scene.path("asked")), "asked\n");
    scene.assert_free();
}

#[test]
fn what_is_stopped_ends_in_peace() {
    let scene = Scene::new();
    let mut victim = scene.start_script("--task victim -l one", POLITE);
    let command = victim.command_pid();
    stop(command);
    stop(victim.pid());
    kill(&scene, "--task victim");
    assert_eq!(victim.wait().code(), Some(5));
    assert_eq!(content(&scene.path("asked")), "asked\n");
    scene.assert_free();
}

#[test]
fn the_locks_of_the_dead_are_freed() {
    let scene = Scene::new();
    let mut victim = scene.hold(&format!("--task victim -l one {LONG}"));
    let command = victim.command_pid();
    victim.kill_all();
    victim.wait();
    poll("the command is dead", || is_dead(command).then_some(()));
    assert_eq!(kill(&scene, "--task victim"), "victim: was dead; free: one\n");
    scene.assert_free();
}

#[test]
fn what_runs_on_another_host_is_refused() {
    let scene = Scene::new();
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let rebooted =
        format!("far was started before {here} was booted, or on another host of this name: ");
    for (host, why) in [("web2", "far runs on web2: run this command there: "), (&here, &rebooted)]
    {
        let Some(mut far) = scene.on_host(host, LOCKCTL) else { return };
        far.args(["run", "--task", "far", "-l", "one", "--", "sh", "-c", UNTIL_EOF]);
        let mut far = scene.start(&mut far);
        let command = far.command_pid();
        let list = scene.list();
        let entry = list.entry("far");
        assert_eq!(
            (entry["host"].as_str(), entry["state"].as_str()),
            (Some(host), Some("unknown"))
        );
        // Nor is the one ended that could be.
        let mut near = scene.hold("--task far -l two");
        let message = scene.assert_ends("kill --task far", 77);
        assert!(message.contains(why) && message.contains("nothing was done"), "{message}");
        assert!(!is_dead(command) && !is_dead(near.command_pid()));
        assert_eq!(scene.list().holders(), ["far", "far"]);
        far.end();
        near.end();
        scene.assert_free();
    }
}

#[test]
fn what_runs_in_another_container_is_refused() {
    if !has_pid_namespaces() {
        return;
    }
    let scene = Scene::new();
    let mut container = scene.world.program("unshare");
    container.args(["--pid", "--fork", "--mount-proc", LOCKCTL, "run"]);
    container.args(["--task", "far", "-l", "one", "--", "sh", "-c", UNTIL_EOF]);
    let mut far = scene.start(&mut container);
    far.line(0);
    let mut near = scene.hold("--task far -l two");
    let message = scene.assert_ends("kill --task far", 77);
    assert!(message.contains("far runs in another container of "), "{message}");
    assert!(message.contains("nothing was done"), "{message}");
    assert_eq!(scene.list().holders(), ["far", "far"]);
    far.end();
    near.end();
    scene.assert_free();
}
