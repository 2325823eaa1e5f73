//! What is drawn: one picture for each thing that is easier seen than read.

use std::path::Path;

use lock_bench_worker::Failure;

use super::beside::{hand_off as handed, latency as alone, ratio};
use super::judge::{
    BESIDE_NAIVE, COMMAND, GROWTH, HANDED, RECOVERED, above_floor, growing, judge_runs, naive,
    statements_of,
};
use super::plot::{Bar, Bars, Item, Lines, Mark, Tint, bars, lines};
use crate::command::BARE;
use crate::contention::NAIVE;
use crate::results::{Compared, Results, Spread, number, time};
use crate::store::Store;
use crate::tasks::{OURS, TASKS};
use crate::text::{more, per_second, seconds, times};

/// A picture in the folder of the report.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) is_of_approaches: bool,
}

/// Draws all of which there is something to see.
pub(super) fn draw(results: &Results, folder: &Path) -> Result<Vec<Picture>, Failure> {
    let mut pictures = Vec::new();
    let mut keep = |name: &str, plot: Bars<'_>, is_of_approaches| -> Result<(), Failure> {
        if plot.items.is_empty() {
            return Ok(());
        }
        let file = format!("{name}.svg");
        bars(&folder.join(&file), &plot)?;
        pictures.push(Picture { file, title: plot.title.into(), is_of_approaches });
        Ok(())
    };
    keep("figures", figures(results), false)?;
    keep("floor", floor(results), false)?;
    keep("tasks", tasks(results), false)?;
    keep("hand-off", hand_off(results), false)?;
    keep("recovery", recovery(results), false)?;
    keep("waiting", waiting(results), false)?;
    keep("contention", contention(results), false)?;
    keep("command", command(results), false)?;
    let rows = &results.approaches;
    keep("approaches-latency", latency(rows), true)?;
    keep("approaches-hand-off", handed_on(rows), true)?;
    keep(
        "approaches-tasks",
        rates(rows, "64 tasks of one process, 64 locks", |row| row.tasks),
        true,
    )?;
    keep(
        "approaches-processes",
        rates(rows, "Processes with a lock each", |row| row.processes),
        true,
    )?;
    keep(
        "approaches-contended",
        rates(rows, "Processes that want one lock", |row| row.contended),
        true,
    )?;
    if let Some(growth) = growth(results) {
        lines(&folder.join("growth.svg"), &growth)?;
        let title = growth.title.into();
        pictures.push(Picture { file: "growth.svg".into(), title, is_of_approaches: false });
    }
    Ok(pictures)
}

fn bar(label: impl Into<String>, value: f64, text: impl Into<String>, tint: Tint) -> Bar {
    let (label, text) = (label.into(), text.into());
    Bar { label, value, text, tint, tail: None, limit: None, late_limit: None }
}

/// The median, with the 99th of a hundred as its tail.
fn spread(label: impl Into<String>, spread: Spread, tint: Tint) -> Bar {
    Bar { tail: Some(spread.p99), ..bar(label, spread.p50, time(spread.p50), tint) }
}

/// A heading before each run of bars that have the same one.
fn grouped(rows: impl Iterator<Item = (String, Bar)>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut last = None;
    for (group, bar) in rows {
        if last.as_ref() != Some(&group) {
            items.push(Item::Group(group.clone()));
            last = Some(group);
        }
        items.push(Item::Bar(bar));
    }
    items
}

/// What a tint stands for, and other parts of a legend.
fn legend<const N: usize>(marks: [(Mark, &str); N]) -> Vec<(Mark, String)> {
    marks.map(|(mark, text)| (mark, text.into())).into()
}

/// A store, and whether those who wait in it know each other.
fn store_and_help(store: &str, bell: bool) -> String {
    if bell { store.into() } else { format!("{store}, without help of the host") }
}

fn tint_of(bell: bool) -> Tint {
    if bell { Tint::Ours } else { Tint::Second }
}

/// The tail of a bar.
const TAIL: (Mark, &str) = (Mark::Tail, "up to the 99th of a hundred");

