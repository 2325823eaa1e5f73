//! The page: figures first, with their pictures; then the approaches side by side, and where others are ahead.

use std::fmt::Write as _;

use super::judge::judge_runs;
use super::pictures::Picture;
use super::reasons;
use super::table::Table;
use crate::results::{Compared, Machine, Parts, Restart, Results, Spread, number, time};

/// How far ahead another approach has to be for it to be told: less is noise.
const AHEAD: f64 = 1.1;

/// The whole page.
pub(super) fn page(results: &Results, pictures: &[Picture]) -> String {
    let mut text = String::from("# How fast it is, and against what\n\n");
    text += "All of this was measured side by side in one run of `cargo xtask bench`, on real servers \
             with real\nprocesses. Times of another machine are others: look at the ratios.\n\n";
    let runs = results.runs().count();
    if runs > 1 {
        let _ = write!(
            text,
            "It was run {runs} times, one after the other. The figures are judged by all of them, and \
             of each the last\nrun is told, or the last that has missed it; all else is of the last \
             run.\n\n"
        );
    }
    if results.quick {
        text += "**A quick run**: with so few samples it shows that everything works, and roughly how \
                 fast.\n\n";
    }
    text += &figures(results);
    for picture in pictures.iter().filter(|picture| !picture.is_of_approaches) {
        let _ = write!(text, "\n![{}]({})\n", picture.title, picture.file);
    }
    text += &approaches(results);
    for picture in pictures.iter().filter(|picture| picture.is_of_approaches) {
        let _ = write!(text, "\n![{}]({})\n", picture.title, picture.file);
    }
    text += &ahead(results);
    text += &details(results);
    text += &machine(results);
    text
}

/// The figures in short, for the project's own page.
pub(super) fn summary(results: &Results) -> String {
    let mut table = Table::new(["", "measured", "must be", "found", ""]);
    for verdict in judge_runs(results) {
        table.add([
            verdict.figure.into(),
            verdict.what.into(),
            verdict.must.into(),
            verdict.found.clone(),
            verdict.word(),
        ]);
    }
    table.to_string()
}

fn figures(results: &Results) -> String {
    let verdicts = judge_runs(results);
    let reached = verdicts.iter().filter(|verdict| verdict.is_reached()).count();
    let mut text = format!("## The figures: {reached} of {} reached\n\n", verdicts.len());
    text += "Of several stores or cases the one is shown that is nearest to its limit, or beyond it.\n\n";
    text += &summary(results);
    let misses: Vec<_> = verdicts.iter().filter(|verdict| !verdict.misses.is_empty()).collect();
    if !misses.is_empty() {
        text += "\nWhat is missing, and why:\n\n";
    }
    for verdict in misses {
        let _ = write!(text, "- {}: {}", verdict.figure, verdict.misses.join("; "));
        match reasons::of_figure(verdict.figure) {
            "" => text += ".\n",
            why => {
                let _ = write!(text, ". What is in the way: {why}.");
                if verdict.figure == "P1" {
                    text += &parts(results);
                }
                text += "\n";
            }
        }
    }
    text
}

/// What the parts of an acquire cost by themselves.
fn parts(results: &Results) -> String {
    let mut text = String::new();
    if let Some(alone) = results.without_a_store() {
        let _ = write!(
            text,
            " With the cell in memory, again and again, these take {}.",
            time(alone.ours.p50)
        );
    }
    let more = |of: fn(&Parts) -> [Spread; 2]| {
        let rows = results.parts.iter().map(|row| {
            let [all, floor] = of(row).map(|spread| spread.p50);
            format!("{} {:.2} ×, {}", row.store, all / floor, time((all - floor).max(0.0)))
        });
        rows.collect::<Vec<_>>().join("; ")
    };
    if !results.parts.is_empty() {
        let [cell, asked, ours] =
            [more(|row| row.cell), more(|row| row.asked), more(|row| row.in_runtime)];
        let _ = write!(
            text,
            " Its parts, each in turns with the bare swap, as times of that and time more. The swap of the \
             backend alone: {cell}. The bare swap, asked for by another thread that waits for it: \
             {asked}. Acquire with the driver in the runtime of who asks (`in_current_runtime`), where a \
             runtime that is blocked would cost the lease: {ours}."
        );
    }
    text
}

