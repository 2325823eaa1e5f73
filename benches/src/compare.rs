//! The approaches side by side: the same orders to all, in processes of their own; what fails is told.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lock_bench_worker::{Failure, now};
use tempfile::TempDir;

use crate::contention;
use crate::handoff::hand_off;
use crate::results::{Compared, Crash, Restart, Spread};
use crate::store::{AS_DELIVERED, Store};
use crate::tasks::{TASKS, rate_of, start};
use crate::worker::{Recipe, Worker, start_lock_server};

/// How much of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// For each rate and latency.
    pub(crate) seconds: f64,
    pub(crate) processes: usize,
    pub(crate) hand_offs: usize,
    /// How long those who wait for the lock of somebody who was killed are given.
    pub(crate) crash_limit: Duration,
    /// How long those who ask for a lock after a restart are given.
    pub(crate) restart_limit: Duration,
}

/// How long a process that was told to wait is given to be in the queue.
const TO_QUEUE: Duration = Duration::from_millis(40);

/// How long giving back may take after a restart.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// How many locks are held to see what they need.
const HELD: u32 = 8;

/// An approach and where it is tried.
struct Subject<'s> {
    recipe: Recipe,
    store: Option<&'s Store>,
    row: Compared,
}

impl Subject<'_> {
    /// The name of a lock that no other approach has: some share the names of a server.
    fn lock(&self, name: &str) -> String {
        format!("{name}/{}", self.row.key)
    }
}

/// Where the approaches without a server of ours are.
struct Places {
    folder: TempDir,
    lock_server: Worker,
}

/// Tries all approaches whose stores are there.
pub(crate) async fn measure(
    stores: &[&Store],
    peers: Option<&Path>,
    effort: Effort,
) -> Result<Vec<Compared>, Failure> {
    let folder = tempfile::tempdir()?;
    let lock_server = start_lock_server(&folder.path().join("socket"))?;
    let mut places = Places { folder, lock_server };
    let mut subjects = subjects(stores, peers, places.folder.path())?;
    let begin = Instant::now();
    let tell = |what: &str| println!("{what} (after {:.1} s) …", begin.elapsed().as_secs_f64());
    for subject in &mut subjects {
        tell(&format!("{}, {}", subject.row.name, subject.row.store));
        measure_rates(subject, effort, &places).await;
    }
    tell("crashes");
    measure_crashes(&mut subjects, effort.crash_limit);
    tell("restarts");
    measure_restarts(&mut subjects, effort.restart_limit, &mut places);
    Ok(subjects.into_iter().map(|subject| subject.row).collect())
}

/// All that there are, those of one store together.
fn subjects<'s>(
    stores: &[&'s Store],
    peers: Option<&Path>,
    folder: &Path,
) -> Result<Vec<Subject<'s>>, Failure> {
    const SQL: [(&str, &str); 5] = [
        ("old-blob", "compare the old blob"),
        ("row", "one row per lock"),
        ("for-update", "SELECT … FOR UPDATE"),
        ("lock-tables", "LOCK TABLES"),
        ("get-lock", "GET_LOCK"),
    ];
    let mut subjects = Vec::new();
    let mut add = |key: &str, name: &str, kind: &str, store, recipe| {
        let row = Compared {
            key: key.into(),
            name: name.into(),
            store: kind.into(),
            is_ours: key == "interlock",
            ..Compared::default()
        };
        subjects.push(Subject { recipe, store, row });
    };
    let path = |name: &str| -> Result<String, Failure> {
        let path = folder.join(name);
        fs::create_dir(&path)?;
        Ok(path.display().to_string())
    };
    for &store in stores {
        let ours = Recipe::product(store.fresh(), true);
        add("interlock", "versioned blob (Interlock)", store.name, Some(store), ours);
        let others: &[(&str, &str)] = match store.name {
            "mysql" => &SQL,
            "redis" | AS_DELIVERED => &[("redis", "SET NX PX")],
            _ => &[],
        };
        for (key, name) in others {
            add(key, name, store.name, Some(store), Recipe::new(key, store.at()));
        }
        let crates: &[&str] = match store.name {
            "mysql" => &["distributed-lock-mysql"],
            "redis" | AS_DELIVERED => &["distributed-lock-redis", "rslock"],
            _ => &[],
        };
        for (peers, key) in crates.iter().filter_map(|key| Some((peers?, key))) {
            let recipe =
                Recipe { program: Some(peers.into()), approach: (*key).into(), at: store.at() };
            add(key, key, store.name, Some(store), recipe);
        }
    }
    add("o-excl", "O_EXCL file", "files", None, Recipe::new("o-excl", path("o-excl")?));
    add("flock", "flock", "files", None, Recipe::new("flock", path("flock")?));
    add("sqlite", "a row in SQLite", "sqlite", None, Recipe::new("sqlite", path("sqlite")?));
    let socket = folder.join("socket").display().to_string();
    add("socket", "lock server on a unix socket", "socket", None, Recipe::new("socket", socket));
    if let Some(peers) = peers {
        let (key, at) = ("distributed-lock-file", path("distributed-lock-file")?);
        let recipe = Recipe { program: Some(peers.into()), approach: key.into(), at };
        add(key, key, "files", None, recipe);
    }
    Ok(subjects)
}

