//! Reading journals, and completing what whoever was killed could not write any more.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use lock_core::{LockSet, Mode, TaskId, process::Liveness};
use rustix::fs::OFlags;

use super::{
    journal::{aside, flags},
    record::{End, Freed, Line, Moment, Record},
};

/// A wait that is shorter than this may as well have been for the store.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// One request, from its first moment to its end, or until now.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) state: State,
    /// When waiting or holding ended, as far as it is known.
    pub(crate) until: Option<Moment>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits.
    Waiting,
    /// It holds its locks.
    Holding,
    /// It ended, and said so.
    Over(End),
    /// Its processes are gone, and it said nothing.
    Killed,
    /// It said nothing of an end, and its processes cannot be seen from here.
    Unknown,
}

impl State {
    /// In a word, for programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Holding => "holding",
            Self::Over(End::Ended) => "ended",
            Self::Over(End::Lost) => "lost",
            Self::Over(End::Freed) => "freed",
            Self::Over(End::Busy) => "busy",
            Self::Over(End::TimedOut) => "timed-out",
            Self::Over(End::Deadlock) => "deadlock",
            Self::Over(End::Withdrawn) => "withdrawn",
            Self::Over(End::Failed) => "failed",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Holding)
    }
}

impl Entry {
    /// The end as it can be drawn: of what goes on, now.
    pub(crate) fn until_or(&self, now: Moment) -> Option<Moment> {
        self.until.or(self.state.is_open().then_some(now))
    }

    /// How long it waited, if that is known.
    pub(crate) fn waited(&self, now: Moment) -> Option<Duration> {
        let end = self.record.granted.or(self.until_or(now))?;
        Some(end.since(self.record.asked))
    }

    /// How long it held its locks, if it did and that is known.
    pub(crate) fn held(&self, now: Moment) -> Option<Duration> {
        Some(self.until_or(now)?.since(self.record.granted?))
    }
}

/// What is in the journals.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    records: Vec<Record>,
    freed: Vec<Freed>,
    /// Lines that are none.
    pub(crate) broken: usize,
}

impl Journals {
    /// Reads these files and what was put aside of them; those that are not there say nothing.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let mut all = Self::default();
        let mut known = HashMap::new();
        for path in paths {
            for path in [aside(path), path.clone()] {
                all.take(&path, &mut known).map_err(|error| (path, error))?;
            }
        }
        all.records.sort_by(|one, other| (one.asked, &one.id).cmp(&(other.asked, &other.id)));
        Ok(all)
    }

    fn take(&mut self, path: &Path, known: &mut HashMap<TaskId, usize>) -> io::Result<()> {
        let open = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path);
        let file = match open {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        // A pipe that somebody laid there has no end.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        for line in BufReader::new(file).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(Line::Record(record)) => {
                    let place = *known.entry(record.id.clone()).or_insert_with(|| {
                        self.records.push((*record).clone());
                        self.records.len() - 1
                    });
                    self.records[place] = plain(*record);
                }
                Ok(Line::Freed(freed)) => self.freed.push(freed),
                Err(_) => self.broken += 1,
            }
        }
        Ok(())
    }

    /// The newest fence of this store.
    pub(crate) fn newest_fence(&self, store: &str) -> Option<u64> {
        let ours = self.records.iter().filter(|record| record.store == store);
        ours.filter_map(|record| record.fence).max()
    }

    /// All requests to this store, the oldest first.
    pub(crate) fn entries(self, store: &str) -> Vec<Entry> {
        let Self { mut records, mut freed, .. } = self;
        records.retain(|record| record.store == store);
        freed.retain(|freed| freed.store == store);
        for at in 0..records.len() {
            let Record { asked, granted, ended, waited_for, .. } = &records[at];
            let waited = granted.or(*ended).map(|end| end.since(*asked));
            if waited_for.is_empty() && waited.is_none_or(|waited| waited >= WAIT_MIN) {
                records[at].waited_for = in_the_way(&records, at);
            }
        }
        let ends: Vec<_> = records.iter().map(|record| end(record, &records, &freed)).collect();
        let entry = |(record, (state, until))| Entry { record, state, until };
        records.into_iter().zip(ends).map(entry).collect()
    }
}

/// How and when it ended.
fn end(record: &Record, all: &[Record], freed: &[Freed]) -> (State, Option<Moment>) {
    let freed = freed.iter().filter(|freed| freed.concerns(record)).map(|freed| freed.at).min();
    match (record.end, record.ended, freed) {
        (_, Some(ended), Some(freed)) if freed < ended => {
            return (State::Over(End::Freed), Some(freed));
        }
        (Some(end), ended, _) => return (State::Over(end), ended),
        _ => {}
    }
    let lives = record.processes.probe();
    // Whoever got what it had cannot have got it before.
    let next = record.granted.and_then(|granted| {
        let later = all.iter().filter_map(|other| Some((other.granted?, other)));
        let next = later.filter(|(at, other)| *at > granted && excludes(record, other));
        next.map(|(at, _)| at).min()
    });
    let until = freed.into_iter().chain(next).min();
    match lives {
        Liveness::Alive if until.is_none() && record.granted.is_some() => (State::Holding, None),
        Liveness::Alive if until.is_none() => (State::Waiting, None),
        Liveness::Dead => (State::Killed, until),
        _ if freed.is_some() => (State::Over(End::Freed), until),
        _ => (State::Unknown, until),
    }
}

/// Who held what it asked for when it asked, as the journals tell: for waits that nobody looked into.
fn in_the_way(records: &[Record], at: usize) -> Vec<String> {
    let asker = &records[at];
    let end = asker.granted.or(asker.ended);
    let mut names = Vec::new();
    // They are in the order in which they asked.
    let earlier = records.iter().take_while(|other| end.is_none_or(|end| other.asked < end));
    for holder in earlier {
        let Some(granted) = holder.granted.filter(|_| excludes(asker, holder)) else { continue };
        let is_before = end.is_none_or(|end| granted < end);
        let is_over = holder.ended.is_some_and(|ended| ended <= asker.asked);
        // What was granted with it is not what it waited for; of the dead nothing is known.
        let is_known = holder.ended.is_some() || end.is_none();
        if is_before && !is_over && is_known && !names.contains(&holder.task) {
            names.push(holder.task.clone());
        }
    }
    names
}

/// Whether two requests cannot both hold, whatever else is held.
fn excludes(one: &Record, other: &Record) -> bool {
    let is_kin = one.id.contains(&other.id) || other.id.contains(&one.id);
    !is_kin && conflict(&one.locks, &other.locks)
}

fn conflict(one: &LockSet, other: &LockSet) -> bool {
    one.iter().any(|(name, mode)| {
        other.iter().any(|(with, other)| {
            let is_exclusive = *mode == Mode::Exclusive || *other == Mode::Exclusive;
            is_exclusive && (name.covers(with) || with.covers(name))
        })
    })
}

/// A record without what would write to a terminal otherwise than as text: anybody may have written it.
fn plain(mut record: Record) -> Record {
    let clean = |text: &mut String| {
        if text.contains(char::is_control) {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
    };
    clean(&mut record.task);
    record.note.iter_mut().for_each(clean);
    record.waited_for.iter_mut().for_each(clean);
    record
}
