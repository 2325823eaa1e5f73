//! A server's process, and the shell that ends it when whoever started it is gone.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Runs a server and kills it when the pipe from whoever started it is closed: by a drop, or by any
/// death of that process.
///
/// A Ctrl-C in the terminal is for that process, and not for the guard, which is in a group of its own.
/// If nobody says `keep`, the server will not come back, and its files go too.
const GUARD: &str = r#"
directory=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
echo $!
read -r word <&3
kill -9 $!; wait $! 2>/dev/null
[ "$word" = keep ] || rm -rf "$directory"
"#;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    guard: Child,
    pub(crate) pid: Pid,
}

impl Running {
    /// Starts a server whose files are in a directory; it says what it says to `console`.
    pub(crate) fn start(server: &Command, directory: &Path, console: File) -> Result<Self, Error> {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(directory)
            .arg(server.get_program())
            .args(server.get_args())
            .envs(server.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(console)
            .process_group(0)
            .spawn()
            .map_err(Error::io("run", "sh"))?;
        let mut line = String::new();
        let mut said = BufReader::new(guard.stdout.take().expect("it is piped"));
        said.read_line(&mut line).map_err(Error::io("run", "sh"))?;
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| {
            Error::Program { program: "sh".into(), said: format!("no process: {line}") }
        })?;
        Ok(Self { guard, pid })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    /// Whether its process is there.
    pub(crate) fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.pid.as_raw_nonzero())).exists()
    }

    /// Ends it by `SIGKILL`; its files stay.
    pub(crate) fn kill(mut self, log: &Path) -> Result<(), Error> {
        // A server that was stopped is killed all the same; the guard then sees its end.
        self.signal(Signal::KILL);
        if let Some(mut pipe) = self.guard.stdin.take() {
            let _ = pipe.write_all(b"keep\n");
        }
        self.guard.wait().map(drop).map_err(Error::io("end", log))
    }
}
