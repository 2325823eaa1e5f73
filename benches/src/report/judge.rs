//! Which figures are reached: each of the ten, from the results alone.

use std::fmt::Write as _;

use crate::contention::NAIVE;
use crate::results::{HandOff, Results, Spread, number, time};
use crate::tasks::{OURS, TASKS};

/// One figure.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) figure: &'static str,
    pub(super) what: &'static str,
    pub(super) must: &'static str,
    /// What was found, ratios first; nothing if it was not measured.
    pub(super) found: String,
    /// Everything that it has to reach and does not.
    pub(super) misses: Vec<String>,
    /// In how many runs it was reached, and of how many.
    pub(super) reached: (usize, usize),
}

impl Verdict {
    /// Whether it is reached, in a word.
    pub(super) fn word(&self) -> String {
        match self.reached {
            _ if self.found.is_empty() => "not measured".into(),
            (0, _) => "**not reached**".into(),
            (some, all) if some < all => format!("**reached in {some} of {all} runs**"),
            (1, 1) => "reached".into(),
            (_, all) => format!("reached in all {all} runs"),
        }
    }

    pub(super) fn is_reached(&self) -> bool {
        !self.found.is_empty() && self.reached.0 == self.reached.1
    }
}

/// What is looked at, as a sum of its cases.
struct Cases {
    /// How near each case is to what it must not exceed: 1 is just reached.
    worst: f64,
    found: String,
    misses: Vec<String>,
}

impl Cases {
    fn new() -> Self {
        Self { worst: 0.0, found: String::new(), misses: Vec::new() }
    }

    /// A case that has to be at most the limit; the worst is what is told.
    fn add(&mut self, value: f64, limit: f64, text: String) {
        let part = value / limit;
        if part > 1.0 {
            self.misses.push(text.clone());
        }
        if part >= self.worst {
            (self.worst, self.found) = (part, text);
        }
    }

    /// One that is reached or not.
    fn require(&mut self, is_reached: bool, text: String) {
        if !is_reached {
            self.misses.push(text);
        }
    }
}

/// All ten, in their order. Of several runs the last is told, or the last that has missed a figure.
pub(super) fn judge_runs(results: &Results) -> Vec<Verdict> {
    let mut told: Vec<Verdict> = Vec::new();
    for run in results.runs() {
        let verdicts = judge(run);
        if told.is_empty() {
            told = verdicts;
            continue;
        }
        for (told, new) in told.iter_mut().zip(verdicts) {
            let reached = (told.reached.0 + new.reached.0, told.reached.1 + new.reached.1);
            if told.misses.is_empty() || !new.misses.is_empty() {
                *told = new;
            }
            told.reached = reached;
        }
    }
    told
}

/// All ten of one run, in their order.
fn judge(results: &Results) -> Vec<Verdict> {
    let verdict = |figure, what, must, cases: Cases| Verdict {
        figure,
        what,
        must,
        reached: (usize::from(!cases.found.is_empty() && cases.misses.is_empty()), 1),
        found: cases.found,
        misses: cases.misses,
    };
    vec![
        verdict(
            "P1",
            "uncontended acquire, and release, against the bare statement or calls, every store",
            "≤ the greater of 1.15 × and floor + 30 µs",
            floor(results),
        ),
        verdict(
            "P2",
            "64 tasks of one process, each with a lock of its own, MySQL",
            "≥ 20 × one task, and ahead of `distributed-lock-mysql` with 10 connections",
            tasks(results),
        ),
        verdict(
            "P3",
            "locks held at once by one process",
            "10,000 on one connection",
            many(results),
        ),
        verdict(
            "P4",
            "release called → acquire returned in another process",
            "one host: p50 ≤ 2 ms, p99 ≤ 20 ms, every store; MySQL without help of the host: p50 ≤ 15 ms",
            hand_off(results),
        ),
        verdict(
            "P5",
            "what processes that wait for one lock ask of the server",
            "≤ 150 statements/s for 1, ≤ 400 for 100; one write for each hand-off; in order",
            waiting(results),
        ),
        verdict(
            "P6",
            "`kill -9` of the holder → acquire returned in another process of the host",
            "p50 ≤ 10 ms, every store",
            recovery(results),
        ),
        verdict(
            "P7",
            "16 processes on one cell, each with a lock of its own, MySQL with its binary log",
            "≥ 4 × naive retry; slowest ≥ 90 % of the mean; p99 ≤ 40 ms",
            contention(results),
        ),
        verdict(
            "P8",
            "acquire beside 10 to 10,000 holds, MySQL",
            "≤ 1.3 × the bare swap of the same bytes; ≤ 100 bytes a hold",
            growth(results),
        ),
        verdict(
            "P9",
            "statements of a client that only holds, by 64 tasks",
            "none without a lease; ≤ 4 per length of the lease",
            rest(results),
        ),
        verdict(
            "P10",
            "`lockctl run -l x -- true` on SQLite, the whole process",
            "≤ 10 ms more than `true`; ≤ 15 MiB",
            command(results),
        ),
    ]
}

