//! What is the same for all stores: whose store it is, who can be seen, the table, and the dead.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use lock_core::{
    LocksBuilder, Version,
    process::{Liveness, Place},
    table::{ClientView, Listing, LockTable},
};

use super::report::Report;
use crate::{
    duration,
    exit::Exit,
    list::locks_text,
    store::{
        Choice, DEFAULT_STORE, ROOT_STATE, STORE_VARIABLE, SYSTEM_CONFIG, Settings, Store,
        Surroundings, USER_STATE,
    },
};

/// How many holds and waiters one namespace has room for without being slow.
const MANY: usize = 1000;
/// How far a version may be ahead of this clock before somebody's clock is wrong.
const AHEAD_MAX: Duration = Duration::from_mins(1);

/// Whoever uses another store excludes nobody here: is anybody likely to?
pub(super) fn other_stores(settings: &Settings, report: &mut Report) {
    let ours = &settings.store;
    let todo = format!("if they are to exclude each other, name one store in {SYSTEM_CONFIG}");
    if matches!(settings.chosen_by, Choice::Option | Choice::Environment) {
        let unset = |name: &str| env::var_os(name).filter(|_| name != STORE_VARIABLE);
        let around = Surroundings { variable: &unset, ..Surroundings::of_process() };
        match Settings::find(None, settings.namespace.as_deref(), &around) {
            Ok(other) if other.store != *ours && is_used(&other.store) => report.warn(
                "stores",
                format!(
                    "without {} this user has another store, {} ({}), as under cron",
                    settings.chosen_by, other.store, other.chosen_by
                ),
                todo,
            ),
            // Whoever has none is told so, and shares no lock unknowingly.
            Ok(_) | Err(_) => report.ok("stores", "this user has no other store that is there"),
        }
        return;
    }
    if !matches!(settings.chosen_by, Choice::Default) {
        return report.ok("stores", format!("{} names the store", settings.chosen_by));
    }
    let others: Vec<PathBuf> = default_stores()
        .into_iter()
        .filter(|path| *ours != Store::Sqlite(path.clone()) && may_exist(path))
        .collect();
    match others.first() {
        None => report.ok("stores", "no other user has a store of its own, as far as can be seen"),
        Some(other) => {
            let more = match others.len() {
                1 => String::new(),
                many => format!(" and {} more", many - 1),
            };
            let text = format!("{}{more} is the store of another user", other.display());
            report.warn("stores", text, todo);
        }
    }
}

/// A password in a configuration file is as safe as that file is.
pub(super) fn password(settings: &Settings, report: &mut Report) {
    let Choice::File(path) = &settings.chosen_by else { return };
    let of_others = 0o007;
    let is_open = |path| fs::metadata(path).is_ok_and(|file| file.mode() & of_others != 0);
    if settings.has_password() && is_open(path) {
        report.warn(
            "password",
            format!("{} has it, and every user of this host may read that", path.display()),
            "name a file of mode 0600 in the URL instead, with password-file",
        );
    }
}

/// Whether there is such a store, as far as can be told from here.
fn is_used(store: &Store) -> bool {
    match store {
        Store::Sqlite(path) | Store::File(path, _) => path.exists(),
        Store::Mysql(_) | Store::Redis(_) => true,
    }
}

/// Root's own is out of sight of users, but not the directory that it is in.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or_else(|_| path == Path::new(ROOT_STATE).join(DEFAULT_STORE))
}

/// Where the users of this host have their stores if they choose none.
fn default_stores() -> BTreeSet<PathBuf> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let homes = users.lines().filter_map(|line| line.split(':').nth(5));
    let homes = homes.filter(|home| *home != "/" && !home.is_empty()).map(Path::new);
    let states = homes.map(|home| home.join(USER_STATE)).chain([ROOT_STATE.into()]);
    states.map(|state| state.join(DEFAULT_STORE)).collect()
}

/// Whether processes can be seen alive or dead from here.
pub(super) fn processes(report: &mut Report) {
    let here = Place::here();
    if here.boot.is_some() && here.pid_ns.is_some() && here.time_ns.is_some() {
        report.ok("processes", "who lives on this host can be seen");
    } else {
        report.warn(
            "processes",
            "whether processes live cannot be seen from here, so that leases decide",
            "mount this pid namespace's own /proc, and put nothing over the boot id",
        );
    }
}

