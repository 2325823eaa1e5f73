//! The history as a picture: time from left to right, a group of lanes for each lock, and a bar for each
//! request, pale while it waited and solid while it held.
//!
//! SVG, written by hand. It needs no script and no font of its own, and is readable on light and on dark.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use lock_core::LockName;

use super::{
    read::{Entry, State},
    record::{End, Moment},
};
use crate::duration;

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 16.0;
const TOP: f64 = 56.0;
const LANE: f64 = 15.0;
const GAP: f64 = 3.0;
const GROUP_GAP: f64 = 9.0;
/// The widest that the names of locks may be.
const NAMES_MAX: f64 = 220.0;
/// How wide a character is, about, in the smaller size.
const CHARACTER: f64 = 5.9;
/// The least that is seen of a bar.
const BAR_MIN: f64 = 1.5;
/// How long what was killed is drawn, if nothing tells when it ended.
const UNKNOWN: f64 = 14.0;
/// How many kinds of tasks have a colour of their own.
const COLOURS: usize = 6;

/// Colours by class; what is pale is the same colour under a pattern.
const STYLE: &str = "\
text{font:11px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.h{font-size:15px;font-weight:600}.m{fill:#59636e}.i{fill:#fff;font-size:10px}.o{font-size:10px}\
.bg{fill:#fff}.n{fill:#59636e}.g{stroke:#d1d9e0;stroke-width:1}.band{fill:#f6f8fa}.w{fill-opacity:.26}\
.x{stroke:#d1242f;stroke-width:2}.s{stroke:#fff;stroke-width:1.5;stroke-opacity:.75}\
.c0{fill:#0969da}.c1{fill:#bc4c00}.c2{fill:#1a7f37}.c3{fill:#8250df}.c4{fill:#9a6700}.c5{fill:#bf3989}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.m{fill:#9198a1}.i{fill:#fff}.bg{fill:#0d1117}.n{fill:#9198a1}\
.g{stroke:#3d444d}.band{fill:#151b23}.w{fill-opacity:.4}.x{stroke:#f85149}.s{stroke:#0d1117}\
.c0{fill:#1f6feb}.c1{fill:#bd561d}.c2{fill:#238636}.c3{fill:#8957e5}.c4{fill:#9e6a03}.c5{fill:#bf4b8a}}";

/// Draws it, over at least this time.
pub(super) fn draw(
    entries: &[Entry],
    now: Moment,
    title: Option<&str>,
    span: Option<Duration>,
) -> String {
    Picture::new(entries, now, span).draw(title).expect("a string takes all that is written")
}

/// A bar and where it is.
struct Bar<'a> {
    entry: &'a Entry,
    colour: usize,
    from: f64,
    /// Where waiting ends and holding begins, if it does.
    granted: Option<f64>,
    to: f64,
}

struct Picture<'a> {
    groups: Vec<(&'a LockName, Vec<Vec<Bar<'a>>>)>,
    kinds: Vec<&'a str>,
    entries: &'a [Entry],
    now: Moment,
    start: Moment,
    seconds: f64,
    left: f64,
}

