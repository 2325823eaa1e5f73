//! What the tests of locks stand on: runs that last until they are let go, and what the list says of them.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::world::{LOCKCTL, World, poll, stderr, stdout};

/// Says its pid, and ends when its stdin does.
pub(crate) const UNTIL_EOF: &str = "echo $$; exec cat";

/// Leaves out a test for what this machine lacks; where `CI` is `true` nothing is left out.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(!lock_servers::is_ci(), "it cannot be tested here: {why}");
    eprintln!("skipped: {why}");
}

/// Whether this process may have pid namespaces.
#[track_caller]
pub(crate) fn has_pid_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        skip("it takes root, and pid namespaces");
    }
    can
}

/// A world whose store is used by many.
pub(crate) struct Scene {
    pub(crate) world: World,
    started: AtomicUsize,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Scene { world: World::new(), started: AtomicUsize::new(0) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// `lockctl` with these arguments, separated by blanks.
    pub(crate) fn lockctl(&self, arguments: &str) -> Command {
        // What runs the tests may ignore signals, as nohup and a shell's background do.
        let mut command = self.world.program("env");
        command.args(["--default-signal", LOCKCTL]).args(arguments.split_whitespace());
        command
    }

    /// A program that runs on a host of this name, as far as the store can tell: no process of it can be seen from
    /// here. None where this process may not have namespaces.
    #[track_caller]
    pub(crate) fn on_host(&self, host: &str, program: &str) -> Option<Command> {
        const SCRIPT: &str = r#"echo "$0" >/proc/sys/kernel/hostname &&
            mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@""#;
        let boot = self.path("boot_id");
        fs::write(&boot, "that of another host\n").unwrap();
        let inside = |program: &str| {
            let mut command = self.world.program("unshare");
            command.args(["--uts", "--mount", "sh", "-c", SCRIPT, host]).arg(&boot).arg(program);
            command
        };
        if !inside("true").output().is_ok_and(|output| output.status.success()) {
            skip("it takes root, and namespaces of host names and mounts");
            return None;
        }
        Some(inside(program))
    }

    /// What `lockctl` with these arguments comes to.
    pub(crate) fn output(&self, arguments: &str) -> Output {
        self.lockctl(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What `lockctl run OPTIONS -- sh -c SCRIPT` comes to.
    pub(crate) fn script(&self, options: &str, script: &str) -> Output {
        self.script_command(options, script).stdin(Stdio::null()).output().unwrap()
    }

    /// `lockctl run OPTIONS -- sh -c SCRIPT`, to be started.
    pub(crate) fn script_command(&self, options: &str, script: &str) -> Command {
        let mut command = self.lockctl(&format!("run {options}"));
        command.args(["--", "sh", "-c", script]);
        command
    }

    /// Starts a command that knows where to leave what it prints.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|name| self.path(&format!("{name}-{number}")));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Running { child, stdin, out, err }
    }

    /// Starts `lockctl run OPTIONS -- sh -c SCRIPT`.
    pub(crate) fn start_script(&self, options: &str, script: &str) -> Running {
        self.start(&mut self.script_command(options, script))
    }

    /// Starts a run that holds its locks until it is let go; it may have to wait for them.
    pub(crate) fn ask(&self, options: &str) -> Running {
        self.start_script(options, UNTIL_EOF)
    }

    /// The same, and waits until it holds them.
    pub(crate) fn hold(&self, options: &str) -> Running {
        let run = self.ask(options);
        run.command_pid();
        run
    }

    /// A run that asks, once it is known to be in the queue under this task's name.
    pub(crate) fn queue(&self, task: &str, options: &str) -> Running {
        let run = self.ask(&format!("--task {task} {options}"));
        self.until_waiting(task);
        run
    }

    /// Waits until a task is in the queue.
    #[track_caller]
    pub(crate) fn until_waiting(&self, task: &str) {
        poll(&format!("{task} waits"), || {
            self.list().waiting().contains(&task.to_owned()).then_some(())
        });
    }

    pub(crate) fn list(&self) -> List {
        List::of(&mut self.lockctl("list --json"))
    }

    #[track_caller]
    pub(crate) fn assert_free(&self) {
        let list = self.list();
        assert!(list.is_empty(), "{:#}", list.0);
    }

    /// Runs an option-only `lockctl run … true` and says how it ended, and what it said.
    #[track_caller]
    pub(crate) fn assert_ends(&self, arguments: &str, status: i32) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments}: {}", stderr(&output));
        stderr(&output)
    }
}

/// What `list --json` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List(pub(crate) Value);

impl List {
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        List(serde_json::from_str(&stdout(&output)).unwrap())
    }

    pub(crate) fn holds(&self) -> &[Value] {
        self.0["holds"].as_array().unwrap()
    }

    /// The names of the tasks that hold something.
    pub(crate) fn holders(&self) -> Vec<String> {
        names(&self.0["holds"])
    }

    /// The names of the tasks that wait, in the order of the queue.
    pub(crate) fn waiting(&self) -> Vec<String> {
        names(&self.0["waiting"])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holders().is_empty() && self.waiting().is_empty()
    }

    /// The hold of a task, or its place in the queue.
    #[track_caller]
    pub(crate) fn entry(&self, task: &str) -> &Value {
        let all = self.holds().iter().chain(self.0["waiting"].as_array().unwrap());
        all.into_iter().find(|entry| entry["task"] == task).expect("the task is listed")
    }
}

fn names(entries: &Value) -> Vec<String> {
    let name = |entry: &Value| entry["task"].as_str().unwrap().to_owned();
    entries.as_array().unwrap().iter().map(name).collect()
}

/// A started `lockctl`, or whatever else; it is killed when it is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// A line of stdout, counted from 0, once it is there.
    #[track_caller]
    pub(crate) fn line(&self, number: usize) -> String {
        poll("a line is printed", || {
            let text = self.out();
            let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
            whole.lines().nth(number).map(str::to_owned)
        })
    }

    #[track_caller]
    pub(crate) fn pid_line(&self, number: usize) -> Pid {
        Pid::from_raw(self.line(number).parse().unwrap()).unwrap()
    }

    /// The command's pid, which it prints first; so it runs, and the locks are held.
    #[track_caller]
    pub(crate) fn command_pid(&self) -> Pid {
        self.pid_line(0)
    }

    pub(crate) fn has_begun(&self) -> bool {
        !self.out().is_empty()
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        poll(&format!("{text:?} is said"), || self.err().contains(text).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills `lockctl`, and then the whole group of its command: the other way round it might see
    /// the command's end, and give back what the dead are to hold.
    pub(crate) fn kill_all(&self) {
        let group = self.command_pid();
        self.signal(Signal::KILL);
        match kill_process_group(group, Signal::KILL) {
            // The command was told by its parent's end, and somebody has reaped it.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a signal to `lockctl` and to the whole group of its command.
    pub(crate) fn signal_all(&self, signal: Signal) {
        let group = self.command_pid();
        // The group may be gone when lockctl has passed it on; lockctl stays until it is waited for.
        kill_process_group(group, signal).unwrap();
        self.signal(signal);
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll("the process ends", || self.child.try_wait().unwrap())
    }

    /// Writes to the stdin of the command.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.stdin.as_mut().expect("it was not let go").write_all(text.as_bytes()).unwrap();
    }

    /// Lets the command end.
    pub(crate) fn let_go(&mut self) {
        self.stdin = None;
    }

    /// Lets the command end, and sees that all went well.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        self.let_go();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {}", self.err());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}: {:?}", self.err.display(), fs::read_to_string(&self.err));
        }
    }
}
