//! What the tests stand on: a home of their own, started processes, and polling.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::store::Store;

/// The program that is tested.
pub(crate) const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");

/// How long to wait for what has to happen: so long only if it does not.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user's world: a home directory, and nothing of the machine's settings.
pub(crate) struct World {
    pub(crate) store: Store,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        World { store: Store::new(dir.path()), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in this world, in a session of its own: a test must not depend on having a terminal.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new("setsid");
        self.furnish(&mut command);
        command.arg(program);
        command
    }

    /// Gives a command the environment of this world.
    pub(crate) fn furnish(&self, command: &mut Command) {
        command
            .env("HOME", self.dir.path())
            .env("LOCKCTL_STORE", self.store.url())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("LOCKCTL_NAMESPACE")
            .env_remove("SUDO_UID")
            .env("LOCKCTL", LOCKCTL)
            .current_dir(self.dir.path());
        // That of a server would be the whole host's.
        if self.store.url().starts_with("sqlite:") {
            command.env_remove("LOCKCTL_JOURNAL");
        } else {
            command.env("LOCKCTL_JOURNAL", self.journal());
        }
    }

    /// The journal of this world.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path("locks.db-history.jsonl")
    }

    /// `lockctl run` with these arguments.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.program(LOCKCTL);
        command.arg("run").args(arguments);
        command
    }

    /// `lockctl run` with these arguments, under a lock that nobody else wants.
    pub(crate) fn run_job<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = self.run(["--lock", "job"]);
        command.args(arguments);
        command
    }

    /// `lockctl run --task job -- sh -c SCRIPT`.
    pub(crate) fn run_script(&self, script: &str) -> Command {
        self.run_job(["--task", "job", "--", "sh", "-c", script])
    }
}

/// A started process whose stdout is read line by line; it is killed when it is dropped.
pub(crate) struct Started {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    stderr: PathBuf,
}

impl Started {
    pub(crate) fn new(world: &World, command: &mut Command) -> Self {
        let stderr = world.path("stderr");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Started { child, lines, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line, which is a process id.
    pub(crate) fn pid_line(&mut self) -> Pid {
        let line = self.line();
        Pid::from_raw(line.parse().unwrap_or_else(|_| panic!("no pid: {line:?}"))).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll("the process ends", || self.child.try_wait().unwrap())
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A process's state as /proc tells it (`R`, `S`, `T`, `Z` …); `None` when it is gone.
pub(crate) fn state(pid: Pid) -> Option<char> {
    Some(procfs::process::Process::new(pid.as_raw_pid()).ok()?.stat().ok()?.state)
}

/// Whether a process is gone, or only waits for its parent to notice.
pub(crate) fn is_dead(pid: Pid) -> bool {
    state(pid).is_none_or(|state| state == 'Z')
}

/// The status as shells count it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a file has something in it, and reads it.
pub(crate) fn content(path: &Path) -> String {
    poll("a file is written", || fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')))
}
