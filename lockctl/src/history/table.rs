//! The history as people read it: one line for each request.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    read::{Entry, State},
    record::{End, Moment},
};
use crate::{duration, list::locks_text};

const HEADER: [&str; 6] = ["TASK", "LOCKS", "ASKED", "WAITED", "HELD", "END"];
/// How many of those that were waited for are named.
const SHOWN_MAX: usize = 2;

/// A table, if there is anything, no wider than this where that can be.
pub(super) fn rows(entries: &[Entry], now: Moment, width: Option<u16>) -> Option<String> {
    let (first, _) = (entries.first()?, entries.last()?);
    let zone = TimeZone::system();
    let day = |moment| local(moment, &zone, "%F");
    let has_days = day(first.record.asked) != day(now);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(HEADER);
    for entry in entries {
        let record = &entry.record;
        let format = if has_days { "%m-%d %H:%M:%S" } else { "%H:%M:%S" };
        table.add_row([
            record.task.clone(),
            locks_text(&record.locks),
            local(record.asked, &zone, format),
            waited(entry, now),
            entry.held(now).map_or_else(String::new, duration::exact),
            end(entry),
        ]);
    }
    Some(table.trim_fmt())
}

/// `3.2 s for backup-17`
fn waited(entry: &Entry, now: Moment) -> String {
    let Some(waited) = entry.waited(now) else { return "?".to_owned() };
    let names = &entry.record.waited_for;
    if names.is_empty() {
        return duration::exact(waited);
    }
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} for {shown}{more}", duration::exact(waited))
}

fn end(entry: &Entry) -> String {
    match (entry.state, entry.record.status) {
        (State::Over(End::Ended), None | Some(0)) => "ended".to_owned(),
        (State::Over(End::Ended), Some(status)) => format!("status {status}"),
        (State::Over(End::TimedOut), _) => "timed out".to_owned(),
        (State::Waiting, _) => "waits".to_owned(),
        (State::Holding, _) => "held".to_owned(),
        (state, _) => state.word().to_owned(),
    }
}

fn local(moment: Moment, zone: &TimeZone, format: &str) -> String {
    let timestamp = Timestamp::try_from(moment.time()).unwrap_or_default();
    timestamp.to_zoned_datetime(zone.clone()).strftime(format).to_string()
}
