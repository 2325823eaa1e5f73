//! Children that are ended with their test, and short forms of probing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::Reach;
use lock_core::process::{Liveness, Place, Process, ProcessGroup, ProcessSet};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// A child; its pipes are open until it is told to end, and it is killed with its test.
pub(crate) struct Running {
    child: Child,
    id: Process,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command with pipes as its input and output.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let id = Process::find(child.id()).expect("a child that is not reaped");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, id, stdout }
    }

    /// A child that does nothing until its input ends.
    pub(crate) fn waiting() -> Self {
        Self::start(&mut Command::new("cat"))
    }

    pub(crate) fn id(&self) -> Process {
        self.id
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the child has ended or stopped, without reaping it.
    pub(crate) fn await_state(&self, options: WaitIdOptions) {
        let id = WaitId::Pid(Pid::from_child(&self.child));
        waitid(id, options | WaitIdOptions::NOWAIT).unwrap();
    }

    /// Ends the input of the child and of whoever it left it to.
    pub(crate) fn end(&mut self) {
        self.child.stdin = None;
    }

    pub(crate) fn reap(&mut self) {
        // `Child::wait` would end the input, too.
        let stdin = self.child.stdin.take();
        self.child.wait().unwrap();
        self.child.stdin = stdin;
    }

    /// The state of the main thread, as `/proc` has it.
    pub(crate) fn state(&self) -> char {
        let pid = i32::try_from(self.id.pid).unwrap();
        procfs::process::Process::new(pid).unwrap().stat().unwrap().state
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Does nothing to a child that is reaped already.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn process(process: Process) -> Liveness {
    ProcessSet { place: Place::here(), processes: vec![process], groups: vec![] }
        .probe(Reach::Network)
}

pub(crate) fn group(group: ProcessGroup) -> Liveness {
    ProcessSet { place: Place::here(), processes: vec![], groups: vec![group] }
        .probe(Reach::Network)
}

/// Polls a condition that must come true.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "did not come true within a minute");
        thread::sleep(Duration::from_millis(1));
    }
}
