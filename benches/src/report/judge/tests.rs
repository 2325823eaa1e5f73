//! What is reached and what is not, and what is told of it.

use super::*;
use crate::results::{Command, Holding, Many, Recovery, Rest};

fn spread(p50: f64) -> Spread {
    Spread { p50, p99: p50, max: p50, samples: 1 }
}

fn row(store: &str, holds: usize, ours: f64, floor: f64) -> Versus {
    Versus {
        store: store.into(),
        operation: "acquire".into(),
        holds,
        bytes: 100 * holds,
        ours: spread(ours),
        floor: Some(spread(floor)),
        logged: (Some(100), Some(100)),
    }
}

/// All stores alone.
fn versus(ours: f64, floor: f64) -> Results {
    let rows = Store::ALL.map(|store| row(store, 0, ours, floor));
    Results { versus: rows.into(), ..Results::default() }
}

fn verdict(results: &Results, figure: &str) -> Verdict {
    let all = judge_runs(results);
    all.into_iter().find(|verdict| verdict.figure == figure).expect("it is one of the ten")
}

#[test]
fn the_floor_is_reached_by_part_or_by_microseconds() {
    let word = |results: Results| verdict(&results, "P1").word();
    assert_eq!(word(versus(129.0, 100.0)), "reached");
    assert_eq!(word(versus(131.0, 100.0)), "**not reached**");
    assert_eq!(word(versus(1_140.0, 1_000.0)), "reached");
    assert_eq!(word(versus(1_160.0, 1_000.0)), "**not reached**");
    assert_eq!(word(Results::default()), "not measured");
    let told = verdict(&versus(83.0, 100.0), "P1").told();
    assert!(told.ends_with("acquire: 0.83 ×, 17 µs less"), "{told}");
}

#[test]
fn a_run_that_misses_is_told_also_if_the_next_does_not() {
    let runs = |ours: &[f64]| {
        let mut runs: Vec<_> = ours.iter().map(|ours| versus(*ours, 100.0)).collect();
        let last = runs.pop().expect("there are some");
        verdict(&Results { earlier: runs, ..last }, "P1")
    };
    assert_eq!(runs(&[110.0, 120.0]).word(), "reached in all 2 runs");
    let verdict = runs(&[110.0, 150.0, 120.0]);
    assert_eq!(verdict.word(), "**reached in 2 of 3 runs**");
    assert_eq!(verdict.misses[4], "mysql acquire: 1.50 ×, 50 µs more");
    assert!(!verdict.is_reached() && runs(&[110.0]).is_reached());
    assert_eq!(runs(&[150.0, 160.0]).word(), "**not reached**");
}

#[test]
fn one_store_that_misses_is_enough_and_is_named() {
    let row = |store: &str| {
        let ms = if store == "redis" { 12.0 } else { 1.0 };
        Recovery { store: store.into(), took: spread(ms * 1e3) }
    };
    let results = Results { recovery: Store::ALL.map(row).into(), ..Results::default() };
    let verdict = verdict(&results, "P6");
    assert_eq!(verdict.word(), "**not reached**");
    assert_eq!(verdict.misses, ["redis: p50 12 ms"]);
    assert_eq!(verdict.told(), "redis: p50 12 ms");
}

#[test]
fn a_store_that_did_not_start_is_named_and_not_reached() {
    let mut results = versus(110.0, 100.0);
    results.versus.retain(|row| row.store != "redis");
    let first = verdict(&results, "P1");
    assert_eq!(first.word(), "**reached where measured**");
    assert!(first.told().ends_with("; not measured: redis"), "{}", first.told());
    assert!(!first.is_reached());
    // What only some runs have looked at is told as well.
    let both = verdict(&Results { earlier: vec![results], ..versus(110.0, 100.0) }, "P1");
    assert_eq!(both.word(), "reached in all 2 runs");
    assert!(both.told().ends_with("; in 1 of 2 runs: redis"), "{}", both.told());
}

#[test]
fn ten_thousand_locks_are_held_in_every_store() {
    let of = |stores: &[&str], of_mariadb| {
        let row = |store: &&str| Many {
            store: (*store).into(),
            locks: 10_000,
            connections: match *store {
                "flock" | "excl" | "sqlite" => None,
                "mariadb" => Some(of_mariadb),
                _ => Some(1),
            },
            seconds: 0.1,
        };
        let many = stores.iter().map(row).collect();
        verdict(&Results { many, ..Results::default() }, "P3")
    };
    assert_eq!(of(&["mysql"], 1).word(), "**reached where measured**");
    assert_eq!(of(&Store::ALL, 1).word(), "reached");
    let two = of(&Store::ALL, 2);
    assert_eq!(two.misses, ["mariadb: 10,000 on 2 connections, taken in 0.1 s"]);
}