/// Everything but crashes and restarts. What fails leaves a gap and a reason.
async fn measure_rates(subject: &mut Subject<'_>, effort: Effort, places: &Places) {
    let Subject { recipe, store, row } = subject;
    let mut failures = Vec::new();
    let mut keep = |what: &str, error: Failure| failures.push(format!("{what}: {error}"));
    match latency(recipe, effort.seconds) {
        Ok([acquire, release]) => (row.acquire, row.release) = (Some(acquire), Some(release)),
        Err(error) => keep("latency", error),
    }
    match start(recipe).and_then(|mut worker| rate_of(&mut worker, TASKS, effort.seconds)) {
        Ok(rate) => row.tasks = Some(rate),
        Err(error) => keep("tasks", error),
    }
    match processes(recipe, effort) {
        Ok([(rate, _), (contended, slowest)]) => {
            row.processes = Some(rate);
            (row.contended, row.slowest) = (Some(contended), Some(slowest));
        }
        Err(error) => keep("processes", error),
    }
    let recipe_of = || recipe.clone();
    let wait = Duration::from_millis(100);
    match hand_off(recipe_of, "handed", 4, wait, effort.hand_offs.div_ceil(4)) {
        Ok(took) => row.hand_off = Some(took),
        Err(error) => keep("hand-off", error),
    }
    match order(recipe, effort.processes) {
        Ok(passed) => row.passed = Some((passed, effort.processes)),
        Err(error) => keep("order", error),
    }
    match connections(recipe, *store, places).await {
        Ok(connections) => row.connections = Some((connections, HELD)),
        Err(error) => keep("connections", error),
    }
    row.failures = failures;
}

/// One client, nobody else.
fn latency(recipe: &Recipe, seconds: f64) -> Result<[Spread; 2], Failure> {
    let mut worker = recipe.start()?;
    worker.tell(&format!("loop app/blog {seconds}"))?;
    Ok([Spread::of(worker.hear_samples()?), Spread::of(worker.hear_samples()?)])
}

/// Several processes with a lock for each, and with one for all.
fn processes(recipe: &Recipe, effort: Effort) -> Result<[(f64, f64); 2], Failure> {
    let mut workers = recipe.start_many(effort.processes)?;
    // What is only done at the first use is not counted.
    for worker in &mut workers {
        worker.acquire("first")?;
        worker.release()?;
    }
    let apart = contention::rate_of(&mut workers, |index| format!("own/{index}"), effort.seconds)?;
    let together = contention::rate_of(&mut workers, |_| "shared".into(), effort.seconds)?;
    Ok([apart, together])
}

/// How many of those who queue one after the other are passed by somebody who came later.
fn order(recipe: &Recipe, waiters: usize) -> Result<usize, Failure> {
    let mut holder = recipe.start()?;
    let mut workers = recipe.start_many(waiters)?;
    holder.acquire("queue")?;
    for worker in &mut workers {
        worker.tell("hold queue 5")?;
        sleep(TO_QUEUE);
    }
    holder.release()?;
    let times: Vec<Duration> =
        workers.iter_mut().map(Worker::hear_time).collect::<Result<_, _>>()?;
    Ok((0..times.len()).filter(|&at| times[at..].iter().any(|later| *later < times[at])).count())
}

/// Connections to the server, or descriptors of files, of a process that holds some locks.
async fn connections(
    recipe: &Recipe,
    store: Option<&Store>,
    places: &Places,
) -> Result<u64, Failure> {
    let mut counters = match store {
        Some(store) => store.counters().await?,
        None => None,
    };
    let of_lock_server = (recipe.approach == "socket").then(|| places.lock_server.pid());
    let mut count = async |pid: Option<u32>| -> Result<u64, Failure> {
        match (&mut counters, pid) {
            (Some(counters), _) => counters.connections().await,
            (None, Some(pid)) => Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64),
            (None, None) => Ok(0),
        }
    };
    // Those of processes that have just ended are not counted.
    sleep(TO_QUEUE);
    let without = count(of_lock_server).await?;
    let mut worker = recipe.start()?;
    let pid = of_lock_server.or(Some(worker.pid()));
    // What a process has open before it holds anything is not for locks; a connection is.
    let open = count(pid).await?;
    let without = if counted_by_server(store, of_lock_server) { without } else { open };
    worker.tell(&format!("many {HELD}"))?;
    worker.hear()?;
    Ok(count(pid).await?.saturating_sub(without))
}

/// Whether connections are counted where they end.
fn counted_by_server(store: Option<&Store>, lock_server: Option<u32>) -> bool {
    lock_server.is_some() || store.is_some_and(|store| store.folder().is_none())
}

