//! The exit statuses of `lockctl`: which there are, and how the end of a child becomes the end of `lockctl`.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use rustix::process::{Resource, Rlimit, WaitStatus, getpid, setrlimit};
use signal_hook::low_level::emulate_default_handler;

/// How `lockctl` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well (0), or CMD ended by itself with this status.
    Status(u8),
    /// This signal ended CMD: `lockctl` ends by the same one, so that a shell sees 128+N and stops a script on Ctrl-C.
    Signal(i32),
    /// The command line is wrong (64, `EX_USAGE`).
    Usage,
    /// The store cannot be reached (69, `EX_UNAVAILABLE`).
    Unreachable,
    /// The system refused something that `lockctl` needs, such as a new process (71, `EX_OSERR`).
    System,
    /// A lock was lost, and CMD was ended for it (74, `EX_IOERR`).
    Lost,
    /// The locks are busy, or were for as long as was to be waited (75, `EX_TEMPFAIL`; `-E` makes it another `Status`).
    Busy,
    /// What was asked for is refused, and nothing was done (77, `EX_NOPERM`).
    Refused,
    /// The configuration is bad, or the store unreadable (78, `EX_CONFIG`).
    Config,
    /// CMD was found, and cannot be executed (126).
    NotExecutable,
    /// CMD was not found (127).
    NotFound,
}

impl Exit {
    /// The end of a child as that of `lockctl`.
    pub(crate) fn of_child(status: WaitStatus) -> Self {
        Self::of_process(ExitStatus::from_raw(status.as_raw()))
    }

    /// The same, as the standard library has it.
    pub(crate) fn of_process(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Status(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::System,
        }
    }

    /// Ends the process in this way, if it is by a signal; else says with which status `main` returns.
    ///
    /// Nothing after it runs and nothing is dropped: give back the locks before.
    pub(crate) fn finish(self) -> ExitCode {
        if let Exit::Signal(signal) = self {
            // The core of interest is CMD's, not this one; where the limit cannot be set, one file more is no harm.
            let none = Rlimit { current: Some(0), maximum: Some(0) };
            let _ = setrlimit(Resource::Core, none);
            // The first process of a container cannot end so, since the kernel spares it what it sends itself. And it
            // fails for a signal that it does not know, such as a real-time one: then the status below tells.
            if !getpid().is_init() {
                let _ = emulate_default_handler(signal);
            }
        }
        ExitCode::from(self.code())
    }

    /// The status as a number; of a signal what a shell makes of it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Status(code) => code,
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Exit::Usage => 64,
            Exit::Unreachable => 69,
            Exit::System => 71,
            Exit::Lost => 74,
            Exit::Busy => 75,
            Exit::Refused => 77,
            Exit::Config => 78,
            Exit::NotExecutable => 126,
            Exit::NotFound => 127,
        }
    }
}
