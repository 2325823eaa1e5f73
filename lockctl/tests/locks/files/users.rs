//! One store for several users: those of its group exclude each other, others have no access.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use crate::{
    program,
    scene::{List, Running, Scene, UNTIL_EOF, has_pid_namespaces, skip},
    world::{is_dead, poll, stderr, stdout},
};

/// A group that exists wherever this runs; who is in it is said with each process.
pub(super) const GROUP: &str = "adm";

/// Two users with one group, and one without it; none of them is root.
pub(super) struct Users {
    pub(super) scene: Scene,
    group_id: u32,
    pub(super) program: PathBuf,
}

impl Users {
    /// With a store for their group. None where this process may not be others.
    pub(super) fn new() -> Option<Self> {
        let group = nix::unistd::Group::from_name(GROUP).unwrap();
        let Some(group) = group.filter(|_| rustix::process::geteuid().is_root()) else {
            skip(&format!("it takes root and the group {GROUP} to be several users"));
            return None;
        };
        let scene = Scene::new();
        let program = program::for_all(&scene);
        let users = Users { scene, group_id: group.gid.as_raw(), program };
        users.by_root(&format!("init --group {GROUP}"), 0);
        Some(users)
    }

    /// A program that is started as this user with these groups, and finds the store.
    fn program(&self, user: u32, groups: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.scene.world.program("setpriv");
        let id = user.to_string();
        command.args(["--reuid", &id, "--regid", &id, groups]).arg(program);
        command.env("LOCKCTL_STORE", self.store());
        command
    }

    /// A program that is started as this user, who is in the group.
    pub(super) fn member_program(&self, user: u32, program: impl AsRef<OsStr>) -> Command {
        self.program(user, &format!("--groups={}", self.group_id), program)
    }

    pub(super) fn member(&self, user: u32, arguments: &str) -> Command {
        let mut command = self.member_program(user, &self.program);
        command.args(arguments.split_whitespace());
        command
    }

    /// The same where `/proc` hides the processes of other users.
    fn member_who_sees_nobody(&self, user: u32, arguments: &str) -> Command {
        let member = self.member(user, arguments);
        let script = "mount -t proc -o hidepid=2 proc /proc && exec \"$0\" \"$@\"";
        let mut command = self.scene.world.program("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.args(member.get_args()).env("LOCKCTL_STORE", self.store());
        command
    }

    pub(super) fn store(&self) -> String {
        format!("sqlite:{}", self.scene.path("shared/locks.db").display())
    }

    /// What is said when root does this, which ends so.
    #[track_caller]
    pub(super) fn by_root(&self, arguments: &str, status: i32) -> String {
        self.scene.assert_ends(&format!("--store {} {arguments}", self.store()), status)
    }

    pub(super) fn list(&self) -> List {
        List::of(&mut self.member(1002, "list --json"))
    }

    fn ask(&self, user: u32, options: &str) -> Running {
        let mut command = self.member(user, &format!("run {options}"));
        self.scene.start(command.args(["--", "sh", "-c", UNTIL_EOF]))
    }
}

#[test]
fn the_members_of_the_group_exclude_each_other() {
    let Some(users) = Users::new() else { return };
    for (name, mode) in [("shared", 0o2770), ("shared/locks.db", 0o660)] {
        let metadata = fs::metadata(users.scene.path(name)).unwrap();
        assert_eq!(metadata.gid(), users.group_id, "{name}");
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
    }

    let ann = users.ask(1001, "--task ann -l one");
    ann.command_pid();
    let mut bob = users.ask(1002, "--task bob -l one");
    bob.says("waiting for one: held by ann (pid ");
    // He sees that she lives, though he may not signal her processes.
    let list = users.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["ann".into()], vec!["bob".into()]));
    assert_eq!(list.entry("ann")["state"], "alive");

    let mut other = users.program(1003, "--clear-groups", &users.program);
    let output = other.args(["run", "-l", "one", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("shared"), "{}", stderr(&output));

    ann.kill_all();
    bob.command_pid();
    let mut ann = users.ask(1001, "--task ann -l one");
    poll("she waits for him", || ann.err().contains("held by bob").then_some(()));
    bob.end();
    ann.command_pid();
    ann.end();
    assert!(users.list().is_empty());
}

#[test]
fn nobody_ends_what_belongs_to_others_save_root() {
    let Some(users) = Users::new() else { return };
    let mut ann = users.ask(1001, "--task ann -l one");
    ann.command_pid();
    let text = r#""$0" acquire --pid $$ --task script -l two || exit; echo $$; exec cat"#;
    let mut script = users.member_program(1001, "sh");
    let mut script = users.scene.start(script.args(["-c", text]).arg(&users.program));
    let pid = script.command_pid().as_raw_pid();

    for task in ["ann", "script"] {
        let output = users.member(1002, &format!("kill --task {task}")).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains(&format!("{task} belongs to another user (pid ")), "{message}");
    }
    let output = users.member(1002, &format!("release --pid {pid}")).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    assert_eq!(users.list().holders(), ["ann", "script"]);

    let output = users.member(1001, &format!("release --pid {pid}")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    users.by_root("kill --task ann", 0);
    ann.wait();
    assert!(users.list().is_empty());
    script.end();
}

#[test]
fn whose_processes_are_hidden_is_told_by_why_and_not_ended() {
    let Some(users) = Users::new() else { return };
    if !has_pid_namespaces() {
        return;
    }
    let mut ann = users.ask(1001, "--task ann -l one --lease 45s");
    let command = ann.command_pid();
    let pid = command.as_raw_pid();
    let decides =
        "    if it has died, its lock is free when its lease of 45 s has been seen to end";
    let seen = users.member(1002, "why one");
    let hidden = users.member_who_sees_nobody(1002, "why one");
    for (mut why, state, is_hidden) in [(seen, "alive", false), (hidden, "unknown", true)] {
        let output = why.output().unwrap();
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(75), "{text}{}", stderr(&output));
        let line = text.lines().nth(2).unwrap_or_default();
        assert!(line.starts_with(&format!("  ann holds it (pid {pid} on ")), "{text}");
        assert_eq!(line.contains(", cannot be seen from here, "), is_hidden, "{text}");
        assert_eq!(text.lines().any(|line| line == decides), is_hidden, "{text}");
        let found: Value =
            serde_json::from_str(&stdout(&why.arg("--json").output().unwrap())).unwrap();
        assert_eq!(found["conditions"][0]["blockers"][0]["state"], state);
    }
    let output = users.member_who_sees_nobody(1002, "kill --task ann").output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let refusal = "ann has processes that cannot be seen from here: nothing was done";
    assert!(stderr(&output).contains(refusal), "{}", stderr(&output));
    assert!(!is_dead(command));
    assert_eq!(users.list().holders(), ["ann"]);
    ann.end();
    assert!(users.list().is_empty());
}