fn floor(results: &Results) -> Cases {
    let mut cases = Cases::new();
    for row in results.versus.iter().filter(|row| row.holds == 0) {
        let (Some(floor), Some((times, more))) = (row.floor, row.above()) else { continue };
        let text = format!("{} {}: {times:.2} ×, {} more", row.store, row.operation, signed(more));
        cases.add(row.ours.p50, (1.15 * floor.p50).max(floor.p50 + 30.0), text);
    }
    cases
}

fn tasks(results: &Results) -> Cases {
    let mut cases = Cases::new();
    let rate = |way: &str, tasks| {
        let row = |row: &&crate::results::Tasks| {
            row.store == "mysql" && row.way == way && row.count == tasks
        };
        results.tasks.iter().find(row).map(|row| row.rate)
    };
    let (Some(one), Some(many)) = (rate(OURS, 1), rate(OURS, TASKS)) else { return cases };
    let times = many / one;
    cases.found = format!("{times:.0} × one task, {} per second", number(many));
    cases.require(times >= 20.0, format!("{times:.1} × one task"));
    match rate("distributed-lock-mysql", TASKS) {
        Some(peer) => {
            let text = format!("{:.1} × the crate, {} per second", many / peer, number(peer));
            cases.found = format!("{text}; {}", cases.found);
            cases.require(many > peer, text);
        }
        None => cases.require(false, "the crate was not measured".into()),
    }
    cases
}

fn many(results: &Results) -> Cases {
    let mut cases = Cases::new();
    for row in results.many.iter().filter(|row| row.connections.is_some()) {
        let connections = row.connections.unwrap_or_default();
        let text = format!(
            "{}: {} on {connections} connection, taken in {:.1} s",
            row.store,
            number(f64::from(u32::try_from(row.locks).unwrap_or(u32::MAX))),
            row.seconds
        );
        let is_reached = row.locks >= 10_000 && connections <= 1;
        cases.require(is_reached, text.clone());
        if row.store == "mysql" || cases.found.is_empty() {
            cases.found = text;
        }
    }
    cases
}

fn hand_off(results: &Results) -> Cases {
    let mut cases = Cases::new();
    for HandOff { store, bell, waited_ms, took, bare } in &results.hand_off {
        let text = |of: &str, value: f64, bare: f64| {
            let alone = if *bell { "" } else { ", without help of the host" };
            let bare = format!("{} by a server in memory", time(bare));
            format!("{store}{alone}, after {waited_ms} ms: {of} {} ({bare})", time(value))
        };
        let p50 = text("p50", took.p50, bare.p50);
        match (bell, store.as_str()) {
            (true, _) => {
                cases.add(took.p50, 2_000.0, p50);
                cases.add(took.p99, 20_000.0, text("p99", took.p99, bare.p99));
            }
            (false, "mysql") => cases.add(took.p50, 15_000.0, p50),
            _ => {}
        }
    }
    cases
}

