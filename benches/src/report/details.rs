//! The numbers behind the pictures, ratios first; folded, for whoever looks for one.

use std::fmt::Write as _;

use super::judge::naive;
use super::table::Table;
use crate::command::BARE;
use crate::results::{Results, Spread, number, time};
use crate::tasks::OURS;
use crate::text::{per_second, seconds, signed, times, yes};

pub(super) fn details(results: &Results) -> String {
    let sections: [(&str, Table, &str); 11] = [
        ("One client against the floor", against_the_floor(results), LOGGED),
        ("The parts of an acquire", parts(results), PARTS),
        ("Tasks of one process", tasks(results), ""),
        ("Locks held at once by one process", many(results), ""),
        ("Bytes of a hold", holding(results), ""),
        ("From release called to acquire returned", hand_off(results), SAMPLES),
        ("From <code>kill -9</code> of the holder to acquire returned", recovery(results), SAMPLES),
        ("What waiting asks of the server", waiting(results), ""),
        ("Sixteen processes on one cell", contention(results), NAIVE_SWAPS),
        ("What a client that only holds asks of the server", rest(results), ""),
        ("Command lines", commands(results), ""),
    ];
    let mut text = String::from("\n## In numbers\n");
    for (title, table, note) in sections.iter().filter(|(_, table, _)| !table.is_empty()) {
        let _ = write!(text, "\n<details>\n<summary>{title}</summary>\n\n{table}");
        if !note.is_empty() {
            let _ = write!(text, "\n{note}\n");
        }
        text += "\n</details>\n";
    }
    text
}

const LOGGED: &str = "“Written” is what a swap adds to the redo log or append-only file, + to the binary log; in \
                      files and SQLite what the\nsystem counts for the process. It is the mean of ours and \
                      bare swaps in turns. In memory nothing is below the driver:\nan acquire is some \
                      microseconds where both its threads are run by one processor, and several times that \
                      where\nanother has to be woken, which is why it jumps.";

const PARTS: &str = "Each in turns with the bare swap.";

const SAMPLES: &str = "Of fewer than 100 samples there is no 99th of a hundred: what has to be below its limit is the slowest.";

const NAIVE_SWAPS: &str =
    "Per second: acquires and releases, many of which may share a swap; of the naive, swaps.";

fn gap() -> String {
    "–".into()
}

fn p99(spread: Spread) -> String {
    if spread.samples < 100 { gap() } else { time(spread.p99) }
}

/// Median, tail, slowest and how many.
fn spread_of(spread: Spread) -> [String; 4] {
    [time(spread.p50), p99(spread), time(spread.max), spread.samples.to_string()]
}

fn against_the_floor(results: &Results) -> Table {
    let mut table = Table::new([
        "store", "", "holds", "× bare", "more", "p50", "bare p50", "p99", "bare p99", "bytes",
        "written",
    ]);
    for row in &results.versus {
        let bare = |of: fn(Spread) -> String| row.floor.map_or_else(gap, of);
        let above = row.above();
        table.add([
            row.store.clone(),
            row.operation.clone(),
            row.holds.to_string(),
            above.map_or_else(gap, |(ratio, _)| times(ratio)),
            above.map_or_else(gap, |(_, more)| signed(more)),
            time(row.ours.p50),
            bare(|floor| time(floor.p50)),
            p99(row.ours),
            bare(p99),
            row.bytes.to_string(),
            match row.logged {
                (None, _) => gap(),
                (Some(main), None) => main.to_string(),
                (Some(main), Some(binary)) => format!("{main} + {binary}"),
            },
        ]);
    }
    table
}

fn parts(results: &Results) -> Table {
    let mut table = Table::new([
        "store",
        "the backend's swap, × bare",
        "more",
        "the bare one asked for by another thread, × bare",
        "more",
        "acquire in the runtime of who asks, × bare",
        "more",
    ]);
    for row in &results.parts {
        let of = |[all, bare]: [Spread; 2]| (times(all.p50 / bare.p50), signed(all.p50 - bare.p50));
        let (cell, cell_more) = of(row.cell);
        let (asked, asked_more) = of(row.asked);
        let (ours, ours_more) = of(row.in_runtime);
        table.add([row.store.clone(), cell, cell_more, asked, asked_more, ours, ours_more]);
    }
    table
}

fn tasks(results: &Results) -> Table {
    let mut table =
        Table::new(["store", "way", "tasks", "× one task", "× Interlock", "per second"]);
    for row in &results.tasks {
        let rate = |tasks: &dyn Fn(u32) -> bool| {
            let ours = results.tasks.iter().filter(|one| one.store == row.store && one.way == OURS);
            ours.filter(|one| tasks(one.count)).map(|one| one.rate).next()
        };
        let ratio = |other: Option<f64>| other.map_or_else(gap, |other| times(row.rate / other));
        let alone = rate(&|tasks| tasks == 1 && row.count > 1 && row.way == OURS);
        let ours = rate(&|tasks| tasks == row.count && row.way != OURS);
        table.add([
            row.store.clone(),
            row.way.clone(),
            row.count.to_string(),
            ratio(alone),
            ratio(ours),
            number(row.rate),
        ]);
    }
    table
}

