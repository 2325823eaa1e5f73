//! Which figures are reached: each of the ten, from the results alone.

use std::fmt::Write as _;

use super::verdict::{Cases, Verdict};
use crate::contention::NAIVE;
use crate::results::{Contention, HandOff, Results, Spread, Versus, number, time};
use crate::store::Store;
use crate::tasks::{CRATE, OURS, TASKS};
use crate::text::{more, seconds, tail, times};
use crate::versus::SIZES;

/// The stores that are servers.
const SERVERS: [&str; 4] = ["mariadb", "mysql", "redis", "valkey"];

/// What writing for each other has to gain, as times of naive retry; and without that, taking turns.
pub(super) const BESIDE_NAIVE: f64 = 10.0;
pub(super) const BY_TURNS: f64 = 4.0;

/// Parts of the mean, and microseconds, of the slowest process and the slowest tries of P7.
pub(super) const SLOWEST: f64 = 0.9;
pub(super) const LATE: f64 = 40_000.0;

/// How far `lockctl run` may be above the command by itself, in microseconds.
pub(super) const COMMAND: f64 = 10_000.0;

/// How many times the bare swap an acquire may take beside many holds.
pub(super) const GROWTH: f64 = 1.3;

/// In microseconds: the median and the tail of a hand-off, and the median where the host does not help.
pub(super) const HANDED: [f64; 3] = [2_000.0, 20_000.0, 15_000.0];

/// The median of a recovery, in microseconds.
pub(super) const RECOVERED: f64 = 10_000.0;

/// All ten, in their order. Of several runs the last is told, or the last that has missed a figure.
pub(super) fn judge_runs(results: &Results) -> Vec<Verdict> {
    let both = |told: Vec<Verdict>, new: Vec<Verdict>| {
        told.into_iter().zip(new).map(|(told, new)| told.and(new)).collect()
    };
    results.runs().map(judge).reduce(both).unwrap_or_default()
}

/// All ten of one run, in their order.
fn judge(results: &Results) -> Vec<Verdict> {
    vec![
        Verdict::new(
            "P1",
            "uncontended acquire, and release, against the bare statement or calls, every store",
            "≤ the greater of 1.15 × and floor + 30 µs",
            floor(results),
        ),
        Verdict::new(
            "P2",
            "64 tasks of one process, each with a lock of its own, MySQL",
            "≥ 20 × one task, and ahead of `distributed-lock-mysql` with 10 connections",
            tasks(results),
        ),
        Verdict::new(
            "P3",
            "locks held at once by one process, every store",
            "10,000, on one connection where there are any",
            many(results),
        ),
        Verdict::new(
            "P4",
            "release called → acquire returned in another process",
            "one host: p50 ≤ 2 ms, p99 ≤ 20 ms, every store; MySQL without help of the host: p50 ≤ 15 ms",
            hand_off(results),
        ),
        Verdict::new(
            "P5",
            "what processes that wait for one lock ask of the server, every server",
            "≤ 150 statements/s for 1, ≤ 400 for 100; one write for each hand-off; in order",
            waiting(results),
        ),
        Verdict::new(
            "P6",
            "`kill -9` of the holder → acquire returned in another process of the host",
            "p50 ≤ 10 ms, every store",
            recovery(results),
        ),
        Verdict::new(
            "P7",
            "16 processes on one cell, each with a lock of its own, MySQL with its binary log",
            "≥ 4 × naive retry, and by writing for each other ≥ 10 ×; slowest ≥ 90 % of the mean; p99 ≤ 40 ms",
            contention(results),
        ),
        Verdict::new(
            "P8",
            "acquire beside 10, 100, 1,000 and 10,000 holds, every store",
            "≤ 1.3 × the bare swap of the same bytes; ≤ 100 bytes a hold, of one client; bytes written told",
            growth(results),
        ),
        Verdict::new(
            "P9",
            "statements of a client that only holds, however many its tasks, every server",
            "none without a lease; ≤ 4 per length of the lease",
            rest(results),
        ),
        Verdict::new(
            "P10",
            "`lockctl run -l x -- true` on SQLite, the whole process",
            "≤ 10 ms more than `true`; ≤ 15 MiB",
            command(results),
        ),
    ]
}

