//! One store for several users: those of its group exclude each other, others have no access.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

use crate::{
    scene::{List, Running, Scene, UNTIL_EOF, skip},
    world::{LOCKCTL, poll, stderr},
};

/// A group that exists wherever this runs; who is in it is said with each process.
const GROUP: &str = "adm";

/// Two users with one group, and one without it; none of them is root.
struct Users {
    scene: Scene,
    group_id: u32,
    program: PathBuf,
}

impl Users {
    /// None where this process may not be others.
    fn new() -> Option<Self> {
        let group = nix::unistd::Group::from_name(GROUP).unwrap();
        let Some(group) = group.filter(|_| rustix::process::geteuid().is_root()) else {
            skip(&format!("it takes root and the group {GROUP} to be several users"));
            return None;
        };
        let scene = Scene::new();
        let open =
            |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        open(scene.path("."), 0o755).unwrap();
        // They may not be allowed to go where it was built.
        let program = scene.path("lockctl");
        fs::copy(LOCKCTL, &program).unwrap();
        open(program.clone(), 0o755).unwrap();
        Some(Users { scene, group_id: group.gid.as_raw(), program })
    }

    fn lockctl(&self, user: u32, groups: &str, arguments: &str) -> Command {
        let mut command = self.scene.world.program("setpriv");
        let id = user.to_string();
        command.args(["--reuid", &id, "--regid", &id, groups]).arg(&self.program);
        command.env("LOCKCTL_STORE", self.store()).args(arguments.split_whitespace());
        command
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.scene.path("shared/locks.db").display())
    }

    fn member(&self, user: u32, arguments: &str) -> Command {
        self.lockctl(user, &format!("--groups={}", self.group_id), arguments)
    }

    fn ask(&self, user: u32, options: &str) -> Running {
        let mut command = self.member(user, &format!("run {options}"));
        self.scene.start(command.args(["--", "sh", "-c", UNTIL_EOF]))
    }
}

#[test]
fn the_members_of_the_group_exclude_each_other() {
    let Some(users) = Users::new() else { return };
    let mut init = users.scene.lockctl(&format!("--store {} init --group {GROUP}", users.store()));
    let output = init.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
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
    let list = List::of(&mut users.member(1002, "list --json"));
    assert_eq!((list.holders(), list.waiting()), (vec!["ann".into()], vec!["bob".into()]));
    assert_eq!(list.entry("ann")["state"], "alive");

    let output = users.lockctl(1003, "--clear-groups", "run -l one -- true").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("shared"), "{}", stderr(&output));

    ann.kill_all();
    bob.command_pid();
    let mut ann = users.ask(1001, "--task ann -l one");
    poll("she waits for him", || ann.err().contains("held by bob").then_some(()));
    bob.end();
    ann.command_pid();
    ann.end();
    assert!(List::of(&mut users.member(1001, "list --json")).is_empty());
}

#[test]
fn nobody_ends_what_belongs_to_others_save_root() {
    let Some(users) = Users::new() else { return };
    let mut init = users.scene.lockctl(&format!("--store {} init --group {GROUP}", users.store()));
    assert_eq!(init.output().unwrap().status.code(), Some(0));
    let mut ann = users.ask(1001, "--task ann -l one");
    ann.command_pid();
    let mut script = users.scene.world.program("setpriv");
    let groups = format!("--groups={}", users.group_id);
    script.args(["--reuid", "1001", "--regid", "1001", &groups, "sh", "-c"]);
    let text = r#""$0" acquire --pid $$ --task script -l two || exit; echo $$; exec cat"#;
    script.arg(text).arg(&users.program).env("LOCKCTL_STORE", users.store());
    let mut script = users.scene.start(&mut script);
    let pid = script.command_pid().as_raw_pid();

    for task in ["ann", "script"] {
        let output = users.member(1002, &format!("kill --task {task}")).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains(&format!("{task} belongs to another user (pid ")), "{message}");
    }
    let output = users.member(1002, &format!("release --pid {pid}")).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let list = List::of(&mut users.member(1002, "list --json"));
    assert_eq!(list.holders(), ["ann", "script"]);

    let output = users.member(1001, &format!("release --pid {pid}")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let store = users.store();
    users.scene.assert_ends(&format!("--store {store} kill --task ann"), 0);
    ann.wait();
    assert!(List::of(&mut users.member(1001, "list --json")).is_empty());
    script.end();
}
