//! The process of a server over its life, and the folder of its files.

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Error;
use crate::fetch::tail;
use crate::guard::Running;

/// How long a server may take to come up on a machine that is busy.
const START: Duration = Duration::from_mins(2);

/// A server that may be killed and come back; it ends with this value, and so do its files.
#[derive(Debug)]
pub(crate) struct Process {
    directory: TempDir,
    running: Mutex<Option<Running>>,
}

impl Process {
    /// One that does not run yet, with an empty folder.
    pub(crate) fn lay() -> Result<Self, Error> {
        // The path of a socket has little room.
        let directory = tempfile::Builder::new().prefix("lock").tempdir_in("/tmp");
        let directory = directory.map_err(Error::io("create a folder in", "/tmp"))?;
        Ok(Self { directory, running: Mutex::default() })
    }

    /// Starts it, and waits until it is ready; `name` is what it is called where it does not come up.
    pub(crate) fn start(
        &self,
        server: &Command,
        name: impl Display,
        is_ready: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let path = self.directory().join("console.log");
        let console = File::create(&path).map_err(Error::io("write", &path))?;
        let running = Running::start(server, self.directory(), console)?;
        *self.running() = Some(running);
        let deadline = Instant::now() + START;
        while !is_ready() {
            if !self.is_alive() || Instant::now() > deadline {
                self.kill()?;
                let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
                let said = tail(&(text(&self.log()) + &text(&path)));
                let said = format!("it does not come up: {said}");
                return Err(Error::Program { program: name.to_string(), said });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The folder of its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it writes about itself.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory().join("server.log")
    }

    /// Its id, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.running().as_ref().map(|running| running.pid.as_raw_nonzero().get())
    }

    /// Whether it runs, and has not ended by itself.
    pub(crate) fn is_alive(&self) -> bool {
        self.running().as_ref().is_some_and(Running::is_alive)
    }

    /// Ends it by `SIGKILL`.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.running().take().map_or(Ok(()), |running| running.kill(&self.log()))
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(running) = &*self.running() {
            running.signal(signal);
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
