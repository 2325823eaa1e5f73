//! `lockctl run`: the order of things from the options to the exit status.

use std::{ffi::OsString, path::Path, process, sync::mpsc, time::Duration};

use crate::{
    cli,
    exit::Exit,
    launch::{self, EnvChange, Grouping, LaunchError, LogFileError, Shim},
    notice, signals,
    store::{Settings, SettingsError},
    supervise::{self, Watch},
};

/// The time between TERM and KILL unless somebody says otherwise.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Bad settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A log file that cannot be used.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// CMD did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
}

impl RunError {
    fn exit(&self) -> Exit {
        match self {
            RunError::Settings(_) | RunError::Log(_) => Exit::Config,
            RunError::Launch(error) => error.exit(),
            RunError::Signals(_) => Exit::System,
        }
    }
}

/// Runs the command, and says how `lockctl` has to end.
pub(crate) fn run(options: &cli::Run, settings: Result<Settings, SettingsError>) -> Exit {
    settings
        .map_err(RunError::from)
        .and_then(|settings| under_locks(options, &settings))
        .unwrap_or_else(|error| {
            notice::say_error(&error);
            error.exit()
        })
}

fn under_locks(options: &cli::Run, settings: &Settings) -> Result<Exit, RunError> {
    let task = options.task.clone().unwrap_or_else(|| default_name(&options.command));
    let watch = Watch {
        name: &task,
        kill_grace: options.kill_grace.or(settings.kill_grace).unwrap_or(KILL_GRACE),
        quiet: options.quiet,
    };
    let log = options.log_file.as_deref().map(launch::open_log_file).transpose()?;
    // The signals first: none may be missed between the shim's start and the end.
    let (sender, events) = mpsc::channel();
    signals::watch(sender).map_err(RunError::Signals)?;
    let mut shim = Shim::spawn(&options.command, log.as_ref(), Grouping::here())?;

    // THE LOCKS ARE TAKEN HERE. While the request waits, every event goes to `while_waiting`; when
    // that or the request says that nothing comes of the run: `shim.withdraw()`, and cancel the request.
    while let Ok(event) = events.try_recv() {
        if let Some(exit) = supervise::while_waiting(&mut shim, &event) {
            shim.withdraw();
            return Ok(exit);
        }
    }

    let started = shim.start(&environment(&task, settings))?;
    let end = supervise::until_end(started, &events, &watch);

    // THE LOCKS ARE GIVEN BACK HERE, whatever the end was.
    Ok(end?)
}

/// What CMD learns of its run.
fn environment(task: &str, settings: &Settings) -> Vec<EnvChange> {
    let of_store = settings.for_child().map(|(name, value)| (name.into(), value));
    of_store.into_iter().chain([("LOCKCTL_TASK".into(), Some(task.into()))]).collect()
}

/// A name that tells people which command it is and which process: `backup.sh-4242`.
fn default_name(command: &[OsString]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    format!("{}-{}", program.to_string_lossy(), process::id())
}