/// What an acquire or release without others may take at most, where the bare one takes so long.
pub(super) fn above_floor(bare: f64) -> f64 {
    (1.15 * bare).max(bare + 30.0)
}

fn floor(results: &Results) -> Cases {
    let mut cases = Cases::new(&Store::ALL);
    for row in results.versus.iter().filter(|row| row.holds == 0) {
        let (Some(floor), Some((ratio, above))) = (row.floor, row.above()) else { continue };
        cases.see(&row.store);
        let text = format!("{} {}: {}, {}", row.store, row.operation, times(ratio), more(above));
        cases.at_most(row.ours.p50, above_floor(floor.p50), text);
    }
    cases
}

fn tasks(results: &Results) -> Cases {
    let mut cases = Cases::new(&["mysql"]);
    let rate = |way: &str, tasks| {
        let row = |row: &&crate::results::Tasks| {
            row.store == "mysql" && row.way == way && row.count == tasks
        };
        results.tasks.iter().find(row).map(|row| row.rate)
    };
    let (Some(one), Some(many)) = (rate(OURS, 1), rate(OURS, TASKS)) else { return cases };
    cases.see("mysql");
    let alone = format!("{} one task", times(many / one));
    cases.at_least(many / one, 20.0, alone.clone());
    let crates = if let Some(peer) = rate(CRATE, TASKS) {
        let text = format!("{} the crate, {} per second", times(many / peer), number(peer));
        cases.at_least(many, peer, text.clone());
        text
    } else {
        let text = "the crate was not measured";
        cases.require(false, text.into());
        text.into()
    };
    cases.found = format!("{crates}; {alone}, {} per second", number(many));
    cases
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn many(results: &Results) -> Cases {
    let mut cases = Cases::new(&Store::ALL);
    for row in &results.many {
        cases.see(&row.store);
        let on = match row.connections {
            None => String::new(),
            Some(1) => " on 1 connection".into(),
            Some(count) => format!(" on {count} connections"),
        };
        let (locks, seconds) = (number(row.locks as f64), row.seconds);
        let text = format!("{}: {locks}{on}, taken in {seconds:.1} s", row.store);
        cases.at_least(row.locks as f64, 10_000.0, text.clone());
        if let Some(connections) = row.connections {
            cases.at_most(connections as f64, 1.0, text);
        }
    }
    cases
}

fn hand_off(results: &Results) -> Cases {
    let mut cases = Cases::new(&Store::ALL);
    let [p50, p99, alone] = HANDED;
    for HandOff { store, bell, waited_ms, took, bare } in &results.hand_off {
        let how = if *bell { "" } else { ", without help of the host" };
        let name = format!("{store}{how}, after {}", seconds(*waited_ms));
        let middle = format!(
            "{name}: p50 {}, {} a server in memory",
            time(took.p50),
            times(took.p50 / bare.p50)
        );
        match (bell, store.as_str()) {
            (true, _) => {
                cases.see(store);
                cases.at_most(took.p50, p50, middle);
                cases.at_most(took.p99, p99, format!("{name}: {}", tail(took)));
            }
            (false, "mysql") => cases.at_most(took.p50, alone, middle),
            _ => {}
        }
    }
    cases
}

/// How many statements per second so many who wait may make together.
pub(super) fn statements_of(waiters: usize) -> f64 {
    if waiters == 1 { 150.0 } else { 400.0 }
}

fn waiting(results: &Results) -> Cases {
    let mut cases = Cases::new(&SERVERS);
    for row in &results.waiting {
        cases.see(&row.store);
        let how = if row.bell { "" } else { ", without help of the host" };
        let name = format!("{}{how}, {} waiting", row.store, row.waiters);
        let text = format!("{name}: {} statements/s", number(row.rate));
        cases.at_most(row.rate, statements_of(row.waiters), text);
        let writes = row.writes;
        cases.require(
            writes == row.waiters as u64,
            format!("{name}: {writes} writes for {} hand-offs", row.waiters),
        );
        cases.require(row.in_order, format!("{name}: not in order"));
    }
    cases
}

fn recovery(results: &Results) -> Cases {
    let mut cases = Cases::new(&Store::ALL);
    for row in &results.recovery {
        cases.see(&row.store);
        let text = format!("{}: p50 {}", row.store, time(row.took.p50));
        cases.at_most(row.took.p50, RECOVERED, text);
    }
    cases
}

/// The naive in the same store.
pub(super) fn naive<'r>(results: &'r Results, store: &str) -> Option<&'r Contention> {
    results.contention.iter().find(|row| row.store == store && row.way == NAIVE && row.rate > 0.0)
}

