//! `acquire` and `release --pid`: locks for a script, which nothing that happens to it can leak.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{
    scene::{Running, Scene},
    world::{content, is_dead, poll, state, stderr},
};

/// Nobody may have to wait for a lease: it is longer than any test is patient.
const LONG: &str = "--lease 1h";

/// A script that leads a group of its own.
fn script(scene: &Scene, text: &str) -> Running {
    let mut command = scene.world.program("env");
    command.args(["--default-signal", "sh", "-c", text]);
    scene.start(&mut command)
}

/// A script that holds a lock until it is let go.
fn holding(scene: &Scene, options: &str) -> Running {
    let text = format!(
        r#""$LOCKCTL" acquire --pid $$ --task script {options} {LONG} || exit; echo $$; cat"#
    );
    let run = script(scene, &text);
    run.pid_line(0);
    run
}

fn raw(pid: &str) -> Option<Pid> {
    Pid::from_raw(pid.parse().ok()?)
}

/// The processes that keep locks, or ask for them, for this one.
fn keepers(holder: Pid) -> Vec<Pid> {
    let is_keeper = |pid: &Pid| {
        let file = format!("/proc/{}/cmdline", pid.as_raw_pid());
        let line = std::fs::read_to_string(file).unwrap_or_default();
        let pid = format!("--pid\0{}\0", holder.as_raw_pid());
        line.contains(&pid) && line.contains("--keeper-since")
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    names.filter_map(|entry| raw(entry.file_name().to_str()?)).filter(is_keeper).collect()
}

#[track_caller]
fn keeper(holder: Pid) -> Pid {
    poll("one process keeps the locks", || match keepers(holder)[..] {
        [one] => Some(one),
        _ => None,
    })
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_script_holds_what_it_acquired_until_it_gives_it_back() {
    let scene = Scene::new();
    // What the script ignores is nothing to the process that stays behind.
    let text = r#"trap "" USR1; fence=$("$LOCKCTL" acquire --pid $$ --task script -l one -s mail --print fence) || exit
        echo $$; echo "$fence"; read go; "$LOCKCTL" release --pid $$; echo "released $?"; exec cat"#;
    let mut run = script(&scene, text);
    let pid = run.pid_line(0);
    let list = scene.list();
    let entry = list.entry("script");
    assert_eq!(entry["pids"], serde_json::json!([pid.as_raw_pid()]));
    assert_eq!(entry["state"], "alive");
    assert_eq!(entry["fence"].to_string(), run.line(1));
    scene.assert_ends("run -n -l one -- true", 75);
    let keeper = keeper(pid);
    run.type_in("go\n");
    assert_eq!(run.line(2), "released 0", "{}", run.err());
    scene.assert_free();
    poll("nothing stays behind", || is_dead(keeper).then_some(()));
    run.end();
}

#[test]
fn the_end_of_the_script_gives_back_whatever_ended_it() {
    let scene = Scene::new();
    let mut run = holding(&scene, "-l one");
    let mut waiter = scene.queue("waiter", "-l one");
    run.end();
    waiter.command_pid();
    waiter.end();
    let mut run = holding(&scene, "-l one");
    let mut waiter = scene.queue("waiter", "-l one");
    run.signal(Signal::KILL);
    waiter.command_pid();
    waiter.end();
    run.wait();
    scene.assert_free();
}

#[test]
fn what_happens_to_the_process_that_stays_behind_frees_nothing_and_keeps_nothing() {
    let scene = Scene::new();
    let mut run = holding(&scene, "-l one");
    let keeper_pid = keeper(run.pid());
    // A service that is stopped signals all its processes, and the script may be cleaning up.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::KILL] {
        kill_process(keeper_pid, signal).unwrap();
        if signal != Signal::KILL {
            assert_eq!(scene.list().holders(), ["script"]);
            assert!(!is_dead(keeper_pid), "{signal:?} ended it");
        }
    }
    poll("it is dead", || is_dead(keeper_pid).then_some(()));
    assert_eq!(scene.list().entry("script")["state"], "alive");
    let mut waiter = scene.queue("waiter", "-l one");
    run.signal(Signal::KILL);
    run.wait();
    waiter.command_pid();
    waiter.end();
    // And if it is only paused when the script ends.
    let mut run = holding(&scene, "-l one");
    let keeper_pid = keeper(run.pid());
    kill_process(keeper_pid, Signal::STOP).unwrap();
    poll("it is stopped", || (state(keeper_pid) == Some('T')).then_some(()));
    run.signal(Signal::KILL);
    run.wait();
    scene.hold("-l one").end();
    kill_process(keeper_pid, Signal::CONT).unwrap();
    poll("it ends too", || is_dead(keeper_pid).then_some(()));
    scene.assert_free();
}

#[test]
fn locks_whose_keeper_was_killed_can_be_given_back() {
    let scene = Scene::new();
    let text = r#""$LOCKCTL" acquire --pid $$ -l one || exit; echo $$; read go
        "$LOCKCTL" release --pid $$; echo "released $?"; exec cat"#;
    let mut run = script(&scene, text);
    kill(keeper(run.pid_line(0)));
    run.type_in("go\n");
    assert_eq!(run.line(1), "released 0", "{}", run.err());
    scene.assert_free();
    run.end();
}

#[test]
fn busy_is_75_and_leaves_nothing() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = r#"for options in --no-wait "--wait 200ms" "-n -E 9"; do
            "$LOCKCTL" acquire --pid $$ -l one $options; echo "ended $?"
        done; "$LOCKCTL" release --pid $$; echo "released $?""#;
    let mut run = script(&scene, text);
    run.wait();
    assert_eq!(run.out(), "ended 75\nended 75\nended 9\nreleased 74\n");
    assert!(run.err().contains("lockctl: busy: one: held by holder (pid "), "{}", run.err());
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["holder".to_owned()], vec![]));
    assert!(keepers(run.pid()).is_empty());
    holder.end();
    scene.assert_free();
}

