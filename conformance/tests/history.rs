//! The check of histories, checked: by histories made by hand, and against a slow search.

use lock_conformance::history::{Event, Refusal, Rule, What, check};
use lock_core::TaskId;
use proptest::prelude::*;

/// One request with all that can be told of it.
#[derive(Debug, Clone)]
struct Tale {
    task: TaskId,
    locks: Vec<(String, u32)>,
    asked: u64,
    end: End,
    queued: Option<u64>,
    left: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// When it was granted, with which fence, when its release was invoked, and when that returned.
    Held(u64, u64, u64, u64),
    Refused(u64, Refusal),
}

impl Tale {
    fn held(task: &str, lock: (&str, u32), times: [u64; 4], fence: u64) -> Self {
        let [asked, granted, releasing, released] = times;
        let end = End::Held(granted, fence, releasing, released);
        Self { asked, end, task: id(task), locks: vec![own(lock)], queued: None, left: None }
    }

    fn refused(task: &str, lock: (&str, u32), times: [u64; 2], why: Refusal) -> Self {
        let end = End::Refused(times[1], why);
        Self {
            asked: times[0],
            end,
            task: id(task),
            locks: vec![own(lock)],
            queued: None,
            left: None,
        }
    }

    fn and(mut self, lock: (&str, u32)) -> Self {
        self.locks.push(own(lock));
        self
    }

    fn queued(mut self, version: u64) -> Self {
        self.queued = Some(version);
        self
    }

    fn left(mut self, version: u64) -> Self {
        self.left = Some(version);
        self
    }

    fn events(&self) -> Vec<Event> {
        let task = || self.task.clone();
        let mut events =
            vec![(self.asked, What::Asked { task: task(), locks: self.locks.clone() })];
        if let Some(version) = self.queued {
            events.push((self.asked, What::Queued { task: task(), version }));
        }
        let last = match self.end {
            End::Held(granted, fence, releasing, released) => {
                let fences = self.locks.iter().map(|(name, _)| (name.clone(), fence)).collect();
                events.push((granted, What::Granted { task: task(), fences }));
                events.push((releasing, What::Releasing { task: task() }));
                events.push((released, What::Released { task: task() }));
                released
            }
            End::Refused(at, why) => {
                events.push((at, What::Refused { task: task(), why }));
                at
            }
        };
        if let Some(version) = self.left {
            events.push((last, What::Gone { task: task(), version }));
        }
        events.into_iter().map(|(at, what)| Event { at, what }).collect()
    }
}

fn own((name, tolerance): (&str, u32)) -> (String, u32) {
    (name.into(), tolerance)
}

/// Tasks are written by their numbers: `1/2` is nested in `1`.
fn id(numbers: &str) -> TaskId {
    let path: Vec<String> = numbers.split('/').map(|n| format!("0123456789ab.{n}")).collect();
    path.join("/").parse().unwrap()
}

fn events(tales: &[Tale]) -> Vec<Event> {
    tales.iter().flat_map(Tale::events).collect()
}

fn broken(tales: &[Tale]) -> Vec<Rule> {
    check(&events(tales)).iter().map(|violation| violation.rule).collect()
}

const EXCLUSIVE: u32 = 1;
const SHARED: u32 = 0;