/// Two tables: what can be counted, and what was seen to happen.
fn approaches(results: &Results) -> String {
    let rows = &results.approaches;
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## The approaches side by side\n\n");
    text += "Each is as small as whoever knows its store would write it ([`approaches`](../src/approaches/mod.rs)), \
             and\nhas the same orders in the same processes. A ratio says how many times that of \
             Interlock on the same kind\nof store it is: for times less is better, for rates more is. \
             **Bold** is ahead of Interlock.\n\n";
    let mut table = Table::new([
        "approach",
        "store",
        "acquire + release, alone",
        "64 tasks, 64 locks",
        "processes, own locks",
        "processes, one lock",
        "hand-off, p50",
        "p99",
    ]);
    for row in rows {
        let ours = ours(rows, row);
        let time_of = |of: fn(&Compared) -> Option<f64>| against(row, ours, of, true, time);
        let rate_of = |of: fn(&Compared) -> Option<f64>| {
            against(row, ours, of, false, |rate| format!("{}/s", number(rate)))
        };
        table.add([
            name(row),
            row.store.clone(),
            time_of(latency),
            rate_of(|row| row.tasks),
            rate_of(|row| row.processes),
            rate_of(|row| row.contended),
            time_of(hand_off),
            row.hand_off.map_or_else(|| "–".into(), |spread| time(spread.p99)),
        ]);
    }
    text += &table.to_string();
    text += "\nWhat was seen to happen, by trying it:\n\n";
    let mut table = Table::new([
        "approach",
        "store",
        "the holder is killed",
        "the server is killed and started",
        "connections for locks",
        "who queued is passed",
        "slowest of many",
    ]);
    for row in rows {
        let gap = || "–".to_owned();
        table.add([
            name(row),
            row.store.clone(),
            crash(row),
            restart(row),
            row.connections.map_or_else(gap, |(count, locks)| format!("{count} for {locks}")),
            row.passed.map_or_else(gap, |(passed, of)| match passed {
                0 => "nobody".into(),
                passed => format!("{passed} of {of}"),
            }),
            row.slowest.map_or_else(gap, |part| format!("{:.0} % of the mean", 100.0 * part)),
        ]);
    }
    text += &table.to_string();
    text += "\nConnections are those of a server; of files they are descriptors. “Slowest of many”: what the \
             slowest of\nseveral processes that want one lock all the time got done.\n";
    let failed: Vec<_> = rows.iter().filter(|row| !row.failures.is_empty()).collect();
    if !failed.is_empty() {
        text += "\nWhat did not work:\n\n";
    }
    for row in failed {
        let _ = writeln!(text, "- {} ({}): {}", row.name, row.store, row.failures.join("; "));
    }
    text
}

fn name(row: &Compared) -> String {
    if row.is_ours { format!("**{}**", row.name) } else { row.name.clone() }
}

/// This product on the same kind of store.
fn ours<'r>(rows: &'r [Compared], row: &Compared) -> Option<&'r Compared> {
    let store = match row.store.as_str() {
        // One host, and no database.
        "files" | "socket" => "flock",
        store => store,
    };
    rows.iter().find(|ours| ours.is_ours && ours.store == store)
}

fn latency(row: &Compared) -> Option<f64> {
    Some(row.acquire?.p50 + row.release?.p50)
}

fn hand_off(row: &Compared) -> Option<f64> {
    row.hand_off.map(|spread| spread.p50)
}

/// A value as a ratio to ours, and by itself.
fn against(
    row: &Compared,
    ours: Option<&Compared>,
    of: impl Fn(&Compared) -> Option<f64>,
    less_is_better: bool,
    text: impl Fn(f64) -> String,
) -> String {
    let Some(value) = of(row) else { return "–".into() };
    if row.is_ours {
        return text(value);
    }
    let Some(ours) = ours.and_then(of).filter(|ours| *ours > 0.0) else { return text(value) };
    let ratio = value / ours;
    let shown = if ratio < 0.095 { format!("1/{:.0}", 1.0 / ratio) } else { number(ratio) };
    let is_ahead = (ratio < 1.0) == less_is_better;
    let bold = if is_ahead { "**" } else { "" };
    format!("{bold}{shown} ×{bold} ({})", text(value))
}

fn crash(row: &Compared) -> String {
    match &row.crash {
        None => "–".into(),
        Some(crash) => match crash.free_after_ms {
            Some(ms) => format!("free after {}", time(ms * 1e3)),
            None => format!("still locked after {}", time(crash.limit_ms * 1e3)),
        },
    }
}

fn restart(row: &Compared) -> String {
    match &row.restart {
        None => "–".into(),
        Some(Restart::NoServer) => "there is no server".into(),
        Some(Restart::Kept) => "held as before".into(),
        Some(Restart::KeptButStuck(_)) => "held, but its holder cannot give it back".into(),
        Some(Restart::LostAndToldLate(_)) => {
            "two holders; the first hears of it when it gives it back".into()
        }
        Some(Restart::LostInSilence) => "two holders; the first never hears of it".into(),
    }
}

