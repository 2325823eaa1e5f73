//! The page: figures first, with their pictures; then the approaches side by side, and what falls short.

use std::fmt::Write as _;

use super::judge::judge_runs;
use super::pictures::Picture;
use super::table::Table;
use super::verdict::Verdict;
use super::{beside, details, reasons, short};
use crate::results::{Machine, Parts, Results, Spread, time};
use crate::store::AS_DELIVERED;
use crate::text::{more, times};

/// The whole page.
pub(super) fn page(results: &Results, pictures: &[Picture]) -> String {
    let mut text = String::from("# How fast it is, and against what\n\n");
    text += "All of this was measured side by side, in the same runs of `cargo xtask bench`, on real \
             servers with real\nprocesses. Times of another machine are others: look at the ratios.\n\n";
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
    text += &shown(pictures, false);
    text += &short::short(results);
    text += &beside::approaches(results);
    text += &shown(pictures, true);
    text += &beside::ahead(results);
    text += &details::details(results);
    text += &machine(results);
    text
}

/// Those of the approaches, or the others.
fn shown(pictures: &[Picture], is_of_approaches: bool) -> String {
    let mut text = String::new();
    for picture in pictures.iter().filter(|one| one.is_of_approaches == is_of_approaches) {
        let _ = write!(text, "\n![{}]({})\n", picture.title, picture.file);
    }
    text
}

/// The figures in short, for the project's own page.
pub(super) fn summary(results: &Results) -> String {
    table(&judge_runs(results)).to_string()
}

fn table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(["", "measured", "must be", "found", ""]);
    for verdict in verdicts {
        table.add([
            verdict.figure.into(),
            verdict.what.into(),
            verdict.must.into(),
            verdict.told(),
            verdict.word(),
        ]);
    }
    table
}

fn figures(results: &Results) -> String {
    let verdicts = judge_runs(results);
    let reached = verdicts.iter().filter(|verdict| verdict.is_reached()).count();
    let mut text = format!("## The figures: {reached} of {} reached\n\n", verdicts.len());
    text += "Of several stores or cases the one is shown that is nearest to its limit, or beyond it.\n\n";
    text += &table(&verdicts).to_string();
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
    let all = |of: fn(&Parts) -> [Spread; 2]| {
        let rows = results.parts.iter().map(|row| {
            let [all, floor] = of(row).map(|spread| spread.p50);
            format!("{} {}, {}", row.store, times(all / floor), more(all - floor))
        });
        rows.collect::<Vec<_>>().join("; ")
    };
    if !results.parts.is_empty() {
        let [cell, asked, ours] =
            [all(|row| row.cell), all(|row| row.asked), all(|row| row.in_runtime)];
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

fn machine(results: &Results) -> String {
    let Machine { processor, cores, memory_gib, system, rust, sync, disk, .. } = &results.machine;
    let disk = if disk.is_empty() { String::new() } else { format!("; {disk}") };
    let mut text = format!(
        "\n## Where\n\n{processor}, {cores} cores, {memory_gib:.1} GiB, {system}{disk}; a page is synced in \
         {} (p99 {}).\n{rust}.\n\n",
        time(sync.p50),
        time(sync.p99)
    );
    let mut table = Table::new(["run", "revision", "load when it began", "took"]);
    for (index, run) in results.runs().enumerate() {
        let Machine { revision, load, .. } = &run.machine;
        let took = match run.seconds {
            seconds if seconds > 0.0 => format!("{seconds:.0} s"),
            _ => "–".into(),
        };
        let number = (index + 1).to_string();
        table.add([number, revision.clone(), load.clone(), took]);
    }
    let _ = write!(text, "{table}");
    text += "\nStores, and what their servers were told that differs from what their makers deliver:\n\n";
    for (name, title) in &results.stores {
        let options = results.options.iter().find(|(store, _)| store == name);
        let options = options.map_or(&[][..], |(_, options)| options);
        let options: Vec<_> = options.iter().map(|option| format!("`{option}`")).collect();
        let told =
            if options.is_empty() { String::new() } else { ": ".to_owned() + &options.join(", ") };
        let _ = writeln!(text, "- {name}: {title}{told}");
    }
    text += "\nMySQL and MariaDB have the durability that their makers give them, MySQL with its binary log. \
             Redis and Valkey\nhave more than that, and all that they can (`appendfsync always`), for what \
             holds locks has to be durable.\n";
    text += if results.approaches.iter().any(|row| row.store == AS_DELIVERED) {
        "Among the approaches “redis as delivered” has its makers' defaults, by which it may lose its last minutes.\n"
    } else {
        "Without that the approaches of others in Redis would be further ahead than is shown.\n"
    };
    text += "Statements are counted by the servers.\n";
    for (is_of_peers, whose) in [(false, "Interlock and its trials"), (true, "the other crates")] {
        let crates = results.crates.iter().filter(|one| one.is_of_peers == is_of_peers);
        let crates: Vec<_> = crates.map(|one| format!("{} {}", one.name, one.version)).collect();
        if !crates.is_empty() {
            let _ = write!(text, "\nWith {whose}: {}.\n", crates.join(", "));
        }
    }
    let mut told: Vec<&String> = Vec::new();
    for missing in results.runs().flat_map(|run| &run.missing) {
        if !told.contains(&missing) {
            told.push(missing);
            let _ = writeln!(text, "\nMissing: {missing}");
        }
    }
    text
}
