//! The rules, checked from what the workers wrote down.

use std::{collections::HashMap, fmt, time::Duration};

use crate::record::{Line, Part};

/// The record of one task.
#[derive(Debug)]
pub(crate) struct TaskRecord {
    pub(crate) task: String,
    pub(crate) lines: Vec<Line>,
    /// When somebody began to kill some of its processes.
    pub(crate) kills: Vec<Duration>,
}

/// A part, as long as it certainly went on.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    task: String,
    pub(crate) part: Part,
    begin: Duration,
    end: Duration,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, part, begin, end } = self;
        write!(f, "{task} did {part} from {:.6} to {:.6}", begin.as_secs_f64(), end.as_secs_f64())
    }
}

/// All parts of a task, and what is wrong with its record.
///
/// A part that was killed ends when the signal was about to be sent: it may have gone on for a moment, but to
/// count that would accuse whoever got the lock in this moment.
pub(crate) fn spans(record: &TaskRecord) -> (Vec<Span>, Vec<String>) {
    let TaskRecord { task, lines, kills } = record;
    let mut open: HashMap<(u32, &Part), Duration> = HashMap::new();
    let (mut spans, mut wrong) = (Vec::new(), Vec::new());
    let mut add = |part: &Part, begin, end| {
        spans.push(Span { task: task.clone(), part: part.clone(), begin, end });
    };
    for line in lines {
        let key = (line.pid, &line.part);
        if line.begins {
            if let Some(begin) = open.insert(key, line.at) {
                wrong.push(format!("{task} began {} at {begin:?} twice", line.part));
            }
        } else {
            match open.remove(&key) {
                Some(begin) => add(&line.part, begin, line.at),
                None => wrong.push(format!("{task} ended {}, which it had not begun", line.part)),
            }
        }
    }
    for ((_, part), begin) in open {
        match kills.iter().filter(|kill| **kill >= begin).min() {
            Some(kill) => add(part, begin, *kill),
            // Begun after the signal was on its way to another process of the task.
            None if !kills.is_empty() => add(part, begin, begin),
            None => wrong.push(format!("{task} did not end {part}, and nobody killed it")),
        }
    }
    (spans, wrong)
}

/// Every pair that breaks a rule.
pub(crate) fn broken(spans: &[Span]) -> Vec<String> {
    let mut sorted: Vec<&Span> = spans.iter().collect();
    sorted.sort_by_key(|span| span.begin);
    let mut broken = Vec::new();
    let mut going_on: Vec<&Span> = Vec::new();
    for span in sorted {
        going_on.retain(|other| other.end > span.begin);
        for other in &going_on {
            if let Some(rule) = rule(&span.part, &other.part) {
                broken.push(format!("{rule}: {other}, and {span}"));
            }
        }
        going_on.push(span);
    }
    broken
}

/// The most parts that went on at once.
pub(crate) fn most_at_once(spans: &[Span]) -> usize {
    let begins = spans.iter().map(|span| span.begin);
    let at = |time| spans.iter().filter(|span| span.begin <= time && time < span.end).count();
    begins.map(at).max().unwrap_or(0)
}

/// The rule that two parts at once break, if they do.
fn rule(one: &Part, other: &Part) -> Option<&'static str> {
    match (one, other) {
        (Part::App(one), Part::App(other)) if one == other => Some("the same app twice at once"),
        (Part::Update, Part::App(_)) | (Part::App(_), Part::Update) => {
            Some("the update's part beside an app task")
        }
        (Part::Update, Part::Update) => Some("the update's part twice at once"),
        (Part::Task(one), Part::Task(other)) if one == other => {
            Some("two tasks of one type at once")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(task: &str, kills: &[u64], lines: &[(bool, &str, u64)]) -> TaskRecord {
        let lines = lines.iter().map(|(begins, part, at)| Line {
            begins: *begins,
            part: part.parse().unwrap(),
            pid: 1,
            at: Duration::from_secs(*at),
        });
        let kills = kills.iter().map(|at| Duration::from_secs(*at)).collect();
        TaskRecord { task: task.into(), lines: lines.collect(), kills }
    }

    fn broken_by(one: (&str, u64, u64), other: (&str, u64, u64)) -> usize {
        let span = |(part, begin, end)| {
            spans(&record("t", &[], &[(true, part, begin), (false, part, end)])).0.remove(0)
        };
        broken(&[span(one), span(other)]).len()
    }

    #[test]
    fn each_rule_is_seen_to_be_broken() {
        for (one, other) in [
            ("app/blog", "app/blog"),
            ("update", "app/blog"),
            ("update", "update"),
            ("task/update", "task/update"),
        ] {
            assert_eq!(broken_by((one, 1, 3), (other, 2, 4)), 1, "{one} and {other}");
            assert_eq!(broken_by((one, 2, 3), (other, 1, 4)), 1, "{other} around {one}");
            assert_eq!(broken_by((one, 1, 2), (other, 2, 4)), 0, "{one} and then {other}");
        }
    }

    #[test]
    fn what_may_go_on_at_once_breaks_none() {
        for (one, other) in [
            ("app/blog", "app/shop"),
            ("task/update", "app/blog"),
            ("task/update", "task/full-backup"),
            ("task/update", "update"),
        ] {
            assert_eq!(broken_by((one, 1, 3), (other, 2, 4)), 0, "{one} and {other}");
        }
    }

    #[test]
    fn a_killed_part_ends_when_it_was_about_to_be_killed() {
        let (killed, wrong) = spans(&record("t", &[3, 9], &[(true, "app/x", 2)]));
        assert_eq!((killed[0].end, wrong.len()), (Duration::from_secs(3), 0));
        let (killed, _) = spans(&record("t", &[1], &[(true, "app/x", 2)]));
        assert_eq!(killed[0].end, killed[0].begin);
        let (none, wrong) = spans(&record("t", &[], &[(true, "app/x", 2)]));
        assert_eq!((none.len(), wrong.len()), (0, 1));
    }
}
