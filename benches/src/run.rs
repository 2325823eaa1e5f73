//! Runs: which figures are measured in which stores, how much of each, and where the results go.

use std::env;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lock_bench_worker::Failure;

use crate::results::Results;
use crate::store::Store;
use crate::worker::start_lock_server;
use crate::{
    Arguments, command, compare, contention, handoff, machine, report, rest, tasks, versus, waiting,
};

/// The figures by their names on the command line.
pub(crate) const FIGURES: [&str; 10] = [
    "single",
    "tasks",
    "handoff",
    "recovery",
    "waiting",
    "contention",
    "growth",
    "rest",
    "command",
    "approaches",
];

/// A run that goes on.
struct Run<'a> {
    arguments: &'a Arguments,
    /// Only what the figures are judged by.
    is_brief: bool,
    stores: Vec<Store>,
    peers: Option<PathBuf>,
    lockctl: Option<PathBuf>,
    results: Results,
}

/// Measures, or reads what was measured before, and writes what was asked for of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let results = match &arguments.report {
        Some(folder) if arguments.again => report::read(folder)?,
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(measure_all(arguments))?
        }
    };
    if let Some(folder) = &arguments.report {
        report::write(&results, folder)?;
    }
    if let Some(page) = &arguments.summary {
        report::summarize(&results, page)?;
    }
    Ok(())
}

/// The last run, with those before it.
async fn measure_all(arguments: &Arguments) -> Result<Results, Failure> {
    let mut earlier = Vec::new();
    for _ in 1..arguments.runs {
        earlier.push(run(arguments, true).await?);
    }
    Ok(Results { earlier, ..run(arguments, false).await? })
}

/// Measures what was asked for, and prints it as it comes. If it is brief, no more than the figures are
/// judged by.
async fn run(arguments: &Arguments, is_brief: bool) -> Result<Results, Failure> {
    let begin = Instant::now();
    let mut run = Run::start(arguments, is_brief).await?;
    for figure in FIGURES {
        if is_brief && figure == "approaches" {
            continue;
        }
        if !arguments.figures.is_empty() && !arguments.figures.iter().any(|name| name == figure) {
            continue;
        }
        println!("\n# {figure} (after {} s)", begin.elapsed().as_secs());
        match figure {
            "single" => run.single().await?,
            "tasks" => run.tasks().await?,
            "handoff" => run.handoff()?,
            "recovery" => run.recovery()?,
            "waiting" => run.waiting().await?,
            "contention" => run.contention().await?,
            "growth" => run.growth().await?,
            "rest" => run.rest().await?,
            "command" => run.command()?,
            _ => run.approaches().await?,
        }
    }
    run.results.seconds = begin.elapsed().as_secs_f64();
    println!("\nmeasured in {:.0} s", run.results.seconds);
    Ok(run.results)
}

impl<'a> Run<'a> {
    async fn start(arguments: &'a Arguments, is_brief: bool) -> Result<Self, Failure> {
        let quick = arguments.quick;
        let machine = machine::look()?;
        let crates = machine::crates();
        let mut results = Results { quick, machine, crates, ..Results::default() };
        let more: Vec<&str> = arguments.argument.iter().map(String::as_str).collect();
        let mut stores = Vec::new();
        for name in &arguments.stores {
            match Store::start(name, &more).await {
                Ok(store) => {
                    println!("{name}: {}", store.title);
                    results.stores.push((name.clone(), store.title.clone()));
                    let options = store.options()?;
                    if !options.is_empty() {
                        results.options.push((name.clone(), options));
                    }
                    stores.push(store);
                }
                Err(error) => {
                    println!("{name} is missing: {error}");
                    results.missing.push(format!("{name}: {error}"));
                }
            }
        }
        // Where `cargo xtask bench` has built them.
        let beside = |path: &str| {
            let path = env::current_exe().ok()?.with_file_name(path);
            path.exists().then_some(path)
        };
        let (peers, lockctl) = (beside("../peers/release/lock-peers"), beside("lockctl"));
        for (what, path) in [("peers", &peers), ("lockctl", &lockctl)] {
            if path.is_none() {
                println!("{what} is missing: it was not built beside this program");
                results.missing.push(format!("{what}: it was not built"));
            }
        }
        Ok(Self { arguments, is_brief, stores, peers, lockctl, results })
    }

