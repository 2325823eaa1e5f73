//! What conflicts with what, written apart from the table that is checked by it.

use lock_core::TaskId;

use super::span::{Lock, Span};

/// How two names lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    /// One is above the other.
    Nested,
    Apart,
}

pub(super) fn relation(one: &str, other: &str) -> Relation {
    let is_below = |low: &str, high: &str| {
        low.len() > high.len() && low.starts_with(high) && low.as_bytes()[high.len()] == b'/'
    };
    if one == other {
        Relation::Same
    } else if is_below(one, other) || is_below(other, one) {
        Relation::Nested
    } else {
        Relation::Apart
    }
}

/// Whether two locks exclude each other, whoever else is there.
pub(super) fn exclude(one: &Lock, other: &Lock) -> bool {
    (one.is_exclusive() || other.is_exclusive())
        && relation(&one.name, &other.name) != Relation::Apart
}

/// Whether one task is the other, or nested in it.
pub(super) fn in_line(one: &TaskId, other: &TaskId) -> bool {
    one.contains(other) || other.contains(one)
}

/// Who among `others` keeps a request from being granted; its own line upwards never does.
pub(super) fn obstacle<'s>(asks: &Span, others: &[&'s Span]) -> Option<&'s Span> {
    let others: Vec<&Span> =
        others.iter().copied().filter(|o| !o.task.contains(&asks.task)).collect();
    asks.locks.iter().find_map(|lock| {
        let locks = || others.iter().flat_map(|o| o.locks.iter().map(move |other| (*o, other)));
        let excludes = locks().find(|(_, other)| exclude(lock, other));
        excludes.map(|(span, _)| span).or_else(|| {
            let same: Vec<_> = locks().filter(|(_, other)| other.name == lock.name).collect();
            let smallest = same.iter().map(|(_, other)| other.tolerance).min()?;
            let tasks = same.iter().map(|(span, _)| &span.task);
            (leaves(tasks) + 1 > smallest.min(lock.tolerance)).then(|| same[0].0)
        })
    })
}

/// How many holders tasks count as on one name: those of them that enclose no other.
pub(super) fn leaves<'t>(tasks: impl IntoIterator<Item = &'t TaskId>) -> u64 {
    let mut tasks: Vec<&TaskId> = tasks.into_iter().collect();
    tasks.sort_unstable();
    tasks.dedup();
    let encloses = |one: &TaskId| tasks.iter().any(|other| *other != one && one.contains(other));
    tasks.iter().filter(|task| !encloses(task)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_apart_unless_one_is_the_path_of_the_other() {
        for (one, other, expected) in [
            ("app", "app", Relation::Same),
            ("app", "app/blog", Relation::Nested),
            ("app/blog/x", "app", Relation::Nested),
            ("app/blog", "app/blogger", Relation::Apart),
            ("app/blog", "app/shop", Relation::Apart),
        ] {
            assert_eq!(relation(one, other), expected, "{one} {other}");
            assert_eq!(relation(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_task_and_its_subtasks_are_as_many_holders_as_there_are_ends() {
        let ids = [
            "0123456789ab.1",
            "0123456789ab.1/0123456789ab.2",
            "0123456789ab.1/0123456789ab.3",
            "0123456789ab.4",
        ];
        let tasks: Vec<TaskId> = ids.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!(leaves(&tasks), 3);
        assert_eq!(leaves(&tasks[..2]), 1);
        assert_eq!(leaves(&[]), 0);
    }
}