#[test]
fn good_histories_are_good() {
    let good: &[&[Tale]] = &[
        &[],
        // One after the other, as close as can be.
        &[
            Tale::held("1", ("a", EXCLUSIVE), [0, 10, 20, 30], 5).left(9),
            Tale::held("2", ("a/x", EXCLUSIVE), [0, 20, 40, 50], 9).queued(6),
        ],
        // Beside each other: apart, shared, limited.
        &[
            Tale::held("1", ("a/x", EXCLUSIVE), [0, 10, 90, 91], 5),
            Tale::held("2", ("a/xy", EXCLUSIVE), [1, 11, 92, 93], 5),
            Tale::held("3", ("a", SHARED), [94, 95, 99, 100], 7),
            Tale::held("4", ("a", 2), [94, 96, 99, 101], 7),
        ],
        // Nested, with the fence of what encloses it.
        &[
            Tale::held("1", ("a", EXCLUSIVE), [0, 10, 90, 91], 5),
            Tale::held("1/2", ("a/x", EXCLUSIVE), [20, 21, 30, 31], 5),
            Tale::held("1/3", ("a/x", EXCLUSIVE), [20, 32, 40, 41], 5),
            Tale::held("4", ("a", EXCLUSIVE), [20, 92, 94, 95], 8),
        ],
        // One has more than what encloses both, and a fence of its own for that.
        &[
            Tale::held("1", ("a/x", EXCLUSIVE), [0, 1, 90, 91], 5),
            Tale::held("1/2", ("a", EXCLUSIVE), [2, 10, 20, 21], 7),
            Tale::held("1/3", ("a/x", SHARED), [30, 40, 50, 51], 5),
        ],
        // Refused for a hold, for a waiter, and timed out behind one.
        &[
            Tale::held("1", ("a", EXCLUSIVE), [0, 10, 50, 51], 5),
            Tale::refused("2", ("a", EXCLUSIVE), [20, 21], Refusal::Busy),
            Tale::refused("3", ("a", EXCLUSIVE), [20, 40], Refusal::TimedOut).queued(6).left(7),
            Tale::refused("4", ("a/x", SHARED), [51, 60], Refusal::Busy),
        ],
        // In their order, and past who is elsewhere.
        &[
            Tale::held("1", ("a", EXCLUSIVE), [0, 1, 20, 21], 5).left(12),
            Tale::held("2", ("a", EXCLUSIVE), [2, 22, 30, 31], 12).queued(10).left(13),
            Tale::held("3", ("a", EXCLUSIVE), [3, 32, 40, 41], 13).queued(11).left(14),
            Tale::held("4", ("b", EXCLUSIVE), [4, 5, 6, 7], 11).left(12),
        ],
    ];
    for tales in good {
        assert_eq!(check(&events(tales)), [], "{tales:?}");
    }
}

#[test]
fn what_excludes_each_other_is_not_held_at_once() {
    let one = || Tale::held("1", ("a", EXCLUSIVE), [0, 10, 90, 91], 5);
    let limited = |task, times| Tale::held(task, ("a", 2), times, 5);
    let bad: &[&[Tale]] = &[
        &[one(), Tale::held("2", ("a", EXCLUSIVE), [0, 89, 95, 96], 6)],
        &[one(), Tale::held("2", ("a", SHARED), [0, 20, 30, 31], 6)],
        &[one(), Tale::held("2", ("a/x/y", SHARED), [0, 20, 30, 31], 6)],
        &[one(), Tale::held("2", ("b", SHARED), [0, 20, 30, 31], 6).and(("a/x", EXCLUSIVE))],
        &[
            limited("1", [0, 10, 90, 91]),
            limited("2", [1, 11, 92, 93]),
            limited("3", [2, 12, 94, 95]),
        ],
        &[
            limited("1", [0, 10, 90, 91]),
            Tale::held("2", ("a", SHARED), [1, 11, 92, 93], 5),
            Tale::held("3", ("a", SHARED), [2, 12, 94, 95], 5),
        ],
        // Siblings, and what encloses a hold.
        &[
            Tale::held("1/2", ("b", EXCLUSIVE), [0, 10, 90, 91], 5),
            Tale::held("1/3", ("b", EXCLUSIVE), [0, 11, 92, 93], 6),
        ],
        &[
            Tale::held("1/2", ("b", EXCLUSIVE), [0, 10, 90, 91], 5),
            Tale::held("1", ("b", EXCLUSIVE), [20, 30, 40, 41], 6),
        ],
    ];
    for tales in bad {
        assert_eq!(broken(tales), [Rule::Exclusion], "{tales:?}");
    }
}

