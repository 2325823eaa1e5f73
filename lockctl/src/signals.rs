//! Signals: which are received, and whether one concerns the child, which may have got it already.

use std::{io, sync::mpsc::Sender, thread};

use rustix::process::{Pid, Signal};
use signal_hook::{
    consts::{
        SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGUSR1,
        SIGUSR2, SIGWINCH,
    },
    iterator::{SignalsInfo, exfiltrator::WithOrigin, exfiltrator::origin::Origin},
};

use crate::{group::group_of, launch::Grouping, supervise::Event};

/// The signals that are passed on to the child.
const PASSED_ON: [i32; 10] =
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP, SIGCONT];

/// A signal that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Which; `None` for the end or the stop of a child.
    pub(crate) signal: Option<Signal>,
    /// The process that sent it; `None` when the kernel did, as a terminal's Ctrl-C.
    sender: Option<Pid>,
}

/// Sends every signal to `events` from now on, from a thread of its own.
///
/// Signals that were ignored when `lockctl` started are left so, as `nohup` wants it, and the child
/// inherits that. Two exceptions: SIGCHLD, which `lockctl` needs, and SIGPIPE, which the Rust runtime
/// takes before `main`: CMD always gets the default of both. And those that are needed by who calls.
///
/// SIGTTIN is only taken so that it does not stop `lockctl`: a command in the background that reads from
/// the terminal gets its whole group signalled, and nobody could ask `lockctl` to end then. That the
/// command is stopped by it is heard as of any stop.
pub(crate) fn watch(events: Sender<Event>, needed: &[Signal]) -> io::Result<()> {
    let ignored = ignored_at_start()?;
    let is_ignored = |signal: i32| ignored & (1 << (signal - 1)) != 0;
    let needed = needed.iter().map(|signal| signal.as_raw()).chain([SIGCHLD]);
    let optional = PASSED_ON.into_iter().chain([SIGTTIN]);
    let wanted = optional.filter(|signal| !is_ignored(*signal)).chain(needed);
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        loop {
            // What arrived together comes without its order: a CONT last, lest a stop outlive it.
            let mut together: Vec<Received> = signals.wait().map(|o| Received::from(&o)).collect();
            together.sort_by_key(|received| received.signal == Some(Signal::CONT));
            for received in together {
                if events.send(Event::Signal(received)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

impl Received {
    /// Whether the child has to be told; in the terminal's group it may have got the signal as we did.
    ///
    /// The terminal and the kernel signal the whole group, and so does a member of it: the child itself by `kill 0`.
    /// From any other sender it cannot be told whether it was to the group or to `lockctl` alone: rather twice than
    /// not at all.
    pub(crate) fn concerns_child(self, grouping: Grouping) -> bool {
        match (grouping, self.sender) {
            (Grouping::Own, _) => true,
            (Grouping::Terminal, None) => false,
            (Grouping::Terminal, Some(sender)) => group_of(Some(sender)) != group_of(None),
        }
    }

    /// Whether it asks a process to end, if nothing else is said.
    pub(crate) fn asks_to_end(self) -> bool {
        let stays = [Signal::WINCH, Signal::TSTP, Signal::CONT];
        self.signal.is_some_and(|signal| !stays.contains(&signal))
    }
}

impl From<&Origin> for Received {
    fn from(origin: &Origin) -> Self {
        let tells_of_child = [Signal::CHILD, Signal::TTIN];
        let signal = Signal::from_named_raw(origin.signal);
        let signal = signal.filter(|signal| !tells_of_child.contains(signal));
        // A sender in a pid namespace that we do not see has the id 0, which `from_raw` makes none of.
        let sender = origin.process.map(|process| Pid::from_raw(process.pid).unwrap_or(Pid::INIT));
        Received { signal, sender }
    }
}

/// The signals ignored by this process as a bit set; bit 0 is signal 1.
pub(crate) fn ignored_at_start() -> io::Result<u64> {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.map(|status| status.sigign).map_err(io::Error::other)
}
