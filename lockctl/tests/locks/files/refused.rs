//! Status 71: the system refuses a process, or what was to end does not; and what becomes of the locks then.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::Duration,
};

use rustix::process::{Signal, kill_process};

use super::users::Users;
use crate::{
    scene::{Running, Scene},
    world::{is_dead, poll},
};

/// Users of whom nobody else has processes, for they are counted.
const ALONE: [u32; 2] = [1071, 1072];
/// More processes and threads than a run needs.
const ENOUGH: u32 = 64;

/// What this comes to with one process and thread more each time, until it succeeds: whatever is refused by the
/// system in between, it ends with 71, prints nothing, and holds nothing. Returns what was said.
fn until_enough(users: &Users, user: u32, arguments: &str) -> (String, Running) {
    let mut said = String::new();
    for limit in 1..ENOUGH {
        let mut command = users.member_program(user, "prlimit");
        command.arg(format!("--nproc={limit}")).arg(&users.program);
        let mut tried = users.scene.start(command.args(arguments.split_whitespace()));
        let status = tried.wait();
        if status.success() {
            return (said, tried);
        }
        assert_eq!(status.code(), Some(71), "with {limit}: {}", tried.err());
        assert_eq!(tried.out(), "");
        assert!(users.list().is_empty());
        said += &tried.err();
    }
    panic!("it never succeeds: {said}");
}

#[test]
fn a_run_without_a_process_or_thread_to_be_had_holds_nothing() {
    let Some(users) = Users::new() else { return };
    let (said, run) = until_enough(&users, ALONE[0], "run -l one -- echo it runs");
    assert_eq!(run.out(), "it runs\n");
    for part in [
        "lockctl: cannot receive signals: ",
        "lockctl: cannot start a process for echo: ",
        "lockctl: cannot start a thread: ",
        // The driver has a thread of its own, in the library.
        "lockctl: cannot wait for the locks: the thread that keeps the locks has failed\n",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn an_acquire_without_a_process_or_thread_to_be_had_holds_nothing() {
    let Some(users) = Users::new() else { return };
    let mut holder = users.scene.start(&mut users.scene.world.program("cat"));
    let pid = holder.pid().as_raw_pid();
    let arguments = format!("acquire --pid {pid} --task job -l one");
    let (said, _) = until_enough(&users, ALONE[1], &arguments);
    assert_eq!(users.list().holders(), ["job"]);
    for part in [
        "lockctl: cannot start a process that keeps the locks: ",
        "lockctl: cannot start a thread: ",
        "lockctl: cannot wait for the locks: the thread that keeps the locks has failed\n",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    holder.end();
    poll("its end frees the lock", || users.list().is_empty().then_some(()));
}

/// A program by which everybody becomes another user.
fn as_root(users: &Users) -> PathBuf {
    let path = users.scene.path("as-root");
    let script = "install -m 4755 \"$(command -v setpriv)\" \"$0\"";
    assert!(Command::new("sh").args(["-c", script]).arg(&path).status().unwrap().success());
    path
}

#[test]
fn what_became_another_users_outlives_its_lost_locks_and_that_is_said() {
    let Some(users) = Users::new() else { return };
    let script = r#"exec "$0" --reuid 0 --regid 0 --clear-groups sh -c 'echo $$; exec sleep 600'"#;
    let mut run = users.member(1001, "run --task job -l one --kill-grace 200ms -- sh -c");
    let mut run = users.scene.start(run.arg(script).arg(as_root(&users)));
    let roots = run.pid_line(0);
    users.by_root("release --task job", 0);
    run.says("cannot end job, whose processes are another user's (");
    assert!(!is_dead(roots));
    kill_process(roots, Signal::KILL).unwrap();
    assert_eq!(run.wait().code(), Some(74));
    assert_eq!(run.err().matches("cannot end").count(), 1, "it is said once: {}", run.err());
}

#[test]
fn what_became_another_users_while_it_was_asked_to_end_keeps_the_locks() {
    let Some(users) = Users::new() else { return };
    let as_root = as_root(&users);
    // It stops, so that `kill` has to signal it at once; a living process of root's could only be killed.
    let script = r#"trap '"$0" --reuid 0 sh -c "echo \$\$; kill -STOP \$\$"; exit' TERM
        echo $$; while :; do sleep 0.02; done"#;
    let mut run = users.member(1001, "run --task job -l one -- sh -c");
    let mut run = users.scene.start(run.arg(script).arg(&as_root));
    run.command_pid();

    let mut kill = users.scene.start(&mut users.member(1001, "kill --task job --grace 1h"));
    assert_eq!(kill.wait().code(), Some(71), "{}", kill.err());
    let message =
        "cannot find or signal the processes of job, and its locks are not freed: try it as root";
    assert!(kill.err().contains(message), "{}", kill.err());
    let roots = run.pid_line(1);
    assert!(!is_dead(roots));
    assert_eq!(users.list().holders(), ["job"]);
    users.by_root("kill --task job", 0);
    assert!(is_dead(roots));
    run.wait();
    assert!(users.list().is_empty());
}

/// A group of processes that the kernel does not let run, not even to their end.
struct Frozen(PathBuf);

impl Frozen {
    /// None where there is no such controller: that of cgroup 2 lets the killed end.
    fn new() -> Option<Self> {
        let dir = Path::new("/sys/fs/cgroup/freezer").join(format!("lockctl-{}", process::id()));
        if !Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists()
            || fs::create_dir(&dir).is_err()
        {
            eprintln!("skipped: there is no freezer of cgroup 1");
            return None;
        }
        Some(Frozen(dir))
    }

    fn set(&self, state: &str) {
        let file = self.0.join("freezer.state");
        fs::write(&file, state).unwrap();
        poll("they are", || (fs::read_to_string(&file).unwrap().trim() == state).then_some(()));
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("freezer.state"), "THAWED");
        // Once they have ended, which takes them a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn what_does_not_end_when_it_is_killed_keeps_the_locks() {
    let Some(frozen) = Frozen::new() else { return };
    let scene = Scene::new();
    let mut run = scene.hold("--task job -l one");
    let command = run.command_pid();
    fs::write(frozen.0.join("cgroup.procs"), command.as_raw_pid().to_string()).unwrap();
    frozen.set("FROZEN");
    let message = scene.assert_ends("kill --task job --grace 0s", 71);
    let words = format!(
        "job is not ended, so its locks are not freed: pid {} did not end when killed",
        command.as_raw_pid()
    );
    assert!(message.contains(&words), "no {words:?} in {message}");
    assert!(!is_dead(command));
    assert_eq!(scene.list().holders(), ["job"]);
    scene.assert_ends("run -n -l one -- true", 75);
    frozen.set("THAWED");
    poll("it ends", || is_dead(command).then_some(()));
    run.wait();
    scene.assert_ends("run --wait 30s -l one -- true", 0);
    scene.assert_free();
}