fn contention(results: &Results) -> Cases {
    let mut cases = Cases::new(&["mysql"]);
    let ours = |row: &&Contention| row.store == "mysql" && row.way == OURS;
    let ours = results.contention.iter().find(ours);
    let (Some(naive), Some(ours)) = (naive(results, "mysql"), ours) else { return cases };
    cases.see("mysql");
    let ratio = ours.rate / naive.rate;
    let beside = format!("{} naive", times(ratio));
    let slowest = format!("slowest {:.0} % of the mean", (100.0 * ours.slowest).floor());
    let late = tail(&ours.took);
    // Whoever gets there is beyond the 4 × as well.
    cases.at_least(ratio, BESIDE_NAIVE, beside.clone());
    cases.at_least(ours.slowest, SLOWEST, slowest.clone());
    cases.at_most(ours.took.p99, LATE, late.clone());
    let rate = number(ours.rate);
    cases.found = format!("{beside}, {rate} acquires and releases per second; {slowest}; {late}");
    cases
}

/// Acquires beside others, and how they grow.
pub(super) fn growing<'r>(
    results: &'r Results,
    store: &'r str,
) -> impl Iterator<Item = &'r Versus> + Clone {
    let of = move |row: &&Versus| {
        row.store == store && row.holds > 0 && row.operation == "acquire" && row.floor.is_some()
    };
    results.versus.iter().filter(of)
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn growth(results: &Results) -> Cases {
    let mut cases = Cases::new(&Store::ALL);
    let (mut found, mut written) = (Vec::new(), Vec::new());
    for store in Store::ALL {
        let rows = growing(results, store);
        let (mut worst, mut unknown) = (0.0f64, Vec::new());
        for row in rows.clone() {
            let Some((ratio, _)) = row.above() else { continue };
            cases.see(store);
            worst = worst.max(ratio);
            let beside = format!("beside {} holds", number(row.holds as f64));
            cases.at_most(ratio, GROWTH, format!("{store}: {} {beside}", times(ratio)));
            let is_logged = row.logged.0.is_some() && (store != "mysql" || row.logged.1.is_some());
            unknown.extend((!is_logged).then(|| number(row.holds as f64)));
            let all = row.logged.0.unwrap_or_default() + row.logged.1.unwrap_or_default();
            if is_logged && row.holds == SIZES[SIZES.len() - 1] {
                written.push(all as f64 / row.bytes as f64);
            }
        }
        if worst > 0.0 {
            for size in SIZES.iter().filter(|size| !rows.clone().any(|row| row.holds == **size)) {
                cases.require(false, format!("{store}: not measured beside {size} holds"));
            }
            let beside = format!("bytes written beside {} holds", unknown.join(" and "));
            cases.require(unknown.is_empty(), format!("{store}: {beside} not measured"));
            found.push((worst, format!("{store} {}", times(worst))));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut found: Vec<_> = found.into_iter().map(|(_, text)| text).collect();
    if found.is_empty() {
        return cases;
    }
    let [one, each] = bytes_of_a_hold(results);
    if let Some(one) = one {
        let text = format!("{one:.0} bytes a hold of one client");
        cases.at_most(one, 100.0, text.clone());
        found.push(text);
    } else {
        cases.require(false, "bytes a hold not measured".into());
    }
    found.extend(each.map(|each| format!("{each:.0} bytes with a client each")));
    if let Some(most) = written.iter().copied().reduce(f64::max) {
        let least = written.iter().copied().fold(most, f64::min);
        let [least, most] = [least, most].map(times);
        found.push(format!("a swap writes {least} to {most} the bytes of the cell beside 10,000"));
    }
    cases.found = found.join(", ");
    cases
}

/// What one more hold adds to the cell: of a client that has others, and of a client of its own.
#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
pub(super) fn bytes_of_a_hold(results: &Results) -> [Option<f64>; 2] {
    let of = |is_one: bool| {
        let rows = results.holding.iter().filter(|row| (row.clients == 1) == is_one);
        rows.max_by_key(|row| row.holds).map(|row| row.each)
    };
    let grown = || {
        let rows =
            || results.versus.iter().filter(|row| row.holds > 0 && row.operation == "acquire");
        let (least, most) =
            (rows().min_by_key(|row| row.holds)?, rows().max_by_key(|row| row.holds)?);
        let [bytes, holds] = [most.bytes - least.bytes, most.holds - least.holds];
        (holds > 0).then(|| bytes as f64 / holds as f64)
    };
    [of(true).or_else(grown), of(false)]
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn rest(results: &Results) -> Cases {
    let mut cases = Cases::new(&SERVERS);
    for row in &results.rest {
        cases.see(&row.store);
        let (name, statements) = (&row.store, row.statements as f64);
        let tasks = match row.tasks {
            1 => "1 task".into(),
            tasks => format!("{} tasks", number(f64::from(tasks))),
        };
        let name = format!("{name}, {tasks}");
        match row.lease_seconds {
            None => {
                let seconds = row.seconds;
                let text = format!("{name}: {statements} in {seconds:.0} s without a lease");
                cases.at_most(statements, 0.0, text);
            }
            Some(lease) => {
                let each = statements * lease / row.seconds;
                cases.at_most(each, 4.0, format!("{name}: {each:.1} per length of the lease"));
            }
        }
    }
    let mut without = results.rest.iter().filter(|row| row.lease_seconds.is_none()).peekable();
    if without.peek().is_some() && without.all(|row| row.statements == 0) {
        cases.found = format!("none without a lease; {}", cases.found);
    }
    cases
}

fn command(results: &Results) -> Cases {
    let mut cases = Cases::new(&["sqlite"]);
    let of = |name: &str| results.commands.iter().find(|row| row.name == name);
    let (Some(bare), Some(ours)) = (of(crate::command::BARE), of("lockctl run, sqlite")) else {
        return cases;
    };
    cases.see("sqlite");
    let above = ours.took.p50 - bare.took.p50;
    let mut found = format!("{} than `true`", more(above));
    cases.at_most(above, COMMAND, found.clone());
    if let Some(flock) = of("flock(1)") {
        let Spread { p50, .. } = flock.took;
        let _ = write!(found, ", {} than `flock`", more(ours.took.p50 - p50));
    }
    let memory = match ours.memory_kib {
        None => {
            cases.require(false, "memory not measured".into());
            "memory not measured".into()
        }
        Some(kib) => {
            let mib = f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0;
            let text = format!("{mib:.1} MiB");
            cases.at_most(mib, 15.0, text.clone());
            text
        }
    };
    cases.found = format!("{found}; {memory}");
    cases
}

#[cfg(test)]
mod tests;