#[test]
fn fences_grow() {
    let one = || Tale::held("1", ("a", EXCLUSIVE), [0, 10, 20, 21], 5);
    let bad: &[&[Tale]] = &[
        &[one(), Tale::held("2", ("a", EXCLUSIVE), [30, 40, 50, 51], 5)],
        &[one(), Tale::held("2", ("a/x", SHARED), [30, 40, 50, 51], 4)],
        &[
            Tale::held("1", ("a/x/y", SHARED), [0, 10, 20, 21], 5),
            Tale::held("2", ("b", SHARED), [0, 10, 20, 21], 9),
            Tale::held("3", ("a", EXCLUSIVE), [30, 40, 50, 51], 5),
        ],
        // A fence is only lent by an exclusive hold that covers the name.
        &[
            Tale::held("1", ("a/x", SHARED), [0, 1, 90, 91], 5),
            Tale::held("1/2", ("a/x", EXCLUSIVE), [2, 10, 20, 21], 5),
            Tale::held("1/3", ("a/x", EXCLUSIVE), [30, 40, 50, 51], 5),
        ],
        &[
            Tale::held("1", ("a/x", EXCLUSIVE), [0, 1, 90, 91], 5),
            Tale::held("1/2", ("a", EXCLUSIVE), [2, 10, 20, 21], 7),
            Tale::held("1/3", ("a/x", SHARED), [30, 40, 50, 51], 6),
        ],
    ];
    for tales in bad {
        assert_eq!(broken(tales), [Rule::Fences], "{tales:?}");
    }
}

#[test]
fn nobody_is_refused_for_nothing() {
    let one = || Tale::held("1", ("a", EXCLUSIVE), [0, 10, 20, 30], 5);
    let bad: &[&[Tale]] = &[
        &[one(), Tale::refused("2", ("a", EXCLUSIVE), [31, 40], Refusal::Busy)],
        &[one(), Tale::refused("2", ("b", EXCLUSIVE), [11, 12], Refusal::Busy)],
        &[one(), Tale::refused("1/2", ("a/x", EXCLUSIVE), [11, 12], Refusal::Busy)],
        &[one(), Tale::refused("2", ("a", EXCLUSIVE), [31, 40], Refusal::TimedOut)],
        &[one(), Tale::refused("2", ("a", EXCLUSIVE), [11, 12], Refusal::Deadlock)],
        // Two who are refused for each other were refused for nothing.
        &[
            Tale::refused("1", ("a", EXCLUSIVE), [0, 10], Refusal::Busy),
            Tale::refused("2", ("a", EXCLUSIVE), [0, 11], Refusal::Busy),
        ],
        &[
            Tale::held("1", ("a", 2), [0, 10, 20, 30], 5),
            Tale::refused("2", ("a", 2), [11, 12], Refusal::Busy),
        ],
    ];
    for tales in bad {
        assert_eq!(broken(tales), [Rule::Busy], "{tales:?}");
    }
}

#[test]
fn nobody_is_granted_past_an_earlier_one() {
    let second = || Tale::held("2", ("a", EXCLUSIVE), [3, 32, 40, 41], 13).queued(10).left(14);
    let bad: &[&[Tale]] = &[
        &[second(), Tale::held("3", ("a", EXCLUSIVE), [4, 5, 30, 31], 12).queued(11).left(13)],
        // Who has never queued passes nobody either.
        &[second(), Tale::held("3", ("a/x", SHARED), [4, 5, 30, 31], 12).left(13)],
        &[
            Tale::refused("2", ("a", EXCLUSIVE), [3, 32], Refusal::TimedOut).queued(10).left(14),
            Tale::held("3", ("a/x", SHARED), [4, 5, 30, 31], 12).left(13),
        ],
        // Waiters count all together.
        &[
            Tale::held("1", ("x", 2), [0, 50, 60, 61], 20).and(("y", 1)).queued(5),
            Tale::held("2", ("x", 2), [0, 51, 62, 63], 21).and(("z", 1)).queued(6),
            Tale::held("3", ("x", 2), [0, 10, 20, 21], 9),
        ],
        // By their versions two were held at once, though nobody was slow enough to see it.
        &[
            Tale::held("1", ("a", EXCLUSIVE), [0, 10, 11, 20], 5).left(8),
            Tale::held("2", ("a", EXCLUSIVE), [0, 15, 16, 21], 7),
        ],
    ];
    for tales in bad {
        assert_eq!(broken(tales), [Rule::Fair], "{tales:?}");
    }
}

