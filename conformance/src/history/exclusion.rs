//! Exclusion: no two certain holds of which one keeps the other out.

use lock_core::TaskId;

use super::check::{Rule, Violation};
use super::fit::{exclude, in_line, leaves, obstacle};
use super::span::{Span, Spans};

/// Goes through time once, with the holds that are certain at each moment.
pub(super) fn check(spans: &Spans) -> Option<Violation> {
    let mut starts: Vec<(u64, &Span)> = spans
        .granted()
        .filter_map(|span| Some((span.granted?, span)))
        .filter(|(granted, span)| *granted <= span.certain)
        .collect();
    starts.sort_by_key(|(granted, _)| *granted);
    let mut held: Vec<&Span> = Vec::new();
    for (now, span) in starts {
        held.retain(|other| other.certain > now);
        if let Some(other) = beside(span, &held).or_else(|| before(span, &held)) {
            return Some(Violation::new(Rule::Exclusion, span, Some(other), "both held"));
        }
        held.push(span);
    }
    None
}

/// A hold that cannot be there together with this one, whichever was granted first.
fn beside<'s>(span: &'s Span, held: &[&'s Span]) -> Option<&'s Span> {
    let strangers = || held.iter().copied().filter(|other| !in_line(&other.task, &span.task));
    span.locks.iter().find_map(|lock| {
        let excludes = |other: &&Span| other.locks.iter().any(|other| exclude(lock, other));
        strangers().find(excludes).or_else(|| {
            // Of holds that are not in line with each other, the last was granted beside the others.
            let all: Vec<(&TaskId, u64)> = held
                .iter()
                .chain([&span])
                .flat_map(|s| s.locks.iter().map(move |other| (s, other)))
                .filter(|(_, other)| other.name == lock.name)
                .map(|(s, other)| (&s.task, other.tolerance))
                .collect();
            let crowded = all.iter().filter(|(_, tolerance)| *tolerance < u64::MAX).any(
                |(task, tolerance)| {
                    let apart = all.iter().map(|(t, _)| *t).filter(|t| !in_line(t, task));
                    leaves(apart) + 1 > *tolerance
                },
            );
            let shares = |other: &&Span| other.locks.iter().any(|other| other.name == lock.name);
            if crowded { strangers().find(shares) } else { None }
        })
    })
}

/// A hold that was there from before this one was asked for until after it was granted.
fn before<'s>(span: &Span, held: &[&'s Span]) -> Option<&'s Span> {
    let earlier: Vec<&Span> =
        held.iter().copied().filter(|other| other.granted < Some(span.asked)).collect();
    obstacle(span, &earlier)
}
