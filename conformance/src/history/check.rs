//! The check of a whole history.

use std::fmt;

use super::event::Event;
use super::span::{Span, Spans};
use super::{exclusion, fair, fences, refusals};

/// What a history must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// It is the history of requests: each is asked for once, then granted or refused, then ended.
    Form,
    /// What conflicts is not held at once.
    Exclusion,
    /// Of two holds that conflict, the later has the greater fence.
    Fences,
    /// Who is refused had somebody in the way.
    Busy,
    /// Nobody is granted past those who are before him and in the way.
    Fair,
}

/// How a history broke a rule, first of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    text: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, one: &Span, other: Option<&Span>, how: &str) -> Self {
        let other = other.map_or(String::new(), |other| format!("\n    {}", describe(other)));
        Self { rule, text: format!("{how}:\n    {}{other}", describe(one)) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}

impl std::error::Error for Violation {}

/// A request as one finds it again in the history.
fn describe(span: &Span) -> String {
    let lock = |lock: &super::span::Lock| {
        let mode = match lock.tolerance {
            1 => "exclusive".into(),
            u64::MAX => "shared".into(),
            n => format!("limit {n}"),
        };
        format!("{} {mode}, fence {}", lock.name, lock.fence)
    };
    let locks: Vec<String> = span.locks.iter().map(lock).collect();
    let end =
        if span.certain == u64::MAX { "the end".into() } else { format!("{} ns", span.certain) };
    let fate = match (span.granted, span.refused) {
        (Some(granted), _) => format!("granted {granted} ns, held until {end}"),
        (None, Some((at, why))) => format!("{why:?} {at} ns"),
        (None, None) => "never answered".into(),
    };
    let (task, asked, queued) = (&span.task, span.asked, span.queued);
    format!("task {task} [{}]: asked {asked} ns, queued {queued:?}, {fate}", locks.join("; "))
}

/// Checks a history; the events may be in any order.
///
/// Returns the first violation of each rule that is broken: none, if the history is good.
pub fn check(events: &[Event]) -> Vec<Violation> {
    match Spans::of(events) {
        Err(event) => {
            vec![Violation { rule: Rule::Form, text: format!("does not fit in: {event}") }]
        }
        Ok(spans) => {
            let rules = [exclusion::check, fences::check, refusals::check, fair::check];
            rules.iter().filter_map(|rule| rule(&spans)).collect()
        }
    }
}
