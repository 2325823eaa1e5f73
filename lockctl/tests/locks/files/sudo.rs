//! Tasks under other users by `sudo` itself, as a supervisor starts them: who may end them, and that all of them end.

use std::{ffi::OsStr, process::Command};

use super::users::{GROUP, Users};
use crate::{
    scene::{Running, UNTIL_EOF, skip},
    world::{is_dead, stderr, stdout},
};

use rustix::process::Signal;

/// Whom root becomes.
const USER: &str = "nobody";
/// Somebody else, who may use the store as well.
const OTHER: &str = "daemon";

/// Users with a store, of whom two have names, so that `sudo` knows them.
struct Sudoers(Users);

impl Sudoers {
    fn new() -> Option<Self> {
        let may_be = |user: &str| {
            let tried = Command::new("sudo").args(["-n", "-u", user, "-g", GROUP, "true"]).output();
            tried.is_ok_and(|output| output.status.success())
        };
        if !(may_be(USER) && may_be(OTHER)) {
            skip(&format!("there is no sudo by which this user can be {USER} and {OTHER}"));
            return None;
        }
        Users::new().map(Self)
    }

    /// `sudo` that runs a program as this user.
    fn sudo(&self, user: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.0.scene.world.program("sudo");
        command.args(["-n", "-u", user, "-g", GROUP, "--"]).arg(program);
        command
    }

    /// `lockctl` as this user, who is not told the store by the environment, for sudo cleans that.
    fn lockctl(&self, user: &str, arguments: &str) -> Command {
        let mut command = self.sudo(user, &self.0.program);
        command.args(["--store", &self.0.store()]).args(arguments.split_whitespace());
        command
    }

    fn start(&self, options: &str, script: &str) -> Running {
        let mut command = self.lockctl(USER, &format!("run {options} --"));
        self.0.scene.start(command.args(["sh", "-c", script]))
    }

    /// Asks for the end of a task as this user, who is refused; nothing ends.
    #[track_caller]
    fn refused(&self, user: &str, task: &str) {
        let before = self.0.list();
        let output = self.lockctl(user, &format!("kill --task {task}")).output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(77), "{message}");
        assert!(message.contains(&format!("{task} belongs to another user (pid ")), "{message}");
        assert!(
            message.contains("only that user or root can end it: nothing was done"),
            "{message}"
        );
        assert_eq!(self.0.list().holders(), before.holders());
    }
}

#[test]
fn a_run_by_sudo_is_ended_by_its_user_by_root_and_by_its_sudo() {
    let Some(sudoers) = Sudoers::new() else { return };
    let enders: [&dyn Fn(&Running); 3] = [
        &|_| {
            let output = sudoers.lockctl(USER, "kill --task job").output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert!(stdout(&output).starts_with("job: ended (pid "), "{}", stdout(&output));
        },
        &|_| drop(sudoers.0.by_root("kill --task job", 0)),
        // As a service manager ends what it has started.
        &|sudo| sudo.signal(Signal::TERM),
    ];
    for end in enders {
        let mut run = sudoers.start("--task job -l one", &format!("id -un; {UNTIL_EOF}"));
        assert_eq!(run.line(0), USER);
        let command = run.pid_line(1);
        sudoers.refused(OTHER, "job");
        assert!(!is_dead(command));
        end(&run);
        run.wait();
        assert!(is_dead(command));
        assert!(sudoers.0.list().is_empty());
    }
}

#[test]
fn what_a_run_of_root_starts_by_sudo_is_below_it_and_ends_with_it() {
    let Some(sudoers) = Sudoers::new() else { return };
    let users = &sudoers.0;
    // It does not know its parent by the environment.
    let script = r#"echo $$; for turn in 1 2; do
        "$0" --store "$1" run --no-wait --task inner -l one -l two -- sh -c '
            trap "echo asked; sleep 0.3; exit 5" TERM; echo $$ $LOCKCTL_TASK_ID; while :; do sleep 0.02; done'
        echo "ended $?"; done"#;
    let store = users.store();
    let mut run = users.scene.lockctl(&format!("--store {store} run --task outer -l one --"));
    run.args(["sudo", "-n", "-u", USER, "-g", GROUP, "sh", "-c", script]);
    let mut run = users.scene.start(run.arg(&users.program).arg(&store));
    let shell = run.pid_line(0);
    run.line(1);
    let list = users.list();
    let id = |task: &str| list.entry(task)["task_id"].as_str().unwrap().to_owned();
    let (outer, inner) = (id("outer"), id("inner"));
    assert!(inner.starts_with(&outer) && inner != outer, "{inner} is not below {outer}");

    sudoers.refused(OTHER, "inner");
    sudoers.refused(USER, "outer");
    let output = sudoers.lockctl(USER, "kill --task inner").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!([run.line(2), run.line(3)], ["asked", "ended 5"]);
    let second = run.line(4);
    let (second, _) = second.split_once(' ').unwrap();

    users.by_root("kill --task outer", 0);
    run.wait();
    let second = rustix::process::Pid::from_raw(second.parse().unwrap()).unwrap();
    assert!(is_dead(shell) && is_dead(second));
    let asked = run.out().lines().filter(|line| *line == "asked").count();
    assert_eq!(asked, 2, "each is asked once: {}", run.out());
    assert!(users.list().is_empty());
}
