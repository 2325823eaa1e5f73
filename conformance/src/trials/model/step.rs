//! The steps of a sequence, as chance makes them.

use std::fmt;

use proptest::prelude::*;

use crate::model::world::{MODES, NAMES, TASKS, lock_set};

/// How locks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Wait,
    Try,
    /// Waits for no time at all.
    NoTime,
}

/// One random step; numbers choose among what there is when it is taken.
#[derive(Clone)]
pub(super) enum Step {
    Acquire {
        task: usize,
        locks: Vec<(usize, usize)>,
        how: How,
    },
    /// Drops the future of a request that waits.
    Cancel(usize),
    Release(usize),
    /// Drops a guard.
    Drop(usize),
    Downgrade(usize),
    /// Releases all tasks that have the name of this one; their holders ask for their locks, or
    /// give back what they do not know to be lost.
    ReleaseTask {
        client: usize,
        task: usize,
        ask: bool,
    },
    WouldBlock {
        task: usize,
        locks: Vec<(usize, usize)>,
    },
    /// Lists all, by this client.
    List(usize),
}

/// On one line each, so that what fails can be read.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire { task, locks, how } => {
                let how = match how {
                    How::Wait => "waits for",
                    How::Try => "tries",
                    How::NoTime => "has no time for",
                };
                write!(f, "{} {how} {}", Named(*task), Asked(locks))
            }
            Self::Cancel(pick) => write!(f, "cancel waiter {pick}"),
            Self::Release(pick) => write!(f, "release guard {pick}"),
            Self::Drop(pick) => write!(f, "drop guard {pick}"),
            Self::Downgrade(pick) => write!(f, "downgrade guard {pick}"),
            Self::ReleaseTask { client, task, ask } => {
                let (client, name) = (client + 1, TASKS[*task].2);
                let then = if *ask { "asks whether it holds" } else { "gives back" };
                write!(f, "client {client} releases tasks named \"{name}\"; who held, {then}")
            }
            Self::WouldBlock { task, locks } => {
                write!(f, "{} asks what would block {}", Named(*task), Asked(locks))
            }
            Self::List(client) => write!(f, "client {} lists", client + 1),
        }
    }
}

/// A task with its client and its number.
struct Named(usize);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, parent, name) = TASKS[self.0];
        write!(f, "task {} \"{name}\" of client {client}", self.0)?;
        parent.map_or(Ok(()), |parent| write!(f, " (under {parent})"))
    }
}

/// Locks with their modes.
struct Asked<'a>(&'a [(usize, usize)]);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, mode)) in lock_set(self.0).iter().enumerate() {
            write!(f, "{}{name} ({mode})", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Sequences of up to `len` steps: half of them of all kinds, and half that fill the queue for two
/// locks, one of them with a limit.
pub(super) fn sequences(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let many = prop::collection::vec((0..NAMES.len(), 0..MODES.len()), 1..=3);
    let other = 0..MODES.len();
    let few = prop_oneof![
        3 => Just(vec![(TOP, LIMIT)]),
        3 => other.clone().prop_map(|mode| vec![(TOP, LIMIT), (OTHER, mode)]),
        2 => other.prop_map(|mode| vec![(OTHER, mode)]),
    ];
    prop_oneof![
        prop::collection::vec(step(many, 2), 1..=len),
        prop::collection::vec(step(few, 10), 1..=len),
    ]
}

/// Two wait for a lock, each with one of two places of another; a third asks for such a place.
///
/// It fits beside each of the two, but not beside both: chance seldom comes to that.
pub(super) fn two_wait_and_leave_no_place() -> Vec<Step> {
    let acquire = |task, locks: &[(usize, usize)], how| {
        let locks = locks.to_vec();
        Step::Acquire { task, locks, how }
    };
    vec![
        acquire(7, &[(OTHER, EXCLUSIVE)], How::Wait),
        acquire(0, &[(TOP, LIMIT), (OTHER, EXCLUSIVE)], How::Wait),
        acquire(3, &[(TOP, LIMIT), (OTHER, EXCLUSIVE)], How::Wait),
        acquire(5, &[(TOP, LIMIT)], How::Try),
        Step::Release(0),
        acquire(5, &[(TOP, LIMIT)], How::NoTime),
    ]
}

/// Where these are among the names and modes of the world.
const TOP: usize = 0;
const OTHER: usize = 4;
const EXCLUSIVE: usize = 0;
const LIMIT: usize = 1;

/// One step, `asks` times as often for locks as to give them back.
fn step(
    locks: impl Strategy<Value = Vec<(usize, usize)>> + Clone,
    asks: u32,
) -> impl Strategy<Value = Step> {
    let client = 0..3_usize;
    let task = 0..TASKS.len();
    let pick = 0..8_usize;
    let how = prop_oneof![6 => Just(How::Wait), 2 => Just(How::Try), 1 => Just(How::NoTime)];
    prop_oneof![
        8 * asks => (task.clone(), locks.clone(), how)
            .prop_map(|(task, locks, how)| Step::Acquire { task, locks, how }),
        4 => pick.clone().prop_map(Step::Release),
        4 => pick.clone().prop_map(Step::Drop),
        2 => pick.clone().prop_map(Step::Cancel),
        2 => pick.prop_map(Step::Downgrade),
        1 => (client.clone(), task.clone(), any::<bool>())
            .prop_map(|(client, task, ask)| Step::ReleaseTask { client, task, ask }),
        asks => (task, locks).prop_map(|(task, locks)| Step::WouldBlock { task, locks }),
        1 => client.prop_map(Step::List),
    ]
}