#[test]
fn who_may_have_been_queued_by_another_that_was_killed_is_not_blamed() {
    let second = Tale::held("2", ("a", EXCLUSIVE), [3, 32, 40, 41], 13).queued(10).left(14);
    let third = Tale::held("3", ("a/x", SHARED), [2, 5, 30, 31], 12).left(13);
    let (task, version) = (third.task.clone(), 9);
    let mut history = events(&[second, third]);
    history.push(Event { at: 3, what: What::Queuing { task: task.clone(), version } });
    assert_eq!(check(&history), []);
    history.push(Event { at: 4, what: What::NotQueued { task, version } });
    assert_eq!(check(&history)[0].rule, Rule::Fair);
}

#[test]
fn a_hold_ends_with_its_process() {
    let mut history = events(&[Tale::held("1", ("a", EXCLUSIVE), [0, 10, 90, 91], 5)]);
    history.truncate(2);
    let mut other = Tale::held("2", ("a", EXCLUSIVE), [30, 40, 50, 51], 6);
    other.task = "zzzzzzzzzzzz.2".parse().unwrap();
    history.extend(other.events());
    assert_eq!(check(&history)[0].rule, Rule::Exclusion);
    let client = "0123456789ab".parse().unwrap();
    history.push(Event { at: 20, what: What::Killed { client } });
    assert_eq!(check(&history), []);
}

#[test]
fn what_is_no_history_is_told() {
    let one = Tale::held("1", ("a", EXCLUSIVE), [0, 10, 20, 30], 5);
    assert_eq!(broken(&[one.clone(), one.clone()]), [Rule::Form]);
    assert_eq!(check(&one.events()[1..])[0].rule, Rule::Form);
}

/// Whether `locks` fit beside those of others, none of them in line with each other.
fn fits(locks: &[(String, u32)], others: &[&Tale]) -> bool {
    locks.iter().all(|(name, mine)| {
        let (mut holders, mut room) = (1, if *mine == 0 { usize::MAX } else { *mine as usize });
        for (other, theirs) in others.iter().flat_map(|tale| &tale.locks) {
            if other == name {
                holders += 1;
                room = room.min(if *theirs == 0 { usize::MAX } else { *theirs as usize });
            } else if (*mine == 1 || *theirs == 1)
                && (format!("{other}/").starts_with(&format!("{name}/"))
                    || format!("{name}/").starts_with(&format!("{other}/")))
            {
                return false;
            }
        }
        holders <= room
    })
}

/// Searches all orders of grants and releases that the times allow.
fn is_linearizable(tales: &[Tale]) -> bool {
    // (invoked, returned, whose, whether it is the release)
    let mut moves = Vec::new();
    for (at, tale) in tales.iter().enumerate() {
        if let End::Held(granted, _, releasing, released) = tale.end {
            moves.push((tale.asked, granted, at, false));
            moves.push((releasing, released, at, true));
        }
    }
    search(tales, &moves, &[])
}

fn search(tales: &[Tale], moves: &[(u64, u64, usize, bool)], held: &[usize]) -> bool {
    let Some(first) = moves.iter().map(|(_, returned, ..)| *returned).min() else { return true };
    moves.iter().enumerate().any(|(at, &(invoked, _, whose, releases))| {
        if invoked > first || releases != held.contains(&whose) {
            return false;
        }
        let mut rest = moves.to_vec();
        rest.remove(at);
        let mut then: Vec<usize> = held.iter().copied().filter(|other| *other != whose).collect();
        if !releases {
            let others: Vec<&Tale> = held.iter().map(|other| &tales[*other]).collect();
            if !fits(&tales[whose].locks, &others) {
                return false;
            }
            then.push(whose);
        }
        search(tales, &rest, &then)
    })
}

fn fences_grow_by_pairs(tales: &[Tale]) -> bool {
    tales.iter().all(|one| {
        tales.iter().all(|other| match (one.end, other.end) {
            (End::Held(early, low, ..), End::Held(late, high, ..)) if early < late => {
                let pair = |a: &(String, u32), b: &(String, u32)| {
                    let (a, b) = (std::slice::from_ref(a), vec![b.clone()]);
                    let b = Tale { locks: b, ..other.clone() };
                    // Two limits of two are no conflict by themselves.
                    !fits(a, &[&b])
                };
                let conflict = one.locks.iter().any(|a| other.locks.iter().any(|b| pair(a, b)));
                !conflict || low < high
            }
            _ => true,
        })
    })
}

