//! The processes of a task: those that descend from the one that the supervisor started.

use std::{
    fs, io,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Processes that cannot be mistaken for others: the first is the one that was started.
#[derive(Debug)]
pub(crate) struct Tree(Vec<OwnedFd>);

impl Tree {
    /// All that descend from a child of ours that was not reaped yet.
    ///
    /// Those that are stopped first start no more: nobody is missed then.
    pub(crate) fn of(top: Pid, is_stopped: bool) -> io::Result<Self> {
        let mut handles = vec![pidfd_open(top, PidfdFlags::empty())?];
        if is_stopped {
            stop(top, &handles[0]);
        }
        let mut parents = vec![top];
        while let Some(parent) = parents.pop() {
            for child in children(parent) {
                let Ok(handle) = pidfd_open(child, PidfdFlags::empty()) else { continue };
                // Still a child after it was opened, so it is the one that was meant.
                if children(parent).contains(&child) {
                    if is_stopped {
                        stop(child, &handle);
                    }
                    handles.push(handle);
                    parents.push(child);
                }
            }
        }
        Ok(Self(handles))
    }

    /// Kills these: `None` for all of them.
    pub(crate) fn kill(&self, only: Option<Only>) {
        let whom = match only {
            None => &self.0[..],
            Some(Only::Top) => &self.0[..1],
            Some(Only::Last) => &self.0[self.0.len() - 1..],
        };
        for handle in whom {
            // It may have ended meanwhile.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }

    /// Waits until all have ended; false if that takes too long.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        self.0.iter().all(|handle| {
            loop {
                match poll(&mut [PollFd::new(handle, PollFlags::IN)], limit.as_ref()) {
                    Err(Errno::INTR) => {}
                    ended => break ended.is_ok_and(|ended| ended > 0),
                }
            }
        })
    }
}

/// Who alone is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// The one that was started: lockctl, or sudo. What it runs goes on, and so do the locks.
    Top,
    /// The last one, which does the work.
    Last,
}

/// Stops a process, and waits until it is.
fn stop(pid: Pid, handle: &OwnedFd) {
    let is_running = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
        let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
        state.is_some_and(|state| !matches!(state, 'T' | 'Z' | 'X'))
    };
    let _ = pidfd_send_signal(handle, Signal::STOP);
    let until = Instant::now() + Duration::from_secs(1);
    while is_running() && Instant::now() < until {
        thread::sleep(Duration::from_micros(100));
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_pid();
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