fn many(results: &Results) -> Table {
    let mut table = Table::new(["store", "locks", "connections", "taken in"]);
    for row in &results.many {
        let connections = row.connections.map_or_else(gap, |count| count.to_string());
        let taken = time(row.seconds * 1e6);
        table.add([row.store.clone(), row.locks.to_string(), connections, taken]);
    }
    table
}

fn holding(results: &Results) -> Table {
    let mut table = Table::new(["holds", "of clients", "bytes for one more", "bytes of the cell"]);
    for row in &results.holding {
        let [holds, clients, bytes] = [row.holds, row.clients, row.bytes].map(|n| n.to_string());
        table.add([holds, clients, format!("{:.0}", row.each), bytes]);
    }
    table
}

fn hand_off(results: &Results) -> Table {
    let mut table = Table::new([
        "store",
        "help of the host",
        "after",
        "× a server in memory",
        "p50",
        "by that",
        "p99",
        "max",
        "samples",
    ]);
    for row in &results.hand_off {
        let ([p50, p99, max, samples], bare) = (spread_of(row.took), row.bare.p50);
        table.add([
            row.store.clone(),
            yes(row.bell),
            seconds(row.waited_ms),
            times(row.took.p50 / bare),
            p50,
            time(bare),
            p99,
            max,
            samples,
        ]);
    }
    table
}

fn recovery(results: &Results) -> Table {
    let mut table = Table::new(["store", "p50", "p99", "max", "samples"]);
    for row in &results.recovery {
        let [p50, p99, max, samples] = spread_of(row.took);
        table.add([row.store.clone(), p50, p99, max, samples]);
    }
    table
}

fn waiting(results: &Results) -> Table {
    let mut table = Table::new([
        "store",
        "help of the host",
        "waiting",
        "statements/s",
        "writes",
        "in order",
        "from one to the next, p50",
    ]);
    for row in &results.waiting {
        // One has nobody to hand it to.
        let next = if row.gap.samples == 0 { gap() } else { time(row.gap.p50) };
        table.add([
            row.store.clone(),
            yes(row.bell),
            row.waiters.to_string(),
            number(row.rate),
            format!("{} for {}", row.writes, row.waiters),
            yes(row.in_order),
            next,
        ]);
    }
    table
}

fn contention(results: &Results) -> Table {
    let mut table = Table::new([
        "store",
        "way",
        "× naive",
        "slowest",
        "per second",
        "statements each",
        "p50",
        "p99",
        "max",
    ]);
    for row in &results.contention {
        let naive = naive(results, &row.store);
        table.add([
            row.store.clone(),
            row.way.clone(),
            naive.map_or_else(gap, |naive| times(row.rate / naive.rate)),
            format!("{:.0} % of the mean", 100.0 * row.slowest),
            per_second(row.rate),
            // Files have no server that counts.
            if row.statements > 0.0 { format!("{:.1}", row.statements) } else { gap() },
            time(row.took.p50),
            p99(row.took),
            time(row.took.max),
        ]);
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn rest(results: &Results) -> Table {
    let mut table =
        Table::new(["store", "tasks", "lease", "per length of the lease", "statements", "in"]);
    for row in &results.rest {
        let each = |lease: f64| format!("{:.1}", row.statements as f64 * lease / row.seconds);
        table.add([
            row.store.clone(),
            row.tasks.to_string(),
            row.lease_seconds.map_or_else(|| "none".into(), |lease| format!("{lease} s")),
            row.lease_seconds.map_or_else(gap, each),
            row.statements.to_string(),
            format!("{:.1} s", row.seconds),
        ]);
    }
    table
}

fn commands(results: &Results) -> Table {
    let mut table = Table::new(["command", "× true", "more than true", "p50", "p99", "memory"]);
    let bare = results.commands.iter().find(|row| row.name == BARE).map(|row| row.took.p50);
    for row in &results.commands {
        let bare = |of: &dyn Fn(f64) -> String| bare.map_or_else(gap, of);
        table.add([
            row.name.clone(),
            bare(&|bare| times(row.took.p50 / bare)),
            bare(&|bare| signed(row.took.p50 - bare)),
            time(row.took.p50),
            p99(row.took),
            row.memory_kib.map_or_else(gap, |kib| format!("{kib} KiB")),
        ]);
    }
    table
}
