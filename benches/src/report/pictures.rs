//! What is drawn: one picture for each thing that is easier seen than read.

use std::path::Path;

use lock_bench_worker::Failure;

use super::plot::{Bars, Item, Lines, Tint, bars, lines};
use crate::contention::NAIVE;
use crate::results::{Compared, Results, Spread, number, time};
use crate::tasks::OURS;

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

fn bar(label: impl Into<String>, value: f64, text: impl Into<String>, tint: Tint) -> Item {
    Item::Bar { label: label.into(), value, text: text.into(), tint, tail: None }
}

/// The median, with the 99th of a hundred as its tail.
fn spread(label: impl Into<String>, spread: Spread, tint: Tint) -> Item {
    let text = time(spread.p50);
    Item::Bar { label: label.into(), value: spread.p50, text, tint, tail: Some(spread.p99) }
}

/// A heading before each run of items that have the same one.
fn grouped(rows: impl Iterator<Item = (String, Item)>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut last = None;
    for (group, item) in rows {
        if last.as_ref() != Some(&group) {
            items.push(Item::Group(group.clone()));
            last = Some(group);
        }
        items.push(item);
    }
    items
}

/// A store, and whether those who wait in it know each other.
fn store_and_help(store: &str, bell: bool) -> String {
    if bell { store.into() } else { format!("{store}, without help of the host") }
}

fn tint_of(bell: bool) -> Tint {
    if bell { Tint::Ours } else { Tint::Second }
}

fn floor(results: &Results) -> Bars<'static> {
    let mut items = Vec::new();
    for row in results.versus.iter().filter(|row| row.holds == 0) {
        let (Some(floor), Some((times, more))) = (row.floor, row.above()) else { continue };
        if row.operation == "acquire" {
            items.push(Item::Group(row.store.clone()));
        }
        let text = format!("{} = {times:.2} ×, {} more", time(row.ours.p50), time(more.max(0.0)));
        items.push(bar(&row.operation, row.ours.p50, text, Tint::Ours));
        items.push(bar("bare", floor.p50, time(floor.p50), Tint::Floor));
    }
    Bars {
        title: "One client, nobody else: acquire and release against the floor",
        subtitle: "the floor is the bare statement, or the bare calls and syncs, with the same bytes; medians",
        items,
        limits: Vec::new(),
        by_tens: false,
        unit: time,
    }
}

fn tasks(results: &Results) -> Bars<'static> {
    let items = grouped(results.tasks.iter().map(|row| {
        let (label, tint) = match (row.way.as_str(), row.count) {
            (OURS, 1) => ("one task".into(), Tint::Second),
            (OURS, tasks) => (format!("{tasks} tasks"), Tint::Ours),
            (way, tasks) => (format!("{tasks} tasks, {way}"), Tint::Other),
        };
        (row.store.clone(), bar(label, row.rate, per_second(row.rate), tint))
    }));
    Bars {
        title: "Tasks of one process, each with a lock of its own",
        subtitle: "acquired and released per second",
        items,
        limits: Vec::new(),
        by_tens: false,
        unit: number,
    }
}

fn hand_off(results: &Results) -> Bars<'static> {
    let items = grouped(results.hand_off.iter().map(|row| {
        let label = format!("waited {}", seconds(row.waited_ms));
        (store_and_help(&row.store, row.bell), spread(label, row.took, tint_of(row.bell)))
    }));
    Bars {
        title: "Hand-off: from release called to acquire returned in another process",
        subtitle: "medians, with the 99th of a hundred as the tail",
        items,
        limits: vec![(2_000.0, "p50 2 ms"), (20_000.0, "p99 20 ms")],
        by_tens: true,
        unit: time,
    }
}

fn recovery(results: &Results) -> Bars<'static> {
    let rows = results.recovery.iter();
    Bars {
        title: "Recovery: from kill -9 of the holder to acquire returned in another process",
        subtitle: "medians, with the 99th of a hundred as the tail",
        items: rows.map(|row| spread(&row.store, row.took, Tint::Ours)).collect(),
        limits: vec![(10_000.0, "p50 10 ms")],
        by_tens: true,
        unit: time,
    }
}

fn waiting(results: &Results) -> Bars<'static> {
    let items = grouped(results.waiting.iter().map(|row| {
        let label = format!("{} waiting", row.waiters);
        let item = bar(label, row.rate, per_second(row.rate), tint_of(row.bell));
        (store_and_help(&row.store, row.bell), item)
    }));
    Bars {
        title: "Waiting: statements that reach the server for one contended lock",
        subtitle: "per second, all waiting processes together, counted by the server",
        items,
        limits: vec![(150.0, "1 waiting"), (400.0, "100 waiting")],
        by_tens: false,
        unit: number,
    }
}

