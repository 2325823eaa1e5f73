//! `lockctl history`: what ran when, what waited for what and for how long, as a table, JSON and a picture.

mod journal;
mod json;
mod picture;
mod read;
mod record;
mod table;

use std::{
    fs,
    io::{self, Write, stdout},
    path::PathBuf,
};

pub(crate) use journal::{Account, Journal, JournalPlace, SUFFIX};
use read::{Entry, Journals};
use record::Moment;

use crate::{cli, exit::Exit, json::pretty, list::width, notice, store::Settings};

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    #[error(
        "no history is kept: journal = 'none' was configured, or there is no HOME to keep it in; \
         name a journal with --journal"
    )]
    None,
    #[error("cannot read the history in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the picture to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl HistoryError {
    fn exit(&self) -> Exit {
        match self {
            Self::None => Exit::Config,
            Self::Read { .. } | Self::Write { .. } => Exit::System,
        }
    }
}

/// Prints the history, or draws it.
pub(crate) fn history(settings: &Settings, options: &cli::History) -> Exit {
    match show(settings, options) {
        Ok(()) => Exit::Status(0),
        Err(error) => {
            notice::say_error(&error);
            error.exit()
        }
    }
}

fn show(settings: &Settings, options: &cli::History) -> Result<(), HistoryError> {
    let now = Moment::now();
    let paths = match (&options.journal[..], settings.journal.path()) {
        ([], None) => return Err(HistoryError::None),
        ([], Some(path)) => vec![path.to_owned()],
        (chosen, _) => chosen.to_vec(),
    };
    let journals =
        Journals::read(&paths).map_err(|(path, source)| HistoryError::Read { path, source })?;
    if journals.broken > 0 {
        notice::say(format_args!("{} lines of the history are not understood", journals.broken));
    }
    let mut entries = journals.entries(&settings.describe());
    entries.retain(|entry| options.wants(entry, now));
    if let Some(path) = &options.svg {
        let picture = picture::draw(&entries, now, options.title.as_deref(), options.span);
        let failed = |source| HistoryError::Write { path: path.clone(), source };
        return fs::write(path, picture).map_err(failed);
    }
    let text = if options.json {
        pretty(&json::JsonHistory::of(&entries, now, settings, &paths))
    } else {
        let head = format!("{} (history in {})", settings.describe(), paths[0].display());
        match table::rows(&entries, now, width()) {
            None => format!("{head}: nothing yet"),
            Some(rows) => format!("{head}\n{rows}"),
        }
    };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(stdout(), "{text}");
    Ok(())
}

/// The newest fence that this host was given in a store, as far as its journal has it.
pub(crate) fn newest_fence(settings: &Settings) -> Option<u64> {
    let path = settings.journal.path()?.to_owned();
    Journals::read(&[path]).ok()?.newest_fence(&settings.describe())
}

impl cli::History {
    fn wants(&self, entry: &Entry, now: Moment) -> bool {
        let record = &entry.record;
        let last = entry.until_or(now).or(record.granted).unwrap_or(record.asked);
        let is_recent = self.since.is_none_or(|since| last >= now.before(since));
        let is_on = |lock: &lock_core::LockName| {
            record.locks.keys().any(|name| name.covers(lock) || lock.covers(name))
        };
        let is_of_lock = self.lock.is_empty() || self.lock.iter().any(is_on);
        let is_of_task = self.task.is_empty() || self.task.contains(&record.task);
        is_recent && is_of_lock && is_of_task
    }
}