fn nobody_is_refused_for_nothing_at_any_moment(tales: &[Tale]) -> bool {
    let stay = |tale: &Tale| match tale.end {
        End::Held(.., released) => Some((tale.asked, released)),
        End::Refused(at, Refusal::TimedOut) => Some((tale.asked, at)),
        End::Refused(..) => None,
    };
    tales.iter().all(|asks| {
        let End::Refused(until, _) = asks.end else { return true };
        (asks.asked..=until).any(|now| {
            let there: Vec<&Tale> = tales
                .iter()
                .filter(|tale| tale.task != asks.task)
                .filter(|tale| stay(tale).is_some_and(|(from, to)| from <= now && now <= to))
                .collect();
            !fits(&asks.locks, &there)
        })
    })
}

fn nobody_passes_at_any_version(tales: &[Tale]) -> bool {
    tales.iter().all(|asks| {
        let End::Held(_, version, ..) = asks.end else { return true };
        let place = asks.queued.unwrap_or(version);
        let before: Vec<&Tale> = tales
            .iter()
            .filter(|tale| tale.task != asks.task)
            .filter(|tale| {
                let fence = match tale.end {
                    End::Held(_, fence, ..) => Some(fence),
                    End::Refused(..) => None,
                };
                let waits = tale.queued.is_some_and(|queued| {
                    queued < place
                        && queued < version
                        && fence.or(tale.left).is_some_and(|end| end > version)
                });
                let holds = fence.is_some_and(|fence| fence < version)
                    && tale.left.is_some_and(|left| left > version);
                waits || holds
            })
            .collect();
        fits(&asks.locks, &before)
    })
}

fn a_tale(number: u64) -> impl Strategy<Value = Tale> {
    let lock = (prop::sample::select(vec!["a", "a/x", "a/x/y", "b"]), 0u32..=2);
    let locks =
        prop::collection::btree_map(lock.clone().prop_map(|(name, _)| name), 0u32..=2, 1..=2);
    let times = prop::array::uniform4(0u64..12);
    let versions = (1u64..8, prop::option::of(1u64..8), prop::option::of(0u64..4));
    (locks, times, versions, 0u8..4).prop_map(move |(locks, mut times, versions, kind)| {
        times.sort_unstable();
        // No two moments of different requests are the same.
        let [asked, granted, releasing, released] = times.map(|time| time * 16 + number);
        let (fence, queued, stayed) = versions;
        let end = match kind {
            0 => End::Refused(granted, Refusal::Busy),
            1 => End::Refused(granted, Refusal::TimedOut),
            _ => End::Held(granted, fence, releasing, released),
        };
        let locks = locks.into_iter().map(own).collect();
        // What was refused at once has never queued; who is granted has queued before.
        let queued = queued.filter(|queued| kind == 1 || kind > 1 && *queued < fence);
        let left = stayed.map(|stayed| fence + 1 + stayed).filter(|_| kind > 0);
        Tale { task: id(&(number + 1).to_string()), locks, asked, end, queued, left }
    })
}

fn some_tales() -> impl Strategy<Value = Vec<Tale>> {
    (a_tale(0), a_tale(1), a_tale(2), a_tale(3), 1usize..=4).prop_map(|(a, b, c, d, count)| {
        let mut tales = vec![a, b, c, d];
        tales.truncate(count);
        tales
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_check_agrees_with_a_slow_search(tales in some_tales()) {
        let found = broken(&tales);
        let judge = |rule, holds: bool| {
            prop_assert_eq!(!found.contains(&rule), holds, "{:?}", rule);
            Ok(())
        };
        judge(Rule::Exclusion, is_linearizable(&tales))?;
        judge(Rule::Fences, fences_grow_by_pairs(&tales))?;
        judge(Rule::Busy, nobody_is_refused_for_nothing_at_any_moment(&tales))?;
        judge(Rule::Fair, nobody_passes_at_any_version(&tales))?;
    }
}
