//! The process that stays behind: asks for the locks, keeps them for another process, and gives them back.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use lock_core::{Guard, LockSet, process::Process};
use rustix::{
    fs::OFlags,
    process::{Signal, setsid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{AcquireForError, client_name, only};
use crate::{
    cli::{self, OnLost},
    ending::Ending,
    exit::Exit,
    keeper::{Keeper, Plan},
    kin::Kin,
    notice,
    processes::Handle,
    run::check_grace,
    signals,
    store::Settings,
    supervise::Event,
    waiting::WaitingLine,
    warnings,
};

/// The signal by which `lockctl release` asks for the locks to be given back.
pub(super) const RELEASE: Signal = Signal::USR1;

/// Stays behind for a process that was started `since` then; says how it has to end.
pub(crate) fn keep(options: &cli::Acquire, since: u64, settings: &Settings) -> Exit {
    keep_for(Process { pid: options.pid, start: since }, options, settings).unwrap_or_else(
        |error| {
            notice::say_error(&error);
            error.exit()
        },
    )
}

/// What the process does at the end.
struct Kept<'a> {
    /// What people call the task.
    name: String,
    holder: Process,
    on_lost: OnLost,
    kill_grace: Duration,
    events: &'a Receiver<Event>,
}

fn keep_for(
    holder: Process,
    options: &cli::Acquire,
    settings: &Settings,
) -> Result<Exit, AcquireForError> {
    let failed = |doing| move |source| AcquireForError::System { doing, source };
    // What the script has open is not to be kept open: somebody may wait for its end.
    close_inherited().map_err(failed("close what was inherited"))?;
    // Neither the terminal's Ctrl-C nor its end is meant for it. It leads no group yet, so it may.
    let _ = setsid();
    let asking = &options.asking;
    let request = asking.locks.request();
    let locks = request.locks()?.clone();
    let (kill_grace, lease) = (asking.kill_grace(settings), asking.lease(settings));
    if options.on_lost == OnLost::Kill {
        check_grace(kill_grace, lease)?;
    }
    let watched = Handle::open(holder).map_err(failed("watch the process"))?;
    let watched = watched.ok_or(AcquireForError::NoProcess(holder.pid))?;
    let keeper = Process::current().ok_or(AcquireForError::NoProcess(std::process::id()))?;
    if !asking.quiet {
        warnings::say();
    }
    let backend = settings.open()?;
    env::set_current_dir("/").map_err(failed("leave the working directory"))?;
    let (sender, events) = mpsc::channel();
    signals::watch(sender.clone(), &[RELEASE]).map_err(failed("receive signals"))?;
    tell_when_ended(watched, sender.clone()).map_err(failed("start a thread"))?;
    tell_when_abandoned(sender.clone()).map_err(failed("start a thread"))?;
    let plan = Plan {
        backend,
        task: asking.task.clone().unwrap_or_else(|| default_name(holder)),
        note: asking.note.clone(),
        kin: Kin::below(holder),
        client: client_name(keeper),
        processes: only(keeper),
        heirs: Some(only(holder)),
        lease,
        request,
        patience: asking.patience(),
        kill_grace,
        journal: settings.journal(asking.quiet),
    };
    let kept = Kept {
        name: plan.task.clone(),
        holder,
        on_lost: options.on_lost,
        kill_grace,
        events: &events,
    };
    let keeper = Keeper::start(plan, sender).map_err(failed("start a thread"))?;
    let granted = wait_for_locks(&events, &locks, asking, settings)
        .and_then(|guard| report(&guard).map_err(|_| Exit::Status(0)));
    if let Err(exit) = granted {
        keeper.withdraw();
        return Ok(exit);
    }
    kept.until_end();
    // If the store does not hear of it, it is free when somebody sees that the holder is dead.
    let _ = keeper.finish(None);
    Ok(Exit::Status(0))
}

/// Waits for the grant; else says how to end.
fn wait_for_locks(
    events: &Receiver<Event>,
    locks: &LockSet,
    asking: &cli::Asking,
    settings: &Settings,
) -> Result<std::sync::Arc<Guard>, Exit> {
    let mut line = WaitingLine::new(locks, settings.describe());
    loop {
        let Ok(event) = events.recv() else { return Err(Exit::System) };
        let end = match event {
            Event::Blocked(blocked) if !asking.quiet => {
                line.update(&blocked);
                continue;
            }
            Event::Granted(guard) => Ok(guard),
            Event::Refused(error) => {
                line.clear();
                Err(asking.refused(error, settings))
            }
            // Nothing is held yet that could be lost.
            Event::EndRun(why) => {
                line.clear();
                notice::say(format_args!("cannot wait for the locks: {why}"));
                Err(Exit::System)
            }
            Event::Ended | Event::Abandoned => Err(Exit::Status(0)),
            Event::Signal(received) if received.asks_to_end() => {
                Err(received.signal.map_or(Exit::System, |signal| Exit::Signal(signal.as_raw())))
            }
            Event::Blocked(_) | Event::Signal(_) => continue,
        };
        line.clear();
        return end;
    }
}

/// Tells who waits that the locks are held, and lets go of all that is theirs.
fn report(guard: &Guard) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{} {}", guard.fence(), guard.task_id())?;
    stdout.flush()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stderr(&null)?;
    // Last, for its end is what is waited for.
    dup2_stdout(&null)?;
    Ok(())
}