#[test]
fn who_is_killed_while_it_waits_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    for victim in ["command", "keeper", "script"] {
        let text = format!(
            r#""$LOCKCTL" acquire --pid $$ --task waiter -l one {LONG} & echo $!; wait $!; echo "ended $?"; exec cat"#
        );
        let mut run = script(&scene, &text);
        let command = run.pid_line(0);
        scene.until_waiting("waiter");
        run.says("waiting for one: held by holder");
        let keeper = keeper(run.pid());
        kill(match victim {
            "command" => command,
            "keeper" => keeper,
            _ => run.pid(),
        });
        for pid in [keeper, command] {
            poll("nothing of it is left", || is_dead(pid).then_some(()));
        }
        // The dead are taken out of the queue by whoever comes next.
        scene.assert_ends("run --no-wait -l one -- true", 75);
        assert_eq!(scene.list().waiting(), Vec::<String>::new(), "killed: {victim}");
        if victim == "script" {
            run.wait();
        } else {
            assert_eq!(run.line(1), "ended 137", "{victim}");
            run.end();
        }
    }
    assert_eq!(scene.list().holders(), ["holder"]);
    holder.end();
    scene.assert_free();
}

#[test]
fn a_script_that_is_killed_at_any_moment_leaks_nothing() {
    let scene = Scene::new();
    for step in 0..8 {
        let text = format!(r#"echo $$; "$LOCKCTL" acquire --pid $$ -l one {LONG} && sleep 600"#);
        let mut run = script(&scene, &text);
        run.pid_line(0);
        std::thread::sleep(std::time::Duration::from_millis(5 * step));
        // The command and the script; but it stays behind in a session of its own.
        kill_process_group(run.pid(), Signal::KILL).unwrap();
        run.wait();
        let output = scene.output("run --wait 30s -l one -- true");
        assert_eq!(output.status.code(), Some(0), "killed in step {step}: {}", stderr(&output));
    }
    poll("nothing is left", || scene.list().is_empty().then_some(()));
}

#[test]
fn what_the_script_runs_is_below_all_that_it_acquired() {
    let scene = Scene::new();
    // Also if the environment tells of the run that it is in.
    let text = r#""$LOCKCTL" acquire --pid $$ -l one --print task-id || exit
        "$LOCKCTL" acquire --pid $$ -n -l two -l one/part --print task-id || exit
        "$LOCKCTL" run -n -l one -l two -- sh -c 'echo $LOCKCTL_TASK_ID'
        "$LOCKCTL" wait one two --wait 0 && echo free
        "$LOCKCTL" release --pid $$ -l one; echo "released $?"
        "$LOCKCTL" run -n -l one -l two -- sh -c 'echo $LOCKCTL_TASK_ID'
        "$LOCKCTL" release --pid $$; echo "released $?""#;
    for outer in [false, true] {
        let mut run = if outer {
            scene.start_script("--task outer -l three", text)
        } else {
            script(&scene, text)
        };
        run.wait();
        let out = run.out();
        let lines: Vec<&str> = out.lines().collect();
        let [one, two, below, "free", "released 0", later, "released 0"] = lines[..] else {
            panic!("{out}{}", run.err());
        };
        for (id, above) in [(two, one), (below, two), (later, two)] {
            assert!(id.starts_with(above) && id != above, "{id} is not below {above}");
        }
        scene.assert_free();
    }
}

#[test]
fn what_is_given_back_is_what_was_named() {
    let scene = Scene::new();
    let text = r#"for lock in one two three; do "$LOCKCTL" acquire --pid $$ --task $lock -l $lock || exit; done
        for locks in "-l two" "-l two" "-s one" "-l one -l three" "-l a//b"; do
            "$LOCKCTL" release --pid $$ $locks; echo $?
        done; echo $$; exec cat"#;
    let mut run = script(&scene, text);
    let pid = run.pid_line(5);
    assert_eq!(run.out().lines().take(5).collect::<Vec<_>>(), ["0", "74", "74", "74", "64"]);
    assert_eq!(scene.list().holders(), ["one", "three"]);
    assert!(run.err().contains("does not hold these locks"), "{}", run.err());
    let pid = pid.as_raw_pid();
    scene.assert_ends(&format!("release --pid {pid}"), 0);
    scene.assert_free();
    run.end();
}

#[test]
fn a_loss_is_told_by_release() {
    let scene = Scene::new();
    let text = r#""$LOCKCTL" acquire --pid $$ --task script -l one || exit; echo $$; read go
        "$LOCKCTL" release --pid $$; echo "released $?"; exec cat"#;
    let mut run = script(&scene, text);
    run.pid_line(0);
    scene.assert_ends("release --task script", 0);
    let mut other = scene.hold("--task other -l one");
    run.type_in("go\n");
    assert_eq!(run.line(1), "released 74");
    assert_eq!(scene.list().holders(), ["other"]);
    other.end();
    run.end();
    scene.assert_free();
}

#[test]
fn a_loss_ends_the_script_if_it_wants_that_and_no_release_does() {
    let scene = Scene::new();
    let text = r#""$LOCKCTL" acquire --pid $$ --on-lost kill -l one || exit; "$LOCKCTL" release --pid $$
        "$LOCKCTL" acquire --pid $$ --task script --on-lost kill -l one || exit
        sh -c 'echo $$; exec sleep 600'; echo went on; sleep 600"#;
    let mut run = script(&scene, text);
    let command = run.pid_line(0);
    scene.assert_ends("release --task script", 0);
    assert_eq!(run.wait().to_string(), "signal: 15 (SIGTERM)");
    poll("what it ran is dead too", || is_dead(command).then_some(()));
    assert!(!run.out().contains("went on"));
    assert!(run.err().contains("lockctl: ending script: "), "{}", run.err());
    scene.assert_free();
}

#[test]
fn what_a_loss_does_not_end_is_killed_after_the_grace() {
    let scene = Scene::new();
    let text = r#""$LOCKCTL" acquire --pid $$ --task script --on-lost kill --kill-grace 2s -l one || exit
        trap 'echo asked >>asked' TERM; sh -c 'trap "" TERM; echo $$; while :; do sleep 0.02; done' &
        while :; do sleep 0.02; done"#;
    let mut run = script(&scene, text);
    let command = run.pid_line(0);
    let keeper = keeper(run.pid());
    scene.assert_ends("release --task script", 0);
    assert_eq!(run.wait().to_string(), "signal: 9 (SIGKILL)");
    assert_eq!(content(&scene.path("asked")), "asked\n");
    for pid in [command, keeper] {
        poll("nothing of it is left", || is_dead(pid).then_some(()));
    }
    scene.assert_free();
}

#[test]
fn kill_ends_the_script_and_what_it_runs() {
    let scene = Scene::new();
    let text = r#""$LOCKCTL" acquire --pid $$ --task script -l one || exit
        trap 'echo cleaned >cleaned; exit 3' TERM; sh -c 'echo $$; exec sleep 600'; sleep 600"#;
    let mut run = script(&scene, text);
    let command = run.pid_line(0);
    scene.assert_ends("kill --task script", 0);
    assert!(is_dead(command));
    assert_eq!(run.wait().code(), Some(3));
    assert_eq!(content(&scene.path("cleaned")), "cleaned\n");
    scene.assert_free();
}

#[test]
fn nothing_of_the_script_is_kept_open() {
    let scene = Scene::new();
    let text = r#"{ "$LOCKCTL" acquire --pid $$ -l one 3>&1; } | cat; echo closed; exec cat"#;
    let mut run = script(&scene, text);
    assert_eq!(run.line(0), "closed");
    assert_eq!(scene.list().holders().len(), 1);
    let keeper = keeper(run.pid());
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", keeper.as_raw_pid())).unwrap();
    assert_eq!(cwd, std::path::Path::new("/"));
    run.end();
    poll("nothing is held", || scene.list().is_empty().then_some(()));
}

#[test]
fn a_relative_store_is_the_one_that_the_script_means() {
    let scene = Scene::new();
    // Where the store is a file it is in this directory; a server's is nowhere.
    let url = scene.world.store.url().replace(&scene.path("").display().to_string(), "");
    let text =
        format!(r#""$LOCKCTL" --store '{url}' acquire --pid $$ -l one || exit; echo $$; exec cat"#);
    let mut run = script(&scene, &text);
    run.pid_line(0);
    assert_eq!(scene.list().holders().len(), 1);
    run.end();
    poll("nothing is held", || scene.list().is_empty().then_some(()));
}

#[test]
fn bad_pids_and_names_are_64() {
    let scene = Scene::new();
    let own = std::process::id();
    let max = i32::MAX;
    for bad in [
        format!("acquire --pid {max} -l one"),
        "acquire --pid 0 -l one".into(),
        "acquire --pid -1 -l one".into(),
        "acquire -l one".into(),
        format!("acquire --pid {own}"),
        format!("acquire --pid {own} -l a//b"),
        format!("acquire --pid {own} -l one --on-lost kill --lease 5s --kill-grace 10s"),
        format!("release --pid {max}"),
        format!("release --pid {own} --task x"),
        "release -l one".into(),
    ] {
        scene.assert_ends(&bad, 64);
    }
    scene.assert_free();
}