    /// The one number, or the other in a quick run.
    fn by_effort<T>(&self, full: T, quick: T) -> T {
        if self.arguments.quick { quick } else { full }
    }

    /// The stores of a figure that is about MySQL, and in the last of the full runs the others too.
    fn chiefly_mysql(&self) -> impl Iterator<Item = &Store> {
        let is_alone = self.arguments.quick || self.is_brief;
        self.stores.iter().filter(move |store| !is_alone || store.name == "mysql")
    }

    /// The stores of a figure that is about all of them; in a quick run MySQL.
    fn all_unless_quick(&self) -> impl Iterator<Item = &Store> {
        let is_quick = self.arguments.quick;
        self.stores.iter().filter(move |store| !is_quick || store.name == "mysql")
    }

    async fn single(&mut self) -> Result<(), Failure> {
        let count = self.by_effort(3_000, 250);
        for store in &self.stores {
            keep(&mut self.results.versus, versus::measure(store, 0, count).await?);
        }
        for store in &self.stores {
            keep(&mut self.results.parts, [versus::measure_parts(store, count / 2).await?]);
        }
        Ok(())
    }

    async fn tasks(&mut self) -> Result<(), Failure> {
        let (seconds, mut rows) = (self.by_effort(3.0, 1.0), Vec::new());
        let mut missing = Vec::new();
        for store in self.chiefly_mysql() {
            keep(&mut rows, tasks::measure(store, seconds)?);
            match tasks::measure_crate(store, self.peers.as_deref(), seconds) {
                Ok(row) => keep(&mut rows, row),
                Err(error) => {
                    println!("{} on {} failed: {error}", tasks::CRATE, store.name);
                    missing.push(format!("{} on {}: {error}", tasks::CRATE, store.name));
                }
            }
        }
        let mut many = Vec::new();
        for store in self.all_unless_quick() {
            keep(&mut many, [tasks::measure_many(store).await?]);
        }
        (self.results.tasks, self.results.many) = (rows, many);
        self.results.missing.extend(missing);
        Ok(())
    }

    fn handoff(&mut self) -> Result<(), Failure> {
        let ms = Duration::from_millis;
        let waits = self.by_effort(
            vec![(ms(100), 20), (ms(1_000), 5), (ms(10_000), 2)],
            vec![(ms(100), 4), (ms(1_000), 1)],
        );
        // With a bell; and without one, which is what hosts that do not know each other have.
        let with = self.stores.iter().map(|store| (store, true));
        let mysql = self.stores.iter().filter(|store| store.name == "mysql");
        let all: Vec<(&Store, bool)> = with.chain(mysql.map(|store| (store, false))).collect();
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("socket");
        let _server = start_lock_server(&socket)?;
        let socket = socket.display().to_string();
        for (wait, rounds) in &waits {
            // Short waits are too much for all of them at once.
            let at_once = if *wait < ms(1_000) { 1 } else { all.len().max(1) };
            for stores in all.chunks(at_once) {
                let rows = &mut self.results.hand_off;
                keep(rows, handoff::measure(stores, &socket, *wait, *rounds)?);
            }
        }
        let stores = &self.stores;
        self.results
            .hand_off
            .sort_by_key(|row| (place(stores, &row.store), !row.bell, row.waited_ms));
        Ok(())
    }

    fn recovery(&mut self) -> Result<(), Failure> {
        let rounds = self.by_effort(20, 2);
        for store in &self.stores {
            keep(&mut self.results.recovery, [handoff::measure_recovery(store, rounds)?]);
        }
        Ok(())
    }