impl Kept<'_> {
    /// Keeps the locks until the holder has ended, or wants to give them back.
    ///
    /// No signal but that of `release` ends it: a system that shuts down, or a service that is stopped, signals all
    /// processes at once, and the holder may still be cleaning up.
    fn until_end(&self) {
        loop {
            match self.events.recv() {
                Ok(Event::Signal(received)) if received.signal == Some(RELEASE) => return,
                Ok(Event::EndRun(why)) if self.on_lost == OnLost::Kill => {
                    let said = self.tell(&format!("ending {}: {why}", self.name));
                    // Nobody else can be told that something could not be ended.
                    if let Err(error) = Ending::new(vec![&only(self.holder)]).end(self.kill_grace)
                        && said.is_ok()
                    {
                        let _ = self.tell(&format!("cannot end {}: {error}", self.name));
                    }
                }
                Ok(Event::Ended) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

impl Kept<'_> {
    /// Says something where the holder says what goes wrong: what was ours for that is let go.
    fn tell(&self, text: &str) -> io::Result<()> {
        let Process { pid, .. } = self.holder;
        // The end of a terminal is not to be that of this process, nor is a pipe to be waited for.
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(flags.bits().cast_signed());
        let mut stderr = options.open(format!("/proc/{pid}/fd/2"))?;
        if Process::find(pid) != Some(self.holder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        writeln!(stderr, "lockctl: {text}")
    }
}

fn tell_when_ended(watched: Handle, events: Sender<Event>) -> io::Result<()> {
    let watch = move || {
        // Where it cannot be watched it is asked from time to time.
        while !watched.wait(None).unwrap_or(false) {
            thread::sleep(Duration::from_secs(1));
        }
        let _ = events.send(Event::Ended);
    };
    thread::Builder::new().name("holder".into()).spawn(watch).map(drop)
}

fn tell_when_abandoned(events: Sender<Event>) -> io::Result<()> {
    let watch = move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = events.send(Event::Abandoned);
    };
    thread::Builder::new().name("asker".into()).spawn(watch).map(drop)
}

/// Closes all descriptors but the standard ones. To be called while nothing else is open.
fn close_inherited() -> io::Result<()> {
    let open = fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<i32> =
        open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The one that read the directory is gone already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// `backup.sh-4242`
fn default_name(holder: Process) -> String {
    let mut name = String::new();
    let comm = File::open(format!("/proc/{}/comm", holder.pid));
    let _ = comm.and_then(|mut comm| comm.read_to_string(&mut name));
    format!("{}-{}", name.trim_end(), holder.pid)
}