impl<'a> Picture<'a> {
    fn new(entries: &'a [Entry], now: Moment, span: Option<Duration>) -> Self {
        let start = entries.iter().map(|entry| entry.record.asked).min().unwrap_or(now);
        let last = |entry: &Entry| entry.until_or(now).or(entry.record.granted);
        let end = entries.iter().filter_map(last).max().unwrap_or(start);
        let seconds = end.since(start).max(span.unwrap_or_default()).as_secs_f64().max(0.001);
        let names = entries.iter().flat_map(|entry| entry.record.locks.keys());
        let longest = names.map(|name| shown(name.as_str(), 34).chars().count()).max().unwrap_or(0);
        let left = MARGIN + (f64::from(u16::try_from(longest).unwrap_or(34)) * 6.6).min(NAMES_MAX);
        let mut kinds = Vec::new();
        for entry in entries {
            let kind = kind(&entry.record.task);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mut picture =
            Self { groups: Vec::new(), kinds, entries, now, start, seconds, left: left + 12.0 };
        picture.groups = picture.lanes();
        picture
    }

    /// By lock, the bars in as few lanes as have room for them.
    fn lanes(&self) -> Vec<(&'a LockName, Vec<Vec<Bar<'a>>>)> {
        let mut groups: BTreeMap<&LockName, Vec<Vec<Bar>>> = BTreeMap::new();
        for entry in self.entries {
            for lock in entry.record.locks.keys() {
                let bar = self.bar(entry);
                let lanes = groups.entry(lock).or_default();
                let free = |lane: &Vec<Bar>| lane.last().is_none_or(|last| last.to <= bar.from);
                match lanes.iter().position(free) {
                    Some(lane) => lanes[lane].push(bar),
                    None => lanes.push(vec![bar]),
                }
            }
        }
        groups.into_iter().collect()
    }

    fn bar(&self, entry: &'a Entry) -> Bar<'a> {
        let record = &entry.record;
        let from = self.x(record.asked);
        let granted = record.granted.map(|granted| self.x(granted));
        let least = granted.unwrap_or(from) + BAR_MIN;
        let to = match entry.until_or(self.now) {
            Some(until) => self.x(until).max(least),
            None => (granted.unwrap_or(from) + UNKNOWN).min(WIDTH - MARGIN).max(least),
        };
        let kind = self.kinds.iter().position(|known| *known == kind(&record.task));
        Bar { entry, colour: kind.unwrap_or_default() % COLOURS, from, granted, to }
    }

    fn x(&self, moment: Moment) -> f64 {
        let since = moment.since(self.start).as_secs_f64();
        self.left + since / self.seconds * (WIDTH - MARGIN - self.left)
    }

    fn draw(&self, title: Option<&str>) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let lanes = self.groups.iter().map(|(_, lanes)| height_of(lanes.len()) + GROUP_GAP);
        let bottom = TOP + lanes.sum::<f64>();
        let height = bottom + 46.0;
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             role=\"img\"><title>{}</title><style>{STYLE}</style><defs><pattern id=\"p\" width=\"6\" \
             height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <path class=\"s\" d=\"M0 0V6\"/></pattern></defs>\
             <rect class=\"bg\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"6\"/>",
            escape(title.unwrap_or("What ran under which lock, and what waited")),
        )?;
        if let Some(title) = title {
            writeln!(out, "<text class=\"h\" x=\"{MARGIN}\" y=\"24\">{}</text>", escape(title))?;
        }
        writeln!(
            out,
            "<text class=\"m\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
            if title.is_some() { 42 } else { 28 },
            escape(&self.summary())
        )?;
        let mut top = TOP;
        for (at, (lock, lanes)) in self.groups.iter().enumerate() {
            self.band(&mut out, at, lock, top, lanes.len())?;
            top += height_of(lanes.len()) + GROUP_GAP;
        }
        self.axis(&mut out, bottom)?;
        let mut top = TOP;
        for (_, lanes) in &self.groups {
            for (lane, bars) in lanes.iter().enumerate() {
                let y = top + f64::from(u32::try_from(lane).unwrap_or(u32::MAX)) * (LANE + GAP);
                for (at, bar) in bars.iter().enumerate() {
                    let next = bars.get(at + 1).map_or(WIDTH - MARGIN, |next| next.from);
                    self.draw_bar(&mut out, bar, y, next)?;
                }
            }
            top += height_of(lanes.len()) + GROUP_GAP;
        }
        self.legend(&mut out, bottom + 34.0)?;
        out.push_str("</svg>\n");
        Ok(out)
    }

    /// `42 tasks, waited 3.1 s in all and 800 ms at most, 2 killed`
    fn summary(&self) -> String {
        let waits = self.entries.iter().filter_map(|entry| entry.waited(self.now));
        let (mut all, mut most) = (Duration::ZERO, Duration::ZERO);
        for wait in waits {
            (all, most) = (all + wait, most.max(wait));
        }
        let killed = self.entries.iter().filter(|entry| entry.state == State::Killed).count();
        let end = Duration::from_secs_f64(self.seconds);
        let killed = if killed > 0 { format!(", {killed} killed") } else { String::new() };
        format!(
            "{} requests in {}: waited {} in all, {} at most{killed}",
            self.entries.len(),
            duration::exact(self.last().map_or(end, |last| last.since(self.start))),
            duration::exact(all),
            duration::exact(most),
        )
    }

    fn last(&self) -> Option<Moment> {
        self.entries.iter().filter_map(|entry| entry.until_or(self.now)).max()
    }

    fn band(
        &self,
        out: &mut String,
        at: usize,
        lock: &LockName,
        top: f64,
        lanes: usize,
    ) -> fmt::Result {
        let height = height_of(lanes);
        if at.is_multiple_of(2) {
            let (y, height) = (top - GROUP_GAP / 2.0, height + GROUP_GAP);
            writeln!(
                out,
                "<rect class=\"band\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{height:.1}\"/>"
            )?;
        }
        let (x, y) = (self.left - 10.0, top + 11.5);
        let name = escape(&shown(lock.as_str(), 34));
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>")
    }

