//! What people are told while they wait: for what, for whom, and since when.

use std::{
    io::{IsTerminal, Write, stderr},
    time::SystemTime,
};

use lock_core::{
    LockName, LockSet,
    process::Liveness,
    table::{Blocker, Denial},
};

use crate::{duration, keeper::Blocked, notice};

/// How many of those in the way are named.
const SHOWN_MAX: usize = 3;

/// The line that says for whom is waited: in place on a terminal, else one line per change.
#[derive(Debug)]
pub(crate) struct WaitingLine<'a> {
    locks: &'a LockSet,
    store: String,
    /// What was last said, without ages.
    said: Option<String>,
    in_place: bool,
}

impl<'a> WaitingLine<'a> {
    pub(crate) fn new(locks: &'a LockSet, store: String) -> Self {
        Self { locks, store, said: None, in_place: stderr().is_terminal() }
    }

    /// Says whom the locks are waited for.
    pub(crate) fn update(&mut self, blocked: &Blocked) {
        let tell = |with_ages| match blocked {
            Ok(blockers) => describe(self.locks, blockers, with_ages),
            Err(error) => format!("waiting for the store: {error}"),
        };
        let plain = tell(false);
        let is_new = self.said.as_ref() != Some(&plain);
        if self.in_place {
            let line = cut(&format!("lockctl: {} [{}]", tell(true), self.store));
            let _ = write!(stderr(), "\r\x1b[K{line}");
        } else if is_new {
            notice::say(format_args!("{} [{}]", tell(true), self.store));
        }
        self.said = Some(plain);
    }

    /// Takes the line away, as waiting is over.
    pub(crate) fn clear(&mut self) {
        if self.in_place && self.said.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// One sentence on everything that is waited for.
fn describe(locks: &LockSet, blockers: &[Blocker], with_ages: bool) -> String {
    if blockers.is_empty() {
        let names: Vec<&str> = locks.keys().map(LockName::as_str).collect();
        return format!("waiting for {}", names.join(", "));
    }
    format!("waiting for {}", reasons(locks, blockers, with_ages))
}

/// Why a request was denied.
pub(crate) fn explain(denial: &Denial) -> String {
    reasons(&denial.locks, &denial.blockers, true)
}

/// Everything in the way.
pub(crate) fn reasons(locks: &LockSet, blockers: &[Blocker], with_ages: bool) -> String {
    let shown = blockers.iter().take(SHOWN_MAX).map(|blocker| reason(locks, blocker, with_ages));
    let text = shown.collect::<Vec<_>>().join("; ");
    match blockers.len().saturating_sub(SHOWN_MAX) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// `app/blog: held by backup-17 (pid 4242 on web1, 12 s)`
pub(crate) fn reason(locks: &LockSet, blocker: &Blocker, with_age: bool) -> String {
    let ours = locks.keys().find(|name| name.covers(&blocker.lock) || blocker.lock.covers(name));
    let ours = ours.unwrap_or(&blocker.lock);
    let other = if *ours == blocker.lock { String::new() } else { format!("{} ", blocker.lock) };
    let place = facts(blocker, with_age);
    if blocker.waits {
        format!("{ours}: {} is ahead in the queue for {}{place}", blocker.task, blocker.lock)
    } else {
        format!("{ours}: {other}held by {}{place}", blocker.task)
    }
}

/// ` (pid 4242 on web1, 12 s)`
pub(crate) fn facts(blocker: &Blocker, with_age: bool) -> String {
    let set = &blocker.client.processes;
    let pid = set.processes.first().map(|process| format!("pid {}", process.pid));
    let host = set.place.host.as_ref().map(|host| format!("on {host}"));
    let place = [pid, host].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let state = match blocker.client.state {
        Liveness::Alive => None,
        Liveness::Dead => Some("dead".to_owned()),
        Liveness::Unknown => Some("cannot be seen from here".to_owned()),
    };
    let age = with_age.then(|| duration::age(age(blocker.since)));
    let facts: Vec<String> =
        [Some(place), state, age].into_iter().flatten().filter(|fact| !fact.is_empty()).collect();
    if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) }
}

/// How long ago that was; nothing, if clocks disagree.
pub(crate) fn age(since: SystemTime) -> std::time::Duration {
    since.elapsed().unwrap_or_default()
}

/// As much of a line as fits on the terminal.
fn cut(line: &str) -> String {
    let columns = rustix::termios::tcgetwinsize(stderr()).map_or(0, |size| size.ws_col);
    match usize::from(columns) {
        0 => line.to_owned(),
        columns => line.chars().take(columns - 1).collect(),
    }
}
