//! Starting CMD: a shim first, which is there before the locks are taken, and CMD in its place after the grant.
//!
//! The shim is `lockctl` itself, executed again. So the process that will be CMD has its pid and
//! its group from the first moment, and can be named in the store together with the request. It
//! becomes CMD by `exec`, which needs neither `fork` nor `unsafe`.

mod channel;
mod log_file;
mod shim;

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use rustix::{
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, waitpid,
    },
    termios::tcgetpgrp,
};

pub(crate) use channel::EnvChange;
pub(crate) use log_file::{LogFileError, open as open_log_file};
pub(crate) use shim::run as run_shim;

use crate::{exit::Exit, group::group_of, store::STORE_VARIABLE};

/// The hidden command that makes `lockctl` the shim.
pub(crate) const SHIM_COMMAND: &str = "__shim";

/// Which process group CMD runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// One of its own, whose id is CMD's pid.
    Own,
    /// The one that `lockctl` is in, because it is a terminal's foreground: Ctrl-C, Ctrl-Z and reading
    /// from the terminal work as without `lockctl`.
    Terminal,
}

impl Grouping {
    /// That which fits where `lockctl` was started.
    pub(crate) fn here() -> Self {
        let foreground = File::open("/dev/tty").ok().and_then(|tty| tcgetpgrp(tty).ok());
        let is_ours = foreground.is_some() && foreground == group_of(None);
        if is_ours { Grouping::Terminal } else { Grouping::Own }
    }
}

/// Why CMD did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The system refused the shim.
    #[error("cannot start a process for {}", command.display())]
    Spawn {
        /// CMD.
        command: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// The shim was told to execute CMD, and could not.
    #[error("cannot execute {}", command.display())]
    Execute {
        /// CMD.
        command: OsString,
        /// What the system said.
        source: io::Error,
    },
}

impl LaunchError {
    /// How `lockctl` ends after it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            LaunchError::Spawn { .. } => Exit::System,
            LaunchError::Execute { source, .. } => exit_of(source),
        }
    }
}

/// What became of `exec`, in the statuses that shells use.
fn exit_of(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::NotExecutable }
}

/// A process that waits to become CMD; when it is dropped, the process ends without having become it.
#[derive(Debug)]
pub(crate) struct Shim {
    pid: Pid,
    grouping: Grouping,
    program: OsString,
    channel: OwnedFd,
    ended: Option<WaitStatus>,
}

impl Shim {
    /// Starts it; `log` gets CMD's stdout and stderr.
    ///
    /// Call it from the main thread: the parent-death signal is sent when the thread ends that started the shim.
    pub(crate) fn spawn(
        command: &[OsString],
        log: Option<&File>,
        grouping: Grouping,
    ) -> Result<Self, LaunchError> {
        let program = command.first().cloned().unwrap_or_default();
        spawn(command, log, grouping)
            .map(|(pid, channel)| Self {
                pid,
                grouping,
                program: program.clone(),
                channel,
                ended: None,
            })
            .map_err(|source| LaunchError::Spawn { command: program, source })
    }

    /// Its process id, which will be CMD's.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Which group it and CMD are in.
    pub(crate) fn grouping(&self) -> Grouping {
        self.grouping
    }

    /// Ends it before it became CMD, and waits until it is gone.
    pub(crate) fn withdraw(self) {
        // Once reaped, its pid may be another's.
        if self.ended.is_some() {
            return;
        }
        // KILL and not only the channel's end, for it may be stopped; a failure means that it is gone.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }

    /// How it ended, if it did by itself or by somebody's signal before it was started.
    pub(crate) fn ended(&mut self) -> Option<WaitStatus> {
        if self.ended.is_none() {
            let waited = waitpid(Some(self.pid), WaitOptions::NOHANG).ok().flatten();
            self.ended = waited.map(|(_, status)| status);
        }
        self.ended
    }

    /// Lets it become CMD, with lockctl's stdin and these changes to the environment.
    ///
    /// It does not wait for it: whether that failed is known when the child has ended.
    pub(crate) fn start(self, env: &[EnvChange]) -> Result<Started, LaunchError> {
        match channel::send_grant(&self.channel, env, io::stdin().as_fd()) {
            // Somebody killed the shim: the child's end will tell how.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent
                .map_err(|source| LaunchError::Execute { command: self.program.clone(), source })?,
        }
        Ok(Started { shim: self })
    }
}

/// A shim that was let go: it is CMD, or will be at once, or cannot be.
#[derive(Debug)]
pub(crate) struct Started {
    shim: Shim,
}

impl Started {
    /// CMD's process id.
    pub(crate) fn pid(&self) -> Pid {
        self.shim.pid
    }

    /// Which group CMD is in.
    pub(crate) fn grouping(&self) -> Grouping {
        self.shim.grouping
    }

    /// Why CMD could not be executed; asked when the child has ended.
    pub(crate) fn failure(&self) -> Option<LaunchError> {
        let source = channel::receive_failure(&self.shim.channel)?;
        Some(LaunchError::Execute { command: self.shim.program.clone(), source })
    }
}

fn spawn(
    command: &[OsString],
    log: Option<&File>,
    grouping: Grouping,
) -> io::Result<(Pid, OwnedFd)> {
    // Orphans of the run become our children: so their end is seen, and nobody else has to reap them.
    set_child_subreaper(Some(getpid()))?;
    let (ours, theirs) = channel::pair()?;
    let mut shim = Command::new("/proc/self/exe");
    // It may have a password in it, and CMD gets its own.
    shim.env_remove(STORE_VARIABLE);
    shim.arg0("lockctl").arg(SHIM_COMMAND).arg("--").args(command).stdin(Stdio::from(theirs));
    if let Some(log) = log {
        shim.stdout(log.try_clone()?).stderr(log.try_clone()?);
    }
    if grouping == Grouping::Own {
        shim.process_group(0);
    }
    // Waiting is done by pid, together with the orphans: std's handle is of no use.
    let id = shim.spawn()?.id();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    Ok((pid.ok_or(io::ErrorKind::InvalidData)?, ours))
}
