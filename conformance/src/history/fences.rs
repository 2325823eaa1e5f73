//! Fences: of two holds that conflict, the later has the greater one.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::check::{Rule, Violation};
use super::fit::{Relation, in_line, relation};
use super::span::{Lock, Span, Spans};

/// The fences of one name in the order of their holds.
#[derive(Debug, Default)]
struct Trail<'s> {
    all: Run<'s>,
    exclusive: Run<'s>,
}

/// Fences, each with the greatest up to it.
#[derive(Debug, Default)]
struct Run<'s>(Vec<(u64, &'s Span, &'s Lock)>);

impl<'s> Run<'s> {
    fn push(&mut self, span: &'s Span, lock: &'s Lock) {
        let greatest = self.0.last().map_or(0, |(greatest, ..)| *greatest);
        self.0.push((greatest.max(lock.fence), span, lock));
    }

    /// Earlier locks whose fence is not smaller, the latest first. Looks at few, as fences grow.
    fn not_smaller(&self, fence: u64) -> impl Iterator<Item = (&'s Span, &'s Lock)> {
        let near = self.0.iter().rev().take_while(move |(greatest, ..)| *greatest >= fence);
        near.map(|(_, span, lock)| (*span, *lock)).filter(move |(_, lock)| lock.fence >= fence)
    }
}

pub(super) fn check(spans: &Spans) -> Option<Violation> {
    let mut granted: Vec<&Span> = spans.granted().collect();
    granted.sort_by_key(|span| span.granted);
    let mut trails: BTreeMap<&str, Trail<'_>> = BTreeMap::new();
    for span in granted {
        for lock in &span.locks {
            for trail in around(&trails, &lock.name) {
                let run = if lock.is_exclusive() { &trail.all } else { &trail.exclusive };
                let wrong = run.not_smaller(lock.fence).find(|(other, other_lock)| {
                    !in_line(&other.task, &span.task)
                        && !is_lent(spans, span, lock, other, other_lock)
                });
                if let Some((other, other_lock)) = wrong {
                    let text = format!(
                        "{} held later has fence {}, {} held earlier has {}",
                        lock.name, lock.fence, other_lock.name, other_lock.fence
                    );
                    return Some(Violation::new(Rule::Fences, span, Some(other), &text));
                }
            }
        }
        for lock in &span.locks {
            let trail = trails.entry(&lock.name).or_default();
            trail.all.push(span, lock);
            if lock.is_exclusive() {
                trail.exclusive.push(span, lock);
            }
        }
    }
    None
}

/// The trails of a name, of those above it and of those below it.
fn around<'t, 's>(
    trails: &'t BTreeMap<&'s str, Trail<'s>>,
    name: &'t str,
) -> impl Iterator<Item = &'t Trail<'s>> {
    let up = |name: &'t str| name.rsplit_once('/').map(|(up, _)| up);
    let here = std::iter::successors(Some(name), move |name| up(name));
    let (first, end) = (format!("{name}/"), format!("{name}0"));
    let below = (Bound::Included(first.as_str()), Bound::Excluded(end.as_str()));
    let below: Vec<_> = trails.range::<str, _>(below).map(|(_, trail)| trail).collect();
    here.filter_map(|name| trails.get(name)).chain(below)
}

/// Whether the first carries the fence of an exclusive hold that encloses both.
///
/// If that covers the other lock too, both carry it: they write in turn. If not, the other had more
/// than the task that both work for, and a fence of its own for that.
fn is_lent(spans: &Spans, one: &Span, lock: &Lock, other: &Span, other_lock: &Lock) -> bool {
    let covers = |high: &Lock, low: &Lock| {
        high.name.len() <= low.name.len() && relation(&high.name, &low.name) != Relation::Apart
    };
    spans.around(&one.task).filter(|above| above.task.contains(&other.task)).any(|above| {
        let mut exclusive = above.locks.iter().filter(|high| high.is_exclusive());
        exclusive.any(|high| {
            let lends = high.fence == lock.fence && covers(high, lock);
            lends && (high.fence == other_lock.fence || !covers(high, other_lock))
        })
    })
}
