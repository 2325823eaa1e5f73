//! `lockctl run`: the order of things from the options to the exit status.

use std::{
    ffi::OsString,
    path::Path,
    process,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use lock_core::{
    AcquireError, BackendError, Guard, LockSet, RequestError, StoreError,
    process::{Process, ProcessGroup, ProcessSet},
};
use rustix::process::{Pid, Signal, getpid};

use crate::{
    cli,
    duration::typed,
    exit::Exit,
    group::group_of,
    keeper::{Keeper, LockError, Plan},
    kin::{Kin, TASK_ID_VARIABLE},
    launch::{self, EnvChange, Grouping, LaunchError, LogFileError, Shim},
    notice, signals,
    store::{Lease, Settings},
    supervise::{self, Event, Watch},
    waiting::WaitingLine,
    warnings,
};

/// The length of the lease unless somebody says otherwise.
const LEASE: Lease = Lease::For(Duration::from_mins(1));

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// A bad lock name or set of locks.
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Grace(#[from] GraceError),
    /// A store that cannot be opened.
    #[error(transparent)]
    Open(#[from] BackendError),
    /// A log file that cannot be used.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// CMD did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The system does not give what is needed.
    #[error("cannot {doing}")]
    System { doing: &'static str, source: std::io::Error },
}

/// A kill grace that is longer than what is left of a lease when it cannot be renewed.
#[derive(Debug, thiserror::Error)]
#[error(
    "a kill grace of {} does not fit a lease of {}: the lease must be at least {}, or the grace shorter",
    typed(*grace), typed(*lease), typed(*shortest)
)]
pub(crate) struct GraceError {
    grace: Duration,
    lease: Duration,
    shortest: Duration,
}

impl RunError {
    fn exit(self) -> Exit {
        match self {
            Self::Request(_) | Self::Grace(_) => Exit::Usage,
            Self::Open(error) => LockError::Open(error).exit(),
            Self::Log(_) => Exit::Config,
            Self::Launch(error) => error.exit(),
            Self::System { .. } => Exit::System,
        }
    }
}

/// Runs the command, and says how `lockctl` has to end.
pub(crate) fn run(options: &cli::Run, settings: &Settings) -> Exit {
    under_locks(options, settings).unwrap_or_else(|error| {
        notice::say_error(&error);
        error.exit()
    })
}

fn under_locks(options: &cli::Run, settings: &Settings) -> Result<Exit, RunError> {
    let asking = &options.asking;
    let request = asking.locks.request();
    let locks = request.locks()?.clone();
    let task = asking.task.clone().unwrap_or_else(|| default_name(&options.command));
    let kill_grace = asking.kill_grace(settings);
    let lease = asking.lease(settings);
    check_grace(kill_grace, lease)?;
    if !asking.quiet {
        warnings::say();
    }
    let backend = settings.open()?;
    let log = options.log_file.as_deref().map(launch::open_log_file).transpose()?;
    // The signals first: none may be missed between the shim's start and the end.
    let (sender, events) = mpsc::channel();
    signals::watch(sender.clone(), &[])
        .map_err(|source| RunError::System { doing: "receive signals", source })?;
    let mut shim = Shim::spawn(&options.command, log.as_ref(), Grouping::here())?;

    let plan = Plan {
        backend,
        task: task.clone(),
        note: asking.note.clone(),
        kin: Kin::of_this_process(),
        client: task.clone(),
        processes: processes(&shim),
        heirs: None,
        lease,
        request,
        patience: asking.patience(),
        kill_grace,
        journal: settings.journal(asking.quiet),
    };
    let keeper = match Keeper::start(plan, sender) {
        Ok(keeper) => keeper,
        Err(source) => {
            shim.withdraw();
            return Err(RunError::System { doing: "start a thread", source });
        }
    };
    let guard = match wait_for_locks(&mut shim, &events, &locks, asking, settings) {
        Ok(guard) => guard,
        Err(exit) => {
            shim.withdraw();
            keeper.withdraw();
            return Ok(exit);
        }
    };
    let held_since = Instant::now();
    let watch = Watch { name: &task, guard: &guard, kill_grace, quiet: asking.quiet };
    let over = shim
        .start(&environment(&task, &guard, settings))
        .and_then(|started| supervise::until_end(started, &events, &watch));
    // For a job that was done too soon: not for one that was never begun, or is no longer under its locks.
    let is_done =
        over.as_ref().is_ok_and(|over| !over.was_asked && !matches!(over.exit, Exit::Lost));
    if let Some(least) = options.at_least.filter(|_| is_done) {
        linger(held_since.checked_add(least), &events);
    }
    let status = over.as_ref().map_or_else(|error| error.exit().code(), |over| over.exit.code());
    if let Err(error) = keeper.finish(Some(status)) {
        say_not_given_back(&task, &error);
    }
    Ok(over?.exit)
}

/// Waits for the grant; else says how `lockctl` has to end.
fn wait_for_locks(
    shim: &mut Shim,
    events: &Receiver<Event>,
    locks: &LockSet,
    asking: &cli::Asking,
    settings: &Settings,
) -> Result<Arc<Guard>, Exit> {
    let mut line = WaitingLine::new(locks, settings.describe());
    loop {
        // The keeper only ends after it was told to.
        let Ok(event) = events.recv() else { return Err(Exit::System) };
        if let Some(exit) = supervise::while_waiting(shim, &event) {
            line.clear();
            return Err(exit);
        }
        match event {
            Event::Granted(guard) => {
                line.clear();
                return Ok(guard);
            }
            Event::Refused(error) => {
                line.clear();
                return Err(asking.refused(error, settings));
            }
            // Nothing is held yet that could be lost.
            Event::EndRun(why) => {
                line.clear();
                notice::say(format_args!("cannot wait for the locks: {why}"));
                return Err(Exit::System);
            }
            Event::Blocked(blocked) if !asking.quiet => line.update(&blocked),
            _ => {}
        }
    }
}

/// The processes that hold the locks: CMD, this one, and CMD's group.
///
/// The group of a script in a terminal is not CMD's: the script's next command is in it as well, and would wait for itself.
fn processes(shim: &Shim) -> ProcessSet {
    let mut set = ProcessSet::current();
    let pid = |pid: Pid| u32::try_from(pid.as_raw_pid()).unwrap_or_default();
    // Not yet reaped, it can be found even if it has ended.
    let Some(child) = Process::find(pid(shim.pid())) else { return set };
    set.processes.insert(0, child);
    match shim.grouping() {
        Grouping::Own => set.groups.push(ProcessGroup::led_by(child)),
        // A job of its own: only its processes can be in the group.
        Grouping::Terminal if group_of(None) == Some(getpid()) => {
            set.groups.push(ProcessGroup { id: pid(getpid()), start: child.start });
        }
        Grouping::Terminal => {}
    }
    set
}

impl cli::Asking {
    /// The time between TERM and KILL.
    pub(crate) fn kill_grace(&self, settings: &Settings) -> Duration {
        settings.kill_grace(self.kill_grace)
    }

    /// The length of the lease.
    pub(crate) fn lease(&self, settings: &Settings) -> Lease {
        self.lease.or(settings.lease).unwrap_or(LEASE)
    }

    /// Says why the locks were not granted, and how `lockctl` ends for it.
    pub(crate) fn refused(&self, error: AcquireError, settings: &Settings) -> Exit {
        let status = self.busy_status.or(settings.busy_status).filter(|_| error.is_busy());
        let error = LockError::from(error);
        // cron mails whatever is said, and nobody who wants quiet wants mail about a success.
        if !self.quiet || status != Some(0) {
            error.say();
        }
        status.map_or_else(|| error.exit(), Exit::Status)
    }
}

/// Between the last renewal that can have succeeded and the end of the lease there must be time to end CMD.
pub(crate) fn check_grace(grace: Duration, lease: Lease) -> Result<(), GraceError> {
    let Lease::For(lease) = lease else { return Ok(()) };
    // It is renewed after a third of its length, and a tenth is kept back for clocks that differ.
    let shortest = (grace + Duration::from_secs(2)) * 2;
    if lease < shortest { Err(GraceError { grace, lease, shortest }) } else { Ok(()) }
}

/// Keeps the locks until then, or without end, unless somebody wants one.
fn linger(until: Option<Instant>, events: &Receiver<Event>) {
    loop {
        let left =
            until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        match events.recv_timeout(left) {
            Ok(Event::EndRun(_)) | Err(_) => return,
            Ok(Event::Signal(received)) if received.asks_to_end() => return,
            Ok(Event::Signal(received)) if received.signal == Some(Signal::TSTP) => {
                supervise::stop_ourselves();
            }
            Ok(_) => {}
        }
    }
}

fn say_not_given_back(task: &str, error: &StoreError) {
    let error = LockError::from(AcquireError::from(error.clone()));
    notice::say(format_args!(
        "the locks of {task} could not be given back; they are free when this process is seen dead"
    ));
    notice::say_error(&error);
}

/// What CMD learns of its run.
fn environment(task: &str, guard: &Guard, settings: &Settings) -> Vec<EnvChange> {
    let of_store = settings.for_child().into_iter().map(|(name, value)| (name.into(), value));
    let of_run = [
        ("LOCKCTL_TASK", task.to_owned()),
        (TASK_ID_VARIABLE, guard.task_id().to_string()),
        ("LOCKCTL_FENCE", guard.fence().to_string()),
    ];
    let of_run = of_run.map(|(name, value)| (name.into(), Some(value.into())));
    of_store.chain(of_run).collect()
}

/// A name that tells people which command it is and which process: `backup.sh-4242`.
fn default_name(command: &[OsString]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    format!("{}-{}", program.to_string_lossy(), process::id())
}
