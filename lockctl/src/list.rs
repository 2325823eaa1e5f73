//! `lockctl list`: who holds what and who waits for whom, for people and for programs.

use std::{io::Write, sync::Arc, time::SystemTime};

use comfy_table::{Table, presets};
use jiff::Timestamp;
use lock_core::{
    LockSet, Mode, Reach,
    process::{Liveness, Process, ProcessSet},
    table::{Blocker, ClientView, Listing},
};
use serde::Serialize;

use crate::{duration, keeper::LockError, open::with_locks, store::Settings, waiting::age};

/// Prints the list.
pub(crate) fn list(settings: &Settings, as_json: bool) -> Result<(), LockError> {
    let listing = with_locks(settings, async |locks| Ok(locks.list().await?))?;
    let text = if as_json { json(&listing, settings) } else { table(&listing, settings) };
    // A reader that has seen enough closes the pipe.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

fn table(listing: &Listing, settings: &Settings) -> String {
    let mut text = format!("{} (chosen by {})", settings.describe(), settings.chosen_by);
    if listing.holds.is_empty() && listing.waiting.is_empty() {
        text += ": nothing is held";
        return text;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["TASK", "LOCKS", "", "FOR", "WHERE", "STATE", "NOTE"]);
    for hold in &listing.holds {
        let note = hold.note.as_deref().unwrap_or_default().to_owned();
        let since = duration::age(age(hold.since));
        let (whereabouts, state) = (whereabouts(&hold.client), state(&hold.client).to_owned());
        let (task, locks) = (hold.task.to_string(), locks_text(&hold.locks));
        table.add_row([task, locks, "held".into(), since, whereabouts, state, note]);
    }
    for waiter in &listing.waiting {
        let note = waiter.note.as_deref().unwrap_or_default().to_owned();
        let since = duration::age(age(waiter.since));
        let (whereabouts, state) = (whereabouts(&waiter.client), state(&waiter.client).to_owned());
        let how = match behind(&waiter.blocked_by) {
            behind if behind.is_empty() => "waits".into(),
            behind => format!("waits for {behind}"),
        };
        let (task, locks) = (waiter.task.to_string(), locks_text(&waiter.locks));
        table.add_row([task, locks, how, since, whereabouts, state, note]);
    }
    format!("{text}\n{}", table.trim_fmt())
}

/// `app/blog, mail (shared), backup (limit 2)`
fn locks_text(locks: &LockSet) -> String {
    let one = |(name, mode): (&lock_core::LockName, &Mode)| match mode {
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

fn whereabouts(client: &ClientView) -> String {
    let pid = living(client).first().map(|process| format!("pid {}", process.0));
    let group = client.processes.groups.first().map(|group| format!("group {}", group.0));
    let host = client.processes.place.host.as_ref().map(|host| format!("on {host}"));
    [pid.or(group), host].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Its processes without those that are proven dead, unless all of it is.
fn living(client: &ClientView) -> Vec<Process> {
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

fn state(client: &ClientView) -> &'static str {
    match client.state {
        Liveness::Alive => "alive",
        Liveness::Dead => "dead",
        Liveness::Unknown => "unknown",
    }
}

/// The listing as programs read it.
#[derive(Serialize)]
struct JsonListing {
    version: u64,
    store: String,
    now: String,
    holds: Vec<JsonEntry>,
    waiting: Vec<JsonEntry>,
}

#[derive(Serialize)]
struct JsonEntry {
    id: String,
    task: Arc<str>,
    task_id: String,
    locks: Vec<JsonLock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    since: String,
    host: Option<String>,
    pids: Vec<u32>,
    state: &'static str,
    note: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<Vec<JsonBlocker>>,
}

#[derive(Serialize)]
struct JsonLock {
    name: String,
    mode: &'static str,
    limit: Option<u32>,
}

#[derive(Serialize)]
struct JsonBlocker {
    task: Arc<str>,
    lock: String,
}

fn json(listing: &Listing, settings: &Settings) -> String {
    let listing = JsonListing {
        version: listing.version,
        store: settings.describe(),
        now: rfc3339(SystemTime::now()),
        holds: listing
            .holds
            .iter()
            .map(|hold| JsonEntry {
                id: hold.id.to_string(),
                task: hold.task.clone(),
                task_id: hold.task_id.to_string(),
                locks: json_locks(&hold.locks),
                fence: Some(hold.fence),
                since: rfc3339(hold.since),
                host: hold.client.processes.place.host.clone(),
                pids: pids(&hold.client),
                state: state(&hold.client),
                note: hold.note.clone(),
                blocked_by: None,
            })
            .collect(),
        waiting: listing
            .waiting
            .iter()
            .map(|waiter| JsonEntry {
                id: waiter.id.to_string(),
                task: waiter.task.clone(),
                task_id: waiter.task_id.to_string(),
                locks: json_locks(&waiter.locks),
                fence: None,
                since: rfc3339(waiter.since),
                host: waiter.client.processes.place.host.clone(),
                pids: pids(&waiter.client),
                state: state(&waiter.client),
                note: waiter.note.clone(),
                blocked_by: Some(waiter.blocked_by.iter().map(json_blocker).collect()),
            })
            .collect(),
    };
    serde_json::to_string_pretty(&listing).expect("all keys are text and no value fails")
}

fn json_blocker(blocker: &Blocker) -> JsonBlocker {
    JsonBlocker { task: blocker.task.clone(), lock: blocker.lock.to_string() }
}

fn json_locks(locks: &LockSet) -> Vec<JsonLock> {
    let one = |(name, mode): (&lock_core::LockName, &Mode)| {
        let (mode, limit) = match mode {
            Mode::Exclusive => ("exclusive", None),
            Mode::Shared => ("shared", None),
            Mode::Limit(limit) => ("limit", Some(*limit)),
        };
        JsonLock { name: name.to_string(), mode, limit }
    };
    locks.iter().map(one).collect()
}

fn pids(client: &ClientView) -> Vec<u32> {
    living(client).iter().map(|process| process.0).collect()
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().to_string()
}