fn figures(results: &Results) -> Bars<'static> {
    let label = |figure: &str| match figure {
        "P1" => "P1 alone, against the floor",
        "P2" => "P2 64 tasks of a process",
        "P3" => "P3 10,000 locks at once",
        "P4" => "P4 hand-off",
        "P5" => "P5 load of waiting",
        "P6" => "P6 the holder is killed",
        "P7" => "P7 sixteen processes",
        "P8" => "P8 growth",
        "P9" => "P9 rest",
        _ => "P10 a command under a lock",
    };
    let verdicts = judge_runs(results).into_iter().filter(|verdict| !verdict.told().is_empty());
    let items = verdicts.map(|verdict| {
        let text = match verdict.part {
            part if part.is_finite() => format!("{:.0} %", (100.0 * part).floor()),
            _ => "missed".into(),
        };
        let tint = if verdict.misses.is_empty() { Tint::Ours } else { Tint::Bad };
        let bar = bar(label(verdict.figure), 100.0 * verdict.part.min(2.0), text, tint);
        Item::Bar(Bar { limit: Some(100.0), ..bar })
    });
    Bars {
        title: "How near to its limit each figure is",
        subtitle: "in the store or case that is nearest; whatever is beyond the line is missed",
        items: items.collect(),
        legend: legend([
            (Mark::Limit, "what it must not exceed"),
            (Mark::Bar(Tint::Ours), "reached"),
            (Mark::Bar(Tint::Bad), "missed, in one run at least"),
        ]),
        by_tens: false,
        unit: |part| format!("{part:.0} %"),
    }
}

fn floor(results: &Results) -> Bars<'static> {
    let mut items = Vec::new();
    for row in results.versus.iter().filter(|row| row.holds == 0) {
        let (Some(floor), Some((ratio, above))) = (row.floor, row.above()) else { continue };
        if row.operation == "acquire" {
            items.push(Item::Group(row.store.clone()));
        }
        let text = format!("{}, {} ({})", times(ratio), more(above), time(row.ours.p50));
        let ours = bar(&row.operation, row.ours.p50, text, Tint::Ours);
        items.push(Item::Bar(Bar { limit: Some(above_floor(floor.p50)), ..ours }));
        items.push(Item::Bar(bar("bare", floor.p50, time(floor.p50), Tint::Floor)));
    }
    Bars {
        title: "One client, nobody else: acquire and release against the floor",
        subtitle: "the bare statement, or the bare calls and syncs, with the same bytes; medians",
        items,
        legend: legend([
            (Mark::Bar(Tint::Ours), "Interlock"),
            (Mark::Bar(Tint::Floor), "bare"),
            (Mark::Limit, "limit: 1.15 × the bare one, or 30 µs more"),
        ]),
        by_tens: false,
        unit: time,
    }
}

fn tasks(results: &Results) -> Bars<'static> {
    let items = grouped(results.tasks.iter().map(|row| {
        let ours = |count| {
            let rows = results.tasks.iter().filter(|one| one.store == row.store && one.way == OURS);
            rows.filter(|one| one.count == count).map(|one| one.rate).next()
        };
        let (label, tint, other, name) = match (row.way.as_str(), row.count) {
            (OURS, 1) => ("one task".into(), Tint::Second, None, ""),
            (OURS, tasks) => (format!("{tasks} tasks"), Tint::Ours, ours(1), "one task"),
            (way, tasks) => {
                (format!("{tasks} tasks, {way}"), Tint::Other, ours(tasks), "Interlock")
            }
        };
        let rate = per_second(row.rate);
        let ratio = other.map(|other| format!("{} {name} ({rate})", times(row.rate / other)));
        let is_figure = row.store == "mysql" && row.way == OURS && row.count == TASKS;
        let limit = other.filter(|_| is_figure).map(|one| 20.0 * one);
        (row.store.clone(), Bar { limit, ..bar(label, row.rate, ratio.unwrap_or(rate), tint) })
    }));
    Bars {
        title: "Tasks of one process, each with a lock of its own",
        subtitle: "acquired and released per second",
        items,
        legend: legend([
            (Mark::Bar(Tint::Ours), "Interlock, 64 tasks"),
            (Mark::Bar(Tint::Second), "Interlock, one task"),
            (Mark::Bar(Tint::Other), "another crate"),
            (Mark::Limit, "to be reached: 20 × one task, MySQL"),
        ]),
        by_tens: false,
        unit: number,
    }
}

