//! Busy: who was refused had somebody in the way, who may have been in the table meanwhile.

use super::check::{Rule, Violation};
use super::event::Refusal;
use super::fit::obstacle;
use super::span::{Span, Spans};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Start,
    End,
}

/// Goes through time once, with those who may be in the table and the refused who are not yet
/// explained.
pub(super) fn check(spans: &Spans) -> Option<Violation> {
    let mut edges: Vec<(u64, Edge, &Span)> = Vec::new();
    for span in &spans.all {
        edges.push((span.asked, Edge::Start, span));
        // At the same moment, who comes is there before who goes.
        let end = span.refused.map_or(span.gone, |(at, _)| at.max(span.gone_if_there()));
        edges.push((end, Edge::End, span));
    }
    edges.sort_by_key(|(at, edge, _)| (*at, *edge));
    let mut there: Vec<&Span> = Vec::new();
    let mut open: Vec<&Span> = Vec::new();
    for (_, edge, span) in edges {
        match edge {
            Edge::Start => {
                if span.was_there() {
                    there.push(span);
                    open.retain(|asks| !is_explained(asks, &there));
                }
                if is_refused(span) && !is_explained(span, &there) {
                    open.push(span);
                }
            }
            Edge::End => {
                if open.iter().any(|asks| asks.task == span.task) {
                    let text = "refused with nobody in the way";
                    return Some(Violation::new(Rule::Busy, span, None, text));
                }
                there.retain(|other| other.task != span.task);
            }
        }
    }
    None
}

fn is_refused(span: &Span) -> bool {
    span.refused.is_some_and(|(_, why)| why != Refusal::Other)
}

fn is_explained(asks: &Span, there: &[&Span]) -> bool {
    match asks.refused {
        Some((_, Refusal::Deadlock)) => {
            // Only who keeps something from somebody can close a circle.
            there.iter().any(|other| other.task != asks.task && other.task.contains(&asks.task))
        }
        Some((_, Refusal::TimedOut)) => {
            // A task gets nothing while a sub-task of it waits.
            let below = |o: &&Span| o.task != asks.task && asks.task.contains(&o.task);
            there.iter().any(below) || obstacle(asks, there).is_some()
        }
        _ => obstacle(asks, there).is_some(),
    }
}

impl Span {
    /// The moment from which it is gone, if it ever was in the table.
    fn gone_if_there(&self) -> u64 {
        if self.was_there() { self.gone } else { 0 }
    }
}
