//! Learning of the end of one process at once, without polling.

use std::io;

use super::{Process, sys};

/// Waits for the end of one process of this place.
///
/// There is no such thing for a process group: watch the members that are known, and probe the
/// group from time to time. What it tells is a hint; probe again before acting on it.
#[derive(Debug)]
pub struct DeathWatch(sys::Exit);

/// Why the end of a process cannot be watched for.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch for the end of process {pid}; probe it from time to time instead")]
#[non_exhaustive]
pub struct WatchError {
    /// The id of the process.
    pub pid: u32,
    /// What the system said.
    pub source: io::Error,
}

impl DeathWatch {
    /// Starts to watch a process; it costs one file descriptor.
    ///
    /// # Errors
    ///
    /// The process is gone or cannot be seen, no file descriptor is left, or the system has no
    /// pidfd: other platforms than Linux, Linux before 5.3, some sandboxes.
    ///
    /// # Panics
    ///
    /// On Linux, outside of a tokio runtime whose IO driver is enabled.
    pub fn new(process: Process) -> Result<Self, WatchError> {
        match sys::Exit::open(process) {
            Ok(exit) => Ok(Self(exit)),
            Err(source) => Err(WatchError { pid: process.pid, source }),
        }
    }

    /// Resolves when all threads of the process have ended, reaped or not.
    ///
    /// Never resolves once the runtime that it was made in has shut down.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time, also by several tasks.
    pub async fn died(&self) {
        self.0.wait().await;
    }
}