fn hand_off(results: &Results) -> Bars<'static> {
    let [p50, p99, alone] = HANDED;
    let items = grouped(results.hand_off.iter().map(|row| {
        let label = format!("waited {}", seconds(row.waited_ms));
        let (limit, late_limit) = match (row.bell, row.store.as_str()) {
            (true, _) => (Some(p50), Some(p99)),
            (false, "mysql") => (Some(alone), None),
            _ => (None, None),
        };
        let text = format!("{} ({})", times(row.took.p50 / row.bare.p50), time(row.took.p50));
        let bar = spread(label, row.took, tint_of(row.bell));
        (store_and_help(&row.store, row.bell), Bar { text, limit, late_limit, ..bar })
    }));
    Bars {
        title: "Hand-off: from release called to acquire returned in another process",
        subtitle: "as times of a lock server in memory, and medians; each step is ten times as much",
        items,
        legend: legend([
            (Mark::Bar(Tint::Ours), "with help of the host"),
            (Mark::Bar(Tint::Second), "without"),
            TAIL,
            (Mark::Limit, "limit of the median: 2 ms, without help 15 ms"),
            (Mark::LateLimit, "limit of the 99th: 20 ms"),
        ]),
        by_tens: true,
        unit: time,
    }
}

fn recovery(results: &Results) -> Bars<'static> {
    let rows = results.recovery.iter().map(|row| {
        Item::Bar(Bar { limit: Some(RECOVERED), ..spread(&row.store, row.took, Tint::Ours) })
    });
    Bars {
        title: "Recovery: from kill -9 of the holder to acquire returned in another process",
        subtitle: "medians; each step is ten times as much",
        items: rows.collect(),
        legend: legend([TAIL, (Mark::Limit, "limit of the median: 10 ms")]),
        by_tens: true,
        unit: time,
    }
}

fn waiting(results: &Results) -> Bars<'static> {
    let items = grouped(results.waiting.iter().map(|row| {
        let label = format!("{} waiting", row.waiters);
        let bar = bar(label, row.rate, per_second(row.rate), tint_of(row.bell));
        let limit = Some(statements_of(row.waiters));
        (store_and_help(&row.store, row.bell), Bar { limit, ..bar })
    }));
    Bars {
        title: "Waiting: statements that reach the server for one contended lock",
        subtitle: "per second, all waiting processes together, counted by the server",
        items,
        legend: legend([
            (Mark::Bar(Tint::Ours), "with help of the host"),
            (Mark::Bar(Tint::Second), "without"),
            (Mark::Limit, "limit: 150 for one who waits, 400 for more"),
        ]),
        by_tens: false,
        unit: number,
    }
}

fn contention(results: &Results) -> Bars<'static> {
    let items = grouped(results.contention.iter().map(|row| {
        let naive = naive(results, &row.store);
        let (label, tint) = match row.way.as_str() {
            NAIVE => ("naive retry", Tint::Other),
            OURS => ("Interlock", Tint::Ours),
            _ => ("without help of the host", Tint::Second),
        };
        let ratio = match naive {
            Some(naive) if row.way != NAIVE => format!("{} naive; ", times(row.rate / naive.rate)),
            _ => String::new(),
        };
        let text = format!("{ratio}slowest {:.0} %", 100.0 * row.slowest);
        let is_figure = row.store == "mysql" && row.way == OURS;
        let limit = naive.filter(|_| is_figure).map(|naive| BESIDE_NAIVE * naive.rate);
        (row.store.clone(), Bar { limit, ..bar(label, row.rate, text, tint) })
    }));
    Bars {
        title: "Sixteen processes on one cell, each with a lock of its own",
        subtitle: "acquires and releases per second; of the slowest process, as part of the mean",
        items,
        legend: legend([
            (Mark::Bar(Tint::Ours), "Interlock"),
            (Mark::Bar(Tint::Second), "without help of the host"),
            (Mark::Bar(Tint::Other), "naive retry"),
            (Mark::Limit, "to be reached: 10 × naive, MySQL"),
        ]),
        by_tens: false,
        unit: number,
    }
}

fn command(results: &Results) -> Bars<'static> {
    let bare = results.commands.iter().find(|row| row.name == BARE).map(|row| row.took.p50);
    let items = results.commands.iter().map(|row| {
        let tint = match row.name.as_str() {
            BARE => Tint::Floor,
            "flock(1)" => Tint::Other,
            _ => Tint::Ours,
        };
        let is_figure = row.name == "lockctl run, sqlite";
        let limit = bare.filter(|_| is_figure).map(|bare| bare + COMMAND);
        let text = match bare {
            Some(bare) if tint != Tint::Floor => {
                let took = row.took.p50;
                format!("{}, {} ({})", times(took / bare), more(took - bare), time(took))
            }
            _ => time(row.took.p50),
        };
        Item::Bar(Bar { text, limit, ..spread(&row.name, row.took, tint) })
    });
    Bars {
        title: "A command under a lock, the whole process: lockctl run -l x -- true",
        subtitle: "as times of `true` by itself; medians",
        items: items.collect(),
        legend: legend([TAIL, (Mark::Limit, "limit: 10 ms more than true, SQLite")]),
        by_tens: false,
        unit: time,
    }
}

