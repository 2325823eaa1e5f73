//! The run: what happens from CMD's start until no process of its group lives.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use lock_core::{AcquireError, Guard, process::Process};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, wait},
};
use signal_hook::{consts::SIGSTOP, low_level};

use crate::{
    exit::Exit,
    group::{Group, Members, is_stopped},
    keeper::Blocked,
    launch::{LaunchError, Shim, Started},
    notice,
    processes::{Handle, raw},
    signals::Received,
    strays::{Stray, Strays},
};

/// How long processes may outlive CMD until something is said of it.
const LINGER_NOTICE: Duration = Duration::from_secs(1);
/// How soon after a stop it is known that we were continued, unless that signal is ignored.
const CONTINUED: Duration = Duration::from_millis(200);
/// How soon after that signal it is known what else was sent with it: threads take them in any order.
const HEARD: Duration = Duration::from_millis(20);
/// How soon the group is looked at again when nothing was heard of it.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(50);
/// How late at most, for a process of the run whose parent is alive and not of the run.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(5);

/// How long after a signal an end of CMD counts as its answer; later, CMD has survived the signal. A TERM is an order,
/// however long it takes to clean up.
const ANSWER: Duration = Duration::from_secs(10);

/// The signals by which somebody who is done with a run says so.
const TO_END: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// What a run has to react to.
#[derive(Debug)]
pub(crate) enum Event {
    /// A signal arrived.
    Signal(Received),
    /// The locks are held.
    Granted(Arc<Guard>),
    /// They will not be.
    Refused(AcquireError),
    /// They are waited for.
    Blocked(Blocked),
    /// The run has to be ended, for a lock is lost or will be; with the reason for people.
    EndRun(String),
    /// A process has ended that is watched: the one that locks were acquired for.
    Ended,
    /// Nobody waits for the grant any more: the `lockctl acquire` that did is gone.
    Abandoned,
}

/// How a run is watched.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    /// What people call the run: the task's name.
    pub(crate) name: &'a str,
    /// Its locks.
    pub(crate) guard: &'a Guard,
    /// The time between TERM and KILL when the run has to be ended.
    pub(crate) kill_grace: Duration,
    /// Whether to say nothing about processes that outlive CMD.
    pub(crate) quiet: bool,
}

/// How a run was.
#[derive(Debug)]
pub(crate) struct Over {
    /// How `lockctl` has to end.
    pub(crate) exit: Exit,
    /// Whether somebody asked it to end.
    pub(crate) was_asked: bool,
}

/// Reacts to an event before CMD is started; says how `lockctl` has to end if nothing comes of the run.
///
/// Withdraw the shim and the request then.
pub(crate) fn while_waiting(shim: &mut Shim, event: &Event) -> Option<Exit> {
    match event {
        Event::Signal(received) => match received.signal {
            None => shim.ended().map(Exit::of_child),
            Some(signal) if received.asks_to_end() => Some(Exit::Signal(signal.as_raw())),
            Some(Signal::TSTP) => {
                stop_ourselves();
                None
            }
            Some(_) => None,
        },
        _ => None,
    }
}

/// Watches over a started CMD until its whole group is gone; says how that was.
///
/// # Errors
///
/// CMD could not be executed, of which nothing is left then.
pub(crate) fn until_end(
    started: Started,
    events: &Receiver<Event>,
    watch: &Watch<'_>,
) -> Result<Over, LaunchError> {
    let group = Group::new(started.pid(), started.grouping());
    let mut run = Run {
        started,
        group,
        watch,
        ended: None,
        ending: None,
        stopped_by: None,
        went_on: false,
        is_held_back: false,
        asked: None,
        is_ordered: false,
        was_asked: false,
        is_denial_said: false,
        look_again: LOOK_AGAIN_MIN,
        strays: None,
        asked_strays: BTreeSet::new(),
    };
    while !run.is_over() {
        // Who was asked to end and is stopped again by its terminal could not end.
        let stops = |signal: Signal| signal == Signal::TSTP || !run.was_asked_lately();
        if run.stopped_by.is_some_and(stops) {
            run.stopped_by = None;
            run.stop_with_it(events);
            continue;
        }
        run.stopped_by = None;
        let event = match run.next_look() {
            None => events.recv().map_err(RecvTimeoutError::from),
            Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(event) => run.react(&event),
            Err(RecvTimeoutError::Timeout) => {
                run.look_again = (2 * run.look_again).min(LOOK_AGAIN_MAX);
            }
            // Nobody can tell anything any more, which is a defect: look by ourselves.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_AGAIN_MIN),
        }
    }
    run.result()
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts about one run")]
struct Run<'a> {
    started: Started,
    group: Group,
    watch: &'a Watch<'a>,
    ended: Option<Ended>,
    ending: Option<Ending>,
    /// The signal of job control by which CMD was just stopped.
    stopped_by: Option<Signal>,
    /// Whether CMD was continued since it was last stopped.
    went_on: bool,
    /// Whether CMD is stopped until it is certain that the locks are still held.
    is_held_back: bool,
    /// When somebody asked the run to end.
    asked: Option<Instant>,
    /// Whether that was an order.
    is_ordered: bool,
    /// Whether CMD's end was the answer to that, or came before.
    was_asked: bool,
    /// Whether it was said that processes of the run may not be signalled.
    is_denial_said: bool,
    look_again: Duration,
    /// What left the group, from when the run is asked to end: it keeps the locks as well then.
    strays: Option<Strays>,
    /// Those of them that were asked.
    asked_strays: BTreeSet<Process>,
}