/// Where others are ahead, each with the reason.
fn ahead(results: &Results) -> String {
    let mut text = String::new();
    for row in results.approaches.iter().filter(|row| !row.is_ours) {
        let Some(ours) = ours(&results.approaches, row) else { continue };
        let times = |of: fn(&Compared) -> Option<f64>, less: bool| {
            let (theirs, ours) = (of(row)?, of(ours)?);
            let times = if less { ours / theirs } else { theirs / ours };
            (times > AHEAD && times.is_finite()).then_some(times)
        };
        let told: Vec<String> = [
            ("alone", times(latency, true)),
            ("with 64 tasks", times(|row| row.tasks, false)),
            ("with processes that want different locks", times(|row| row.processes, false)),
            ("with processes that want the same lock", times(|row| row.contended, false)),
            ("in handing on", times(hand_off, true)),
        ]
        .into_iter()
        .filter_map(|(what, times)| times.map(|times| format!("{} × {what}", number(times))))
        .collect();
        if !told.is_empty() {
            let why = reasons::of_approach(&row.key);
            let told = told.join(", ");
            let _ = writeln!(text, "- **{}** is faster, {told}: {why}.", row.name);
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\n## Where others are ahead, and why\n\n{text}")
}

/// The numbers behind the pictures.
fn details(results: &Results) -> String {
    let mut text = String::from("\n## In numbers\n");
    let mut section = |title: &str, table: Table| {
        if !table.is_empty() {
            let _ = write!(text, "\n### {title}\n\n{table}");
        }
    };
    section("One client against the floor", against_the_floor(results));
    let mut table = Table::new([
        "store",
        "help of the host",
        "after",
        "by a server in memory",
        "p50",
        "p99",
        "max",
        "samples",
    ]);
    for row in &results.hand_off {
        let help = if row.bell { "yes" } else { "no" };
        let wait = format!("{} ms", row.waited_ms);
        let bare = time(row.bare.p50);
        table.add(spread_row([row.store.clone(), help.into(), wait, bare], row.took));
    }
    section("From release called to acquire returned", table);
    let mut table = Table::new(["store", "p50", "p99", "max", "samples"]);
    for row in &results.recovery {
        let Spread { p50, p99, max, samples } = row.took;
        let [p50, p99, max] = [p50, p99, max].map(time);
        table.add([row.store.clone(), p50, p99, max, samples.to_string()]);
    }
    section("From `kill -9` of the holder to acquire returned", table);
    let mut table = Table::new([
        "store",
        "help of the host",
        "waiting",
        "statements/s",
        "writes",
        "in order",
        "gap p50",
    ]);
    for row in &results.waiting {
        let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
        table.add([
            row.store.clone(),
            yes(row.bell),
            row.waiters.to_string(),
            number(row.rate),
            format!("{} for {}", row.writes, row.waiters),
            yes(row.in_order),
            time(row.gap.p50),
        ]);
    }
    section("What waiting asks of the server", table);
    let mut table =
        Table::new(["store", "way", "swaps/s", "slowest", "statements each", "p50", "p99", "max"]);
    for row in &results.contention {
        table.add([
            row.store.clone(),
            row.way.clone(),
            number(row.rate),
            format!("{:.0} %", 100.0 * row.slowest),
            format!("{:.1}", row.statements),
            time(row.took.p50),
            time(row.took.p99),
            time(row.took.max),
        ]);
    }
    section("Sixteen processes on one cell", table);
    let mut table = Table::new(["command", "p50", "p99", "memory"]);
    for row in &results.commands {
        let memory = row.memory_kib.map_or_else(|| "–".into(), |kib| format!("{kib} KiB"));
        table.add([row.name.clone(), time(row.took.p50), time(row.took.p99), memory]);
    }
    section("Command lines", table);
    text
}

fn against_the_floor(results: &Results) -> Table {
    let mut table = Table::new([
        "store", "", "holds", "bytes", "× bare", "more", "p50", "bare p50", "p99", "bare p99",
        "logged",
    ]);
    for row in &results.versus {
        let gap = || "–".to_owned();
        let bare = |of: fn(Spread) -> f64| row.floor.map_or_else(gap, |floor| time(of(floor)));
        let above = row.above();
        table.add([
            row.store.clone(),
            row.operation.clone(),
            row.holds.to_string(),
            row.bytes.to_string(),
            above.map_or_else(gap, |(times, _)| format!("{times:.2}")),
            above.map_or_else(gap, |(_, more)| time(more.max(0.0))),
            time(row.ours.p50),
            bare(|floor| floor.p50),
            time(row.ours.p99),
            bare(|floor| floor.p99),
            match row.logged {
                (None, _) => gap(),
                (Some(main), None) => main.to_string(),
                (Some(main), Some(binary)) => format!("{main} + {binary}"),
            },
        ]);
    }
    table
}

/// Three cells and what samples say.
fn spread_row(head: [String; 4], spread: Spread) -> [String; 8] {
    let [a, b, c, d] = head;
    let [p50, p99, max] = [spread.p50, spread.p99, spread.max].map(time);
    [a, b, c, d, p50, p99, max, spread.samples.to_string()]
}

fn machine(results: &Results) -> String {
    let Machine { processor, cores, memory_gib, system, rust, revision, load, sync } =
        &results.machine;
    let mut text = format!(
        "\n## Where\n\n{processor}, {cores} cores, {memory_gib:.1} GiB, {system}; a page is synced in {} \
         (p99 {}).\n{rust}. Revision {revision}. Load when it began: {load}.\n\n",
        time(sync.p50),
        time(sync.p99)
    );
    for (name, title) in &results.stores {
        let _ = writeln!(text, "- {name}: {title}");
    }
    text += "\nServers have the durability that their makers give them, MySQL with its binary log, and Redis \
             and Valkey\nthe most that they have (`appendfsync always`). Statements are counted by the \
             servers.\n";
    for missing in &results.missing {
        let _ = writeln!(text, "\nMissing: {missing}");
    }
    text
}