/// How large the table is.
pub(super) fn table(table: &LockTable, bytes: usize, report: &mut Report) {
    let listing = table.list();
    let (held, waits) = (listing.holds.len(), listing.waiting.len());
    let text = format!("{held} held, {waits} waiting, {bytes} bytes");
    let most = LocksBuilder::TABLE_BYTES_MAX;
    if bytes > most / 2 {
        let todo = format!("at {most} bytes requests are refused: use several namespaces");
        report.warn("table", text, todo);
    } else if held + waits > MANY {
        let todo = "every change writes all of it: give what is independent a namespace of its own";
        report.warn("table", text, todo);
    } else {
        report.ok("table", text);
    }
}

/// Whether versions, by which fences go, only rise: against the fence of the run that this is in, and the
/// newest that this host was given.
pub(super) fn version(version: Version, newest: Option<u64>, report: &mut Report) {
    let fence = env::var("LOCKCTL_FENCE").ok().and_then(|fence| fence.parse::<u64>().ok());
    if let Some(fence) = fence.filter(|fence| *fence > version.0) {
        return report.fail_with(
            "version",
            format!("the store is at version {version}, before this run's fence {fence}"),
            "it was restored or has lost writes: end this run, and check what it has written",
            Exit::Config,
        );
    }
    if let Some(newest) = newest.filter(|newest| *newest > version.0) {
        return report.warn(
            "version",
            format!("the store is at version {version}, and this host was given fence {newest} before"),
            "it was restored or has lost writes: check what ran since; the next fence is above both",
        );
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ahead = Duration::from_micros(version.0).saturating_sub(now);
    if ahead > AHEAD_MAX {
        report.warn(
            "version",
            format!("the store's version is {} ahead of this clock", duration::age(ahead)),
            "some host's clock is or was wrong: set the clocks; fences rise all the same",
        );
    } else if version == Version::ABSENT {
        report.ok("version", "nothing was ever locked here");
    } else {
        report.ok("version", format!("the store is at version {version}, not ahead of this clock"));
    }
}

/// Who is dead, what becomes of it, and who cannot be seen.
pub(super) fn dead(listing: &Listing, swept: Option<usize>, report: &mut Report) {
    let all = |state| clients(listing, state);
    let dead = all(Liveness::Dead);
    let locks: Vec<String> = listing
        .holds
        .iter()
        .filter(|hold| hold.client.state == Liveness::Dead)
        .map(|hold| format!("{} of {}", locks_text(&hold.locks), hold.task))
        .collect();
    let what = if locks.is_empty() { "nothing".into() } else { locks.join("; ") };
    match (dead.len(), swept) {
        (0, None | Some(0)) => report.ok("dead", "nobody who has locks is dead"),
        (_, Some(swept)) => report.ok("dead", format!("{} swept: they held {what}", count(swept))),
        (dead, None) => report.warn(
            "dead",
            format!("{} dead and hold {what}", are(dead)),
            "whoever asks for these locks frees them; `lockctl doctor --repair` does it now",
        ),
    }
    let unknown = all(Liveness::Unknown);
    let endless: Vec<&str> =
        unknown.iter().filter(|c| c.lease.is_none()).map(|client| &*client.name).collect();
    if !endless.is_empty() {
        report.warn(
            "unseen",
            format!("{} cannot be seen from here and has no lease", endless.join(", ")),
            "if it is dead, only `lockctl release --task NAME` frees its locks",
        );
    } else if unknown.is_empty() {
        report.ok("unseen", "everybody who has locks can be seen from here");
    } else {
        let text = format!("{} on other hosts or out of sight: leases decide", are(unknown.len()));
        report.ok("unseen", text);
    }
}

/// Those in this state, each once.
fn clients(listing: &Listing, state: Liveness) -> Vec<&ClientView> {
    let holds = listing.holds.iter().map(|hold| &*hold.client);
    let all = holds.chain(listing.waiting.iter().map(|waiter| &*waiter.client));
    let mut seen = BTreeSet::new();
    all.filter(|client| client.state == state && seen.insert(client.id)).collect()
}

fn count(clients: usize) -> String {
    if clients == 1 { "1 dead client was".into() } else { format!("{clients} dead clients were") }
}

fn are(clients: usize) -> String {
    if clients == 1 { "1 client is".into() } else { format!("{clients} clients are") }
}