    async fn waiting(&mut self) -> Result<(), Failure> {
        let time = Duration::from_secs(self.by_effort(3, 1));
        let mut rows = Vec::new();
        for (bell, waiters) in
            [true, false].into_iter().flat_map(|bell| [1, 10, 100].map(|waiters| (bell, waiters)))
        {
            // Many processes take long to queue, and longer to be served if they do not hear of each other.
            let is_short = waiters == 1 || bell == (waiters == 100);
            let stores: Vec<&Store> = match (self.arguments.quick, self.is_brief) {
                (true, _) if !is_short => continue,
                (false, true) if !is_short => self.chiefly_mysql().collect(),
                _ => self.all_unless_quick().collect(),
            };
            // Hundreds of processes that all look after each other would measure the processors.
            let at_once = if waiters > 10 { 1 } else { stores.len() };
            for stores in stores.chunks(at_once.max(1)) {
                keep(&mut rows, waiting::measure(stores, bell, waiters, time).await?);
            }
        }
        rows.sort_by_key(|row| place(&self.stores, &row.store));
        self.results.waiting = rows;
        Ok(())
    }

    async fn contention(&mut self) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for store in self.chiefly_mysql() {
            let seconds = self.by_effort(if store.name == "mysql" { 10 } else { 3 }, 2);
            keep(&mut rows, contention::measure(store, seconds).await?);
        }
        self.results.contention = rows;
        Ok(())
    }

    async fn growth(&mut self) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for holds in versus::SIZES {
            // The largest take long, and differ little from each other.
            let is_large = holds > 1_000;
            let count =
                self.by_effort(if is_large { 150 } else { 300 }, if is_large { 20 } else { 100 });
            keep(&mut rows, versus::measure_memory(holds, 10 * count).await?);
            for store in self.all_unless_quick() {
                keep(&mut rows, versus::measure(store, holds, count).await?);
            }
        }
        self.results.versus.extend(rows);
        keep(&mut self.results.holding, versus::measure_bytes().await?);
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), Failure> {
        let (lease, lengths) = (self.by_effort(2, 1), self.by_effort(4, 2));
        let (lease, mut rows) = (Duration::from_secs(lease), Vec::new());
        for (lease, time) in [(None, 2 * lease), (Some(lease), lengths * lease)] {
            for tasks in rest::TASKS {
                // All at once: nobody does anything.
                let measure = |store| rest::measure(store, tasks, lease, time);
                let stores = self.all_unless_quick().map(measure);
                keep(&mut rows, try_join_all(stores).await?.into_iter().flatten());
            }
        }
        self.results.rest = rows;
        Ok(())
    }

    fn command(&mut self) -> Result<(), Failure> {
        let Some(lockctl) = &self.lockctl else { return Ok(()) };
        let count = self.by_effort(300, 30);
        keep(&mut self.results.commands, command::measure(&self.stores, lockctl, count)?);
        Ok(())
    }

    async fn approaches(&mut self) -> Result<(), Failure> {
        let ms = Duration::from_millis;
        let effort = compare::Effort {
            seconds: self.by_effort(1.5, 0.25),
            processes: self.by_effort(8, 4),
            hand_offs: self.by_effort(80, 8),
            // Keys that expire do so before.
            crash_limit: self.by_effort(ms(12_000), ms(1_500)),
            restart_limit: self.by_effort(ms(2_000), ms(300)),
        };
        let peers = self.peers.as_deref();
        let mut stores: Vec<&Store> = self.stores.iter().collect();
        // What others are usually given, and what they are faster by.
        let mut as_delivered = None;
        if !self.arguments.quick && stores.iter().any(|store| store.name == "redis") {
            as_delivered = Some(Store::start_as_delivered().await?);
        }
        stores.extend(&as_delivered);
        let rows = compare::measure(&stores, peers, effort).await?;
        keep(&mut self.results.approaches, rows);
        Ok(())
    }
}

/// Where a store stands among all, for sorting.
fn place(stores: &[Store], name: &str) -> Option<usize> {
    stores.iter().position(|store| store.name == name)
}

/// Prints what was measured, and keeps it.
fn keep<T: Display>(rows: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for row in more {
        println!("{row}");
        rows.push(row);
    }
}
