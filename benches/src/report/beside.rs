//! The approaches side by side: what can be counted, what was seen to happen, and where others are ahead.

use std::fmt::Write as _;

use super::reasons;
use super::table::Table;
use crate::results::{Compared, Restart, Results, time};
use crate::text::{per_second, times};

/// How far ahead another approach has to be for it to be told: less is noise.
const AHEAD: f64 = 1.1;

/// Two tables: what can be counted, and what was seen to happen.
pub(super) fn approaches(results: &Results) -> String {
    let rows = &results.approaches;
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## The approaches side by side\n\n");
    text += "Each is as small as whoever knows its store would write it ([`approaches`](../src/approaches/mod.rs)), \
             and\nhas the same orders in the same processes. A ratio says how many times that of \
             Interlock on the same store it is:\nfor times less is better, for rates more is. What is in \
             plain files, and the lock server, which has no store, are\ncompared with Interlock on flock. \
             **Bold** is ahead of Interlock by more than a tenth, and has its reason below.\n\n";
    // Few samples have no 99th of a hundred.
    let samples = rows.iter().filter_map(|row| Some(row.hand_off?.samples)).max();
    let late = match samples {
        Some(samples @ ..100) => format!("max of {samples}"),
        _ => "p99".into(),
    };
    let mut table = Table::new([
        "approach",
        "store",
        "acquire + release, alone",
        "64 tasks, 64 locks",
        "processes, own locks",
        "processes, one lock",
        "hand-off, p50",
        &late,
    ]);
    for row in rows {
        let cell = |of: fn(&Compared) -> Option<f64>, less: bool, text: fn(f64) -> String| {
            let Some(value) = of(row).map(text) else { return "–".into() };
            let Some(ratio) = ratio(rows, row, of) else { return value };
            let bold = if is_ahead(ratio, less).is_some() { "**" } else { "" };
            format!("{bold}{}{bold} ({value})", times(ratio))
        };
        let time_of = |of| cell(of, true, time);
        let rate_of = |of| cell(of, false, per_second);
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
    text += "\nThe crate `distributed-lock` has backends for Postgres and MongoDB as well; these were not run, \
             for Interlock has no\nstore there to stand beside.\n";
    text += "\nWhat was seen to happen, by trying it. To kill the holder, and the server, was tried once \
             each: the times are\none sample.\n\n";
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

/// Acquire and release together, with nobody else about.
pub(super) fn latency(row: &Compared) -> Option<f64> {
    Some(row.acquire?.p50 + row.release?.p50)
}

pub(super) fn hand_off(row: &Compared) -> Option<f64> {
    row.hand_off.map(|spread| spread.p50)
}

/// How many times that of this product in the same store it is; none for this product itself.
pub(super) fn ratio(
    rows: &[Compared],
    row: &Compared,
    of: fn(&Compared) -> Option<f64>,
) -> Option<f64> {
    let ours = ours(rows, row).filter(|_| !row.is_ours).and_then(of)?;
    let ratio = of(row)? / ours;
    ratio.is_finite().then_some(ratio)
}

/// How many times ahead, if it is more than noise.
fn is_ahead(ratio: f64, less_is_better: bool) -> Option<f64> {
    let times = if less_is_better { 1.0 / ratio } else { ratio };
    (times > AHEAD && times.is_finite()).then_some(times)
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
pub(super) fn ahead(results: &Results) -> String {
    let rows = &results.approaches;
    let (mut text, mut is_barging) = (String::new(), false);
    let mut explained: Vec<&str> = Vec::new();
    for row in rows {
        let told = |what: &str, of: fn(&Compared) -> Option<f64>, less: bool| {
            let ahead = is_ahead(ratio(rows, row, of)?, less)?;
            Some(format!("{} {what}", times(ahead)))
        };
        let contended = told("with processes that want the same lock", |row| row.contended, false);
        let barges = contended.as_ref().and(row.passed).filter(|(passed, _)| *passed > 0);
        let told: Vec<String> = [
            told("alone", latency, true),
            told("with 64 tasks", |row| row.tasks, false),
            told("with processes that want different locks", |row| row.processes, false),
            contended,
            told("in handing on", hand_off, true),
        ]
        .into_iter()
        .flatten()
        .collect();
        if told.is_empty() {
            continue;
        }
        // One may be there in two stores.
        let is_known = explained.contains(&row.key.as_str());
        let why = if is_known { "as above" } else { reasons::of_approach(&row.key) };
        explained.push(&row.key);
        let told = told.join(", ");
        let _ = write!(text, "- **{}** ({}) is ahead, {told}: {why}.", row.name, row.store);
        if let Some((passed, of)) = barges {
            is_barging = true;
            let slowest = row.slowest.map_or_else(String::new, |part| {
                format!(", and the slowest got {:.0} % of the mean", 100.0 * part)
            });
            let _ = write!(
                text,
                " On one lock it lets others pass: {passed} of {of} who queued were passed{slowest}."
            );
        }
        text += "\n";
    }
    if text.is_empty() {
        return text;
    }
    let barging = if is_barging { reasons::BARGING } else { "" };
    format!("\n## Where others are ahead, and why\n\n{barging}\n\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Spread;

    fn row(key: &str, store: &str, ms: f64, contended: f64) -> Compared {
        let spread = |p50: f64| Some(Spread { p50, p99: p50, max: p50, samples: 80 });
        Compared {
            key: key.into(),
            name: key.into(),
            store: store.into(),
            is_ours: key == "interlock",
            acquire: spread(ms * 500.0),
            release: spread(ms * 500.0),
            contended: Some(contended),
            passed: Some((5, 8)),
            ..Compared::default()
        }
    }

    #[test]
    fn what_is_bold_has_its_reason_below_and_nothing_else_is() {
        let approaches = vec![
            row("interlock", "mysql", 1.0, 100.0),
            row("row", "mysql", 0.95, 105.0),
            row("get-lock", "mysql", 0.5, 160.0),
        ];
        let results = Results { approaches, ..Results::default() };
        let (table, told) = (super::approaches(&results), ahead(&results));
        assert!(table.contains("0.95 × (950 µs)") && table.contains("1.05 × (105/s)"), "{table}");
        assert!(!table.contains("**0.95") && !table.contains("**1.05"), "{table}");
        assert!(table.contains("**0.50 ×**") && table.contains("**1.60 ×**"), "{table}");
        assert!(!told.contains("**row**"), "{told}");
        assert!(told.contains("**get-lock** (mysql) is ahead, 2.00 × alone, 1.60 ×"), "{told}");
        assert!(told.contains("5 of 8 who queued were passed"), "{told}");
        assert!(told.contains(reasons::BARGING), "{told}");
    }

    #[test]
    fn what_is_in_plain_files_stands_beside_flock() {
        let rows = [row("interlock", "flock", 1.0, 1.0), row("o-excl", "files", 0.5, 1.0)];
        assert_eq!(ratio(&rows, &rows[1], latency), Some(0.5));
        assert_eq!(ratio(&rows, &rows[0], latency), None);
    }
}