    fn axis(&self, out: &mut String, bottom: f64) -> fmt::Result {
        let step = step(self.seconds);
        let zone = TimeZone::system();
        let mut at = 0.0;
        while at <= self.seconds {
            let x = self.left + at / self.seconds * (WIDTH - MARGIN - self.left);
            let label = if self.seconds < 600.0 {
                if at < 60.0 {
                    format!("{at} s")
                } else {
                    duration::exact(Duration::from_secs_f64(at))
                }
            } else {
                let time = self.start.time() + Duration::from_secs_f64(at);
                let time = Timestamp::try_from(time).unwrap_or_default();
                let format = if self.seconds < 172_800.0 { "%H:%M" } else { "%m-%d %H:%M" };
                time.to_zoned_datetime(zone.clone()).strftime(format).to_string()
            };
            let (top, end, text) = (TOP - GROUP_GAP / 2.0, bottom - GROUP_GAP / 2.0, bottom + 9.0);
            writeln!(
                out,
                "<path class=\"g\" d=\"M{x:.1} {top:.1}V{end:.1}\"/>\
                 <text class=\"m\" x=\"{x:.1}\" y=\"{text:.1}\" text-anchor=\"middle\">{label}</text>"
            )?;
            at += step;
        }
        Ok(())
    }

    fn draw_bar(&self, out: &mut String, bar: &Bar, y: f64, next: f64) -> fmt::Result {
        let Bar { entry, colour, from, granted, to } = *bar;
        let record = &entry.record;
        write!(out, "<g><title>{}</title>", escape(&self.sentence(entry)))?;
        let held_from = granted.unwrap_or(to);
        if held_from - from >= BAR_MIN {
            let width = held_from - from;
            let place =
                format!("x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{LANE}\"");
            write!(out, "<rect class=\"c{colour} w\" {place}/><rect fill=\"url(#p)\" {place}/>")?;
        }
        if granted.is_some() {
            let (width, opacity) = (to - held_from, is_guess(entry).then_some(" opacity=\".55\""));
            write!(
                out,
                "<rect class=\"c{colour}\" x=\"{held_from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
                 height=\"{LANE}\" rx=\"1\"{}/>",
                opacity.unwrap_or_default()
            )?;
        }
        if matches!(entry.state, State::Killed | State::Over(End::Lost | End::Freed)) {
            let (x, top, bottom) = (to - 3.5, y + 4.0, y + LANE - 4.0);
            let right = x + 7.0;
            write!(
                out,
                "<path class=\"x\" d=\"M{x:.1} {top}L{right:.1} {bottom}M{x:.1} {bottom}L{right:.1} {top}\"/>"
            )?;
        }
        // In the solid part, or in the pale one, or behind.
        let name = shown(&record.task, 40);
        let width = f64::from(u16::try_from(name.chars().count()).unwrap_or(40)) * CHARACTER + 6.0;
        let text = y + 11.0;
        let name = escape(&name);
        if granted.is_some() && to - held_from >= width {
            let x = held_from + 4.0;
            write!(out, "<text class=\"i\" x=\"{x:.1}\" y=\"{text:.1}\">{name}</text>")?;
        } else if held_from - from >= width {
            let x = held_from - 4.0;
            write!(
                out,
                "<text class=\"o\" x=\"{x:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{name}</text>"
            )?;
        } else if next - to >= width {
            let x = to + if is_guess(entry) { 7.0 } else { 4.0 };
            write!(out, "<text class=\"o\" x=\"{x:.1}\" y=\"{text:.1}\">{name}</text>")?;
        }
        out.push_str("</g>\n");
        Ok(())
    }

    /// What is shown when one points at it.
    fn sentence(&self, entry: &Entry) -> String {
        let record = &entry.record;
        let mut text = format!("{}: {}", record.task, crate::list::locks_text(&record.locks));
        if let Some(waited) = entry.waited(self.now) {
            let _ = write!(text, "; waited {}", duration::exact(waited));
            if !record.waited_for.is_empty() {
                let _ = write!(text, " for {}", record.waited_for.join(", "));
            }
        }
        if let Some(held) = entry.held(self.now) {
            let _ = write!(text, "; held {}", duration::exact(held));
        }
        let _ = write!(text, "; {}", entry.state.word());
        text
    }

