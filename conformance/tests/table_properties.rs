//! What must be true of the lock table whatever is done to it: nobody hangs, nobody clashes.

use std::collections::{BTreeSet, HashMap};

use lock_conformance::model::world::{self, Known, Step, World};
use lock_conformance::model::{fits, in_line, nested, strangers, tolerance};
use lock_core::table::{Blocker, Event, HoldView, Listing, LockTable, Op, Outcome, RequestState};
use lock_core::{LockName, LockSet, Mode, RequestId, TaskId, Version};
use proptest::prelude::*;

proptest! {
    #![proptest_config(world::config(10_000))]

    #[test]
    fn nobody_hangs(steps in world::crowded_steps(24)) {
        let (mut world, mut table) = walk(&steps, |_| {});
        drain(&mut world, &mut table);
    }
}

proptest! {
    #![proptest_config(world::config(2_500))]

    #[test]
    fn nobody_hangs_whatever_else_happens(steps in world::any_steps(40)) {
        let (mut world, mut table) = walk(&steps, |_| {});
        drain(&mut world, &mut table);
    }

    #[test]
    fn strangers_never_clash(steps in world::any_steps(40)) {
        walk(&steps, |taken| assert_no_clash(&taken.after.list().holds));
    }

    #[test]
    fn a_request_is_refused_for_deadlock_if_and_only_if_no_order_of_events_could_ever_grant_it(
        steps in world::crowded_steps(16),
    ) {
        walk(&steps, |taken| {
            let Op::Acquire(ask) = taken.op else { return };
            let before = Situation::new(&taken.before.list());
            match taken.outcome {
                Outcome::Deadlock(_) => {
                    let with = before.and(&ask.task, &ask.locks);
                    assert!(!with.can_grant_last(), "{} asks for {:?}", ask.task, ask.locks);
                }
                Outcome::Queued => {
                    let after = Situation::new(&taken.after.list());
                    assert!(after.can_grant_all(), "{} asks for {:?}", ask.task, ask.locks);
                }
                _ => {}
            }
        });
    }

    #[test]
    fn why_foretells_what_becomes_of_a_request(steps in world::any_steps(40)) {
        walk(&steps, |taken| {
            let Op::Acquire(ask) = taken.op else { return };
            if taken.before.place(ask.id) != RequestState::Absent {
                return;
            }
            let why = taken.before.why(&ask.task, &ask.locks);
            assert_eq!(why.is_free(), *taken.outcome == Outcome::Granted, "{ask:?}: {why:?}");
            for condition in &why.conditions {
                let all = condition.tasks();
                assert!((1..=all).contains(&condition.count), "{condition:?}");
                if condition.mode == Mode::Exclusive {
                    assert_eq!(condition.count, all, "{condition:?}");
                }
            }
            // They are those whom a denial names.
            let denial = taken.before.would_block(&ask.task, &ask.locks);
            let denied: BTreeSet<_> =
                denial.iter().flat_map(|denial| &denial.blockers).map(place_of).collect();
            let told: BTreeSet<_> =
                why.conditions.iter().flat_map(|c| &c.blockers).map(place_of).collect();
            assert_eq!(told, denied, "{ask:?}");
            // Whoever waits among them is told with what it waits for.
            for blocker in why.conditions.iter().flat_map(|c| &c.blockers).filter(|b| b.waits) {
                assert!(why.waits_of(blocker).next().is_some(), "{blocker:?}: {why:?}");
            }
        });
    }

    #[test]
    fn fences_of_holds_that_conflict_rise(steps in world::any_steps(40)) {
        let mut past: Vec<Granted> = Vec::new();
        walk(&steps, |taken| {
            for id in granted(taken.events) {
                let new = Granted::of(id, taken.after);
                for old in &past {
                    assert_fences_rise(old, &new);
                }
                past.push(new);
            }
        });
    }

    #[test]
    fn who_came_first_is_granted_first(steps in lonely_steps(30)) {
        let mut asked: Vec<(RequestId, LockSet)> = Vec::new();
        let mut order: HashMap<RequestId, usize> = HashMap::new();
        walk(&steps, |taken| {
            if let (Op::Acquire(ask), Outcome::Queued | Outcome::Granted) =
                (taken.op, taken.outcome)
            {
                asked.push((ask.id, (*ask.locks).clone()));
            }
            for id in granted(taken.events) {
                let place = order.len();
                order.insert(id, place);
                let own = asked.iter().position(|(other, _)| *other == id).expect("it asked");
                for (other, locks) in &asked[..own] {
                    assert!(
                        !conflict(locks, &asked[own].1)
                            || order.contains_key(other)
                            || taken.after.place(*other) == RequestState::Absent,
                        "{id} was granted before {other}"
                    );
                }
            }
        });
    }
}