fn latency(rows: &[Compared]) -> Bars<'static> {
    Bars {
        title: "Alone: acquire and release together",
        subtitle: "as times of Interlock, and medians; less is better; each step is ten times as much",
        items: by_store(rows, alone, |row| {
            Some(bar("", alone(row)?, time(alone(row)?), tint(row)))
        }),
        legend: whose(),
        by_tens: true,
        unit: time,
    }
}

fn handed_on(rows: &[Compared]) -> Bars<'static> {
    let mut legend = whose();
    let (mark, text) = TAIL;
    legend.push((mark, text.into()));
    Bars {
        title: "Hand-off after 0.1 s of waiting",
        subtitle: "as times of Interlock, and medians; less is better; each step is ten times as much",
        items: by_store(rows, handed, |row| Some(spread("", row.hand_off?, tint(row)))),
        legend,
        by_tens: true,
        unit: time,
    }
}

fn rates<'a>(rows: &[Compared], title: &'a str, of: fn(&Compared) -> Option<f64>) -> Bars<'a> {
    Bars {
        title,
        subtitle: "acquired and released per second, as times of Interlock; more is better; each step is ten \
                   times as much",
        items: by_store(rows, of, |row| {
            let rate = of(row)?;
            Some(bar("", rate, per_second(rate), tint(row)))
        }),
        legend: whose(),
        by_tens: true,
        unit: number,
    }
}

fn whose() -> Vec<(Mark, String)> {
    legend([
        (Mark::Bar(Tint::Ours), "Interlock"),
        (
            Mark::Bar(Tint::Other),
            "others, as times of it in the same store; in files and on a socket, of flock",
        ),
    ])
}

/// Like beside like: what is in one kind of store is together, ratios first.
fn by_store(
    rows: &[Compared],
    of: fn(&Compared) -> Option<f64>,
    bar: impl Fn(&Compared) -> Option<Bar>,
) -> Vec<Item> {
    let kind = |row: &Compared| match row.store.as_str() {
        "flock" | "excl" => "files".to_owned(),
        "socket" => "a server of its own".into(),
        store => store.into(),
    };
    let mut kinds: Vec<String> = Vec::new();
    for kind in rows.iter().map(kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let named = |row: &Compared| {
        let mut bar = bar(row)?;
        bar.label =
            if row.is_ours { format!("Interlock, {}", row.store) } else { row.name.clone() };
        if let Some(ratio) = ratio(rows, row, of) {
            bar.text = format!("{} ({})", times(ratio), bar.text);
        }
        Some(bar)
    };
    grouped(kinds.into_iter().flat_map(|of| {
        let rows = rows.iter().filter(|row| kind(row) == of);
        rows.filter_map(|row| Some((of.clone(), named(row)?))).collect::<Vec<_>>()
    }))
}

fn tint(row: &Compared) -> Tint {
    if row.is_ours { Tint::Ours } else { Tint::Other }
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn growth(results: &Results) -> Option<Lines<'static>> {
    let all = Store::ALL.map(|store| {
        let points = growing(results, store)
            .filter_map(|row| row.above().map(|(ratio, _)| (row.holds as f64, ratio)));
        (store.to_owned(), points.collect::<Vec<_>>())
    });
    let all = all.into_iter().filter(|(_, points)| points.len() > 1);
    let all: Vec<_> = all
        .map(|(store, points)| {
            let last = points.last().map_or(0.0, |(_, ratio)| *ratio);
            (format!("{store}, {} at last", times(last)), points)
        })
        .collect();
    (!all.is_empty()).then_some(Lines {
        title: "Growth: acquire beside more and more holds of others",
        subtitle: "as times of the bare swap of the same bytes in the same store; medians",
        all,
        limit: (GROWTH, "limit: 1.3 × the bare swap"),
        across: "holds in the table, by tens",
        unit: |ratio| format!("{ratio:.1} ×"),
    })
}