/// CMD's own end, which its group may outlive.
struct Ended {
    status: WaitStatus,
    at: Instant,
    is_said: bool,
}

/// The end that was put to the run.
struct Ending {
    kill_at: Instant,
    lost: bool,
}

impl Run<'_> {
    fn react(&mut self, event: &Event) {
        // Whatever happened, it may have changed the group.
        self.look_again = LOOK_AGAIN_MIN;
        match event {
            Event::EndRun(why) => {
                notice::say(format_args!("ending {}: {why}", self.watch.name));
                self.end(true);
            }
            Event::Signal(received) => {
                let Some(signal) = received.signal else { return };
                if TO_END.contains(&signal) {
                    self.asked = Some(Instant::now());
                    self.is_ordered |= signal == Signal::TERM;
                    self.look_for_strays();
                }
                if signal == Signal::CONT && self.ended.is_none() && self.holds_back() {
                    return;
                }
                // CMD may have ended just before.
                self.reap();
                // A second CONT would undo a Ctrl-Z that was pressed since the first.
                if signal == Signal::CONT && (self.went_on || self.stopped_by.is_some()) {
                    return;
                }
                self.was_asked |= self.ended.is_some() && self.is_asked();
                match &self.ended {
                    // CMD is over, and somebody wants us to be: its background processes may ignore
                    // Ctrl-C, as a script's do, and would keep the locks for ever.
                    Some(_) if received.asks_to_end() => self.end(false),
                    Some(_) => self.signal_all(signal),
                    None if received.concerns_child(self.started.grouping()) => {
                        self.group.pass_on(signal);
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// Starts to end the run: TERM now, KILL after the grace.
    fn end(&mut self, lost: bool) {
        self.look_for_strays();
        self.signal_all(Signal::TERM);
        // What is stopped could not end in peace.
        self.signal_all(Signal::CONT);
        self.is_held_back = false;
        let kill_at = Instant::now() + self.watch.kill_grace;
        match &mut self.ending {
            Some(ending) => ending.lost |= lost,
            None => self.ending = Some(Ending { kill_at, lost }),
        }
    }

    /// The shell has to see that the job is stopped. Its `fg` continues us, and we the child.
    ///
    /// CMD may be stopped again at once, by reading from a terminal that is not its own by then: what
    /// was sent before we were continued is heard first, or nobody could ask us to end.
    fn stop_with_it(&mut self, events: &Receiver<Event>) {
        stop_ourselves();
        self.holds_back();
        let mut patience = CONTINUED;
        let before = self.asked;
        while self.asked == before
            && let Ok(event) = events.recv_timeout(patience)
        {
            if matches!(&event, Event::Signal(received) if received.signal == Some(Signal::CONT)) {
                patience = HEARD;
            }
            self.react(&event);
        }
    }

    /// After a stop: whether CMD has to be stopped again, because its lease may have ended meanwhile.
    ///
    /// `fg` continues the whole group at once, so CMD runs for the moment that this takes.
    fn holds_back(&mut self) -> bool {
        if self.ending.is_none() && !self.is_held_back && self.watch.guard.check().is_err() {
            self.is_held_back = true;
            self.signal_all(Signal::STOP);
        }
        self.is_held_back
    }

    /// Takes in what the children did, and says whether nothing of the run lives.
    fn is_over(&mut self) -> bool {
        let has_children = self.reap();
        let is_to_be_killed =
            self.ending.as_ref().is_some_and(|ending| ending.kill_at <= Instant::now());
        if is_to_be_killed {
            self.signal_all(Signal::KILL);
        }
        let strays = self.strays();
        if self.ending.is_some() || self.ended.is_some() {
            for stray in strays.iter().flatten() {
                self.end_stray(stray, is_to_be_killed);
            }
        }
        // To check asks the store, if it is in doubt; if the locks are lost the run is ended.
        if self.is_held_back && self.watch.guard.check().is_ok() {
            self.is_held_back = false;
            self.signal_all(Signal::CONT);
        }
        let Some(ended) = &mut self.ended else { return false };
        let members = if has_children { self.group.members() } else { Ok(Members::Gone) };
        let members = match (members, strays) {
            (Ok(Members::Gone), Ok(strays)) if !strays.is_empty() => Ok(Members::Alive(
                strays.into_iter().filter_map(|stray| raw(stray.process)).collect(),
            )),
            (members, Ok(_)) => members,
            (_, Err(error)) => Err(error),
        };
        match members {
            Ok(Members::Gone) => return true,
            Ok(Members::Alive(pids)) => {
                if !ended.is_said && ended.at.elapsed() >= LINGER_NOTICE {
                    ended.is_said = true;
                    if !self.watch.quiet {
                        let is_ending = self.ending.is_some();
                        say_lingering(self.watch.name, &pids, is_ending);
                    }
                }
            }
            // Not to know means not to be free.
            Ok(Members::Hidden) | Err(_) => {}
        }
        false
    }

    /// Remembers what has left the group, while it can be told from whose it is.
    fn look_for_strays(&mut self) {
        self.strays.get_or_insert_default();
        if let Err(error) = self.strays() {
            self.say_hidden(&error);
        }
    }

    /// Those that live of what left the group.
    fn strays(&mut self) -> io::Result<Vec<Stray>> {
        self.strays.as_mut().map_or_else(|| Ok(vec![]), |known| self.group.strays(known))
    }

    /// One whose parent lives is asked by that, as `sudo` asks what it runs.
    fn end_stray(&mut self, stray: &Stray, is_to_be_killed: bool) {
        let signals: &[Signal] = match () {
            () if is_to_be_killed => &[Signal::KILL],
            () if stray.is_orphan && self.asked_strays.insert(stray.process) => {
                &[Signal::TERM, Signal::CONT]
            }
            () => return,
        };
        // Whoever may not be signalled, or has ended, cannot be ended by us.
        if let Ok(Some(handle)) = Handle::open(stray.process) {
            for signal in signals {
                let _ = handle.signal(*signal);
            }
        }
    }

    /// Reaps all that ended; false when there is no child left, so that none can have descendants.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
                Ok(Some((pid, status))) if pid == self.started.pid() => {
                    self.child_changed(pid, status);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn child_changed(&mut self, pid: Pid, status: WaitStatus) {
        let by_job_control = [Signal::TSTP, Signal::TTIN, Signal::TTOU]
            .into_iter()
            .find(|stop| status.stopping_signal() == Some(stop.as_raw()));
        self.went_on = status.continued();
        if by_job_control.is_some() && has_terminal() && is_stopped(pid) {
            self.stopped_by = by_job_control;
        }
        if status.exited() || status.signaled() {
            let at = Instant::now();
            self.ended = Some(Ended { status, at, is_said: false });
            self.was_asked = self.is_asked();
            if !self.was_asked && self.ending.is_none() {
                // It ended by itself: what left its group is on its own.
                self.strays = None;
            }
        }
    }

    fn is_asked(&self) -> bool {
        self.is_ordered || self.was_asked_lately()
    }

    fn was_asked_lately(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() <= ANSWER)
    }

    /// When to look at the group again though nothing is heard.
    fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let lingering = self.ended.as_ref().map(|ended| {
            let notice = ended.at + LINGER_NOTICE;
            let again = now + self.look_again;
            if ended.is_said || notice <= now { again } else { again.min(notice) }
        });
        let kill = self.ending.as_ref().map(|ending| match &self.ended {
            // Strays whose parent has ended are to be asked.
            Some(_) if ending.kill_at > now => now + LOOK_AGAIN_MIN,
            _ => ending.kill_at.max(now + self.look_again),
        });
        let held_back = self.is_held_back.then_some(now + LOOK_AGAIN_MIN);
        lingering.into_iter().chain(kill).chain(held_back).min()
    }

    fn signal_all(&mut self, signal: Signal) {
        match self.group.signal_all(signal, self.ended.is_some()) {
            Ok(()) => {}
            // As CMD is if it is `sudo`. It is asked again and again, and said once.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if !std::mem::replace(&mut self.is_denial_said, true) {
                    say_denied(self.watch.name, self.started.pid(), &error);
                }
            }
            Err(error) => self.say_hidden(&error),
        }
    }

    fn say_hidden(&self, error: &io::Error) {
        notice::say(format_args!("cannot find the processes of {}: {error}", self.watch.name));
    }

    fn result(self) -> Result<Over, LaunchError> {
        if let Some(failure) = self.started.failure() {
            return Err(failure);
        }
        let lost = self.ending.is_some_and(|ending| ending.lost);
        let exit = match self.ended {
            _ if lost => Exit::Lost,
            Some(ended) => Exit::of_child(ended.status),
            None => Exit::System,
        };
        Ok(Over { exit, was_asked: self.was_asked })
    }
}

fn say_lingering(name: &str, pids: &[Pid], is_ending: bool) {
    let shown: Vec<String> = pids.iter().take(5).map(|pid| pid.as_raw_pid().to_string()).collect();
    let more = if pids.len() > shown.len() { " …" } else { "" };
    let pids = shown.join(", ");
    let outlook =
        if is_ending { "they are killed if they do not end" } else { "keeping its locks" };
    notice::say(format_args!(
        "{name} ended, but processes that it started still run (pid {pids}{more}): {outlook}"
    ));
}

fn say_denied(name: &str, child: Pid, error: &io::Error) {
    let pid = child.as_raw_pid();
    notice::say(format_args!(
        "cannot end {name}, whose processes are another user's ({error}): it goes on, also without its locks; as root, \
         end process {pid} and what it started"
    ));
}

fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Stops this process until somebody continues it.
pub(crate) fn stop_ourselves() {
    // It cannot fail for ourselves; if it did, we would only go on.
    let _ = low_level::raise(SIGSTOP);
}
