//! Fair: nobody is granted past an earlier waiter, or past a hold, that is in the way.

use std::collections::HashMap;

use super::check::{Rule, Violation};
use super::fit::obstacle;
use super::span::{Span, Spans};

/// Somebody in the table, certainly so from one version to the last before another.
#[derive(Debug, Clone, Copy)]
struct Stay<'s> {
    from: u64,
    to: u64,
    waits: bool,
    span: &'s Span,
}

/// Goes through the versions once, with those who certainly are in the table before and after each.
pub(super) fn check(spans: &Spans) -> Option<Violation> {
    let mut stays: Vec<Stay<'_>> = spans.all.iter().flat_map(stays).collect();
    stays.sort_by_key(|stay| stay.from);
    let lines = Lines::of(spans);
    let mut granted: Vec<(u64, &Span)> =
        spans.all.iter().filter_map(|span| Some((span.version?, span))).collect();
    granted.sort_by_key(|(version, _)| *version);
    let mut there: Vec<Stay<'_>> = Vec::new();
    let mut coming = stays.into_iter().peekable();
    for (version, span) in granted {
        while let Some(stay) = coming.next_if(|stay| stay.from < version) {
            there.push(stay);
        }
        there.retain(|stay| stay.to > version);
        if !span.in_doubt.is_empty() || !lines.is_alone(span) {
            continue;
        }
        let place = span.queued.unwrap_or(version);
        let before: Vec<&Span> = there
            .iter()
            .filter(|stay| !stay.waits || stay.from < place)
            .map(|stay| stay.span)
            .collect();
        if let Some(other) = obstacle(span, &before) {
            let text = format!("granted at version {version}, past the other");
            return Some(Violation::new(Rule::Fair, span, Some(other), &text));
        }
    }
    None
}

fn stays(span: &Span) -> impl Iterator<Item = Stay<'_>> {
    let waited = span.queued.zip(span.version.or(span.left.filter(|_| span.granted.is_none())));
    let waited = waited.map(|(from, to)| Stay { from, to, waits: true, span });
    let held = span.version.zip(span.left);
    let held = held.map(|(from, to)| Stay { from, to, waits: false, span });
    waited.into_iter().chain(held)
}

/// The requests of each family of tasks.
#[derive(Debug)]
struct Lines<'s>(HashMap<&'s str, Vec<&'s Span>>);

impl<'s> Lines<'s> {
    fn of(spans: &'s Spans) -> Self {
        let mut families: HashMap<&str, Vec<&Span>> = HashMap::new();
        for span in &spans.all {
            families.entry(family(span)).or_default().push(span);
        }
        Self(families)
    }

    /// Whether no other request of the family may have been in the table when this was granted.
    fn is_alone(&self, span: &Span) -> bool {
        let others = self.0[family(span)].iter().filter(|other| other.task != span.task);
        let mut there = others.filter(|other| other.was_there());
        !there.any(|o| o.gone >= span.asked && Some(o.asked) <= span.granted)
    }
}

fn family(span: &Span) -> &str {
    let path = span.task.as_str();
    path.split_once('/').map_or(path, |(family, _)| family)
}