fn place_of(blocker: &Blocker) -> (TaskId, LockName, bool) {
    (blocker.task_id.clone(), blocker.lock.clone(), blocker.waits)
}

/// One op that was taken.
struct Taken<'t> {
    op: &'t Op,
    outcome: &'t Outcome,
    events: &'t [Event],
    before: &'t LockTable,
    after: &'t LockTable,
}

/// Takes the steps, and shows each.
fn walk(steps: &[Step], mut each: impl FnMut(&Taken)) -> (World, LockTable) {
    let mut world = World::of_patient_tasks();
    let mut table = LockTable::new();
    for step in steps {
        let Some(op) = world.op(step, &Known::of_table(&table)) else { continue };
        let before = table.clone();
        let outcome = table.apply(&op, world.stamp());
        let events = table.take_events();
        each(&Taken {
            op: &op,
            outcome: &outcome,
            events: &events,
            before: &before,
            after: &table,
        });
    }
    (world, table)
}

fn granted(events: &[Event]) -> impl Iterator<Item = RequestId> {
    events.iter().filter_map(|event| match event {
        Event::Granted(id) => Some(*id),
        _ => None,
    })
}

/// Everybody who can go on gives back everything, until nobody waits any more.
fn drain(world: &mut World, table: &mut LockTable) {
    loop {
        let listing = table.list();
        let waits = |task: &TaskId| listing.waiting.iter().any(|w| in_line(task, &w.task_id));
        let done: Vec<_> = listing.holds.iter().filter(|h| !waits(&h.task_id)).collect();
        if done.is_empty() {
            let waiting = listing.waiting.iter().map(|w| format!("\n {} {:?}", w.task_id, w.locks));
            let held = listing.holds.iter().map(|h| format!("\n {} {:?}", h.task_id, h.locks));
            assert!(
                listing.waiting.is_empty(),
                "these wait for ever:{}\nbeside these holds:{}",
                waiting.collect::<String>(),
                held.collect::<String>()
            );
            return;
        }
        for hold in done {
            table.apply(&Op::Release(hold.id), world.stamp());
        }
    }
}

/// No two tasks of different lines of work hold what excludes the other, and no limit is exceeded.
fn assert_no_clash(holds: &[HoldView]) {
    let all: Vec<(&TaskId, &LockName, Mode)> = holds
        .iter()
        .flat_map(|h| h.locks.iter().map(|(name, mode)| (&h.task_id, name, *mode)))
        .collect();
    for &(task, name, mode) in &all {
        let others = || all.iter().filter(|(other, ..)| strangers(task, other));
        for (other, other_name, other_mode) in others() {
            let exclusive = mode == Mode::Exclusive || *other_mode == Mode::Exclusive;
            let clash = exclusive && (name == *other_name || nested(name, other_name));
            assert!(!clash, "{task} holds {name} and {other} holds {other_name}");
        }
        // A task and those nested in it are as many holders as there are innermost ones.
        let here: BTreeSet<&TaskId> =
            others().filter(|(_, n, _)| *n == name).map(|o| o.0).collect();
        let is_innermost =
            |task: &&&TaskId| !here.iter().any(|other| other != *task && in_line(task, other));
        let holders = here.iter().filter(is_innermost).count() as u64 + 1;
        assert!(holders <= tolerance(mode), "{holders} hold {name}, {task} tolerates {mode}");
    }
}

/// Holds and waiters, on which every order of events can be tried.
struct Situation {
    holds: Vec<(TaskId, LockSet)>,
    waiting: Vec<(TaskId, LockSet)>,
}

impl Situation {
    fn new(listing: &Listing) -> Self {
        Self {
            holds: listing.holds.iter().map(|h| (h.task_id.clone(), h.locks.clone())).collect(),
            waiting: listing.waiting.iter().map(|w| (w.task_id.clone(), w.locks.clone())).collect(),
        }
    }