    fn legend(&self, out: &mut String, y: f64) -> fmt::Result {
        let mut x = MARGIN;
        let square = y - 9.0;
        let mut item = |out: &mut String, mark: &str, text: &str| -> fmt::Result {
            let at = x + 19.0;
            writeln!(
                out,
                "<g transform=\"translate({x:.1} {square:.1})\">{mark}</g>\
                 <text class=\"m\" x=\"{at:.1}\" y=\"{y:.1}\">{}</text>",
                escape(text)
            )?;
            x += 19.0 + f64::from(u16::try_from(text.chars().count()).unwrap_or(40)) * 6.2 + 16.0;
            Ok(())
        };
        let rect = "width=\"14\" height=\"10\"";
        let pale = format!("<rect class=\"n w\" {rect}/><rect fill=\"url(#p)\" {rect}/>");
        item(out, &pale, "waits")?;
        item(out, &format!("<rect class=\"n\" {rect} rx=\"1\"/>"), "holds")?;
        let is_crossed = |entry: &Entry| {
            matches!(entry.state, State::Killed | State::Over(End::Lost | End::Freed))
        };
        if self.entries.iter().any(is_crossed) {
            item(out, "<path class=\"x\" d=\"M3 1L11 9M3 9L11 1\"/>", "killed")?;
        }
        for (colour, kind) in self.kinds.iter().enumerate().take(COLOURS) {
            item(out, &format!("<rect class=\"c{colour}\" {rect} rx=\"1\"/>"), kind)?;
        }
        Ok(())
    }
}

/// Whether its end is not known.
fn is_guess(entry: &Entry) -> bool {
    entry.until.is_none() && !entry.state.is_open()
}

fn height_of(lanes: usize) -> f64 {
    f64::from(u32::try_from(lanes).unwrap_or(u32::MAX)) * (LANE + GAP) - GAP
}

/// `backup` of `backup-17`: what has one colour.
fn kind(task: &str) -> &str {
    let end = |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '#');
    let kind = task.split(['/', ' ']).next().unwrap_or(task).trim_end_matches(end);
    if kind.is_empty() { task } else { kind }
}

/// As much of a name as there is room for.
fn shown(name: &str, characters_max: usize) -> String {
    if name.chars().count() <= characters_max {
        return name.to_owned();
    }
    name.chars().take(characters_max - 1).chain(['…']).collect()
}

/// The time between two lines of the axis: a round one, of which there are about ten.
fn step(seconds: f64) -> f64 {
    const ROUND: [f64; 17] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0,
        10_800.0, 21_600.0, 86_400.0,
    ];
    let fits = |step: &f64| seconds / step <= 12.0;
    ROUND.into_iter().find(fits).unwrap_or_else(|| (seconds / 86_400.0 / 12.0).ceil() * 86_400.0)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(task: &str, lock: &str, [asked, granted, ended]: [u64; 3], end: &str) -> Entry {
        let line = serde_json::json!({
            "id": "0123456789ab.1", "task": task, "store": "s", "locks": {lock: "exclusive"},
            "asked": asked * 1_000_000, "granted": granted * 1_000_000, "ended": ended * 1_000_000,
            "end": end, "host": null, "boot": null, "pid_ns": null, "time_ns": null, "processes": [],
        });
        let record = serde_json::from_value::<super::super::record::Record>(line).unwrap();
        let (until, state) = (record.ended, State::Over(record.end.unwrap()));
        Entry { record, state, until }
    }

    fn draw(entries: &[Entry]) -> String {
        super::draw(entries, Moment::now(), Some("<&\">"), None)
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let picture = draw(&[entry("</svg><script>&\"'\u{1}", "a<b", [0, 1, 30], "ended")]);
        assert!(!picture.contains("<script") && !picture.contains("a<b"), "{picture}");
        assert!(picture.contains("a&lt;b") && picture.contains("&lt;&amp;&quot;&gt;"), "{picture}");
        assert_eq!(picture.matches("</svg>").count(), 1);
        assert!(!picture.contains('\u{1}'));
    }

    #[test]
    fn bars_that_overlap_have_lanes_of_their_own_and_waiting_is_apart() {
        let first = entry("one-1", "x", [0, 0, 10], "ended");
        let second = entry("two-2", "x", [1, 10, 20], "lost");
        let third = entry("one-3", "x", [11, 21, 30], "ended");
        let entries = [first, second, third];
        let picture = Picture::new(&entries, Moment::now(), None);
        let lanes = &picture.groups[0].1;
        assert_eq!(lanes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert!(lanes[1][0].granted.unwrap() > lanes[1][0].from);
        assert_eq!(picture.kinds, ["one", "two"]);
        let picture = draw(&entries);
        assert_eq!(picture.matches("url(#p)").count(), 2 + 1, "two waited, and the legend");
        assert_eq!(picture.matches("class=\"x\"").count(), 1 + 1, "one was lost, and the legend");
    }

    #[test]
    fn nothing_is_drawn_too() {
        assert!(draw(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn the_axis_has_round_steps() {
        for (seconds, expected) in
            [(0.5, 0.1), (12.0, 1.0), (13.0, 2.0), (60.0, 5.0), (3600.0, 300.0), (1e6, 86_400.0)]
        {
            assert!((step(seconds) - expected).abs() < 1e-9, "{seconds}: {}", step(seconds));
        }
        assert!(1e8 / step(1e8) <= 12.0);
    }
}
