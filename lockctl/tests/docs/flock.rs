//! What `docs/coming-from-flock.md` says of `flock` in its table, and no command of the page shows.

use std::{
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn flock(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("flock");
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn is_free(&self) -> bool {
        self.flock(&["-n", "lock", "true"]).status().unwrap().success()
    }

    /// Starts it, and waits until it has done so much that this file is there.
    fn start(&self, arguments: &[&str], file: &str) -> Child {
        let child = self.flock(arguments).spawn().unwrap();
        until(|| self.path(file).exists());
        child
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.0.path(), name)
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "it never was so");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A command that says that it has begun, and ends when it is told to.
const COMMAND: &str = "touch begun; while ! [ -e end ]; do sleep 0.05; done; touch ended";

#[test]
fn killed_or_terminated_it_leaves_the_command_and_its_lock() {
    for signal in ["-KILL", "-TERM"] {
        let scratch = Scratch::new();
        let mut flock = scratch.start(&["lock", "sh", "-c", COMMAND], "begun");
        let pid = flock.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        flock.wait().unwrap();
        assert!(!scratch.is_free(), "{signal}");
        std::fs::write(scratch.path("end"), "").unwrap();
        until(|| scratch.path("ended").exists());
        until(|| scratch.is_free());
    }
}

#[test]
fn a_background_process_of_the_command_keeps_the_lock() {
    let scratch = Scratch::new();
    let script = format!("({COMMAND}) & while ! [ -e begun ]; do sleep 0.05; done");
    assert!(scratch.flock(&["lock", "sh", "-c", &script]).status().unwrap().success());
    assert!(!scratch.is_free());
    std::fs::write(scratch.path("end"), "").unwrap();
    until(|| scratch.is_free());
}

#[test]
fn who_shares_passes_by_who_waits_to_have_it_alone() {
    let scratch = Scratch::new();
    let mut reader = scratch.start(&["-s", "lock", "sh", "-c", COMMAND], "begun");
    let mut writer = scratch.flock(&["lock", "true"]).spawn().unwrap();
    // It waits: the kernel says so.
    until(|| {
        let stack = std::fs::read_to_string(format!("/proc/{}/wchan", writer.id()));
        let syscall = std::fs::read_to_string(format!("/proc/{}/stat", writer.id()));
        stack.is_ok_and(|name| name.contains("lock"))
            || syscall.is_ok_and(|stat| stat.contains(") S "))
    });
    assert!(scratch.flock(&["-n", "-s", "lock", "true"]).status().unwrap().success());
    std::fs::write(scratch.path("end"), "").unwrap();
    assert!(reader.wait().unwrap().success() && writer.wait().unwrap().success());
}

#[test]
fn busy_and_late_are_1_unless_another_status_is_wanted() {
    let scratch = Scratch::new();
    let mut holder = scratch.start(&["lock", "sh", "-c", COMMAND], "begun");
    for (arguments, status) in [
        (&["-n", "lock", "true"][..], 1),
        (&["-w", "0.1", "lock", "true"], 1),
        (&["-n", "-E", "75", "lock", "true"], 75),
    ] {
        let output = scratch.flock(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        // Nor does it say why.
        assert!(output.stderr.is_empty() && output.stdout.is_empty());
    }
    std::fs::write(scratch.path("end"), "").unwrap();
    holder.wait().unwrap();
}
