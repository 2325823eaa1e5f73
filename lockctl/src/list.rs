//! `lockctl list`: who holds what and who waits for whom, for people and for programs.

use std::{
    io::{IsTerminal, Write, stdout},
    time::SystemTime,
};

use comfy_table::{ContentArrangement, Table, presets};
use lock_core::{
    LockName, LockSet, Mode, Reach,
    process::{Liveness, Process, ProcessSet},
    table::{Blocker, ClientView, HoldView, Listing, WaiterView},
};

use crate::{
    duration,
    json::{self, JsonListing},
    keeper::LockError,
    open::with_locks,
    store::Settings,
    waiting::age,
};

/// Prints the list.
pub(crate) fn list(settings: &Settings, as_json: bool) -> Result<(), LockError> {
    let listing = with_locks(settings, async |locks| Ok(locks.list().await?))?;
    let text = if as_json {
        json::pretty(&JsonListing::of(&listing, settings))
    } else {
        let head = format!("{} (chosen by {})", settings.describe(), settings.chosen_by);
        match rows(&listing, width()) {
            None => format!("{head}: nothing is held"),
            Some(rows) => format!("{head}\n{rows}"),
        }
    };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(stdout(), "{text}");
    Ok(())
}

/// The columns of the terminal that is printed to, if it is one.
pub(crate) fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok().filter(|_| stdout().is_terminal())?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

/// A table of all holds and waiters, if there are any, no wider than this where that can be.
pub(crate) fn rows(listing: &Listing, width: Option<u16>) -> Option<String> {
    let holds = listing.holds.iter().map(held);
    let rows: Vec<[String; COLUMNS]> = holds.chain(listing.waiting.iter().map(waits)).collect();
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    // A narrow table leaves out what says nothing.
    let says = |column: usize| match column {
        STATE => width.is_none() || rows.iter().any(|row| row[STATE] != "alive"),
        NOTE => width.is_none() || rows.iter().any(|row| !row[NOTE].is_empty()),
        _ => true,
    };
    let shown = |row: &[String; COLUMNS]| {
        (0..COLUMNS)
            .filter(|column| says(*column))
            .map(|column| row[column].clone())
            .collect::<Vec<_>>()
    };
    table.set_header(shown(&HEADER.map(str::to_owned)));
    for row in &rows {
        table.add_row(shown(row));
    }
    Some(table.trim_fmt())
}

const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] = ["TASK", "LOCKS", "", "FOR", "WHERE", "STATE", "NOTE"];
const STATE: usize = 5;
const NOTE: usize = 6;

fn held(hold: &HoldView) -> [String; COLUMNS] {
    let note = hold.note.as_deref().unwrap_or_default().to_owned();
    row(&hold.task, &hold.locks, "held".into(), hold.since, &hold.client, note)
}

fn waits(waiter: &WaiterView) -> [String; COLUMNS] {
    let note = waiter.note.as_deref().unwrap_or_default().to_owned();
    let how = match behind(&waiter.blocked_by) {
        behind if behind.is_empty() => "waits".into(),
        behind => format!("waits for {behind}"),
    };
    row(&waiter.task, &waiter.locks, how, waiter.since, &waiter.client, note)
}

fn row(
    task: &str,
    locks: &LockSet,
    how: String,
    since: SystemTime,
    client: &ClientView,
    note: String,
) -> [String; COLUMNS] {
    let since = duration::age(age(since));
    [
        task.into(),
        locks_text(locks),
        how,
        since,
        whereabouts(client),
        client.state.to_string(),
        note,
    ]
}

/// `app/blog, mail (shared), backup (limit 2)`
pub(crate) fn locks_text(locks: &LockSet) -> String {
    let one = |(name, mode): (&LockName, &Mode)| match mode {
        Mode::Exclusive => name.to_string(),
        mode => format!("{name} ({mode})"),
    };
    locks.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The names of those in the way, each once.
fn behind(blockers: &[Blocker]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for blocker in blockers {
        if !names.contains(&&*blocker.task) {
            names.push(&blocker.task);
        }
    }
    names.join(", ")
}

/// `pid 4242 on web1`
pub(crate) fn whereabouts(client: &ClientView) -> String {
    let pid = living(client).first().map(|process| format!("pid {}", process.pid));
    let group = client.processes.groups.first().map(|group| format!("group {}", group.id));
    let host = client.processes.place.host.as_ref().map(|host| format!("on {host}"));
    [pid.or(group), host].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Its processes without those that are proven dead, unless all of it is.
pub(crate) fn living(client: &ClientView) -> Vec<Process> {
    let mut processes = client.processes.processes.clone();
    if client.state != Liveness::Dead {
        let place = &client.processes.place;
        processes.retain(|&process| {
            let one =
                ProcessSet { place: place.clone(), processes: vec![process], groups: Vec::new() };
            one.probe(Reach::Network) != Liveness::Dead
        });
    }
    processes
}