fn waiting(results: &Results) -> Cases {
    let mut cases = Cases::new();
    for row in &results.waiting {
        let how = if row.bell { "" } else { ", without help of the host" };
        let name = format!("{}{how}, {} waiting", row.store, row.waiters);
        let limit = if row.waiters == 1 { 150.0 } else { 400.0 };
        cases.add(row.rate, limit, format!("{name}: {} statements/s", number(row.rate)));
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
    let mut cases = Cases::new();
    for row in &results.recovery {
        let text = format!("{}: p50 {}", row.store, time(row.took.p50));
        cases.add(row.took.p50, 10_000.0, text);
    }
    cases
}

fn contention(results: &Results) -> Cases {
    let mut cases = Cases::new();
    let of =
        |way: &str| results.contention.iter().find(|row| row.store == "mysql" && row.way == way);
    let (Some(naive), Some(ours)) = (of(NAIVE), of(OURS)) else { return cases };
    let times = ours.rate / naive.rate;
    let slowest = format!("slowest {:.0} % of the mean", 100.0 * ours.slowest);
    let p99 = format!("p99 {}", time(ours.took.p99));
    cases.found =
        format!("{times:.1} × naive, {} swaps per second; {slowest}; {p99}", number(ours.rate));
    cases.require(times >= 4.0, format!("{times:.1} × naive"));
    cases.require(ours.slowest >= 0.9, slowest);
    cases.require(ours.took.p99 <= 40_000.0, p99);
    cases
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn growth(results: &Results) -> Cases {
    let mut cases = Cases::new();
    let rows = results
        .versus
        .iter()
        .filter(|row| row.store == "mysql" && row.holds > 0 && row.operation == "acquire");
    for row in rows.clone() {
        let Some((times, _)) = row.above() else { continue };
        cases.add(times, 1.3, format!("{times:.2} × beside {} holds", number(row.holds as f64)));
    }
    if let (Some(least), Some(most)) =
        (rows.clone().min_by_key(|row| row.holds), rows.max_by_key(|row| row.holds))
        && least.holds < most.holds
    {
        let each = (most.bytes - least.bytes) as f64 / (most.holds - least.holds) as f64;
        let text = format!("{each:.0} bytes a hold");
        cases.found = format!("{}; {text}", cases.found);
        cases.require(each <= 100.0, text);
    }
    cases
}

fn rest(results: &Results) -> Cases {
    let mut cases = Cases::new();
    let mut found = Vec::new();
    for row in &results.rest {
        let statements = f64::from(u32::try_from(row.statements).unwrap_or(u32::MAX));
        let (limit, text) = match row.lease_seconds {
            None => (0.0, format!("{}: {statements} in {:.0} s", row.store, row.seconds)),
            Some(lease) => {
                let lengths = row.seconds / lease;
                let each = statements / lengths;
                (4.0 * lengths, format!("{}: {each:.1} per length of the lease", row.store))
            }
        };
        cases.require(statements <= limit, text.clone());
        found.push(text);
    }
    cases.found = found.join("; ");
    cases
}

fn command(results: &Results) -> Cases {
    let mut cases = Cases::new();
    let of = |name: &str| results.commands.iter().find(|row| row.name == name);
    let (Some(bare), Some(ours)) = (of(crate::command::BARE), of("lockctl run, sqlite")) else {
        return cases;
    };
    let more = ours.took.p50 - bare.took.p50;
    cases.found = format!("{} more than `true`", signed(more));
    if let Some(flock) = of("flock(1)") {
        let Spread { p50, .. } = flock.took;
        let _ = write!(cases.found, ", {} more than `flock`", signed(ours.took.p50 - p50));
    }
    cases.require(more <= 10_000.0, format!("{} more than `true`", signed(more)));
    let mib = f64::from(u32::try_from(ours.memory_kib.unwrap_or_default()).unwrap_or(u32::MAX));
    let text = format!("{:.1} MiB", mib / 1024.0);
    let _ = write!(cases.found, "; {text}");
    cases.require(mib <= 15.0 * 1024.0, text);
    cases
}

/// A difference in microseconds, which may be less than nothing.
fn signed(microseconds: f64) -> String {
    if microseconds < 0.0 { format!("−{}", time(-microseconds)) } else { time(microseconds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Recovery, Versus};

    fn spread(p50: f64) -> Spread {
        Spread { p50, p99: p50, max: p50, samples: 1 }
    }

    fn versus(ours: f64, floor: f64) -> Results {
        let row = Versus {
            store: "mysql".into(),
            operation: "acquire".into(),
            holds: 0,
            bytes: 100,
            ours: spread(ours),
            floor: Some(spread(floor)),
            logged: (None, None),
        };
        Results { versus: vec![row], ..Results::default() }
    }

    #[test]
    fn the_floor_is_reached_by_part_or_by_microseconds() {
        let word = |results| judge(&results)[0].word();
        assert_eq!(word(versus(129.0, 100.0)), "reached");
        assert_eq!(word(versus(131.0, 100.0)), "**not reached**");
        assert_eq!(word(versus(1_140.0, 1_000.0)), "reached");
        assert_eq!(word(versus(1_160.0, 1_000.0)), "**not reached**");
        assert_eq!(word(Results::default()), "not measured");
    }

    #[test]
    fn a_run_that_misses_is_told_also_if_the_next_does_not() {
        let runs = |ours: &[f64]| {
            let mut runs: Vec<_> = ours.iter().map(|ours| versus(*ours, 100.0)).collect();
            let last = runs.pop().expect("there are some");
            judge_runs(&Results { earlier: runs, ..last }).swap_remove(0)
        };
        assert_eq!(runs(&[110.0, 120.0]).word(), "reached in all 2 runs");
        let verdict = runs(&[110.0, 150.0, 120.0]);
        assert_eq!(verdict.word(), "**reached in 2 of 3 runs**");
        assert_eq!(verdict.misses, ["mysql acquire: 1.50 ×, 50 µs more"]);
        assert!(!verdict.is_reached() && runs(&[110.0]).is_reached());
        assert_eq!(runs(&[150.0, 160.0]).word(), "**not reached**");
    }

    #[test]
    fn one_store_that_misses_is_enough_and_is_named() {
        let row = |store: &str, ms: f64| Recovery { store: store.into(), took: spread(ms * 1e3) };
        let recovery = vec![row("mysql", 3.0), row("redis", 12.0), row("flock", 1.0)];
        let results = Results { recovery, ..Results::default() };
        let verdict = &judge(&results)[5];
        assert_eq!(verdict.word(), "**not reached**");
        assert_eq!(verdict.misses, ["redis: p50 12 ms"]);
        assert_eq!(verdict.found, "redis: p50 12 ms");
    }
}
