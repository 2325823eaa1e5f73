//! Where this product is slower than one may hope and no figure looks, each with the reason.

use std::fmt::Write as _;

use super::judge::{BY_TURNS, COMMAND, HANDED, LATE, SLOWEST, bytes_of_a_hold, naive};
use super::reasons;
use crate::command::BARE;
use crate::contention::NAIVE;
use crate::results::{Results, time};
use crate::tasks::OURS;
use crate::text::{more, tail, times};

/// What is short.
struct Short {
    /// Of what.
    what: String,
    /// In which store or case, and by how much.
    found: String,
    /// A sentence, or nothing.
    why: &'static str,
}

pub(super) fn short(results: &Results) -> String {
    let mut all = contention(results);
    all.extend(waiting(results));
    all.extend(holds(results));
    all.extend(commands(results));
    if all.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## What no figure asks for, and falls short\n\n");
    text += "Figures name some stores, and reckon with the help that processes of one host give each other. \
             By the same\nmeasures these would miss, or are slower than one may hope:\n\n";
    // What is of the same kind and has the same reason is told together.
    while let Some(Short { what, why, .. }) = all.first() {
        let (what, why) = (what.clone(), *why);
        let is_of_it = |one: &mut Short| one.what == what && one.why == why;
        let found: Vec<_> = all.extract_if(.., is_of_it).map(|one| one.found).collect();
        let _ = write!(text, "- **{what}**: {}.", found.join("; "));
        if !why.is_empty() {
            let _ = write!(text, " {why}.");
        }
        text += "\n";
    }
    text
}

/// P7 is about MySQL, where processes of a host write for each other.
fn contention(results: &Results) -> Vec<Short> {
    let mut told = Vec::new();
    for row in results.contention.iter().filter(|row| row.way != NAIVE) {
        let is_helped = row.way == OURS;
        let Some(naive) = naive(results, &row.store) else { continue };
        if is_helped && row.store == "mysql" {
            continue;
        }
        let ratio = row.rate / naive.rate;
        let missed = [
            (ratio < BY_TURNS).then(|| format!("{} naive retry", times(ratio))),
            (row.slowest < SLOWEST)
                .then(|| format!("the slowest at {:.0} % of the mean", 100.0 * row.slowest)),
            (row.took.p99 > LATE).then(|| tail(&row.took)),
        ];
        let missed: Vec<_> = missed.into_iter().flatten().collect();
        if missed.is_empty() {
            continue;
        }
        told.push(Short {
            what: format!("16 processes on one cell{}", alone(is_helped)),
            found: format!("{} {}", row.store, missed.join(", ")),
            why: reasons::of_contention(&row.store, is_helped),
        });
    }
    told
}

fn alone(is_helped: bool) -> &'static str {
    if is_helped { "" } else { ", without help of the host" }
}

/// P4 is about one who waits.
fn waiting(results: &Results) -> Vec<Short> {
    let [p50, _, unhelped] = HANDED;
    let mut told = Vec::new();
    for row in &results.waiting {
        let limit = if row.bell { p50 } else { unhelped };
        // What the figure asks of one is too much to ask of many at once: tell what is far from it.
        if row.gap.samples == 0 || row.gap.p50 <= 2.0 * limit {
            continue;
        }
        told.push(Short {
            what: format!("from one to the next of many who wait{}", alone(row.bell)),
            found: format!("{} {} of {}", row.store, time(row.gap.p50), row.waiters),
            why: reasons::of_waiting(&row.store, row.bell),
        });
    }
    told
}

fn holds(results: &Results) -> Option<Short> {
    let [one, each] = bytes_of_a_hold(results);
    let (one, each) = (one?, each.filter(|each| *each > 100.0)?);
    Some(Short {
        what: "a hold whose client has no other".into(),
        found: format!("{each:.0} bytes, {} one of many", times(each / one)),
        why: reasons::CLIENT,
    })
}

/// P10 is about SQLite.
fn commands(results: &Results) -> Vec<Short> {
    let of = |name: &str| results.commands.iter().find(|row| row.name == name);
    let Some(bare) = of(BARE) else { return Vec::new() };
    let rows = results.commands.iter().filter_map(|row| {
        let above = row.took.p50 - bare.took.p50;
        let store = row.name.strip_prefix("lockctl run, ").filter(|_| above > COMMAND)?;
        Some(Short {
            what: "a command under a lock, `lockctl run`".into(),
            found: format!("{store} {} than `true`", more(above)),
            why: reasons::COMMAND,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Contention, Spread, Waiting};

    fn spread(p50: f64) -> Spread {
        Spread { p50, p99: p50, max: p50, samples: 100 }
    }

    #[test]
    fn what_is_just_short_is_told_with_its_reason_and_not_rounded_away() {
        let row = |store: &str, way: &str, rate| Contention {
            store: store.into(),
            way: way.into(),
            processes: 16,
            rate,
            slowest: 0.95,
            statements: 3.0,
            took: spread(22_000.0),
        };
        let of = |store: &str, way: &str, rate| {
            let contention = vec![row(store, NAIVE, 100.0), row(store, way, rate)];
            short(&Results { contention, ..Results::default() })
        };
        let told = of("mysql", "interlock-without-bell", 396.0);
        assert!(
            told.contains("without help of the host**: mysql 3.96 × naive retry. Nobody"),
            "{told}"
        );
        assert_eq!(of("mysql", "interlock-without-bell", 401.0), "");
        assert!(of("redis", OURS, 390.0).contains("**: redis 3.90 × naive retry. Naive"));
        // That is judged.
        assert_eq!(of("mysql", OURS, 390.0), "");
    }

    #[test]
    fn many_who_wait_for_long_are_told_of() {
        let of = |store: &str, bell, ms: f64| {
            let gap = spread(ms * 1e3);
            let row = Waiting {
                store: store.into(),
                bell,
                waiters: 100,
                rate: 290.0,
                writes: 100,
                in_order: true,
                gap,
            };
            short(&Results { waiting: vec![row], ..Results::default() })
        };
        assert!(of("mysql", false, 54.0).contains("mysql 54 ms of 100. Only who is next"));
        assert!(of("redis", true, 28.0).contains("redis 28 ms of 100. The server tells"));
        assert_eq!(of("mysql", true, 2.9) + &of("mysql", false, 14.0), "");
    }
}