#[test]
fn naive_retry_is_left_ten_times_behind() {
    let word = |ours: f64| {
        let row = |way: &str, rate| Contention {
            store: "mysql".into(),
            way: way.into(),
            processes: 16,
            rate,
            slowest: 0.9,
            statements: 1.0,
            took: spread(40_000.0),
        };
        let contention = vec![row(NAIVE, 100.0), row(OURS, ours)];
        verdict(&Results { contention, ..Results::default() }, "P7").word()
    };
    assert_eq!(word(1_000.0), "reached");
    assert_eq!(word(999.0), "**not reached**");
    assert_eq!(word(400.0), "**not reached**");
}

#[test]
fn every_store_grows_as_the_bare_swap_does() {
    let of = |change: &dyn Fn(&mut Versus)| {
        let mut rows = Vec::new();
        for store in Store::ALL {
            rows.extend(SIZES.map(|holds| row(store, holds, 120.0, 100.0)));
        }
        rows.iter_mut().for_each(change);
        let holding = vec![
            Holding { clients: 1, holds: 100, bytes: 8_600, each: 86.0 },
            Holding { clients: 100, holds: 100, bytes: 32_100, each: 321.0 },
        ];
        verdict(&Results { versus: rows, holding, ..Results::default() }, "P8")
    };
    let reached = of(&|_| {});
    assert_eq!(reached.word(), "reached", "{:?}", reached.misses);
    for store in Store::ALL {
        assert!(reached.told().contains(&format!("{store} 1.20 ×")), "{}", reached.told());
    }
    assert!(reached.told().contains("321 bytes with a client each"), "{}", reached.told());
    let large = |row: &Versus| row.store == "flock" && row.holds == 10_000;
    let slow = of(&|row| row.ours.p50 = if large(row) { 200.0 } else { 120.0 });
    assert_eq!(slow.misses, ["flock: 2.00 × beside 10,000 holds"]);
    let unknown = of(&|row| row.logged.0 = row.logged.0.filter(|_| !large(row)));
    assert_eq!(unknown.misses, ["flock: bytes written beside 10,000 holds not measured"]);
    let short = of(&|row| row.holds = if large(row) { 10 } else { row.holds });
    assert_eq!(short.misses, ["flock: not measured beside 10000 holds"]);
}

#[test]
fn whoever_holds_is_silent_however_many_its_tasks() {
    let row = |store: &str, tasks, lease_seconds, statements| Rest {
        store: store.into(),
        tasks,
        lease_seconds,
        seconds: 10.0,
        statements,
    };
    let of = |more: Rest| {
        let mut rest: Vec<_> = SERVERS.map(|store| row(store, 64, None, 0)).into();
        rest.push(more);
        verdict(&Results { rest, ..Results::default() }, "P9")
    };
    let reached = of(row("redis", 1_000, Some(5.0), 8));
    assert_eq!(reached.word(), "reached");
    let nearest = "none without a lease; redis, 1,000 tasks: 4.0 per length of the lease";
    assert_eq!(reached.told(), nearest);
    assert_eq!(of(row("redis", 1_000, Some(5.0), 9)).word(), "**not reached**");
    assert_eq!(of(row("redis", 1, None, 0)).word(), "reached");
    let spoke = of(row("redis", 1, None, 1));
    assert_eq!(spoke.misses, ["redis, 1 task: 1 in 10 s without a lease"]);
}

#[test]
fn memory_that_was_not_measured_is_not_reached() {
    let of = |memory_kib| {
        let row =
            |name: &str, ms: f64| Command { name: name.into(), took: spread(ms * 1e3), memory_kib };
        let commands = vec![row(crate::command::BARE, 1.0), row("lockctl run, sqlite", 6.0)];
        verdict(&Results { commands, ..Results::default() }, "P10")
    };
    assert_eq!(of(Some(9_000)).word(), "reached");
    assert_eq!(of(Some(16_000)).word(), "**not reached**");
    assert_eq!(of(None).misses, ["memory not measured"]);
}