fn contention(results: &Results) -> Bars<'static> {
    let mut items = Vec::new();
    for row in &results.contention {
        let naive = results
            .contention
            .iter()
            .find(|other| other.store == row.store && other.way == NAIVE && other.rate > 0.0);
        if row.way == NAIVE {
            items.push(Item::Group(row.store.clone()));
        }
        let (label, tint) = match row.way.as_str() {
            NAIVE => ("naive retry", Tint::Other),
            OURS => ("Interlock", Tint::Ours),
            _ => ("without help of the host", Tint::Second),
        };
        let times = naive.map_or(1.0, |naive| row.rate / naive.rate);
        let text = format!("{} × naive; slowest {:.0} %", number(times), 100.0 * row.slowest);
        items.push(bar(label, row.rate, text, tint));
    }
    Bars {
        title: "Sixteen processes on one cell, each with a lock of its own",
        subtitle: "swaps per second, and what the slowest process got done as part of the mean",
        items,
        limits: Vec::new(),
        by_tens: false,
        unit: number,
    }
}

fn command(results: &Results) -> Bars<'static> {
    let rows = results.commands.iter();
    let items = rows.map(|row| {
        let tint = match row.name.as_str() {
            "true" => Tint::Floor,
            "flock(1)" => Tint::Other,
            _ => Tint::Ours,
        };
        spread(&row.name, row.took, tint)
    });
    Bars {
        title: "A command under a lock, the whole process: lockctl run -l x -- true",
        subtitle: "medians, with the 99th of a hundred as the tail",
        items: items.collect(),
        limits: Vec::new(),
        by_tens: false,
        unit: time,
    }
}

fn latency(rows: &[Compared]) -> Bars<'static> {
    Bars {
        title: "Alone: acquire and release together",
        subtitle: "medians; each step is ten times as much",
        items: by_store(rows, |row| {
            let both = row.acquire?.p50 + row.release?.p50;
            Some(bar(&row.name, both, time(both), tint(row)))
        }),
        limits: Vec::new(),
        by_tens: true,
        unit: time,
    }
}

fn handed_on(rows: &[Compared]) -> Bars<'static> {
    Bars {
        title: "Hand-off after 0.1 s of waiting",
        subtitle: "medians, with the 99th of a hundred as the tail; each step is ten times as much",
        items: by_store(rows, |row| Some(spread(&row.name, row.hand_off?, tint(row)))),
        limits: Vec::new(),
        by_tens: true,
        unit: time,
    }
}

fn rates<'a>(rows: &[Compared], title: &'a str, of: fn(&Compared) -> Option<f64>) -> Bars<'a> {
    Bars {
        title,
        subtitle: "acquired and released per second; each step is ten times as much",
        items: by_store(rows, |row| {
            let rate = of(row)?;
            Some(bar(&row.name, rate, per_second(rate), tint(row)))
        }),
        limits: Vec::new(),
        by_tens: true,
        unit: number,
    }
}

/// Like beside like: what is in one kind of store is together.
fn by_store(rows: &[Compared], item: impl Fn(&Compared) -> Option<Item>) -> Vec<Item> {
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
    grouped(kinds.into_iter().flat_map(|of| {
        let rows = rows.iter().filter(|row| kind(row) == of);
        rows.filter_map(|row| Some((of.clone(), item(row)?))).collect::<Vec<_>>()
    }))
}

fn tint(row: &Compared) -> Tint {
    if row.is_ours { Tint::Ours } else { Tint::Other }
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn growth(results: &Results) -> Option<Lines<'static>> {
    let mut all = Vec::new();
    for store in ["mysql", "memory"] {
        let rows = || {
            let rows = results.versus.iter();
            rows.filter(|row| row.store == store && row.holds > 0 && row.operation == "acquire")
        };
        let ours = rows().map(|row| (row.holds as f64, row.ours.p50)).collect::<Vec<_>>();
        let floor =
            rows().filter_map(|row| Some((row.holds as f64, row.floor?.p50))).collect::<Vec<_>>();
        let tint = if store == "mysql" { Tint::Ours } else { Tint::Second };
        for (name, tint, points) in [
            (format!("acquire, {store}"), tint, ours),
            (format!("bare swap, {store}"), Tint::Floor, floor),
        ] {
            if points.len() > 1 {
                all.push((name, tint, points));
            }
        }
    }
    (!all.is_empty()).then_some(Lines {
        title: "Growth: acquire beside more and more holds of others",
        subtitle: "medians, both axes by tens; the bare swap has the same bytes",
        all,
        across: "holds in the table",
        unit: time,
    })
}

fn per_second(rate: f64) -> String {
    format!("{}/s", number(rate))
}

fn seconds(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}
