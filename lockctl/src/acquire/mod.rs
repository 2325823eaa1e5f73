//! `lockctl acquire`: locks for a process that runs already, which a small process keeps for it.
//!
//! The process that stays behind is `lockctl` itself, executed again with one option more. It asks for
//! the locks, and tells on its stdout when they are granted; then it lets go of everything that it
//! inherited.
//!
//! The table names who counts. Until the grant that is the process that asks: if it is killed, nobody
//! could take the locks over any more, so the request has to go. From the grant on it is PID and nobody
//! else: killing the one that stays behind frees nothing under PID's feet, and one that is paused keeps
//! nothing when PID has ended.

mod background;
mod release;

use std::{
    env,
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use lock_core::{
    BackendError, RequestError,
    process::{Process, ProcessSet},
    table::ClientView,
};

pub(crate) use background::keep;
pub(crate) use release::release;

use crate::{
    cli::{self, Print},
    exit::Exit,
    keeper::LockError,
    notice,
};

/// The hidden option that makes `lockctl acquire` the process that stays behind.
pub(crate) const KEEPER_OPTION: &str = "keeper-since";

/// How the client of such a process is called in the table: so `release` finds it.
const CLIENT_PREFIX: &str = "lockctl-keeper";

/// Why locks are not acquired for a process.
#[derive(Debug, thiserror::Error)]
enum AcquireForError {
    #[error("there is no process {0}, or it cannot be seen")]
    NoProcess(u32),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Grace(#[from] crate::run::GraceError),
    #[error(transparent)]
    Open(#[from] BackendError),
    #[error("cannot {doing}")]
    System { doing: &'static str, source: std::io::Error },
}

impl AcquireForError {
    fn exit(self) -> Exit {
        match self {
            Self::NoProcess(_) | Self::Request(_) | Self::Grace(_) => Exit::Usage,
            Self::Open(error) => LockError::Open(error).exit(),
            Self::System { .. } => Exit::System,
        }
    }
}

/// Takes the locks for the process, and says how `lockctl` has to end.
pub(crate) fn acquire(options: &cli::Acquire) -> Exit {
    in_background(options).unwrap_or_else(|error| {
        notice::say_error(&error);
        error.exit()
    })
}

fn in_background(options: &cli::Acquire) -> Result<Exit, AcquireForError> {
    options.asking.locks.request().locks()?;
    let holder = Process::find(options.pid).ok_or(AcquireForError::NoProcess(options.pid))?;
    let failed = |doing| move |source| AcquireForError::System { doing, source };
    let mut keeper = Command::new("/proc/self/exe");
    let arguments = env::args_os().skip(1).filter(|argument| argument != "--");
    keeper.arg0("lockctl").args(arguments).arg(format!("--{KEEPER_OPTION}={}", holder.start));
    // The end of its stdin tells it that this process is gone.
    let mut keeper = keeper
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed("start a process that keeps the locks"))?;
    let mut told = String::new();
    if let Some(mut stdout) = keeper.stdout.take() {
        stdout.read_to_string(&mut told).map_err(failed("hear whether the locks are granted"))?;
    }
    if let Some((fence, task)) = told.trim_end().split_once(' ') {
        let print = options.print.map(|print| match print {
            Print::Fence => fence,
            Print::TaskId => task,
        });
        if let Some(text) = print {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        return Ok(Exit::Status(0));
    }
    let status = keeper.wait().map_err(failed("wait for the process that asks for the locks"))?;
    Ok(Exit::of_process(status))
}

/// What the client of a process that keeps locks for another is called.
fn client_name(keeper: Process) -> String {
    format!("{CLIENT_PREFIX}-{}-{}", keeper.pid, keeper.start)
}

/// The process that keeps the locks of this client for another one, if it is such a client.
pub(crate) fn keeper_of(client: &ClientView) -> Option<Process> {
    let (pid, start) =
        client.name.strip_prefix(CLIENT_PREFIX)?.strip_prefix('-')?.split_once('-')?;
    Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

/// This process alone, of this place.
fn only(process: Process) -> ProcessSet {
    ProcessSet { processes: vec![process], ..ProcessSet::current() }
}