/// All holders are killed, one after the other, and all who wait for them are given the same time.
fn measure_crashes(subjects: &mut [Subject<'_>], limit: Duration) {
    let mut waiting = Vec::new();
    for subject in subjects.iter_mut() {
        let begin = || -> Result<(Duration, Worker), Failure> {
            let [mut holder, mut waiter] = [subject.recipe.start()?, subject.recipe.start()?];
            let name = subject.lock("crashed");
            holder.acquire(&name)?;
            waiter.tell(&format!("acquire {name}"))?;
            sleep(TO_QUEUE);
            Ok((holder.kill()?, waiter))
        };
        match begin() {
            Ok((killed, mut waiter)) => {
                // Who is soon free is not disturbed by the others.
                let heard = waiter.hear_time_within(TO_QUEUE);
                waiting.push((subject, killed, waiter, heard));
            }
            Err(error) => subject.row.failures.push(format!("crash: {error}")),
        }
    }
    for (subject, killed, mut waiter, heard) in waiting {
        let left = (killed + limit).saturating_sub(now());
        let heard = match heard {
            Ok(None) => waiter.hear_time_within(left.max(Duration::from_millis(1))),
            heard => heard,
        };
        let limit_ms = limit.as_secs_f64() * 1e3;
        match heard {
            Ok(granted) => {
                let took = granted.map(|granted| granted.saturating_sub(killed));
                let free_after_ms = took.map(|took| took.as_secs_f64() * 1e3);
                subject.row.crash = Some(Crash { free_after_ms, limit_ms });
            }
            Err(error) => subject.row.failures.push(format!("crash: {error}")),
        }
    }
}

/// Each server is killed and started again while somebody holds a lock of each approach that uses it.
fn measure_restarts(subjects: &mut [Subject<'_>], limit: Duration, places: &mut Places) {
    let mut holders: Vec<Option<Worker>> = Vec::new();
    for subject in subjects.iter_mut() {
        let hold = || -> Result<Worker, Failure> {
            let mut holder = subject.recipe.start()?;
            holder.acquire(&subject.lock("restarted"))?;
            Ok(holder)
        };
        match hold() {
            Ok(holder) => holders.push(Some(holder)),
            Err(error) => {
                subject.row.failures.push(format!("restart: {error}"));
                holders.push(None);
            }
        }
    }
    let restarted = restart_all(subjects, places);
    for ((subject, holder), restarted) in subjects.iter_mut().zip(holders).zip(restarted) {
        let Some(holder) = holder else { continue };
        let restart = match restarted {
            Ok(true) => after_restart(subject, holder, limit),
            Ok(false) => Ok(Restart::NoServer),
            Err(error) => Err(error.into()),
        };
        match restart {
            Ok(restart) => subject.row.restart = Some(restart),
            Err(error) => subject.row.failures.push(format!("restart: {error}")),
        }
    }
}

/// Whether the server of each was killed and started again; there may be none, or it may fail.
fn restart_all(subjects: &[Subject<'_>], places: &mut Places) -> Vec<Result<bool, String>> {
    let mut done: Vec<(&str, Result<bool, String>)> = Vec::new();
    for store in subjects.iter().filter_map(|subject| subject.store) {
        if !done.iter().any(|(name, _)| *name == store.name) {
            done.push((store.name, store.restart().map_err(|error| error.to_string())));
        }
    }
    // The old one ends with its value.
    let lock_server = start_lock_server(&places.folder.path().join("socket"))
        .map(|server| drop(std::mem::replace(&mut places.lock_server, server)));
    let lock_server = lock_server.map_or_else(|error| Err(error.to_string()), |()| Ok(true));
    let result = |subject: &Subject<'_>| match subject.store {
        Some(store) => done.iter().find(|(name, _)| *name == store.name).map(|(_, done)| done),
        None if subject.recipe.approach == "socket" => Some(&lock_server),
        None => None,
    };
    subjects.iter().map(|subject| result(subject).cloned().unwrap_or(Ok(false))).collect()
}

/// Gives back what was held before a restart, unless that takes too long.
fn give_back(holder: &mut Worker) -> Result<(), Failure> {
    holder.tell("release")?;
    holder.hear_within(GIVE_BACK)?.ok_or("it was not even asked")?;
    match holder.hear_within(GIVE_BACK)? {
        Some(_) => Ok(()),
        None => Err(format!("it still tries after {GIVE_BACK:?}").into()),
    }
}

/// Whether somebody else gets the lock although its holder lives, and what that one hears of it.
fn after_restart(
    subject: &Subject<'_>,
    mut holder: Worker,
    limit: Duration,
) -> Result<Restart, Failure> {
    let begin = Instant::now();
    let mut other = loop {
        match subject.recipe.start() {
            Ok(other) => break other,
            // A server that was just started may refuse for a moment.
            Err(error) if begin.elapsed() > limit => return Err(error),
            Err(_) => sleep(TO_QUEUE),
        }
    };
    other.tell(&format!("acquire {}", subject.lock("restarted")))?;
    let lost = other.hear_time_within(limit)?.is_some();
    Ok(match (lost, give_back(&mut holder)) {
        (false, Ok(())) => Restart::Kept,
        (false, Err(error)) => Restart::KeptButStuck(error.to_string()),
        (true, Ok(())) => Restart::LostInSilence,
        (true, Err(error)) => Restart::LostAndToldLate(error.to_string()),
    })
}
