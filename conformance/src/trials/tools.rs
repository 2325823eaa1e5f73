//! What trials need of the system: tools, other users, namespaces, and clients that cannot act.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use lock_core::process::ProcessSet;
use lock_core::testing::{Faults, FaultyBackend};
use lock_core::{BlockingGuard, Locks, LocksBuilder, Reach, Request};
use rustix::process::{Pid, Signal};

use crate::scene::{LIVENESS, Scene};
use crate::trial::Failure;
use crate::worker::{Order, Report, Worker};

/// A user, and a group, without any rights.
pub(super) const NOBODY: u32 = 65534;

/// Skips the trial where one of these programs is not installed.
pub(crate) fn needs(programs: &[&str]) -> Result<(), Failure> {
    match programs.iter().find(|program| !is_installed(program)) {
        Some(program) => Err(Failure::missing(format!("the program `{program}`"))),
        None => Ok(()),
    }
}

/// Whether a program is found where programs are.
pub(super) fn is_installed(program: &str) -> bool {
    let places = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&places).any(|place| place.join(program).is_file())
}

/// Skips the trial where processes cannot become another user's.
pub(super) fn needs_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::missing("the right to act as another user, which root has"))
}

/// Skips the trial where no namespaces of these kinds, options of `unshare`, can be made.
pub(super) fn needs_namespaces(kinds: &[&str]) -> Result<(), Failure> {
    needs(&["unshare", "nsenter", "mount", "kill"])?;
    let tried = Command::new("unshare").args(kinds).arg("true").output()?;
    if tried.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    Err(Failure::missing(format!("the right to make namespaces ({why})")))
}

/// This binary where other users can start it.
pub(super) struct Copy {
    _folder: tempfile::TempDir,
    pub(super) path: String,
}

impl Copy {
    pub(super) fn make() -> Result<Self, Failure> {
        let mode = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(mode).tempdir()?;
        let path = folder.path().join("conformance");
        // By a process of its own: a descriptor that is open for writing could be inherited by a
        // child of another trial, and "text file busy" be the end of this one.
        let source = env::current_exe()?;
        let copied = Command::new("install").args(["-m", "755"]).arg(source).arg(&path).status()?;
        assert!(copied.success(), "{copied}");
        Ok(Self { _folder: folder, path: path.display().to_string() })
    }

    /// The command that starts it as nobody, instead of what is named after it.
    pub(super) fn as_nobody(&self) -> Vec<String> {
        let words = if is_installed("sudo") {
            let [user, group] = [format!("#{NOBODY}"), format!("#{NOBODY}")];
            vec!["sudo".into(), "-n".into(), "-E".into(), "-u".into(), user, "-g".into(), group]
        } else {
            let [user, group] = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            vec!["setpriv".into(), user, group, "--clear-groups".into()]
        };
        words.into_iter().chain(["--".into(), self.path.clone()]).collect()
    }
}

/// Namespaces that outlive those who come and go in them. Everybody in them ends with it.
#[derive(Debug)]
pub(crate) struct Room {
    keeper: Child,
    inside: u32,
    kinds: Vec<String>,
}

impl Room {
    /// Makes namespaces of these kinds, options of `unshare`, and prepares them by a script.
    pub(crate) fn open(kinds: &[&str], script: &str) -> Result<Self, Failure> {
        needs_namespaces(kinds)?;
        let mut keeper = Command::new("unshare")
            .args(kinds)
            .args(["--fork", "--kill-child", "sh", "-ec"])
            .arg(format!("{script}\necho ready\nexec cat"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = keeper.stdout.as_mut().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        let id = keeper.id();
        let inside = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let inside = inside.trim().parse().map_err(|_| Failure::failed("the room is empty"))?;
        assert_eq!(line.trim(), "ready", "the room cannot be prepared");
        let kinds = kinds.iter().filter(|kind| **kind != "--mount-proc");
        let mut kinds: Vec<String> = kinds.map(ToString::to_string).collect();
        kinds.push("--mount".into());
        Ok(Self { keeper, inside, kinds })
    }

    /// The command that starts another one in there.
    pub(crate) fn enter(&self) -> Vec<String> {
        let mut words = vec!["nsenter".into(), format!("--target={}", self.inside)];
        words.extend(self.kinds.iter().cloned());
        words.push("--".into());
        words
    }

    /// A file of `/proc` about a process that is in there.
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.inside))
    }

    /// Runs a script in there.
    pub(crate) fn run(&self, script: &str) -> Result<(), Failure> {
        let words = self.enter();
        let done =
            Command::new(&words[0]).args(&words[1..]).args(["sh", "-ec", script]).output()?;
        if done.status.success() {
            return Ok(());
        }
        Err(Failure::failed(format!("{script}: {}", String::from_utf8_lossy(&done.stderr))))
    }

    /// Sends a signal to a process in there, by the id that it has there.
    pub(crate) fn signal(&self, signal: &str, pid: u32) -> Result<(), Failure> {
        self.run(&format!("kill -{signal} {pid}"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A process of no use, until its input ends or it is killed.
pub(super) struct Idler {
    pub(super) child: Child,
    pub(super) input: Option<ChildStdin>,
}

impl Idler {
    pub(super) fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that holds locks as these processes do, and has not reached the store since.
pub(super) struct Ghost {
    pub(super) guard: BlockingGuard,
    _locks: Locks,
    pub(super) faults: Faults,
}

impl Ghost {
    pub(super) fn haunt(
        scene: &Scene,
        processes: ProcessSet,
        lease: Duration,
        request: impl Into<Request>,
    ) -> Result<Self, Failure> {
        let (builder, faults) = reaching(scene, Reach::Network)?;
        let builder = builder.name("ghost").processes(processes).lease(lease);
        let locks = builder.store_patience(Duration::from_secs(1)).build();
        let guard = locks.blocking().task("ghost").acquire(request)?;
        faults.set_unavailable(true);
        Ok(Self { guard, _locks: locks, faults })
    }
}

/// A client to order, of this store as if it had that reach.
pub(super) fn reaching(scene: &Scene, reach: Reach) -> Result<(LocksBuilder, Faults), Failure> {
    let backend = FaultyBackend::new(scene.backend()?).with_reach(reach);
    let faults = backend.faults();
    Ok((Locks::builder(backend), faults))
}

/// Kills a process of this pid namespace.
pub(super) fn kill(pid: u32) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the pid of a worker");
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}

/// Polls a condition that must come true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIVENESS;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asserts that a worker still holds what it was granted.
pub(super) fn holds(worker: &mut Worker, key: u64) -> Result<(), Failure> {
    for order in [Order::Verify(key), Order::Check(key)] {
        let report = worker.call(order.clone())?;
        assert_eq!(report, Report::Done, "{order:?}");
    }
    Ok(())
}

/// Asserts that a worker is refused a lock because others have it.
pub(super) fn is_busy(worker: &mut Worker, lock: &str) -> Result<(), Failure> {
    let asked = worker.ask(lock, Some(Duration::ZERO))?;
    match worker.report(asked)? {
        Report::Refused { kind, .. } if kind == "Busy" => Ok(()),
        other => Err(Failure::failed(format!("{lock} is not busy: {other:?}"))),
    }
}