    fn and(mut self, task: &TaskId, locks: &LockSet) -> Self {
        self.waiting.push((task.clone(), locks.clone()));
        self
    }

    fn can_grant_all(&self) -> bool {
        self.reachable().contains(&0)
    }

    fn can_grant_last(&self) -> bool {
        let last = 1 << (self.waiting.len() - 1);
        self.reachable().iter().any(|waiting| waiting & last == 0)
    }

    /// All sets of waiters, as bits, that can be left when the others were granted, in any order.
    fn reachable(&self) -> BTreeSet<u32> {
        let all = (1 << self.waiting.len()) - 1;
        let (mut seen, mut open) = (BTreeSet::from([all]), vec![all]);
        while let Some(left) = open.pop() {
            for at in (0..self.waiting.len()).filter(|at| left >> at & 1 == 1) {
                let next = left & !(1 << at);
                if self.can_be_granted(at, left) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    }

    /// Tells whether this waiter fits when those `left` wait and everybody else gave back all.
    fn can_be_granted(&self, at: usize, left: u32) -> bool {
        let (task, locks) = &self.waiting[at];
        let waiting = || (0..self.waiting.len()).filter(|at| left >> at & 1 == 1);
        let waits_below = |task: &TaskId| waiting().any(|w| in_line(task, &self.waiting[w].0));
        let granted = self.waiting.iter().enumerate().filter(|(w, _)| left >> w & 1 == 0);
        let held = self.holds.iter().chain(granted.map(|(_, waiter)| waiter));
        let held: Vec<_> = held.filter(|(task, _)| waits_below(task)).cloned().collect();
        let waits_for_own =
            waiting().any(|w| self.waiting[w].0 != *task && in_line(task, &self.waiting[w].0));
        !waits_for_own && fits(task, locks, &held)
    }
}

/// A grant, as it was.
struct Granted {
    id: RequestId,
    task: TaskId,
    locks: Vec<(LockName, Mode, Version)>,
}

impl Granted {
    fn of(id: RequestId, table: &LockTable) -> Self {
        let hold = table.list().holds.into_iter().find(|h| h.id == id).expect("just granted");
        let fences = table.fences(id).expect("just granted");
        let locks = hold.locks.into_iter().map(|(name, mode)| {
            let fence = fences[&name];
            (name, mode, fence)
        });
        Self { id, task: hold.task_id, locks: locks.collect() }
    }
}

/// The later of two strangers that exclude each other has the greater fence.
///
/// Sub-tasks of one task may have the same fence, that of the hold under which they work in turn;
/// of them only fences of the same name compare, as one may hold more than their ancestor does.
fn assert_fences_rise(old: &Granted, new: &Granted) {
    if !strangers(&old.task, &new.task) {
        return;
    }
    let family = |task: &TaskId| task.as_str().split('/').next().map(str::to_owned);
    let is_family = family(&old.task) == family(&new.task);
    for (name, mode, fence) in &old.locks {
        for (new_name, new_mode, new_fence) in &new.locks {
            let related = name == new_name || !is_family && nested(name, new_name);
            if related && (*mode == Mode::Exclusive || *new_mode == Mode::Exclusive) {
                assert!(
                    fence < new_fence || is_family && fence == new_fence,
                    "{} got {name} ({mode}) with fence {fence}, and later {} {new_name} \
                     ({new_mode}) with fence {new_fence}",
                    old.id,
                    new.id
                );
            }
        }
    }
}

/// Tells whether either would have to wait for the other.
fn conflict(one: &LockSet, other: &LockSet) -> bool {
    one.iter().any(|(name, mode)| {
        other.iter().any(|(other_name, other_mode)| {
            (name == other_name || nested(name, other_name))
                && (*mode == Mode::Exclusive || *other_mode == Mode::Exclusive)
        })
    })
}

/// Steps of tasks that are not nested, and hold nothing when they ask.
fn lonely_steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let locks = prop::collection::vec((0..world::NAMES.len(), 0..4_usize), 1..=2);
    let step = prop_oneof![
        3 => (locks, prop::bool::weighted(0.9))
            .prop_map(|(locks, wait)| Step::Stranger { locks, wait }),
        1 => any::<usize>().prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..=len)
}
